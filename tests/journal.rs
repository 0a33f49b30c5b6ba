//! The record of readings, through the program and against tampering and sudden ends.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use lightbox::record::Journal;
use rusqlite::Connection;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lightbox");

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chest-pa.dcm")
}

fn lightbox(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("the program")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A journal of three readings: a film, a text file, a film.
fn journal_of_three(folder: &Path) -> String {
    let path = folder.join("readings.db");
    let words = folder.join("words.txt");
    fs::write(&words, "no film").expect("a file");
    let film = fixture().display().to_string();
    let journal = path.display().to_string();
    let output = lightbox(&["screen", "--json", "--journal", &journal, &film, &words.display().to_string(), &film]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    journal
}

fn verified(journal: &str) -> (bool, Value) {
    let output = lightbox(&["journal", "verify", "--journal", journal, "--json"]);
    let line = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    (output.status.success(), line)
}

#[test]
fn every_reading_is_written_down_with_what_it_rests_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = journal_of_three(folder.path());
    let output = lightbox(&["journal", "export", "--journal", &journal, "--format", "json"]);
    let rows: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(rows.len(), 3);
    let sequence: Vec<i64> = rows.iter().filter_map(|row| row["sequence"].as_i64()).collect();
    assert_eq!(sequence, [1, 2, 3]);
    assert_eq!((rows[1]["verdict"].as_str(), rows[1]["reason"].as_str()), (Some("rejected"), Some("unknown-format")));
    assert_eq!(rows[1]["covid19"], Value::Null);
    for key in ["image_sha256", "verdict", "covid19", "rule_out", "network_sha256", "manifest_sha256"] {
        assert_eq!(rows[0][key], rows[2][key], "{key}");
        assert_ne!(rows[0][key], Value::Null, "{key}");
    }
    assert_ne!(rows[0]["digest"], rows[2]["digest"]);
    let sum: f64 = ["covid19", "pneumonia", "normal"].iter().filter_map(|key| rows[0][*key].as_f64()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    let (sound, line) = verified(&journal);
    assert!(sound && line["rows"] == 3 && line["newest"] == 3 && line["digest"] == rows[2]["digest"], "{line}");
}

#[test]
fn the_table_has_a_head_and_a_line_a_reading() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = journal_of_three(folder.path());
    let file = folder.path().join("readings.csv").display().to_string();
    let output = lightbox(&["journal", "export", "--journal", &journal, "--format", "csv", "--out", &file]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = fs::read_to_string(&file).expect("the table");
    let lines: Vec<&str> = table.split("\r\n").collect();
    assert!(lines[0].starts_with("sequence,at,clock_verified,origin,"), "{}", lines[0]);
    assert_eq!((lines.len(), lines[4]), (5, ""));
    assert!(lines[2].contains(",rejected,unknown-format,"), "{}", lines[2]);
}

#[test]
fn newest_readings_are_listed_first_and_one_is_shown_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = journal_of_three(folder.path());
    let listed = text(&lightbox(&["journal", "list", "--journal", &journal, "--last", "2"]).stdout);
    let numbers: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(numbers, ["3", "2"]);
    let shown = text(&lightbox(&["journal", "show", "--journal", &journal, "2"]).stdout);
    assert!(shown.contains("verdict          rejected") && shown.contains("words.txt"), "{shown}");
    let none = lightbox(&["journal", "show", "--journal", &journal, "9"]);
    assert_eq!(
        (none.status.code(), text(&none.stderr).as_str()),
        (Some(1), "lightbox: there is no reading 9 in the journal\n")
    );
}

/// A journal of three, changed behind the program's back by `tamper`: what is the first row that does not fit?
#[track_caller]
fn check_tampered(tamper: &str, sequence: i64, fault: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = journal_of_three(folder.path());
    let connection = Connection::open(&journal).expect("the database");
    connection
        .execute_batch("DROP TRIGGER reading_is_never_changed; DROP TRIGGER reading_leaves_in_order")
        .expect("dropped");
    connection.execute_batch(tamper).expect("tampered");
    drop(connection);
    let (sound, line) = verified(&journal);
    assert!(!sound, "{line}");
    assert_eq!((line["sequence"].as_i64(), line["fault"].as_str()), (Some(sequence), Some(fault)), "{tamper}");
    let words = text(&lightbox(&["journal", "verify", "--journal", &journal]).stdout);
    let rest =
        if sequence > 1 { format!("rows 1 to {} are sound", sequence - 1) } else { "no row before it is sound".into() };
    assert_eq!(words.trim_end(), format!("the chain is broken at row {sequence}: {fault}; {rest}"));
}

#[test]
fn a_changed_verdict_is_found() {
    check_tampered(
        "UPDATE reading SET verdict = 'normal' WHERE sequence = 2",
        2,
        "its values are not those that were written",
    );
}

#[test]
fn a_row_that_was_taken_out_is_found() {
    check_tampered("DELETE FROM reading WHERE sequence = 2", 2, "it is missing");
    let first = "DELETE FROM map WHERE sequence = 1; DELETE FROM reading WHERE sequence = 1";
    check_tampered(first, 1, "it is missing");
}

#[test]
fn a_map_that_was_changed_taken_away_or_added_is_found() {
    let fault = "the map beside it is not the one that was written";
    check_tampered("UPDATE map SET cells = zeroblob(length(cells)) WHERE sequence = 3", 3, fault);
    check_tampered("DELETE FROM map WHERE sequence = 1", 1, fault);
    check_tampered("INSERT INTO map SELECT 2, cells FROM map WHERE sequence = 1", 2, fault);
}

#[test]
fn the_map_that_was_shown_is_kept_with_its_reading() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = journal_of_three(folder.path());
    let journal = Journal::open(Path::new(&path)).expect("it opens");
    let map_of = |sequence| journal.map_of(sequence).expect("readable");
    let (map, window) = map_of(1).expect("the film was read");
    assert!(map.values.len() == map.width * map.height && window.left < window.right);
    assert_eq!((map_of(2), map_of(3)), (None, Some((map.clone(), window))), "the same film has the same map");
    let shown = text(&lightbox(&["journal", "show", "--journal", &path, "1"]).stdout);
    assert!(shown.contains(&format!("{} × {} cells", map.width, map.height)), "{shown}");
    // What was changed since is not shown as what was seen then.
    let tampered = Connection::open(&path).and_then(|c| c.execute("UPDATE map SET cells = zeroblob(28)", []));
    assert_eq!(tampered.expect("tampered"), 2);
    assert_eq!(map_of(1), None);
    lightbox(&["journal", "retain", "--journal", &path, "--keep", "1"]);
    let left: i64 = Connection::open(&path)
        .and_then(|c| c.query_row("SELECT count(*) FROM map", [], |row| row.get(0)))
        .expect("the database");
    assert_eq!(left, 1, "a map goes with its reading");
}

#[test]
fn a_row_with_a_digest_of_its_own_is_found_at_the_next_row() {
    let fault = "it does not follow the row before: that one was changed or exchanged";
    check_tampered("UPDATE reading SET previous = zeroblob(32) WHERE sequence = 3", 3, fault);
}

#[test]
fn rows_are_protected_from_ordinary_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let connection = Connection::open(journal_of_three(folder.path())).expect("the database");
    for (change, message) in [
        ("UPDATE reading SET verdict = 'normal'", "a reading is never changed"),
        ("DELETE FROM reading WHERE sequence = 2", "a reading leaves only by retention"),
    ] {
        let error = connection.execute(change, []).expect_err("refused");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn retention_leaves_a_whole_chain_that_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = journal_of_three(folder.path());
    let output = lightbox(&["journal", "retain", "--journal", &journal, "--keep", "1"]);
    assert_eq!(text(&output.stdout), "2 taken out\n");
    let (sound, line) = verified(&journal);
    assert!(sound && line["rows"] == 1 && line["removed_up_to"] == 2 && line["newest"] == 3, "{line}");
    lightbox(&["journal", "retain", "--journal", &journal, "--keep", "0"]);
    lightbox(&["screen", "--json", "--journal", &journal, &fixture().display().to_string()]);
    let (sound, line) = verified(&journal);
    assert!(sound && line["rows"] == 1 && line["removed_up_to"] == 3 && line["newest"] == 4, "{line}");
}

#[test]
fn a_file_of_another_kind_is_named_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("other.db");
    Connection::open(&path)
        .and_then(|other| other.execute_batch("CREATE TABLE t (x); PRAGMA user_version = 9"))
        .expect("another");
    let before = fs::read(&path).expect("bytes");
    let journal = path.display().to_string();
    let output = lightbox(&["screen", "--json", "--journal", &journal, &fixture().display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("is a database of another kind (application id 0x0)"),
        "{}",
        text(&output.stderr)
    );
    assert!(output.stdout.is_empty(), "no verdict without a record of it");
    assert_eq!(fs::read(&path).expect("bytes"), before);

    let words = folder.path().join("words.db");
    fs::write(&words, "no database, but longer than a header of a hundred bytes ".repeat(4)).expect("a file");
    let output = lightbox(&["journal", "verify", "--journal", &words.display().to_string()]);
    assert!(text(&output.stderr).contains("file is not a database"), "{}", text(&output.stderr));

    let output = lightbox(&["journal", "list", "--journal", &folder.path().join("none.db").display().to_string()]);
    assert!(text(&output.stderr).starts_with("lightbox: there is no journal at "), "{}", text(&output.stderr));
}

/// A journal of form 1 as an older program left it, on its way to the present form.
fn old_journal(folder: &Path) -> PathBuf {
    let path = folder.join("old.db");
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-form-1.db");
    fs::copy(old, &path).expect("a copy");
    path
}

#[test]
fn an_older_journal_opens_verifies_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = old_journal(folder.path());
    let journal = path.display().to_string();
    let (sound, line) = verified(&journal);
    let digest = "e25ff95729169010f004acfcd6ac00b0ba3c76eda708ae8faf8f0a111cc2bd4d";
    assert!(sound && line["rows"] == 3 && line["digest"] == digest, "{line}");
    let output = lightbox(&["screen", "--json", "--journal", &journal, &fixture().display().to_string()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (sound, line) = verified(&journal);
    assert!(sound && line["rows"] == 4 && line["removed_up_to"] == 0, "{line}");
    let old = Journal::open(&path).expect("it opens").find(3).expect("readable").expect("there");
    let identity = old.identity.expect("kept");
    assert_eq!((identity.patient_id.as_str(), identity.sop_class_uid.as_str()), ("9RG1", ""));
    // Retention and erasure work across the forms, too.
    lightbox(&["journal", "erase", "--journal", &journal, "--up-to", "3"]);
    lightbox(&["journal", "retain", "--journal", &journal, "--keep", "2"]);
    let (sound, line) = verified(&journal);
    assert!(sound && line["rows"] == 2 && line["removed_up_to"] == 2, "{line}");
}

#[test]
fn what_an_older_row_did_not_know_cannot_be_added_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = old_journal(folder.path());
    drop(Journal::open(&path).expect("it opens"));
    let connection = Connection::open(&path).expect("the database");
    connection.execute("UPDATE identity SET sop_class_uid = '1.2'", []).expect("tampered");
    drop(connection);
    let (sound, line) = verified(&path.display().to_string());
    let fault = "the patient beside it is not the one that was written";
    assert!(!sound && line["sequence"] == 3 && line["fault"] == fault, "{line}");
    // Nor can a row be given another form.
    let path = old_journal(folder.path());
    drop(Journal::open(&path).expect("it opens"));
    let connection = Connection::open(&path).expect("the database");
    let tamper = "DROP TRIGGER reading_is_never_changed; UPDATE reading SET form = 2 WHERE sequence = 3";
    connection.execute_batch(tamper).expect("tampered");
    drop(connection);
    let (sound, line) = verified(&path.display().to_string());
    assert!(!sound && line["sequence"] == 3, "{line}");
    // Nor can it be given a map.
    let path = old_journal(folder.path());
    drop(Journal::open(&path).expect("it opens"));
    let connection = Connection::open(&path).expect("the database");
    connection.execute("INSERT INTO map VALUES (3, zeroblob(28))", []).expect("tampered");
    drop(connection);
    let (sound, line) = verified(&path.display().to_string());
    let fault = "the map beside it is not the one that was written";
    assert!(!sound && line["sequence"] == 3 && line["fault"] == fault, "{line}");
}

#[test]
fn a_newer_journal_is_not_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = journal_of_three(folder.path());
    Connection::open(&journal).and_then(|c| c.pragma_update(None, "user_version", 7)).expect("marked");
    let output = lightbox(&["journal", "list", "--journal", &journal]);
    assert!(text(&output.stderr).contains("has form 7, this program knows up to 4"), "{}", text(&output.stderr));
}

#[test]
fn no_verdict_that_was_said_is_lost_when_the_program_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = folder.path().join("readings.db").display().to_string();
    let small = folder.path().join("small.png");
    image::GrayImage::from_fn(96, 96, |x, y| image::Luma([(x * 2 + y) as u8])).save(&small).expect("a picture");
    let small = small.display().to_string();
    let files = vec![small.as_str(); 400];
    let mut said_in_all = 0;
    for round in 0..25u64 {
        let mut program = Command::new(PROGRAM)
            .args(["screen", "--json", "--journal", &journal])
            .args(&files)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program");
        let out = program.stdout.take().expect("its output");
        let (say, said) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            // A line counts once it has come out whole.
            let whole = BufReader::new(out).lines().map_while(Result::ok).filter(|line| line.ends_with('}'));
            // Nobody listens any more once it is being killed.
            whole
                .inspect(|_| {
                    let _ = say.send(());
                })
                .count() as i64
        });
        // Behind another verdict each time, on the way to the next; sometimes before the first.
        for _ in 0..round * 7 % 40 {
            said.recv_timeout(Duration::from_secs(120)).expect("another verdict");
        }
        program.kill().expect("killed");
        program.wait().expect("gone");
        said_in_all += reader.join().expect("counted");
        if Path::new(&journal).exists() {
            let (sound, line) = verified(&journal);
            let rows = line["rows"].as_i64().unwrap_or(-1);
            assert!(sound && rows >= said_in_all, "{rows} rows, {said_in_all} said: {line}");
            assert_eq!(line["newest"].as_i64(), Some(rows));
        }
    }
    println!("{said_in_all} verdicts said before 25 kills, none lost");
    assert!(said_in_all > 300, "too few were said to prove anything: {said_in_all}");
}
