//! The state record: slots, ratchets, key list and history, as bytes.
//!
//! ```text
//! lightbox-state 1 SHA-256-OF-THE-REST-IN-HEXADECIMAL
//! { JSON }
//! ```
//!
//! It is kept in two copies. Tags are never renamed; an unknown one under a right checksum was written by another
//! program and is never guessed at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sha256_hex;
use super::slots::{BundleId, Failure, Slot, SlotState};

/// The record's form.
const FORM: u32 = 1;
/// Longest record in bytes.
pub(super) const MAX_STATE_BYTES: u64 = 256 << 10;
/// Most entries of history that are kept.
const MAX_HISTORY: usize = 64;
/// Most characters of a detail that are kept.
const MAX_DETAIL: usize = 200;

/// Highest bundle confirmed under one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratchet {
    /// Its number.
    pub bundle_version: u64,
    /// Its digest.
    pub sha256: String,
}

/// Something that happened; there is no clock, so entries are numbered by generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryEntry {
    /// Generation of the state that it led to.
    pub generation: u64,
    /// What happened, as a word.
    pub event: String,
    /// In which slot, `a` or `b`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// To which bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Everything the device remembers of its models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Raised with every change.
    pub generation: u64,
    /// Slot A, slot B.
    pub slots: [SlotState; 2],
    /// Version of the key list in force.
    pub key_list_version: u64,
    /// Its digest.
    pub key_list_sha256: String,
    /// By public key in base64; kept outside the slots, so that nothing written to a slot changes it.
    pub ratchets: BTreeMap<String, Ratchet>,
    /// Serial number of the last permit that was used; 0 for none.
    pub permit_serial: u64,
    /// Oldest first.
    pub history: Vec<HistoryEntry>,
}

impl State {
    /// The slot's state.
    pub fn slot(&self, slot: Slot) -> &SlotState {
        &self.slots[slot.index()]
    }

    pub(super) fn note(&mut self, event: &str, slot: Option<Slot>, bundle: Option<&BundleId>, detail: Option<String>) {
        self.history.push(HistoryEntry {
            // The entry belongs to the commit that is being prepared.
            generation: self.generation + 1,
            event: event.to_owned(),
            slot: slot.map(|slot| slot.name().to_owned()),
            bundle: bundle.map(BundleId::to_string),
            detail: detail.map(short),
        });
        let surplus = self.history.len().saturating_sub(MAX_HISTORY);
        self.history.drain(..surplus);
    }
}

fn short(text: String) -> String {
    text.chars().take(MAX_DETAIL).collect()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    generation: u64,
    slot_a: SlotEntry,
    slot_b: SlotEntry,
    key_list_version: u64,
    key_list_sha256: String,
    ratchets: BTreeMap<String, Ratchet>,
    permit_serial: u64,
    history: Vec<HistoryEntry>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleEntry {
    name: String,
    version: String,
    bundle_version: u64,
    sha256: String,
    signers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
enum SlotEntry {
    Empty,
    Staged { bundle: BundleEntry },
    Trial { bundle: BundleEntry, boots_left: u8, self_tested: bool, good_readings: u32 },
    Confirmed { bundle: BundleEntry, since: u64 },
    Failed { bundle: Option<BundleEntry>, why: FailureEntry },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "cause", content = "detail", rename_all = "kebab-case", deny_unknown_fields)]
enum FailureEntry {
    Unfinished,
    Damaged(String),
    SelfTest(String),
    BootsUsedUp,
    Fault(String),
    RolledBack,
    Revoked(String),
}

impl From<&BundleId> for BundleEntry {
    fn from(id: &BundleId) -> Self {
        let BundleId { name, version, bundle_version, sha256, signers } = id.clone();
        Self { name, version, bundle_version, sha256, signers }
    }
}

impl From<BundleEntry> for BundleId {
    fn from(entry: BundleEntry) -> Self {
        let BundleEntry { name, version, bundle_version, sha256, signers } = entry;
        Self { name, version, bundle_version, sha256, signers }
    }
}

impl From<&SlotState> for SlotEntry {
    fn from(state: &SlotState) -> Self {
        match state {
            SlotState::Empty => Self::Empty,
            SlotState::Staged { bundle } => Self::Staged { bundle: bundle.into() },
            SlotState::Trial { bundle, boots_left, self_tested, good_readings } => Self::Trial {
                bundle: bundle.into(),
                boots_left: *boots_left,
                self_tested: *self_tested,
                good_readings: *good_readings,
            },
            SlotState::Confirmed { bundle, since } => Self::Confirmed { bundle: bundle.into(), since: *since },
            SlotState::Failed { bundle, why } => {
                let why = match why.clone() {
                    Failure::Unfinished => FailureEntry::Unfinished,
                    Failure::Damaged(detail) => FailureEntry::Damaged(short(detail)),
                    Failure::SelfTest(detail) => FailureEntry::SelfTest(short(detail)),
                    Failure::BootsUsedUp => FailureEntry::BootsUsedUp,
                    Failure::Fault(detail) => FailureEntry::Fault(short(detail)),
                    Failure::RolledBack => FailureEntry::RolledBack,
                    Failure::Revoked(detail) => FailureEntry::Revoked(short(detail)),
                };
                Self::Failed { bundle: bundle.as_ref().map(BundleEntry::from), why }
            }
        }
    }
}

impl From<SlotEntry> for SlotState {
    fn from(entry: SlotEntry) -> Self {
        match entry {
            SlotEntry::Empty => Self::Empty,
            SlotEntry::Staged { bundle } => Self::Staged { bundle: bundle.into() },
            SlotEntry::Trial { bundle, boots_left, self_tested, good_readings } => {
                Self::Trial { bundle: bundle.into(), boots_left, self_tested, good_readings }
            }
            SlotEntry::Confirmed { bundle, since } => Self::Confirmed { bundle: bundle.into(), since },
            SlotEntry::Failed { bundle, why } => {
                let why = match why {
                    FailureEntry::Unfinished => Failure::Unfinished,
                    FailureEntry::Damaged(detail) => Failure::Damaged(detail),
                    FailureEntry::SelfTest(detail) => Failure::SelfTest(detail),
                    FailureEntry::BootsUsedUp => Failure::BootsUsedUp,
                    FailureEntry::Fault(detail) => Failure::Fault(detail),
                    FailureEntry::RolledBack => Failure::RolledBack,
                    FailureEntry::Revoked(detail) => Failure::Revoked(detail),
                };
                Self::Failed { bundle: bundle.map(BundleId::from), why }
            }
        }
    }
}

/// A copy of the record that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// Torn or rotten: the other copy counts.
    Damaged(String),
    /// Whole, but not of this program: nothing is guessed.
    Foreign(String),
}

/// The record's bytes.
pub fn encode(state: &State) -> Vec<u8> {
    let file = StateFile {
        generation: state.generation,
        slot_a: SlotEntry::from(&state.slots[0]),
        slot_b: SlotEntry::from(&state.slots[1]),
        key_list_version: state.key_list_version,
        key_list_sha256: state.key_list_sha256.clone(),
        ratchets: state.ratchets.clone(),
        permit_serial: state.permit_serial,
        history: state.history.clone(),
    };
    let mut json = serde_json::to_string_pretty(&file).expect("numbers, text and maps with text for keys");
    json.push('\n');
    format!("lightbox-state {FORM} {}\n{json}", sha256_hex(json.as_bytes())).into_bytes()
}

/// The record in `bytes`.
///
/// # Errors
/// When it is torn or was written by another program.
pub fn decode(bytes: &[u8]) -> Result<State, CopyError> {
    let damaged = |text: &str| CopyError::Damaged(text.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
    let (line, json) = text.split_once('\n').ok_or_else(|| damaged("no first line"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let &["lightbox-state", form, digest] = words.as_slice() else {
        return Err(damaged("the first line is not that of a state record"));
    };
    if digest != sha256_hex(json.as_bytes()) {
        return Err(damaged("the checksum does not fit"));
    }
    if form != FORM.to_string() {
        return Err(CopyError::Foreign(format!("it has form {form}, this program reads {FORM}")));
    }
    let file: StateFile = serde_json::from_str(json).map_err(|error| CopyError::Foreign(error.to_string()))?;
    Ok(State {
        generation: file.generation,
        slots: [file.slot_a.into(), file.slot_b.into()],
        key_list_version: file.key_list_version,
        key_list_sha256: file.key_list_sha256,
        ratchets: file.ratchets,
        permit_serial: file.permit_serial,
        history: file.history,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> BundleId {
        BundleId {
            name: "example".into(),
            version: "1.0.0".into(),
            bundle_version: 7,
            sha256: "0".repeat(64),
            signers: vec!["RWQ".into()],
        }
    }

    fn example() -> State {
        let mut state = State {
            generation: 41,
            slots: [
                SlotState::Confirmed { bundle: bundle(), since: 12 },
                SlotState::Trial { bundle: bundle(), boots_left: 2, self_tested: true, good_readings: 5 },
            ],
            key_list_version: 3,
            key_list_sha256: "1".repeat(64),
            ratchets: [("RWQ".to_owned(), Ratchet { bundle_version: 7, sha256: "0".repeat(64) })].into(),
            permit_serial: 2,
            history: vec![],
        };
        state.note("confirmed", Some(Slot::A), Some(&bundle()), None);
        state
    }

    #[test]
    fn every_state_of_a_slot_is_read_as_it_was_written() {
        let detail = || "because".to_owned();
        let failures = [
            Failure::Unfinished,
            Failure::Damaged(detail()),
            Failure::SelfTest(detail()),
            Failure::BootsUsedUp,
            Failure::Fault(detail()),
            Failure::RolledBack,
            Failure::Revoked(detail()),
        ];
        let mut states: Vec<SlotState> =
            failures.into_iter().map(|why| SlotState::Failed { bundle: Some(bundle()), why }).collect();
        states.extend([
            SlotState::Failed { bundle: None, why: Failure::Unfinished },
            SlotState::Empty,
            SlotState::Staged { bundle: bundle() },
        ]);
        for slot in states {
            let state = State { slots: [slot, example().slots[1].clone()], ..example() };
            assert_eq!(decode(&encode(&state)), Ok(state));
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let bytes = encode(&example());
        for at in 0..bytes.len() {
            for flip in [1, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                assert!(decode(&changed).is_err(), "byte {at} ^ {flip:#x}");
            }
            assert!(matches!(decode(&bytes[..at]), Err(CopyError::Damaged(_))), "{at} bytes");
        }
    }

    #[test]
    fn an_unknown_tag_under_a_right_checksum_is_foreign_and_never_another_state() {
        let text = String::from_utf8(encode(&example())).expect("text");
        let (_, json) = text.split_once('\n').expect("two parts");
        for (from, to) in [("\"confirmed\"", "\"frozen\""), ("\"trial\"", "\"Trial\""), ("permit_serial", "permits")] {
            let json = json.replace(from, to);
            let record = format!("lightbox-state 1 {}\n{json}", sha256_hex(json.as_bytes()));
            assert!(matches!(decode(record.as_bytes()), Err(CopyError::Foreign(_))), "{to}");
        }
        let newer = text.replacen("lightbox-state 1", "lightbox-state 2", 1);
        let expected = CopyError::Foreign("it has form 2, this program reads 1".to_owned());
        assert_eq!(decode(newer.as_bytes()), Err(expected));
    }

    #[test]
    fn history_and_details_do_not_grow_without_end() {
        let mut state = example();
        for _ in 0..200 {
            state.note("failed", None, None, Some("x".repeat(10_000)));
        }
        assert_eq!(state.history.len(), MAX_HISTORY);
        assert!(encode(&state).len() as u64 <= MAX_STATE_BYTES / 4);
    }
}
