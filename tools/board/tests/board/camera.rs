//! The camera through Video4Linux: the kernel's virtual camera (vivid) delivers frames, which the kiosk shows and photographs.

use std::time::Duration;

use board::{Board, Disk, Picture};
use serde_json::Value;

use crate::support::{BOOT, READING, done, from_base64, kiosk_plan, logged, must, png_of, read, settled, start};

/// Luminance of a row through the eight bars of the camera's test picture, from left to right.
fn bars(picture: &Picture) -> [u8; 8] {
    // Its text stands above.
    let y = picture.height * 3 / 4;
    let x = |bar: usize| picture.width * (2 * bar + 1) / 16;
    std::array::from_fn(|bar| picture.pixels[y * picture.width + x(bar)][0])
}

/// The photographs in the spool.
#[track_caller]
fn photographs(board: &mut Board) -> Vec<String> {
    let found = done(board, "find /var/lib/lightbox/spool -name '*.photo'");
    found.lines().map(str::to_owned).collect()
}

#[test]
fn a_frame_of_the_camera_is_aimed_by_photographed_and_kept() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let disk = must(Disk::ext4(&scratch.path().join("data"), 96));
    let board_file = String::from_utf8(read("board/virt.toml")).expect("a board file is text");
    let board_file = board_file.split("\n[watchdog]").next().expect("text").to_owned()
        + "\n[camera]\ndevice = \"/dev/video0\"\nsize = [640, 480]\n";
    let mut plan = must(must(kiosk_plan(board_file.as_bytes()).panel(800, 480)).disk(&disk)).memory(768);
    for module in ["virtio_input", "evdev", "vivid"] {
        plan = must(plan.module(module));
    }
    // One webcam, and nothing else of what vivid can be.
    let plan = plan
        .module_arguments("vivid", "n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0")
        .with(["-device", "virtio-keyboard-pci"]);
    let mut board = start(plan);
    logged(&mut board, "shows Ready", 1, BOOT);
    let ready = settled(&mut board);

    must(board.monitor().press_key("ret"));
    logged(&mut board, "shows Camera(Aiming)", 1, Duration::from_secs(30));
    logged(&mut board, "/dev/video0: 640 × 480 pixels", 1, Duration::from_secs(60));
    // A test picture is no film.
    logged(&mut board, "the camera sees film-", 1, Duration::from_secs(60));
    let seen = |board: &mut Board| {
        let screen = board.screen()?;
        Ok((screen.agreement(&ready) < 0.8 && screen.colours() > 16).then_some(()))
    };
    must(board.wait_for("the camera's picture on the panel", Duration::from_secs(30), seen));
    assert_eq!(photographs(&mut board), Vec::<String>::new(), "nothing was taken yet");

    must(board.monitor().press_key("ret"));
    logged(&mut board, "took a photograph, kept as", 1, Duration::from_secs(60));
    logged(&mut board, "shows Refused(Viewed { case: 1", 1, READING);
    let rows = done(&mut board, "lightbox journal list --json --journal /var/lib/lightbox/journal.db");
    let row: Value = serde_json::from_str(rows.trim()).unwrap_or_else(|error| panic!("{error}: {rows}"));
    assert_eq!(row["origin"], "camera", "{row:#}");
    assert!(row["reason"].as_str().is_some_and(|reason| reason.starts_with("film-")), "{row:#}");

    // What is kept is the frame: eight bars, each darker than the one before.
    let kept = photographs(&mut board);
    let [photograph] = &kept[..] else { panic!("one photograph was taken: {kept:?}") };
    let text = done(&mut board, &format!("base64 {photograph}"));
    let picture = png_of(&from_base64(&text));
    assert_eq!((picture.width, picture.height), (640, 480));
    let bars = bars(&picture);
    assert!(bars.is_sorted_by(|left, right| left > right), "{bars:?}");
    assert!(bars[0] > 150 && bars[7] < 40, "white and black: {bars:?}");
}
