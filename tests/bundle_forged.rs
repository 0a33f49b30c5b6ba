//! A corpus of forged, damaged and stale bundles and key lists: each is refused with its own message, and nothing of
//! what is not signed is parsed.

#[path = "support/bundles.rs"]
mod bundles;
#[path = "support/cutting_storage.rs"]
mod cutting_storage;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bundles::{
    CARD, Maker, Onnx, bundle, bundle_of, contents, entry, golden, key_list, manifest, new_key, revoked, sign,
    small_network,
};
use cutting_storage::{CuttingStorage, Left};
use lightbox::bundle::container::{self, Member};
use lightbox::bundle::contents::ProgramVersion;
use lightbox::bundle::key_list::{KeyList, PermitFile};
use lightbox::bundle::{BundleError, Draft, Policy, Store, StoreError, VerifiedBundle, seal, sha256_hex, verify};

fn accept(maker: &Maker, bytes: &[u8], signatures: &[u8]) -> Result<VerifiedBundle, BundleError> {
    let trusted = KeyList::anchor(&maker.list()).expect("a key list");
    verify(bytes.to_vec(), signatures.to_vec(), &trusted, &Policy::default())
}

/// Verifies `bytes` signed by the release key.
#[track_caller]
fn check_signed(maker: &Maker, bytes: &[u8], message: &str) {
    let error = accept(maker, bytes, &sign(bytes, &[&maker.release])).expect_err("a refusal").to_string();
    assert_eq!(error, message);
}

/// A bundle whose member is replaced, with every list of digests above it as `relist` says.
fn replaced(version: u64, member: Member, content: &[u8], relist: bool) -> Vec<u8> {
    let bytes = bundle(version);
    let mut members: Vec<(Member, Vec<u8>)> = container::read(&bytes)
        .expect("a container")
        .into_iter()
        .map(|(member, range)| (member, bytes[range].to_vec()))
        .collect();
    members.iter_mut().find(|(m, _)| *m == member).expect("there").1 = content.to_vec();
    if relist {
        let mut list: serde_json::Value = serde_json::from_slice(&members[0].1).expect("JSON");
        list["members"][member.to_string()]["sha256"] = sha256_hex(content).into();
        members[0].1 = list.to_string().into_bytes();
    }
    let members: Vec<(Member, &[u8])> = members.iter().map(|(member, bytes)| (*member, bytes.as_slice())).collect();
    container::write(&members).expect("a container")
}

#[test]
fn a_good_bundle_is_accepted_and_knows_its_signers() {
    let maker = Maker::new();
    let bytes = bundle(1);
    let verified = accept(&maker, &bytes, &sign(&bytes, &[&maker.release])).expect("accepted");
    assert_eq!(verified.signers().len(), 1);
    assert_eq!(verified.signers()[0].name, "release 1");
    assert_eq!(verified.contents().bundle_version, 1);
    assert_eq!(verified.into_parts().model.network(), small_network(1));
    // The same parts give the same bytes.
    assert_eq!(bytes, bundle(1));
}

#[test]
fn wrong_key() {
    let (maker, stranger) = (Maker::new(), new_key());
    let bytes = bundle(1);
    let error = accept(&maker, &bytes, &sign(&bytes, &[&stranger])).expect_err("a refusal").to_string();
    let id = stranger.public().id();
    assert_eq!(error, format!("the bundle is signed by key {id}, which key list 1 does not know"));
}

#[test]
fn key_of_another_role() {
    let maker = Maker::new();
    let bytes = bundle(1);
    let error = accept(&maker, &bytes, &sign(&bytes, &[&maker.root])).expect_err("a refusal").to_string();
    let id = maker.root.public().id();
    assert_eq!(error, format!("the bundle has a signature by root key {id} (root), expected 1 by a release key"));
}

#[test]
fn key_number_borrowed_by_a_stranger() {
    // The number is chosen by whoever makes a key: a signature that claims a trusted number has to fit that key.
    let (maker, stranger) = (Maker::new(), new_key());
    let bytes = bundle(1);
    let theirs = String::from_utf8(sign(&bytes, &[&stranger])).expect("text");
    let ours = STANDARD.decode(maker.release.public().as_base64()).expect("base64");
    let line = theirs.lines().nth(1).expect("a signature");
    let mut forged = STANDARD.decode(line).expect("base64");
    forged[2..10].copy_from_slice(&ours[2..10]);
    let borrowed = theirs.replace(line, &STANDARD.encode(forged));
    let error = accept(&maker, &bytes, borrowed.as_bytes()).expect_err("a refusal").to_string();
    let expected = "(release 1) does not fit the bundle: it was changed, cut short or forged";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn truncated_and_padded() {
    let maker = Maker::new();
    let bytes = bundle(1);
    let signatures = sign(&bytes, &[&maker.release]);
    let id = maker.release.public().id();
    let message =
        format!("the signature by key {id} (release 1) does not fit the bundle: it was changed, cut short or forged");
    let mut longer = bytes.clone();
    longer.push(0);
    for changed in [&bytes[..bytes.len() - 1], &bytes[..bytes.len() / 2], &bytes[..1], &longer] {
        assert_eq!(accept(&maker, changed, &signatures).expect_err("a refusal").to_string(), message);
    }
    let error = accept(&maker, &[], &signatures).expect_err("a refusal").to_string();
    assert_eq!(error, "the bundle has 0 bytes, expected 1 to 100663296");
}

#[test]
fn two_signatures_one_key() {
    let maker = Maker::new();
    let trusted = KeyList::anchor(&key_list(1, &maker.keys(), 2)).expect("a key list");
    let bytes = bundle(1);
    let with = |signatures: Vec<u8>| verify(bytes.clone(), signatures, &trusted, &Policy::default());
    let error = with(sign(&bytes, &[&maker.release, &maker.release])).expect_err("a refusal").to_string();
    let id = maker.release.public().id();
    let expected = format!(
        "the bundle has a signature by release key {id} (release 1), 1 more by the same key, which count once, \
        expected 2 by different release keys"
    );
    assert_eq!(error, expected);
    let both = with(sign(&bytes, &[&maker.release, &maker.spare])).expect("accepted");
    assert_eq!(both.signers().len(), 2);
}

#[test]
fn one_key_listed_twice_under_two_numbers() {
    let maker = Maker::new();
    let mut bytes = STANDARD.decode(maker.release.public().as_base64()).expect("base64");
    bytes[2..10].copy_from_slice(b"12345678");
    let mut keys = maker.keys();
    keys.push(serde_json::json!({"name": "twin", "role": "release", "public_key": STANDARD.encode(bytes)}));
    let error = KeyList::anchor(&key_list(1, &keys, 2)).expect_err("a refusal").to_string();
    let expected = "keys[3].public_key is 3837363534333231, expected a key that is not in the list yet";
    assert_eq!(error, expected);
}

#[test]
fn revoked_key() {
    let maker = Maker::new();
    let keys = [
        entry("root", "root", &maker.root),
        revoked(entry("release 1", "release", &maker.release)),
        entry("release 2", "release", &maker.spare),
    ];
    let trusted = KeyList::anchor(&key_list(2, &keys, 1)).expect("a key list");
    let bytes = bundle(1);
    let signatures = sign(&bytes, &[&maker.release]);
    let error = verify(bytes, signatures, &trusted, &Policy::default()).expect_err("a refusal").to_string();
    let id = maker.release.public().id();
    let expected =
        format!("the bundle has a signature by revoked release key {id} (release 1), expected 1 by a release key");
    assert_eq!(error, expected);
}

#[test]
fn test_key() {
    let maker = Maker::new();
    let test = new_key();
    let mut keys = maker.keys();
    keys.push(entry("laboratory", "test", &test));
    let mut list: serde_json::Value = serde_json::from_slice(&key_list(1, &keys, 1)).expect("JSON");
    list["accept"]["bundle"] =
        serde_json::json!([{"role": "release", "signatures": 1}, {"role": "test", "signatures": 1}]);
    let trusted = KeyList::anchor(list.to_string().as_bytes()).expect("a key list");
    let bytes = bundle(1);
    let with = |policy| verify(bytes.clone(), sign(&bytes, &[&test]), &trusted, &policy);
    let error = with(Policy::default()).expect_err("a refusal").to_string();
    assert!(error.ends_with("(laboratory), expected 1 by a release key"), "{error}");
    with(Policy { test_keys: true, ..Policy::default() }).expect("accepted where the site says so");
}

#[test]
fn manifest_swapped() {
    let maker = Maker::new();
    let other = manifest(2, &small_network(2));
    let listed = sha256_hex(&manifest(1, &small_network(1)));
    let found = sha256_hex(&other);
    let message = format!("manifest.json has SHA-256 {found}, bundle.json says {listed}");
    check_signed(&maker, &replaced(1, Member::Manifest, &other, false), &message);
    // With the list of digests made to fit, the manifest still belongs to another network.
    let (found, expected) = (sha256_hex(&small_network(1)), sha256_hex(&small_network(2)));
    let message = format!("model.onnx has SHA-256 {found}, manifest.json says {expected}");
    check_signed(&maker, &replaced(1, Member::Manifest, &other, true), &message);
}

#[test]
fn network_swapped() {
    let maker = Maker::new();
    let (found, expected) = (sha256_hex(&small_network(2)), sha256_hex(&small_network(1)));
    let message = format!("model.onnx has SHA-256 {found}, bundle.json says {expected}");
    check_signed(&maker, &replaced(1, Member::Network, &small_network(2), false), &message);
}

#[test]
fn path_escape_and_duplicate_member_and_trailing_data() {
    // The container's own tests try every such change; here they are signed, as by a careless or malicious maker.
    let maker = Maker::new();
    let mut escape = bundle(1);
    escape[..12].copy_from_slice(b"../../evil\0\0");
    let sum: u32 = (0..512).map(|i| if (148..156).contains(&i) { 32 } else { u32::from(escape[i]) }).sum();
    escape[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let message = "member \"../../evil\" has a path for a name, expected a name such as model.onnx or golden/00.pgm";
    check_signed(&maker, &escape, message);

    let good = bundle(1);
    let manifest = container::read(&good).expect("a container")[1].1.clone();
    let first = &good[manifest.start - 512..manifest.end.next_multiple_of(512)];
    let mut twice = good[..manifest.end.next_multiple_of(512)].to_vec();
    twice.extend_from_slice(first);
    twice.extend_from_slice(&good[manifest.end.next_multiple_of(512)..]);
    check_signed(&maker, &twice, "member manifest.json is there twice");

    let mut trailing = good;
    trailing.extend_from_slice(&[b'x'; 512]);
    check_signed(&maker, &trailing, "512 bytes follow the end of the container");
}

#[test]
fn onnx_bomb() {
    let maker = Maker::new();
    let bomb = Onnx::default().operator("ConstantOfShape", &["image"], "logits", &[]).finish(("image", &[1]), &[]);
    let draft = |network: &[u8]| {
        seal(&Draft {
            contents: &contents(1),
            manifest: &manifest(1, network),
            card: CARD.as_bytes(),
            network,
            golden: &golden(),
            golden_source: "made by code",
        })
    };
    let message = "model.onnx: operator \"ConstantOfShape\" is not one that a model may have";
    assert_eq!(draft(&bomb).expect_err("not even sealed").to_string(), message);
    // A maker that seals it all the same.
    let bytes = replaced(1, Member::Network, &bomb, true);
    let listed = manifest(1, &bomb);
    let mut members: Vec<(Member, Vec<u8>)> =
        container::read(&bytes).expect("read").into_iter().map(|(m, range)| (m, bytes[range].to_vec())).collect();
    let mut list: serde_json::Value = serde_json::from_slice(&members[0].1).expect("JSON");
    list["members"]["manifest.json"]["sha256"] = sha256_hex(&listed).into();
    members[0].1 = list.to_string().into_bytes();
    members[1].1 = listed;
    let members: Vec<(Member, &[u8])> = members.iter().map(|(m, bytes)| (*m, bytes.as_slice())).collect();
    check_signed(&maker, &container::write(&members).expect("written"), message);
}

#[test]
fn unaudited() {
    let maker = Maker::new();
    let mut contents = contents(1);
    contents.audit.clear();
    let bytes = bundle_of(&contents, &small_network(1), 1);
    check_signed(&maker, &bytes, "the bundle has no audit figures, and the policy of this device demands them");
    let trusted = KeyList::anchor(&maker.list()).expect("a key list");
    let policy = Policy { unaudited: true, ..Policy::default() };
    let signatures = sign(&bytes, &[&maker.release]);
    verify(bytes, signatures, &trusted, &policy).expect("accepted where the site says so");
}

#[test]
fn made_for_a_newer_program() {
    let maker = Maker::new();
    let mut contents = contents(1);
    contents.minimum_program = ProgramVersion::parse("99.0.0").expect("a version");
    let current = ProgramVersion::current();
    let message = format!("the bundle needs lightbox 99.0.0 or newer, this is {current}");
    check_signed(&maker, &bundle_of(&contents, &small_network(1), 1), &message);
}

/// A device that has confirmed `version`.
fn device_with(maker: &Maker, version: u64) -> CuttingStorage {
    let mut storage = CuttingStorage::default();
    let mut store = Store::new(&mut storage);
    store.create(&maker.list()).expect("created");
    store.stage(maker.verified(version), None, &Policy::default()).expect("staged");
    let slot = store.boot(&Policy::default()).expect("started").slot;
    store.report_self_test(slot, Ok(())).expect("passed");
    store.confirm().expect("confirmed");
    storage.restarted(Left::Old)
}

#[test]
fn older_version_and_the_permit_for_it() {
    let maker = Maker::new();
    let policy = Policy::default();
    let mut device = device_with(&maker, 5);
    let mut store = Store::new(&mut device);
    let error = store.stage(maker.verified(4), None, &policy).expect_err("a refusal").to_string();
    let expected = "bundle version 4 is older than 5, which was confirmed here: going back needs a signed permit";
    assert_eq!(error, expected);

    let permit = |version: u64, serial: u64| {
        let file = serde_json::to_vec(&PermitFile::downgrade(&bundle(version), serial)).expect("JSON");
        let trusted = KeyList::anchor(&maker.list()).expect("a key list");
        let forged = trusted.permit(&file, &sign(&file, &[&maker.release])).expect_err("a refusal").to_string();
        assert!(forged.ends_with("(release 1), expected 1 by a root key"), "{forged}");
        trusted.permit(&file, &sign(&file, &[&maker.root])).expect("a permit")
    };
    let error = store.stage(maker.verified(4), Some(&permit(3, 1)), &policy).expect_err("a refusal").to_string();
    assert!(error.starts_with("the permit is for the bundle with SHA-256 "), "{error}");
    store.stage(maker.verified(4), Some(&permit(4, 1)), &policy).expect("permitted");
    store.roll_back(&policy).expect("rolled back");
    let error = store.stage(maker.verified(4), Some(&permit(4, 1)), &policy).expect_err("a refusal").to_string();
    assert_eq!(error, "the permit has serial number 1, 1 has been used here: expected a higher one");
    store.stage(maker.verified(4), Some(&permit(4, 2)), &policy).expect("permitted once more");
}

#[test]
fn the_same_version_with_other_bytes() {
    let maker = Maker::new();
    let mut device = device_with(&maker, 5);
    let bytes = bundle_of(&contents(5), &small_network(6), 6);
    let other = accept(&maker, &bytes, &sign(&bytes, &[&maker.release])).expect("accepted");
    let error = Store::new(&mut device).stage(other, None, &Policy::default()).expect_err("a refusal").to_string();
    assert!(error.starts_with("bundle version 5 was confirmed here as SHA-256 "), "{error}");
    assert!(error.ends_with(": the same version twice"), "{error}");
    let same = Store::new(&mut device).stage(maker.verified(5), None, &Policy::default());
    assert_eq!(same.expect_err("a refusal").to_string(), "this bundle is the running model already");
}

#[test]
fn version_99_by_a_stolen_key_does_not_lock_out_the_repair() {
    let maker = Maker::new();
    let policy = Policy::default();
    let mut device = device_with(&maker, 99);
    let mut store = Store::new(&mut device);
    let list = key_list(
        2,
        &[
            entry("root", "root", &maker.root),
            revoked(entry("release 1", "release", &maker.release)),
            entry("release 2", "release", &maker.spare),
        ],
        1,
    );
    let repair = |store: &mut Store| {
        let bytes = bundle(7);
        let signatures = sign(&bytes, &[&maker.spare]);
        let trusted = store.trusted().expect("a key list");
        let verified = verify(bytes, signatures, &trusted, &policy).expect("accepted");
        store.stage(verified, None, &policy)
    };
    let error = repair(&mut store).expect_err("a refusal").to_string();
    assert!(error.starts_with("bundle version 7 is older than 99"), "{error}");
    store.replace_key_list(&list, &sign(&list, &[&maker.root]), &policy).expect("in force");
    repair(&mut store).expect("the thief's version no longer counts");
    let remarks = Store::new(&mut device_with(&maker, 1)).boot(&policy).expect("started").remarks;
    assert_eq!(remarks, Vec::<String>::new());
}

#[test]
fn forged_key_lists() {
    let maker = Maker::new();
    let policy = Policy::default();
    let mut device = device_with(&maker, 1);
    let mut store = Store::new(&mut device);
    let mut check = |list: &[u8], signatures: &[u8], message: &str| {
        let error = store.replace_key_list(list, signatures, &policy).expect_err("a refusal").to_string();
        assert!(error.starts_with(message), "{error}\nexpected {message}");
    };
    let thief = new_key();
    let mut keys = maker.keys();
    keys.push(entry("thief", "root", &thief));
    let list = key_list(2, &keys, 1);
    check(&list, &sign(&list, &[&thief]), &format!("the key list is signed by key {}", thief.public().id()));
    check(&list, &sign(&list, &[&maker.release]), "the key list has a signature by release key ");
    let old = maker.list();
    check(&old, &sign(&old, &[&maker.root]), "the key list has version 1, the device has 1: expected a higher one");
    let broken = b"{\"schema\": 1}".to_vec();
    check(&broken, &sign(&broken, &[&maker.root]), "not a key list: missing field");
    // A list whose own root keys did not sign it would lock everyone out.
    let keys = [entry("new root", "root", &thief), entry("release 1", "release", &maker.release)];
    let list = key_list(2, &keys, 1);
    check(&list, &sign(&list, &[&maker.root]), "the key list is signed by key ");
    let removed = [entry("root", "root", &maker.root), entry("release 2", "release", &maker.spare)];
    let list = key_list(2, &removed, 1);
    check(&list, &sign(&list, &[&maker.root]), "key list 2 does not know the signers of the running model");
    let unsatisfiable = key_list(2, &maker.keys(), 3);
    let message = "accept.bundle[0].signatures is 3, expected 1 to 2, the number of release keys that are not revoked";
    check(&unsatisfiable, &sign(&unsatisfiable, &[&maker.root]), message);
}

#[test]
fn a_second_install_waits_for_the_trial() {
    let maker = Maker::new();
    let policy = Policy::default();
    let mut device = device_with(&maker, 1);
    let mut store = Store::new(&mut device);
    store.stage(maker.verified(2), None, &policy).expect("staged");
    store.boot(&policy).expect("on trial");
    let error = store.stage(maker.verified(3), None, &policy).expect_err("a refusal");
    assert!(matches!(error, StoreError::OnTrial { .. }));
    let expected = "example 1.0.2 (bundle version 2) is on trial: confirm it or roll it back first";
    assert_eq!(error.to_string(), expected);
    let error = store.confirm().expect_err("a refusal").to_string();
    assert_eq!(error, "cannot confirm a slot on trial whose self-test has not passed");
}

/// Numbers that are the same in every run (Numerical Recipes' generator).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end.max(1)
    }
}

fn mutated(bytes: &[u8], seed: &mut Seeded) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    for _ in 0..=seed.below(3) {
        let at = seed.below(changed.len());
        match seed.below(6) {
            0 => changed.truncate(at),
            1 => changed[at] ^= 1 << seed.below(8),
            2 => changed[at] = [0, 0xff, b'9', b'-', b'"', b'}'][seed.below(6)],
            3 => {
                let (from, length) = (seed.below(changed.len()), seed.below(600));
                let copy: Vec<u8> = changed[from..].iter().take(length).copied().collect();
                changed.splice(at..at, copy);
            }
            4 => {
                let end = (at + seed.below(600)).min(changed.len());
                changed.drain(at..end);
            }
            _ => changed.insert(at, seed.below(256) as u8),
        }
        if changed.is_empty() {
            return changed;
        }
    }
    changed
}

#[test]
fn mutated_bundles_signed_all_the_same_never_panic_and_never_pass_unless_whole() {
    let maker = Maker::new();
    let good = bundle(1);
    let mut seed = Seeded(20_260_101);
    let (mut tried, mut passed) = (0, 0);
    for _ in 0..3000 {
        let changed = mutated(&good, &mut seed);
        let outcome = accept(&maker, &changed, &sign(&changed, &[&maker.release]));
        // What passes has passed every digest: only what no digest is of, bundle.json itself, can differ.
        if outcome.is_ok() {
            let members = |bytes: &[u8]| -> Vec<Vec<u8>> {
                let found = container::read(bytes).expect("a container");
                found.into_iter().skip(1).map(|(_, range)| bytes[range].to_vec()).collect()
            };
            assert_eq!(members(&changed), members(&good));
            passed += 1;
        }
        tried += 1;
    }
    println!("{tried} mutated bundles, {passed} of them changed in nothing but what they say of themselves");
}

#[test]
fn mutated_lists_signatures_networks_and_films_never_panic() {
    let maker = Maker::new();
    let (list, signatures, network) = (maker.list(), sign(b"x", &[&maker.release, &maker.spare]), small_network(1));
    let film = lightbox::bundle::golden::write_pgm(&golden().films[0].image);
    let mut seed = Seeded(7);
    let (mut accepted, mut tried) = ([0; 4], 0);
    for _ in 0..20_000 {
        accepted[0] += usize::from(KeyList::anchor(&mutated(&list, &mut seed)).is_ok());
        accepted[1] += usize::from(lightbox::bundle::signature::parse(&mutated(&signatures, &mut seed)).is_ok());
        accepted[2] += usize::from(lightbox::bundle::network::inspect(&mutated(&network, &mut seed)).is_ok());
        accepted[3] += usize::from(lightbox::bundle::golden::read_pgm(&mutated(&film, &mut seed)).is_ok());
        tried += 4;
    }
    println!("{tried} mutated files, of which could be read: {accepted:?}");
}
