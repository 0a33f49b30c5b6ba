//! The board files that are shipped can be used, and what cannot be is named.

#[path = "support/bundles.rs"]
mod bundles;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, str};

fn check(file: &Path) -> (bool, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_lightbox")).args(["board", "check"]).arg(file).output().expect("the program");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), str::from_utf8(&text).expect("text").to_owned())
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("board");
    let entries = fs::read_dir(folder).expect("the folder of board files");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

#[test]
fn every_board_file_can_be_used() {
    let files = files();
    for board in [
        "rpi-zero-2w",
        "rpi-3b",
        "rpi-4",
        "rpi-5",
        "jetson-nano",
        "jetson-orin-nano",
        "virt",
        "virt-drm",
        "virt-pi3",
        "pc",
    ] {
        assert!(
            files.iter().any(|path| path.file_stem().is_some_and(|stem| stem == board)),
            "there is no board/{board}.toml"
        );
    }
    for file in files {
        let (usable, told) = check(&file);
        assert!(usable && told.contains("can be used"), "{}: {told}", file.display());
    }
}

#[test]
fn what_is_wrong_with_a_board_file_is_named_with_its_line_or_key() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let good =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("board/rpi-4.toml")).expect("a board file");
    for (from, to, expected) in [
        ("kind = \"drm\"", "kind = \"drm\"\ncolour = 1", "unknown field `colour`"),
        ("line = \"GPIO6\"", "line = \"GPIO5\"", "which uses it already"),
        ("kind = \"drm\"", "kind = \"lcd\"", "panel.kind is \"lcd\", expected framebuffer, drm"),
        ("0.0.0.0:11112", "0.0.0.0", "listener.address"),
    ] {
        assert!(good.contains(from), "{from}");
        let path = folder.path().join("board.toml");
        fs::write(&path, good.replace(from, to)).expect("a file");
        let (usable, told) = check(&path);
        assert!(!usable && told.contains(expected), "{told}\nexpected: {expected}");
    }
}

/// Nothing is shown of what it says: it stands for a model where starts have to be quick, as an emulated processor is slow.
#[test]
fn the_small_model_of_the_emulated_board_is_what_the_code_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/board/tests/small-model");
    let network = bundles::small_network(1);
    for (name, made) in [
        ("manifest.json", bundles::manifest(1, &network)),
        ("MODEL_CARD.md", bundles::CARD.as_bytes().to_vec()),
        ("model.onnx", network),
    ] {
        let path = folder.join(name);
        if std::env::var_os("LIGHTBOX_BLESS").is_some_and(|value| value == "1") {
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(&path, &made).expect("written");
        }
        let found = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(found == made, "{} is another: refresh it with LIGHTBOX_BLESS=1", path.display());
    }
}
