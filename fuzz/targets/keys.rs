//! Keys for targets whose input has to be signed before it is parsed. They are public, and sign nothing that matters.

use std::sync::OnceLock;

use lightbox::bundle::key_list::KeyList;
use lightbox::bundle::signing::{self, Password, SigningKey};

/// A key that signs whatever it is given, and the list that trusts it for everything.
pub struct Keys {
    pub key: SigningKey,
    pub list: Vec<u8>,
    pub trusted: KeyList,
}

/// The same in the whole process; made anew in the next, so nothing found depends on it.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let files = signing::generate(Password::None).expect("randomness");
        let key = SigningKey::open(&files.secret, Password::None).expect("a key");
        let list = serde_json::json!({
            "schema": 1, "version": 1,
            "keys": [
                {"name": "root", "role": "root", "public_key": key.public().as_base64()},
            ],
            "accept": {
                "bundle": [{"role": "root", "signatures": 1}],
                "key_list": [{"role": "root", "signatures": 1}],
                "permit": [{"role": "root", "signatures": 1}],
            }
        });
        let list = list.to_string().into_bytes();
        let trusted = KeyList::anchor(&list).expect("a key list");
        Keys { key, list, trusted }
    })
}
