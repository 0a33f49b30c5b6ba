//! One association with the archive, as SCU of Storage (PS3.4 annex B).

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use dicom_ul::pdu::{
    AbortRQServiceProviderReason, AssociationRJResult, AssociationRQ, Pdu, PresentationContextProposed,
    PresentationContextResultReason, UserVariableItem,
};
use rustls::pki_types::ServerName;

use super::super::dicom::derived::class_of;
use super::super::dicom::{TRANSFER_SYNTAXES, TransferSyntax};
use super::super::listener::command::{self, CommandError, CommandSet};
use super::super::listener::negotiation::APPLICATION_CONTEXT;
use super::super::listener::tls::Tls;
use super::super::listener::wire::{AnswerError, Wire, WireError};
use super::super::listener::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION};
use crate::config::{ArchiveAddress, ArchiveConfig};
use crate::domain::{ArchiveTrouble, What};

/// For a connection to be made.
pub const CONNECT: Duration = Duration::from_secs(5);
/// For TLS to be agreed on, and then for the association.
pub const ASSOCIATION: Duration = Duration::from_secs(30);
/// For the answer to an object.
pub const ANSWER: Duration = Duration::from_secs(60);
/// Within a message.
pub const NETWORK: Duration = Duration::from_secs(30);
/// Of a PDU that is taken.
pub const PDU_BYTES: u32 = 16_384;

/// In which objects are sent: explicit and implicit VR little endian.
pub fn transfer_syntaxes() -> &'static [TransferSyntax] {
    &TRANSFER_SYNTAXES[..2]
}

/// Element and value of a request's priority (PS3.7 E.1).
const PRIORITY: u16 = 0x0700;
const MEDIUM: u16 = 0x0000;

/// Why the archive could not be spoken to.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("its name cannot be looked up: {0}")]
    Name(io::Error),
    #[error("its name has no address")]
    NoAddress,
    #[error("{0} is no name that a certificate can have")]
    NoServerName(String),
    #[error("it cannot be connected to: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Command(#[from] CommandError),
    #[error("{0}")]
    Answer(#[from] AnswerError),
    #[error("it rejects the association {how}: {why}")]
    Rejected { how: &'static str, why: String },
    #[error("it gives up the association")]
    Aborted,
    #[error("it sends what is not due")]
    NotDue,
    #[error("this program ends")]
    Closing,
}

impl CallError {
    /// As the panel says it.
    pub(super) fn kind(&self) -> ArchiveTrouble {
        match self {
            Self::Name(_) | Self::NoAddress => ArchiveTrouble::NoAddress,
            Self::NoServerName(_) => ArchiveTrouble::Certificate,
            Self::Connect(_) | Self::Closing => ArchiveTrouble::Unreachable,
            Self::Rejected { .. } => ArchiveTrouble::Rejected,
            Self::Wire(error) | Self::Answer(AnswerError::Wire(error)) => match error {
                WireError::Tls(_) | WireError::SpeaksTls => ArchiveTrouble::Certificate,
                WireError::Closed | WireError::TimedOut | WireError::Io(_) => ArchiveTrouble::Unreachable,
                WireError::TooLarge { .. }
                | WireError::NotDue(_)
                | WireError::Malformed(_)
                | WireError::Unwritable(_) => ArchiveTrouble::WrongAnswer,
            },
            Self::Command(_)
            | Self::Aborted
            | Self::NotDue
            | Self::Answer(AnswerError::Command(_) | AnswerError::Aborted | AnswerError::NotDue) => {
                ArchiveTrouble::WrongAnswer
            }
        }
    }
}

/// Why the archive takes no objects of a kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it accepts no {} ({}): {}", what.name(), class_of(*what), reason)]
pub(super) struct NotAccepted {
    what: What,
    reason: &'static str,
    /// Whether it will never do so, as far as it says.
    pub(super) for_good: bool,
}

/// What the archive said to one kind.
struct Context {
    what: What,
    id: u8,
    agreed: Result<&'static TransferSyntax, NotAccepted>,
}

/// An association that was accepted.
pub(super) struct Association {
    wire: Wire,
    contexts: Vec<Context>,
    /// The largest PDU that the archive takes, 0 for any.
    most: u32,
    message: u16,
}

impl Association {
    /// Calls the archive; `connected` is given the socket as soon as there is one, so that it can be shut, and says
    /// whether to go on.
    pub(super) fn open(
        config: &ArchiveConfig,
        tls: Option<&Tls>,
        connected: impl FnOnce(&TcpStream) -> bool,
    ) -> Result<Self, CallError> {
        let (socket, name) = connect(&config.address)?;
        if !connected(&socket) {
            return Err(CallError::Closing);
        }
        let mut wire = Wire::called_by_name(socket, NETWORK, tls, name).map_err(CallError::Connect)?;
        match agree(&mut wire, config) {
            Ok((contexts, most)) => Ok(Self { wire, contexts, most, message: 0 }),
            Err(error @ CallError::Rejected { .. }) => {
                wire.end();
                Err(error)
            }
            Err(error) => {
                give_up(&mut wire);
                Err(error)
            }
        }
    }

    /// In which transfer syntax it takes objects of that kind.
    pub(super) fn accepts(&self, what: What) -> Result<&'static TransferSyntax, NotAccepted> {
        match self.contexts.iter().find(|context| context.what == what) {
            Some(context) => context.agreed.clone(),
            None => Err(NotAccepted { what, reason: "it was not asked for", for_good: false }),
        }
    }

    /// Sends one object; gives the status of the answer, and what it says beside.
    pub(super) fn store(&mut self, what: What, instance: &str, data: &[u8]) -> Result<(u16, String), CallError> {
        let context = self.contexts.iter().find(|context| context.what == what).map_or(0, |context| context.id);
        self.message = self.message.checked_add(1).unwrap_or(1);
        let mut request = CommandSet::default();
        request.set_text(command::AFFECTED_SOP_CLASS, class_of(what), 0);
        request.set_u16(command::COMMAND_FIELD, command::C_STORE);
        request.set_u16(command::MESSAGE_ID, self.message);
        request.set_u16(PRIORITY, MEDIUM);
        request.set_u16(command::DATA_SET_TYPE, command::DATA_SET_FOLLOWS);
        request.set_text(command::AFFECTED_SOP_INSTANCE, instance, 0);
        let outcome = self
            .wire
            .send_message(context, &request.to_bytes(), data, self.most)
            .map_err(CallError::from)
            .and_then(|()| self.answer());
        if outcome.is_err() {
            give_up(&mut self.wire);
        }
        outcome
    }

    /// Status and comment of the C-STORE-RSP.
    fn answer(&mut self) -> Result<(u16, String), CallError> {
        let answer = self.wire.receive_answer(command::C_STORE, Instant::now() + ANSWER, PDU_BYTES)?;
        if answer.u16(command::ANSWERED_MESSAGE_ID)? != self.message {
            return Err(CallError::Answer(AnswerError::NotDue));
        }
        Ok((answer.u16(command::STATUS)?, answer.text(command::ERROR_COMMENT)))
    }

    /// Ends it in good order. All that was sent has been answered: what goes wrong from here on changes nothing.
    pub(super) fn release(mut self) {
        if self.wire.send(&Pdu::ReleaseRQ).is_ok() {
            let _ = self.wire.receive_pdu(Instant::now() + NETWORK, PDU_BYTES);
        }
        self.wire.end();
    }
}

/// Lets the archive know where it can be told.
fn give_up(wire: &mut Wire) {
    if wire.is_agreed() {
        wire.abort(AbortRQServiceProviderReason::ReasonNotSpecified);
    } else {
        wire.end();
    }
}

/// A connection, and the name that a certificate has to have.
fn connect(address: &ArchiveAddress) -> Result<(TcpStream, ServerName<'static>), CallError> {
    let (addresses, name): (Vec<SocketAddr>, _) = match address {
        ArchiveAddress::Ip(address) => (vec![*address], ServerName::from(address.ip().to_canonical())),
        ArchiveAddress::Name(name, port) => {
            let found = (name.as_str(), *port).to_socket_addrs().map_err(CallError::Name)?;
            let server = ServerName::try_from(name.clone()).map_err(|_| CallError::NoServerName(name.clone()))?;
            (found.collect(), server)
        }
    };
    let mut failed = CallError::NoAddress;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(socket) => return Ok((socket, name)),
            Err(error) => failed = CallError::Connect(error),
        }
    }
    Err(failed)
}

/// Asks for the association; gives what was said to each kind, and the largest PDU that the archive takes.
fn agree(wire: &mut Wire, config: &ArchiveConfig) -> Result<(Vec<Context>, u32), CallError> {
    wire.handshake(Instant::now() + ASSOCIATION)?;
    let syntaxes = transfer_syntaxes();
    let asked: Vec<(What, u8)> = config.what.iter().copied().zip((1..).step_by(2)).collect();
    let proposed = asked.iter().map(|(what, id)| PresentationContextProposed {
        id: *id,
        abstract_syntax: class_of(*what).to_owned(),
        transfer_syntaxes: syntaxes.iter().map(|syntax| syntax.uid.to_owned()).collect(),
    });
    wire.send(&Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: config.calling.as_str().to_owned(),
        called_ae_title: config.called.as_str().to_owned(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: proposed.collect(),
        user_variables: vec![
            UserVariableItem::MaxLength(PDU_BYTES),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.to_owned()),
        ],
    }))?;
    let agreed = match wire.receive_reply(Instant::now() + ASSOCIATION)? {
        Pdu::AssociationAC(agreed) => agreed,
        Pdu::AssociationRJ(rejected) => {
            let how = match rejected.result {
                AssociationRJResult::Permanent => "for good",
                AssociationRJResult::Transient => "for now",
            };
            return Err(CallError::Rejected { how, why: rejected.source.to_string() });
        }
        Pdu::AbortRQ { .. } => return Err(CallError::Aborted),
        _ => return Err(CallError::NotDue),
    };
    let most = agreed.user_variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(most) => Some(*most),
        _ => None,
    });
    let contexts = asked.into_iter().map(|(what, id)| {
        let result = agreed.presentation_contexts.iter().find(|result| result.id == id);
        let not = |reason, for_good| NotAccepted { what, reason, for_good };
        let agreed = match result.map(|result| (&result.reason, result.transfer_syntax.trim_end_matches('\0'))) {
            None => Err(not("no answer", false)),
            Some((PresentationContextResultReason::Acceptance, chosen)) => {
                let known = syntaxes.iter().find(|known| known.uid == chosen);
                known.ok_or_else(|| not("a transfer syntax that was not proposed", true))
            }
            Some((PresentationContextResultReason::UserRejection, _)) => Err(not("rejected by its user", false)),
            Some((PresentationContextResultReason::NoReason, _)) => Err(not("without a reason", false)),
            Some((PresentationContextResultReason::AbstractSyntaxNotSupported, _)) => {
                Err(not("the SOP class is not supported", true))
            }
            Some((PresentationContextResultReason::TransferSyntaxesNotSupported, _)) => {
                Err(not("the transfer syntaxes are not supported", true))
            }
        };
        Context { what, id, agreed }
    });
    Ok((contexts.collect(), most.unwrap_or(0)))
}
