//! Starts the listener as a process of its own and looks at what it has kept.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::running::gathered;

/// A configuration for peers on this machine.
pub(crate) fn config(spool: &Path, more: &str) -> String {
    format!(
        "[listener]\naddress = \"127.0.0.1:0\"\nae_title = \"LIGHTBOX\"\n\
         [[listener.peers]]\nae_title = \"XRAY1\"\naddresses = [\"127.0.0.1\"]\n\
         [spool]\nfolder = {spool:?}\nkeep_free_mb = 0\nkeep_free_percent = 0\n{more}"
    )
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox"));
    command.env_remove("RUST_LOG");
    command
}

/// A running listener; it is killed when dropped.
pub(crate) struct Listening {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Listening {
    /// Starts one with the configuration that lies at `config`.
    #[track_caller]
    pub(crate) fn start(config: &Path) -> Self {
        let mut child = program()
            .args(["listen", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut first = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {first}")).expect("a line");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(' ').next().expect("an address").parse().expect("an address");
            }
            first += &line;
        };
        let log = gathered(lines, first);
        Self { child, address, log }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// Asks it to end, as `systemctl stop` does.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.expect("kill").success());
        self.child.wait().expect("it has ended")
    }

    /// Waits until the log contains `text`.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < Duration::from_secs(60), "no {text:?} in:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// A number of /proc/PID/status, in kB.
    pub(crate) fn memory_kb(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a line");
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
    }

    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count()
    }

    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs").count()
    }

    /// Waits until all associations have gone.
    #[track_caller]
    pub(crate) fn wait_until_idle(&self) {
        let start = Instant::now();
        while self.threads() > 1 {
            assert!(start.elapsed() < Duration::from_secs(60), "{} threads still run", self.threads());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a configuration and a spool.
pub(crate) struct Place {
    _folder: TempDir,
    pub(crate) config: PathBuf,
    pub(crate) spool: PathBuf,
}

impl Place {
    /// `more` is appended to the configuration.
    pub(crate) fn new(more: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let (config_path, spool) = (folder.path().join("listener.toml"), folder.path().join("spool"));
        fs::write(&config_path, config(&spool, more)).expect("written");
        Self { _folder: folder, config: config_path, spool }
    }

    pub(crate) fn start(&self) -> Listening {
        Listening::start(&self.config)
    }

    /// The files that are kept, in order of arrival.
    pub(crate) fn unread(&self) -> Vec<PathBuf> {
        files(&self.spool.join("unread"))
    }

    pub(crate) fn incoming(&self) -> Vec<PathBuf> {
        files(&self.spool.join("incoming"))
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// The data set of a file: all behind the File Meta Information, whose length is its first element.
pub(crate) fn data_set_of(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("a kept file");
    assert!(bytes[..128].iter().all(|byte| *byte == 0), "the preamble is not all zeros");
    assert_eq!(
        &bytes[128..144],
        b"DICM\x02\0\0\0UL\x04\0".as_slice().iter().chain(&bytes[140..144]).copied().collect::<Vec<_>>()
    );
    let length = u32::from_le_bytes(bytes[140..144].try_into().expect("4 bytes")) as usize;
    bytes[144 + length..].to_vec()
}
