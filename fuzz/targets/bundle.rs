//! The bytes of a bundle, signed by a key that the device trusts: a careless or malicious maker. What is accepted has
//! to be in the one form, so that the same members always give the same bytes.

#[path = "keys.rs"]
mod keys;

use keys::keys;
use lightbox::bundle::container::{Member, read, write};
use lightbox::bundle::{Policy, verify};

/// Whether it is accepted.
pub fn run(bytes: &[u8]) -> bool {
    if let Ok(members) = read(bytes) {
        let members: Vec<(Member, &[u8])> =
            members.into_iter().map(|(member, range)| (member, &bytes[range])).collect();
        assert!(write(&members).is_ok_and(|again| again == bytes), "a container in another form was read");
    }
    let policy = Policy { unaudited: true, ..Policy::default() };
    // Unsigned, nothing is looked at.
    assert!(verify(bytes.to_vec(), Vec::new(), &keys().trusted, &policy).is_err());
    let signature = keys().key.sign(bytes, "fuzz").expect("signed");
    let accepted = verify(bytes.to_vec(), signature.into_bytes(), &keys().trusted, &policy);
    if let Ok(bundle) = &accepted {
        assert!(!bundle.golden().films.is_empty());
        assert_eq!(bundle.bytes(), bytes);
    }
    accepted.is_ok()
}
