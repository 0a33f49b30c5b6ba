//! The kiosk as in the field: a modality sends a film, the verdict stands on the panel, a button pages, a lamp shines, a
//! hung program is restarted by the watchdog.

use std::time::Duration;

use board::{Board, Disk, Picture, Plan, free_port};

use crate::support::{
    BOOT, READING, done, kiosk_plan, log, logged, must, read, restart_kiosk, root, send, settled, start, stop_kiosk,
};

const FILM: &str = "tests/fixtures/chest-pa.dcm";
/// The minute in which every film of these tests comes in: screens show it.
const CLOCK: &str = "date -s '2026-03-01 12:00:05'";

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
fn verdict(board: &mut Board, port: u16) {
    logged(board, "listening on", 1, BOOT);
    logged(board, "shows Ready", 1, BOOT);
    done(board, CLOCK);
    must(send(port, &[&root().join(FILM)]));
    logged(board, "shows Verdict(Viewed { case: 1, page: Verdict", 1, READING);
}

/// The last picture that the PNG panel wrote.
#[track_caller]
fn last_png(board: &mut Board) -> Picture {
    let text = done(board, "base64 /run/screens/$(ls /run/screens | grep png | tail -n 1)");
    let bytes = from_base64(&text);
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
    let mut buffer = vec![0; reader.output_buffer_size().expect("a picture of a panel is small")];
    let info = reader.next_frame(&mut buffer).expect("a PNG");
    let channels = info.color_type.samples();
    let pixels = buffer[..info.buffer_size()].chunks(channels).map(|pixel| match pixel {
        [grey] | [grey, _] => [*grey; 3],
        [red, green, blue, ..] => [*red, *green, *blue],
        [] => unreachable!("a pixel has channels"),
    });
    Picture { width: info.width as usize, height: info.height as usize, pixels: pixels.collect() }
}

fn from_base64(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter_map(|byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    });
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for digit in digits {
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}

#[track_caller]
fn agree(what: &str, shown: &Picture, expected: &Picture) {
    let agreement = shown.agreement(expected);
    assert!(
        agreement >= 1.0,
        "{what} agrees with what the program drew in {:.2} % of the pixels: {shown:?}, {expected:?}",
        agreement * 100.0
    );
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
    let port = must(free_port());
    let mut board = start(field_plan(&disk, port));

    // As it comes up by itself: framebuffer.
    verdict(&mut board, port);
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
    verdict(&mut board, port);
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
    verdict(&mut board, port);
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
    let port = must(free_port());
    let mut board = start(field_plan(&disk, port));
    verdict(&mut board, port);
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
