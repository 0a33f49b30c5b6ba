//! Models on drives: found, offered, installed beside the running one, kept or given up.
//!
//! All of it goes on in threads of its own. The model that reads films is put in place by the reader alone, between two
//! films.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use std::{fs, thread};

use super::parts::{BackOff, keep_running, wait};
use super::{News, Shared};
use crate::bundle::{BundleError, StoreError};
use crate::domain::Verdict;
use crate::models::{self, Installed, ModelsError, Offer, ReplayFrom, Step, With};
use crate::ports::StorageError;
use crate::record::verdict_named;
use crate::ui::UpdateFailure;

/// How often drives are looked through.
const LOOK: Duration = Duration::from_secs(3);

/// What happens to a model that does not run yet.
#[derive(Debug)]
pub(super) enum UpdateNews {
    /// A drive holds a bundle that this device accepts.
    Offered(PathBuf, Box<Offer>),
    /// A drive holds one that it does not accept.
    NotAccepted(PathBuf, Refusal),
    /// The drive with that bundle was pulled out.
    Gone(PathBuf),
    /// An install has come to this step.
    At(Step),
    /// It has passed its trial.
    Installed(Box<Installed>),
    /// It was not installed.
    Failed(Refusal),
    /// A person's decision was carried out: whether the new model was kept.
    Settled(bool),
    /// It could not be.
    NotSettled(Refusal),
}

/// Why something was not done with a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: UpdateFailure,
    /// In English, for the technician.
    pub(super) detail: String,
}

impl From<&ModelsError> for Refusal {
    fn from(error: &ModelsError) -> Self {
        Self { why: kind_of(error), detail: error.to_string() }
    }
}

fn kind_of(error: &ModelsError) -> UpdateFailure {
    match error {
        ModelsError::Store { source, .. } | ModelsError::Refused { source, .. } => kind_of_store(source),
        ModelsError::Folder { source } => kind_of_storage(source),
        ModelsError::Trust { .. } => UpdateFailure::NotTrusted,
        ModelsError::Trial(_) | ModelsError::SelfTest { .. } | ModelsError::Engine(_) | ModelsError::Process(_) => {
            UpdateFailure::SelfTest
        }
        ModelsError::Journal(_) | ModelsError::Wall(_) | ModelsError::NothingToCompare => UpdateFailure::Replay,
        ModelsError::NoModel(_) | ModelsError::Model(_) => UpdateFailure::Damaged,
    }
}

fn kind_of_storage(error: &StorageError) -> UpdateFailure {
    match error.source.kind() {
        std::io::ErrorKind::StorageFull => UpdateFailure::StorageFull,
        _ => UpdateFailure::StorageFailed,
    }
}

fn kind_of_store(error: &StoreError) -> UpdateFailure {
    match error {
        StoreError::Storage(source) => kind_of_storage(source),
        StoreError::Bundle(BundleError::Trust(_) | BundleError::Unaudited) | StoreError::Trust(_) => {
            UpdateFailure::NotTrusted
        }
        StoreError::Bundle(BundleError::Program { .. }) => UpdateFailure::NeedsNewerProgram,
        StoreError::Older { .. } | StoreError::OtherPermit { .. } | StoreError::UsedPermit { .. } => {
            UpdateFailure::TooOld
        }
        _ => UpdateFailure::Damaged,
    }
}

/// Looks for bundles on drives until the program is to end.
pub(super) fn watch(shared: &Shared, folder: &Path) {
    let failed = |why: String| log::error!("looking for models on drives: {why}");
    keep_running(&shared.ending, BackOff::default(), failed, || {
        let mut known: HashMap<PathBuf, Option<SystemTime>> = HashMap::new();
        while !shared.ending.load(Ordering::Relaxed) {
            let found = models::bundles_on(folder);
            known.retain(|path, _| {
                let stays = found.contains(path);
                if !stays {
                    shared.tell(News::Update(UpdateNews::Gone(path.clone())));
                }
                stays
            });
            for path in found {
                let changed = fs::metadata(&path).and_then(|about| about.modified()).ok();
                if known.get(&path) == Some(&changed) {
                    continue;
                }
                known.insert(path.clone(), changed);
                look_at(shared, path);
            }
            wait(LOOK, &shared.ending);
        }
        Ok(())
    });
}

fn look_at(shared: &Shared, path: PathBuf) {
    match models::offer(&path, &shared.device) {
        Ok(offer) => {
            log::info!("{}: {} {} can be installed", path.display(), offer.facts.name, offer.facts.version);
            shared.tell(News::Update(UpdateNews::Offered(path, Box::new(offer))));
        }
        // The drive that the running model came from stays in the slot of many a device.
        Err(ModelsError::Refused { source: StoreError::Running, .. }) => {
            log::info!("{}: this model runs already", path.display());
        }
        Err(error) => {
            log::warn!("{error}");
            shared.tell(News::Update(UpdateNews::NotAccepted(path, Refusal::from(&error))));
        }
    }
}

/// Does `work` in a thread of its own and tells the loop what comes of it, also when it panics.
fn in_a_thread(shared: &Arc<Shared>, name: &str, work: impl FnOnce(&Shared) -> UpdateNews + Send + 'static) {
    let ours = Arc::clone(shared);
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&ours)));
        let news = done.unwrap_or_else(|fault| {
            let detail = format!("a fault of this program: {}", super::parts::words_of(fault.as_ref()));
            UpdateNews::Failed(Refusal { why: UpdateFailure::Unfinished, detail })
        });
        ours.tell(News::Update(news));
    });
    if let Err(error) = spawned {
        let refusal = Refusal { why: UpdateFailure::Unfinished, detail: error.to_string() };
        shared.tell(News::Update(UpdateNews::Failed(refusal)));
    }
}

/// Installs the bundle and tries it beside the running model, which reads on.
pub(super) fn install(shared: &Arc<Shared>, path: PathBuf) {
    in_a_thread(shared, "install", move |shared| {
        let from = ReplayFrom {
            journal: Some(shared.board.journal.file.clone()),
            spool: Some(shared.board.spool.folder.clone()),
            cases: shared.board.models.replay_cases,
        };
        let with = With { replay: Some(from), ..With::default() };
        let mut step = |step| shared.tell(News::Update(UpdateNews::At(step)));
        match models::install(&path, &shared.device, &with, &mut step) {
            Ok(installed) => UpdateNews::Installed(Box::new(installed)),
            Err(error) => {
                log::warn!("not installed: {error}");
                UpdateNews::Failed(Refusal::from(&error))
            }
        }
    });
}

/// Makes the model on trial the one that reads films, or gives it up.
pub(super) fn settle(shared: &Arc<Shared>, keep: bool) {
    in_a_thread(shared, "settle", move |shared| {
        let settled = if keep {
            models::confirm(&shared.device).map(|id| log::info!("{id} is confirmed by a person"))
        } else {
            models::roll_back(&shared.device).map(|id| log::info!("{id} is used again, as a person decided"))
        };
        match settled {
            Ok(()) => UpdateNews::Settled(keep),
            Err(error) => {
                log::error!("{error}");
                UpdateNews::NotSettled(Refusal::from(&error))
            }
        }
    });
}

/// A case that is read otherwise: its row, and what was and is said.
pub(super) struct ChangedCase {
    pub(super) sequence: u64,
    pub(super) before: Verdict,
    pub(super) after: Verdict,
}

/// The cases that an install reads otherwise, lost positives first; those whose words are not understood are left out.
pub(super) fn changed_cases(installed: &Installed) -> Vec<ChangedCase> {
    let replayed = installed.replayed.iter().flat_map(|replayed| &replayed.changed);
    let mut changed: Vec<ChangedCase> = replayed
        .filter_map(|case| {
            let sequence = case.film.rsplit(' ').next()?.parse().ok()?;
            Some(ChangedCase { sequence, before: said(&case.before)?, after: said(&case.after)? })
        })
        .collect();
    changed.sort_by_key(|case| {
        !matches!((&case.before, &case.after), (Verdict::Found(crate::domain::Finding::Covid19), Verdict::Found(_)))
    });
    changed
}

/// `normal`, or `rejected (blank)`.
fn said(words: &str) -> Option<Verdict> {
    match words.split_once(" (") {
        Some((name, reason)) => verdict_named(name, reason.strip_suffix(')'), None),
        None => verdict_named(words, None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Doubt, Finding, Reason};
    use crate::models::{Replayed, ReplayedCase};

    #[test]
    fn what_is_said_of_old_cases_is_understood_and_lost_positives_come_first() {
        let case = |film: &str, before: &str, after: &str| ReplayedCase {
            film: film.into(),
            before: before.into(),
            after: after.into(),
        };
        let changed = vec![
            case("reading 4", "normal", "rejected (blank)"),
            case("reading 9", "covid19", "normal"),
            case("reading 10", "indeterminate (between-thresholds)", "covid19"),
            case("reading 11", "nonsense", "covid19"),
        ];
        let installed = Installed {
            slot: crate::bundle::slots::Slot::A,
            first: false,
            changes: Vec::new(),
            replayed: Some(Replayed { films: 20, skipped: 0, lost_positives: 1, changed }),
            times: [Duration::ZERO; 4],
        };
        let cases = changed_cases(&installed);
        let sequences: Vec<u64> = cases.iter().map(|case| case.sequence).collect();
        assert_eq!(sequences, [9, 4, 10]);
        assert_eq!(cases[0].after, Verdict::Found(Finding::Normal));
        assert_eq!(cases[1].after.reason(), Some(Reason::Blank));
        assert_eq!(cases[2].before, Verdict::Indeterminate(Doubt::BetweenThresholds));
    }
}
