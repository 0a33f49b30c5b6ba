//! What the fuzzer found worth keeping, replayed by the targets themselves; `fuzz/README.md` says how to look for more.

#![allow(
    clippy::duplicate_mod,
    reason = "each target is a program of its own for the fuzzer, and brings its keys along"
)]

#[path = "../fuzz/targets/bundle.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the fuzzer")]
mod bundle;
#[path = "../fuzz/targets/bundle_members.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the fuzzer")]
mod bundle_members;
#[path = "support/bundles.rs"]
mod bundles;
#[path = "../fuzz/targets/key_list.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the fuzzer")]
mod key_list;
#[path = "../fuzz/targets/network.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the fuzzer")]
mod network;
#[path = "../fuzz/targets/state.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the fuzzer")]
mod state;

use std::fs;
use std::path::PathBuf;

use bundles::{CARD, Maker, golden, manifest, small_network};
use lightbox::bundle::container::read;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Runs `target` on its whole corpus, with `seeds` first: they are what good input looks like.
#[track_caller]
fn check(name: &str, seeds: &[Vec<u8>], target: fn(&[u8]) -> bool) {
    let folder = corpus(name);
    if std::env::var_os("LIGHTBOX_BLESS").is_some_and(|value| value == "1") {
        fs::create_dir_all(&folder).expect("made");
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed).expect("written");
        }
    }
    assert!(seeds.iter().all(|seed| target(seed)), "good input is refused: nothing behind it is reached");
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        target(&fs::read(entry.expect("an entry").path()).expect("an input"));
        replayed += 1;
    }
    println!("{name}: {replayed} inputs replayed");
    assert!(replayed >= seeds.len());
    // Beginnings of good input, and good input with a few bytes changed: the same ones in every run.
    let mut chance = 7u64;
    let mut below = |limit: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) as usize % limit
    };
    for seed in seeds {
        let step = (seed.len() / 64).max(1);
        (0..seed.len()).step_by(step).for_each(|length| assert!(!target(&seed[..length]), "{name} cut at {length}"));
        for _ in 0..300 {
            let mut changed = seed.clone();
            for _ in 0..1 + below(4) {
                let at = below(changed.len());
                changed[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'9', below(256) as u8][below(8)];
            }
            target(&changed);
        }
    }
}

#[test]
fn bundles() {
    check("bundle", &[bundles::bundle(1)], bundle::run);
}

/// The members of a bundle in the form of the target's input.
fn members() -> Vec<u8> {
    let sealed = bundles::bundle(1);
    let mut input = Vec::new();
    for (kind, (_, range)) in read(&sealed).expect("a container").into_iter().enumerate() {
        let content = &sealed[range];
        input.push(kind as u8);
        input.extend((content.len() as u16).to_le_bytes());
        input.extend(content);
    }
    input
}

#[test]
fn members_of_bundles() {
    let input = members();
    check("bundle_members", &[input], bundle_members::run);
    // The seed reaches the bottom: what it is made of is what a bundle is made of.
    assert!(manifest(1, &small_network(1)).len() < 1 << 16 && CARD.len() < 1 << 16 && golden().films.len() == 1);
}

#[test]
fn networks() {
    check("network", &[small_network(1)], network::run);
}

#[test]
fn key_lists() {
    let maker = Maker::new();
    let list = maker.list();
    let signatures = bundles::sign(&list, &[&maker.root, &maker.release]);
    let permit = br#"{"schema": 1, "permit": "downgrade", "bundle_sha256": "00", "serial": 3}"#;
    check("key_list", &[list, signatures, permit.to_vec()], key_list::run);
}

#[test]
fn state_records() {
    let record = |slot: &str| {
        format!(
            r#"{{"generation": 12, "slot_a": {slot}, "slot_b": {{"state": "empty"}}, "key_list_version": 1,
            "key_list_sha256": "00", "ratchets": {{"RWQ": {{"bundle_version": 7, "sha256": "00"}}}}, "permit_serial": 0,
            "history": [{{"generation": 1, "event": "created"}}]}}"#
        )
        .into_bytes()
    };
    let bundle = r#"{"name": "m", "version": "1.0.0", "bundle_version": 7, "sha256": "00", "signers": ["RWQ"]}"#;
    let seeds = [
        record(&format!(r#"{{"state": "confirmed", "bundle": {bundle}, "since": 3}}"#)),
        record(&format!(
            r#"{{"state": "trial", "bundle": {bundle}, "boots_left": 2, "self_tested": true, "good_readings": 4}}"#
        )),
        record(r#"{"state": "failed", "bundle": null, "why": {"cause": "self-test", "detail": "x"}}"#),
    ];
    check("state", &seeds, state::run);
}
