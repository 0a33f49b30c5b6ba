//! Readings on their way to an archive: dcmtk's storescp, Orthanc, and one by pynetdicom that answers as it is told.
#![cfg(feature = "device")]

#[path = "support/orthanc.rs"]
mod orthanc;
#[path = "support/rows.rs"]
mod rows;
#[path = "support/running.rs"]
mod running;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lightbox::adapters::archive::Archive;
use lightbox::config::Sending;
use lightbox::domain::{ArchiveTrouble, Identity, What};
use lightbox::record::{Entry, Journal, QueueState, Queued, Recorded, Tried, sop_uid_of};
use orthanc::{Orthanc, free_port};
use rows::entry;
use running::{PATIENCE, Running, lightbox, missing, put, small_picture, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

const SR: &str = "1.2.840.10008.5.1.4.1.1.88.33";
const SC: &str = "1.2.840.10008.5.1.4.1.1.7";

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Numbers that look random, the same ones each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// A process that is killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// storescp of dcmtk, on that port; what it takes becomes a file named by its SOP Instance UID.
fn storescp(port: u16, folder: &Path, more: &[&str]) -> Option<Process> {
    let mut command = Command::new("storescp");
    command.args(["-aet", "ARCHIVE", "--output-directory"]).arg(folder).args(more).arg(port.to_string());
    let process = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?);
    wait_until("storescp", String::new, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(process)
}

/// What storescp has stored, by SOP Instance UID.
fn stored(folder: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.file_name());
    // The kind comes first, such as SR or SC.
    names.filter_map(|name| name.to_str()?.split_once('.').map(|(_, uid)| uid.to_owned())).collect()
}

/// An archive by pynetdicom.
fn scripted(port: u16, folder: &Path, statuses: &Value, classes: &Value) -> Option<Process> {
    let python = std::env::var_os("LIGHTBOX_PEER_PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import pynetdicom"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        missing("a Python with pynetdicom (LIGHTBOX_PEER_PYTHON)");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/archive_scp.py");
    let mut command = Command::new(&python);
    command.arg(script).arg(port.to_string()).arg(folder).arg(statuses.to_string()).arg(classes.to_string());
    let mut process = Process(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts"));
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    Some(process)
}

/// The journal of a device, and its board file.
struct Place {
    folder: TempDir,
}

impl Place {
    /// With an archive at that port; `more` is appended to the board file.
    fn new(port: u16, more: &str) -> Self {
        let place = Self { folder: TempDir::new().expect("a temporary folder") };
        for name in ["films", "screens", "archive"] {
            fs::create_dir(place.path(name)).expect("a folder");
        }
        let text = format!(
            "[site]\nkeep_identity = true\n[journal]\nfile = 'journal.db'\n\
             [spool]\nfolder = 'spool'\nkeep_free_mb = 0\nkeep_free_percent = 0\n\
             [[folders]]\npath = 'films'\nsettle_s = 0\npoll_s = 1\n\
             [panel]\nkind = 'png'\nfolder = 'screens'\nsize = [320, 240]\nkeep = 10\n[idle]\nhold_s = 1\n\
             [metrics]\nfile = 'lightbox.prom'\nevery_s = 1\n\
             [pacs]\naddress = '127.0.0.1:{port}'\ncalled_ae_title = 'ARCHIVE'\ncalling_ae_title = 'LIGHTBOX'\n\
             retry_s = 1\nwithout_study = true\n{more}"
        );
        fs::write(place.path("board.toml"), text).expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn journal(&self) -> Journal {
        Journal::open_or_create(&self.path("journal.db")).expect("a journal")
    }

    /// Rows `numbers`, with what is to be sent of them.
    fn write(&self, numbers: std::ops::Range<i64>) {
        let mut journal = self.journal();
        for number in numbers {
            journal.append_to_send(&entry(number), &What::ALL).expect("written");
        }
    }

    /// Every row of the journal, oldest first; none where there is no journal yet.
    fn rows(&self) -> Vec<Recorded> {
        let Ok(journal) = Journal::open(&self.path("journal.db")) else { return Vec::new() };
        let mut rows = journal.newest(10_000).expect("it can be read");
        rows.reverse();
        rows
    }

    /// SOP Instance UIDs of all that is to be in the archive.
    fn expected(&self) -> BTreeSet<String> {
        self.rows().iter().flat_map(|row| What::ALL.map(|what| sop_uid_of(row, what))).collect()
    }

    fn queue(&self, state: QueueState) -> Vec<Queued> {
        Journal::open(&self.path("journal.db"))
            .map_or(Vec::new(), |journal| journal.queue(Some(state)).expect("readable"))
    }

    fn send(&self, more: &[&str]) -> Output {
        let board = self.path("board.toml").display().to_string();
        lightbox(&[&["journal", "send", "--config", &board], more].concat()).output().expect("the program")
    }

    /// Sends once more; gives why something waits, as the panel would say it.
    fn trouble(&self) -> Option<ArchiveTrouble> {
        let sending = Sending::read(&self.path("board.toml")).expect("a board file");
        let round = Archive::new(sending).send_all().expect("it is tried");
        round.trouble.map(|trouble| trouble.kind)
    }

    fn run(&self) -> Running {
        let board = self.path("board.toml").display().to_string();
        Running::start(lightbox(&["run", "--config", &board]))
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        put(&self.path("films"), name, bytes);
    }

    fn metrics(&self) -> String {
        fs::read_to_string(self.path("lightbox.prom")).unwrap_or_default()
    }
}

fn chest_film() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chest-pa.dcm")).expect("a fixture")
}

#[test]
fn what_waits_is_sent_once_the_archive_is_there_and_only_once() {
    let port = free_port();
    let place = Place::new(port, "");
    place.write(1..6);
    let output = place.send(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("0 sent, 10 wait, 0 refused for good\n"), "{}", told(&output));
    assert!(told(&output).contains("lightbox: archive: it cannot be connected to: "), "{}", told(&output));
    let journal = place.path("journal.db").display().to_string();
    let listed = told(&lightbox(&["journal", "queue", "--journal", &journal]).output().unwrap());
    assert_eq!(listed.matches("  waits   ").count(), 10, "{listed}");
    assert!(listed.contains("the archive was not reached 1 times: it cannot be connected to"), "{listed}");
    assert_eq!(place.trouble(), Some(ArchiveTrouble::Unreachable));

    let archive = place.path("archive");
    let Some(_archive) = storescp(port, &archive, &[]) else { return missing("storescp (dcmtk)") };
    let output = place.send(&[]);
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("10 sent, 0 wait, 0 refused for good\n"), "{}", told(&output));
    assert_eq!(stored(&archive), place.expected());
    assert!(told(&place.send(&[])).contains("0 sent, 0 wait"), "all was sent before");
    assert_eq!(place.trouble(), None);
    let listed = lightbox(&["journal", "queue", "--journal", &journal, "--json", "--all"]).output().unwrap();
    let objects: Vec<Value> =
        told(&listed).lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(objects.len(), 10);
    assert!(objects.iter().all(|object| object["state"] == "sent" && object["status"] == "0000"), "{objects:?}");
    // Both kinds are what they say.
    for (object, class) in objects.iter().zip([SC, SR]) {
        let kind = if class == SR { "SRc" } else { "SC" };
        let path = archive.join(format!("{kind}.{}", object["sop_instance_uid"].as_str().expect("a UID")));
        let dumped = told(&Command::new("dcmdump").args(["-Un", "+P", "0008,0016"]).arg(&path).output().unwrap());
        assert!(dumped.contains(class), "{}: {dumped}", path.display());
    }
}

#[test]
fn each_answer_of_the_archive_has_its_consequence() {
    let port = free_port();
    let place = Place::new(port, "");
    place.write(1..6);
    let archive = place.path("archive");
    // In the order of the queue: stored, stored with a warning, no room, not understood, broken off.
    let statuses = json!([0, 0xb000, 0xa700, 0xc123, "abort"]);
    let Some(first) = scripted(port, &archive, &statuses, &json!([SR, SC])) else { return };
    let output = place.send(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("2 sent, 7 wait, 1 refused for good\n"), "{}", told(&output));
    let failed = place.queue(QueueState::Failed);
    assert_eq!((failed[0].status, failed[0].attempts), (Some(0xc123), 1));
    assert_eq!(failed[0].told.as_deref(), Some("status C123, cannot understand"));
    assert_eq!(place.journal().queue_figures().expect("readable").again, 1);
    let waits = place.queue(QueueState::Waits);
    assert_eq!((waits[0].status, waits[0].attempts), (Some(0xa700), 1));
    assert_eq!((waits[1].status, waits[1].attempts), (None, 1));
    assert!(waits[2..].iter().all(|object| object.attempts == 0), "{waits:?}");
    // One that is refused for good stays so until somebody asks for it.
    let output = place.send(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("7 sent, 0 wait, 1 refused for good\n"), "{}", told(&output));
    let output = place.send(&["--failed"]);
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("1 that were refused are sent once more\n1 sent, 0 wait, 0"), "{}", told(&output));
    let files: BTreeSet<String> =
        fs::read_dir(&archive).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(files, place.expected());
    drop(first);

    // An archive without room is left in peace after a few objects.
    place.write(6..16);
    let statuses: Vec<u16> = vec![0xa701; 100];
    let Some(second) = scripted(port, &archive, &json!(statuses), &json!([SR, SC])) else { return };
    let output = place.send(&[]);
    assert!(told(&output).contains("0 sent, 20 wait, 0 refused"), "{}", told(&output));
    assert_eq!(place.queue(QueueState::Waits).iter().filter(|object| object.attempts > 0).count(), 3);
    assert_eq!(place.trouble(), Some(ArchiveTrouble::NoRoom));
    drop(second);

    // One that takes no structured reports gets the pictures.
    let Some(_third) = scripted(port, &archive, &json!([]), &json!([SC])) else { return };
    let output = place.send(&[]);
    assert!(told(&output).contains("10 sent, 0 wait, 10 refused for good"), "{}", told(&output));
    let failed = place.queue(QueueState::Failed);
    let reason = format!("it accepts no report ({SR}): the SOP class is not supported");
    assert!(
        failed.iter().all(|object| object.what == What::Report && object.told.as_ref() == Some(&reason)),
        "{failed:?}"
    );
}

#[test]
fn an_archive_that_does_not_know_this_device_is_told_apart_and_asked_again() {
    let port = free_port();
    let place = Place::new(port, "");
    place.write(1..2);
    let archive = place.path("archive");
    let Some(refusing) = storescp(port, &archive, &["--refuse"]) else { return missing("storescp (dcmtk)") };
    let output = place.send(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("archive: it rejects the association "), "{}", told(&output));
    assert_eq!(place.trouble(), Some(ArchiveTrouble::Rejected));
    assert_eq!(place.queue(QueueState::Waits).len(), 2);
    drop(refusing);
    let _archive = storescp(port, &archive, &[]);
    assert!(place.send(&[]).status.success());
    assert_eq!(stored(&archive), place.expected());
}

#[test]
fn killed_at_any_moment_the_sender_brings_every_object_into_orthanc_exactly_once() {
    const KILLS: i64 = 34;
    let Some(orthanc) = Orthanc::start(&json!({})) else { return missing("Orthanc (orthanc)") };
    let place = Place::new(orthanc.dicom_port, "");
    let board = place.path("board.toml").display().to_string();
    let mut draw = Draw(0x2545_f491_4f6c_dd1d);
    let (mut cut, mut before) = (0, 0);
    for kill in 0..KILLS {
        place.write(1 + 4 * kill..5 + 4 * kill);
        let mut command = lightbox(&["journal", "send", "--config", &board]);
        let mut sender = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"));
        // Behind some object, and then anywhere on its way to the next.
        let wanted = before + draw.below(4) as usize;
        let start = Instant::now();
        while place.queue(QueueState::Sent).len() <= wanted && sender.0.try_wait().expect("asked").is_none() {
            assert!(start.elapsed() < PATIENCE, "nothing is sent");
        }
        let pause = Instant::now();
        let longest = Duration::from_micros(draw.below(20_000));
        while pause.elapsed() < longest {
            thread::yield_now();
        }
        sender.0.kill().expect("killed");
        sender.0.wait().expect("gone");
        before = place.queue(QueueState::Sent).len();
        cut += usize::from(!place.queue(QueueState::Waits).is_empty());
    }
    let output = place.send(&[]);
    assert!(output.status.success(), "{}", told(&output));
    let instances = orthanc.get("/instances?expand");
    let uids: Vec<&str> = instances
        .as_array()
        .expect("a list")
        .iter()
        .map(|instance| instance["MainDicomTags"]["SOPInstanceUID"].as_str().expect("a UID"))
        .collect();
    assert_eq!(uids.len(), 8 * KILLS as usize);
    assert_eq!(uids.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), place.expected());
    println!("{KILLS} kills of the sender, {cut} of them with objects left, all in the archive once");
    assert!(cut > 20, "too little was cut off to prove anything: {cut}");
    assert!(place.journal().verify().expect("readable").is_ok());
}

#[test]
fn killed_at_any_moment_the_kiosk_brings_every_reading_into_the_archive() {
    const KILLS: u32 = 10;
    let port = free_port();
    let place = Place::new(port, "");
    let archive = place.path("archive");
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let (mut left, mut films) = (0, 0);
    for kill in 0..KILLS {
        // Every other time the archive is away.
        let peer = if kill % 2 == 0 { None } else { storescp(port, &archive, &[]) };
        if kill % 2 == 1 && peer.is_none() {
            return missing("storescp (dcmtk)");
        }
        let before = place.rows().len();
        for _ in 0..8 {
            films += 1;
            place.put(&format!("{films}.png"), &small_picture(films));
        }
        let mut kiosk = place.run();
        let wanted = before + 1 + draw.below(8) as usize;
        wait_until("read", || kiosk.log(), || place.rows().len() >= wanted);
        kiosk.kill();
        // Whatever was shown is in the queue or was sent.
        let journal = place.journal();
        assert_eq!(journal.queue(None).expect("readable").len(), 2 * place.rows().len());
        left += place.queue(QueueState::Waits).len();
    }
    let Some(_peer) = storescp(port, &archive, &[]) else { return };
    let mut kiosk = place.run();
    wait_until("all read", || kiosk.log(), || place.rows().len() == films as usize);
    wait_until("all sent", || kiosk.log(), || place.queue(QueueState::Waits).is_empty());
    assert!(kiosk.stop().success(), "{}", kiosk.log());
    assert_eq!(stored(&archive), place.expected());
    println!(
        "{KILLS} kills of the kiosk, {left} objects left by them in all, {} in the archive",
        stored(&archive).len()
    );
    assert!(left > 0 && place.queue(QueueState::Failed).is_empty());
}

#[test]
fn an_archive_that_is_away_at_first_gets_everything_later_and_the_figures_say_so() {
    let port = free_port();
    let place = Place::new(port, "");
    let mut kiosk = place.run();
    for number in 0..3 {
        place.put(&format!("{number}.png"), &small_picture(number));
    }
    wait_until("counted", || place.metrics(), || place.metrics().contains("lightbox_archive_waiting 6\n"));
    kiosk.wait_for("archive ARCHIVE: it cannot be connected to: ");
    kiosk.wait_for("objects wait, the oldest for ");
    wait_until(
        "told",
        || place.metrics(),
        || {
            let metrics = place.metrics();
            let unreached = metrics.lines().find_map(|line| line.strip_prefix("lightbox_archive_unreached "));
            unreached.is_some_and(|tries| tries != "0") && metrics.contains("\nlightbox_archive_oldest_seconds ")
        },
    );
    let archive = place.path("archive");
    let Some(_archive) = storescp(port, &archive, &[]) else { return missing("storescp (dcmtk)") };
    wait_until("sent", || kiosk.log(), || stored(&archive) == place.expected());
    let all_well =
        ["lightbox_archive_waiting 0\n", "lightbox_archive_oldest_seconds 0\n", "lightbox_archive_unreached 0\n"];
    wait_until("well", || place.metrics(), || all_well.iter().all(|line| place.metrics().contains(line)));
    // From now on at once.
    place.put("last.png", &small_picture(9));
    wait_until("sent", || kiosk.log(), || place.rows().len() == 4 && stored(&archive) == place.expected());
    assert!(kiosk.stop().success(), "{}", kiosk.log());
}

#[test]
fn an_archive_that_accepts_and_says_nothing_keeps_no_verdict_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = Place::new(silent.local_addr().expect("an address").port(), "");
    place.put("0.png", &small_picture(0));
    let mut kiosk = place.run();
    silent.set_nonblocking(true).expect("set");
    let mut called = None;
    wait_until(
        "called",
        || kiosk.log(),
        || {
            called = silent.accept().ok();
            called.is_some()
        },
    );
    let (called, _) = called.expect("it has called");
    called.set_nonblocking(true).expect("set");
    // The association request comes and is not answered.
    let mut bytes = [0; 4096];
    wait_until("asked", || kiosk.log(), || called.peek(&mut bytes).is_ok_and(|count| count > 0));
    for number in 1..4 {
        place.put(&format!("{number}.png"), &small_picture(number));
        wait_until("read", || kiosk.log(), || place.rows().len() > number as usize);
        kiosk.wait_for(&format!("shows Refused(Viewed {{ case: {}, page: Verdict", number + 1));
    }
    // It still waits for the answer to its first call: nobody else was kept waiting by that.
    std::io::Read::read(&mut &called, &mut bytes).expect("the request");
    let nothing = called.peek(&mut bytes).expect_err("neither bytes nor an end");
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "{}", kiosk.log());
    assert!(silent.accept().is_err(), "it calls again while it waits");
    // Nor does it keep the program from ending.
    assert!(kiosk.stop().success(), "{}", kiosk.log());
    assert!(!kiosk.log().contains("did not end in time"), "{}", kiosk.log());
    assert_eq!(place.queue(QueueState::Waits).len(), 8);
}

#[test]
fn orthanc_has_report_and_capture_beside_the_film_that_a_listener_took_from_a_folder() {
    let Some(orthanc) = Orthanc::start(&json!({})) else { return missing("Orthanc (orthanc)") };
    let film = orthanc.post("/instances", &chest_film());
    let place = Place::new(orthanc.dicom_port, "");
    let text = format!(
        "[listener]\naddress = '127.0.0.1:0'\nae_title = 'LIGHTBOX'\n\
         [[listener.peers]]\nae_title = 'XRAY1'\naddresses = ['127.0.0.1']\n\
         [spool]\nfolder = {:?}\nkeep_free_mb = 0\nkeep_free_percent = 0\n\
         [[folders]]\npath = {:?}\nsettle_s = 0\npoll_s = 1\n\
         [read]\nreadings = {:?}\njournal = {:?}\nkeep_identity = true\n\
         [pacs]\naddress = '127.0.0.1:{}'\ncalled_ae_title = 'XRAY1'\nretry_s = 1\n",
        place.path("spool"),
        place.path("films"),
        place.path("readings.jsonl"),
        place.path("journal.db"),
        orthanc.dicom_port,
    );
    let config = place.path("listen.toml");
    fs::write(&config, text).expect("written");
    let config = config.display().to_string();
    let mut listening = Running::start(lightbox(&["listen", "--config", &config]));
    place.put("chest.dcm", &chest_film());
    // One that belongs to no study is read and not sent.
    place.put("small.png", &small_picture(1));
    wait_until("read", || listening.log(), || place.rows().len() == 2);
    wait_until("sent", || listening.log(), || place.queue(QueueState::Sent).len() == 2);
    assert!(listening.stop().success(), "{}", listening.log());
    let series = orthanc.get(&format!("/studies/{}/series", film["ParentStudy"].as_str().unwrap()));
    let modalities: BTreeSet<_> =
        series.as_array().unwrap().iter().map(|series| series["MainDicomTags"]["Modality"].as_str().unwrap()).collect();
    assert_eq!(modalities, BTreeSet::from(["CR", "OT", "SR"]));
    assert_eq!(orthanc.get("/studies").as_array().unwrap().len(), 1);
    let lines = fs::read_to_string(place.path("readings.jsonl")).expect("a line for each");
    assert_eq!(lines.lines().count(), 2);
    // The same file serves the command line.
    let output = lightbox(&["journal", "send", "--config", &config]).output().unwrap();
    assert!(output.status.success() && told(&output).contains("0 sent, 0 wait, 0 refused"), "{}", told(&output));
    let sending = Sending::read(Path::new(&config)).expect("it is one of the listener's");
    let archive = Archive::new(sending);
    assert_eq!(archive.examine(), Ok(Vec::new()));
}

#[test]
fn the_archive_is_spoken_to_through_tls_and_has_to_prove_itself() {
    use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    let port = free_port();
    let tls = "[pacs.tls]\ncertificate = 'device.crt'\nkey = 'device.key'\nca = 'ca.pem'\n";
    let place = Place::new(port, tls);
    let mut params = CertificateParams::new(vec![]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "an authority");
    let key = KeyPair::generate().expect("a key");
    fs::write(place.path("ca.pem"), params.self_signed(&key).expect("a certificate").pem()).expect("written");
    let issuer = Issuer::new(params, key);
    for (name, address) in [("device", "127.0.0.1"), ("archive", "127.0.0.1"), ("other", "127.0.0.2")] {
        let mut params = CertificateParams::new(vec![address.to_owned()]).expect("an address");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &issuer).expect("a certificate");
        fs::write(place.path(&format!("{name}.crt")), signed.pem()).expect("written");
        fs::write(place.path(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }
    place.write(1..3);
    let archive = place.path("archive");
    let secured = |name: &str| {
        let [key, certificate, ca] = [format!("{name}.key"), format!("{name}.crt"), "ca.pem".to_owned()]
            .map(|file| place.path(&file).display().to_string());
        storescp(port, &archive, &["+tls", &key, &certificate, "+cf", &ca])
    };
    let Some(other) = secured("other") else { return missing("storescp (dcmtk)") };
    let output = place.send(&[]);
    assert!(told(&output).contains("archive: TLS: the peer's certificate is refused"), "{}", told(&output));
    assert_eq!(place.trouble(), Some(ArchiveTrouble::Certificate));
    drop(other);
    let plain = storescp(port, &archive, &[]);
    let output = place.send(&[]);
    assert!(!output.status.success() && told(&output).contains("archive: "), "{}", told(&output));
    drop(plain);
    assert!(stored(&archive).is_empty());
    let _archive = secured("archive");
    let output = place.send(&[]);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(stored(&archive), place.expected());
}

#[test]
fn readings_and_who_is_on_them_stay_until_their_objects_are_sent() {
    let place = Place::new(free_port(), "");
    place.write(1..7);
    let mut journal = place.journal();
    let mark = |journal: &mut Journal, sequence: i64, state| {
        for object in journal.queue(None).unwrap().iter().filter(|object| object.sequence == sequence) {
            journal.tried(object, &Tried { state, status: Some(0), told: None }, 0).unwrap();
        }
    };
    assert_eq!(journal.retain(2).unwrap(), 0, "every one waits");
    mark(&mut journal, 1, QueueState::Sent);
    mark(&mut journal, 2, QueueState::Failed);
    mark(&mut journal, 4, QueueState::Sent);
    assert_eq!(journal.retain(2).unwrap(), 2, "the third waits");
    assert_eq!(journal.queue(None).unwrap().len(), 8);
    drop(journal);

    let path = place.path("journal.db").display().to_string();
    let erase = |more: &[&str]| {
        lightbox(&[&["journal", "erase", "--journal", &path, "--up-to", "5"], more].concat()).output().unwrap()
    };
    let output = erase(&[]);
    assert_eq!(output.status.code(), Some(1));
    let expected =
        "identifiers of 1 erased\nidentifiers of 2 kept: objects of theirs wait to be sent (--withdraw erases them)\n";
    assert_eq!(told(&output), expected);
    let output = erase(&["--withdraw"]);
    assert_eq!((output.status.success(), told(&output).as_str()), (true, "identifiers of 2 erased\n"));
    let known: Vec<bool> = place.rows().iter().map(|row| row.identity.is_some()).collect();
    assert_eq!(known, [false, false, false, true]);
    let failed = place.queue(QueueState::Failed);
    assert!(failed.iter().all(|object| object.told.as_deref() == Some("withdrawn: its identifiers were erased")));
    // What was erased is never sent under its old name.
    let mut journal = place.journal();
    assert_eq!((failed.len(), journal.queue_failed_again().unwrap()), (4, 0));
    let figures = journal.queue_figures().unwrap();
    assert_eq!((figures.failed, figures.again), (4, 0), "nobody has to see to what was withdrawn");
    assert!(journal.verify().unwrap().is_ok());
}

#[test]
fn what_the_archive_sends_back_is_read_and_not_sent_again() {
    let place = Place::new(free_port(), "");
    place.write(1..2);
    let row = place.rows().remove(0);
    let own = Identity { sop_uid: sop_uid_of(&row, What::Capture), ..entry(2).identity.unwrap() };
    let mut journal = place.journal();
    journal.append_to_send(&Entry { identity: Some(own), ..entry(2) }, &What::ALL).unwrap();
    journal.append_to_send(&entry(3), &What::ALL).unwrap();
    let queued: Vec<i64> = journal.queue(None).unwrap().iter().map(|object| object.sequence).collect();
    assert_eq!(queued, [1, 1, 3, 3]);
}
