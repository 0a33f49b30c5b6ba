//! A kiosk or listener that runs beside the test, and what it is given.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part that it needs")]

use std::io::{BufRead, BufReader, Cursor, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_lightbox");
/// For anything that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Says what is missing; under CI nothing may be.
pub fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is missing: tests/run installs what it can");
    eprintln!("not tested: {what} is missing");
}

#[track_caller]
pub fn wait_until(what: &str, log: impl Fn() -> String, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "never {what}:\n{}", log());
        thread::sleep(Duration::from_millis(10));
    }
}

/// The program in the project's folder, with a full log and nothing of this machine's device.
pub fn lightbox(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("RUST_LOG", "lightbox=debug").current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env_remove("LIGHTBOX_STORE").env_remove("LIGHTBOX_MODEL").env_remove("NOTIFY_SOCKET");
    command
}

/// What is on `lines`, behind `before`, as it comes.
pub fn gathered(lines: Lines<BufReader<ChildStderr>>, before: String) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(before));
    let kept = Arc::clone(&log);
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut log = kept.lock().expect("no panic");
            log.push_str(&line);
            log.push('\n');
        }
    });
    log
}

/// A running kiosk or listener; it is killed when it is dropped.
pub struct Running {
    pub child: Child,
    log: Arc<Mutex<String>>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let log = gathered(lines, String::new());
        Self { child, log }
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        wait_until(text, || self.log(), || self.log().contains(text));
    }

    /// Asks it to end, and gives how it did.
    pub fn stop(&mut self) -> ExitStatus {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.expect("kill").success());
        self.child.wait().expect("it has ended")
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small picture that is refused, different for each number.
pub fn small_picture(number: u32) -> Vec<u8> {
    let picture = image::GrayImage::from_fn(40, 40, |x, y| image::Luma([(x * 5 + y + number) as u8]));
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png).expect("a picture");
    bytes.extend(number.to_le_bytes());
    bytes
}

/// Puts a film into a folder that is watched; it is there at once.
pub fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let part = folder.join(".part");
    fs::write(&part, bytes).expect("written");
    fs::rename(part, folder.join(name)).expect("renamed");
}
