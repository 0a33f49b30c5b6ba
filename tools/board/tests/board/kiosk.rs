//! The kiosk as in the field: a modality sends a film, the verdict stands on the panel, a button pages, a lamp shines, a
//! hung program is restarted by the watchdog.

use std::path::Path;
use std::time::Duration;

use board::{Board, Disk, Picture, Plan, free_port};

use crate::film::Film;
use crate::support::{
    BOOT, READING, agree, done, from_base64, kiosk_plan, log, logged, must, png_of, read, restart_kiosk, send, settled,
    start, stop_kiosk,
};

/// Holds the minute in which every film of these tests comes in: screens show it.
const CLOCK: &str = "(while :; do date -s '2026-03-01 12:00:05'; sleep 5; done) >/dev/null 2>&1 3>&- &";

fn field_plan(disk: &Disk, port: u16) -> Plan {
    let drm = read("board/virt-drm.toml");
    let framebuffer = String::from_utf8(read("board/virt.toml")).expect("a board file is text");
    let png = framebuffer.replace(
        "kind = \"framebuffer\"\ndevice = \"/dev/fb0\"",
        "kind = \"png\"\nfolder = \"/run/screens\"\nsize = [800, 480]",
    );
    assert_ne!(png, framebuffer, "board/virt.toml has the panel that this test replaces");
    let plan = kiosk_plan(framebuffer.as_bytes())
        .file("etc/lightbox/drm.toml", &drm)
        .file("etc/lightbox/png.toml", png.as_bytes());
    let plan = must(must(must(plan.panel(800, 480)).network(port, 11112)).disk(disk));
    let plan = must(must(must(plan.module("virtio_input")).module("evdev")).module("i6300esb"));
    plan.module_arguments("i6300esb", "heartbeat=12").with(["-device", "virtio-keyboard-pci", "-device", "i6300esb"])
}

/// Sends the film to a kiosk that has just been started and waits for its verdict.
#[track_caller]
fn verdict(board: &mut Board, film: &Path, port: u16) {
    logged(board, "listening on", 1, BOOT);
    logged(board, "shows Ready", 1, BOOT);
    must(send(port, &[film]));
    logged(board, "shows Verdict(Viewed { case: 1, page: Verdict", 1, READING);
}

/// The last picture that the PNG panel wrote.
#[track_caller]
fn last_png(board: &mut Board) -> Picture {
    let text = done(board, "base64 /run/screens/$(ls /run/screens | grep png | tail -n 1)");
    png_of(&from_base64(&text))
}

/// The state of a line of the GPIO controller, as the kernel tells it; empty for one that nobody holds.
#[track_caller]
fn line(board: &mut Board, number: u32) -> String {
    let lines = done(board, "cat /sys/kernel/debug/gpio");
    let base: u32 = lines
        .split("GPIOs ")
        .nth(1)
        .and_then(|rest| rest.split('-').next())
        .and_then(|base| base.parse().ok())
        .unwrap_or_else(|| panic!("{lines}"));
    let name = format!("gpio-{} ", base + number);
    lines.lines().find(|line| line.trim_start().starts_with(&name)).unwrap_or_default().to_owned()
}

#[test]
fn a_film_sent_over_the_network_becomes_a_verdict_on_every_kind_of_panel() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let disk = must(Disk::ext4(&scratch.path().join("data"), 96));
    let film = Film::real().write(scratch.path(), "1.2.826.0.1.3680043.9.9999.1");
    let port = must(free_port());
    let mut board = start(field_plan(&disk, port));

    done(&mut board, CLOCK);

    // As it comes up by itself: framebuffer.
    verdict(&mut board, &film, port);
    let framebuffer = settled(&mut board);
    assert!(framebuffer.colours() > 16, "a verdict has a picture of the film: {framebuffer:?}");
    let journal = done(&mut board, "lightbox journal list --json --journal /var/lib/lightbox/journal.db");
    assert_eq!(journal.lines().count(), 1, "{journal}");

    // The button pages, and only once a press.
    must(board.monitor().press_button());
    logged(&mut board, "shows Verdict(Viewed { case: 1, page: Map", 1, Duration::from_secs(20));
    let map = settled(&mut board);
    assert!(map.agreement(&framebuffer) < 0.99, "another page looks different");
    must(board.monitor().press_button());
    logged(&mut board, "shows Verdict(Viewed { case: 1, page: Details", 1, Duration::from_secs(20));
    // Select, on the keyboard, leaves it.
    let before = log(&mut board).matches("shows Ready").count();
    must(board.monitor().press_key("ret"));
    logged(&mut board, "shows Ready", before + 1, Duration::from_secs(20));

    // The lamp for “ready” shines.
    let lamp = line(&mut board, 0);
    assert!(lamp.contains("out hi"), "{lamp}");
    let idle = done(
        &mut board,
        "grep -E 'MemTotal|MemAvailable' /proc/meminfo; grep VmRSS /proc/$(cat /run/kiosk.pid)/status",
    );
    eprintln!("idle: {}", idle.split_whitespace().collect::<Vec<_>>().join(" "));

    // The same film on the other panels looks the same, to the pixel.
    done(&mut board, "mkdir -p /run/screens");
    restart_kiosk(&mut board, "/etc/lightbox/png.toml");
    verdict(&mut board, &film, port);
    let mut drawn = last_png(&mut board);
    for _ in 0..50 {
        if drawn.agreement(&framebuffer) >= 1.0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
        drawn = last_png(&mut board);
    }
    agree("the framebuffer", &framebuffer, &drawn);
    restart_kiosk(&mut board, "/etc/lightbox/drm.toml");
    verdict(&mut board, &film, port);
    agree("the display by DRM/KMS", &settled(&mut board), &drawn);

    // Ended in order, it leaves the lamps off and the watchdog disarmed.
    restart_kiosk(&mut board, "/etc/lightbox/board.toml");
    logged(&mut board, "shows Ready", 1, BOOT);
    stop_kiosk(&mut board);
    let lamp = line(&mut board, 0);
    assert!(!lamp.contains("out hi"), "{lamp}");
}

#[test]
fn a_hung_program_is_restarted_by_the_watchdog_and_the_device_comes_back() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let disk = must(Disk::ext4(&scratch.path().join("data"), 96));
    let film = Film::real().write(scratch.path(), "1.2.826.0.1.3680043.9.9999.1");
    let port = must(free_port());
    let mut board = start(field_plan(&disk, port));
    verdict(&mut board, &film, port);
    let ready = board.age();
    // It is fed for longer than the watchdog waits.
    std::thread::sleep(Duration::from_secs(15));
    assert_eq!(must(board.run("kill -0 $(cat /run/kiosk.pid)")).status, 0);
    done(&mut board, "sync; kill -STOP $(cat /run/kiosk.pid)");
    must(board.monitor().wait_for("WATCHDOG", Duration::from_secs(60)));
    must(board.monitor().wait_for("RESET", Duration::from_secs(60)));
    eprintln!("reset {:.1} s after the verdict", (board.age() - ready).as_secs_f32());
    must(board.run_within("true", BOOT));
    logged(&mut board, "shows Ready", 1, BOOT);
    let verified = done(&mut board, "lightbox journal verify --journal /var/lib/lightbox/journal.db");
    eprintln!("{verified}");
    let journal = done(&mut board, "lightbox journal list --json --journal /var/lib/lightbox/journal.db");
    assert_eq!(journal.lines().count(), 1, "{journal}");
}
