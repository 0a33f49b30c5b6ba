//! From untrusted bytes to a [`VerifiedBundle`], and from a model to the bytes of a bundle.
//!
//! The order is fixed: length, signatures, and only then the container and what is in it. Only [`verify`] and its
//! twin for what the device keeps make a [`VerifiedBundle`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;

use super::container::{self, ContainerError, MAX_BUNDLE_BYTES, Member};
use super::contents::{Contents, ContentsError, ContentsFile, MemberEntry, ProgramVersion};
use super::directory::{VerifiedModel, sha256_hex};
use super::golden::{self, Golden, GoldenError};
use super::key_list::{KeyList, Revoked, Signer, TrustError};
use super::manifest::{Manifest, ManifestError, ManifestFile};
use super::network::{self, NetworkError};

/// What this device accepts and how it tries what it accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Accept a bundle that nobody has audited.
    pub unaudited: bool,
    /// Count signatures by keys of the role `test`.
    pub test_keys: bool,
    /// How many starts a bundle on trial has to be confirmed in.
    pub trial_boots: u8,
    /// After how many good readings a bundle on trial is confirmed without a button; `None` for never.
    pub confirm_after_readings: Option<u32>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { unaudited: false, test_keys: false, trial_boots: 3, confirm_after_readings: None }
    }
}

/// A bundle that is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Too long, or nothing.
    #[error("the bundle has {found} bytes, expected 1 to {MAX_BUNDLE_BYTES}")]
    Length {
        /// Its length.
        found: u64,
    },
    /// Its signatures do not suffice.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Its container is not in the one form.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// What it says of itself is not understood.
    #[error("bundle.json: {0}")]
    Contents(#[from] ContentsError),
    /// A member is another than the bundle says.
    #[error("{member} has SHA-256 {found}, {by} says {expected}")]
    Digest {
        /// Which member.
        member: Member,
        /// Digest as it is.
        found: String,
        /// Digest that it should have.
        expected: String,
        /// Who says so.
        by: Member,
    },
    /// Members and their list differ.
    #[error("{by} lists {listed:?}, the bundle has {found:?}")]
    Members {
        /// Whose list.
        by: Member,
        /// The list.
        listed: Vec<String>,
        /// What is there.
        found: Vec<String>,
    },
    /// The model's manifest is not understood.
    #[error("manifest.json: {0}")]
    Manifest(#[from] ManifestError),
    /// The network holds what no model may hold.
    #[error("model.onnx: {0}")]
    Network(#[from] NetworkError),
    /// The golden films cannot be used.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// The card is not text.
    #[error("MODEL_CARD.md is not text in UTF-8")]
    Card,
    /// Made for a newer program.
    #[error("the bundle needs lightbox {needed} or newer, this is {current}")]
    Program {
        /// The oldest that will do.
        needed: ProgramVersion,
        /// This one.
        current: ProgramVersion,
    },
    /// Nobody has audited it.
    #[error("the bundle has no audit figures, and the policy of this device demands them")]
    Unaudited,
}

/// A bundle whose signatures suffice and whose every part is understood.
#[derive(Debug)]
pub struct VerifiedBundle {
    bytes: Vec<u8>,
    signatures: Vec<u8>,
    /// Of use to a store only; a program that starts need not wait for it.
    sha256: OnceLock<String>,
    signers: Vec<Signer>,
    contents: Contents,
    manifest: Manifest,
    manifest_sha256: String,
    network: Range<usize>,
    network_sha256: String,
    card: String,
    golden: Golden,
}

/// What a bundle is made of, once its bytes are no longer needed.
#[derive(Debug)]
pub struct BundleParts {
    /// The model for the engine.
    pub model: VerifiedModel,
    /// What the bundle is beyond it.
    pub contents: Contents,
    /// What the network has to answer at every start.
    pub golden: Golden,
    /// Who signed.
    pub signers: Vec<Signer>,
}

impl VerifiedBundle {
    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file beside it.
    pub fn signatures(&self) -> &[u8] {
        &self.signatures
    }

    /// Digest of the whole file, lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| sha256_hex(&self.bytes))
    }

    /// Whose signatures fit.
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// What the bundle is beyond its model.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// What is known of the model.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Digest of the network, lower-case hexadecimal.
    pub fn network_sha256(&self) -> &str {
        &self.network_sha256
    }

    /// For people.
    pub fn card(&self) -> &str {
        &self.card
    }

    /// The golden films.
    pub fn golden(&self) -> &Golden {
        &self.golden
    }

    /// Name and content of every member, in the order of the file.
    pub fn members(&self) -> Vec<(String, &[u8])> {
        // It was read when the bundle was verified.
        let members = container::read(&self.bytes).unwrap_or_default();
        members.into_iter().map(|(member, range)| (member.to_string(), &self.bytes[range])).collect()
    }

    /// Takes the bundle apart without a second copy of the network.
    pub fn into_parts(self) -> BundleParts {
        let network = (self.bytes, self.network);
        BundleParts {
            model: VerifiedModel::new(self.manifest, self.manifest_sha256, network, self.network_sha256),
            contents: self.contents,
            golden: self.golden,
            signers: self.signers,
        }
    }
}

/// Verifies a bundle that came from outside.
///
/// # Errors
/// With the first thing that is wrong; nothing of the bundle is parsed before its signatures suffice.
pub fn verify(
    bytes: Vec<u8>,
    signatures: Vec<u8>,
    trusted: &KeyList,
    policy: &Policy,
) -> Result<VerifiedBundle, BundleError> {
    let bundle = check(bytes, signatures, trusted, policy.test_keys, Revoked::Refused)?;
    if bundle.contents.audit.is_empty() && !policy.unaudited {
        return Err(BundleError::Unaudited);
    }
    Ok(bundle)
}

/// Verifies a bundle that this device accepted before; the caller compares its digest with the one that was kept.
pub(super) fn verify_kept(
    bytes: Vec<u8>,
    signatures: Vec<u8>,
    trusted: &KeyList,
) -> Result<VerifiedBundle, BundleError> {
    check(bytes, signatures, trusted, true, Revoked::Admitted)
}

fn check(
    bytes: Vec<u8>,
    signatures: Vec<u8>,
    trusted: &KeyList,
    test_keys: bool,
    revoked: Revoked,
) -> Result<VerifiedBundle, BundleError> {
    let found = bytes.len() as u64;
    if found == 0 || found > MAX_BUNDLE_BYTES {
        return Err(BundleError::Length { found });
    }
    let signers = trusted.bundle_signers(&bytes, &signatures, test_keys, revoked)?;

    let members = container::read(&bytes)?;
    let content = |member: Member| {
        let range = members.iter().find(|(m, _)| *m == member).map(|(_, range)| range.clone());
        range.ok_or(BundleError::Container(ContainerError::Missing(member)))
    };
    let contents_file = ContentsFile::parse(&bytes[content(Member::Contents)?])?;
    let contents = contents_file.usable()?;
    let current = ProgramVersion::current();
    if contents.minimum_program > current {
        return Err(BundleError::Program { needed: contents.minimum_program, current });
    }
    let digests = compare_members(&bytes, &members, &contents_file)?;

    let manifest_file = ManifestFile::parse(&bytes[content(Member::Manifest)?])?;
    compare_manifest(&manifest_file, &digests)?;
    let manifest = Manifest::try_from(manifest_file)?;
    let card = std::str::from_utf8(&bytes[content(Member::Card)?]).map_err(|_| BundleError::Card)?.to_owned();
    let films: Vec<&[u8]> = members
        .iter()
        .filter(|(member, _)| matches!(member, Member::Film(_)))
        .map(|(_, range)| &bytes[range.clone()])
        .collect();
    let golden = Golden::parse(&bytes[content(Member::Expected)?], &films)?;
    let network = content(Member::Network)?;
    network::inspect(&bytes[network.clone()])?;
    let digest = |member| digests.get(&member).cloned().unwrap_or_default();
    Ok(VerifiedBundle {
        sha256: OnceLock::new(),
        manifest_sha256: digest(Member::Manifest),
        network_sha256: digest(Member::Network),
        bytes,
        signatures,
        signers,
        contents,
        manifest,
        network,
        card,
        golden,
    })
}

/// Digest of each member but `bundle.json`, which lists them all.
fn compare_members(
    bytes: &[u8],
    members: &[(Member, Range<usize>)],
    file: &ContentsFile,
) -> Result<BTreeMap<Member, String>, BundleError> {
    let mut digests = BTreeMap::new();
    for (member, range) in members {
        if *member != Member::Contents {
            digests.insert(*member, sha256_hex(&bytes[range.clone()]));
        }
    }
    let mut listed: Vec<String> = file.members.keys().cloned().collect();
    let mut found: Vec<String> = digests.keys().map(Member::to_string).collect();
    listed.sort();
    found.sort();
    // Films are numbered without gaps, so that film 3 is the fourth of the list.
    let films = digests.keys().filter(|member| matches!(member, Member::Film(_)));
    let gap = films.enumerate().any(|(index, member)| *member != Member::Film(index as u8));
    if listed != found || gap {
        return Err(BundleError::Members { by: Member::Contents, listed, found });
    }
    for (member, digest) in &digests {
        let entry = &file.members[&member.to_string()];
        if entry.sha256 != *digest {
            let (found, expected) = (digest.clone(), entry.sha256.clone());
            return Err(BundleError::Digest { member: *member, found, expected, by: Member::Contents });
        }
    }
    Ok(digests)
}

/// The model's own list of files has to be of these files.
fn compare_manifest(file: &ManifestFile, digests: &BTreeMap<Member, String>) -> Result<(), BundleError> {
    let listed: Vec<String> = file.files.keys().cloned().collect();
    let known = |name: &String| matches!(Member::from_name(name), Some(Member::Network | Member::Card));
    if !listed.iter().all(known) || !file.files.contains_key(&Member::Network.to_string()) {
        let found = vec![Member::Card.to_string(), Member::Network.to_string()];
        return Err(BundleError::Members { by: Member::Manifest, listed, found });
    }
    for (member, found) in digests {
        let Some(entry) = file.files.get(&member.to_string()) else { continue };
        if entry.sha256 != *found {
            let (found, expected) = (found.clone(), entry.sha256.clone());
            return Err(BundleError::Digest { member: *member, found, expected, by: Member::Manifest });
        }
    }
    Ok(())
}

/// What goes into a bundle.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// What the bundle is beyond its model.
    pub contents: &'a Contents,
    /// `manifest.json` of the model, byte for byte.
    pub manifest: &'a [u8],
    /// `MODEL_CARD.md`.
    pub card: &'a [u8],
    /// `model.onnx`.
    pub network: &'a [u8],
    /// Films and the network's answers.
    pub golden: &'a Golden,
    /// Where the films come from and under which licence.
    pub golden_source: &'a str,
}

/// The bytes of a bundle; the same draft always gives the same bytes. They are not signed yet.
///
/// # Errors
/// When the parts do not fit together or the result would be refused.
pub fn seal(draft: &Draft) -> Result<Vec<u8>, BundleError> {
    let expected = draft.golden.expected_file(draft.golden_source)?;
    let films: Vec<Vec<u8>> = draft.golden.films.iter().map(|film| golden::write_pgm(&film.image)).collect();
    let mut members: Vec<(Member, &[u8])> = vec![
        (Member::Manifest, draft.manifest),
        (Member::Card, draft.card),
        (Member::Network, draft.network),
        (Member::Expected, &expected),
    ];
    for (number, film) in films.iter().enumerate() {
        let number = u8::try_from(number).ok().filter(|number| *number < container::MAX_FILMS);
        let number = number.ok_or_else(|| GoldenError::Value {
            key: "films",
            found: format!("a list of {}", films.len()),
            expected: format!("1 to {} films", container::MAX_FILMS),
        })?;
        members.push((Member::Film(number), film));
    }
    let entry = |bytes: &[u8]| MemberEntry { sha256: sha256_hex(bytes), bytes: bytes.len() as u64 };
    let list = members.iter().map(|(member, bytes)| (member.to_string(), entry(bytes))).collect();
    let file = ContentsFile::new(draft.contents, list);
    file.usable()?;
    let mut contents = serde_json::to_vec_pretty(&file).map_err(|e| ContentsError::Json(e.to_string()))?;
    contents.push(b'\n');
    members.push((Member::Contents, &contents));
    let bytes = container::write(&members)?;
    let found = bytes.len() as u64;
    if found > MAX_BUNDLE_BYTES {
        return Err(BundleError::Length { found });
    }
    // Whoever seals learns now what every device would refuse later.
    let manifest = ManifestFile::parse(draft.manifest)?;
    let digests = [(Member::Card, draft.card), (Member::Network, draft.network)];
    compare_manifest(&manifest, &digests.into_iter().map(|(m, bytes)| (m, sha256_hex(bytes))).collect())?;
    Manifest::try_from(manifest)?;
    network::inspect(draft.network)?;
    Golden::parse(&expected, &films.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    std::str::from_utf8(draft.card).map_err(|_| BundleError::Card)?;
    Ok(bytes)
}
