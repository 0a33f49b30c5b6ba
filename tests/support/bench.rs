//! A folder with keys, bundles and a device's store, and `lightbox bundle` on it.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part that it needs")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lightbox::bundle::golden::Golden;
use lightbox::bundle::{Draft, digest_line, seal, sha256_hex};
use lightbox::domain::GreyImage;
use lightbox::engine::TractClassifier;
use lightbox::self_test::make_golden;
use serde_json::Value;
use tempfile::TempDir;

use crate::bundles::{CARD, Maker, contents, manifest, sign, small_network};
use crate::support;

pub fn lightbox(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox"));
    command.arg("bundle").args(arguments).env_remove("RUST_LOG").env_remove("LIGHTBOX_STORE");
    command.env_remove("LIGHTBOX_KEY_PASSWORD").stdin(Stdio::null());
    command
}

pub fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[track_caller]
pub fn run(arguments: &[&str]) -> Output {
    lightbox(arguments).output().expect("the program starts")
}

/// Runs a command that has to work and gives what it prints.
#[track_caller]
pub fn works(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output.stderr));
    said(&output.stdout)
}

/// Runs a command that has to refuse with status 1 and gives its reason.
#[track_caller]
pub fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output.stdout));
    said(&output.stderr)
}

/// A device's folder, its makers, and paths as text.
pub struct Bench {
    pub folder: TempDir,
    pub maker: Maker,
}

impl Bench {
    pub fn new() -> Self {
        let bench = Self { folder: TempDir::new().expect("a temporary folder"), maker: Maker::new() };
        fs::write(bench.path("keys.json"), bench.maker.list()).expect("written");
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).expect("written");
        fs::write(self.path(&format!("{name}.minisig")), sign(bytes, &[&self.maker.release])).expect("written");
        self.text(name)
    }

    /// A bundle whose golden answers are those of its network.
    pub fn bundle(&self, version: u64) -> String {
        let network = small_network(version);
        self.put(&format!("{version}.lbx"), &sealed(version, &network, &golden_of(version, &network)))
    }

    /// Makes the confirmed slot A of a store answer otherwise than it was audited: as if the processor had gone bad since.
    pub fn spoil(&self, store: &str) {
        let store = Path::new(store);
        let state = fs::read_to_string(store.join("state-0")).expect("a record");
        let old = state.split("\"sha256\": \"").nth(1).or_else(|| state.split("\"sha256\":\"").nth(1));
        let old = old.expect("a digest")[..64].to_owned();
        let bytes = sealed(1, &small_network(1), &golden_of(50, &small_network(50)));
        let (new, signatures) = (sha256_hex(&bytes), sign(&bytes, &[&self.maker.release]));
        fs::write(store.join("slot-a.lbx"), bytes).expect("written");
        fs::write(store.join("slot-a.lbx.minisig"), signatures).expect("written");
        for name in ["state-0", "state-1"] {
            let path = store.join(name);
            let record = fs::read_to_string(&path).expect("a record").replace(&old, &new);
            let (_, json) = record.split_once('\n').expect("two parts");
            let record = format!("lightbox-state 1 {}\n{json}", sha256_hex(json.as_bytes()));
            fs::write(path, record).expect("written");
        }
    }

    /// A store with version 1 confirmed.
    pub fn device(&self) -> String {
        let store = self.text("store");
        works(&["init", "--store", &store, "--keys", &self.text("keys.json")]);
        works(&["install", "--store", &store, &self.bundle(1)]);
        works(&["confirm", "--store", &store]);
        store
    }
}

/// A golden film with the answers of `network`.
pub fn golden_of(version: u64, network: &[u8]) -> Golden {
    let folder = model_folder(version, network);
    let model = lightbox::bundle::open(folder.path()).expect("a model");
    let mut classifier = TractClassifier::load(&model).expect("a network");
    make_golden(vec![film()], model.manifest(), &mut classifier).expect("golden films")
}

pub fn film() -> GreyImage {
    support::chest_phantom(160, 150, 3)
}

pub fn sealed(version: u64, network: &[u8], golden: &Golden) -> Vec<u8> {
    let draft = Draft {
        contents: &contents(version),
        manifest: &manifest(version, network),
        card: CARD.as_bytes(),
        network,
        golden,
        golden_source: "made by code",
    };
    seal(&draft).expect("a bundle")
}

pub fn model_folder(version: u64, network: &[u8]) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let manifest = manifest(version, network);
    fs::write(folder.path().join("manifest.sha256"), digest_line(&manifest)).expect("written");
    fs::write(folder.path().join("manifest.json"), manifest).expect("written");
    fs::write(folder.path().join("MODEL_CARD.md"), CARD).expect("written");
    fs::write(folder.path().join("model.onnx"), network).expect("written");
    folder
}

pub fn status(store: &str) -> Value {
    serde_json::from_str(&works(&["status", "--store", store, "--json"])).expect("JSON")
}
