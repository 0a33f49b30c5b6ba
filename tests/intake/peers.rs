//! Senders that others wrote: dcmtk, pynetdicom and Orthanc. `tests/run` installs them.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lightbox::adapters::dicom::TRANSFER_SYNTAXES;
use lightbox::adapters::file::{Limits, read_film};
use lightbox::domain::Acquired;

use crate::listening::{Listening, Place};
use crate::orthanc::Orthanc;

/// Says what is missing; under CI nothing may be.
pub(crate) fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is missing: tests/run installs what it can");
    eprintln!("not tested: {what} is missing");
}

/// A command of dcmtk that calls `listening` as XRAY1; `None` when dcmtk is missing.
pub(crate) fn dcmtk(name: &str, listening: &Listening, arguments: &[&str]) -> Option<Command> {
    if Command::new(name).arg("--version").output().is_err() {
        missing(&format!("{name} (dcmtk)"));
        return None;
    }
    let mut command = Command::new(name);
    command.args(["-aet", "XRAY1", "-aec", "LIGHTBOX"]).args(arguments);
    command.arg(listening.address.ip().to_string()).arg(listening.address.port().to_string());
    Some(command)
}

/// A Python that has pynetdicom.
pub(crate) fn python() -> Option<Command> {
    let python = std::env::var_os("LIGHTBOX_PEER_PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import pynetdicom"]).output();
    if has.is_ok_and(|output| output.status.success()) {
        Some(Command::new(python))
    } else {
        missing("a Python with pynetdicom (LIGHTBOX_PEER_PYTHON)");
        None
    }
}

pub(crate) fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn dcmtk_verifies_stores_and_is_refused() {
    let place = Place::new("");
    let listening = place.start();
    let Some(mut echo) = dcmtk("echoscu", &listening, &[]) else { return };
    let echo = echo.output().unwrap();
    assert!(echo.status.success(), "{}", told(&echo));
    for (title, reason) in [("-aet", "Calling AE Title Not Recognized"), ("-aec", "Called AE Title Not Recognized")] {
        let refused = dcmtk("echoscu", &listening, &[title, "ELSE"]).unwrap().output().unwrap();
        assert!(!refused.status.success() && told(&refused).contains(reason), "{}", told(&refused));
    }
    let store = dcmtk("storescu", &listening, &["-xw"]).unwrap().arg(fixture("chest-pa.dcm")).output().unwrap();
    assert!(store.status.success(), "{}", told(&store));
    let send = dcmtk("dcmsend", &listening, &["--decompress-never"]).unwrap();
    let send = { send }.arg(fixture("chest-pa.dcm")).output().unwrap();
    assert!(send.status.success(), "{}", told(&send));
    let kept = place.unread();
    assert_eq!(kept.len(), 1, "the same image twice");
    let limits = Limits::default();
    assert_eq!(read_film(&kept[0], &limits), read_film(&fixture("chest-pa.dcm"), &limits));
}

#[test]
fn twenty_five_dcmtk_senders_at_once_are_all_served() {
    let place = Place::new("");
    let listening = place.start();
    let folder = tempfile::tempdir().unwrap();
    let original = fs::read(fixture("chest-pa.dcm")).unwrap();
    let uid = b"1.3.6.1.4.1.5962.1.1.9.1.3.20040826185059.5457";
    let mut senders = Vec::new();
    for number in 0..25 {
        // A UID of its own in the data set and the header.
        let mut bytes = original.clone();
        let places: Vec<usize> = (0..bytes.len() - uid.len()).filter(|at| bytes[*at..].starts_with(uid)).collect();
        for at in places {
            bytes[at + uid.len() - 2..at + uid.len()].copy_from_slice(format!("{:02}", number + 60).as_bytes());
        }
        let path = folder.path().join(format!("{number}.dcm"));
        fs::write(&path, bytes).unwrap();
        let Some(mut sender) = dcmtk("storescu", &listening, &["-xw"]) else { return };
        senders.push(sender.arg(path).spawn().unwrap());
    }
    for mut sender in senders {
        assert!(sender.wait().unwrap().success());
    }
    assert_eq!(place.unread().len(), 25);
}

#[test]
fn pynetdicom_stores_an_image_of_every_transfer_syntax() {
    let Some(mut python) = python() else { return };
    let place = Place::new("");
    let listening = place.start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/intake/store.py");
    let golden = fixture("golden");
    let sent = python.arg(script).arg(listening.address.port().to_string()).arg(&golden).output().unwrap();
    assert!(sent.status.success(), "{}", told(&sent));
    // Lines of: transfer syntax, file name, status.
    let mut by_syntax: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for line in String::from_utf8(sent.stdout).unwrap().lines() {
        let [syntax, name, status] = line.split(' ').collect::<Vec<_>>().try_into().expect("three words");
        assert_eq!(status, "0000", "{line}");
        by_syntax.entry(syntax.to_owned()).or_default().push(golden.join(name));
    }
    for syntax in &TRANSFER_SYNTAXES {
        assert!(by_syntax.contains_key(syntax.uid), "no image of {}", syntax.name);
    }
    let kept = place.unread();
    assert_eq!(kept.len(), by_syntax.values().map(Vec::len).sum::<usize>());
    // Each comes out as the picture that was sent, under the SOP Instance UID that the script gave it.
    let film = |path: &PathBuf| {
        let mut film = read_film(path, &Limits::default());
        if let Ok(Acquired { identity: Some(identity), .. }) = &mut film {
            identity.sop_uid.clear();
        }
        format!("{film:?}")
    };
    let mut expected: Vec<String> = by_syntax.values().flatten().map(film).collect();
    let mut found: Vec<String> = kept.iter().map(film).collect();
    expected.sort();
    found.sort();
    assert!(found == expected, "a picture has changed on its way");
}

#[test]
fn pynetdicom_is_told_what_is_committed_and_what_is_not() {
    let Some(mut python) = python() else { return };
    let place = Place::new("");
    let listening = place.start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/intake/commit.py");
    let asked = python.arg(script).arg(listening.address.port().to_string()).arg(fixture("chest-pa.dcm")).output();
    let asked = asked.unwrap();
    assert!(asked.status.success(), "{}", told(&asked));
    let uid = "1.3.6.1.4.1.5962.1.1.9.1.3.20040826185059.5457";
    let expected = format!(
        "0000\n0000\nevent 1 1.2.3.99\nok {uid}\n\
         0000\nevent 2 1.2.3.99\nok {uid}\nfailed 1.2.3.4 0112\nfailed {uid} 0119\n"
    );
    // The answer and the report are noted by two threads.
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&String::from_utf8(asked.stdout).unwrap()), sorted(&expected));
    listening.wait_for("took the report on storage commitment 1.2.3.99, status 0000");
    listening.wait_for("storage commitment 1.2.3.99: 1 committed, 2 not here");
}

#[test]
fn a_peer_that_has_gone_is_called_with_its_report_also_after_a_power_cut() {
    let Some(_) = python() else { return };
    let place = Place::new("[limits]\nreport_retry_s = 1\n");
    // A port that nobody listens on yet.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = fs::read_to_string(&place.config).unwrap();
    let with_address = format!("[[listener.peers]]\nreport_to = \"127.0.0.1:{port}\"\n");
    fs::write(&place.config, text.replace("[[listener.peers]]\n", &with_address)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/intake/commit_later.py");
    let run = |arguments: &[&str]| python().unwrap().arg(&script).args(arguments).output().unwrap();
    let owed = || fs::read_dir(place.spool.join("commitments")).unwrap().count();

    let mut listening = place.start();
    let image = fixture("chest-pa.dcm");
    let asked = run(&["ask", &listening.address.port().to_string(), &image.display().to_string()]);
    assert!(asked.status.success() && asked.stdout == b"0000\n", "{}", told(&asked));
    assert_eq!(owed(), 1);
    listening.wait_for("XRAY1: no report on storage commitment 1.2.3.77: it cannot be connected to: ");
    listening.kill();

    let mut listening = place.start();
    listening.wait_for("1 reports on storage commitment are owed");
    let taken = run(&["take", &port.to_string()]);
    assert!(taken.status.success(), "{}", told(&taken));
    let uid = "1.3.6.1.4.1.5962.1.1.9.1.3.20040826185059.5457";
    assert_eq!(String::from_utf8(taken.stdout).unwrap(), format!("event 1 1.2.3.77 from LIGHTBOX\nok {uid}\n"));
    listening.wait_for("took the report on storage commitment 1.2.3.77 on a new association: 1 committed, 0 not here");
    assert!(listening.stop().success());
    assert_eq!(owed(), 0, "it is owed no longer");
}

#[test]
fn orthanc_verifies_and_stores() {
    let place = Place::new("");
    let listening = place.start();
    let modalities = serde_json::json!({"lightbox": ["LIGHTBOX", "127.0.0.1", listening.address.port()]});
    let Some(orthanc) = Orthanc::start(&modalities) else { return missing("Orthanc (orthanc)") };
    orthanc.post("/modalities/lightbox/echo", b"{}");
    let image = orthanc.post("/instances", &fs::read(fixture("chest-pa.dcm")).unwrap());
    let image = image["ID"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let sent = orthanc.post("/modalities/lightbox/store", image.as_bytes());
        assert_eq!((&sent["InstancesCount"], &sent["FailedInstancesCount"]), (&1.into(), &0.into()), "{sent}");
    }
    let kept = place.unread();
    assert_eq!(kept.len(), 1, "the same image twice");
    let limits = Limits::default();
    assert_eq!(read_film(&kept[0], &limits), read_film(&fixture("chest-pa.dcm"), &limits));
}
