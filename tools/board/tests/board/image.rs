//! The image as it is put on a card: systemd on a root that is never written, the package, a data partition.

use std::process::Command;
use std::time::Duration;

use board::{Board, Disk, Plan, free_port};

use crate::film::Film;
use crate::support::{BOOT, READING, must, native, path_in, send, settled};

#[track_caller]
fn told(board: &mut Board, text: &str, limit: Duration) {
    let question = |board: &mut Board| {
        let console = board.console();
        assert!(!console.contains("Failed to start lightbox.service"), "{console}");
        Ok(console.contains(text).then_some(()))
    };
    must(board.wait_for(&format!("{text:?} on the console"), limit, question));
}

#[test]
fn the_image_starts_the_kiosk_under_systemd_and_reads_a_film() {
    let folder = path_in("LIGHTBOX_BOARD_IMAGE");
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let data = scratch.path().join("data");
    std::fs::copy(folder.join("data"), &data).expect("a data partition");
    let port = must(free_port());
    let plan = must(must(must(Plan::image(&folder, &Disk::at(&data))).panel(800, 480)).network(port, 11112));
    let plan = plan.memory(768).with(["-device", "virtio-keyboard-pci", "-device", "i6300esb"]);
    let mut board = must(plan.start());
    // The program itself has told systemd that it is ready.
    told(&mut board, "Started lightbox.service", BOOT * 2);
    eprintln!("ready {:.1} s after it was switched on", board.age().as_secs_f32());
    told(&mut board, "ready: 0 films wait", BOOT);
    let drawn = |board: &mut Board| Ok((board.screen()?.colours() > 16).then_some(()));
    must(board.wait_for("a screen of the program on the panel", BOOT, drawn));
    let ready = settled(&mut board);
    eprintln!("{ready:?} {:.1} s after it was switched on", board.age().as_secs_f32());
    must(send(port, &[&Film::real().write(scratch.path(), "1.2.826.0.1.3680043.9.9999.1")]));
    told(&mut board, "as reading 1: ", READING);
    let verdict = settled(&mut board);
    // The film is on the screen: many greys.
    assert!(verdict.agreement(&ready) < 0.9 && verdict.colours() > ready.colours() + 64, "{verdict:?}, {ready:?}");
    eprintln!("{verdict:?}");
    let console = board.console();
    for trouble in ["Failed to start", "audit: type=1326", "Read-only file system", "opened again"] {
        assert!(!console.contains(trouble), "{console}");
    }

    // The verdict was in the journal before it was on the panel, and stays there without an orderly end.
    must(board.cut_power());
    let checked = Command::new("e2fsck").args(["-fp"]).arg(&data).status().expect("e2fsck");
    assert!(checked.code().is_some_and(|code| code < 4), "the data partition is broken: {checked}");
    let copied = scratch.path().join("files");
    std::fs::create_dir(&copied).expect("a folder");
    let request = format!("rdump / {}", copied.display());
    let dumped = Command::new("debugfs").args(["-R", &request]).arg(&data).output().expect("debugfs");
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    let listed = Command::new(native())
        .args(["journal", "list", "--json", "--journal"])
        .arg(copied.join("journal.db"))
        .output()
        .expect("the program of this machine");
    let rows = String::from_utf8_lossy(&listed.stdout);
    assert_eq!(rows.lines().count(), 1, "{rows}{}", String::from_utf8_lossy(&listed.stderr));
    let row: serde_json::Value = serde_json::from_str(rows.trim()).expect("JSON");
    eprintln!("{row:#}");
}
