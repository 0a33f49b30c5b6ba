//! `lightbox bench` through the real program: that everything is measured and said, never how fast it is.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(env!("CARGO_BIN_EXE_lightbox"))
        .args(["bench", "--model"])
        .arg(root.join("models/released"))
        .args(arguments)
        .current_dir(root)
        .output()
        .expect("the program")
}

#[test]
fn every_step_is_measured() {
    let done = bench(&["--json", "--threads", "2", "--rounds", "2"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: Value = serde_json::from_slice(&done.stdout).expect("one JSON object");
    for step in ["decode_ms", "preprocess_ms", "infer_ms", "draw_ms", "film_ms", "start_ms"] {
        let times = |name: &str| report[step][name].as_f64().unwrap_or_else(|| panic!("{step} {name}"));
        assert!(times("least") > 0.0 && times("least") <= times("median") && times("median") <= times("p95"), "{step}");
    }
    assert_eq!(report["threads"], 2);
    assert!(report["fused_layers"].as_u64() > Some(20));
    assert!(report["speed"]["gflops_at_start"].as_f64() > Some(0.0));
    // Without the picture's two bytes a pixel it would be less.
    assert!(report["peak_memory_mb"].as_f64() > Some(8.0), "{}", report["peak_memory_mb"]);
}

#[test]
fn words_say_the_same() {
    let done = bench(&["--threads", "1", "--rounds", "2", "--film", "tests/fixtures/chest-pa.dcm"]);
    let said = String::from_utf8(done.stdout).expect("text");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for name in ["decode", "preprocess", "network", "draw", "program start to ready", "peak memory", "GFLOP/s"] {
        assert!(said.contains(name), "no {name} in {said}");
    }
}

#[track_caller]
fn check_failure(arguments: &[&str], expected: &str, status: i32) {
    let done = bench(arguments);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains(expected), "{said:?}, expected {expected:?}");
    assert_eq!(done.status.code(), Some(status));
}

#[test]
fn what_cannot_be_measured_is_said() {
    check_failure(&["--film", "Cargo.toml"], "Cargo.toml is not read: unknown-format", 1);
    check_failure(&["--film", "nowhere.dcm"], "cannot use nowhere.dcm", 1);
    check_failure(&["--threads", "0"], "expected a number from 1 to 64", 2);
    check_failure(&["--rounds", "0"], "1..=100000", 2);
}
