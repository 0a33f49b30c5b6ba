//! Which keys the device trusts and for what: the key list, its successor, and permits.
//!
//! Nothing that is signed is parsed here before its signatures have been counted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::sha256_hex;
use super::signature::{self, KeyId, PublicKey, Signature, SignatureError};

/// The key list's form.
const SCHEMA: u32 = 1;
/// Longest key list or permit, in bytes.
pub const MAX_LIST_BYTES: u64 = 64 << 10;

/// The key list that this program was built with.
pub const BUILT_IN: &[u8] = include_bytes!("../../models/keys/keys.json");

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Signs key lists.
    Root,
    /// Signs what is released for everyone.
    Release,
    /// Signs what one site made for itself.
    Site,
    /// Signs what is tried in a laboratory; accepted only where the device's policy allows it.
    Test,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Root, Self::Release, Self::Site, Self::Test];

    /// The name in key lists; never renamed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Release => "release",
            Self::Site => "site",
            Self::Test => "test",
        }
    }

    /// The role of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The key list as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyListFile {
    /// 1.
    pub schema: u32,
    /// Raised with every change; a device never goes back to a lower one.
    pub version: u64,
    /// Every key ever trusted. A key that is no longer to be trusted stays and is marked.
    pub keys: Vec<KeyEntry>,
    /// Whose signatures are needed for what.
    pub accept: AcceptEntry,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// For people.
    pub name: String,
    /// `root`, `release`, `site` or `test`.
    pub role: String,
    /// The line of base64 in minisign's `.pub` file.
    pub public_key: String,
    /// Signs nothing any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

/// Whose signatures are needed; of several rules any one suffices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptEntry {
    /// For a bundle.
    pub bundle: Vec<RuleEntry>,
    /// For the next key list.
    pub key_list: Vec<RuleEntry>,
    /// For a permit to go back to an older bundle.
    pub permit: Vec<RuleEntry>,
}

/// So many signatures by keys of this role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleEntry {
    /// `root`, `release`, `site` or `test`.
    pub role: String,
    /// By as many different keys.
    pub signatures: usize,
}

/// Why signatures do not suffice, or a key list or permit is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Too long to be looked at.
    #[error("the {what} has {found} bytes, expected at most {limit}")]
    TooLong {
        /// What was to be checked.
        what: &'static str,
        /// Its length in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The signature file is none.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A trusted key is named, but did not sign this.
    #[error("the signature by key {key} ({name}) does not fit the {what}: it was changed, cut short or forged")]
    Forged {
        /// What was to be checked.
        what: &'static str,
        /// Whose signature it claims to be.
        key: KeyId,
        /// Name of that key.
        name: String,
    },
    /// Only strangers signed.
    #[error("the {what} is signed by {found}, which key list {version} does not know")]
    UnknownKeys {
        /// What was to be checked.
        what: &'static str,
        /// The strangers.
        found: String,
        /// Version of the key list.
        version: u64,
    },
    /// Too few of those who may.
    #[error("the {what} has {found}, expected {expected}")]
    TooFew {
        /// What was to be checked.
        what: &'static str,
        /// Whose signatures count and whose do not.
        found: String,
        /// The rules.
        expected: String,
    },
    /// Not JSON of this form.
    #[error("not a {what}: {reason}")]
    Json {
        /// What it should be.
        what: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// A value that cannot be.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// The key, with its parents.
        key: String,
        /// As given.
        found: String,
        /// What can be.
        expected: String,
    },
    /// Older than what the device has, or the same.
    #[error("the key list has version {found}, the device has {current}: expected a higher one")]
    OldList {
        /// Version of the file.
        found: u64,
        /// Version in use.
        current: u64,
    },
}

/// A key and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// For people.
    pub name: String,
    /// What it may sign.
    pub role: Role,
    /// The key.
    pub key: PublicKey,
    /// Signs nothing any more.
    pub revoked: bool,
}

/// So many different keys of this role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whose.
    pub role: Role,
    /// How many.
    pub signatures: usize,
}

/// Somebody who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Name of the key.
    pub name: String,
    /// What it may sign.
    pub role: Role,
    /// Its number.
    pub id: KeyId,
    /// The key as in a `.pub` file.
    pub public_key: String,
    /// Whether the key has been revoked since.
    pub revoked: bool,
}

/// The keys that the device trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyList {
    version: u64,
    keys: Vec<TrustedKey>,
    bundle: Vec<Rule>,
    key_list: Vec<Rule>,
    permit: Vec<Rule>,
}

/// Whether signatures by revoked keys count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Revoked {
    /// They do not: for everything that comes from outside.
    Refused,
    /// They do: for what the device accepted before and keeps under a digest of its own.
    Admitted,
}

impl KeyList {
    /// The first key list, which comes with the program and is trusted because the program is.
    ///
    /// # Errors
    /// When it is no key list.
    pub fn anchor(file: &[u8]) -> Result<Self, TrustError> {
        limit("key list", file, MAX_LIST_BYTES)?;
        Self::parse(file)
    }

    /// The key list that this program was built with, the first that it trusts.
    ///
    /// # Errors
    /// When the program was built with something else.
    pub fn built_in() -> Result<Self, TrustError> {
        Self::anchor(BUILT_IN)
    }

    /// The key list that follows this one: signed as this list demands and as it demands itself, so that no list can
    /// be put in force whose own root keys nobody holds.
    ///
    /// # Errors
    /// When signatures are missing or do not fit, or the list is no newer.
    pub fn successor(&self, file: &[u8], signatures: &[u8]) -> Result<Self, TrustError> {
        limit("key list", file, MAX_LIST_BYTES)?;
        let signatures = signature::parse(signatures)?;
        self.count("key list", file, &signatures, &self.key_list, Revoked::Refused)?;
        let next = Self::parse(file)?;
        next.count("key list", file, &signatures, &next.key_list, Revoked::Refused)?;
        if next.version <= self.version {
            return Err(TrustError::OldList { found: next.version, current: self.version });
        }
        Ok(next)
    }

    /// A permit to go back to one older bundle.
    ///
    /// # Errors
    /// When signatures are missing or do not fit, or the file is no permit.
    pub fn permit(&self, file: &[u8], signatures: &[u8]) -> Result<Permit, TrustError> {
        limit("permit", file, MAX_LIST_BYTES)?;
        self.count("permit", file, &signature::parse(signatures)?, &self.permit, Revoked::Refused)?;
        let permit: PermitFile = json("permit", file)?;
        value(permit.schema == SCHEMA, "schema", permit.schema, "1")?;
        value(permit.permit == "downgrade", "permit", &permit.permit, "\"downgrade\"")?;
        Ok(Permit { bundle_sha256: permit.bundle_sha256, serial: permit.serial })
    }

    /// Raised with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Every key, revoked ones too.
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// Who signed a bundle, if that suffices. `bytes` are not looked into.
    pub(super) fn bundle_signers(
        &self,
        bytes: &[u8],
        signatures: &[u8],
        test_keys: bool,
        revoked: Revoked,
    ) -> Result<Vec<Signer>, TrustError> {
        let rules: Vec<Rule> =
            self.bundle.iter().copied().filter(|rule| test_keys || rule.role != Role::Test).collect();
        self.count("bundle", bytes, &signature::parse(signatures)?, &rules, revoked)
    }

    /// Whether what this key has signed still counts in the ratchet.
    pub(super) fn counts(&self, public_key: &str, test_keys: bool) -> bool {
        self.keys
            .iter()
            .any(|key| key.key.as_base64() == public_key && !key.revoked && (test_keys || key.role != Role::Test))
    }

    /// Everyone whose signature fits, if they satisfy one of `rules`.
    fn count(
        &self,
        what: &'static str,
        bytes: &[u8],
        signatures: &[Signature],
        rules: &[Rule],
        revoked: Revoked,
    ) -> Result<Vec<Signer>, TrustError> {
        let (mut signers, mut strangers): (Vec<Signer>, Vec<String>) = (Vec::new(), Vec::new());
        let mut repeated = 0;
        for signature in signatures {
            let Some(key) = self.keys.iter().find(|key| key.key.id() == signature.key()) else {
                strangers.push(format!("key {}", signature.key()));
                continue;
            };
            if !key.key.signed(bytes, signature) {
                return Err(TrustError::Forged { what, key: signature.key(), name: key.name.clone() });
            }
            if signers.iter().any(|signer| signer.id == key.key.id()) {
                repeated += 1;
                continue;
            }
            signers.push(Signer {
                name: key.name.clone(),
                role: key.role,
                id: key.key.id(),
                public_key: key.key.as_base64().to_owned(),
                revoked: key.revoked,
            });
        }
        if signers.is_empty() {
            return Err(TrustError::UnknownKeys { what, found: strangers.join(" and "), version: self.version });
        }
        let valid = |signer: &&Signer| revoked == Revoked::Admitted || !signer.revoked;
        let satisfied = |rule: &Rule| {
            signers.iter().filter(valid).filter(|signer| signer.role == rule.role).count() >= rule.signatures
        };
        if rules.iter().any(satisfied) {
            return Ok(signers);
        }
        let mut found: Vec<String> = signers
            .iter()
            .map(|signer| {
                let state = if signer.revoked { "revoked " } else { "" };
                format!("a signature by {state}{} key {} ({})", signer.role, signer.id, signer.name)
            })
            .collect();
        if repeated > 0 {
            found.push(format!("{repeated} more by the same key, which count once"));
        }
        found.extend(strangers.iter().map(|stranger| format!("a signature by unknown {stranger}")));
        let expected = rules.iter().map(|rule| match rule.signatures {
            1 => format!("1 by a {} key", rule.role),
            n => format!("{n} by different {} keys", rule.role),
        });
        let expected = match rules {
            [] => "none at all: no key may sign it here".to_owned(),
            _ => expected.collect::<Vec<_>>().join(" or "),
        };
        Err(TrustError::TooFew { what, found: found.join(", "), expected })
    }

    fn parse(file: &[u8]) -> Result<Self, TrustError> {
        let file: KeyListFile = json("key list", file)?;
        value(file.schema == SCHEMA, "schema", file.schema, "1")?;
        value(file.version > 0, "version", file.version, "a number from 1")?;
        let mut keys = Vec::with_capacity(file.keys.len());
        let (mut ids, mut points) = (BTreeSet::new(), BTreeSet::new());
        for (index, entry) in file.keys.into_iter().enumerate() {
            let key = PublicKey::from_base64(&entry.public_key)?;
            // Numbers are chosen freely: the same key under two numbers must not count twice either.
            let new = ids.insert(key.id()) && points.insert(key.point());
            value(new, &format!("keys[{index}].public_key"), key.id(), "a key that is not in the list yet")?;
            let named = !entry.name.is_empty() && entry.name.len() <= 60 && !entry.name.contains(char::is_control);
            value(named, &format!("keys[{index}].name"), &entry.name, "1 to 60 bytes of text")?;
            let role = role(&format!("keys[{index}].role"), &entry.role)?;
            keys.push(TrustedKey { name: entry.name, role, key, revoked: entry.revoked });
        }
        let rules = |purpose: &str, entries: Vec<RuleEntry>| {
            let rule = |(index, entry): (usize, RuleEntry)| {
                let at = format!("accept.{purpose}[{index}]");
                let role = role(&format!("{at}.role"), &entry.role)?;
                let able = keys.iter().filter(|key| key.role == role && !key.revoked).count();
                let possible = (1..=able).contains(&entry.signatures);
                let expected = format!("1 to {able}, the number of {role} keys that are not revoked");
                value(possible, &format!("{at}.signatures"), entry.signatures, &expected)?;
                Ok(Rule { role, signatures: entry.signatures })
            };
            entries.into_iter().enumerate().map(rule).collect::<Result<Vec<_>, TrustError>>()
        };
        let bundle = rules("bundle", file.accept.bundle)?;
        let key_list = rules("key_list", file.accept.key_list)?;
        let permit = rules("permit", file.accept.permit)?;
        Ok(Self { version: file.version, keys, bundle, key_list, permit })
    }
}

/// Allows one bundle although a newer one has been confirmed; as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermitFile {
    /// 1.
    pub schema: u32,
    /// `downgrade`.
    pub permit: String,
    /// Which bundle, lower-case hexadecimal.
    pub bundle_sha256: String,
    /// Raised with every permit; a device takes none that is not higher than the last it used.
    pub serial: u64,
}

impl PermitFile {
    /// Allows the bundle of these bytes.
    pub fn downgrade(bundle: &[u8], serial: u64) -> Self {
        Self { schema: SCHEMA, permit: "downgrade".to_owned(), bundle_sha256: sha256_hex(bundle), serial }
    }
}

/// A permit whose signatures suffice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Which bundle.
    pub(super) bundle_sha256: String,
    /// Raised with every permit.
    pub(super) serial: u64,
}

fn limit(what: &'static str, file: &[u8], limit: u64) -> Result<(), TrustError> {
    let found = file.len() as u64;
    if found > limit { Err(TrustError::TooLong { what, found, limit }) } else { Ok(()) }
}

fn json<T: serde::de::DeserializeOwned>(what: &'static str, file: &[u8]) -> Result<T, TrustError> {
    serde_json::from_slice(file).map_err(|error| TrustError::Json { what, reason: error.to_string() })
}

fn value(holds: bool, key: &str, found: impl ToString, expected: &str) -> Result<(), TrustError> {
    if holds {
        return Ok(());
    }
    Err(TrustError::Value { key: key.to_owned(), found: found.to_string(), expected: expected.to_owned() })
}

fn role(key: &str, name: &str) -> Result<Role, TrustError> {
    Role::from_name(name).ok_or_else(|| TrustError::Value {
        key: key.to_owned(),
        found: format!("{name:?}"),
        expected: Role::ALL.map(|role| role.name()).join(", "),
    })
}
