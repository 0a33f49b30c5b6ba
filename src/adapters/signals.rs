//! Signals that ask the program to end.

use std::io;
use std::os::unix::net::UnixStream;

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
