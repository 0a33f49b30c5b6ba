//! Signatures in the format of minisign: Ed25519 over the BLAKE2b-512 digest of a whole file.
//!
//! A `.minisig` file has four lines for each signature, one signature after the other; the ordinary `minisign -V`
//! checks the first. Must not look into the signed bytes.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest signature file, in bytes.
pub const MAX_SIGNATURES_BYTES: u64 = 16 << 10;
/// Most signatures in a file.
const MAX_SIGNATURES: usize = 16;

/// A key's number as minisign prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

/// A signature or key that is not in the format of minisign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Too long.
    #[error("the signature file has {found} bytes, expected at most {MAX_SIGNATURES_BYTES}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// Not text.
    #[error("the signature file is not text in UTF-8")]
    NotText,
    /// Not four lines a signature.
    #[error("the signature file has {found} lines, expected four for each of 1 to {MAX_SIGNATURES} signatures")]
    Lines {
        /// How many there are.
        found: usize,
    },
    /// A line that is not what it should be.
    #[error("signature {number} is not in the format of minisign")]
    Form {
        /// Which signature, from 1.
        number: usize,
    },
    /// Made over the file itself, in the manner of old versions.
    #[error("signature {number} by key {key} is not prehashed: sign again with minisign 0.10 or later, without -l")]
    Legacy {
        /// Which signature, from 1.
        number: usize,
        /// Whose.
        key: KeyId,
    },
    /// A public key that is not one.
    #[error("{found:?} is not a minisign public key: expected 56 characters of base64 that begin with RW")]
    PublicKey {
        /// As given.
        found: String,
    },
}

/// A public key of minisign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    key: minisign_verify::PublicKey,
    id: KeyId,
    base64: String,
}

impl PublicKey {
    /// From the line of base64 in a `.pub` file.
    ///
    /// # Errors
    /// When the text is not such a line.
    pub fn from_base64(text: &str) -> Result<Self, SignatureError> {
        let refused = || SignatureError::PublicKey { found: text.chars().take(80).collect() };
        let bytes = STANDARD.decode(text).map_err(|_| refused())?;
        let key = minisign_verify::PublicKey::from_base64(text).map_err(|_| refused())?;
        let id = bytes.get(2..10).and_then(|id| id.try_into().ok()).ok_or_else(refused)?;
        Ok(Self { key, id: KeyId(id), base64: text.to_owned() })
    }

    /// From a `.pub` file: a comment and a line of base64, or that line alone.
    ///
    /// # Errors
    /// When there is no such line.
    pub fn from_file_text(text: &str) -> Result<Self, SignatureError> {
        Self::from_base64(text.lines().find(|line| !line.starts_with("untrusted comment:")).unwrap_or("").trim())
    }

    /// The key's number, chosen by whoever made it.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// As in a `.pub` file.
    pub fn as_base64(&self) -> &str {
        &self.base64
    }

    /// The Ed25519 point, without the number.
    pub(super) fn point(&self) -> Vec<u8> {
        STANDARD.decode(&self.base64).map(|bytes| bytes[10..].to_vec()).unwrap_or_default()
    }

    /// Whether `signature` is this key's signature of `bytes`.
    pub(super) fn signed(&self, bytes: &[u8], signature: &Signature) -> bool {
        self.key.verify(bytes, &signature.signature, false).is_ok()
    }
}

/// One signature, not yet compared with anything.
pub struct Signature {
    signature: minisign_verify::Signature,
    key: KeyId,
}

impl Signature {
    /// Number of the key that is said to have made it.
    pub fn key(&self) -> KeyId {
        self.key
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The signatures in a `.minisig` file.
///
/// # Errors
/// When it is too long or anything else than four lines for each signature.
pub fn parse(file: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    if file.len() as u64 > MAX_SIGNATURES_BYTES {
        return Err(SignatureError::TooLong { found: file.len() });
    }
    let text = std::str::from_utf8(file).map_err(|_| SignatureError::NotText)?;
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() || !lines.len().is_multiple_of(4) || lines.len() > 4 * MAX_SIGNATURES {
        return Err(SignatureError::Lines { found: lines.len() });
    }
    lines.chunks(4).enumerate().map(|(index, lines)| signature(index + 1, lines)).collect()
}

fn signature(number: usize, lines: &[&str]) -> Result<Signature, SignatureError> {
    let form = || SignatureError::Form { number };
    if !lines[0].starts_with("untrusted comment: ") {
        return Err(form());
    }
    let bytes = STANDARD.decode(lines[1]).map_err(|_| form())?;
    let key = KeyId(bytes.get(2..10).and_then(|id| id.try_into().ok()).ok_or_else(form)?);
    if bytes.starts_with(b"Ed") {
        return Err(SignatureError::Legacy { number, key });
    }
    let signature = minisign_verify::Signature::decode(&lines.join("\n")).map_err(|_| form())?;
    Ok(Signature { signature, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of minisign's own documentation, which signs the four bytes "test".
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const PREHASHED: &str = "untrusted comment: signature from minisign secret key\n\
        RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
        trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
        wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n";

    #[test]
    fn a_signature_of_minisign_is_read_and_holds_for_its_file_alone() {
        let key = PublicKey::from_base64(KEY).expect("a key");
        assert_eq!(key.id().to_string(), "E7620F1842B4E81F");
        let signatures = parse(PREHASHED.as_bytes()).expect("a signature");
        assert_eq!((signatures.len(), signatures[0].key()), (1, key.id()));
        assert!(key.signed(b"test", &signatures[0]));
        assert!(!key.signed(b"Test", &signatures[0]));
    }

    #[test]
    fn a_changed_trusted_comment_breaks_the_signature() {
        let key = PublicKey::from_base64(KEY).expect("a key");
        let changed = PREHASHED.replace("file:test", "file:best");
        assert!(!key.signed(b"test", &parse(changed.as_bytes()).expect("still a signature")[0]));
    }

    #[track_caller]
    fn check(file: &str, message: &str) {
        assert_eq!(parse(file.as_bytes()).expect_err("a refusal").to_string(), message);
    }

    #[test]
    fn what_is_not_a_signature_file_is_refused() {
        check("", "the signature file has 0 lines, expected four for each of 1 to 16 signatures");
        check("a\nb\nc\n", "the signature file has 3 lines, expected four for each of 1 to 16 signatures");
        check(&"x\n".repeat(68), "the signature file has 68 lines, expected four for each of 1 to 16 signatures");
        check(&"x".repeat(20_000), "the signature file has 20000 bytes, expected at most 16384");
        check("a\nb\nc\nd\n", "signature 1 is not in the format of minisign");
        check(&format!("{PREHASHED}{}", "x\n".repeat(4)), "signature 2 is not in the format of minisign");
        // "RWQ" is "Ed" followed by the key's number.
        let legacy = "signature 1 by key E7620F1842B4E81F is not prehashed: \
            sign again with minisign 0.10 or later, without -l";
        check(&PREHASHED.replace("RUQf", "RWQf"), legacy);
        assert_eq!(parse(&[0xff; 10]).expect_err("a refusal"), SignatureError::NotText);
        let key = PublicKey::from_base64("RWQ").expect_err("a refusal").to_string();
        assert_eq!(key, "\"RWQ\" is not a minisign public key: expected 56 characters of base64 that begin with RW");
    }
}
