//! A socket of which every call ends at a deadline, however slowly the other side goes on.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A stream that can be told how long a call may wait.
pub(super) trait Timed {
    fn set_timeouts_of_reading(&self, most: Duration) -> io::Result<()>;
    fn set_timeouts_of_writing(&self, most: Duration) -> io::Result<()>;
}

impl Timed for TcpStream {
    fn set_timeouts_of_reading(&self, most: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(most))
    }

    fn set_timeouts_of_writing(&self, most: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(most))
    }
}

impl Timed for UnixStream {
    fn set_timeouts_of_reading(&self, most: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(most))
    }

    fn set_timeouts_of_writing(&self, most: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(most))
    }
}

/// A socket with a deadline.
#[derive(Debug)]
pub(super) struct Deadlined<S> {
    pub(super) socket: S,
    /// Calls that are not done by then end as timed out.
    pub(super) deadline: Instant,
}

impl<S> Deadlined<S> {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl<S: Read + Timed> Read for Deadlined<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.set_timeouts_of_reading(self.left()?)?;
        self.socket.read(bytes)
    }
}

impl<S: Write + Timed> Write for Deadlined<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_timeouts_of_writing(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_ends_at_the_deadline_and_none_begins_after_it() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let start = Instant::now();
        let mut ours = Deadlined { socket: ours, deadline: start + Duration::from_millis(50) };
        theirs.write_all(&[1]).unwrap();
        let mut bytes = [0; 2];
        let error = ours.read_exact(&mut bytes).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
        assert!(start.elapsed() >= Duration::from_millis(49));
        assert_eq!(ours.write(&[1]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
