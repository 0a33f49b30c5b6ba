//! From a file on a stick to a model on trial, and back: everything a technician does, for command line and kiosk.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::adapters::disk::DiskStorage;
use crate::adapters::file::Limits as FilmLimits;
use crate::adapters::wall::Wall;
use crate::app;
use crate::bundle::container::MAX_BUNDLE_BYTES;
use crate::bundle::key_list::{BUILT_IN, KeyList, MAX_LIST_BYTES, Permit};
use crate::bundle::release::{read_limited, with_ending};
use crate::bundle::replay::{ReplayDiff, Said, replay};
use crate::bundle::signature::MAX_SIGNATURES_BYTES;
use crate::bundle::slots::{self, BundleId, Slot};
use crate::bundle::summary::{Facts, diff, summarise};
use crate::bundle::{self, AfterSelfTest, Policy, Running, Stage, Store, StoreError, VerifiedBundle, VerifiedModel};
use crate::domain::Change;
use crate::engine::TractClassifier;
use crate::self_test::self_test;

use super::choose::{open_store, shipped_bundle, trusted};
use super::recent::{Case, Recent, ReplayFrom, recent_cases};
use super::{Device, ModelsError, refusal};

/// What a trial may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// This program, which is started anew for the trial.
    pub program: PathBuf,
    /// Address space, in MiB.
    pub memory_mib: u64,
    /// For the self-test, and again for the last cases.
    pub time: Duration,
}

impl Default for Limits {
    /// This program, 1 GiB, two minutes.
    fn default() -> Self {
        Self { program: "/proc/self/exe".into(), memory_mib: 1024, time: Duration::from_secs(120) }
    }
}

/// How far an install has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Signatures and contents are checked.
    Verifying,
    /// The other slot is written, synced, and read back.
    Writing,
    /// The golden films are asked.
    SelfTest,
    /// The last cases are read again.
    Replay,
}

/// A bundle that could be installed, and what a person has to know before.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Of the bundle.
    pub facts: Facts,
    /// Of the model that would be replaced; `None` where there is none that is signed.
    pub running: Option<Facts>,
    /// What changes.
    pub changes: Vec<Change>,
}

/// A bundle that was installed and is on trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Installed {
    /// Where it lies.
    pub slot: Slot,
    /// Whether there was no model before.
    pub first: bool,
    /// What changes.
    pub changes: Vec<Change>,
    /// What it says of the last cases; `None` where nobody asked.
    pub replayed: Option<Replayed>,
    /// How long verifying, writing, self-test and replay took.
    pub times: [Duration; 4],
}

/// What changes in the last cases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replayed {
    /// How many were read again.
    pub films: usize,
    /// How many could not be, because the film is gone or was changed.
    #[serde(default)]
    pub skipped: usize,
    /// How many were called Covid-19 and are now called normal or another pneumonia.
    pub lost_positives: usize,
    /// Those of which something else is said.
    pub changed: Vec<ReplayedCase>,
}

/// A case of which something else is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayedCase {
    /// What the record calls it.
    pub film: String,
    /// By the model that was running: verdict and reason.
    pub before: String,
    /// By the model on trial.
    pub after: String,
}

impl Replayed {
    fn of(diff: &ReplayDiff, skipped: usize) -> Self {
        let changed = diff.changed.iter().map(|case| ReplayedCase {
            film: case.case.clone(),
            before: case.before.to_string(),
            after: case.after.to_string(),
        });
        Self { films: diff.cases, skipped, lost_positives: diff.lost_positives().count(), changed: changed.collect() }
    }
}

/// Bundles with their signatures in a folder or one below it, such as a stick; in the order of their names.
///
/// Links are not followed, so that a stick cannot lead into the device's own folders.
pub fn bundles_on(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    look(folder, 1, &mut found);
    found.sort();
    found.truncate(64);
    found
}

fn look(folder: &Path, deeper: u8, found: &mut Vec<PathBuf>) {
    // A folder of thousands of films must not hold up the kiosk.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().take(4096) {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if kind.is_dir() && deeper > 0 {
            look(&path, deeper - 1, found);
        } else if kind.is_file()
            && path.extension().is_some_and(|ending| ending == "lbx")
            && fs::symlink_metadata(with_ending(&path, "minisig")).is_ok_and(|beside| beside.is_file())
        {
            found.push(path);
        }
    }
}

/// The permit that lies beside a bundle as `NAME.lbx.permit`, if there is one.
pub fn permit_beside(path: &Path) -> Option<PathBuf> {
    let beside = with_ending(path, "permit");
    beside.is_file().then_some(beside)
}

/// Makes the store of a device. With `keys` it is empty and trusts that list; without it trusts the list of this
/// program, and the model that came with the program is confirmed in it, so that there is one to go back to.
///
/// # Errors
/// When there is a store already, or it cannot be made.
pub fn init(device: &Device, keys: Option<&Path>) -> Result<Option<BundleId>, ModelsError> {
    let list = keys.map(|path| read_limited(path, MAX_LIST_BYTES)).transpose()?;
    let mut storage = DiskStorage::open_or_create(&device.store).map_err(|source| ModelsError::Folder { source })?;
    let mut store = Store::new(&mut storage);
    store.create(list.as_deref().unwrap_or(BUILT_IN)).map_err(ModelsError::store(&device.store))?;
    if keys.is_some() { Ok(None) } else { seed(&mut store, device) }
}

/// Confirms the model that came with the program in a store where nothing ever was confirmed.
fn seed(store: &mut Store<'_>, device: &Device) -> Result<Option<BundleId>, ModelsError> {
    let failed = || ModelsError::store(&device.store);
    let state = store.state().map_err(failed())?;
    let trusted = store.trusted().map_err(failed())?;
    let untouched = state.ratchets.is_empty() && slots::confirmed(&state.slots).is_empty();
    if !untouched || slots::candidate(&state.slots).is_some_and(|slot| state.slot(slot).name() == "trial") {
        return Ok(None);
    }
    // A site with keys of its own starts with its own model.
    let Ok(Some(shipped)) = shipped_bundle(&trusted, &device.policy) else { return Ok(None) };
    store.stage(shipped, None, &device.policy).map_err(failed())?;
    let running = store.boot(&device.policy).map_err(failed())?;
    let (slot, outcome) = asked(running);
    store.report_self_test(slot, outcome.clone().map(|_| ())).map_err(failed())?;
    outcome.map_err(ModelsError::Trial)?;
    store.confirm().map(Some).map_err(failed())
}

/// Loads the running model's network and asks it every golden film; how many there are.
fn asked(running: Running) -> (Slot, Result<usize, String>) {
    let slot = running.slot;
    let mut parts = running.bundle.into_parts();
    let outcome = TractClassifier::load(&parts.model).map_err(|error| error.to_string()).and_then(|mut classifier| {
        parts.model.release_network();
        self_test(&parts.golden, parts.model.manifest(), &mut classifier).map_err(|error| error.to_string())
    });
    (slot, outcome.map(|()| parts.golden.films.len()))
}

/// Verifies a bundle and says what it would change; nothing is written.
///
/// # Errors
/// With the reason why this device does not take it.
pub fn offer(path: &Path, device: &Device) -> Result<Offer, ModelsError> {
    let trusted = trusted(None, device)?;
    let bundle = read(path, &trusted, &device.policy)?;
    let permit = permit(permit_beside(path).as_deref(), &trusted)?;
    let mut running = None;
    if let Some(mut storage) = open_store(device)? {
        let mut store = Store::new(&mut storage);
        match store.may_stage(&bundle, permit.as_ref(), &device.policy) {
            Ok(()) => running = store.running().map_err(ModelsError::store(&device.store))?,
            Err(StoreError::NoStore) => {}
            Err(error) => return Err(ModelsError::refused(path)(error)),
        }
    }
    if running.is_none() {
        running = shipped_bundle(&trusted, &device.policy).unwrap_or(None);
    }
    let before = running.as_ref().map(summarise).unwrap_or_default();
    Ok(Offer {
        facts: Facts::of(&bundle),
        running: running.as_ref().map(Facts::of),
        changes: diff(&before, &summarise(&bundle)),
    })
}

fn read(path: &Path, trusted: &KeyList, policy: &Policy) -> Result<VerifiedBundle, ModelsError> {
    let bytes = read_limited(path, MAX_BUNDLE_BYTES)?;
    let signatures = read_limited(&with_ending(path, "minisig"), MAX_SIGNATURES_BYTES)?;
    bundle::verify(bytes, signatures, trusted, policy).map_err(|error| refusal(path, error))
}

fn permit(path: Option<&Path>, trusted: &KeyList) -> Result<Option<Permit>, ModelsError> {
    let Some(path) = path else { return Ok(None) };
    let signatures = read_limited(&with_ending(path, "minisig"), MAX_SIGNATURES_BYTES)?;
    let permit = trusted.permit(&read_limited(path, MAX_LIST_BYTES)?, &signatures);
    permit.map(Some).map_err(|source| ModelsError::Trust { path: path.to_owned(), source })
}

/// What an install needs beside the bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct With<'a> {
    /// Key list to go by in place of the store's.
    pub keys: Option<&'a Path>,
    /// Permit to go back to an older bundle, in place of the one beside the bundle.
    pub permit: Option<&'a Path>,
    /// Which of the last cases to read again.
    pub replay: Option<ReplayFrom>,
    /// What the trial may take.
    pub limits: Limits,
}

/// Installs a bundle beside the running model and tries it: verified, written to the other slot, synced, read back,
/// verified again, started on trial in a process of its own, asked the golden films and the last cases.
///
/// The running model stays the one to come back to until [`confirm`]. Where there is no store it is made first.
///
/// # Errors
/// When the bundle is refused, the store fails, or the trial does not pass; the running model is used on.
pub fn install(
    path: &Path,
    device: &Device,
    with: &With<'_>,
    step: &mut dyn FnMut(Step),
) -> Result<Installed, ModelsError> {
    step(Step::Verifying);
    let start = Instant::now();
    let policy = &device.policy;
    let trusted = trusted_or_built_in(with.keys, device)?;
    let bundle = read(path, &trusted, policy)?;
    let beside = permit_beside(path);
    let permit = permit(with.permit.or(beside.as_deref()), &trusted)?;
    let after = summarise(&bundle);
    let verified = start.elapsed();
    step(Step::Writing);
    let (slot, changes, first);
    {
        let mut storage =
            DiskStorage::open_or_create(&device.store).map_err(|source| ModelsError::Folder { source })?;
        let mut store = Store::new(&mut storage);
        if let Err(StoreError::NoStore) = store.state() {
            store.create(BUILT_IN).map_err(ModelsError::store(&device.store))?;
        }
        seed(&mut store, device)?;
        let before = store.running().map_err(ModelsError::store(&device.store))?.map(|bundle| summarise(&bundle));
        first = before.is_none();
        changes = diff(&before.unwrap_or_default(), &after);
        slot = store.stage(bundle, permit.as_ref(), policy).map_err(ModelsError::refused(path))?;
        // The lock is let go, for the trial runs in a process of its own.
    }
    let written = start.elapsed();
    step(Step::SelfTest);
    Confined { device, limits: &with.limits }.run("self-test", None)?;
    let tested = start.elapsed();
    let mut replayed = None;
    if let Some(from) = with.replay.as_ref().filter(|from| !first && from.cases > 0) {
        step(Step::Replay);
        let recent = recent_cases(from)?;
        if recent.cases.is_empty() {
            replayed = Some(Replayed { skipped: recent.skipped, ..Replayed::default() });
        } else {
            replayed = Some(replay_confined(device, &with.limits, &recent)?);
        }
    }
    let times = [verified, written - verified, tested - written, start.elapsed() - tested];
    Ok(Installed { slot, first, changes, replayed, times })
}

/// As [`trusted`], but a store that is not made yet is no error.
fn trusted_or_built_in(keys: Option<&Path>, device: &Device) -> Result<KeyList, ModelsError> {
    let missing = !device.store.join("state-0").exists() && !device.store.join("state-1").exists();
    let device = Device { configured: device.configured && !missing, ..device.clone() };
    trusted(keys, &device)
}

fn replay_confined(device: &Device, limits: &Limits, recent: &Recent) -> Result<Replayed, ModelsError> {
    let cases = serde_json::to_vec(&recent.cases).map_err(|error| ModelsError::Process(error.into()))?;
    let said = Confined { device, limits }.run("replay", Some(cases))?;
    let read: Replayed = serde_json::from_slice(&said).map_err(|error| ModelsError::Process(error.into()))?;
    Ok(Replayed { skipped: read.skipped + recent.skipped, ..read })
}

/// This program started anew on the model on trial, so that a network that eats the memory or never ends harms nothing.
struct Confined<'a> {
    device: &'a Device,
    limits: &'a Limits,
}

impl Confined<'_> {
    /// Runs `lightbox bundle NAME` and gives what it prints. Whatever ends it badly ends the trial.
    fn run(&self, name: &str, input: Option<Vec<u8>>) -> Result<Vec<u8>, ModelsError> {
        let (policy, store) = (&self.device.policy, &self.device.store);
        let mut command = Command::new(&self.limits.program);
        command.args(["bundle", name, "--json", "--store"]).arg(store);
        command.arg("--trial-boots").arg(policy.trial_boots.to_string());
        command.arg("--memory-mib").arg(self.limits.memory_mib.to_string());
        for (set, flag) in [(policy.test_keys, "--allow-test-keys"), (policy.unaudited, "--allow-unaudited")] {
            if set {
                command.arg(flag);
            }
        }
        if input.is_some() {
            command.arg("--listed");
        }
        let given = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(given).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ran = command.spawn().and_then(|child| watch(child, input, self.limits.time));
        let Ran { status, said, complained } = ran.map_err(ModelsError::Process)?;
        if status.is_some_and(|status| status.success()) {
            return Ok(said);
        }
        let complained = String::from_utf8_lossy(&complained);
        // A trial that gave its reason has taken it down itself.
        let own_reason =
            complained.lines().find_map(|line| line.strip_prefix("lightbox: the self-test did not pass: "));
        if let Some(reason) = own_reason {
            return Err(ModelsError::Trial(reason.to_owned()));
        }
        let ended = self.ended(name, status);
        let mut storage = DiskStorage::open(store).map_err(|source| ModelsError::Folder { source })?;
        match Store::new(&mut storage).report_fault(&ended) {
            Ok(()) | Err(StoreError::NoTrial) => {}
            Err(error) => return Err(ModelsError::store(store)(error)),
        }
        let words = complained.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect::<Vec<_>>();
        Err(ModelsError::Trial(format!("{ended}; {}", words.join(" "))))
    }

    fn ended(&self, name: &str, status: Option<ExitStatus>) -> String {
        let Limits { memory_mib, time, .. } = self.limits;
        match status.map(|status| (status.code(), status.signal())) {
            None => format!("the {name} took more than {} s", time.as_secs()),
            Some((_, Some(signal))) => {
                format!("the {name} ended by signal {signal}, with {memory_mib} MiB of memory allowed")
            }
            Some((code, None)) => format!("the {name} ended with status {}", code.unwrap_or(-1)),
        }
    }
}

/// How a process ended; no status when it was ended here.
struct Ran {
    status: Option<ExitStatus>,
    said: Vec<u8>,
    complained: Vec<u8>,
}

fn watch(mut child: Child, input: Option<Vec<u8>>, time: Duration) -> io::Result<Ran> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // A pipe holds little: whoever does not read while the other writes waits for ever.
        let said = scope.spawn(move || read_all(stdout, 16 << 20));
        let complained = scope.spawn(move || read_all(stderr, 64 << 10));
        scope.spawn(move || {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A process that ended early says why by its status.
                let _ = stdin.write_all(&input);
            }
        });
        let end = Instant::now() + time;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if Instant::now() >= end {
                child.kill()?;
                child.wait()?;
                break None;
            }
            thread::sleep(Duration::from_millis(5));
        };
        let joined = |reader: thread::ScopedJoinHandle<'_, Vec<u8>>| reader.join().unwrap_or_default();
        Ok(Ran { status, said: joined(said), complained: joined(complained) })
    })
}

/// At most `limit` bytes are kept; the rest is read and dropped, so that the writer does not wait.
fn read_all(pipe: Option<impl Read>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.by_ref().take(limit).read_to_end(&mut bytes);
        let _ = io::copy(&mut pipe, &mut io::sink());
    }
    bytes
}

/// What a self-test of the installed model found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfTested {
    /// Where the model lies.
    pub slot: Slot,
    /// How far it has come.
    pub stage: Stage,
    /// How many golden films it answered as it should.
    pub films: usize,
    /// How long that took, with loading.
    pub time: Duration,
    /// What a person should know.
    pub remarks: Vec<String>,
}

/// Starts the installed model as the device would and asks it every golden film.
///
/// # Errors
/// When no model can be started, or it does not answer as it should; then it is given up.
pub fn self_test_of_the_installed(device: &Device) -> Result<SelfTested, ModelsError> {
    let mut storage = DiskStorage::open(&device.store).map_err(|source| ModelsError::Folder { source })?;
    let mut store = Store::new(&mut storage);
    let mut running = store.boot(&device.policy).map_err(ModelsError::store(&device.store))?;
    let (stage, remarks) = (running.stage, std::mem::take(&mut running.remarks));
    let start = Instant::now();
    let (slot, outcome) = asked(running);
    let time = start.elapsed();
    let after = store.report_self_test(slot, outcome.clone().map(|_| ()));
    let after = after.map_err(ModelsError::store(&device.store))?;
    let films = outcome.map_err(|reason| {
        let next = match after {
            AfterSelfTest::Run | AfterSelfTest::BootAgain => "slot given up, the model before it is used",
            AfterSelfTest::Fault => "there is no other model: the device shows a fault and no verdict",
        };
        ModelsError::Trial(format!("{reason}; {next}"))
    })?;
    Ok(SelfTested { slot, stage, films, time, remarks })
}

/// Reads films with the running model and with the one on trial, one model after the other. What the journal says of
/// a film is believed where the running model said it.
///
/// # Errors
/// When there are no two models, or one of them cannot be loaded.
pub fn compare(device: &Device, cases: &[Case], wall: &mut Wall) -> Result<Replayed, ModelsError> {
    let mut storage = DiskStorage::open(&device.store).map_err(|source| ModelsError::Folder { source })?;
    let mut store = Store::new(&mut storage);
    let failed = || ModelsError::store(&device.store);
    let running = store.running().map_err(failed())?.ok_or(ModelsError::NothingToCompare)?;
    let mut before = Vec::with_capacity(cases.len());
    {
        let parts = running.into_parts();
        let known = |case: &Case| {
            let said = case.said.as_ref().filter(|said| said.manifest_sha256 == parts.model.manifest_sha256());
            said.map(|said| Said { verdict: said.verdict.clone(), reason: said.reason.clone() })
        };
        let known: Vec<Option<Said>> = cases.iter().map(known).collect();
        let mut reader = if known.iter().all(Option::is_some) { None } else { Some(Reader::load(parts.model)?) };
        for (case, said) in cases.iter().zip(known) {
            let said = match (said, &mut reader) {
                (Some(said), _) => said,
                (None, Some(reader)) => reader.read(wall, &case.film)?,
                (None, None) => continue,
            };
            before.push((case.film.display().to_string(), said));
        }
    }
    let trial = store.candidate().map_err(failed())?.ok_or(ModelsError::NothingToCompare)?;
    // The films take their time, and the store is others' too.
    drop(storage);
    let mut reader = Reader::load(trial.into_parts().model)?;
    let mut diff = replay(before, |film| reader.read(wall, Path::new(film)))?;
    for changed in &mut diff.changed {
        if let Some(case) = cases.iter().find(|case| case.film.display().to_string() == changed.case) {
            changed.case.clone_from(&case.name);
        }
    }
    Ok(Replayed::of(&diff, 0))
}

/// A model that reads films for a comparison.
struct Reader {
    model: VerifiedModel,
    classifier: TractClassifier,
}

impl Reader {
    fn load(mut model: VerifiedModel) -> Result<Self, ModelsError> {
        let classifier = TractClassifier::load(&model)?;
        model.release_network();
        Ok(Self { model, classifier })
    }

    fn read(&mut self, wall: &mut Wall, film: &Path) -> Result<Said, ModelsError> {
        let acquired = wall.read_object(film, &FilmLimits::default())?.film;
        Ok(Said::from(&app::screen(acquired, self.model.manifest(), &mut self.classifier).reading.verdict))
    }
}

/// Makes the model on trial the one to come back to.
///
/// # Errors
/// When nothing is on trial or the store fails.
pub fn confirm(device: &Device) -> Result<BundleId, ModelsError> {
    let mut storage = DiskStorage::open(&device.store).map_err(|source| ModelsError::Folder { source })?;
    Store::new(&mut storage).confirm().map_err(ModelsError::store(&device.store))
}

/// Gives up the model on trial, or goes back to the one confirmed before.
///
/// # Errors
/// When there is none to go back to or the store fails.
pub fn roll_back(device: &Device) -> Result<BundleId, ModelsError> {
    let mut storage = DiskStorage::open(&device.store).map_err(|source| ModelsError::Folder { source })?;
    Store::new(&mut storage).roll_back(&device.policy).map_err(ModelsError::store(&device.store))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_on_a_stick_are_those_with_signatures_and_no_links() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("models/deep")).expect("made");
        for name in ["b.lbx", "b.lbx.minisig", "alone.lbx", "models/a.lbx", "models/a.lbx.minisig", "c.txt"] {
            fs::write(at(name), b"x").expect("written");
        }
        for name in ["models/deep/d.lbx", "models/deep/d.lbx.minisig", "link.lbx.minisig"] {
            fs::write(at(name), b"x").expect("written");
        }
        std::os::unix::fs::symlink(at("b.lbx"), at("link.lbx")).expect("linked");
        std::os::unix::fs::symlink("/", at("root")).expect("linked");
        assert_eq!(bundles_on(folder.path()), [at("b.lbx"), at("models/a.lbx")]);
        assert!(bundles_on(&at("none")).is_empty());
    }

    #[test]
    fn a_process_that_says_much_and_takes_too_long_is_ended() {
        let mut command = Command::new("sh");
        command.args(["-c", "head -c 300000 /dev/zero; exec sleep 60"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("a shell");
        let ran = watch(child, Some(vec![0; 1 << 20]), Duration::from_millis(300));
        let ran = ran.expect("watched");
        assert_eq!((ran.status, ran.said.len()), (None, 300_000));
    }
}
