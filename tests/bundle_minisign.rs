//! The real `minisign` checks what lightbox signs, and lightbox what `minisign` signs.

#[path = "support/bundles.rs"]
mod bundles;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use bundles::{bundle, key_list, new_key, sign};
use lightbox::bundle::key_list::KeyList;
use lightbox::bundle::signature::PublicKey;
use lightbox::bundle::signing::{self, Password, SigningKey};
use lightbox::bundle::{Policy, verify};
use serde_json::json;

/// Whether the tool is there. Where everything has to be checked its absence is a failure.
fn has_minisign() -> bool {
    let found = Command::new("minisign").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "minisign is missing: install the Debian package minisign");
        eprintln!("NOT CHECKED: minisign is missing, install the Debian package minisign");
    }
    found
}

fn minisign(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new("minisign").current_dir(folder).args(arguments).stdin(Stdio::null()).output().expect("runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn minisign_accepts_our_signature_and_refuses_a_changed_file() {
    if !has_minisign() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (key, second) = (new_key(), new_key());
    let mut bytes = bundle(1);
    fs::write(folder.path().join("m.lbx"), &bytes).expect("written");
    fs::write(folder.path().join("m.lbx.minisig"), sign(&bytes, &[&key, &second])).expect("written");
    // -H: only prehashed signatures will do.
    let check = |key: &SigningKey| minisign(folder.path(), &["-VH", "-m", "m.lbx", "-P", key.public().as_base64()]);
    let (accepted, said) = check(&key);
    assert!(accepted && said.contains("Signature and comment signature verified"), "{said}");
    // Of several signatures minisign looks at the first; the second, in a file of its own, is as good.
    assert!(!check(&second).0);
    fs::write(folder.path().join("m.lbx.minisig"), sign(&bytes, &[&second])).expect("written");
    assert!(check(&second).0);
    bytes[1000] ^= 1;
    fs::write(folder.path().join("m.lbx"), &bytes).expect("written");
    assert!(!check(&second).0);
}

#[test]
fn we_accept_the_signature_and_the_key_of_minisign() {
    if !has_minisign() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (made, said) = minisign(folder.path(), &["-GW", "-p", "k.pub", "-s", "k.key"]);
    assert!(made, "{said}");
    let bytes = bundle(1);
    fs::write(folder.path().join("m.lbx"), &bytes).expect("written");
    let (signed, said) = minisign(folder.path(), &["-SW", "-s", "k.key", "-m", "m.lbx", "-t", "made by hand"]);
    assert!(signed, "{said}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("written by minisign");
    let public = PublicKey::from_file_text(&read("k.pub")).expect("a key");
    let entry = json!({"name": "by hand", "role": "release", "public_key": public.as_base64()});
    let root = json!({"name": "root", "role": "root", "public_key": new_key().public().as_base64()});
    let trusted = KeyList::anchor(&key_list(1, &[entry, root], 1)).expect("a key list");
    let verified = verify(bytes.clone(), read("m.lbx.minisig").into_bytes(), &trusted, &Policy::default());
    assert_eq!(verified.expect("accepted").signers()[0].name, "by hand");
    // Its secret key signs here, too.
    let secret = SigningKey::open(&read("k.key"), Password::None).expect("a key");
    let signatures = sign(&bytes, &[&secret]);
    assert!(verify(bytes, signatures, &trusted, &Policy::default()).is_ok());
    // The manner of old versions, without prehashing, is refused with the remedy.
    let (signed, said) = minisign(folder.path(), &["-SWl", "-s", "k.key", "-m", "m.lbx"]);
    assert!(signed, "{said}");
    let error = verify(bundle(1), read("m.lbx.minisig").into_bytes(), &trusted, &Policy::default());
    let error = error.expect_err("a refusal").to_string();
    assert!(error.ends_with("is not prehashed: sign again with minisign 0.10 or later, without -l"), "{error}");
}

#[test]
fn minisign_signs_with_a_key_that_we_made() {
    if !has_minisign() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = signing::generate(Password::None).expect("randomness");
    fs::write(folder.path().join("k.key"), &files.secret).expect("written");
    fs::write(folder.path().join("k.pub"), &files.public).expect("written");
    fs::write(folder.path().join("m"), b"content").expect("written");
    let (signed, said) = minisign(folder.path(), &["-SW", "-s", "k.key", "-m", "m"]);
    assert!(signed, "{said}");
    let (accepted, said) = minisign(folder.path(), &["-V", "-p", "k.pub", "-m", "m"]);
    assert!(accepted, "{said}");
}
