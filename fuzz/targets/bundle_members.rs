//! The members of a bundle behind fitting lists of digests, so that what is inside is reached. The input is members one
//! after the other: a byte for which, two for its length (the last may be longer), and its bytes.

#[path = "keys.rs"]
mod keys;

use std::collections::BTreeMap;

use keys::keys;
use lightbox::bundle::container::{Member, write};
use lightbox::bundle::{Policy, sha256_hex, verify};
use serde_json::{Value, json};

const KINDS: [Member; 7] = [
    Member::Contents,
    Member::Manifest,
    Member::Card,
    Member::Network,
    Member::Expected,
    Member::Film(0),
    Member::Film(1),
];

/// Whether it is accepted.
pub fn run(mut bytes: &[u8]) -> bool {
    let mut members: BTreeMap<Member, Vec<u8>> = BTreeMap::new();
    while let [kind, low, high, rest @ ..] = bytes {
        let member = KINDS[usize::from(*kind) % KINDS.len()];
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        members.insert(member, rest[..length].to_vec());
        bytes = &rest[length..];
    }
    for member in &KINDS[..6] {
        members.entry(*member).or_default();
    }
    list_digests(&mut members);
    let members: Vec<(Member, &[u8])> = members.iter().map(|(member, bytes)| (*member, bytes.as_slice())).collect();
    let Ok(sealed) = write(&members) else { return false };
    let signature = keys().key.sign(&sealed, "fuzz").expect("signed").into_bytes();
    let policy = Policy { unaudited: true, ..Policy::default() };
    let Ok(bundle) = verify(sealed, signature, &keys().trusted, &policy) else { return false };
    let point = bundle.manifest().rule.operating_point;
    assert!(point.rule_out().get() <= point.rule_in().get());
    assert!(bundle.into_parts().golden.tolerance.logits <= 0.1);
    true
}

/// Makes both lists of digests fit, where they are lists at all.
fn list_digests(members: &mut BTreeMap<Member, Vec<u8>>) {
    let entry = |bytes: &[u8]| json!({"sha256": sha256_hex(bytes), "bytes": bytes.len()});
    if let Ok(Value::Object(mut manifest)) = serde_json::from_slice::<Value>(&members[&Member::Manifest]) {
        let mut files = json!({});
        for member in [Member::Card, Member::Network] {
            files[member.to_string()] = json!({"sha256": sha256_hex(&members[&member])});
        }
        manifest.insert("files".into(), files);
        members.insert(Member::Manifest, Value::Object(manifest).to_string().into_bytes());
    }
    if let Ok(Value::Object(mut contents)) = serde_json::from_slice::<Value>(&members[&Member::Contents]) {
        let listed = members.iter().filter(|(member, _)| **member != Member::Contents);
        let listed: BTreeMap<String, Value> =
            listed.map(|(member, bytes)| (member.to_string(), entry(bytes))).collect();
        contents.insert("members".into(), json!(listed));
        members.insert(Member::Contents, Value::Object(contents).to_string().into_bytes());
    }
}
