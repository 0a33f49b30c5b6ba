//! Orthanc, an archive that others wrote; `tests/run` installs it.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part that it needs")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A port of this machine that nobody uses just now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// A running Orthanc; it is killed when dropped.
pub struct Orthanc {
    process: Child,
    http: SocketAddr,
    /// Where it takes objects, as XRAY1.
    pub dicom_port: u16,
    _folder: tempfile::TempDir,
}

impl Orthanc {
    /// One that knows these modalities; `None` when Orthanc is missing.
    pub fn start(modalities: &Value) -> Option<Self> {
        Self::start_on(free_port(), modalities)
    }

    /// As [`start`](Self::start), with that port for DICOM.
    pub fn start_on(dicom_port: u16, modalities: &Value) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = [free_port(), dicom_port];
        let config = json!({
            "StorageDirectory": folder.path().join("db"), "IndexDirectory": folder.path().join("db"),
            "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "Plugins": [],
            "HttpPort": ports[0], "DicomPort": ports[1], "DicomAet": "XRAY1",
            "DicomModalities": modalities,
        });
        let path = folder.path().join("orthanc.json");
        fs::write(&path, config.to_string()).expect("written");
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let process = Command::new("Orthanc").arg(path).stderr(log).spawn().ok()?;
        let http = SocketAddr::from(([127, 0, 0, 1], ports[0]));
        let orthanc = Self { process, http, dicom_port, _folder: folder };
        let start = Instant::now();
        while TcpStream::connect(http).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "Orthanc does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(orthanc)
    }

    /// The body of its answer to a GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.ask("GET", path, b"")
    }

    /// The body of its answer to a POST.
    #[track_caller]
    pub fn post(&self, path: &str, body: &[u8]) -> Value {
        self.ask("POST", path, body)
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Value {
        let mut stream = TcpStream::connect(self.http).expect("a connection");
        let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.lines().next().is_some_and(|line| line.contains(" 200 ")), "{answer}");
        serde_json::from_str(body).expect("JSON")
    }
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
