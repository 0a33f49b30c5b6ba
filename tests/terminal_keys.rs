//! The terminal's keyboard on a real pseudo-terminal, which `script` of util-linux makes: this test runs itself in it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use lightbox::adapters::devices::open_keys;
use lightbox::config::Devices;
use lightbox::domain::Key;

/// Where the test inside the terminal writes what it got.
const REPORT: &str = "LIGHTBOX_TEST_KEYS_REPORT";

/// What it says once it listens.
const READY: &str = "the keyboard is open";

#[test]
fn keys_arrive_from_a_terminal_which_is_left_as_it_was() {
    if let Some(report) = std::env::var_os(REPORT) {
        return inside(report.as_ref());
    }
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let program = std::env::current_exe().unwrap();
    let this = format!("{} --nocapture --exact keys_arrive_from_a_terminal_which_is_left_as_it_was", program.display());
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &this, "/dev/null"])
        .env(REPORT, &report)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of the package util-linux or bsdutils");
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    // What is typed before the keyboard is opened is thrown away.
    let mut told = String::new();
    while !told.contains(READY) {
        assert_ne!(stdout.read_line(&mut told).unwrap(), 0, "the test in the terminal has ended: {told}");
    }
    // A lone escape comes last: nothing follows that it could be the start of.
    stdin.write_all(b"\x1b[C \x1b[D\x1b[15~x\x1b").unwrap();
    stdin.flush().unwrap();
    stdout.read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success(), "{told}");
    assert_eq!(fs::read_to_string(&report).unwrap(), "next select previous back, as before: true", "{told}");
}

fn inside(report: &std::path::Path) {
    let settings = || {
        let output = Command::new("stty").arg("-g").stdin(Stdio::inherit()).output().expect("stty, of coreutils");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let before = settings();
    let text = "[panel]\nkind = 'terminal'\n[keyboard]\ndevice = 'terminal'\n";
    let devices = Devices::parse(text, std::path::Path::new("pc.toml")).expect("a configuration");
    let mut keys = open_keys(&devices.key_sources()[0]).expect("the terminal");
    assert_ne!(settings(), before, "the terminal echoes what is typed");
    println!("{READY}");
    let mut got = Vec::new();
    while got.last() != Some(&Key::Back) {
        let key = keys.wait(Duration::from_secs(60)).expect("an open terminal");
        got.push(key.expect("a key within a minute"));
    }
    drop(keys);
    let got: Vec<_> = got.iter().map(|key| key.name()).collect();
    fs::write(report, format!("{}, as before: {}", got.join(" "), settings() == before)).expect("a report");
}
