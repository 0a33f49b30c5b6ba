//! Digests of rows, each over the digest of the row before.

use std::fmt;

use rusqlite::types::Value;
use sha2::{Digest as _, Sha256};

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What the first row follows.
    pub const NONE: Self = Self([0; 32]);

    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// As it lies in a column; `None` when it has another length.
    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The digest of a row: of the digest before it and the row's values in the order of its form.
///
/// Every value goes in as a byte for its kind, then big-endian: whole numbers and floats as 8 bytes, text and bytes
/// behind their length in 8 bytes. So no two rows have the same bytes.
pub(super) fn of_row(previous: Digest, values: &[Value]) -> Digest {
    let mut hash = Sha256::new_with_prefix(b"lightbox journal row\n");
    hash.update(previous.0);
    for value in values {
        add(&mut hash, value);
    }
    Digest(hash.finalize().into())
}

/// The digest of identifiers that a row carries in their place.
pub(super) fn of_identity<'a>(salt: &[u8], fields: impl IntoIterator<Item = &'a str>) -> Digest {
    let mut hash = Sha256::new_with_prefix(b"lightbox journal identity\n");
    add(&mut hash, &Value::Blob(salt.to_vec()));
    for field in fields {
        add(&mut hash, &Value::Text(field.to_owned()));
    }
    Digest(hash.finalize().into())
}

/// The digest of a map that a row carries in its place.
pub(super) fn of_map(bytes: &[u8]) -> Digest {
    let mut hash = Sha256::new_with_prefix(b"lightbox journal map\n");
    hash.update(bytes);
    Digest(hash.finalize().into())
}

fn add(hash: &mut Sha256, value: &Value) {
    let with_length = |hash: &mut Sha256, kind: u8, bytes: &[u8]| {
        hash.update([kind]);
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    match value {
        Value::Null => hash.update([0]),
        Value::Integer(number) => {
            hash.update([1]);
            hash.update(number.to_be_bytes());
        }
        Value::Real(number) => {
            hash.update([2]);
            hash.update(number.to_bits().to_be_bytes());
        }
        Value::Text(text) => with_length(hash, 3, text.as_bytes()),
        Value::Blob(bytes) => with_length(hash, 4, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_depends_on_every_value_its_kind_and_its_place() {
        let text = |text: &str| Value::Text(text.to_owned());
        let rows = [
            vec![],
            vec![Value::Null],
            vec![Value::Null, Value::Null],
            vec![Value::Integer(0)],
            vec![Value::Real(0.0)],
            vec![Value::Real(-0.0)],
            vec![text("")],
            vec![Value::Blob(vec![])],
            vec![text("ab"), text("c")],
            vec![text("a"), text("bc")],
            vec![text("abc")],
        ];
        for (n, row) in rows.iter().enumerate() {
            for (m, other) in rows.iter().enumerate() {
                assert_eq!(of_row(Digest::NONE, row) == of_row(Digest::NONE, other), n == m, "{row:?}, {other:?}");
            }
            assert_ne!(of_row(Digest::NONE, row), of_row(Digest::of(b"x"), row));
        }
    }

    #[test]
    fn the_same_identity_under_another_salt_has_another_digest() {
        let fields = ["7", "", "1.2", "1.2.3", "1.2.3.4"];
        assert_ne!(of_identity(&[1; 16], fields), of_identity(&[2; 16], fields));
        assert_eq!(of_identity(&[1; 16], fields), of_identity(&[1; 16], fields));
        let with_class = fields.into_iter().chain([""]);
        assert_ne!(of_identity(&[1; 16], fields), of_identity(&[1; 16], with_class), "an empty field is a field");
    }
}
