//! All that a peer sends on one connection, from the association request to the end. The real listener takes it; what it
//! says that it has kept is kept, and a peer that has hung up is let go.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dicom_ul::pdu::{Pdu, read_pdu};
use lightbox::adapters::listener::Listener;
use lightbox::adapters::spool::{Reserve, Spool};
use lightbox::config::Config;
use lightbox::domain::SopInstanceUid;

const CONFIG: &str = r#"
[listener]
address = "127.0.0.1:0"
ae_title = "LIGHTBOX"
[[listener.peers]]
ae_title = "XRAY1"
addresses = ["127.0.0.1"]
[spool]
folder = "spool"
"#;

struct Place {
    folder: PathBuf,
    address: SocketAddr,
    spool: Arc<Spool>,
}

/// Listens for as long as the program runs.
static PLACE: LazyLock<Place> = LazyLock::new(|| {
    // In memory where that can be had, as the spool flushes all that it keeps.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder").keep();
    let spool = Arc::new(Spool::open(&folder, Reserve { bytes: 0, percent: 0 }).expect("a spool"));
    let config = Config::parse(CONFIG, Path::new("fuzz.toml")).expect("a configuration");
    let listener = Listener::bind(config.listener).expect("a port");
    let place = Place { folder, address: listener.address(), spool: Arc::clone(&spool) };
    std::thread::spawn(move || {
        let (stop, _never) = UnixStream::pair().expect("a pair");
        listener.run(&spool, &stop)
    });
    place
});

/// The SOP Instance UIDs of which an answer says that they are kept.
fn said_kept(mut answer: &[u8]) -> Vec<String> {
    let mut uids = Vec::new();
    while let Ok(Some(pdu)) = read_pdu(&mut answer, 1 << 20, true) {
        let Pdu::PData { data } = pdu else { continue };
        for value in data {
            let element = |number: u16| {
                let mut rest = &value.data[..];
                while let Some((header, after)) = rest.split_first_chunk::<8>() {
                    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
                    let (found, after) = after.split_at_checked(length)?;
                    if header[2..4] == number.to_le_bytes() {
                        return Some(found);
                    }
                    rest = after;
                }
                None
            };
            if element(0x0100) == Some(&[1, 0x80]) && element(0x0900) == Some(&[0, 0]) {
                let uid = element(0x1000).map(String::from_utf8_lossy).expect("the instance that is answered for");
                uids.push(uid.trim_end_matches(['\0', ' ']).to_owned());
            }
        }
    }
    uids
}

/// Takes the spool away; nothing can be sent any more.
#[allow(dead_code, reason = "the fuzzer ends when it is killed")]
pub(crate) fn end() {
    fs::remove_dir_all(&PLACE.folder).expect("removed");
}

/// Whether something was kept.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Place { address, spool, .. } = &*PLACE;
    let mut socket = TcpStream::connect(address).expect("the listener goes on");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    // The listener may hang up at any byte.
    let _ = socket.write_all(bytes);
    let _ = socket.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = socket.read_to_end(&mut answer) {
        assert!(error.kind() != std::io::ErrorKind::WouldBlock, "a peer that has gone is waited for");
    }
    let said = said_kept(&answer);
    for uid in &said {
        let uid: SopInstanceUid = uid.parse().expect("only what has a valid UID is kept");
        assert!(!spool.find(&uid).is_empty(), "{uid} is said to be kept and is not");
    }
    while let Some((stored, path)) = spool.first_unread() {
        let size = fs::metadata(&path).expect("what is queued is there").len();
        assert!(size > 128 && size <= bytes.len() as u64 + 1024, "{size} bytes of {} were kept", bytes.len());
        spool.mark_read(&stored).expect("it is marked");
        // Only its name is remembered.
        let read = spool.path_of(&stored.file_name()).expect("it is among the read ones");
        fs::remove_file(read).expect("it is removed");
    }
    !said.is_empty()
}
