//! Key lists, permits and signature files. What a list accepts has to be possible; nothing unsigned is followed.

#[path = "keys.rs"]
mod keys;

use keys::keys;
use lightbox::bundle::key_list::KeyList;
use lightbox::bundle::signature;

/// Whether it is one of the three.
pub fn run(bytes: &[u8]) -> bool {
    let trusted = &keys().trusted;
    let signed = keys().key.sign(bytes, "fuzz").expect("signed").into_bytes();
    let list = KeyList::anchor(bytes);
    if let Ok(list) = &list {
        assert!(list.version() > 0);
        for key in list.keys() {
            assert!(!key.name.is_empty());
        }
    }
    if let Ok(next) = trusted.successor(bytes, &signed) {
        assert!(next.version() > trusted.version());
    }
    let permit = trusted.permit(bytes, &signed).is_ok();
    // As the file beside the list: only what that very key signed is taken.
    let signatures = signature::parse(bytes).is_ok();
    if signatures {
        assert!(trusted.successor(&keys().list, bytes).is_err(), "the same version was taken again");
    }
    assert!(trusted.successor(bytes, bytes).is_err());
    list.is_ok() || permit || signatures
}
