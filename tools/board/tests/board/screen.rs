//! `lightbox screen` on the board.

use std::process::Command;

use serde_json::Value;

use crate::support::{READING, must, native, plan, read, root, start};

/// How far an answer of the board may be from this machine's.
const TOLERANCE: f64 = 1e-4;

/// Fails where a number differs by more than the tolerance, or anything else at all. Times are not compared.
#[track_caller]
fn same(here: &Value, there: &Value, at: &str) {
    match (here, there) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            assert!((a - b).abs() <= TOLERANCE, "{at} is {b} on the board and {a} here");
        }
        (Value::Object(a), Value::Object(b)) => {
            assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{at}");
            for (key, value) in
                a.iter().filter(|(key, _)| !key.contains("timing") && !key.ends_with("_ms") && *key != "file")
            {
                same(value, &b[key], &format!("{at}.{key}"));
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{at}");
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                same(a, b, &format!("{at}[{index}]"));
            }
        }
        (a, b) => assert_eq!(a, b, "{at}"),
    }
}

#[test]
fn a_film_gets_the_same_answer_on_the_board_as_on_this_machine() {
    let film = "tests/fixtures/chest-pa.dcm";
    let here = Command::new(native())
        .args(["screen", "--json", film])
        .current_dir(root())
        .output()
        .expect("the program of this machine");
    let here: Value = serde_json::from_slice(&here.stdout).expect("JSON");
    let mut board = start(plan().file("film.dcm", &read(film)));
    let output = must(board.run_within("lightbox screen --json /film.dcm", READING));
    assert_eq!(output.status, 0, "{}", output.text);
    let json = output.text.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{}", output.text));
    let there: Value = serde_json::from_str(json).expect("JSON");
    eprintln!("{there:#}");
    assert!(there["verdict"].is_string() && there["verdict"] != "rejected", "{there:#}");
    same(&here, &there, "reading");
}
