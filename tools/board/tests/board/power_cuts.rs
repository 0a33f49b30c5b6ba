//! Power cuts: whatever the instant, nothing that was promised is lost.
//!
//! The board is booted once and its state kept before it has touched its drive; each start goes on from there, as the boot
//! itself writes nothing. What the drive holds is decided by its log of writes and flushes alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use board::{Board, Disk, Plan, WriteLog, free_port};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::film::Film;
use crate::support::{BOOT, READING, bundle, done, key_list, must, plan, read, root, send, start};

/// How often the power is cut: `LIGHTBOX_BOARD_CUTS` times, or this often.
const CUTS: u64 = 30;
/// Versions of the model that there are to flash.
const MODELS: u64 = 40;
/// What the kiosk does while the power goes.
const KIOSK: &[u8] = b"#!/bin/sh
RUST_LOG=info,lightbox::kiosk=debug lightbox run --config /etc/lightbox/board.toml >/dev/console 2>&1 3>&- &
echo $! >/run/kiosk.pid
";
/// Flashes one model after the other, from the number on that it is given.
const FLASH: &[u8] = b"#!/bin/sh
number=$1
while [ -e /bundles/$number.lbx ]; do
    echo \"flash: installing $number\"
    lightbox bundle install --store $STORE --allow-unaudited /bundles/$number.lbx >/dev/null || exit
    lightbox bundle confirm --store $STORE >/dev/null || exit
    echo \"flash: confirmed $number.\"
    number=$((number + 1))
done
";
const STORE: &str = "/var/lib/lightbox/models";
const JOURNAL: &str = "/var/lib/lightbox/journal.db";

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

/// What is going on when the power goes, beside films that come in and are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Nothing else.
    Intake,
    /// A verdict has just been shown.
    Verdict,
    /// A model is being flashed.
    Flash,
}

/// What was promised before the power went.
#[derive(Default)]
struct Promised {
    acknowledged: BTreeSet<String>,
    shown: BTreeSet<u64>,
    /// The newest model that was confirmed.
    model: u64,
}

/// The UID's place in the names of the spool's files.
fn fingerprint(uid: &str) -> String {
    Sha256::digest(uid).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The line below which version `number` of the model rules Covid-19 out: every version has its own.
fn rule_out(number: u64) -> f64 {
    0.1 + number as f64 / 4096.0
}

/// Seals the versions of a small model, each with a line of its own, and writes the key list that vouches for them.
fn seal_models(folder: &Path) {
    let at = |name: &str| folder.join(name).display().to_string();
    fs::write(folder.join("keys.json"), key_list(folder).to_string()).expect("a key list");
    let from = root().join("tools/board/tests/small-model");
    let model = folder.join("model");
    fs::create_dir(&model).expect("a folder");
    for name in ["model.onnx", "MODEL_CARD.md"] {
        fs::copy(from.join(name), model.join(name)).expect("a file of the small model");
    }
    let manifest = fs::read(from.join("manifest.json")).expect("a manifest");
    let mut manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    for number in 1..=MODELS {
        manifest["version"] = json!(format!("1.0.{number}"));
        manifest["operating_point"]["rule_out"] = json!(rule_out(number));
        let text = manifest.to_string();
        let digest: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(model.join("manifest.json"), text).expect("a manifest");
        fs::write(model.join("manifest.sha256"), format!("{digest}  manifest.json\n")).expect("a digest");
        let golden = root().join("models/golden/phantom.png").display().to_string();
        let (version, key, out) = (number.to_string(), at("release.key"), at(&format!("{number}.lbx")));
        let arguments = ["seal", "--model", &at("model"), "--bundle-version", &version, "--golden", &golden];
        bundle(&[&arguments[..], &["--golden-source", "made by code", "--key", &key, "--out", &out]].concat());
    }
}

/// The board: what is in its memory before its drive is looked at.
fn cut_plan(models: &Path, disk: &Disk, port: u16) -> Plan {
    let board_file = String::from_utf8(read("board/virt.toml")).expect("a board file is text");
    // Nobody looks at a panel here; the keyboard and the watchdog are another test's.
    let board_file = board_file
        .replace("kind = \"framebuffer\"\ndevice = \"/dev/fb0\"", "kind = \"png\"\nfolder = \"/run\"\nkeep = 2");
    let board_file = board_file.split("\n[[lamps]]\nrole = \"busy\"").next().expect("text").to_owned()
        + "\n[models]\nallow_unaudited = true\n\n[idle]\nhold_s = 1\n";
    let mut plan = plan()
        .file("etc/lightbox/board.toml", board_file.as_bytes())
        .file("bin/kiosk", KIOSK)
        .file("bin/flash", FLASH)
        .folder("bundles");
    plan = plan.file("bundles/keys.json", &fs::read(models.join("keys.json")).expect("a key list"));
    for number in 1..=MODELS {
        for name in [format!("{number}.lbx"), format!("{number}.lbx.minisig")] {
            plan = plan.file(&format!("bundles/{name}"), &fs::read(models.join(&name)).expect("a bundle"));
        }
    }
    must(must(plan.network(port, 11112)).later().disk(disk))
}

/// What the store of models holds.
#[track_caller]
fn models(board: &mut Board) -> Value {
    let status = done(board, &format!("lightbox bundle status --store {STORE} --json"));
    serde_json::from_str(status.trim()).unwrap_or_else(|error| panic!("{error}: {status}"))
}

/// The version of the bundle in a slot.
fn version_in(models: &Value, slot: &Value) -> Option<u64> {
    models["slots"][slot.as_str()?]["bundle"]["bundle_version"].as_u64()
}

/// The newest version in any slot.
fn newest(models: &Value) -> u64 {
    ["a", "b"].into_iter().filter_map(|slot| version_in(models, &json!(slot))).max().unwrap_or(0)
}

/// The rows of the journal, whose chain has to be whole.
#[track_caller]
fn rows(board: &mut Board) -> Vec<Value> {
    done(board, &format!("[ ! -e {JOURNAL} ] || lightbox journal verify --journal {JOURNAL}"));
    let list = format!("lightbox journal list --json --last 10000 --journal {JOURNAL}");
    let rows = done(board, &format!("[ ! -e {JOURNAL} ] || {list}"));
    rows.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Looks whether a board that came up again keeps its promises.
#[track_caller]
fn check(board: &mut Board, promised: &Promised, cut: u64) -> Value {
    let kept = done(board, "find /var/lib/lightbox/spool -name '*.dcm' 2>/dev/null | sed 's|.*/||'; true");
    for uid in &promised.acknowledged {
        let name = format!("-{}-", fingerprint(uid));
        assert!(kept.contains(&name), "after cut {cut} the acknowledged film {uid} ({name}) is gone: {kept}");
    }
    let models = models(board);
    let confirmed = version_in(&models, &models["confirmed"]);
    assert!(
        confirmed.is_some_and(|version| version >= promised.model),
        "after cut {cut} the model {} is not there any more: {models:#}",
        promised.model
    );
    let rows = rows(board);
    let sequences: BTreeSet<u64> = rows.iter().filter_map(|row| row["sequence"].as_u64()).collect();
    for case in &promised.shown {
        assert!(sequences.contains(case), "after cut {cut} the shown verdict {case} is not in the journal: {rows:?}");
    }
    for row in &rows {
        let version = row["model_version"].as_str().and_then(|version| version.rsplit('.').next()?.parse().ok());
        let line = row["rule_out"].as_f64().unwrap_or(f64::NAN);
        let own = version.is_some_and(|version| (line - rule_out(version)).abs() < 1e-6);
        assert!(own, "after cut {cut} a film was judged by a line that is not its model's: {row}");
    }
    models
}

/// Sends films, numbered from the one after `last`, until the power is gone: the last number and the UIDs of those that were
/// acknowledged. Every other one is refused as soon as it is looked at, so that much happens before a cut.
fn send_until(over: &AtomicBool, came: &AtomicU64, folder: &Path, port: u16, last: u64) -> (u64, Vec<String>) {
    let films = [Film::phantom(), Film::too_small()];
    let (mut number, mut acknowledged) = (last, Vec::new());
    while !over.load(Ordering::Relaxed) {
        number += 1;
        let uid = format!("1.2.826.0.1.3680043.9.9999.{number}");
        let film = films[(number % 2) as usize].write(folder, &uid);
        if send(port, &[&film]).is_ok() {
            acknowledged.push(uid);
            came.fetch_add(1, Ordering::Relaxed);
        }
        fs::remove_file(film).expect("a film");
    }
    (number, acknowledged)
}

/// The cases whose verdicts the kiosk has told to show.
fn shown(console: &str) -> BTreeSet<u64> {
    let screens = ["shows Verdict(Viewed { case: ", "shows Refused(Viewed { case: "];
    let cases = screens.iter().flat_map(|screen| console.split(screen).skip(1));
    cases.filter_map(|rest| rest.split(',').next()?.parse().ok()).collect()
}

/// The newest model that was told to be confirmed.
fn confirmed(console: &str) -> Option<u64> {
    console.split("flash: confirmed ").skip(1).filter_map(|rest| rest.split('.').next()?.parse().ok()).max()
}

/// A drive with the file system and the store of models as a device has them when it is handed over.
fn first_drive(models: &Path, drive: &Path) {
    let disk = must(Disk::ext4(drive, 192));
    let mut board = start(cut_plan(models, &disk, must(free_port())));
    attach(&mut board);
    let store = format!("--store {STORE}");
    let install = format!("lightbox bundle install {store} --allow-unaudited /bundles/1.lbx");
    done(&mut board, &format!("lightbox bundle init {store} --keys /bundles/keys.json && {install}"));
    done(&mut board, &format!("lightbox bundle confirm {store} && umount /var/lib/lightbox"));
}

/// Looks at the drive for the first time, and mounts it.
#[track_caller]
fn attach(board: &mut Board) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let wait = "until [ -b /dev/vda ]; do usleep 20000; done";
    let mount = "mkdir -p /var/lib/lightbox && mount -t ext4 /dev/vda /var/lib/lightbox";
    done(board, &format!("date -s @{now} >/dev/null && load-modules && {wait} && {mount}"));
}

#[test]
fn power_cuts_at_random_instants_lose_nothing_that_was_promised() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let path = |name: &str| scratch.path().join(name);
    let (models_folder, films_folder) = (path("models"), path("films"));
    for folder in [&models_folder, &films_folder] {
        fs::create_dir(folder).expect("a folder");
    }
    seal_models(&models_folder);
    first_drive(&models_folder, &path("before"));
    let state = path("state");
    fs::copy(path("before"), path("drive")).expect("a drive");
    let plan = || cut_plan(&models_folder, &Disk::at(&path("drive")), must(free_port()));
    must(start(plan()).keep_state(&state));

    let (cuts, started) = (cuts(), Instant::now());
    let mut dice = Dice(20_260_301);
    let mut promised = Promised { model: 1, ..Promised::default() };
    let (mut films, mut in_doubt, mut lost) = (0, 0, 0);
    let mut moments = BTreeMap::<String, u64>::new();
    for cut in 0..=cuts {
        fs::copy(path("before"), path("drive")).expect("a drive");
        let _ = fs::remove_file(path("log"));
        File::create(path("log")).and_then(|file| file.set_len(1 << 30)).expect("a log");
        let disk = Disk::at(&path("drive")).logged(&path("log"));
        let port = must(free_port());
        let mut board = must(cut_plan(&models_folder, &disk, port).from_state(&state).start());
        must(board.run_within("true", BOOT));
        attach(&mut board);
        let models = check(&mut board, &promised, cut);
        done(&mut board, "kiosk");
        // One usable model: the kiosk reads with it, whichever slot it is in.
        let reading = |board: &mut Board| {
            let console = board.console();
            Ok((console.contains("reading with example 1.0.") && console.contains("listening on")).then_some(()))
        };
        must(board.wait_for("the listener and the model", BOOT, reading));
        if cut == cuts {
            read_all(&mut board, &promised);
            break;
        }
        let moment = [Moment::Intake, Moment::Verdict, Moment::Flash][(cut % 3) as usize];
        if moment == Moment::Flash {
            done(&mut board, &format!("STORE={STORE} flash {} >/dev/console 2>&1 3>&- &", newest(&models) + 1));
        }
        let window = Duration::from_millis(dice.roll(3000));
        let flash = ["flash: installing", "flash: confirmed"][dice.roll(2) as usize];
        let (over, came) = (AtomicBool::new(false), AtomicU64::new(0));
        let (sent, acknowledged, console) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| send_until(&over, &came, &films_folder, port, films));
            let (what, has_come): (_, &dyn Fn(&str) -> bool) = match moment {
                Moment::Intake => ("a film that is kept", &|_| came.load(Ordering::Relaxed) > 0),
                Moment::Verdict => ("a verdict", &|console| !shown(console).is_empty()),
                Moment::Flash => (flash, &|console| console.contains(flash)),
            };
            let awaited = board.wait_for(what, READING, |board| Ok(has_come(&board.console()).then_some(())));
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
        let earlier = (cut / 3) % 2 == 1;
        if earlier {
            // Any instant since the start will do as well. What was promised meanwhile does not count then.
            log.cut_after(dice.roll(log.len() as u64 + 1) as usize);
        } else {
            promised.shown.extend(shown(&console));
            promised.acknowledged.extend(acknowledged);
            promised.model = promised.model.max(confirmed(&console).unwrap_or(0));
        }
        *moments.entry(format!("{moment:?}")).or_default() += 1;
        in_doubt += log.in_doubt();
        // What was written and not flushed: some of it is there, some is not.
        must(log.replay(&path("before"), &path("after"), |_| {
            let kept = dice.roll(2) == 0;
            lost += usize::from(!kept);
            kept
        }));
        fs::rename(path("after"), path("before")).expect("a drive");
    }
    let (acknowledged, shown, model) = (promised.acknowledged.len(), promised.shown.len(), promised.model);
    eprintln!(
        "{cuts} power cuts ({moments:?}) in {:.0} s: {acknowledged} films acknowledged, {shown} verdicts shown, models up to {model} confirmed, {in_doubt} writes in doubt of which {lost} were lost; nothing promised is missing",
        started.elapsed().as_secs_f32()
    );
    assert!(
        acknowledged as u64 >= cuts / 2 && shown > 0 && lost > 0 && model > 1,
        "the test has to have had something to lose"
    );
}

/// Lets the kiosk read all that waits: every film that was acknowledged has exactly one row.
#[track_caller]
fn read_all(board: &mut Board, promised: &Promised) {
    let none_waits = |board: &mut Board| {
        let waiting = board.run("ls /var/lib/lightbox/spool/unread | wc -l")?.text;
        Ok((waiting.trim() == "0").then_some(()))
    };
    must(board.wait_for("an empty queue", READING * 2, none_waits));
    let rows = rows(board);
    let mut read = BTreeMap::<&str, u64>::new();
    for row in &rows {
        let name = row["image_reference"].as_str().unwrap_or_else(|| panic!("{row} has an image"));
        *read.entry(name.split('-').nth(1).unwrap_or_default()).or_default() += 1;
    }
    for uid in &promised.acknowledged {
        let times = read.get(fingerprint(uid).as_str()).copied().unwrap_or(0);
        assert_eq!(times, 1, "the film {uid} was acknowledged and was read {times} times");
    }
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
