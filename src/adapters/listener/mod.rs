//! The DICOM listener: an SCP of Verification, Storage and Storage Commitment (PS3.4 annexes A, B and J) that keeps
//! what it is sent.
//!
//! A sender is answered "success" only when its object is durable in the [`Spool`] and queued there. Everybody who is
//! not named in the configuration is refused, everything is bounded, and one thread serves one association, so that a
//! stuck peer keeps nobody else out. What the objects show is not looked at here.

mod association;
pub(super) mod command;
mod commitment;
mod data_set;
pub(super) mod negotiation;
mod reports;
mod slots;
pub(super) mod tls;
pub(super) mod wire;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

pub use self::command::Status;
use self::data_set::DataSet;
pub use self::negotiation::{STORAGE_CLASSES, STORAGE_COMMITMENT, SopClass, VERIFICATION};
use self::reports::Reports;
pub use self::reports::ReportsError;
use self::slots::Slots;
use self::tls::Tls;
pub use self::tls::{CIPHER_SUITES, TlsError};
use super::dicom::syntax_of;
use super::spool::Spool;
use crate::config::ListenerConfig;

/// What this program calls itself to peers and in files (PS3.7 D.3.3.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.326549046979762429754830996493330845639";
/// Its version, at most 16 characters.
pub const IMPLEMENTATION_VERSION: &str = concat!("LIGHTBOX_", env!("CARGO_PKG_VERSION"));

/// How long objects that are coming in may take to finish when the program is asked to end.
const GRACE: Duration = Duration::from_secs(10);
/// Of the threads that serve associations; they keep their buffers on the heap.
const STACK_BYTES: usize = 512 << 10;

/// Why the listener cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The address is taken, not allowed or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The requests for storage commitment that are still owed a report cannot be read.
    #[error("{0}")]
    Reports(#[from] ReportsError),
    /// Waiting for connections failed.
    #[error("cannot wait for connections: {0}")]
    Wait(io::Error),
}

/// Whether a data set that comes in in these pieces is whole; gives its SOP Class UID and SOP Instance UID, which are
/// compared with the command's before it is kept. At most `most_inflated` bytes are looked at where it is deflated.
///
/// # Errors
/// With what is wrong with it, as the log says it.
pub fn judge_data_set<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    transfer_syntax: &str,
    most_inflated: u64,
) -> Result<(String, String), String> {
    let syntax = syntax_of(transfer_syntax).map_err(|refused| refused.to_string())?;
    let mut data_set = DataSet::new(syntax, most_inflated);
    pieces.into_iter().try_for_each(|piece| data_set.push(piece)).map_err(|error| error.to_string())?;
    let identity = data_set.finish().map_err(|error| error.to_string())?;
    Ok((identity.sop_class, identity.sop_instance))
}

/// A socket that waits for modalities.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Option<Tls>,
    config: ListenerConfig,
}

/// Whether the files that `config` names can be used.
///
/// # Errors
/// With the first that cannot.
pub fn check_files(config: &ListenerConfig) -> Result<(), TlsError> {
    config.tls.as_ref().map_or(Ok(()), |tls| Tls::load(tls.files()).map(|_| ()))
}

impl Listener {
    /// Starts to listen; connections wait until [`Listener::run`].
    ///
    /// # Errors
    /// When the address cannot be listened on, or a file for TLS not be used.
    pub fn bind(config: ListenerConfig) -> Result<Self, ListenerError> {
        let tls = config.tls.as_ref().map(|tls| Tls::load(tls.files())).transpose()?;
        let address = config.address;
        let bind = || {
            let socket = TcpListener::bind(address)?;
            // A connection that went away between poll and accept must not block.
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = bind().map_err(|source| ListenerError::Bind { address, source })?;
        Ok(Self { socket, tls, config })
    }

    /// Where it listens; the port is the real one where the configuration has 0.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap_or(self.config.address)
    }

    /// Keeps what is sent in `spool` until `stop` can be read from, then lets running transfers finish for a while.
    ///
    /// # Errors
    /// When waiting for connections or reading what is owed fails; never because of what a peer does.
    pub fn run(&self, spool: &Spool, stop: &impl AsFd) -> Result<(), ListenerError> {
        let slots = Slots::new(self.config.limits.associations);
        let reports = Reports::open(&spool.commitments())?;
        let ended = thread::scope(|scope| {
            if self.config.peers.iter().any(|peer| peer.report_to.is_some()) {
                scope.spawn(|| reports.deliver(&self.config, self.tls.as_ref(), spool));
            }
            let ended = self.accept_until(stop, |socket, address| {
                let (slots, reports) = (&slots, &reports);
                let serve = move || {
                    let served = panic::catch_unwind(AssertUnwindSafe(|| {
                        let tls = self.tls.as_ref();
                        association::serve(socket, address, &self.config, spool, slots, reports, tls);
                    }));
                    if served.is_err() {
                        log::error!("{address}: the association ended by a fault of this program");
                    }
                };
                let builder = thread::Builder::new().name(format!("peer {address}")).stack_size(STACK_BYTES);
                if let Err(error) = builder.spawn_scoped(scope, serve) {
                    log::error!("{address}: refused, no thread can be started: {error}");
                }
            });
            slots.close(GRACE);
            reports.close();
            ended
        });
        log::info!("stopped listening");
        ended
    }

    fn accept_until(
        &self,
        stop: &impl AsFd,
        mut serve: impl FnMut(TcpStream, SocketAddr),
    ) -> Result<(), ListenerError> {
        loop {
            let mut events = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
            match poll(&mut events, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(ListenerError::Wait(error.into())),
            }
            if !events[1].revents().is_empty() {
                return Ok(());
            }
            match self.socket.accept() {
                Ok((socket, address)) => serve(socket, address),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    // Out of file descriptors or memory: that passes, and giving up would shut everybody out.
                    _ => {
                        log::error!("cannot take a connection: {error}");
                        thread::sleep(Duration::from_millis(100));
                    }
                },
            }
        }
    }
}
