//! The listener is killed at any moment, or the disk is full: what was answered "success" is there, once.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::listening::{Listening, Place, config, data_set_of};
use crate::peers::missing;
use crate::sender::{Sender, data_set};

const KILLS: usize = 220;
const SENDERS: usize = 4;
const PIXEL_BYTES: usize = 150_000;

/// Sends objects one after the other, each until it is answered "success"; gives their UIDs.
fn send_until(
    stop: &AtomicBool,
    address: &Mutex<Option<SocketAddr>>,
    number: usize,
    retries: &AtomicUsize,
) -> Vec<String> {
    let mut stored = Vec::new();
    let mut connection: Option<Sender> = None;
    while !stop.load(Ordering::Relaxed) {
        let uid = format!("1.2.{number}.{}", stored.len());
        loop {
            if connection.is_none() {
                let address = *address.lock().expect("no panic");
                connection = address.and_then(|address| Sender::connect(address).ok());
            }
            match connection.as_mut().map(|sender| sender.store(&uid, PIXEL_BYTES)) {
                Some(Ok(0)) => break,
                Some(Ok(status)) => panic!("status {status:04x}"),
                Some(Err(_)) => {
                    connection = None;
                    retries.fetch_add(1, Ordering::Relaxed);
                }
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
        stored.push(uid);
    }
    stored
}

#[test]
fn whatever_was_answered_success_is_there_exactly_once_after_any_kill() {
    let place = Place::new("");
    let (stop, address, retries) = (AtomicBool::new(false), Mutex::new(None), AtomicUsize::new(0));
    let mut cut_off = 0;
    let stored: Vec<String> = thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| {
                let (stop, address, retries) = (&stop, &address, &retries);
                scope.spawn(move || send_until(stop, address, number, retries))
            })
            .collect();
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..KILLS {
            let mut listening = place.start();
            *address.lock().unwrap() = Some(listening.address);
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            thread::sleep(Duration::from_micros(state % 60_000));
            listening.kill();
            cut_off += usize::from(!place.incoming().is_empty());
        }
        let last = place.start();
        *address.lock().unwrap() = Some(last.address);
        stop.store(true, Ordering::Relaxed);
        let stored = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        last.wait_until_idle();
        stored
    });
    assert_eq!(place.incoming().len(), 0);
    let mut kept: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for path in place.unread() {
        assert!(!path.display().to_string().contains("differs"));
        *kept.entry(data_set_of(&path)).or_default() += 1;
    }
    for uid in &stored {
        assert_eq!(kept.get(&data_set(uid, PIXEL_BYTES)), Some(&1), "{uid}");
    }
    // Nothing else is there: a sender goes on only after success.
    assert_eq!(kept.len(), stored.len());
    let retries = retries.into_inner();
    eprintln!("{KILLS} kills, {cut_off} of them within an object; {} stored, {retries} retries", stored.len());
    assert!(stored.len() > SENDERS && cut_off > KILLS / 20, "too little was cut off to prove anything");
}

/// A small disk; only root may have one.
struct Disk(TempDir);

impl Disk {
    fn new(megabytes: u32) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status();
        if mounted.is_ok_and(|status| status.success()) {
            Some(Self(folder))
        } else {
            missing("the right to mount a tmpfs (run as root)");
            None
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_answered_out_of_resources_and_keeps_what_was_kept() {
    let Some(disk) = Disk::new(16) else { return };
    let spool = disk.0.path().join("spool");
    let path = disk.0.path().join("listener.toml");
    for (reserve, kept) in [("keep_free_mb = 0", 3), ("keep_free_mb = 8", 1)] {
        fs::write(&path, config(&spool, "").replace("keep_free_mb = 0", reserve)).unwrap();
        let listening = Listening::start(&path);
        let mut sender = Sender::connect(listening.address).unwrap();
        let statuses: Vec<u16> =
            (0..5).map(|number| sender.store(&format!("1.2.{number}"), 5_000_000).unwrap()).collect();
        let expected: Vec<u16> = (0..5).map(|number| if number < kept { 0 } else { 0xa700 }).collect();
        assert_eq!(statuses, expected, "{reserve}");
        assert_eq!(fs::read_dir(spool.join("incoming")).unwrap().count(), 0);
        let unread: Vec<_> = fs::read_dir(spool.join("unread")).unwrap().flatten().map(|e| e.path()).collect();
        assert_eq!(unread.len(), kept);
        for path in &unread {
            let found = data_set_of(path);
            assert!((0..kept).any(|number| found == data_set(&format!("1.2.{number}"), 5_000_000)));
        }
        // Room was made.
        fs::remove_file(&unread[0]).unwrap();
        assert_eq!(sender.store("1.2.99", 2_000_000).unwrap(), 0);
        sender.release();
        drop(listening);
        fs::remove_dir_all(&spool).unwrap();
    }
}
