//! A model bundle on a USB drive: plugged in, offered, installed with the buttons, tried, kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use board::{Board, Disk};
use serde_json::{Value, json};

use crate::support::{BOOT, READING, bundle, done, key_list, kiosk_plan, logged, must, read, root, start};

/// Mounts drives as the package's udev rule does: read-only, below /media.
const DRIVES: &str = "#!/bin/sh
while :; do
    for drive in /sys/block/sd*; do
        name=${drive##*/}
        [ -b /dev/$name ] && ! grep -q /media/$name /proc/mounts && mkdir -p /media/$name && mount -t vfat -o ro /dev/$name /media/$name
    done
    for place in /media/*; do
        [ -d $place ] && [ ! -e /sys/block/${place##*/} ] && { umount -l $place; rmdir $place; }
    done
    usleep 300000
done 2>/dev/null
";
const BEFORE: &str = "#!/bin/sh
store=/var/lib/lightbox/models
{
    lightbox bundle init --store $store --keys /keys.json &&
        lightbox bundle install --store $store --allow-unaudited /first/model.lbx &&
        lightbox bundle confirm --store $store
} >/run/before.log 2>&1
/bin/drives 3>&- &
";

/// The released model as a model directory.
fn model(folder: &Path) -> PathBuf {
    let released = root().join("models/released");
    if released.join("manifest.json").exists() {
        return released;
    }
    let to = folder.join("released");
    fs::create_dir(&to).expect("a folder");
    let unpacked =
        Command::new("tar").arg("-xf").arg(released.join("model.lbx")).arg("-C").arg(&to).status().expect("tar");
    assert!(unpacked.success(), "models/released/model.lbx cannot be unpacked");
    let digest = Command::new("sha256sum").arg("manifest.json").current_dir(&to).output().expect("sha256sum");
    fs::write(to.join("manifest.sha256"), digest.stdout).expect("a file");
    to
}

#[track_caller]
fn running(board: &mut Board) -> Value {
    let status = done(board, "lightbox bundle status --store /var/lib/lightbox/models --json");
    serde_json::from_str(status.trim()).unwrap_or_else(|error| panic!("{error}: {status}"))
}

#[test]
fn a_model_on_a_usb_drive_is_installed_with_the_buttons() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let at = |name: &str| scratch.path().join(name).display().to_string();
    let keys = key_list(scratch.path());
    let model = model(scratch.path()).display().to_string();
    let golden = root().join("models/golden/phantom.png").display().to_string();
    for version in ["1", "2"] {
        let (key, out) = (at("release.key"), at(&format!("{version}.lbx")));
        let source = "made by code";
        let arguments = ["seal", "--model", &model, "--bundle-version", version, "--golden", &golden];
        bundle(&[&arguments[..], &["--golden-source", source, "--key", &key, "--out", &out]].concat());
    }
    let stick = must(Disk::fat(Path::new(&at("stick")), 64));
    for (from, to) in [("2.lbx", "model.lbx"), ("2.lbx.minisig", "model.lbx.minisig")] {
        let copied = Command::new("mcopy").arg("-i").arg(stick.path()).arg(at(from)).arg(format!("::{to}")).status();
        assert!(copied.is_ok_and(|status| status.success()), "mcopy failed: install the package mtools");
    }
    let data = must(Disk::ext4(Path::new(&at("data")), 192));
    let board_file = String::from_utf8(read("board/virt.toml"))
        .expect("a board file is text")
        .replace("[updates] ", "[models]\nallow_unaudited = true\n\n[updates] ");
    assert!(board_file.contains("[models]"), "board/virt.toml has [updates]");
    let mut plan = kiosk_plan(board_file.as_bytes())
        .file("etc/before", BEFORE.as_bytes())
        .file("bin/drives", DRIVES.as_bytes())
        .file("keys.json", keys.to_string().as_bytes())
        .folder("first")
        .file("first/model.lbx", &fs::read(at("1.lbx")).expect("a bundle"))
        .file("first/model.lbx.minisig", &fs::read(at("1.lbx.minisig")).expect("a signature"));
    for module in
        ["xhci_pci", "usb_storage", "sd_mod", "vfat", "nls_ascii", "nls_cp437", "virtio_input", "evdev", "i6300esb"]
    {
        plan = must(plan.module(module));
    }
    let plan = must(must(plan.panel(800, 480)).disk(&data)).memory(768);
    let mut board =
        start(plan.with(["-device", "qemu-xhci,id=usb", "-device", "virtio-keyboard-pci", "-device", "i6300esb"]));
    logged(&mut board, "shows Ready", 1, BOOT);
    let before = running(&mut board);
    assert_eq!(before["slots"]["a"]["bundle"]["bundle_version"], 1, "{before:#}");

    must(board.monitor().ask("blockdev-add", &json!({"driver": "raw", "node-name": "stick", "read-only": true, "file": {"driver": "file", "filename": at("stick"), "read-only": true}})));
    must(
        board
            .monitor()
            .ask("device_add", &json!({"driver": "usb-storage", "id": "stick", "drive": "stick", "bus": "usb.0"})),
    );
    let offered = |board: &mut Board| Ok(board.run("grep -q ' /media/sda ' /proc/mounts")?.status.eq(&0).then_some(()));
    must(board.wait_for("the drive", Duration::from_secs(60), offered));
    // Select opens what is offered; it takes two pages and a decision to install it.
    let opened = |board: &mut Board| {
        let shown = board.run("grep -c 'shows Update' /run/kiosk.log")?.text.trim() != "0";
        if !shown {
            board.monitor().press_key("ret")?;
            std::thread::sleep(Duration::from_secs(2));
        }
        Ok(shown.then_some(()))
    };
    must(board.wait_for("the offer", Duration::from_secs(90), opened));
    for page in ["Figures", "Differences"] {
        must(board.monitor().press_button());
        logged(&mut board, &format!("shows Update {{ page: {page}"), 1, Duration::from_secs(20));
    }
    must(board.monitor().press_key("ret"));
    logged(&mut board, "is on trial in slot", 1, READING);
    // Select keeps it, once the screen has turned to that question.
    let kept = |board: &mut Board| {
        let status = board.run("lightbox bundle status --store /var/lib/lightbox/models --json")?.text;
        let status: Value = serde_json::from_str(status.trim()).unwrap_or_default();
        let slot = status["confirmed"].as_str().unwrap_or_default();
        if status["slots"][slot]["bundle"]["bundle_version"] == 2 {
            return Ok(Some(status));
        }
        board.monitor().press_key("ret")?;
        std::thread::sleep(Duration::from_secs(2));
        Ok(None)
    };
    let status = must(board.wait_for("the new model, kept", READING, kept));
    eprintln!("after: {status:#}");
    assert_eq!(status["lowest_bundle_version"], 2, "the old one cannot come back from a drive");
}
