//! A Raspberry Pi 3 B with its own device tree: display and GPIO lines as the board file names them.

use std::time::Duration;

use board::{Board, Plan};

use crate::film::Film;
use crate::support::{agree, from_base64, must, png_of, read, settled, with_model};

/// This machine is slower than the other, and has four cores to emulate.
const PATIENCE: Duration = Duration::from_secs(420);
/// Reads a film that lies on a drive, first with pictures in a folder as the panel, then with the display. All that is to be
/// seen is told on the console.
const START: &str = "#!/bin/sh
mkdir -p /var/lib/lightbox /run/screens
until [ -c /dev/fb0 ] && [ -c /dev/gpiochip0 ]; do usleep 100000; done
# Screens show the minute in which a film came.
while :; do date -s '2026-03-01 12:00:05'; sleep 5; done >/dev/null &
kiosk() {
    rm -rf /var/lib/lightbox/* /run/log
    RUST_LOG=info,lightbox::kiosk=debug lightbox run --config $1 >/run/log 2>&1 &
    until grep -q 'shows Verdict' /run/log 2>/dev/null; do
        kill -0 $! || { cat /run/log; return 1; }
        sleep 1
    done
}
echo 'board: with pictures'
kiosk /etc/lightbox/png.toml || echo 'board: failed'
sleep 3
kill $!
wait $!
echo 'board: picture'
base64 /run/screens/$(ls /run/screens | grep png | tail -n 1)
echo 'board: end of picture'
kiosk /etc/lightbox/board.toml || echo 'board: failed'
echo 'board: lines'
cat /sys/kernel/debug/gpio
echo 'board: end of lines'
cat /run/log
echo 'board: shows the verdict'
";

#[track_caller]
fn told(board: &mut Board, text: &str) {
    let question = |board: &mut Board| {
        let console = board.console();
        assert!(!console.contains("board: failed"), "{console}");
        Ok(console.contains(text).then_some(()))
    };
    must(board.wait_for(&format!("{text:?} on the console"), PATIENCE, question));
    eprintln!("{text:?} {:.1} s after it was switched on", board.age().as_secs_f32());
}

/// What the console says between two lines of it.
fn between(console: &str, from: &str, to: &str) -> String {
    let rest = console.split_once(from).unwrap_or_else(|| panic!("{from:?} is on the console: {console}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("{to:?} is on the console: {rest}")).0.to_owned()
}

#[test]
fn a_raspberry_pi_shows_a_verdict_in_the_right_colours_and_finds_its_lines() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let film = Film::real().write(scratch.path(), "1.2.826.0.1.3680043.9.9999.1");
    let framebuffer = String::from_utf8(read("board/virt-pi3.toml")).expect("a board file is text");
    let png = framebuffer.replace(
        "kind = \"framebuffer\"\ndevice = \"/dev/fb0\"",
        "kind = \"png\"\nfolder = \"/run/screens\"\nsize = [800, 480]",
    );
    assert_ne!(png, framebuffer, "board/virt-pi3.toml has the panel that this test replaces");
    let plan = with_model(must(Plan::raspberry_pi_3()))
        .file("etc/start", START.as_bytes())
        .file("etc/lightbox/board.toml", framebuffer.as_bytes())
        .file("etc/lightbox/png.toml", png.as_bytes())
        .folder("media/stick")
        .file("media/stick/film.dcm", &std::fs::read(film).expect("a film"));
    let mut board = must(plan.start());
    told(&mut board, "board: with pictures");
    told(&mut board, "board: end of picture");
    told(&mut board, "board: shows the verdict");
    let console = board.console();

    // The display shows what the program drew: every pixel in its colour.
    let drawn = png_of(&from_base64(&between(&console, "board: picture", "board: end of picture")));
    assert!(drawn.pixels.iter().any(|[red, _, blue]| red.abs_diff(*blue) > 100), "red and blue can be told apart");
    agree("the display", &settled(&mut board), &drawn);

    // Buttons are inputs, lamps outputs, on the controller of the board; "ready" shines.
    let lines = between(&console, "board: lines", "board: end of lines");
    assert!(lines.contains("pinctrl-bcm2835"), "{lines}");
    for (name, expected) in [("GPIO5", "in"), ("GPIO6", "in"), ("GPIO17", "out"), ("GPIO22", "out")] {
        let mark = format!("({name} ");
        let line = lines.lines().find(|line| line.contains(&mark)).unwrap_or_else(|| panic!("{name}: {lines}"));
        assert!(line.contains("lightbox") && line.contains(&format!(") {expected} ")), "{name}: {line}");
    }
}
