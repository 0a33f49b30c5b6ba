//! A start of a program that gives verdicts: the model, its self-test, and what the trial of a model learns from
//! every reading.

use std::path::Path;
use std::time::Duration;

use crate::adapters::disk::DiskStorage;
use crate::bundle::release::Opened;
use crate::bundle::slots::{Slot, SlotState, confirmed};
use crate::bundle::{AfterSelfTest, Policy, Stage, Store, StoreError, VerifiedModel};
use crate::engine::{EngineOptions, TractClassifier};
use crate::self_test::{self_test, self_test_within};

use super::choose::{Chosen, From, named_or_set, open_named, open_shipped, open_store};
use super::{Device, ModelsError};

/// How long a self-test at a start goes on asking films; the first one is asked in any case.
const BUDGET: Duration = Duration::from_secs(5);

/// A model that passed its self-test and is ready to read.
pub struct Serving {
    /// The model; its network's bytes are given back.
    pub model: VerifiedModel,
    /// What runs it.
    pub classifier: TractClassifier,
    /// Where it comes from.
    pub from: From,
    /// How many golden films it answered as it should; `None` for a model directory, which has none.
    pub golden_films: Option<usize>,
    /// What a person should know: a slot that was given up, a signer revoked since.
    pub remarks: Vec<String>,
    /// Slot and store while the model is on trial.
    trial: Option<Trial>,
    /// Digest of the bundle that was confirmed when this model was chosen; `None` where there was none.
    confirmed: Option<String>,
}

#[derive(Debug)]
struct Trial {
    device: Device,
    slot: Slot,
    sha256: String,
}

/// What a reading means for the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on with it.
    Same,
    /// This reading confirmed it; go on with it.
    Confirmed,
    /// It was given up: call [`serve`] again before the next film.
    Replace,
}

/// Chooses the model for a program that gives verdicts, counts this start if it is on trial, and asks it its golden
/// films. What fails in the store is given up, and what stood before it is started.
///
/// # Errors
/// When no model can be used: the device shows a fault and gives no verdict.
pub fn serve(named: Option<&Path>, device: &Device, options: EngineOptions) -> Result<Serving, ModelsError> {
    let mut serving = choose_and_test(named, device, options)?;
    serving.confirmed = confirmed_in(device)?;
    Ok(serving)
}

fn choose_and_test(named: Option<&Path>, device: &Device, options: EngineOptions) -> Result<Serving, ModelsError> {
    if let Some(path) = named_or_set(named) {
        return ready(open_named(&path, None, device)?, options);
    }
    let Some(mut storage) = open_store(device)? else { return ready(open_shipped(device)?, options) };
    let mut given_up = Vec::new();
    // Two slots, so that there are at most two models to give up.
    for _ in 0..3 {
        let running = match Store::new(&mut storage).boot(&device.policy) {
            Ok(running) => running,
            Err(StoreError::NoStore) => return ready(open_shipped(device)?, options),
            Err(StoreError::Empty(reasons)) => {
                let mut serving = ready(open_shipped(device)?, options)?;
                serving.remarks.extend(reasons);
                return Ok(serving);
            }
            Err(error) => return Err(ModelsError::store(&device.store)(error)),
        };
        let (slot, stage, sha256) = (running.slot, running.stage, running.bundle.sha256().to_owned());
        let mut remarks = given_up.clone();
        remarks.extend(running.remarks);
        let chosen = Chosen::of(Opened::Bundle(running.bundle), From::Slot { slot, stage }, remarks);
        let name = name_of(&chosen.model);
        let outcome = ready(chosen, options);
        let reported = outcome.as_ref().map(|_| ()).map_err(reason);
        let after = Store::new(&mut storage).report_self_test(slot, reported);
        match (outcome, after.map_err(ModelsError::store(&device.store))?) {
            (Ok(mut serving), _) => {
                if let Stage::Trial { .. } = stage {
                    serving.trial = Some(Trial { device: device.clone(), slot, sha256: sha256.clone() });
                }
                return Ok(serving);
            }
            (Err(error), AfterSelfTest::Run) => return Err(error),
            (Err(error), AfterSelfTest::Fault) if stage == Stage::Confirmed => return Err(error),
            // The first model that was ever tried here has the shipped one before it.
            (Err(error), AfterSelfTest::Fault | AfterSelfTest::BootAgain) => {
                let remark = format!("{name} in slot {slot} was given up: {}", reason(&error));
                log::error!("{remark}");
                given_up.push(remark);
            }
        }
    }
    Err(ModelsError::store(&device.store)(StoreError::NoModel(given_up)))
}

/// Digest of the bundle that the store has confirmed and would run; `None` where there is none.
fn confirmed_in(device: &Device) -> Result<Option<String>, ModelsError> {
    let Some(mut storage) = open_store(device)? else { return Ok(None) };
    match Store::new(&mut storage).state() {
        Ok(state) => {
            let running = confirmed(&state.slots).first().and_then(|slot| state.slot(*slot).bundle());
            Ok(running.map(|bundle| bundle.sha256.clone()))
        }
        Err(StoreError::NoStore) => Ok(None),
        Err(error) => Err(ModelsError::store(&device.store)(error)),
    }
}

/// What goes into the record: the words of the self-test without the model's name, which stands beside them.
fn reason(error: &ModelsError) -> String {
    match error {
        ModelsError::SelfTest { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

fn name_of(model: &VerifiedModel) -> String {
    format!("{} {}", model.manifest().name, model.manifest().version)
}

/// Loads the network and asks it the golden films: all of them at the first start of a trial, later those for which
/// there is time.
///
/// # Errors
/// When the network cannot be loaded or does not answer as it should.
pub fn ready(chosen: Chosen, options: EngineOptions) -> Result<Serving, ModelsError> {
    let Chosen { mut model, golden, from, remarks } = chosen;
    let mut classifier = TractClassifier::load_with(&model, options)?;
    model.release_network();
    let untested = matches!(from, From::Slot { stage: Stage::Trial { self_tested: false, .. }, .. });
    let golden_films = match golden {
        None => None,
        Some(golden) => {
            let asked = if untested {
                self_test(&golden, model.manifest(), &mut classifier).map(|()| golden.films.len())
            } else {
                self_test_within(BUDGET, &golden, model.manifest(), &mut classifier)
            };
            let failed = |error: crate::self_test::SelfTestError| ModelsError::SelfTest {
                model: name_of(&model),
                reason: error.to_string(),
            };
            Some(asked.map_err(failed)?)
        }
    };
    Ok(Serving { model, classifier, from, golden_films, remarks, trial: None, confirmed: None })
}

impl Serving {
    /// Tells the log which model reads from now on, and what a person should know of it.
    pub fn announce(&self) {
        for remark in &self.remarks {
            log::warn!("{remark}");
        }
        let manifest = self.model.manifest();
        let trial = if self.on_trial() { ", on trial" } else { "" };
        let films = self
            .golden_films
            .map_or_else(|| "no golden films".to_owned(), |films| format!("{films} golden films right"));
        log::info!("reading with {} {}{trial}: {films}", manifest.name, manifest.version);
    }

    /// Whether the model is on trial.
    pub fn on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether somebody, such as `lightbox bundle confirm`, has confirmed another model since: call [`serve`] again before
    /// the next film. One that was named stays; what becomes of one on trial, [`reading_done`](Self::reading_done) says.
    ///
    /// # Errors
    /// When the store cannot be read; the model goes on.
    pub fn is_superseded(&self, device: &Device) -> Result<bool, ModelsError> {
        match self.from {
            From::Named(_) => Ok(false),
            From::Slot { .. } | From::Shipped(_) if self.trial.is_some() => Ok(false),
            From::Slot { .. } | From::Shipped(_) => Ok(confirmed_in(device)? != self.confirmed),
        }
    }

    /// Takes down what a reading says of a model on trial; of any other nothing is taken down. To be called once the
    /// reading is durable. `fault` says that the model gave no usable answer.
    ///
    /// # Errors
    /// When the store cannot be written; the model goes on and the reading does not count.
    pub fn reading_done(&mut self, fault: Option<&str>) -> Result<Next, ModelsError> {
        let Some(trial) = &self.trial else { return Ok(Next::Same) };
        let store = &trial.device.store;
        let mut storage = DiskStorage::open(store).map_err(|source| ModelsError::Folder { source })?;
        let mut models = Store::new(&mut storage);
        let next = match meanwhile(&mut models, trial) {
            Ok(None) => count(&mut models, fault, &trial.device.policy),
            Ok(Some(next)) => Ok(next),
            Err(error) => Err(error),
        };
        let next = next.map_err(ModelsError::store(store))?;
        if next == Next::Confirmed {
            self.confirmed = Some(trial.sha256.clone());
        }
        if next != Next::Same {
            self.trial = None;
        }
        Ok(next)
    }
}

/// What somebody else, such as `lightbox bundle`, has made of the trial since it was started.
fn meanwhile(models: &mut Store<'_>, trial: &Trial) -> Result<Option<Next>, StoreError> {
    let state = models.state()?;
    let slot = state.slot(trial.slot);
    let same = slot.bundle().is_some_and(|bundle| bundle.sha256 == trial.sha256);
    Ok(match slot {
        SlotState::Trial { .. } if same => None,
        SlotState::Confirmed { .. } if same => Some(Next::Confirmed),
        SlotState::Empty
        | SlotState::Staged { .. }
        | SlotState::Trial { .. }
        | SlotState::Confirmed { .. }
        | SlotState::Failed { .. } => Some(Next::Replace),
    })
}

fn count(models: &mut Store<'_>, fault: Option<&str>, policy: &Policy) -> Result<Next, StoreError> {
    match fault {
        Some(detail) => models.report_fault(detail).map(|()| Next::Replace),
        None => models.report_reading(policy).map(|confirmed| if confirmed { Next::Confirmed } else { Next::Same }),
    }
}
