//! Signals that ask the program to end.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

/// A stream that can be read from once SIGTERM or SIGINT has come.
///
/// # Errors
/// When the system has no file descriptor left.
pub fn stop_requests() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read)
}

/// Whether the program was asked to end; does not wait.
pub fn requested(stop: &impl AsFd) -> bool {
    let mut events = [PollFd::new(stop, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut events, Some(&now)), Ok(ready) if ready > 0)
}
