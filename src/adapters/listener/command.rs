//! DIMSE command sets (PS3.7 6.3.1): a few elements of group 0000 in implicit little endian, without sequences.

use std::collections::BTreeMap;

/// Bytes of a command set that are taken; the largest of those served here has about 400.
pub(in crate::adapters) const MOST_BYTES: usize = 16 << 10;

// Elements (PS3.7 E.1).
pub(in crate::adapters) const AFFECTED_SOP_CLASS: u16 = 0x0002;
pub(in crate::adapters) const REQUESTED_SOP_CLASS: u16 = 0x0003;
pub(in crate::adapters) const COMMAND_FIELD: u16 = 0x0100;
pub(in crate::adapters) const MESSAGE_ID: u16 = 0x0110;
pub(in crate::adapters) const ANSWERED_MESSAGE_ID: u16 = 0x0120;
pub(in crate::adapters) const DATA_SET_TYPE: u16 = 0x0800;
pub(in crate::adapters) const STATUS: u16 = 0x0900;
pub(in crate::adapters) const ERROR_COMMENT: u16 = 0x0902;
pub(in crate::adapters) const AFFECTED_SOP_INSTANCE: u16 = 0x1000;
pub(in crate::adapters) const REQUESTED_SOP_INSTANCE: u16 = 0x1001;
pub(in crate::adapters) const EVENT_TYPE: u16 = 0x1002;
pub(in crate::adapters) const ACTION_TYPE: u16 = 0x1008;

// Values of Command Field.
pub(in crate::adapters) const C_STORE: u16 = 0x0001;
pub(in crate::adapters) const C_ECHO: u16 = 0x0030;
pub(in crate::adapters) const C_CANCEL: u16 = 0x0fff;
pub(in crate::adapters) const N_EVENT_REPORT: u16 = 0x0100;
pub(in crate::adapters) const N_ACTION: u16 = 0x0130;
/// Set in every response.
pub(in crate::adapters) const RESPONSE: u16 = 0x8000;

/// Data Set Type of a command without one.
pub(in crate::adapters) const NO_DATA_SET: u16 = 0x0101;
/// Any other value says that one follows.
pub(in crate::adapters) const DATA_SET_FOLLOWS: u16 = 0x0001;

/// What is answered (PS3.4 B.2.3, PS3.7 C).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done, and durable.
    Success,
    /// The object was not stored, another time may do.
    OutOfResources,
    /// The data set is another object than the command says.
    DoesNotMatch,
    /// The data set is broken off or no data set.
    CannotUnderstand,
    /// The SOP Instance UID is none.
    InvalidInstance,
    /// The command names another SOP class than its presentation context.
    ClassNotSupported,
    /// An operation that is not served.
    UnrecognizedOperation,
    /// A storage commitment request to something else than its well-known instance.
    NoSuchInstance,
    /// Another action than the request for storage commitment.
    NoSuchAction,
    /// A storage commitment request that cannot be understood.
    InvalidArgument,
    /// A storage commitment request that cannot be kept until it is reported on.
    ResourceLimitation,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 11] = [
        Self::Success,
        Self::OutOfResources,
        Self::DoesNotMatch,
        Self::CannotUnderstand,
        Self::InvalidInstance,
        Self::ClassNotSupported,
        Self::UnrecognizedOperation,
        Self::NoSuchInstance,
        Self::NoSuchAction,
        Self::InvalidArgument,
        Self::ResourceLimitation,
    ];

    /// The value of Status (0000,0900).
    pub const fn code(self) -> u16 {
        match self {
            Self::Success => 0x0000,
            Self::OutOfResources => 0xa700,
            Self::DoesNotMatch => 0xa900,
            Self::CannotUnderstand => 0xc000,
            Self::InvalidInstance => 0x0117,
            Self::ClassNotSupported => 0x0122,
            Self::UnrecognizedOperation => 0x0211,
            Self::NoSuchInstance => 0x0112,
            Self::NoSuchAction => 0x0123,
            Self::InvalidArgument => 0x0115,
            Self::ResourceLimitation => 0x0213,
        }
    }

    /// When it is answered.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "the object is durable and queued (or was before), the echo or request was understood",
            Self::OutOfResources => "the disk is nearly full or failed, or the object is larger than allowed",
            Self::DoesNotMatch => "the data set has another SOP Class or Instance UID than the command",
            Self::CannotUnderstand => {
                "the data set is broken off, contradicts itself or names no SOP Class or Instance UID"
            }
            Self::InvalidInstance => "the Affected SOP Instance UID is not 1 to 64 digits and dots",
            Self::ClassNotSupported => "the command has another SOP class than its presentation context",
            Self::UnrecognizedOperation => "an operation other than those of this statement",
            Self::NoSuchInstance => "storage commitment: another instance than 1.2.840.10008.1.20.1.1",
            Self::NoSuchAction => "storage commitment: another action type than 1",
            Self::InvalidArgument => "storage commitment: the list of objects cannot be understood",
            Self::ResourceLimitation => "storage commitment: the request cannot be kept until it is reported on",
        }
    }
}

/// What is wrong with a command set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::adapters) enum CommandError {
    #[error("the command ends inside element {element:04x} of group {group:04x} at byte {at}")]
    EndsInside { group: u16, element: u16, at: usize },
    #[error("the command ends inside the header of an element at byte {0}")]
    EndsInsideHeader(usize),
    #[error("group {group:04x} at byte {at} of a command, expected 0000")]
    Group { group: u16, at: usize },
    #[error("the command has no element 0000,{0:04x} of two bytes")]
    Missing(u16),
}

/// The elements of group 0000 by their element numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::adapters) struct CommandSet {
    elements: BTreeMap<u16, Vec<u8>>,
}

impl CommandSet {
    pub(in crate::adapters) fn parse(bytes: &[u8]) -> Result<Self, CommandError> {
        let mut elements = BTreeMap::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let Some((header, value)) = rest.split_first_chunk::<8>() else {
                return Err(CommandError::EndsInsideHeader(at));
            };
            let group = u16::from_le_bytes([header[0], header[1]]);
            let element = u16::from_le_bytes([header[2], header[3]]);
            let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
            if group != 0 {
                return Err(CommandError::Group { group, at });
            }
            if length > value.len() {
                return Err(CommandError::EndsInside { group, element, at });
            }
            let (value, after) = value.split_at(length);
            elements.insert(element, value.to_vec());
            rest = after;
        }
        Ok(Self { elements })
    }

    /// A response to this command, without a data set.
    pub(in crate::adapters) fn response(&self, status: Status, comment: Option<&str>) -> Self {
        let mut response = Self::default();
        response.set_u16(COMMAND_FIELD, self.u16(COMMAND_FIELD).unwrap_or(0) | RESPONSE);
        response.set_u16(ANSWERED_MESSAGE_ID, self.u16(MESSAGE_ID).unwrap_or(0));
        response.set_u16(DATA_SET_TYPE, NO_DATA_SET);
        response.set_u16(STATUS, status.code());
        // What was requested is what the response calls affected (PS3.7 10.1.4).
        for (affected, requested) in
            [(AFFECTED_SOP_CLASS, REQUESTED_SOP_CLASS), (AFFECTED_SOP_INSTANCE, REQUESTED_SOP_INSTANCE)]
        {
            let uid = self.elements.get(&affected).or_else(|| self.elements.get(&requested));
            if let Some(uid) = uid.filter(|uid| uid.len() <= 64) {
                response.elements.insert(affected, uid.clone());
            }
        }
        if let Some(comment) = comment {
            // LO: at most 64 characters, no backslash.
            let comment: String =
                comment.chars().map(|c| if matches!(c, ' '..='[' | ']'..='~') { c } else { '?' }).collect();
            response.set_text(ERROR_COMMENT, &comment[..comment.len().min(64)], b' ');
        }
        response
    }

    pub(in crate::adapters) fn to_bytes(&self) -> Vec<u8> {
        let body: usize = self.elements.values().map(|value| 8 + value.len()).sum();
        let mut bytes = Vec::with_capacity(12 + body);
        let group_length = (body as u32).to_le_bytes();
        let elements = self.elements.iter().map(|(element, value)| (*element, &value[..]));
        for (element, value) in std::iter::once((0, &group_length[..])).chain(elements) {
            bytes.extend([0, 0]);
            bytes.extend(element.to_le_bytes());
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend(value);
        }
        bytes
    }

    pub(in crate::adapters) fn u16(&self, element: u16) -> Result<u16, CommandError> {
        let value = self.elements.get(&element).ok_or(CommandError::Missing(element))?;
        let value = value.as_slice().try_into().map_err(|_| CommandError::Missing(element))?;
        Ok(u16::from_le_bytes(value))
    }

    /// A text without its padding; empty when there is none.
    pub(in crate::adapters) fn text(&self, element: u16) -> String {
        let value = self.elements.get(&element).map_or(&[][..], Vec::as_slice);
        String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_owned()
    }

    pub(in crate::adapters) fn set_u16(&mut self, element: u16, value: u16) {
        self.elements.insert(element, value.to_le_bytes().to_vec());
    }

    /// `padding` makes the length even: a space, for a UID a zero (PS3.5 6.2).
    pub(in crate::adapters) fn set_text(&mut self, element: u16, text: &str, padding: u8) {
        let mut value = text.as_bytes().to_vec();
        if !value.len().is_multiple_of(2) {
            value.push(padding);
        }
        self.elements.insert(element, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> CommandSet {
        let mut command = CommandSet::default();
        command.set_text(AFFECTED_SOP_CLASS, "1.2.840.10008.5.1.4.1.1.1", 0);
        command.set_u16(COMMAND_FIELD, C_STORE);
        command.set_u16(MESSAGE_ID, 7);
        command.set_u16(DATA_SET_TYPE, 1);
        command.set_text(AFFECTED_SOP_INSTANCE, "1.2.3", 0);
        command
    }

    #[test]
    fn a_command_is_read_as_it_was_written() {
        let bytes = store().to_bytes();
        let read = CommandSet::parse(&bytes).unwrap();
        assert_eq!(bytes[..8], [0, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(read.u16(COMMAND_FIELD), Ok(C_STORE));
        assert_eq!(read.text(AFFECTED_SOP_INSTANCE), "1.2.3");
        assert_eq!(read.text(ERROR_COMMENT), "");
        assert_eq!(read.u16(STATUS), Err(CommandError::Missing(STATUS)));
        assert_eq!(read.u16(AFFECTED_SOP_CLASS), Err(CommandError::Missing(AFFECTED_SOP_CLASS)));
    }

    #[test]
    fn a_response_names_what_it_answers() {
        let answer = store().response(Status::OutOfResources, Some(&"disk full: Ü\\".repeat(9)));
        let answer = CommandSet::parse(&answer.to_bytes()).unwrap();
        assert_eq!(answer.u16(COMMAND_FIELD), Ok(0x8001));
        assert_eq!(answer.u16(ANSWERED_MESSAGE_ID), Ok(7));
        assert_eq!(answer.u16(DATA_SET_TYPE), Ok(NO_DATA_SET));
        assert_eq!(answer.u16(STATUS), Ok(0xa700));
        assert_eq!(answer.text(AFFECTED_SOP_INSTANCE), "1.2.3");
        let comment = answer.text(ERROR_COMMENT);
        assert!(comment.starts_with("disk full: ??disk") && comment.len() == 64, "{comment}");
    }

    #[test]
    fn a_command_cut_short_anywhere_is_no_panic() {
        let bytes = store().to_bytes();
        for end in 1..bytes.len() {
            // At the end of an element it is a shorter command.
            match CommandSet::parse(&bytes[..end]) {
                Ok(shorter) => assert!(shorter.elements.len() < store().elements.len() + 1),
                Err(CommandError::EndsInside { .. } | CommandError::EndsInsideHeader(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(CommandSet::parse(&[8, 0, 0, 0, 0, 0, 0, 0]), Err(CommandError::Group { group: 8, at: 0 }));
        let told = CommandSet::parse(&[0, 0, 2, 0, 255, 255, 255, 255]).unwrap_err().to_string();
        assert_eq!(told, "the command ends inside element 0002 of group 0000 at byte 0");
    }
}
