//! A camera that is a program: it takes a photograph and writes it, JPEG or PNG, to its standard output.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, Timespec, fcntl_setfl};

use super::{MOST_BYTES, device_error, timed_out};
use crate::adapters::file::Limits;
use crate::adapters::wall::Wall;
use crate::domain::GreyImage;
use crate::ports::{Source, SourceError};

/// What is kept of what it says on standard error.
const MOST_WORDS: u64 = 4096;

/// A program that takes photographs, such as `rpicam-still`.
#[derive(Debug)]
pub struct ProgramCamera {
    shoot: Vec<String>,
    look: Option<Vec<String>>,
    timeout: Duration,
    wall: Wall,
}

impl ProgramCamera {
    /// `shoot` and `look` are a program and its arguments; each run has `timeout` to end.
    pub fn new(shoot: &[String], look: Option<&[String]>, timeout: Duration) -> Self {
        Self { shoot: shoot.to_vec(), look: look.map(<[String]>::to_vec), timeout, wall: Wall::of_this_program() }
    }
}

impl Source for ProgramCamera {
    fn look(&mut self) -> Result<Option<GreyImage>, SourceError> {
        let Some(look) = &self.look else { return Ok(None) };
        let bytes = output_of(look, self.timeout)?;
        let decoded = self.wall.decode(&bytes, &Limits::default());
        let unusable = |why: String| SourceError::Unusable { camera: look.join(" "), why };
        let decoded = decoded.map_err(|error| unusable(error.to_string()))?;
        decoded.map(|acquired| Some(acquired.image)).map_err(|rejection| unusable(rejection.to_string()))
    }

    fn shoot(&mut self) -> Result<Vec<u8>, SourceError> {
        output_of(&self.shoot, self.timeout)
    }
}

/// Ends with whoever holds it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It fails only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end and gives what it wrote.
fn output_of(words: &[String], timeout: Duration) -> Result<Vec<u8>, SourceError> {
    let camera = words.join(" ");
    let failed = device_error(&camera);
    let [program, arguments @ ..] = words else {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no program is named")));
    };
    let deadline = Instant::now() + timeout;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().map_err(&failed)?);
    let missing = || io::Error::other("it has no output");
    let mut stdout = running.0.stdout.take().ok_or_else(|| failed(missing()))?;
    let mut stderr = running.0.stderr.take().ok_or_else(|| failed(missing()))?;
    for pipe in [stdout.as_fd(), stderr.as_fd()] {
        fcntl_setfl(pipe, OFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
    }
    let (mut bytes, mut words) = (Vec::new(), Vec::new());
    let mut piece = vec![0; 1 << 16];
    let (mut reading, mut listening) = (true, true);
    while reading {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out(&camera, timeout));
        }
        let pause = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut events = vec![PollFd::new(&stdout, PollFlags::IN)];
        if listening {
            events.push(PollFd::new(&stderr, PollFlags::IN));
        }
        match poll(&mut events, Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        reading = drained(&mut stdout, &mut piece, &mut bytes).map_err(&failed)?;
        // A program that says a lot is not kept waiting for a reader.
        listening = listening && drained(&mut stderr, &mut piece, &mut words).map_err(&failed)?;
        words.truncate(MOST_WORDS as usize);
        if bytes.len() > MOST_BYTES {
            let why = format!("it wrote more than {MOST_BYTES} bytes, expected one picture");
            return Err(SourceError::Unusable { camera, why });
        }
    }
    let status = loop {
        match running.0.try_wait().map_err(&failed)? {
            Some(status) => break status,
            None if Instant::now() >= deadline => return Err(timed_out(&camera, timeout)),
            // It has closed its output and ends within moments.
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    // What it said last.
    if listening {
        drained(&mut stderr, &mut piece, &mut words).map_err(&failed)?;
        words.truncate(MOST_WORDS as usize);
    }
    let said: String = String::from_utf8_lossy(&words).split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
    if !status.success() {
        return Err(SourceError::Unusable { camera, why: format!("it ended with {status}: {said}") });
    }
    if bytes.is_empty() {
        let why = format!("it wrote no picture to its standard output: {said}");
        return Err(SourceError::Unusable { camera, why });
    }
    Ok(bytes)
}

/// Takes what is there; `false` at the end.
fn drained(pipe: &mut impl Read, piece: &mut [u8], into: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        match pipe.read(piece) {
            Ok(0) => return Ok(false),
            Ok(count) => into.extend(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if into.len() > MOST_BYTES {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> Result<Vec<u8>, String> {
        let words = ["sh", "-c", script].map(str::to_owned);
        ProgramCamera::new(&words, None, timeout).shoot().map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_program_writes_is_the_photograph() {
        let long = Duration::from_secs(60);
        assert_eq!(shell("printf photograph; echo noise >&2", long).unwrap(), b"photograph");
        // More than a pipe holds, on both.
        let large = shell("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2", long).unwrap();
        assert_eq!(large.len(), 300_000);
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let long = Duration::from_secs(60);
        let told = shell("echo no camera  detected >&2; exit 3", long).unwrap_err();
        assert!(told.ends_with("it ended with exit status: 3: no camera detected"), "{told}");
        let told = shell("echo 'nothing to see' >&2", long).unwrap_err();
        assert!(told.ends_with("it wrote no picture to its standard output: nothing to see"), "{told}");
        let none = ProgramCamera::new(&["/no/such/camera".to_owned()], None, long).shoot().unwrap_err().to_string();
        assert!(none.starts_with("the camera /no/such/camera cannot be used: "), "{none}");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let start = Instant::now();
        let told = shell("printf half; exec sleep 600", Duration::from_millis(300)).unwrap_err();
        assert!(told.ends_with("gave no picture within 0.3 s"), "{told}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn without_a_program_for_looking_there_is_no_look() {
        let mut camera = ProgramCamera::new(&["true".to_owned()], None, Duration::from_secs(60));
        assert_eq!(camera.look().unwrap(), None);
    }
}
