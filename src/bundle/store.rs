//! Installs, starts, confirms and gives up models, so that a cut at any write leaves exactly one that can be used.
//!
//! Every change is prepared in files that nobody reads yet, made durable, and then put in force by one small record
//! that is written to two copies, the older first. The record is read anew for every operation, so an operation that
//! failed leaves nothing behind in memory. Reads no clock; touches the world only through [`Storage`].

use crate::ports::{Storage, StorageError};

use super::container::MAX_BUNDLE_BYTES;
use super::key_list::{KeyList, MAX_LIST_BYTES, Permit, Revoked, TrustError};
use super::sha256_hex;
use super::signature::MAX_SIGNATURES_BYTES;
use super::slots::{self, BundleId, Failure, Slot, SlotEvent, SlotState, TransitionError, transition};
use super::state::{self, CopyError, MAX_STATE_BYTES, Ratchet, State};
use super::verified::{self, BundleError, Policy, VerifiedBundle};

/// The two copies of the state record.
const STATE_FILES: [&str; 2] = ["state-0", "state-1"];
/// The two copies of the key list.
const KEY_FILES: [&str; 2] = ["keys-0.json", "keys-1.json"];
/// The bundles.
const BUNDLE_FILES: [&str; 2] = ["slot-a.lbx", "slot-b.lbx"];
/// Their signatures, where `minisign -V` looks for them.
const SIGNATURE_FILES: [&str; 2] = ["slot-a.lbx.minisig", "slot-b.lbx.minisig"];

/// Something that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The medium failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The bundle is refused.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The key list is refused.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Not from this state.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// No model was ever installed here.
    #[error("there is no model store here yet: make one with `lightbox bundle init`")]
    NoStore,
    /// There is one already.
    #[error("there is a model store here already")]
    Exists,
    /// Neither copy of the record can be read.
    #[error(
        "the state record cannot be read: {}; nothing is started from a guess: \
        `lightbox bundle recover` rebuilds it from the bundles in the slots", .0.join(", ")
    )]
    Unreadable(Vec<String>),
    /// The record was written by another program.
    #[error(
        "{copy} was not written by this program: {reason}; \
        start the program that wrote it, or rebuild it with `lightbox bundle recover`"
    )]
    Foreign {
        /// Which copy.
        copy: &'static str,
        /// What is unknown.
        reason: String,
    },
    /// Neither copy of the key list is the one in force.
    #[error("neither {} nor {} is key list {version}: `lightbox bundle recover` starts from one of them", KEY_FILES[0], KEY_FILES[1])]
    KeyList {
        /// Version in force.
        version: u64,
    },
    /// Nothing was ever confirmed here, and nothing waits: what came with the program is used.
    #[error("no model can be used: {}; install a bundle", .0.join(", "))]
    Empty(Vec<String>),
    /// No slot holds a model that can be used.
    #[error("no model can be used: {}; install a bundle", .0.join(", "))]
    NoModel(Vec<String>),
    /// An older bundle than one that was confirmed.
    #[error("bundle version {found} is older than {seen}, which was confirmed here: going back needs a signed permit")]
    Older {
        /// Version of the bundle.
        found: u64,
        /// Highest that was confirmed.
        seen: u64,
    },
    /// Another bundle of the version that was confirmed.
    #[error(
        "bundle version {version} was confirmed here as SHA-256 {seen}, this one is {found}: the same version twice"
    )]
    Twice {
        /// The version.
        version: u64,
        /// Digest of the confirmed bundle.
        seen: String,
        /// Digest of this one.
        found: String,
    },
    /// The permit is for another bundle.
    #[error("the permit is for the bundle with SHA-256 {permitted}, this one is {found}")]
    OtherPermit {
        /// Digest in the permit.
        permitted: String,
        /// Digest of the bundle.
        found: String,
    },
    /// The permit has been used, or one made after it.
    #[error("the permit has serial number {serial}, {used} has been used here: expected a higher one")]
    UsedPermit {
        /// Of this permit.
        serial: u64,
        /// The last one used.
        used: u64,
    },
    /// This very bundle is the running model.
    #[error("this bundle is the running model already")]
    Running,
    /// There is a trial going on.
    #[error("{bundle} is on trial: confirm it or roll it back first")]
    OnTrial {
        /// The bundle on trial.
        bundle: String,
    },
    /// What was read back is not what was written.
    #[error("slot {slot} does not read back as it was written: {reason}")]
    ReadBack {
        /// Which slot.
        slot: Slot,
        /// What is wrong.
        reason: String,
    },
    /// Nothing to confirm.
    #[error("no bundle is on trial")]
    NoTrial,
    /// Nothing to go back to.
    #[error("there is no other model to go back to")]
    NoOther,
    /// The model to go back to cannot be used.
    #[error("cannot go back to {bundle}: {reason}")]
    OtherUnusable {
        /// The bundle.
        bundle: String,
        /// Why.
        reason: String,
    },
    /// The new key list would leave the running model without a signer.
    #[error(
        "key list {version} does not know the signers of the running model ({reason}): revoke keys, do not remove them"
    )]
    Orphan {
        /// Version of the new list.
        version: u64,
        /// What is missing.
        reason: String,
    },
}

/// How far the running model has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not confirmed yet.
    Trial {
        /// How often it may still be started.
        boots_left: u8,
        /// Whether it has passed its self-test in an earlier start.
        self_tested: bool,
    },
    /// Good.
    Confirmed,
}

/// The one model that the device uses from now on.
#[derive(Debug)]
pub struct Running {
    /// Where it lies.
    pub slot: Slot,
    /// How far it has come.
    pub stage: Stage,
    /// Weights, thresholds and everything that belongs to them.
    pub bundle: VerifiedBundle,
    /// What a person should know: a slot that was given up, a signer revoked since, storage that failed.
    pub remarks: Vec<String>,
}

/// What to do after a self-test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterSelfTest {
    /// Read films.
    Run,
    /// The model was given up: start again with [`Store::boot`].
    BootAgain,
    /// There is no other model: show the fault and give no verdict.
    Fault,
}

/// The models of a device, on some storage.
pub struct Store<'a> {
    storage: &'a mut dyn Storage,
}

/// A bundle and its signatures, as bytes.
type Files = (Vec<u8>, Vec<u8>);

/// A state record and which copy holds it.
struct Loaded {
    state: State,
    /// Which copy is to be written first: the one that holds less.
    first: usize,
}

impl<'a> Store<'a> {
    /// Nothing is read yet.
    pub fn new(storage: &'a mut dyn Storage) -> Self {
        Self { storage }
    }

    /// Makes an empty store that trusts `key_list`, which has to come from where the program came from.
    ///
    /// Until this returns there is no store; it can be called again after a cut.
    ///
    /// # Errors
    /// When there is a store, the list is none, or storage fails.
    pub fn create(&mut self, key_list: &[u8]) -> Result<(), StoreError> {
        match self.load() {
            Err(StoreError::NoStore) => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(StoreError::Exists),
        }
        let trusted = KeyList::anchor(key_list)?;
        for name in KEY_FILES {
            self.storage.write(name, key_list)?;
            self.storage.sync(name)?;
        }
        let mut state = State {
            generation: 0,
            slots: [SlotState::Empty, SlotState::Empty],
            key_list_version: trusted.version(),
            key_list_sha256: sha256_hex(key_list),
            ratchets: [].into(),
            permit_serial: 0,
            history: Vec::new(),
        };
        state.note("created", None, None, Some(format!("key list {}", trusted.version())));
        self.commit(&mut Loaded { state, first: 0 })
    }

    /// Everything the device remembers of its models.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn state(&mut self) -> Result<State, StoreError> {
        Ok(self.load()?.state)
    }

    /// The key list in force.
    ///
    /// # Errors
    /// When the record or the list cannot be read.
    pub fn trusted(&mut self) -> Result<KeyList, StoreError> {
        let state = self.load()?.state;
        self.key_list(&state)
    }

    /// Highest version that was confirmed under a key that still counts; what is older needs a permit.
    ///
    /// A revoked key no longer counts, so a thief's version 99 does not lock out every later repair.
    ///
    /// # Errors
    /// When the record or the key list cannot be read.
    pub fn floor(&mut self, policy: &Policy) -> Result<Option<Ratchet>, StoreError> {
        let state = self.load()?.state;
        let trusted = self.key_list(&state)?;
        Ok(floor(&state, &trusted, policy).cloned())
    }

    /// The confirmed model that is run when nothing is on trial; `None` when there is none or it cannot be used.
    ///
    /// # Errors
    /// When the record or the key list cannot be read, or storage fails.
    pub fn running(&mut self) -> Result<Option<VerifiedBundle>, StoreError> {
        let state = self.load()?.state;
        let slot = slots::confirmed(&state.slots).first().copied();
        self.held(&state, slot)
    }

    /// The model that is staged or on trial; `None` when there is none or it cannot be used.
    ///
    /// # Errors
    /// When the record or the key list cannot be read, or storage fails.
    pub fn candidate(&mut self) -> Result<Option<VerifiedBundle>, StoreError> {
        let state = self.load()?.state;
        self.held(&state, slots::candidate(&state.slots))
    }

    /// The model that films are read with, without counting a start: what is on trial once its self-test has passed,
    /// else the confirmed one. For commands that read a film beside the device's own program; nothing is written.
    ///
    /// # Errors
    /// When no slot holds a usable model, or the record cannot be read.
    pub fn current(&mut self, policy: &Policy) -> Result<Running, StoreError> {
        let state = self.load()?.state;
        let trusted = self.key_list(&state)?;
        let mut remarks = Vec::new();
        let trial = on_trial(&state).and_then(|slot| match *state.slot(slot) {
            SlotState::Trial { boots_left, self_tested: true, .. } => {
                Some((slot, Stage::Trial { boots_left, self_tested: true }))
            }
            _ => None,
        });
        let confirmed = slots::confirmed(&state.slots).into_iter().map(|slot| (slot, Stage::Confirmed));
        for (slot, stage) in trial.into_iter().chain(confirmed) {
            match self.read_slot(&state, slot, &trusted)? {
                Ok(bundle) => {
                    if let (Stage::Trial { .. }, Err(error)) = (stage, admissible(&bundle, &trusted, policy)) {
                        remarks.push(format!("slot {slot} is left out: {error}"));
                        continue;
                    }
                    remarks.extend(revoked_signers(&bundle));
                    return Ok(Running { slot, stage, bundle, remarks });
                }
                Err(reason) => remarks.push(format!("slot {slot} is left out: {reason}")),
            }
        }
        Err(no_model(&state, remarks))
    }

    /// Whether [`stage`](Self::stage) would take this bundle, as far as that can be told before writing.
    ///
    /// # Errors
    /// As there.
    pub fn may_stage(
        &mut self,
        bundle: &VerifiedBundle,
        permit: Option<&Permit>,
        policy: &Policy,
    ) -> Result<(), StoreError> {
        let state = self.load()?.state;
        let trusted = self.key_list(&state)?;
        admit(&state, &trusted, &identify(bundle), permit, policy)?;
        target(&state).map(|_| ())
    }

    fn held(&mut self, state: &State, slot: Option<Slot>) -> Result<Option<VerifiedBundle>, StoreError> {
        let Some(slot) = slot else { return Ok(None) };
        let trusted = self.key_list(state)?;
        Ok(self.read_slot(state, slot, &trusted)?.ok())
    }

    /// Writes a verified bundle to the slot that is not running: marked, written, synced, read back, verified again.
    ///
    /// The bundle is taken, so that there is never more than one copy of it in memory.
    ///
    /// # Errors
    /// When it is older than what was confirmed and there is no permit, a trial is going on, or storage fails. The
    /// running model is never touched.
    pub fn stage(
        &mut self,
        bundle: VerifiedBundle,
        permit: Option<&Permit>,
        policy: &Policy,
    ) -> Result<Slot, StoreError> {
        let mut loaded = self.load()?;
        let trusted = self.key_list(&loaded.state)?;
        let id = identify(&bundle);
        let used = admit(&loaded.state, &trusted, &id, permit, policy)?;
        let slot = target(&loaded.state)?;
        let index = slot.index();

        self.apply(&mut loaded.state, slot, SlotEvent::WriteBegins)?;
        self.commit(&mut loaded)?;
        if let Err(error) = self.write_slot(slot, &bundle) {
            // Half a bundle is worth nothing, and its room may be needed to write down that it is gone.
            for name in [BUNDLE_FILES[index], SIGNATURE_FILES[index]] {
                if let Err(error) = self.storage.remove(name) {
                    log::warn!("{error}");
                }
            }
            return Err(error.into());
        }
        drop(bundle);

        let refused = |reason: String| StoreError::ReadBack { slot, reason };
        let again = self.read_files(slot)?.ok_or_else(|| refused("a file is missing".to_owned()))?;
        let again = verified::verify(again.0, again.1, &trusted, policy).map_err(|error| refused(error.to_string()))?;
        if again.sha256() != id.sha256 {
            return Err(refused(format!("SHA-256 {}, expected {}", again.sha256(), id.sha256)));
        }
        drop(again);
        let mut loaded = self.load()?;
        if let Some(serial) = used {
            loaded.state.permit_serial = serial;
        }
        loaded.state.note("staged", Some(slot), Some(&id), used.map(|serial| format!("with permit {serial}")));
        self.apply(&mut loaded.state, slot, SlotEvent::Written(id))?;
        self.commit(&mut loaded)?;
        Ok(slot)
    }

    /// Says which model the device uses from now on. To be called once at every start, before anything is read.
    ///
    /// A staged bundle goes on trial; a trial has one start less; whatever cannot be verified is given up.
    ///
    /// # Errors
    /// When no slot holds a usable model, or the record cannot be read.
    pub fn boot(&mut self, policy: &Policy) -> Result<Running, StoreError> {
        let mut loaded = self.load()?;
        let trusted = self.key_list(&loaded.state)?;
        let mut remarks = Vec::new();
        if let Some(slot) = slots::candidate(&loaded.state.slots) {
            match self.boot_candidate(&mut loaded, slot, &trusted, policy) {
                Ok(Ok(mut running)) => {
                    running.remarks.splice(0..0, remarks);
                    return Ok(running);
                }
                Ok(Err(reason)) => remarks.push(format!("slot {slot} was given up: {reason}")),
                // Without a record of this start the trial could go on for ever.
                Err(error) => remarks.push(format!("the trial of slot {slot} has to wait: {error}")),
            }
            loaded = self.load()?;
        }
        for slot in slots::confirmed(&loaded.state.slots) {
            match self.read_slot(&loaded.state, slot, &trusted) {
                Ok(Ok(bundle)) => {
                    remarks.extend(revoked_signers(&bundle));
                    return Ok(Running { slot, stage: Stage::Confirmed, bundle, remarks });
                }
                Ok(Err(reason)) => {
                    remarks.push(format!("slot {slot} was given up: {reason}"));
                    if let Err(error) = self.give_up(&mut loaded, slot, Failure::Damaged(reason)) {
                        remarks.push(error.to_string());
                        loaded = self.load()?;
                    }
                }
                // A medium that does not answer today may answer tomorrow.
                Err(error) => remarks.push(format!("slot {slot}: {error}")),
            }
        }
        Err(no_model(&loaded.state, remarks))
    }

    /// Starts what is staged or on trial; `Ok(Err)` when it was given up.
    fn boot_candidate(
        &mut self,
        loaded: &mut Loaded,
        slot: Slot,
        trusted: &KeyList,
        policy: &Policy,
    ) -> Result<Result<Running, String>, StoreError> {
        let state = &mut loaded.state;
        let before = state.clone();
        if let SlotState::Staged { bundle } = state.slot(slot).clone() {
            self.apply(state, slot, SlotEvent::TrialBegins { boots: policy.trial_boots })?;
            state.note("trial-started", Some(slot), Some(&bundle), None);
        }
        // Where there is nothing to go back to, counting would only lead to a device without a model.
        if !slots::confirmed(&state.slots).is_empty() {
            self.apply(state, slot, SlotEvent::Booted)?;
        }
        if let SlotState::Failed { bundle, why } = state.slot(slot).clone() {
            state.note("failed", Some(slot), bundle.as_ref(), Some(why.to_string()));
            self.commit(loaded)?;
            return Ok(Err(why.to_string()));
        }
        if *state != before {
            self.commit(loaded)?;
        }
        let (bundle, why) = match self.read_slot(&loaded.state, slot, trusted)? {
            Err(reason) => (None, Failure::Damaged(reason)),
            Ok(bundle) => match admissible(&bundle, trusted, policy) {
                Err(error) => (None, Failure::Revoked(error.to_string())),
                Ok(()) => (Some(bundle), Failure::Unfinished),
            },
        };
        let Some(bundle) = bundle else {
            let reason = why.to_string();
            self.give_up(loaded, slot, why)?;
            return Ok(Err(reason));
        };
        let SlotState::Trial { boots_left, self_tested, .. } = *loaded.state.slot(slot) else {
            return Err(StoreError::NoTrial);
        };
        let remarks = revoked_signers(&bundle).into_iter().collect();
        Ok(Ok(Running { slot, stage: Stage::Trial { boots_left, self_tested }, bundle, remarks }))
    }

    /// Takes down how the running model did in its self-test and says what to do next.
    ///
    /// # Errors
    /// When the slot holds no running model, or storage fails; then nothing may be read with it.
    pub fn report_self_test(&mut self, slot: Slot, outcome: Result<(), String>) -> Result<AfterSelfTest, StoreError> {
        let mut loaded = self.load()?;
        match (loaded.state.slot(slot).clone(), outcome) {
            (SlotState::Trial { self_tested: true, .. } | SlotState::Confirmed { .. }, Ok(())) => {
                Ok(AfterSelfTest::Run)
            }
            (SlotState::Trial { bundle, .. }, Ok(())) => {
                self.apply(&mut loaded.state, slot, SlotEvent::SelfTestPassed)?;
                loaded.state.note("self-test-passed", Some(slot), Some(&bundle), None);
                self.commit(&mut loaded)?;
                Ok(AfterSelfTest::Run)
            }
            (SlotState::Trial { .. }, Err(detail)) => {
                self.give_up(&mut loaded, slot, Failure::SelfTest(detail))?;
                let other = !slots::confirmed(&loaded.state.slots).is_empty();
                Ok(if other { AfterSelfTest::BootAgain } else { AfterSelfTest::Fault })
            }
            (SlotState::Confirmed { .. }, Err(detail)) => {
                // The only model there is stays: the fault may lie in the processor or its memory.
                if slots::confirmed(&loaded.state.slots).len() < 2 {
                    return Ok(AfterSelfTest::Fault);
                }
                self.give_up(&mut loaded, slot, Failure::SelfTest(detail))?;
                Ok(AfterSelfTest::BootAgain)
            }
            (SlotState::Empty | SlotState::Staged { .. } | SlotState::Failed { .. }, _) => Err(StoreError::NoTrial),
        }
    }

    /// Counts a film that was read without a fault; true when that confirmed the trial.
    ///
    /// # Errors
    /// When storage fails or the self-test has not passed.
    pub fn report_reading(&mut self, policy: &Policy) -> Result<bool, StoreError> {
        let mut loaded = self.load()?;
        let Some(slot) = on_trial(&loaded.state) else { return Ok(false) };
        let generation = loaded.state.generation + 1;
        let confirm_after = policy.confirm_after_readings;
        self.apply(&mut loaded.state, slot, SlotEvent::ReadingDone { confirm_after, generation })?;
        let done = matches!(loaded.state.slot(slot), SlotState::Confirmed { .. });
        if done {
            confirmed_now(&mut loaded.state, slot, "after good readings");
        }
        self.commit(&mut loaded)?;
        Ok(done)
    }

    /// Takes down that the model on trial gave no answer or ended the program; it is not started again.
    ///
    /// # Errors
    /// When nothing is on trial or storage fails.
    pub fn report_fault(&mut self, detail: &str) -> Result<(), StoreError> {
        let mut loaded = self.load()?;
        let slot = on_trial(&loaded.state).ok_or(StoreError::NoTrial)?;
        self.give_up(&mut loaded, slot, Failure::Fault(detail.to_owned()))
    }

    /// Makes the model on trial the one to come back to.
    ///
    /// # Errors
    /// When nothing is on trial, its self-test has not passed, or storage fails.
    pub fn confirm(&mut self) -> Result<BundleId, StoreError> {
        let mut loaded = self.load()?;
        let slot = on_trial(&loaded.state).ok_or(StoreError::NoTrial)?;
        let generation = loaded.state.generation + 1;
        self.apply(&mut loaded.state, slot, SlotEvent::Confirm { generation })?;
        confirmed_now(&mut loaded.state, slot, "by a person");
        self.commit(&mut loaded)?;
        loaded.state.slot(slot).bundle().cloned().ok_or(StoreError::NoTrial)
    }

    /// Goes back: gives up what is staged or on trial, or else the running model for the one confirmed before it.
    ///
    /// The model gone back to was confirmed on this very device and its bytes never left it, so that no permit is
    /// asked for; the ratchet stays where it is.
    ///
    /// # Errors
    /// When there is nothing to go back to, it cannot be used, or storage fails.
    pub fn roll_back(&mut self, policy: &Policy) -> Result<BundleId, StoreError> {
        let mut loaded = self.load()?;
        let confirmed = slots::confirmed(&loaded.state.slots);
        let (leave, stay) = match (slots::candidate(&loaded.state.slots), confirmed.as_slice()) {
            (Some(candidate), [running, ..]) => (candidate, *running),
            (None, [running, before]) => (*running, *before),
            (_, []) | (None, [_] | [_, _, _, ..]) => return Err(StoreError::NoOther),
        };
        let id = loaded.state.slot(stay).bundle().cloned().ok_or(StoreError::NoOther)?;
        let trusted = self.key_list(&loaded.state)?;
        let unusable = |reason| StoreError::OtherUnusable { bundle: id.to_string(), reason };
        let bundle = self.read_slot(&loaded.state, stay, &trusted)?.map_err(unusable)?;
        // Giving up a trial leaves the running model where it is, whatever has become of its signers.
        if slots::candidate(&loaded.state.slots).is_none() {
            admissible(&bundle, &trusted, policy).map_err(|error| unusable(error.to_string()))?;
        }
        self.give_up(&mut loaded, leave, Failure::RolledBack)?;
        Ok(id)
    }

    /// Puts a newer key list in force. What waits or is on trial is given up if its signers no longer suffice; the
    /// running model stays, with a remark at every start.
    ///
    /// # Errors
    /// When the list is refused, no longer knows the signers of the running model, or storage fails.
    pub fn replace_key_list(&mut self, file: &[u8], signatures: &[u8], policy: &Policy) -> Result<u64, StoreError> {
        let mut loaded = self.load()?;
        let trusted = self.key_list(&loaded.state)?;
        let next = trusted.successor(file, signatures)?;
        if let Some(running) = slots::confirmed(&loaded.state.slots).first()
            && let Err(reason) = self.read_slot(&loaded.state, *running, &next)?
        {
            return Err(StoreError::Orphan { version: next.version(), reason });
        }
        if let Some(slot) = slots::candidate(&loaded.state.slots) {
            let reason = match self.read_slot(&loaded.state, slot, &next)? {
                Err(reason) => Some(reason),
                Ok(bundle) => admissible(&bundle, &next, policy).err().map(|error| error.to_string()),
            };
            if let Some(reason) = reason {
                let id = loaded.state.slot(slot).bundle().cloned();
                loaded.state.note("failed", Some(slot), id.as_ref(), Some(reason.clone()));
                self.apply(&mut loaded.state, slot, SlotEvent::Fail(Failure::Revoked(reason)))?;
            }
        }
        let digest = sha256_hex(file);
        // The copy that is not in force comes first; the other stays until the record names the new list.
        let order = if self.key_copy_holds(0, &loaded.state.key_list_sha256)? { [1, 0] } else { [0, 1] };
        self.write_key_copy(order[0], file)?;
        loaded.state.key_list_version = next.version();
        loaded.state.key_list_sha256 = digest;
        let known = |key: &String| next.keys().iter().any(|trusted| trusted.key.as_base64() == key);
        loaded.state.ratchets.retain(|key, _| known(key));
        loaded.state.note("keys-replaced", None, None, Some(format!("key list {}", next.version())));
        self.commit(&mut loaded)?;
        // The list is in force; a second copy only guards it against rot.
        if let Err(error) = self.write_key_copy(order[1], file) {
            log::warn!("{error}");
        }
        Ok(next.version())
    }

    /// Rebuilds the record from what lies in the slots, for when it cannot be read.
    ///
    /// Nothing is believed of a slot but what its signatures say: the older of two bundles counts as confirmed, the
    /// newer goes on trial again. `anchor` is the key list that came with the program.
    ///
    /// # Errors
    /// When the record can be read after all, no key list is there, or storage fails.
    pub fn recover(&mut self, anchor: &[u8]) -> Result<State, StoreError> {
        if self.load().is_ok() {
            return Err(StoreError::Exists);
        }
        let mut lists = vec![anchor.to_vec()];
        for name in KEY_FILES {
            lists.extend(self.storage.read(name, MAX_LIST_BYTES)?);
        }
        let parsed = lists.into_iter().filter_map(|file| Some((KeyList::anchor(&file).ok()?, file)));
        let newest = parsed.max_by_key(|(list, _)| list.version());
        let (trusted, file) = newest.ok_or(StoreError::KeyList { version: 0 })?;
        for copy in [0, 1] {
            self.write_key_copy(copy, &file)?;
        }
        let mut state = State {
            generation: 0,
            slots: [SlotState::Empty, SlotState::Empty],
            key_list_version: trusted.version(),
            key_list_sha256: sha256_hex(&file),
            ratchets: [].into(),
            permit_serial: 0,
            history: Vec::new(),
        };
        let mut found: Vec<(Slot, BundleId)> = Vec::new();
        for slot in Slot::ALL {
            let Some((bytes, signatures)) = self.read_files(slot)? else { continue };
            match verified::verify_kept(bytes, signatures, &trusted) {
                Ok(bundle) => found.push((slot, identify(&bundle))),
                Err(error) => {
                    let why = Failure::Damaged(error.to_string());
                    state.slots[slot.index()] = SlotState::Failed { bundle: None, why };
                }
            }
        }
        found.sort_by_key(|(_, id)| id.bundle_version);
        state.note("recovered", None, None, Some(format!("from {} bundles", found.len())));
        for (index, (slot, id)) in found.iter().enumerate() {
            let older_of_two = index == 0 && found.len() == 2;
            state.slots[slot.index()] = if older_of_two {
                SlotState::Confirmed { bundle: id.clone(), since: 1 }
            } else {
                SlotState::Staged { bundle: id.clone() }
            };
            if older_of_two {
                raise(&mut state, id);
            }
        }
        let mut loaded = Loaded { state, first: 0 };
        self.commit(&mut loaded)?;
        Ok(loaded.state)
    }

    // Below: the parts that the operations are made of.

    fn load(&mut self) -> Result<Loaded, StoreError> {
        let mut good: [Option<State>; 2] = [None, None];
        let mut problems = Vec::new();
        let mut failed = None;
        for (index, name) in STATE_FILES.into_iter().enumerate() {
            match self.storage.read(name, MAX_STATE_BYTES) {
                Ok(None) => {}
                Ok(Some(bytes)) => match state::decode(&bytes) {
                    Ok(state) => good[index] = Some(state),
                    Err(CopyError::Damaged(reason)) => problems.push(format!("{name}: {reason}")),
                    Err(CopyError::Foreign(reason)) => return Err(StoreError::Foreign { copy: name, reason }),
                },
                Err(error) => {
                    problems.push(error.to_string());
                    failed = Some(error);
                }
            }
        }
        let generation = |state: &Option<State>| state.as_ref().map(|state| state.generation);
        // `None` is below every generation.
        let newer = usize::from(generation(&good[1]) > generation(&good[0]));
        match (good[newer].take(), failed) {
            (Some(state), _) => Ok(Loaded { state, first: 1 - newer }),
            (None, Some(error)) => Err(error.into()),
            (None, None) if problems.is_empty() => Err(StoreError::NoStore),
            (None, None) => self.unreadable(problems),
        }
    }

    /// A first record that was cut while it was written is no record: nothing had been put in force by it.
    fn unreadable(&mut self, problems: Vec<String>) -> Result<Loaded, StoreError> {
        let mut copies = 0;
        for name in STATE_FILES {
            copies += usize::from(self.storage.read(name, MAX_STATE_BYTES)?.is_some());
        }
        let mut bundles = false;
        for name in BUNDLE_FILES {
            bundles |= self.storage.read(name, MAX_BUNDLE_BYTES)?.is_some();
        }
        // The second copy is begun only after the first is durable, and bundles are written only after both.
        if copies == 1 && !bundles { Err(StoreError::NoStore) } else { Err(StoreError::Unreadable(problems)) }
    }

    fn commit(&mut self, loaded: &mut Loaded) -> Result<(), StoreError> {
        loaded.state.generation += 1;
        let bytes = state::encode(&loaded.state);
        for (turn, index) in [loaded.first, 1 - loaded.first].into_iter().enumerate() {
            let name = STATE_FILES[index];
            let written = self.storage.write(name, &bytes).and_then(|()| self.storage.sync(name));
            // Names change only when a copy is made for the first time, and after a repair by hand.
            let written = written.and_then(|()| self.storage.sync_names());
            match (turn, written) {
                (_, Ok(())) => {}
                (0, Err(error)) => return Err(error.into()),
                // The first copy is durable: the change is in force.
                (_, Err(error)) => log::warn!("{error}"),
            }
        }
        Ok(())
    }

    fn apply(&self, state: &mut State, slot: Slot, event: SlotEvent) -> Result<(), StoreError> {
        let now = &mut state.slots[slot.index()];
        *now = transition(now.clone(), event)?;
        Ok(())
    }

    fn give_up(&mut self, loaded: &mut Loaded, slot: Slot, why: Failure) -> Result<(), StoreError> {
        let bundle = loaded.state.slot(slot).bundle().cloned();
        let event = if why == Failure::RolledBack { "rolled-back" } else { "failed" };
        loaded.state.note(event, Some(slot), bundle.as_ref(), Some(why.to_string()));
        self.apply(&mut loaded.state, slot, SlotEvent::Fail(why))?;
        self.commit(loaded)
    }

    fn write_slot(&mut self, slot: Slot, bundle: &VerifiedBundle) -> Result<(), StorageError> {
        let index = slot.index();
        for (name, bytes) in [(BUNDLE_FILES[index], bundle.bytes()), (SIGNATURE_FILES[index], bundle.signatures())] {
            self.storage.write(name, bytes)?;
            self.storage.sync(name)?;
        }
        self.storage.sync_names()
    }

    /// A slot's bundle and its signatures.
    fn read_files(&mut self, slot: Slot) -> Result<Option<Files>, StorageError> {
        let index = slot.index();
        let Some(bytes) = self.storage.read(BUNDLE_FILES[index], MAX_BUNDLE_BYTES)? else { return Ok(None) };
        let signatures = self.storage.read(SIGNATURE_FILES[index], MAX_SIGNATURES_BYTES)?;
        Ok(signatures.map(|signatures| (bytes, signatures)))
    }

    /// The bundle that the record says lies in `slot`; `Ok(Err)` when something else does.
    fn read_slot(
        &mut self,
        state: &State,
        slot: Slot,
        trusted: &KeyList,
    ) -> Result<Result<VerifiedBundle, String>, StoreError> {
        let Some(id) = state.slot(slot).bundle() else { return Ok(Err("nothing is in it".to_owned())) };
        let Some((bytes, signatures)) = self.read_files(slot)? else { return Ok(Err("a file is missing".to_owned())) };
        Ok(match verified::verify_kept(bytes, signatures, trusted) {
            Ok(bundle) if bundle.sha256() == id.sha256 => Ok(bundle),
            Ok(bundle) => Err(format!("it holds SHA-256 {}, accepted was {}", bundle.sha256(), id.sha256)),
            Err(error) => Err(error.to_string()),
        })
    }

    fn key_list(&mut self, state: &State) -> Result<KeyList, StoreError> {
        for name in KEY_FILES {
            if let Some(file) = self.storage.read(name, MAX_LIST_BYTES)?
                && sha256_hex(&file) == state.key_list_sha256
            {
                return Ok(KeyList::anchor(&file)?);
            }
        }
        Err(StoreError::KeyList { version: state.key_list_version })
    }

    fn key_copy_holds(&mut self, copy: usize, sha256: &str) -> Result<bool, StoreError> {
        let file = self.storage.read(KEY_FILES[copy], MAX_LIST_BYTES)?;
        Ok(file.is_some_and(|file| sha256_hex(&file) == sha256))
    }

    fn write_key_copy(&mut self, copy: usize, file: &[u8]) -> Result<(), StorageError> {
        self.storage.write(KEY_FILES[copy], file)?;
        self.storage.sync(KEY_FILES[copy])?;
        self.storage.sync_names()
    }
}

/// Why there is no model to start.
fn no_model(state: &State, mut remarks: Vec<String>) -> StoreError {
    for slot in Slot::ALL {
        if let SlotState::Failed { why, .. } = state.slot(slot) {
            remarks.push(format!("slot {slot}: {why}"));
        }
    }
    let untouched = state.ratchets.is_empty() && slots::confirmed(&state.slots).is_empty();
    // After a rebuild nobody knows what had been confirmed.
    if untouched && state.history.iter().all(|entry| entry.event != "recovered") {
        if remarks.is_empty() {
            remarks.push("nothing was ever installed".to_owned());
        }
        return StoreError::Empty(remarks);
    }
    StoreError::NoModel(remarks)
}

/// What a record keeps of a bundle.
fn identify(bundle: &VerifiedBundle) -> BundleId {
    let manifest = bundle.manifest();
    BundleId {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        bundle_version: bundle.contents().bundle_version,
        sha256: bundle.sha256().to_owned(),
        signers: bundle.signers().iter().map(|signer| signer.public_key.clone()).collect(),
    }
}

fn floor<'s>(state: &'s State, trusted: &KeyList, policy: &Policy) -> Option<&'s Ratchet> {
    let counted = state.ratchets.iter().filter(|(key, _)| trusted.counts(key, policy.test_keys));
    counted.map(|(_, ratchet)| ratchet).max_by_key(|ratchet| ratchet.bundle_version)
}

/// Whether the bundle may be installed after what was confirmed before; the permit's serial number if one was needed.
fn admit(
    state: &State,
    trusted: &KeyList,
    id: &BundleId,
    permit: Option<&Permit>,
    policy: &Policy,
) -> Result<Option<u64>, StoreError> {
    let running = slots::confirmed(&state.slots).first().and_then(|slot| state.slot(*slot).bundle());
    if running.is_some_and(|running| running.sha256 == id.sha256) {
        return Err(StoreError::Running);
    }
    let Some(seen) = floor(state, trusted, policy) else { return Ok(None) };
    if id.bundle_version == seen.bundle_version && id.sha256 != seen.sha256 {
        let (seen, found) = (seen.sha256.clone(), id.sha256.clone());
        return Err(StoreError::Twice { version: id.bundle_version, seen, found });
    }
    if id.bundle_version >= seen.bundle_version {
        return Ok(None);
    }
    let Some(permit) = permit else {
        return Err(StoreError::Older { found: id.bundle_version, seen: seen.bundle_version });
    };
    if permit.bundle_sha256 != id.sha256 {
        return Err(StoreError::OtherPermit { permitted: permit.bundle_sha256.clone(), found: id.sha256.clone() });
    }
    if permit.serial <= state.permit_serial {
        return Err(StoreError::UsedPermit { serial: permit.serial, used: state.permit_serial });
    }
    Ok(Some(permit.serial))
}

/// The slot to write to: never the running one, never one on trial.
fn target(state: &State) -> Result<Slot, StoreError> {
    if let Some(slot) = on_trial(state) {
        let bundle = state.slot(slot).bundle().map(BundleId::to_string).unwrap_or_default();
        return Err(StoreError::OnTrial { bundle });
    }
    let running = slots::confirmed(&state.slots).first().copied();
    Ok(match (running, slots::candidate(&state.slots)) {
        (Some(running), _) => running.other(),
        (None, Some(staged)) => staged,
        (None, None) => Slot::A,
    })
}

fn on_trial(state: &State) -> Option<Slot> {
    Slot::ALL.into_iter().find(|slot| matches!(state.slot(*slot), SlotState::Trial { .. }))
}

/// Whether what is not yet confirmed would still be accepted from outside.
fn admissible(bundle: &VerifiedBundle, trusted: &KeyList, policy: &Policy) -> Result<(), TrustError> {
    trusted.bundle_signers(bundle.bytes(), bundle.signatures(), policy.test_keys, Revoked::Refused).map(|_| ())
}

fn revoked_signers(bundle: &VerifiedBundle) -> Option<String> {
    let names: Vec<&str> =
        bundle.signers().iter().filter(|signer| signer.revoked).map(|signer| signer.name.as_str()).collect();
    (!names.is_empty())
        .then(|| format!("the running model was signed by {}, revoked since: replace it", names.join(", ")))
}

fn confirmed_now(state: &mut State, slot: Slot, how: &str) {
    if let Some(id) = state.slot(slot).bundle().cloned() {
        raise(state, &id);
        state.note("confirmed", Some(slot), Some(&id), Some(how.to_owned()));
    }
}

/// Raises the ratchets of everyone who signed.
fn raise(state: &mut State, id: &BundleId) {
    for key in &id.signers {
        let higher = state.ratchets.get(key).is_none_or(|ratchet| ratchet.bundle_version < id.bundle_version);
        if higher {
            let ratchet = Ratchet { bundle_version: id.bundle_version, sha256: id.sha256.clone() };
            state.ratchets.insert(key.clone(), ratchet);
        }
    }
}
