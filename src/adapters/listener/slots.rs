//! Who is connected: how many at most, and who gives way to whom.
//!
//! A connection first negotiates and is then established. Those that negotiate never take a place from those that are
//! established; where too many negotiate the one that has done so for longest is cut off. When all places of
//! established ones are taken, one that has long been silent between messages gives way.

use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an association is silent before it gives way to another.
const SILENT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Negotiating,
    /// Established, between messages.
    Idle,
    /// Established, within a message.
    Busy,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    socket: TcpStream,
    stage: Stage,
    since: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    next_id: u64,
    closing: bool,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Slots {
    inner: Mutex<Inner>,
    left: Condvar,
    most: usize,
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    slots: &'a Slots,
    id: u64,
}

/// Cuts a connection off; its thread sees the end of the stream.
fn cut(entry: &Entry) {
    // It fails only where the peer was faster.
    let _ = entry.socket.shutdown(Shutdown::Both);
}

impl Slots {
    /// For `most` established associations.
    pub(super) fn new(most: usize) -> Self {
        Self { inner: Mutex::new(Inner::default()), left: Condvar::new(), most }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place to negotiate; `None` when the program ends.
    pub(super) fn enter(&self, socket: TcpStream) -> Option<Slot<'_>> {
        let mut inner = self.inner();
        if inner.closing {
            return None;
        }
        let negotiating = |entry: &&Entry| entry.stage == Stage::Negotiating;
        if inner.entries.iter().filter(negotiating).count() >= self.most.max(2) {
            let longest = inner.entries.iter().filter(negotiating).min_by_key(|entry| entry.since);
            if let Some(id) = longest.map(|entry| entry.id) {
                log::warn!("a connection that has sent no complete association request gives way to another");
                inner.remove(id);
            }
        }
        let id = inner.next_id;
        inner.next_id += 1;
        inner.entries.push(Entry { id, socket, stage: Stage::Negotiating, since: Instant::now() });
        Some(Slot { slots: self, id })
    }

    /// Cuts off whoever is between messages, gives the others `grace` to finish, then cuts them off too.
    pub(super) fn close(&self, grace: Duration) {
        let mut inner = self.inner();
        inner.closing = true;
        inner.entries.iter().filter(|entry| entry.stage != Stage::Busy).for_each(cut);
        let waited = self.left.wait_timeout_while(inner, grace, |inner| !inner.entries.is_empty());
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inner.entries.iter().for_each(cut);
    }
}

impl Inner {
    fn remove(&mut self, id: u64) {
        if let Some(position) = self.entries.iter().position(|entry| entry.id == id) {
            cut(&self.entries.swap_remove(position));
        }
    }
}

impl Slot<'_> {
    /// Makes the connection an association; `false` when there are too many.
    pub(super) fn establish(&self) -> bool {
        let mut inner = self.slots.inner();
        if inner.closing {
            return false;
        }
        let taken = inner.entries.iter().filter(|entry| entry.stage != Stage::Negotiating).count();
        if taken >= self.slots.most {
            let silent = |entry: &&Entry| entry.stage == Stage::Idle && entry.since.elapsed() >= SILENT;
            let Some(id) = inner.entries.iter().filter(silent).min_by_key(|entry| entry.since).map(|entry| entry.id)
            else {
                return false;
            };
            log::warn!("an association that was silent for long gives way to another");
            inner.remove(id);
        }
        inner.turn(self.id, Stage::Idle)
    }

    /// A message starts to come in; `false` when the connection was cut off or the program ends.
    pub(super) fn start_message(&self) -> bool {
        let mut inner = self.slots.inner();
        !inner.closing && inner.turn(self.id, Stage::Busy)
    }

    /// A message was answered; `false` when the connection was cut off or the program ends.
    pub(super) fn end_message(&self) -> bool {
        let mut inner = self.slots.inner();
        inner.turn(self.id, Stage::Idle) && !inner.closing
    }
}

impl Inner {
    fn turn(&mut self, id: u64, stage: Stage) -> bool {
        match self.entries.iter_mut().find(|entry| entry.id == id) {
            Some(entry) => {
                (entry.stage, entry.since) = (stage, Instant::now());
                true
            }
            None => false,
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut inner = self.slots.inner();
        inner.entries.retain(|entry| entry.id != self.id);
        drop(inner);
        self.slots.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// Both ends of a connection.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, peer)
    }

    #[test]
    fn no_more_than_the_most_are_established() {
        let slots = Slots::new(2);
        let sockets: Vec<_> = (0..3).map(|_| connection()).collect();
        let held: Vec<_> = sockets.iter().map(|(ours, _)| slots.enter(ours.try_clone().unwrap()).unwrap()).collect();
        // The first gave way to the third while all three negotiated.
        assert!(!held[0].establish());
        assert!(held[1].establish() && held[2].establish());
        let (ours, _peer) = connection();
        let late = slots.enter(ours).unwrap();
        assert!(!late.establish());
        drop(held);
        assert!(late.establish());
    }

    #[test]
    fn whoever_negotiates_for_longest_is_cut_off_and_not_the_established() {
        let slots = Slots::new(2);
        let (ours, mut first) = connection();
        let _held = slots.enter(ours).unwrap();
        let (ours, _second) = connection();
        let established = slots.enter(ours).unwrap();
        assert!(established.establish());
        let more: Vec<_> = (0..2).map(|_| connection()).collect();
        let _more: Vec<_> = more.iter().map(|(ours, _)| slots.enter(ours.try_clone().unwrap())).collect();
        assert_eq!(first.read(&mut [0]).unwrap(), 0, "the end of the stream");
        assert!(established.start_message() && established.end_message());
    }

    #[test]
    fn closing_waits_for_messages_and_cuts_off_the_rest() {
        let slots = Slots::new(3);
        let (ours, mut idle_peer) = connection();
        let idle = slots.enter(ours).unwrap();
        assert!(idle.establish());
        let (ours, _peer) = connection();
        let busy = slots.enter(ours).unwrap();
        assert!(busy.establish() && busy.start_message());
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| slots.close(Duration::from_secs(60)));
            assert_eq!(idle_peer.read(&mut [0]).unwrap(), 0, "the end of the stream");
            drop(idle);
            assert!(!closing.is_finished());
            assert!(!busy.end_message(), "it has to go now");
            drop(busy);
            closing.join().unwrap();
        });
        let (ours, _peer) = connection();
        assert!(slots.enter(ours).is_none());
    }
}
