//! The steps of `docs/technician.md`, from a system without the program to a verdict, as far as they need no physical board.

use std::time::Duration;

use board::{Board, Disk, Picture, Plan, free_port};

use crate::film::Film;
use crate::support::{BOOT, READING, done, must, path_in, send, settled, start};

const BOARD_FILE: &str = "/etc/lightbox/board.toml";

/// Waits for a screen that is another one than `before`.
#[track_caller]
fn another_screen(board: &mut Board, what: &str, before: &Picture, limit: Duration) -> Picture {
    let differs = |board: &mut Board| Ok((board.screen()?.agreement(before) < 0.99).then_some(()));
    must(board.wait_for(what, limit, differs));
    settled(board)
}

/// Waits until the service manager calls the program ready.
#[track_caller]
fn ready(board: &mut Board) {
    let is_ready = |board: &mut Board| {
        let status = board.run("systemctl show lightbox --property=ActiveState,StatusText")?.text;
        Ok((status.contains("ActiveState=active") && status.contains("StatusText=ready")).then_some(()))
    };
    if let Err(error) = board.wait_for("the program, ready", BOOT, is_ready) {
        panic!("{error}: {}", done(board, "systemctl status lightbox; journalctl --no-pager -u lightbox | tail -n 40"));
    }
}

#[test]
fn a_technician_goes_from_a_bare_system_to_a_verdict() {
    let folder = path_in("LIGHTBOX_BOARD_BENCH");
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let port = must(free_port());
    let stick = must(Disk::ext4(&scratch.path().join("drive"), 64));
    let plan = must(must(must(Plan::image(&folder, &stick)).panel(800, 480)).network(port, 11112)).memory(1024);
    let mut board = start(plan.with(["-device", "virtio-keyboard-pci", "-device", "i6300esb"]));
    let empty = must(board.screen());

    // Step 4: install. The board file is picked, the user made, the program started.
    let told = done(&mut board, "dpkg -i /root/lightbox_*_arm64.deb && cat /etc/lightbox/board.toml | head -n 1");
    assert!(told.contains("The emulated board of the tests"), "the board file for this board: {told}");
    done(&mut board, "id lightbox && systemctl is-enabled lightbox lightbox-first-boot");
    ready(&mut board);
    another_screen(&mut board, "a screen of the program", &empty, READING);

    // Steps 5 and 6: who may send films, and a file that cannot be used is named with its key.
    done(&mut board, &format!("cp {BOARD_FILE} /tmp/typed && sed -i 's/XRAY1/XRAY 1 of the second floor/' /tmp/typed"));
    let refused = must(board.run("lightbox board check /tmp/typed"));
    assert!(refused.status == 1 && refused.text.contains("listener.peers"), "{refused:?}");
    done(&mut board, &format!("sed -i 's/XRAY1/ROOM2/' {BOARD_FILE}"));
    let told = done(&mut board, &format!("lightbox board check {BOARD_FILE}"));
    assert!(told.contains("can be used") && !told.contains("warning"), "{told}");

    // Step 7: with the file as it is now.
    done(&mut board, "systemctl restart lightbox");
    ready(&mut board);
    let ready_screen = settled(&mut board);

    // Step 8: every part is asked.
    let doctor = format!("systemctl stop lightbox; lightbox doctor --config {BOARD_FILE}; systemctl start lightbox");
    let told = done(&mut board, &doctor);
    eprintln!("{told}");
    for part in ["panel", "keys", "storage", "journal", "model"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("fault"), "{told}");
    ready(&mut board);

    // Step 9: who is not named is refused, who is sends a film.
    let film = Film::real().write(scratch.path(), "1.2.826.0.1.3680043.9.9999.1");
    let refused = send(port, &[&film]).expect_err("XRAY1 is not named any more");
    assert!(refused.contains("Association Rejected"), "{refused}");
    done(&mut board, &format!("sed -i 's/ROOM2/XRAY1/' {BOARD_FILE} && systemctl restart lightbox"));
    ready(&mut board);
    must(send(port, &[&film]));
    let row = "lightbox journal list --json --journal /var/lib/lightbox/journal.db";
    let read = |board: &mut Board| {
        let rows = board.run(row)?;
        Ok((rows.status == 0 && rows.text.lines().count() == 1).then_some(()))
    };
    must(board.wait_for("a row in the journal", READING, read));
    ready(&mut board);
    let verdict = another_screen(&mut board, "a verdict", &ready_screen, READING);
    assert!(verdict.colours() > 64, "a verdict has a picture of the film: {verdict:?}");

    // Step 10: the buttons.
    must(board.monitor().press_button());
    let map = another_screen(&mut board, "the map", &verdict, Duration::from_secs(30));
    must(board.monitor().press_button());
    let details = another_screen(&mut board, "the details", &map, Duration::from_secs(30));
    must(board.monitor().press_key("ret"));
    another_screen(&mut board, "the ready screen", &details, Duration::from_secs(30));

    // The program holds what it needs and nothing else, and leaves the films and the record where they are.
    let exposure = done(&mut board, "systemd-analyze security --no-pager --threshold=20 lightbox.service | tail -n 1");
    eprintln!("{exposure}");
    done(&mut board, "dpkg -r lightbox && ! systemctl is-active lightbox && test -s /var/lib/lightbox/journal.db");
}
