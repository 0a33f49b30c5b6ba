//! Figures of the program on the emulated board; `tools/board/measure` runs it.

use std::time::Duration;

use board::{Board, Disk, Plan, free_port};

#[path = "../tests/board/film.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod film;
#[path = "../tests/board/support.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

use film::Film;
use support::{BOOT, READING, done, kiosk_plan, logged, must, path_in, plan, read, send, start};

fn main() {
    start_up();
    idle();
    instructions();
    redraw();
}

/// Seconds since the kernel's start, as a line on the console tells them.
fn told_at(console: &str, text: &str) -> f64 {
    let line = console.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text:?}: {console}"));
    let time = line.split('[').nth(1).and_then(|rest| rest.split(']').next()?.trim().parse().ok());
    time.unwrap_or_else(|| panic!("{line:?} starts with a time"))
}

/// From power-on to the ready screen, with the image as it is put on a card.
fn start_up() {
    let folder = path_in("LIGHTBOX_BOARD_IMAGE");
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let data = scratch.path().join("data");
    std::fs::copy(folder.join("data"), &data).expect("a data partition");
    let plan =
        must(must(must(Plan::image(&folder, &Disk::at(&data))).panel(800, 480)).network(must(free_port()), 11112));
    let mut board = must(plan.memory(768).with(["-device", "virtio-keyboard-pci", "-device", "i6300esb"]).start());
    let ready = |board: &mut Board| Ok(board.console().contains("ready: 0 films wait").then_some(()));
    must(board.wait_for("the program, ready", BOOT * 2, ready));
    let drawn = |board: &mut Board| Ok((board.screen()?.colours() > 16).then_some(()));
    must(board.wait_for("a screen of the program", BOOT, drawn));
    let all = board.age().as_secs_f64();
    let console = board.console();
    let (begun, ended) = (told_at(&console, "Starting lightbox.service"), told_at(&console, "ready: 0 films wait"));
    println!("power-on to ready: {all:.1} s, of which the program {:.1} s", ended - begun);
}

/// Memory of the whole system while nothing happens, with systemd.
fn idle() {
    let folder = path_in("LIGHTBOX_BOARD_BENCH");
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let spare = must(Disk::ext4(&scratch.path().join("spare"), 16));
    let plan = must(must(must(Plan::image(&folder, &spare)).panel(800, 480)).network(must(free_port()), 11112));
    let mut board = start(plan.memory(1024).with(["-device", "virtio-keyboard-pci", "-device", "i6300esb"]));
    // What lies in memory only because this system forgets it is no memory of the program's.
    let measure =
        "grep -E 'MemTotal|MemAvailable|Shmem:' /proc/meminfo | busybox awk '{ print $2 }' | busybox tr '\\n' ' '";
    let used = |board: &mut Board| -> f64 {
        let text = done(board, measure);
        let kib: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
        let [total, available, shared] = kib[..] else { panic!("{text}") };
        (total - available - shared) / 1024.0
    };
    let before = used(&mut board);
    done(&mut board, "dpkg -i /root/lightbox_*_arm64.deb");
    let ready = |board: &mut Board| {
        let status = board.run("systemctl show lightbox --property=ActiveState,StatusText")?.text;
        Ok((status.contains("ActiveState=active") && status.contains("StatusText=ready")).then_some(()))
    };
    must(board.wait_for("the program, ready", BOOT, ready));
    done(&mut board, "sync; echo 3 >/proc/sys/vm/drop_caches; busybox sleep 10");
    let after = used(&mut board);
    println!(
        "memory at idle: {after:.0} MiB of the whole system, {:.0} MiB more than without the program",
        after - before
    );
}

/// Instructions of the program, the kernel's for it included, from a film's arrival to its verdict on the panel.
///
/// Where the emulated clock goes on by a nanosecond an instruction, processor time is a count of them.
fn instructions() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let disk = must(Disk::ext4(&scratch.path().join("data"), 96));
    let port = must(free_port());
    let board_file = read("board/virt.toml");
    let plan = must(must(must(kiosk_plan(&board_file).panel(800, 480)).network(port, 11112)).disk(&disk));
    let plan = must(must(must(plan.module("virtio_input")).module("evdev")).module("i6300esb")).cores(1);
    let plan = plan.module_arguments("i6300esb", "heartbeat=600");
    let counted = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"];
    let mut board = start(plan.with(["-device", "virtio-keyboard-pci", "-device", "i6300esb"]).with(counted));
    logged(&mut board, "listening on", 1, BOOT * 4);
    logged(&mut board, "shows Ready", 1, BOOT * 4);
    // Of the kiosk and its decoder, with threads that have ended: user and kernel, in hundredths of a second.
    let ask = "for p in /proc/[0-9]*; do case $(readlink $p/exe) in */lightbox) cat $p/stat ;; esac; done";
    let spent = |board: &mut Board| -> f64 {
        let text = done(board, ask);
        let ticks = text.lines().filter_map(|line| {
            let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
            Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
        });
        ticks.sum::<f64>() * 1e7
    };
    for (number, film) in ["the first film", "the second film"].into_iter().enumerate() {
        let uid = format!("1.2.826.0.1.3680043.9.9999.{}", number + 1);
        let path = Film::real().write(scratch.path(), &uid);
        let before = spent(&mut board);
        must(send(port, &[&path]));
        logged(&mut board, &format!("shows Verdict(Viewed {{ case: {}", number + 1), 1, READING * 4);
        std::thread::sleep(Duration::from_secs(5));
        let after = spent(&mut board);
        println!("instructions from file to verdict, {film}: {:.2} thousand million", (after - before) / 1e9);
        must(board.monitor().press_key("ret"));
    }
}

/// Processor time for a new screen by each kind of panel, on the emulated processor.
fn redraw() {
    let redraw = std::fs::read(path_in("LIGHTBOX_BOARD_REDRAW")).expect("the example redraw_cost");
    let mut plan = must(plan().panel(800, 480)).memory(768).file("bin/redraw", &redraw);
    for name in ["virt", "virt-drm"] {
        plan = plan.file(&format!("{name}.toml"), &read(&format!("board/{name}.toml")));
    }
    for name in ["normal", "covid19"] {
        plan = plan.file(&format!("{name}.png"), &read(&format!("tests/golden/ui/verdict-{name}-800x480.png")));
    }
    let mut board = start(plan);
    let report = must(board.run_within("redraw /normal.png /covid19.png /virt.toml /virt-drm.toml", READING * 3));
    assert_eq!(report.status, 0, "{}", report.text);
    print!("{}", report.text);
}
