//! Reports on storage commitment that are owed to peers which have gone (PS3.4 J.3.3): kept on disk until they are
//! taken, and delivered on an association of our own.
//!
//! ```text
//! SPOOL/commitments/NUMBER.json     one request that was answered "success" and not yet reported on
//! ```
//! A request is durable before it is answered. While the association that it came on is there, the report is that
//! association's business; once it has gone without taking it, this one's.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dicom_ul::pdu::{
    AbortRQServiceProviderReason, AssociationRQ, Pdu, PresentationContextProposed, PresentationContextResultReason,
    RequestorRoles, UserVariableItem,
};
use serde::{Deserialize, Serialize};

use super::super::dicom::TRANSFER_SYNTAXES;
use super::super::spool::Spool;
use super::command::{self, CommandError};
use super::commitment::Request;
use super::negotiation::{APPLICATION_CONTEXT, STORAGE_COMMITMENT};
use super::tls::Tls;
use super::wire::{AnswerError, Wire, WireError};
use super::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION};
use crate::config::ListenerConfig;

/// Requests that are kept at the same time; more are refused.
const MOST: usize = 1000;
/// For a connection to a peer.
const CONNECT: Duration = Duration::from_secs(5);
/// A retry is put off twice as long as the one before, this often.
const DOUBLINGS: u32 = 6;

/// Why a request could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum ReportsError {
    /// A file or folder cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Peers do not take their reports.
    #[error("{0} reports on storage commitment are owed, no more requests are taken")]
    TooMany(usize),
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ReportsError {
    let path = path.to_owned();
    move |source| ReportsError::Io { action, path, source }
}

/// A request as it lies on the disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owed {
    peer: String,
    request: Request,
}

#[derive(Debug)]
struct Entry {
    peer: String,
    request: Request,
    /// By the association that it came on.
    held: bool,
    tries: u32,
    due: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<u64, Entry>,
    next_number: u64,
    closing: bool,
    /// Of the report that is being delivered.
    socket: Option<TcpStream>,
}

/// All that is owed.
#[derive(Debug)]
pub(super) struct Reports {
    folder: PathBuf,
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// The hold of an association on a report; when it is dropped unsettled, the report is delivered otherwise.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    reports: &'a Reports,
    number: u64,
}

impl Reports {
    /// Finds what is owed in `folder`, which is created when it is missing.
    pub(super) fn open(folder: &Path) -> Result<Self, ReportsError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io_error("create the folder", folder))?;
        let mut inner = Inner { next_number: 1, ..Inner::default() };
        for entry in fs::read_dir(folder).map_err(io_error("read the folder", folder))? {
            let path = entry.map_err(io_error("read the folder", folder))?.path();
            let Some(number) = number_of(&path) else {
                log::warn!("{} is no file of the spool and was left alone", path.display());
                continue;
            };
            inner.next_number = inner.next_number.max(number.saturating_add(1));
            let read = fs::read(&path).map_err(io_error("read", &path))?;
            match serde_json::from_slice::<Owed>(&read) {
                Ok(Owed { peer, request }) => {
                    let entry = Entry { peer, request, held: false, tries: 0, due: Instant::now() };
                    inner.entries.insert(number, entry);
                }
                // A power cut before it was durable, and so before it was answered.
                Err(error) => log::warn!("{} was left alone: {error}", path.display()),
            }
        }
        sync_folder(folder)?;
        if !inner.entries.is_empty() {
            log::info!("{} reports on storage commitment are owed", inner.entries.len());
        }
        Ok(Self { folder: folder.to_owned(), inner: Mutex::new(inner), changed: Condvar::new() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016}.json"))
    }

    /// Keeps a request, durably; the association that it came on has it until the claim is dropped.
    pub(super) fn owe(&self, peer: &str, request: &Request) -> Result<Claim<'_>, ReportsError> {
        let mut inner = self.inner();
        if inner.entries.len() >= MOST {
            return Err(ReportsError::TooMany(MOST));
        }
        let number = inner.next_number;
        inner.next_number += 1;
        let path = self.path(number);
        let owed = Owed { peer: peer.to_owned(), request: request.clone() };
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&serde_json::to_vec(&owed)?)?;
            file.sync_all()
        };
        write().map_err(io_error("write", &path)).and_then(|()| sync_folder(&self.folder)).inspect_err(|_| {
            // It was not answered, so nothing is owed; half a file would only be warned of.
            let _ = fs::remove_file(&path);
        })?;
        let Owed { peer, request } = owed;
        inner.entries.insert(number, Entry { peer, request, held: true, tries: 0, due: Instant::now() });
        Ok(Claim { reports: self, number })
    }

    fn settle(&self, number: u64) {
        let mut inner = self.inner();
        inner.entries.remove(&number);
        drop(inner);
        let path = self.path(number);
        let removed =
            fs::remove_file(&path).map_err(io_error("remove", &path)).and_then(|()| sync_folder(&self.folder));
        if let Err(error) = removed {
            // The peer is told again after a restart, which does no harm.
            log::warn!("{error}");
        }
    }

    /// Delivers what nobody holds, until [`Reports::close`].
    pub(super) fn deliver(&self, config: &ListenerConfig, tls: Option<&Tls>, spool: &Spool) {
        while let Some((number, peer, request)) = self.next_due() {
            let delivered = match config.report_to(&peer) {
                None => Err(CallError::NoAddress),
                Some(address) => self.call(address, &peer, &request, config, tls, spool),
            };
            self.inner().socket = None;
            let transaction = &request.transaction;
            match delivered {
                Ok((committed, failed)) => {
                    log::info!(
                        "{peer}: took the report on storage commitment {transaction} on a new association: \
                         {committed} committed, {failed} not here"
                    );
                    self.settle(number);
                }
                Err(why) => {
                    let pause = self.postpone(number, config.limits.report_retry);
                    let seconds = pause.as_secs();
                    log::warn!("{peer}: no report on storage commitment {transaction}: {why}; again in {seconds} s");
                }
            }
        }
    }

    /// Waits for a report that is due; `None` when the program ends.
    fn next_due(&self) -> Option<(u64, String, Request)> {
        let mut inner = self.inner();
        loop {
            if inner.closing {
                return None;
            }
            let first = inner.entries.iter().filter(|(_, entry)| !entry.held).min_by_key(|(_, entry)| entry.due);
            let pause = match first {
                None => Duration::MAX,
                Some((number, entry)) => match entry.due.checked_duration_since(Instant::now()) {
                    None | Some(Duration::ZERO) => return Some((*number, entry.peer.clone(), entry.request.clone())),
                    Some(pause) => pause,
                },
            };
            // A day is as good as for ever, and no clock overflows.
            let waited = self.changed.wait_timeout(inner, pause.min(Duration::from_secs(86_400)));
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn postpone(&self, number: u64, first: Duration) -> Duration {
        let mut inner = self.inner();
        let Some(entry) = inner.entries.get_mut(&number) else { return first };
        let pause = first * 2_u32.pow(entry.tries.min(DOUBLINGS));
        entry.tries = entry.tries.saturating_add(1);
        entry.due = Instant::now() + pause;
        pause
    }

    /// Ends [`Reports::deliver`].
    pub(super) fn close(&self) {
        let mut inner = self.inner();
        inner.closing = true;
        if let Some(socket) = &inner.socket {
            // It fails only where the peer was faster.
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// Reports on an association of our own; gives how many are committed and not.
    fn call(
        &self,
        address: SocketAddr,
        peer: &str,
        request: &Request,
        config: &ListenerConfig,
        tls: Option<&Tls>,
        spool: &Spool,
    ) -> Result<(usize, usize), CallError> {
        let socket = TcpStream::connect_timeout(&address, CONNECT).map_err(CallError::Connect)?;
        {
            let mut inner = self.inner();
            if inner.closing {
                return Err(CallError::Closing);
            }
            inner.socket = socket.try_clone().ok();
        }
        let mut wire = Wire::called(socket, config.limits.network_timeout, tls).map_err(CallError::Connect)?;
        let outcome = exchange(&mut wire, peer, request, config, spool);
        match &outcome {
            Ok(_) | Err(CallError::Rejected(_)) => wire.end(),
            Err(_) if !wire.is_agreed() => wire.end(),
            Err(_) => wire.abort(AbortRQServiceProviderReason::ReasonNotSpecified),
        }
        outcome
    }
}

impl Claim<'_> {
    /// The peer has taken the report.
    pub(super) fn settle(self) {
        self.reports.settle(self.number);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut inner = self.reports.inner();
        // A settled one is no longer there.
        if let Some(entry) = inner.entries.get_mut(&self.number) {
            (entry.held, entry.due) = (false, Instant::now());
        }
        drop(inner);
        self.reports.changed.notify_all();
    }
}

/// Why a report was not delivered.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("listener.peers has no report_to for it")]
    NoAddress,
    #[error("it cannot be connected to: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Command(#[from] CommandError),
    #[error("{0}")]
    Answer(#[from] AnswerError),
    #[error("it rejects the association: {0}")]
    Rejected(String),
    #[error("it accepts no storage commitment")]
    NotAccepted,
    #[error("it answers with status {0:04X}")]
    Status(u16),
    #[error("{0}")]
    Unwritable(String),
    #[error("it sends what is not due")]
    NotDue,
    #[error("this program ends")]
    Closing,
}

fn exchange(
    wire: &mut Wire,
    peer: &str,
    request: &Request,
    config: &ListenerConfig,
    spool: &Spool,
) -> Result<(usize, usize), CallError> {
    const CONTEXT: u8 = 1;
    let syntaxes = &TRANSFER_SYNTAXES[..2];
    wire.handshake(Instant::now() + config.limits.association_timeout)?;
    wire.send(&Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: config.ae_title.as_str().to_owned(),
        called_ae_title: peer.to_owned(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: vec![PresentationContextProposed {
            id: CONTEXT,
            abstract_syntax: STORAGE_COMMITMENT.uid.to_owned(),
            transfer_syntaxes: syntaxes.iter().map(|syntax| syntax.uid.to_owned()).collect(),
        }],
        user_variables: vec![
            UserVariableItem::MaxLength(config.limits.pdu_bytes),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.to_owned()),
            // Whoever asks for the association is the SCP of this service (PS3.4 J.3.3, PS3.7 D.3.3.4).
            UserVariableItem::ScuScpRoleSelectionSubItem(
                STORAGE_COMMITMENT.uid.to_owned(),
                RequestorRoles { scu: false, scp: true },
            ),
        ],
    }))?;
    let agreed = match wire.receive_reply(Instant::now() + config.limits.association_timeout)? {
        Pdu::AssociationAC(agreed) => agreed,
        Pdu::AssociationRJ(rejected) => return Err(CallError::Rejected(rejected.source.to_string())),
        _ => return Err(CallError::NotDue),
    };
    let result = agreed.presentation_contexts.iter().find(|result| result.id == CONTEXT);
    let syntax = result
        .filter(|result| result.reason == PresentationContextResultReason::Acceptance)
        .and_then(|result| syntaxes.iter().find(|known| known.uid == result.transfer_syntax.trim_end_matches('\0')))
        .ok_or(CallError::NotAccepted)?;
    let peer_pdu_bytes = agreed.user_variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(most) => Some(*most),
        _ => None,
    });
    let report = request.judge(spool);
    let data = report.to_bytes(syntax.uid).map_err(CallError::Unwritable)?;
    wire.send_message(CONTEXT, &report.event(1).to_bytes(), &data, peer_pdu_bytes.unwrap_or(0))?;
    let deadline = Instant::now() + config.limits.idle_timeout;
    let status =
        wire.receive_answer(command::N_EVENT_REPORT, deadline, config.limits.pdu_bytes)?.u16(command::STATUS)?;
    if status != 0 {
        return Err(CallError::Status(status));
    }
    // The report has been taken: what goes wrong from here on changes nothing.
    if wire.send(&Pdu::ReleaseRQ).is_ok() {
        let _ = wire.receive_pdu(Instant::now() + config.limits.network_timeout, config.limits.pdu_bytes);
    }
    Ok(report.counts())
}

fn number_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".json")?;
    if digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// A file that is new or gone lasts only with its folder.
fn sync_folder(path: &Path) -> Result<(), ReportsError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error("flush the folder", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(transaction: &str) -> Request {
        serde_json::from_str(&format!(r#"{{"transaction": "{transaction}", "objects": [["1.2", "1.2.3"]]}}"#)).unwrap()
    }

    #[test]
    fn what_is_owed_is_found_again_until_it_is_settled() {
        let folder = tempfile::tempdir().unwrap();
        let reports = Reports::open(folder.path()).unwrap();
        let first = reports.owe("XRAY1", &request("1.1")).unwrap();
        let second = reports.owe("XRAY1", &request("1.2")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        first.settle();
        drop(second);
        let (number, peer, due) = reports.next_due().unwrap();
        assert_eq!((number, peer.as_str(), due), (2, "XRAY1", request("1.2")));
        drop(reports);

        fs::write(folder.path().join("0000000000000007.json"), b"{\"peer\":").unwrap();
        fs::write(folder.path().join("notes.txt"), b"").unwrap();
        let reports = Reports::open(folder.path()).unwrap();
        let (number, _, due) = reports.next_due().unwrap();
        assert_eq!((number, due), (2, request("1.2")));
        reports.settle(2);
        let last = reports.owe("XRAY1", &request("1.3")).unwrap();
        assert_eq!(last.number, 8, "numbers are not used twice");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_report_that_is_held_waits_and_one_that_failed_is_put_off_longer_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let reports = Reports::open(folder.path()).unwrap();
        let held = reports.owe("XRAY1", &request("1.1")).unwrap();
        let other = reports.owe("XRAY2", &request("1.2")).unwrap();
        drop(other);
        assert_eq!(reports.next_due().unwrap().0, 2);
        let minute = Duration::from_secs(60);
        let pauses: Vec<u64> = (0..9).map(|_| reports.postpone(2, minute).as_secs()).collect();
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3840, 3840, 3840]);
        drop(held);
        assert_eq!(reports.next_due().unwrap().0, 1);
        reports.close();
        assert!(reports.next_due().is_none());
    }

    #[test]
    fn there_is_an_end_to_what_is_owed() {
        let folder = tempfile::tempdir().unwrap();
        let reports = Reports::open(folder.path()).unwrap();
        for number in 0..MOST {
            let entry =
                Entry { peer: "XRAY1".to_owned(), request: request("1.1"), held: false, tries: 0, due: Instant::now() };
            reports.inner().entries.insert(number as u64, entry);
        }
        let refused = reports.owe("XRAY1", &request("1.1")).unwrap_err().to_string();
        assert_eq!(refused, "1000 reports on storage commitment are owed, no more requests are taken");
    }
}
