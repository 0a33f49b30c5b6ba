//! QEMU's monitor: presses, plugs, pictures. JSON lines over a socket (QMP).

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thiserror::Error;

use crate::Picture;

/// The monitor did not do what it was asked.
#[derive(Debug, Error)]
pub enum MonitorError {
    /// The socket.
    #[error("the monitor of the emulated board is gone")]
    Gone(#[from] io::Error),
    /// The command was refused.
    #[error("the monitor refused {command}: {words}")]
    Refused {
        /// What was asked.
        command: String,
        /// What the monitor answered.
        words: String,
    },
    /// The picture is none.
    #[error("the picture of the screen is no PPM of 8 bits a channel")]
    Picture,
    /// No such event came in time.
    #[error("the emulated board did not report {0} in time")]
    NoEvent(String),
}

/// A connection to the monitor.
#[derive(Debug)]
pub struct Monitor {
    socket: BufReader<UnixStream>,
    events: Vec<String>,
}

impl Monitor {
    /// Connects to the monitor's socket, which QEMU makes as it starts.
    ///
    /// # Errors
    /// Nobody listens there within five seconds.
    pub fn connect(path: &Path) -> Result<Self, MonitorError> {
        let socket = patiently(path, Duration::from_secs(5))?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut monitor = Self { socket: BufReader::new(socket), events: Vec::new() };
        monitor.line()?;
        monitor.ask("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// One command and its answer.
    ///
    /// # Errors
    /// The monitor refused, or is gone.
    pub fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value, MonitorError> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.socket.get_mut().write_all(line.as_bytes())?;
        loop {
            let mut answer = self.line()?;
            if let Some(event) = answer["event"].as_str() {
                self.events.push(event.to_owned());
            } else if answer.get("error").is_some() {
                return Err(MonitorError::Refused {
                    command: line.trim().to_owned(),
                    words: answer["error"].to_string(),
                });
            } else {
                return Ok(answer["return"].take());
            }
        }
    }

    /// Waits until the board has reported an event, such as `RESET` or `WATCHDOG`.
    ///
    /// # Errors
    /// The event did not come in time.
    pub fn wait_for(&mut self, event: &str, limit: Duration) -> Result<(), MonitorError> {
        let until = Instant::now() + limit;
        while !self.events.iter().any(|seen| seen == event) {
            if Instant::now() > until {
                return Err(MonitorError::NoEvent(event.to_owned()));
            }
            match self.line() {
                Ok(line) => self.events.extend(line["event"].as_str().map(str::to_owned)),
                Err(MonitorError::Gone(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(other) => return Err(other),
            }
        }
        self.events.retain(|seen| seen != event);
        Ok(())
    }

    /// What the panel shows.
    ///
    /// # Errors
    /// QEMU has no picture.
    pub fn screen(&mut self, scratch: &Path) -> Result<Picture, MonitorError> {
        let path = scratch.join("screen.ppm");
        self.ask("screendump", &json!({ "filename": path, "format": "ppm" }))?;
        Picture::from_ppm(&fs::read(path)?).ok_or(MonitorError::Picture)
    }

    /// Presses the board's button once: line 3 of its GPIO controller goes up, and down a tenth of a second later. Waits
    /// until it is, or a press soon after would be none.
    ///
    /// # Errors
    /// The monitor is gone.
    pub fn press_button(&mut self) -> Result<(), MonitorError> {
        self.ask("system_powerdown", &json!({}))?;
        thread::sleep(Duration::from_millis(400));
        Ok(())
    }

    /// Presses a key of the board's keyboard once, by QEMU's name for it.
    ///
    /// # Errors
    /// There is no such key.
    pub fn press_key(&mut self, key: &str) -> Result<(), MonitorError> {
        self.ask("send-key", &json!({ "keys": [{ "type": "qcode", "data": key }] })).map(drop)
    }

    fn line(&mut self) -> Result<Value, MonitorError> {
        let mut line = String::new();
        if self.socket.read_line(&mut line)? == 0 {
            return Err(MonitorError::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_str(&line).map_err(|error| MonitorError::Gone(error.into()))
    }
}

/// Connects to a socket that is about to be made.
pub(crate) fn patiently(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let until = Instant::now() + limit;
    loop {
        match UnixStream::connect(path) {
            Ok(socket) => return Ok(socket),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
