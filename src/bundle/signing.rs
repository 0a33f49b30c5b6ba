//! Makes keys and signatures; on the maker's side only.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, SecretKey, SecretKeyBox};

use super::signature::{self, PublicKey, SignatureError};

/// A key that cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// From minisign: wrong password, not a key, no randomness.
    #[error("cannot {what}: {reason}")]
    Minisign {
        /// What was tried.
        what: &'static str,
        /// What minisign says.
        reason: String,
    },
    /// The public part cannot be read back.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// A secret key, ready to sign.
pub struct SigningKey {
    secret: SecretKey,
    public: PublicKey,
}

/// A new pair of keys as the text of minisign's files.
pub struct KeyFiles {
    /// The secret part.
    pub secret: String,
    /// The public part.
    pub public: String,
}

/// Where the password of a secret key comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// The key has none.
    None,
    /// As given.
    Given(String),
    /// Whoever sits at the terminal is asked.
    Ask,
}

/// Makes a pair of keys.
///
/// # Errors
/// When the system has no randomness, or not the memory that minisign takes to slow down guessing (1 GiB).
pub fn generate(password: Password) -> Result<KeyFiles, SigningError> {
    let failed = |error: minisign::PError| SigningError::Minisign { what: "make a key", reason: error.to_string() };
    let pair = match password {
        Password::None => KeyPair::generate_unencrypted_keypair(),
        Password::Given(password) => KeyPair::generate_encrypted_keypair(Some(password)),
        Password::Ask => KeyPair::generate_encrypted_keypair(None),
    };
    let pair = pair.map_err(failed)?;
    let secret = pair.sk.to_box(None).map_err(failed)?.into_string();
    let public = pair.pk.to_box().map_err(failed)?.into_string();
    Ok(KeyFiles { secret, public })
}

fn secret_box(file: &str) -> Result<SecretKeyBox, SigningError> {
    SecretKeyBox::from_string(file)
        .map_err(|error| SigningError::Minisign { what: "read the secret key", reason: error.to_string() })
}

impl SigningKey {
    /// From the text of a secret key file; the password is used only if the key has one.
    ///
    /// # Errors
    /// When it is no secret key or the password is not its own.
    pub fn open(file: &str, password: Password) -> Result<Self, SigningError> {
        let failed =
            |error: minisign::PError| SigningError::Minisign { what: "open the secret key", reason: error.to_string() };
        let plain = STANDARD.decode(file.lines().nth(1).unwrap_or("").trim()).ok();
        let plain = plain.and_then(|bytes| SecretKey::from_bytes(&bytes).ok()).filter(|secret| !secret.is_encrypted());
        let secret = match (plain, password) {
            // Its own checksum is not looked at: `minisign -W` writes none. The probe below tells a damaged key.
            (Some(secret), _) => secret,
            (None, Password::None) => secret_box(file)?.into_unencrypted_secret_key().map_err(failed)?,
            (None, Password::Given(password)) => secret_box(file)?.into_secret_key(Some(password)).map_err(failed)?,
            (None, Password::Ask) => secret_box(file)?.into_secret_key(None).map_err(failed)?,
        };
        let public = minisign::PublicKey::from_secret_key(&secret).map_err(failed)?;
        let public = PublicKey::from_base64(&public.to_base64())?;
        let key = Self { secret, public };
        let probe = signature::parse(key.sign(b"probe", "probe")?.as_bytes())?;
        if !probe.iter().all(|signature| key.public.signed(b"probe", signature)) {
            let reason = "its public part does not belong to its secret part".to_owned();
            return Err(SigningError::Minisign { what: "use the secret key", reason });
        }
        Ok(key)
    }

    /// The public part.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Four lines of a `.minisig` file for `bytes`; `comment` is signed with them.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> Result<String, SigningError> {
        let untrusted = format!("signature from lightbox key {}", self.public.id());
        let signed = minisign::sign(None, &self.secret, bytes, Some(comment), Some(&untrusted));
        let signed = signed.map_err(|error| SigningError::Minisign { what: "sign", reason: error.to_string() })?;
        Ok(signed.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_a_password_opens_and_one_that_is_no_key_does_not() {
        let files = generate(Password::None).expect("randomness");
        let key = SigningKey::open(&files.secret, Password::None).expect("a key");
        let public = PublicKey::from_file_text(&files.public).expect("a key");
        assert_eq!(key.public(), &public);
        let signature = key.sign(b"content", "comment").expect("signed");
        assert!(public.signed(b"content", &crate::bundle::signature::parse(signature.as_bytes()).expect("one")[0]));
        for bad in ["", "untrusted comment: x\n", "untrusted comment: x\nAAAA\n"] {
            assert!(SigningKey::open(bad, Password::None).is_err(), "{bad:?}");
        }
        let mut bytes = STANDARD.decode(files.secret.lines().nth(1).expect("a key")).expect("base64");
        bytes[80] ^= 1;
        let damaged = format!("untrusted comment: x\n{}\n", STANDARD.encode(bytes));
        let error = SigningKey::open(&damaged, Password::None).err().expect("a refusal").to_string();
        assert_eq!(error, "cannot use the secret key: its public part does not belong to its secret part");
    }
}
