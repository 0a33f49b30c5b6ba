//! A camera that is a program: it takes a photograph and writes it, JPEG or PNG, to its standard output.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, Timespec, fcntl_setfl};

use super::{MOST_BYTES, device_error, timed_out};
use crate::adapters::file::Limits;
use crate::adapters::wall::Wall;
use crate::domain::GreyImage;
use crate::ports::{Source, SourceError};

/// What is kept of what it says on standard error.
const MOST_WORDS: usize = 4096;

/// A program that takes photographs, such as `rpicam-still`.
///
/// For guidance another one is asked, or the same with other arguments: it writes one small picture and ends, or JPEG after
/// JPEG until it is ended, as `rpicam-vid` does. Both are never run at once: there is one camera.
#[derive(Debug)]
pub struct ProgramCamera {
    shoot: Vec<String>,
    look: Option<Vec<String>>,
    timeout: Duration,
    wall: Wall,
    looking: Option<Running>,
}

impl ProgramCamera {
    /// `shoot` and `look` are a program and its arguments; each picture has `timeout` to come.
    pub fn new(shoot: &[String], look: Option<&[String]>, timeout: Duration) -> Self {
        let (shoot, look) = (shoot.to_vec(), look.map(<[String]>::to_vec));
        Self { shoot, look, timeout, wall: Wall::of_this_program(), looking: None }
    }
}

impl Source for ProgramCamera {
    fn look(&mut self) -> Result<Option<GreyImage>, SourceError> {
        let Some(look) = &self.look else { return Ok(None) };
        let (bytes, looking) = newest_of(self.looking.take(), look, self.timeout)?;
        let decoded = self.wall.decode(&bytes, &Limits::default());
        let unusable = |why: String| SourceError::Unusable { camera: look.join(" "), why };
        let decoded = decoded.map_err(|error| unusable(error.to_string()))?;
        let acquired = decoded.map_err(|rejection| unusable(rejection.to_string()))?;
        self.looking = looking;
        Ok(Some(acquired.image))
    }

    fn shoot(&mut self) -> Result<Vec<u8>, SourceError> {
        self.looking = None;
        output_of(&self.shoot, self.timeout)
    }
}

/// A program that is running, and what it has written; it ends with whoever holds it.
#[derive(Debug)]
struct Running {
    camera: String,
    child: Child,
    stdout: ChildStdout,
    /// `None` once it has closed it.
    stderr: Option<ChildStderr>,
    bytes: Vec<u8>,
    words: Vec<u8>,
    piece: Vec<u8>,
    /// It may write more.
    open: bool,
    /// Pictures that were taken from it.
    pictures: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(words: &[String]) -> Result<Self, SourceError> {
        let camera = words.join(" ");
        let failed = device_error(&camera);
        let [program, arguments @ ..] = words else {
            return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no program is named")));
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(&failed)?;
        let (Some(stdout), stderr) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed(io::Error::other("it has no output")));
        };
        let pipes = [Some(stdout.as_fd()), stderr.as_ref().map(AsFd::as_fd)];
        for pipe in pipes.into_iter().flatten() {
            fcntl_setfl(pipe, OFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
        }
        let (bytes, words, piece) = (Vec::new(), Vec::new(), vec![0; 1 << 16]);
        Ok(Self { camera, child, stdout, stderr, bytes, words, piece, open: true, pictures: 0 })
    }

    /// Takes what it has written; waits for something until `deadline`.
    fn fill(&mut self, deadline: Instant, timeout: Duration) -> Result<(), SourceError> {
        let failed = device_error(&self.camera);
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out(&self.camera, timeout));
        }
        let pause = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut events = vec![PollFd::new(&self.stdout, PollFlags::IN)];
        events.extend(self.stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)));
        match poll(&mut events, Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        self.open = drained(&mut self.stdout, &mut self.piece, &mut self.bytes).map_err(&failed)?;
        self.listen().map_err(&failed)?;
        if self.bytes.len() > MOST_BYTES {
            let why = format!("it wrote more than {MOST_BYTES} bytes, expected one picture");
            return Err(SourceError::Unusable { camera: self.camera.clone(), why });
        }
        Ok(())
    }

    /// A program that says a lot is not kept waiting for a reader.
    fn listen(&mut self) -> io::Result<()> {
        if let Some(stderr) = &mut self.stderr
            && !drained(stderr, &mut self.piece, &mut self.words)?
        {
            self.stderr = None;
        }
        // What it said last tells more of why it ended.
        let surplus = self.words.len().saturating_sub(MOST_WORDS);
        self.words.drain(..surplus);
        Ok(())
    }

    /// How it ended, and what it said; it has closed its output.
    fn ended(&mut self, deadline: Instant, timeout: Duration) -> Result<(ExitStatus, String), SourceError> {
        let failed = device_error(&self.camera);
        let status = loop {
            match self.child.try_wait().map_err(&failed)? {
                Some(status) => break status,
                None if Instant::now() >= deadline => return Err(timed_out(&self.camera, timeout)),
                // It ends within moments.
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        self.listen().map_err(&failed)?;
        let said: String = String::from_utf8_lossy(&self.words).split_whitespace().collect::<Vec<_>>().join(" ");
        Ok((status, said.chars().filter(|c| !c.is_control()).take(200).collect()))
    }

    /// All that it has written, once it has ended well.
    fn whole(mut self, deadline: Instant, timeout: Duration) -> Result<Vec<u8>, SourceError> {
        let (status, said) = self.ended(deadline, timeout)?;
        let unusable = |why| Err(SourceError::Unusable { camera: self.camera.clone(), why });
        if !status.success() {
            return unusable(format!("it ended with {status}: {said}"));
        }
        if self.bytes.is_empty() {
            return unusable(format!("it wrote no picture to its standard output: {said}"));
        }
        Ok(std::mem::take(&mut self.bytes))
    }

    /// The last whole JPEG that it has written; what came before it is forgotten.
    fn newest(&mut self) -> Option<Vec<u8>> {
        let mut newest = None;
        let mut start = 0;
        while let Some(length) = jpeg_length(&self.bytes[start..]) {
            newest = Some(start..start + length);
            start += length;
        }
        let picture = newest.map(|range| self.bytes[range].to_vec());
        self.bytes.drain(..start);
        self.pictures += u64::from(picture.is_some());
        picture
    }
}

/// Runs a program to its end and gives what it wrote.
fn output_of(words: &[String], timeout: Duration) -> Result<Vec<u8>, SourceError> {
    let deadline = Instant::now() + timeout;
    let mut running = Running::start(words)?;
    while running.open {
        running.fill(deadline, timeout)?;
    }
    running.whole(deadline, timeout)
}

/// The newest picture of a program that may be running already, and the program where it goes on.
fn newest_of(
    running: Option<Running>,
    words: &[String],
    timeout: Duration,
) -> Result<(Vec<u8>, Option<Running>), SourceError> {
    let deadline = Instant::now() + timeout;
    let mut running = match running {
        Some(running) => running,
        None => Running::start(words)?,
    };
    loop {
        if running.open {
            running.fill(deadline, timeout)?;
        }
        let newest = running.newest();
        match (newest, running.open) {
            (Some(picture), true) => return Ok((picture, Some(running))),
            (None, true) => {}
            (Some(picture), false) => {
                // One picture a run: whether it ended well is known in a moment.
                running.bytes = picture;
                return Ok((running.whole(deadline, timeout)?, None));
            }
            // It gave pictures and was ended by somebody: it is started anew.
            (None, false) if running.pictures > 0 => running = Running::start(words)?,
            (None, false) => return Ok((running.whole(deadline, timeout)?, None)),
        }
    }
}

/// The length of the JPEG file that `bytes` begin with (ITU-T T.81, annex B); `None` where it is not whole, or none.
fn jpeg_length(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return None;
    }
    let mut at = 2;
    loop {
        let marker = *bytes.get(at + 1)?;
        if bytes[at] != 0xff {
            return None;
        }
        match marker {
            // Filled up.
            0xff => at += 1,
            0xd9 => return Some(at + 2),
            // Those without a length.
            0x01 | 0xd0..=0xd8 => at += 2,
            _ => {
                let length = usize::from(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]));
                at += 2 + length;
                if marker == 0xda {
                    // Coded data: 0xff is followed by 0, or a restart marker.
                    let data = bytes.get(at..)?;
                    at += data.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7))?;
                }
            }
        }
    }
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

    /// A JPEG file with a smaller one in it, as cameras write them.
    fn jpeg(value: u8) -> Vec<u8> {
        let encoded = |value: u8, side: u32| {
            let mut bytes = Vec::new();
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90);
            let greys: Vec<u8> = (0..side * side).map(|i| value.wrapping_add((i * 37) as u8)).collect();
            image::ImageEncoder::write_image(encoder, &greys, side, side, image::ExtendedColorType::L8).unwrap();
            bytes
        };
        let (whole, small) = (encoded(value, 40), encoded(value, 8));
        let length = (small.len() as u16 + 2).to_be_bytes();
        [&whole[..2], &[0xff, 0xe1], &length, &small, &whole[2..]].concat()
    }

    #[test]
    fn where_a_jpeg_ends_is_known_also_with_another_one_in_it() {
        let file = jpeg(7);
        assert_eq!(jpeg_length(&[&file[..], b"more"].concat()), Some(file.len()));
        for end in 0..file.len() {
            assert_eq!(jpeg_length(&file[..end]), None, "{end}");
        }
        assert_eq!((jpeg_length(b"\x89PNG"), jpeg_length(b"\xff\xd8garbage, and more of it")), (None, None));
    }

    #[test]
    fn a_program_that_goes_on_gives_its_newest_picture_and_is_ended_before_the_shot() {
        let folder = tempfile::tempdir().unwrap();
        for value in [1, 2, 3] {
            std::fs::write(folder.path().join(value.to_string()), jpeg(value)).unwrap();
        }
        let path = folder.path().display();
        // Two pictures at once, and a third one in two parts once it is asked for.
        let script = format!(
            "cd {path}; cat 1 2; while [ ! -e go ]; do sleep 0.01; done; head -c 100 3; sleep 0.05; tail -c +101 3; touch \
             on; sleep 600"
        );
        let words = ["sh", "-c", &script].map(str::to_owned);
        let long = Duration::from_secs(60);
        let (picture, running) = newest_of(None, &words, long).unwrap();
        let process = running.as_ref().unwrap().child.id();
        // Both may come in one piece or in two.
        let (picture, running) =
            if picture == jpeg(1) { newest_of(running, &words, long).unwrap() } else { (picture, running) };
        assert_eq!(picture, jpeg(2));
        std::fs::write(folder.path().join("go"), b"").unwrap();
        let (picture, running) = newest_of(running, &words, long).unwrap();
        assert_eq!((picture, running.as_ref().map(|running| running.child.id())), (jpeg(3), Some(process)));
        let mut camera = ProgramCamera::new(&["sh", "-c", "printf shot"].map(str::to_owned), Some(&words), long);
        camera.looking = running;
        assert_eq!(camera.shoot().unwrap(), b"shot");
        assert!(camera.looking.is_none() && !std::path::Path::new(&format!("/proc/{process}")).exists());
    }

    #[test]
    fn a_program_that_gives_one_picture_is_run_for_each_and_fails_as_a_shot_does() {
        let long = Duration::from_secs(60);
        let looked = |script: &str| {
            let words = ["sh", "-c", script].map(str::to_owned);
            newest_of(None, &words, long)
                .map(|(picture, running)| (picture, running.is_some()))
                .map_err(|error| error.to_string())
        };
        assert_eq!(looked("printf PNG").unwrap(), (b"PNG".to_vec(), false));
        let told = looked("echo 'no cameras' >&2; exit 1").unwrap_err();
        assert!(told.ends_with("it ended with exit status: 1: no cameras"), "{told}");
        let words = ["sh", "-c", "printf half; exec sleep 600"].map(str::to_owned);
        let told = newest_of(None, &words, Duration::from_millis(300)).unwrap_err().to_string();
        assert!(told.ends_with("gave no picture within 0.3 s"), "{told}");
    }

    #[test]
    fn without_a_program_for_looking_there_is_no_look() {
        let mut camera = ProgramCamera::new(&["true".to_owned()], None, Duration::from_secs(60));
        assert_eq!(camera.look().unwrap(), None);
    }
}
