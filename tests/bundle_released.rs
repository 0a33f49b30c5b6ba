//! The model that ships: one signed bundle that every command finds without being told.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lightbox::bundle::key_list::{BUILT_IN, KeyList, TrustError};
use lightbox::bundle::release::open_bundle;
use lightbox::bundle::summary::Facts;
use lightbox::bundle::{self, Policy, VerifiedBundle};
use lightbox::domain::{Films, Measure};
use lightbox::engine::TractClassifier;
use lightbox::self_test::self_test;
use serde_json::Value;
use tempfile::TempDir;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shipped() -> VerifiedBundle {
    let trusted = KeyList::built_in().expect("a key list");
    open_bundle(&root().join("models/released/model.lbx"), &trusted, &Policy::default()).expect("accepted")
}

fn lightbox(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox"));
    for name in ["LIGHTBOX_MODEL", "LIGHTBOX_STORE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(root()).output().expect("the program starts")
}

#[track_caller]
fn works(arguments: &[&str]) -> String {
    let output = lightbox(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_shipped_bundle_is_signed_audited_and_answers_its_golden_films() {
    let bundle = shipped();
    let facts = Facts::of(&bundle);
    for measure in [
        Measure::Sensitivity(Films::HeldOut),
        Measure::Specificity(Films::HeldOut),
        Measure::Sensitivity(Films::External),
        Measure::Specificity(Films::External),
    ] {
        assert!(facts.figure(measure).is_some(), "no {} among {:?}", measure.name(), facts.figures);
    }
    let card = fs::read_to_string(root().join("models/released/MODEL_CARD.md")).expect("the card beside it");
    assert_eq!(card, bundle.card(), "the card beside the bundle is not the one in it: run models/seal");
    let parts = bundle.into_parts();
    let mut classifier = TractClassifier::load(&parts.model).expect("a network");
    self_test(&parts.golden, parts.model.manifest(), &mut classifier).expect("the answers that were sealed");
}

#[test]
fn the_model_is_in_the_repository_once() {
    let mut names: Vec<String> = fs::read_dir(root().join("models/released"))
        .expect("a folder")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["MODEL_CARD.md", "model.lbx", "model.lbx.minisig"]);
}

#[test]
fn the_key_list_is_signed_by_its_own_root_key() {
    let signatures = fs::read(root().join("models/keys/keys.json.minisig")).expect("signatures beside it");
    let trusted = KeyList::built_in().expect("a key list");
    // Whatever is wrong with the signatures is told before the version is looked at.
    let error = trusted.successor(BUILT_IN, &signatures).expect_err("the same version");
    assert!(matches!(error, TrustError::OldList { .. }), "{error}");
    let public = fs::read_to_string(root().join("models/keys/release.pub")).expect("the key for minisign");
    let line = public.lines().nth(1).expect("a key");
    assert!(trusted.keys().iter().any(|key| key.key.as_base64() == line && key.role.name() == "release"));
}

#[test]
fn the_golden_phantom_is_what_the_code_makes() {
    let path = root().join("models/golden/phantom.png");
    let film = support::chest_phantom(256, 240, 11);
    let greys: Vec<u8> = film.greys().iter().map(|grey| (grey >> 8) as u8).collect();
    let made = image::GrayImage::from_raw(256, 240, greys).expect("sizes fit");
    if std::env::var_os("LIGHTBOX_BLESS").is_some_and(|value| value == "1") {
        made.save(&path).expect("written");
    }
    let found = image::open(&path).expect("a picture").into_luma8();
    assert_eq!(found.dimensions(), made.dimensions());
    // Sines differ in their last digit from one C library to the next.
    let apart = found.as_raw().iter().zip(made.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(apart <= Some(1), "{apart:?} apart: refresh it with LIGHTBOX_BLESS=1");
}

#[test]
fn screen_reads_with_the_shipped_bundle_and_says_which() {
    let lines = works(&["screen", "--json", "tests/fixtures/chest-pa.dcm"]);
    let line: Value = serde_json::from_str(&lines).expect("a line of JSON");
    let bundle = shipped();
    assert_eq!(line["model"]["name"], bundle.manifest().name);
    assert_eq!(line["model"]["sha256"], bundle.network_sha256());
    // The same when the folder or the file is named.
    for named in ["models/released", "models/released/model.lbx"] {
        let again = works(&["screen", "--json", "--model", named, "tests/fixtures/chest-pa.dcm"]);
        let again: Value = serde_json::from_str(&again).expect("a line of JSON");
        assert_eq!(again["probabilities"], line["probabilities"], "{named}");
    }
}

#[test]
fn unpacked_it_is_a_model_directory_that_answers_the_same() {
    let folder = TempDir::new().expect("a temporary folder");
    let out = folder.path().join("model");
    let out = out.to_str().expect("UTF-8");
    works(&["bundle", "unpack", "models/released/model.lbx", "--out", out]);
    let unpacked = bundle::open(Path::new(out)).expect("a model directory");
    assert_eq!(unpacked.network_sha256(), shipped().network_sha256());
    assert!(Path::new(out).join("golden/00.pgm").is_file());
    let again = lightbox(&["bundle", "unpack", "models/released/model.lbx", "--out", out]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("cannot write"), "{again:?}");
}

#[test]
fn a_new_device_has_the_shipped_model_to_go_back_to() {
    let folder = TempDir::new().expect("a temporary folder");
    let store = folder.path().join("store");
    let store = store.to_str().expect("UTF-8");
    let made = works(&["bundle", "init", "--store", store]);
    assert!(made.contains(", confirmed"), "{made}");
    let status: Value = serde_json::from_str(&works(&["bundle", "status", "--store", store, "--json"])).expect("JSON");
    assert_eq!(status["slots"]["a"]["state"], "confirmed");
    assert_eq!(status["slots"]["a"]["bundle"]["sha256"], shipped().sha256());
    let again = lightbox(&["bundle", "install", "--store", store, "models/released/model.lbx"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("this bundle is the running model already"), "{said}");
}
