//! Storage Commitment, push model (PS3.4 annex J): which of the objects that a modality names are durably here.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::{FileMetaTable, InMemDicomObject};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use serde::{Deserialize, Serialize};

use super::super::dicom::{Syntax, read_data_set};
use super::super::spool::Spool;
use super::command::{self, CommandSet};
use super::negotiation::STORAGE_COMMITMENT;
use crate::domain::SopInstanceUid;

/// The only instance that requests go to (PS3.4 J.3.5).
pub(super) const WELL_KNOWN_INSTANCE: &str = "1.2.840.10008.1.20.1.1";
/// The only action (PS3.4 J.3.2.1.1).
pub(super) const REQUEST: u16 = 1;
/// Bytes of a request: room for 5000 objects.
pub(super) const MOST_BYTES: usize = 1 << 20;

const TRANSACTION_UID: Tag = Tag(0x0008, 0x1195);
const FAILURE_REASON: Tag = Tag(0x0008, 0x1197);
const FAILED_SEQUENCE: Tag = Tag(0x0008, 0x1198);
const REFERENCED_SEQUENCE: Tag = Tag(0x0008, 0x1199);
const REFERENCED_CLASS: Tag = Tag(0x0008, 0x1150);
const REFERENCED_INSTANCE: Tag = Tag(0x0008, 0x1155);

/// Failure Reason (PS3.3 C.14.1.1): it is not here.
const NO_SUCH_INSTANCE: u16 = 0x0112;
/// Failure Reason: it is here, but of another SOP class.
const CLASS_INSTANCE_CONFLICT: u16 = 0x0119;

/// What a modality asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    #[serde(with = "uid_as_text")]
    pub(super) transaction: SopInstanceUid,
    objects: Vec<Reference>,
}

/// An object by its SOP Class and Instance UIDs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[String; 2]", into = "[String; 2]")]
struct Reference {
    class: String,
    instance: String,
}

impl From<[String; 2]> for Reference {
    fn from([class, instance]: [String; 2]) -> Self {
        Self { class, instance }
    }
}

impl From<Reference> for [String; 2] {
    fn from(Reference { class, instance }: Reference) -> Self {
        [class, instance]
    }
}

/// A transaction UID in the file of a request.
mod uid_as_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::SopInstanceUid;

    pub(super) fn serialize<S: Serializer>(uid: &SopInstanceUid, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(uid.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SopInstanceUid, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// What it is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    transaction: SopInstanceUid,
    committed: Vec<Reference>,
    failed: Vec<(Reference, u16)>,
}

impl Request {
    /// Reads the data set of an N-ACTION-RQ.
    ///
    /// # Errors
    /// In words, when it cannot be understood.
    pub(super) fn parse(bytes: &[u8], syntax: Syntax) -> Result<Self, String> {
        let object = read_data_set(bytes, syntax.encoding).map_err(|refused| refused.to_string())?;
        let text = |object: &InMemDicomObject, tag: Tag| -> Result<String, String> {
            let value =
                object.element(tag).ok().and_then(|element| element.to_str().ok().map(|text| text.into_owned()));
            value.map(|text| text.trim_end_matches(['\0', ' ']).to_owned()).ok_or(format!("it has no {tag}"))
        };
        let transaction =
            text(&object, TRANSACTION_UID)?.parse().map_err(|error| format!("{TRANSACTION_UID}: {error}"))?;
        let sequence = object.element(REFERENCED_SEQUENCE).ok().and_then(|element| element.items());
        let items =
            sequence.filter(|items| !items.is_empty()).ok_or(format!("it has no items in {REFERENCED_SEQUENCE}"))?;
        let objects = items.iter().map(|item| {
            Ok(Reference { class: text(item, REFERENCED_CLASS)?, instance: text(item, REFERENCED_INSTANCE)? })
        });
        Ok(Self { transaction, objects: objects.collect::<Result<_, String>>()? })
    }

    /// Looks into the spool for every object.
    pub(super) fn judge(&self, spool: &Spool) -> Report {
        let transaction = self.transaction.clone();
        let mut report = Report { transaction, committed: Vec::new(), failed: Vec::new() };
        for reference in self.objects.iter().cloned() {
            let uid = reference.instance.parse::<SopInstanceUid>();
            let files = uid.map(|uid| spool.find(&uid)).unwrap_or_default();
            if files.is_empty() {
                report.failed.push((reference, NO_SUCH_INSTANCE));
            } else if files.iter().any(|path| class_of(path).is_some_and(|class| class == reference.class)) {
                report.committed.push(reference);
            } else {
                report.failed.push((reference, CLASS_INSTANCE_CONFLICT));
            }
        }
        report
    }
}

/// The SOP class of a file that the spool keeps.
fn class_of(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(128)).ok()?;
    let meta = FileMetaTable::from_reader(BufReader::new(file.take(4096))).ok()?;
    Some(meta.media_storage_sop_class_uid().trim_end_matches('\0').to_owned())
}

impl Report {
    /// Event Type ID: 1 when all were found, 2 otherwise (PS3.4 J.3.3.1.1).
    fn event_type(&self) -> u16 {
        if self.failed.is_empty() { 1 } else { 2 }
    }

    /// The command set of the N-EVENT-REPORT-RQ.
    pub(super) fn event(&self, message_id: u16) -> CommandSet {
        let mut event = CommandSet::default();
        event.set_text(command::AFFECTED_SOP_CLASS, STORAGE_COMMITMENT.uid, 0);
        event.set_u16(command::COMMAND_FIELD, command::N_EVENT_REPORT);
        event.set_u16(command::MESSAGE_ID, message_id);
        event.set_u16(command::DATA_SET_TYPE, command::DATA_SET_FOLLOWS);
        event.set_text(command::AFFECTED_SOP_INSTANCE, WELL_KNOWN_INSTANCE, 0);
        event.set_u16(command::EVENT_TYPE, self.event_type());
        event
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.committed.len(), self.failed.len())
    }

    /// The data set of the N-EVENT-REPORT-RQ.
    ///
    /// # Errors
    /// In words, when it cannot be written.
    pub(super) fn to_bytes(&self, syntax_uid: &str) -> Result<Vec<u8>, String> {
        let uid = |tag, text: &str| DataElement::new(tag, VR::UI, PrimitiveValue::from(text));
        let item = |reference: &Reference| {
            let uids = [uid(REFERENCED_CLASS, &reference.class), uid(REFERENCED_INSTANCE, &reference.instance)];
            InMemDicomObject::from_element_iter(uids)
        };
        let mut object = InMemDicomObject::from_element_iter([uid(TRANSACTION_UID, self.transaction.as_str())]);
        if !self.committed.is_empty() {
            let items: Vec<_> = self.committed.iter().map(item).collect();
            object.put(DataElement::new(REFERENCED_SEQUENCE, VR::SQ, DataSetSequence::from(items)));
        }
        if !self.failed.is_empty() {
            let items = self.failed.iter().map(|(reference, reason)| {
                let mut item = item(reference);
                item.put(DataElement::new(FAILURE_REASON, VR::US, PrimitiveValue::from(*reason)));
                item
            });
            let items: Vec<_> = items.collect();
            object.put(DataElement::new(FAILED_SEQUENCE, VR::SQ, DataSetSequence::from(items)));
        }
        let syntax =
            TransferSyntaxRegistry.get(syntax_uid).ok_or_else(|| format!("no transfer syntax {syntax_uid}"))?;
        let mut bytes = Vec::new();
        object.write_dataset_with_ts(&mut bytes, syntax).map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::dicom::syntax_of;
    use super::super::super::spool::Reserve;
    use super::*;

    const EXPLICIT: &str = "1.2.840.10008.1.2.1";

    #[test]
    fn a_request_that_cannot_be_understood_is_told_what_it_lacks() {
        let parse = |bytes: &[u8]| Request::parse(bytes, syntax_of(EXPLICIT).unwrap()).unwrap_err();
        assert_eq!(parse(&[]), "it has no (0008,1195)");
        assert_eq!(parse(b"\x08\0\x95\x11UI\x04\x001..2"), "(0008,1195): component 2 of a unique identifier is empty");
        assert_eq!(parse(b"\x08\0\x95\x11UI\x04\x001.2\0"), "it has no items in (0008,1199)");
        assert!(parse(b"\x08\0\x95\x11UI\xff\xff1.2\0").contains("declares 65535 bytes"));
    }

    #[test]
    fn what_is_not_here_is_not_committed() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Reserve { bytes: 0, percent: 0 }).unwrap();
        let reference = |instance: &str| Reference { class: "1.2".to_owned(), instance: instance.to_owned() };
        let objects = vec![reference("1.2.3"), reference("../../etc")];
        let request = Request { transaction: "1.9".parse().unwrap(), objects: objects.clone() };
        let report = request.judge(&spool);
        assert_eq!((report.event_type(), report.counts()), (2, (0, 2)));
        assert!(report.failed.iter().all(|(_, reason)| *reason == NO_SUCH_INSTANCE));
        let bytes = report.to_bytes(EXPLICIT).unwrap();
        let read = read_data_set(&bytes, syntax_of(EXPLICIT).unwrap().encoding).unwrap();
        assert_eq!(read.element(FAILED_SEQUENCE).unwrap().items().unwrap().len(), 2);
    }
}
