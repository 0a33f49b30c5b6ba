//! Power cuts: whatever the instant, nothing that was promised is lost.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use board::{Board, Disk, WriteLog, free_port};
use sha2::{Digest, Sha256};

use crate::support::{BOOT, READING, done, kiosk_plan, must, plan, read, root, send, start};

/// How often the power is cut: `LIGHTBOX_BOARD_CUTS` times, or this often.
const CUTS: u64 = 30;

fn cuts() -> u64 {
    let Ok(asked) = std::env::var("LIGHTBOX_BOARD_CUTS") else { return CUTS };
    asked.parse().unwrap_or_else(|_| panic!("LIGHTBOX_BOARD_CUTS is {asked:?}, expected a number"))
}

/// Numbers that look random and are the same every time: a failure can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Steele and others, "Fast splittable pseudorandom number generators", 2014.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// An image of its own, by its SOP Instance UID: a film, or one that is refused soon, so that much happens before a cut.
fn film(folder: &Path, number: u64) -> (String, PathBuf) {
    let image = if number % 3 == 1 { "chest-pa.dcm" } else { "golden/imager-spacing.dcm" };
    let uid = format!("1.2.826.0.1.3680043.9.9999.{number}");
    let path = folder.join(format!("{number}.dcm"));
    std::fs::copy(root().join("tests/fixtures").join(image), &path).expect("a film");
    let output =
        Command::new("dcmodify").args(["-nb", "-imt", "-m", &format!("(0008,0018)={uid}")]).arg(&path).output();
    let output = output.unwrap_or_else(|error| panic!("dcmodify cannot be run ({error}): install the package dcmtk"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (uid, path)
}

/// What was promised before the power went.
#[derive(Default)]
struct Promised {
    acknowledged: BTreeSet<String>,
    shown: BTreeSet<u64>,
}

/// The UID's place in the names of the spool's files.
fn fingerprint(uid: &str) -> String {
    Sha256::digest(uid).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Looks whether a board that came up again keeps its promises.
#[track_caller]
fn check(board: &mut Board, promised: &Promised, cut: u64) {
    let kept = done(
        board,
        "grep -q ' /var/lib/lightbox ' /proc/mounts && { find /var/lib/lightbox/spool -name '*.dcm' 2>/dev/null | sed 's|.*/||'; true; }",
    );
    for uid in &promised.acknowledged {
        let name = format!("-{}-", fingerprint(uid));
        assert!(kept.contains(&name), "after cut {cut} the acknowledged film {uid} ({name}) is gone: {kept}");
    }
    if promised.acknowledged.is_empty() && promised.shown.is_empty() {
        return;
    }
    let verified = done(
        board,
        "[ ! -e /var/lib/lightbox/journal.db ] || lightbox journal verify --journal /var/lib/lightbox/journal.db",
    );
    let rows = done(
        board,
        "[ ! -e /var/lib/lightbox/journal.db ] || lightbox journal list --json --last 10000 --journal /var/lib/lightbox/journal.db",
    );
    let sequences: BTreeSet<u64> = rows
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["sequence"].as_u64())
        .collect();
    for case in &promised.shown {
        assert!(
            sequences.contains(case),
            "after cut {cut} the shown verdict {case} is not in the journal: {verified} {rows}"
        );
    }
}

/// Sends films, numbered from the one after `last`, until the power is gone: the last number and the UIDs of those that were
/// acknowledged.
fn send_until(over: &AtomicBool, folder: &Path, port: u16, last: u64) -> (u64, Vec<String>) {
    let (mut number, mut acknowledged) = (last, Vec::new());
    while !over.load(Ordering::Relaxed) {
        number += 1;
        let (uid, film) = film(folder, number);
        if send(port, &[&film]).is_ok() {
            acknowledged.push(uid);
        }
        std::fs::remove_file(film).expect("a film");
    }
    (number, acknowledged)
}

/// The cases whose verdicts the kiosk has told to show.
fn shown(console: &str) -> BTreeSet<u64> {
    let screens = ["shows Verdict(Viewed { case: ", "shows Refused(Viewed { case: "];
    let cases = screens.iter().flat_map(|screen| console.split(screen).skip(1));
    cases.filter_map(|rest| rest.split(',').next()?.parse().ok()).collect()
}

#[test]
fn power_cuts_at_random_instants_lose_nothing_that_was_promised() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let path = |name: &str| scratch.path().join(name);
    let cuts = cuts();
    let mut dice = Dice(20_260_301);
    let mut promised = Promised::default();
    let mut films = 0;
    let (mut in_doubt, mut lost) = (0, 0);
    let board_file = String::from_utf8(read("board/virt.toml")).expect("a board file is text");
    // Nobody looks at a panel here.
    let board_file = board_file
        .replace("kind = \"framebuffer\"\ndevice = \"/dev/fb0\"", "kind = \"png\"\nfolder = \"/run\"\nkeep = 2");
    let board_file = board_file.split("\n[watchdog]").next().expect("text").to_owned() + "\n[idle]\nhold_s = 1\n";
    let started = Instant::now();
    must(Disk::ext4(&path("before"), 192));
    for cut in 0..=cuts {
        std::fs::copy(path("before"), path("drive")).expect("a drive");
        let _ = std::fs::remove_file(path("log"));
        std::fs::File::create(path("log")).and_then(|file| file.set_len(1 << 30)).expect("a log");
        let disk = Disk::at(&path("drive")).logged(&path("log"));
        let port = must(free_port());
        let plan = kiosk_plan(board_file.as_bytes());
        let plan = must(must(plan.network(port, 11112)).disk(&disk));
        let mut board = start(plan.file("bin/kiosk", b"#!/bin/sh\nRUST_LOG=info,lightbox::kiosk=debug lightbox run --config \"$1\" >/dev/console 2>&1 3>&- &\necho $! >/run/kiosk.pid\n"));
        check(&mut board, &promised, cut);
        if cut == cuts {
            break;
        }
        let reading = |board: &mut Board| {
            let console = board.console();
            let states = ["Ready", "Receiving", "Reading", "Verdict", "Refused"];
            let reads = states.iter().any(|state| console.contains(&format!("shows {state}")));
            Ok((reads && console.contains("listening on")).then_some(()))
        };
        must(board.wait_for("the listener and the model", BOOT, reading));
        // The power goes while films come in, are read, and are written down; every second time after a verdict.
        let window = Duration::from_millis(dice.roll(3000));
        let over = AtomicBool::new(false);
        let (sent, acknowledged, console) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| send_until(&over, scratch.path(), port, films));
            let verdict = |board: &mut Board| Ok((!shown(&board.console()).is_empty()).then_some(()));
            let awaited = if cut % 2 == 0 { Ok(()) } else { board.wait_for("a verdict", READING, verdict) };
            std::thread::sleep(window);
            let console = board.console();
            let gone = board.cut_power();
            over.store(true, Ordering::Relaxed);
            must(awaited.and(gone));
            let (sent, acknowledged) = sender.join().expect("the sender");
            (sent, acknowledged, console)
        });
        films = sent;
        let mut log = must(WriteLog::read(&path("log")));
        if cut % 4 < 2 {
            promised.shown.extend(shown(&console));
            promised.acknowledged.extend(acknowledged);
        } else {
            // Any instant since the start will do as well. What was promised meanwhile does not count then.
            log.cut_after(dice.roll(log.len() as u64 + 1) as usize);
        }
        in_doubt += log.in_doubt();
        // What was written and not flushed: some of it is there, some is not.
        must(log.replay(&path("before"), &path("after"), |_| {
            let kept = dice.roll(2) == 0;
            lost += usize::from(!kept);
            kept
        }));
        std::fs::rename(path("after"), path("before")).expect("a drive");
    }
    let (acknowledged, shown) = (promised.acknowledged.len(), promised.shown.len());
    eprintln!(
        "{cuts} power cuts in {:.0} s: {acknowledged} films acknowledged, {shown} verdicts shown, {in_doubt} writes in doubt of which {lost} were lost; nothing promised is missing",
        started.elapsed().as_secs_f32()
    );
    assert!(acknowledged as u64 >= cuts / 2 && shown > 0 && lost > 0, "the test has to have had something to lose");
}

/// The test of the test: a cut does take away what was not flushed.
#[test]
fn a_power_cut_takes_what_was_not_flushed_and_leaves_what_was() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let path = |name: &str| scratch.path().join(name);
    must(Disk::ext4(&path("before"), 32));
    std::fs::copy(path("before"), path("drive")).expect("a drive");
    std::fs::File::create(path("log")).and_then(|file| file.set_len(1 << 28)).expect("a log");
    let mut board = start(must(plan().disk(&Disk::at(&path("drive")).logged(&path("log")))));
    done(&mut board, "mount -t ext4 -o commit=3600 /dev/vda /mnt");
    done(
        &mut board,
        "head -c 100000 /dev/urandom >/mnt/flushed && sync && sha256sum /mnt/flushed >/tmp/sum && cat /tmp/sum",
    );
    let sum = done(&mut board, "cat /tmp/sum");
    // Written to the drive, which has it in its cache: an ordinary write, without a flush.
    done(&mut board, "head -c 100000 /dev/urandom >/mnt/not-flushed");
    must(board.cut_power());
    let log = must(WriteLog::read(&path("log")));
    must(log.replay(&path("before"), &path("after"), |_| false));
    let mut board = start(must(plan().disk(&Disk::at(&path("after")))));
    done(&mut board, "mount -t ext4 /dev/vda /mnt");
    assert_eq!(done(&mut board, "sha256sum /mnt/flushed"), sum);
    assert_ne!(must(board.run("test -e /mnt/not-flushed")).status, 0, "what was never flushed is gone");
}
