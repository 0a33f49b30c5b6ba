//! What the tests share: a board with the program's files, the kiosk in it, a modality in front of it.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use board::{Board, BoardError, Output, Picture, Plan};
use serde_json::{Value, json};

/// How long a board may take to start. A boot takes five to ten seconds on two idle cores.
pub(crate) const BOOT: Duration = Duration::from_secs(300);
/// How long the program may take to read a film: an emulated processor is slow.
pub(crate) const READING: Duration = Duration::from_secs(300);

/// Starts the kiosk as the field does: data on a drive of its own, the program with the board file.
const START: &str = "#!/bin/sh
mkdir -p /var/lib/lightbox /media
mount -t ext4 /dev/vda /var/lib/lightbox || echo 'board: the data drive cannot be mounted'
[ ! -x /etc/before ] || /etc/before
/bin/kiosk /etc/lightbox/board.toml
";
/// Runs the kiosk in the background; its log tells every screen.
const KIOSK: &str = "#!/bin/sh
RUST_LOG=info,lightbox::kiosk=debug lightbox run --config \"$1\" >>${LOG:-/run/kiosk.log} 2>&1 3>&- &
echo $! >/run/kiosk.pid
";

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The path in a variable that `tools/board/environment` sets.
#[track_caller]
pub(crate) fn path_in(name: &str) -> PathBuf {
    let path = std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is not set: run the tests of the emulated board with `tests/run board`"));
    root().join(path)
}

/// The program as built for this machine.
pub(crate) fn native() -> PathBuf {
    path_in("LIGHTBOX_NATIVE_PROGRAM")
}

pub(crate) fn read(path: &str) -> Vec<u8> {
    let path = root().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
pub(crate) fn must<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// A board with the released model in the place where the package puts it.
pub(crate) fn plan() -> Plan {
    with_model(must(Plan::new()))
}

/// Puts the released model into the place where the package puts it.
pub(crate) fn with_model(mut plan: Plan) -> Plan {
    for folder in ["usr", "usr/share", "usr/share/lightbox", "usr/share/lightbox/models", "var", "var/lib", "media"] {
        plan = plan.folder(folder);
    }
    must(plan.folder_from("usr/share/lightbox/models/released", &root().join("models/released")))
}

/// A board that starts the kiosk with this board file.
pub(crate) fn kiosk_plan(board_file: &[u8]) -> Plan {
    plan()
        .file("etc/start", START.as_bytes())
        .file("bin/kiosk", KIOSK.as_bytes())
        .file("etc/lightbox/board.toml", board_file)
}

/// Switches a board on and waits until it answers.
#[track_caller]
pub(crate) fn start(plan: Plan) -> Board {
    let mut board = must(plan.start());
    must(board.run_within("true", BOOT));
    eprintln!("the board answered {:.1} s after it was switched on", board.age().as_secs_f32());
    board
}

/// Runs a command in the board that has to succeed.
#[track_caller]
pub(crate) fn done(board: &mut Board, command: &str) -> String {
    let Output { text, status } = must(board.run_within(command, READING));
    assert_eq!(status, 0, "{command}: {text}");
    text
}

/// The kiosk's log.
#[track_caller]
pub(crate) fn log(board: &mut Board) -> String {
    done(board, "cat /run/kiosk.log")
}

/// Waits until the kiosk's log has this text as often as `count`.
#[track_caller]
pub(crate) fn logged(board: &mut Board, text: &str, count: usize, limit: Duration) {
    let question = |board: &mut Board| {
        let log = board.run("cat /run/kiosk.log")?.text;
        if log.matches(text).count() >= count {
            return Ok(Some(()));
        }
        // One that has ended will say nothing more.
        let ended = board.run("kill -0 $(cat /run/kiosk.pid)")?.status != 0;
        assert!(!ended, "the kiosk ended before it said {text:?}: {log}");
        Ok(None)
    };
    if let Err(error) = board.wait_for(&format!("{text:?} in the kiosk's log"), limit, question) {
        let log = board.run("tail -n 40 /run/kiosk.log").map(|output| output.text).unwrap_or_default();
        panic!("{error}\nthe kiosk's log ends with: {log}");
    }
}

/// Runs `lightbox bundle` as built for this machine, which seals bundles quickly.
#[track_caller]
pub(crate) fn bundle(arguments: &[&str]) {
    let output = Command::new(native()).arg("bundle").args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("the program of this machine cannot be run: {error}"));
    assert!(output.status.success(), "lightbox bundle {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a root key and a release key in a folder, and the key list that trusts them.
#[track_caller]
pub(crate) fn key_list(folder: &Path) -> Value {
    let public = |name: &str| {
        bundle(&["keygen", &folder.join(name).display().to_string(), "--no-password"]);
        let text = std::fs::read_to_string(folder.join(format!("{name}.pub"))).expect("a key");
        text.lines().nth(1).expect("a key").to_owned()
    };
    let keys: Vec<Value> =
        ["root", "release"].map(|name| json!({"name": name, "role": name, "public_key": public(name)})).into();
    json!({
        "schema": 1, "version": 1, "keys": keys,
        "accept": {
            "bundle": [{"role": "release", "signatures": 1}],
            "key_list": [{"role": "root", "signatures": 1}],
            "permit": [{"role": "root", "signatures": 1}],
        }
    })
}

/// Ends the kiosk, throws all that it has kept away, and starts it with another board file.
#[track_caller]
pub(crate) fn restart_kiosk(board: &mut Board, board_file: &str) {
    stop_kiosk(board);
    done(board, "rm -rf /var/lib/lightbox/* /run/kiosk.log");
    done(board, &format!("kiosk {board_file}"));
}

/// Ends the kiosk as a service manager does, and waits until it has.
#[track_caller]
pub(crate) fn stop_kiosk(board: &mut Board) {
    done(board, "kill -TERM $(cat /run/kiosk.pid)");
    let gone = |board: &mut Board| Ok((board.run("kill -0 $(cat /run/kiosk.pid)")?.status != 0).then_some(()));
    must(board.wait_for("the end of the kiosk", Duration::from_secs(60), gone));
}

/// Sends films with dcmtk's `storescu`; true when all were acknowledged.
#[track_caller]
pub(crate) fn send(port: u16, films: &[&Path]) -> Result<(), String> {
    let mut command = Command::new("storescu");
    command
        .args(["-aet", "XRAY1", "-aec", "LIGHTBOX", "-xw", "-to", "20", "-td", "60", "127.0.0.1", &port.to_string()])
        .args(films);
    let output =
        command.output().unwrap_or_else(|error| panic!("storescu cannot be run ({error}): install the package dcmtk"));
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// What the panel shows, once it is the same twice.
#[track_caller]
pub(crate) fn settled(board: &mut Board) -> Picture {
    let mut last = None;
    let question = |board: &mut Board| -> Result<Option<Picture>, BoardError> {
        let screen = board.screen()?;
        let same = last.as_ref() == Some(&screen);
        last = Some(screen.clone());
        Ok(same.then_some(screen))
    };
    must(board.wait_for("a screen that stands", Duration::from_secs(30), question))
}

/// The picture in a PNG.
pub(crate) fn png_of(bytes: &[u8]) -> Picture {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
    let mut buffer = vec![0; reader.output_buffer_size().expect("a picture of a panel is small")];
    let info = reader.next_frame(&mut buffer).expect("a PNG");
    let channels = info.color_type.samples();
    let pixels = buffer[..info.buffer_size()].chunks(channels).map(|pixel| match pixel {
        [grey] | [grey, _] => [*grey; 3],
        [red, green, blue, ..] => [*red, *green, *blue],
        [] => unreachable!("a pixel has channels"),
    });
    Picture { width: info.width as usize, height: info.height as usize, pixels: pixels.collect() }
}

/// What was written with `base64`; everything that is none of its digits is passed over.
pub(crate) fn from_base64(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter_map(|byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    });
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for digit in digits {
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}

/// Fails unless a panel shows what the program drew, to the pixel.
#[track_caller]
pub(crate) fn agree(what: &str, shown: &Picture, expected: &Picture) {
    let agreement = shown.agreement(expected);
    assert!(
        agreement >= 1.0,
        "{what} agrees with what the program drew in {:.2} % of the pixels: {shown:?}, {expected:?}",
        agreement * 100.0
    );
}
