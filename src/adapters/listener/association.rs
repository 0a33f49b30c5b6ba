//! One association from its request to its end, and the messages within it (PS3.7 chapters 9 and 10).
//!
//! ```text
//!             command PDVs            last one, with data set         last data PDV
//!   Idle ──────────────────► Command ─────────────────────► Transfer ──────────────► Idle, answered
//!                               └── last one, no data set ──► Idle, answered
//! ```

use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use dicom_object::meta::FileMetaTableBuilder;
use dicom_ul::pdu::{AbortRQServiceProviderReason, AbortRQSource, PDataValue, PDataValueType, Pdu};

use super::super::dicom::syntax_of;
use super::super::file;
use super::super::spool::{Incoming, Kept, Spool, SpoolError};
use super::command::{self, CommandError, CommandSet, Status};
use super::commitment::{self, Request};
use super::data_set::{DataSet, DataSetError};
use super::negotiation::{self, Context, STORAGE_CLASSES, STORAGE_COMMITMENT, VERIFICATION};
use super::reports::{Claim, Reports};
use super::slots::{Slot, Slots};
use super::tls::Tls;
use super::wire::{Wire, WireError};
use super::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION};
use crate::config::{Limits, ListenerConfig};
use crate::domain::{SopInstanceUid, UidError};

const REPORT_TAKEN: u16 = command::N_EVENT_REPORT | command::RESPONSE;
/// Reports on one association that are not yet answered.
const MOST_REPORTED: usize = 100;

/// Why an association ended otherwise than by its release.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("the peer aborted it")]
    AbortedByPeer,
    #[error("{0}")]
    Command(#[from] CommandError),
    #[error("{0}")]
    Protocol(&'static str),
    #[error("more than {0} bytes in one association (limits.association_mb)")]
    TooMuch(u64),
    #[error("it made room for another, or this program ends")]
    GaveWay,
}

impl Ended {
    fn abort_reason(&self) -> Option<AbortRQServiceProviderReason> {
        match self {
            Self::Wire(error) => error.abort_reason(),
            Self::AbortedByPeer => None,
            Self::Command(_) | Self::Protocol(_) => Some(AbortRQServiceProviderReason::InvalidPduParameter),
            Self::TooMuch(_) | Self::GaveWay => Some(AbortRQServiceProviderReason::ReasonNotSpecified),
        }
    }
}

/// Why an object was not kept.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Spool(#[from] SpoolError),
    #[error("more than {0} bytes (limits.object_mb)")]
    TooLarge(u64),
    #[error("{0}")]
    DataSet(#[from] DataSetError),
    #[error("{0}")]
    Uid(#[from] UidError),
    #[error("SOP class {found:?}, the presentation context is for {expected}")]
    OtherClass { found: String, expected: &'static str },
    #[error("the data set is of {found:?}, the command of {expected:?}")]
    OtherIdentity { found: String, expected: String },
    #[error("the file header cannot be written: {0}")]
    Header(String),
}

impl Refused {
    fn status(&self) -> Status {
        match self {
            Self::Spool(_) | Self::TooLarge(_) => Status::OutOfResources,
            Self::DataSet(_) | Self::Header(_) => Status::CannotUnderstand,
            Self::Uid(_) => Status::InvalidInstance,
            Self::OtherClass { .. } => Status::ClassNotSupported,
            Self::OtherIdentity { .. } => Status::DoesNotMatch,
        }
    }

    /// What the peer is told; paths of this machine are not its business.
    fn comment(&self) -> String {
        match self {
            Self::Spool(SpoolError::NoSpace { .. }) => "the disk is nearly full".to_owned(),
            Self::Spool(_) => "the object cannot be stored".to_owned(),
            _ => self.to_string(),
        }
    }
}

/// An object that is being received.
struct Receiving<'a> {
    uid: SopInstanceUid,
    incoming: Incoming<'a>,
    data_set: DataSet,
}

/// What becomes of a data set.
enum Body<'a> {
    Store(Result<Box<Receiving<'a>>, Refused>),
    /// A request for storage commitment, as far as it has come in; `None` when it was too long.
    Commitment(Option<Vec<u8>>),
    /// The operation is not served.
    Unserved,
}

/// A message whose data set comes in.
struct Transfer<'a> {
    context: Context,
    command: CommandSet,
    body: Body<'a>,
    bytes: u64,
    started: Instant,
}

enum State<'a> {
    Idle,
    Command { context: Context, bytes: Vec<u8>, started: Instant },
    Transfer(Box<Transfer<'a>>),
}

/// A report that was sent.
struct Reported<'a> {
    message_id: u16,
    transaction: SopInstanceUid,
    /// `None` for a peer that cannot be called.
    claim: Option<Claim<'a>>,
}

struct Association<'a> {
    wire: Wire,
    spool: &'a Spool,
    config: &'a ListenerConfig,
    reports: &'a Reports,
    limits: &'a Limits,
    slot: Slot<'a>,
    contexts: Vec<Context>,
    /// AE title and address, for the log.
    peer: String,
    ae_title: String,
    peer_pdu_bytes: u32,
    state: State<'a>,
    /// Storage commitments on which the report is not yet answered.
    reported: Vec<Reported<'a>>,
    next_message_id: u16,
    bytes: u64,
    stored: u64,
}

/// Serves the peer at the other end of `socket` until it has gone.
pub(super) fn serve(
    socket: TcpStream,
    address: SocketAddr,
    config: &ListenerConfig,
    spool: &Spool,
    slots: &Slots,
    reports: &Reports,
    tls: Option<&Tls>,
) {
    let ip = address.ip().to_canonical();
    if !config.peers.iter().any(|peer| peer.calls_from(ip)) {
        log::warn!("{ip}: connection refused, nobody in listener.peers calls from there");
        return;
    }
    let limits = &config.limits;
    let wire = socket.try_clone();
    let wire = wire.and_then(|theirs| Ok((theirs, Wire::accepted(socket, limits.network_timeout, tls)?)));
    let (theirs, mut wire) = match wire {
        Ok(wire) => wire,
        Err(error) => {
            log::error!("{ip}: connection dropped: {error}");
            return;
        }
    };
    let Some(slot) = slots.enter(theirs) else { return };
    // One deadline for both: a peer that dawdles over TLS has no more time than others.
    let deadline = Instant::now() + limits.association_timeout;
    let request = match wire.handshake(deadline).and_then(|()| wire.receive_request(deadline)) {
        Ok(Pdu::AssociationRQ(request)) => request,
        Ok(_) => return,
        // Port scans and health checks connect and go.
        Err(WireError::Closed) => {
            log::debug!("{ip}: closed before any association request");
            return;
        }
        Err(error) => {
            log::warn!("{ip}: no association: {error}");
            match error.abort_reason() {
                Some(reason) if wire.is_agreed() => wire.abort(reason),
                // The alert of TLS has been sent.
                Some(_) | None => wire.end(),
            }
            return;
        }
    };
    let agreed = negotiation::negotiate(request, ip, config)
        .and_then(|agreed| if slot.establish() { Ok(agreed) } else { Err(negotiation::too_many()) });
    let agreed = match agreed {
        Ok(agreed) => agreed,
        Err(refusal) => {
            log::warn!("{ip}: association refused: {}", refusal.why);
            if wire.send(&refusal.answer.into()).is_ok() {
                wire.end();
            }
            return;
        }
    };
    if !agreed.refused.is_empty() {
        // Many senders propose all that they know; that matters only where nothing is left.
        let level = if agreed.contexts.is_empty() { log::Level::Warn } else { log::Level::Debug };
        let (some, more) = agreed.refused.split_at(agreed.refused.len().min(5));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        log::log!(level, "{} at {ip}: not accepted: {}{more}", agreed.peer, some.join(", "));
    }
    if let Err(error) = wire.send(&agreed.answer.into()) {
        log::warn!("{} at {ip}: no association: {error}", agreed.peer);
        return;
    }
    let mut association = Association {
        wire,
        spool,
        config,
        reports,
        limits,
        slot,
        contexts: agreed.contexts,
        peer: format!("{} at {ip}", agreed.peer),
        ae_title: agreed.peer,
        peer_pdu_bytes: agreed.peer_pdu_bytes,
        state: State::Idle,
        reported: Vec::new(),
        next_message_id: 1,
        bytes: 0,
        stored: 0,
    };
    log::debug!("{}: association established", association.peer);
    let ended = association.exchange();
    let unfinished = match std::mem::replace(&mut association.state, State::Idle) {
        State::Transfer(transfer) => format!(", an object was cut off after {} bytes and dropped", transfer.bytes),
        State::Idle | State::Command { .. } => String::new(),
    };
    for Reported { transaction, claim, .. } in &association.reported {
        let then = if claim.is_some() { "; it will be called" } else { "" };
        log::warn!("{}: left before it took the report on storage commitment {transaction}{then}", association.peer);
    }
    match ended {
        Ok(()) => log::debug!("{}: association released, {} stored", association.peer, association.stored),
        Err(why) => {
            log::warn!("{}: association ended: {why}{unfinished}; {} stored", association.peer, association.stored);
            if let Some(reason) = why.abort_reason() {
                association.wire.abort(reason);
            }
        }
    }
}

impl<'a> Association<'a> {
    /// Messages until the release.
    fn exchange(&mut self) -> Result<(), Ended> {
        loop {
            let now = Instant::now();
            let deadline = match &self.state {
                State::Idle => now + self.limits.idle_timeout,
                State::Command { started, .. } => self.deadline_within_message(*started),
                State::Transfer(transfer) => self.deadline_within_message(transfer.started),
            };
            match self.wire.receive_pdu(deadline, self.limits.pdu_bytes)? {
                Pdu::PData { data } => {
                    for value in data {
                        self.take(value)?;
                    }
                }
                Pdu::ReleaseRQ => {
                    self.wire.send(&Pdu::ReleaseRP)?;
                    self.wire.end();
                    return match self.state {
                        State::Idle => Ok(()),
                        State::Command { .. } | State::Transfer(_) => Err(Ended::AbortedByPeer),
                    };
                }
                Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(_) | AbortRQSource::ServiceUser } => {
                    return Err(Ended::AbortedByPeer);
                }
                _ => return Err(Ended::Protocol("a PDU that is not due here")),
            }
        }
    }

    fn deadline_within_message(&self, started: Instant) -> Instant {
        (Instant::now() + self.limits.network_timeout).min(started + self.limits.object_timeout)
    }

    /// Takes one piece of a message.
    fn take(&mut self, value: PDataValue) -> Result<(), Ended> {
        self.bytes += value.data.len() as u64;
        if self.bytes > self.limits.association_bytes {
            return Err(Ended::TooMuch(self.limits.association_bytes));
        }
        let id = value.presentation_context_id;
        match (std::mem::replace(&mut self.state, State::Idle), value.value_type.clone()) {
            (State::Idle, PDataValueType::Command) => {
                let context = self.contexts.iter().find(|context| context.id == id).copied();
                let context =
                    context.ok_or(Ended::Protocol("a message in a presentation context that was not accepted"))?;
                if !self.slot.start_message() {
                    return Err(Ended::GaveWay);
                }
                self.take_command(context, Vec::new(), &value, Instant::now())
            }
            (State::Command { context, bytes, started }, PDataValueType::Command) if context.id == id => {
                self.take_command(context, bytes, &value, started)
            }
            (State::Transfer(transfer), PDataValueType::Data) if transfer.context.id == id => {
                self.take_data(transfer, &value)
            }
            (State::Idle, PDataValueType::Data) => Err(Ended::Protocol("a data set without a command")),
            (State::Command { .. }, _) => Err(Ended::Protocol("a command that is interrupted by something else")),
            (State::Transfer(transfer), _) => {
                // Put back for the log.
                self.state = State::Transfer(transfer);
                Err(Ended::Protocol("a data set that is interrupted by something else"))
            }
        }
    }

    fn take_command(
        &mut self,
        context: Context,
        mut bytes: Vec<u8>,
        value: &PDataValue,
        started: Instant,
    ) -> Result<(), Ended> {
        bytes.extend(&value.data);
        if bytes.len() > command::MOST_BYTES {
            return Err(Ended::Protocol("a command of more than 16 KiB"));
        }
        if !value.is_last {
            self.state = State::Command { context, bytes, started };
            return Ok(());
        }
        let command = CommandSet::parse(&bytes)?;
        let field = command.u16(command::COMMAND_FIELD)?;
        let has_data_set = command.u16(command::DATA_SET_TYPE)? != command::NO_DATA_SET;
        // Cancellations and responses name the message that they belong to instead.
        if field != command::C_CANCEL && field & command::RESPONSE == 0 {
            command.u16(command::MESSAGE_ID)?;
        }
        if has_data_set {
            let body = match field {
                command::C_STORE => Body::Store(self.start_store(context, &command).map(Box::new)),
                command::N_ACTION if context.class == &STORAGE_COMMITMENT => Body::Commitment(Some(Vec::new())),
                _ => Body::Unserved,
            };
            if let Body::Store(Err(refused)) = &body {
                self.log_refused(&command, refused);
            }
            self.state = State::Transfer(Box::new(Transfer { context, command, body, bytes: 0, started }));
            return Ok(());
        }
        match field {
            command::C_CANCEL => {}
            command::C_ECHO if context.class == &VERIFICATION => {
                log::info!("{}: verified (C-ECHO)", self.peer);
                self.answer(context, &command.response(Status::Success, None))?;
            }
            REPORT_TAKEN => self.take_report_answer(&command)?,
            command::C_STORE => {
                log::warn!("{}: refused an object: the command announces no data set", self.peer);
                self.answer(context, &command.response(Status::CannotUnderstand, Some("no data set")))?;
            }
            _ => self.answer_unrecognized(context, &command, field)?,
        }
        self.end_message()
    }

    /// Takes the answer to a report that was sent here.
    fn take_report_answer(&mut self, command: &CommandSet) -> Result<(), Ended> {
        let (answered, status) = (command.u16(command::ANSWERED_MESSAGE_ID)?, command.u16(command::STATUS)?);
        let Some(at) = self.reported.iter().position(|reported| reported.message_id == answered) else {
            return Err(Ended::Protocol("a response to nothing that was asked"));
        };
        let Reported { transaction, claim, .. } = self.reported.swap_remove(at);
        match claim {
            // A modality that expects its report on another association refuses it here.
            Some(_) if status != 0 => {
                let peer = &self.peer;
                log::warn!("{peer}: refused the report on storage commitment {transaction}, status {status:04X}");
            }
            claim => {
                log::info!("{}: took the report on storage commitment {transaction}, status {status:04X}", self.peer);
                if let Some(claim) = claim {
                    claim.settle();
                }
            }
        }
        Ok(())
    }

    fn answer_unrecognized(&mut self, context: Context, command: &CommandSet, field: u16) -> Result<(), Ended> {
        log::warn!("{}: refused operation {field:04x} for {}", self.peer, context.class.name);
        if field & command::RESPONSE != 0 {
            return Err(Ended::Protocol("a response to nothing that was asked"));
        }
        self.answer(context, &command.response(Status::UnrecognizedOperation, None))
    }

    /// Judges a C-STORE-RQ before its data is taken.
    fn start_store(&self, context: Context, command: &CommandSet) -> Result<Receiving<'a>, Refused> {
        let class = command.text(command::AFFECTED_SOP_CLASS);
        if class != context.class.uid || !STORAGE_CLASSES.contains(context.class) {
            return Err(Refused::OtherClass { found: class, expected: context.class.name });
        }
        let uid: SopInstanceUid = command.text(command::AFFECTED_SOP_INSTANCE).parse()?;
        let syntax = syntax_of(context.syntax.uid).map_err(|refused| Refused::Header(refused.to_string()))?;
        let head = self.file_head(context, &uid)?;
        let mut incoming = self.spool.receive()?;
        incoming.write_envelope(&head)?;
        // The same bytes mean something else under another transfer syntax.
        incoming.identify_by(context.syntax.uid.as_bytes());
        let most_inflated = file::Limits::default().inflated_bytes;
        Ok(Receiving { uid, incoming, data_set: DataSet::new(syntax, most_inflated) })
    }

    /// What stands before the data set in a file (PS3.10 7.1); the preamble is all zeros.
    fn file_head(&self, context: Context, uid: &SopInstanceUid) -> Result<Vec<u8>, Refused> {
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(context.class.uid)
            .media_storage_sop_instance_uid(uid.as_str())
            .transfer_syntax(context.syntax.uid)
            .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
            .implementation_version_name(IMPLEMENTATION_VERSION)
            .source_application_entity_title(self.ae_title.as_str())
            .build()
            .map_err(|error| Refused::Header(error.to_string()))?;
        let mut head = vec![0; 128];
        head.extend(b"DICM");
        meta.write(&mut head).map_err(|error| Refused::Header(error.to_string()))?;
        Ok(head)
    }

    fn take_data(&mut self, mut transfer: Box<Transfer<'a>>, value: &PDataValue) -> Result<(), Ended> {
        transfer.bytes += value.data.len() as u64;
        match &mut transfer.body {
            // What is refused is still read to its end: only then is an answer due (PS3.7 9.3.1).
            Body::Store(Err(_)) | Body::Unserved | Body::Commitment(None) => {}
            Body::Store(Ok(receiving)) => {
                if let Err(refused) = receive(receiving, &value.data, transfer.bytes, self.limits.object_bytes) {
                    self.log_refused(&transfer.command, &refused);
                    transfer.body = Body::Store(Err(refused));
                }
            }
            Body::Commitment(Some(bytes)) => {
                bytes.extend(&value.data);
                if bytes.len() > commitment::MOST_BYTES {
                    transfer.body = Body::Commitment(None);
                }
            }
        }
        if !value.is_last {
            self.state = State::Transfer(transfer);
            return Ok(());
        }
        let Transfer { context, command, body, bytes, started } = *transfer;
        match body {
            Body::Unserved => {
                let field = command.u16(command::COMMAND_FIELD)?;
                self.answer_unrecognized(context, &command, field)?;
            }
            Body::Commitment(request) => self.commit(context, &command, request.as_deref())?,
            Body::Store(Err(refused)) => {
                self.answer(context, &command.response(refused.status(), Some(&refused.comment())))?;
            }
            Body::Store(Ok(receiving)) => {
                let uid = receiving.uid.clone();
                match finish(*receiving, context) {
                    Ok(kept) => {
                        // Durable and queued: from here on the sender may forget it.
                        self.answer(context, &command.response(Status::Success, None))?;
                        self.stored += 1;
                        let what = match kept {
                            Kept::New(_) => "stored",
                            Kept::Again => "had already stored",
                            Kept::Differing(_) => "stored beside a DIFFERING object of the same UID",
                        };
                        let (kilobytes, ms) = (bytes.div_ceil(1000), started.elapsed().as_millis());
                        let (class, syntax) = (context.class.name, context.syntax.name);
                        log::info!("{}: {what} {uid} ({class}, {syntax}, {kilobytes} kB) in {ms} ms", self.peer);
                    }
                    Err(refused) => {
                        self.log_refused(&command, &refused);
                        self.answer(context, &command.response(refused.status(), Some(&refused.comment())))?;
                    }
                }
            }
        }
        self.end_message()
    }

    /// Answers a request for storage commitment and reports on the same association what was found.
    ///
    /// What is in the spool is durable, so the report is due at once.
    fn commit(&mut self, context: Context, command: &CommandSet, request: Option<&[u8]>) -> Result<(), Ended> {
        let parsed = if command.text(command::REQUESTED_SOP_INSTANCE) != commitment::WELL_KNOWN_INSTANCE {
            Err((Status::NoSuchInstance, "it is not for the well-known instance".to_owned()))
        } else if command.u16(command::ACTION_TYPE) != Ok(commitment::REQUEST) {
            Err((Status::NoSuchAction, "another action than 1".to_owned()))
        } else {
            let too_long = || format!("more than {} bytes", commitment::MOST_BYTES);
            let syntax = syntax_of(context.syntax.uid).map_err(|refused| refused.to_string());
            let parsed = syntax.and_then(|syntax| Request::parse(request.ok_or_else(too_long)?, syntax));
            parsed.map_err(|why| (Status::InvalidArgument, why))
        };
        let request = match parsed {
            Ok(request) => request,
            Err((status, why)) => {
                log::warn!("{}: refused a storage commitment request, status {:04X}: {why}", self.peer, status.code());
                return self.answer(context, &command.response(status, None));
            }
        };
        let transaction = request.transaction.clone();
        let report = request.judge(self.spool);
        let data = match report.to_bytes(context.syntax.uid) {
            Ok(data) => data,
            Err(why) => {
                log::error!("{}: no report on storage commitment {transaction}: {why}", self.peer);
                return self.answer(context, &command.response(Status::InvalidArgument, None));
            }
        };
        if self.reported.len() >= MOST_REPORTED {
            return Err(Ended::Protocol("requests for storage commitment and no answer to the reports"));
        }
        let claim = match self.config.report_to(&self.ae_title) {
            None => None,
            // From the answer on the report is owed, also when this program or its power ends.
            Some(_) => match self.reports.owe(&self.ae_title, &request) {
                Ok(claim) => Some(claim),
                Err(why) => {
                    log::error!("{}: refused storage commitment {transaction}: {why}", self.peer);
                    return self.answer(context, &command.response(Status::ResourceLimitation, None));
                }
            },
        };
        self.answer(context, &command.response(Status::Success, None))?;
        let message_id = self.next_message_id;
        self.next_message_id = self.next_message_id.wrapping_add(1);
        self.reported.push(Reported { message_id, transaction: transaction.clone(), claim });
        let event = report.event(message_id).to_bytes();
        self.wire.send_message(context.id, &event, &data, self.peer_pdu_bytes)?;
        let (committed, failed) = report.counts();
        log::info!("{}: storage commitment {transaction}: {committed} committed, {failed} not here", self.peer);
        Ok(())
    }

    fn log_refused(&self, command: &CommandSet, refused: &Refused) {
        let uid: String = command.text(command::AFFECTED_SOP_INSTANCE).chars().take(64).collect();
        log::warn!("{}: refused {uid:?} with status {:04X}: {refused}", self.peer, refused.status().code());
    }

    fn answer(&mut self, context: Context, response: &CommandSet) -> Result<(), Ended> {
        Ok(self.wire.send_command(context.id, &response.to_bytes(), self.peer_pdu_bytes)?)
    }

    fn end_message(&mut self) -> Result<(), Ended> {
        if self.slot.end_message() { Ok(()) } else { Err(Ended::GaveWay) }
    }
}

fn receive(receiving: &mut Receiving<'_>, data: &[u8], bytes: u64, most: u64) -> Result<(), Refused> {
    if bytes > most {
        return Err(Refused::TooLarge(most));
    }
    receiving.data_set.push(data)?;
    Ok(receiving.incoming.write(data)?)
}

/// Judges an object that has come in completely, and keeps it.
fn finish(receiving: Receiving<'_>, context: Context) -> Result<Kept, Refused> {
    let Receiving { uid, incoming, data_set } = receiving;
    let identity = data_set.finish()?;
    for (found, expected) in [(identity.sop_class.as_str(), context.class.uid), (&identity.sop_instance, uid.as_str())]
    {
        if found != expected {
            return Err(Refused::OtherIdentity { found: found.to_owned(), expected: expected.to_owned() });
        }
    }
    Ok(incoming.keep(&uid)?)
}
