//! `lightbox bundle`: makes, checks and installs model bundles. Reads arguments and files, prints, ends with 0 or 1.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lightbox::adapters::disk::DiskStorage;
use lightbox::adapters::wall::Wall;
use lightbox::bundle::container::MAX_BUNDLE_BYTES;
use lightbox::bundle::contents::ProgramVersion;
use lightbox::bundle::key_list::{MAX_LIST_BYTES, PermitFile};
use lightbox::bundle::release::{open_bundle, read_limited, unpack, with_ending};
use lightbox::bundle::signature::{MAX_SIGNATURES_BYTES, PublicKey, parse};
use lightbox::bundle::signing::{self, Password, SigningError, SigningKey};
use lightbox::bundle::slots::{self, Slot, SlotState};
use lightbox::bundle::summary::{Facts, diff, summarise};
use lightbox::bundle::{self, ModelError, Policy, Stage, Store, StoreError, VerifiedBundle};
use lightbox::domain::{Change, Told};
use lightbox::models::{self, Case, Device, Limits, ModelsError, ReplayFrom, Replayed, With};
use lightbox::ports::StorageError;
use lightbox::sealing::{Order, SealError, seal_model};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

#[derive(clap::Subcommand)]
pub(crate) enum BundleCommand {
    /// Makes a pair of minisign keys: NAME.key (keep it secret) and NAME.pub
    ///
    /// The password is asked for at the terminal, or taken from LIGHTBOX_KEY_PASSWORD.
    Keygen {
        /// Path of the new files without the ending
        #[arg(value_name = "NAME")]
        name: PathBuf,
        /// Protect the secret key by its file permissions alone
        #[arg(long)]
        no_password: bool,
        /// One JSON object instead of words
        #[arg(long)]
        json: bool,
    },
    /// Makes a bundle of a model directory and signs it
    ///
    /// Golden films are read, shrunk to 512 pixels and answered by the network itself; choose films that anyone may
    /// copy. The same input always gives the same FILE; FILE.minisig beside it is made anew.
    Seal(SealArguments),
    /// Adds a signature to FILE.minisig: to a bundle, a key list or a permit
    Sign {
        /// File to sign
        file: PathBuf,
        /// Secret key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Says whether this device would accept a bundle: status 0 and who signed it, or status 1 and why not
    Verify(ReadArguments),
    /// Shows what is in a bundle, once it has been verified
    Inspect(ReadArguments),
    /// Shows what changes from one bundle to another, or from the running model to a bundle
    Diff {
        #[command(flatten)]
        read: ReadArguments,
        /// The bundle to compare with [default: the running model of the store]
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
    /// Writes a permit to go back to an older bundle; sign it with `sign`
    Permit {
        /// The older bundle
        file: PathBuf,
        /// Higher than that of every permit before
        #[arg(long)]
        serial: u64,
        /// The permit
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Writes the model in a bundle as a model directory, and its golden films, once it has been verified
    Unpack {
        #[command(flatten)]
        read: ReadArguments,
        /// The model directory; it must not be there yet
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Makes the model store of this device
    ///
    /// It trusts the key list of this program, and holds the model that came with it, confirmed. With --keys it trusts
    /// that list, because whoever runs this is trusted, and is empty.
    Init {
        #[command(flatten)]
        store: StoreArguments,
        /// Another key list than that of this program
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
    },
    /// Puts a newer, signed key list in force
    Trust {
        #[command(flatten)]
        store: StoreArguments,
        /// Key list, with FILE.minisig beside it
        file: PathBuf,
    },
    /// Installs a bundle beside the running model and tries it
    ///
    /// Verified, written to the other slot, synced, read back, verified again, started on trial in a process of its
    /// own, and asked the golden films. With --journal or --spool the last local cases are read again, and what would
    /// be said differently is shown. The running model stays the one to come back to until `confirm`.
    Install {
        #[command(flatten)]
        read: ReadArguments,
        /// Signed permit to go back to an older bundle [default: FILE.permit, if it is there]
        #[arg(long, value_name = "FILE")]
        permit: Option<PathBuf>,
        #[command(flatten)]
        recent: RecentArguments,
        #[command(flatten)]
        limits: TrialLimits,
    },
    /// Starts the installed model as the device would and asks it the golden films
    SelfTest {
        #[command(flatten)]
        store: StoreArguments,
        #[command(flatten)]
        limits: TrialLimits,
    },
    /// Reads films with the running model and with the one on trial, and shows which verdicts differ
    Replay {
        #[command(flatten)]
        store: StoreArguments,
        #[command(flatten)]
        recent: RecentArguments,
        #[command(flatten)]
        limits: TrialLimits,
        /// Cases come as JSON on standard input
        #[arg(long, hide = true)]
        listed: bool,
        /// Films, in place of or beside the last local cases
        films: Vec<PathBuf>,
    },
    /// Shows what is in the slots
    Status(StoreArguments),
    /// Makes the model on trial the one to come back to
    Confirm(StoreArguments),
    /// Gives up the model on trial, or goes back to the one confirmed before
    Rollback(StoreArguments),
    /// Shows what happened to the models of this device; entries have numbers, for there is no clock to trust
    History(StoreArguments),
    /// Rebuilds a state record that cannot be read, from the bundles in the slots
    Recover {
        #[command(flatten)]
        store: StoreArguments,
        /// Another key list than that of this program
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
pub(crate) struct SealArguments {
    /// Model directory
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Higher than that of every bundle released before
    #[arg(long, value_name = "N")]
    bundle_version: u64,
    /// The oldest program for this model [default: this program's version]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    minimum_program: Option<ProgramVersion>,
    /// Audit figures beside those in the manifest: audit.json of `trainer audit`, or a list of
    /// {name, value, low, high, films}
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Golden film, in any format that `screen` reads; 1 to 16 of them
    #[arg(long = "golden", value_name = "FILM", required = true)]
    golden: Vec<PathBuf>,
    /// Where the golden films come from and under which licence
    #[arg(long, value_name = "TEXT")]
    golden_source: String,
    /// Secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The bundle
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct ReadArguments {
    #[command(flatten)]
    store: StoreArguments,
    /// Key list to go by [default: that of the store, else that of this program]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The bundle, with FILE.minisig beside it
    file: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct StoreArguments {
    /// Folder of the model store [default: $LIGHTBOX_STORE, else /var/lib/lightbox/models]
    #[arg(long = "store", value_name = "DIR")]
    store: Option<PathBuf>,
    /// Site policy: accept bundles without audit figures
    #[arg(long)]
    allow_unaudited: bool,
    /// Site policy: count signatures by test keys
    #[arg(long)]
    allow_test_keys: bool,
    /// Site policy: how often a bundle on trial may be started
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    trial_boots: u8,
    /// One JSON object instead of words
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(crate) struct TrialLimits {
    /// Address space that the trial may use, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory_mib: u64,
    /// Time that the trial may take, in seconds
    #[arg(long, value_name = "S", default_value_t = 120)]
    trial_seconds: u64,
}

/// Which of the last cases are read again.
#[derive(clap::Args)]
pub(crate) struct RecentArguments {
    /// Journal of the last cases
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Spool in which their films lie
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// How many of them are read again
    #[arg(long, value_name = "N", default_value_t = 20)]
    cases: usize,
}

impl RecentArguments {
    fn from(&self) -> Option<ReplayFrom> {
        let named = self.journal.is_some() || self.spool.is_some();
        named.then(|| ReplayFrom { journal: self.journal.clone(), spool: self.spool.clone(), cases: self.cases })
    }
}

impl TrialLimits {
    fn limits(&self) -> Limits {
        let time = Duration::from_secs(self.trial_seconds);
        Limits { memory_mib: self.memory_mib, time, ..Limits::default() }
    }

    /// Holds for this process, and for those that it starts until they set a limit of their own.
    fn set(&self) -> Result<(), Failure> {
        let maximum = getrlimit(Resource::As).maximum;
        let bytes = self.memory_mib.saturating_mul(1 << 20);
        let current = Some(maximum.map_or(bytes, |maximum| maximum.min(bytes)));
        setrlimit(Resource::As, Rlimit { current, maximum }).map_err(Failure::Limit)
    }
}

impl StoreArguments {
    fn policy(&self) -> Policy {
        Policy {
            unaudited: self.allow_unaudited,
            test_keys: self.allow_test_keys,
            trial_boots: self.trial_boots,
            ..Policy::default()
        }
    }

    fn device(&self) -> Device {
        match &self.store {
            Some(folder) => Device::at(folder, self.policy()),
            None => Device { policy: self.policy(), ..Device::default() },
        }
    }

    fn open(&self) -> Result<DiskStorage, Failure> {
        Ok(DiskStorage::open(&self.device().store)?)
    }
}

fn parse_version(text: &str) -> Result<ProgramVersion, String> {
    ProgramVersion::parse(text).ok_or_else(|| "expected three numbers with dots, such as 1.0.2".to_owned())
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot {what} {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Refused { path: PathBuf, source: StoreError },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Models(#[from] ModelsError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("{} is signed already by key {key}", path.display())]
    SignedAlready { path: PathBuf, key: String },
    #[error("cannot limit the memory of the trial: {0}")]
    Limit(rustix::io::Errno),
    #[error("nothing to read again: name films, --journal or --spool")]
    NoCases,
    #[error("the list of cases on standard input is none: {0}")]
    Listed(serde_json::Error),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Runs one command: 0 when it did what it says, 1 when it refused or could not.
pub(crate) fn run(command: &BundleCommand) -> ExitCode {
    match dispatch(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lightbox: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &BundleCommand) -> Result<(), Failure> {
    match command {
        BundleCommand::Keygen { name, no_password, json } => keygen(name, *no_password, *json),
        BundleCommand::Seal(arguments) => seal(arguments),
        BundleCommand::Sign { file, key } => sign(file, key),
        BundleCommand::Verify(arguments) => verify(arguments),
        BundleCommand::Inspect(arguments) => inspect(arguments),
        BundleCommand::Diff { read, from } => show_diff(read, from.as_deref()),
        BundleCommand::Permit { file, serial, out } => permit(file, *serial, out),
        BundleCommand::Unpack { read, out } => unpack_into(read, out),
        BundleCommand::Init { store, keys } => init(store, keys.as_deref()),
        BundleCommand::Trust { store, file } => trust(store, file),
        BundleCommand::Install { read, permit, recent, limits } => install(read, permit.as_deref(), recent, limits),
        BundleCommand::SelfTest { store, limits } => run_self_test(store, limits),
        BundleCommand::Replay { store, recent, limits, listed, films } => {
            show_replay(store, recent, limits, *listed, films)
        }
        BundleCommand::Status(arguments) => status(arguments),
        BundleCommand::Confirm(arguments) => confirm(arguments),
        BundleCommand::Rollback(arguments) => rollback(arguments),
        BundleCommand::History(arguments) => history(arguments),
        BundleCommand::Recover { store, keys } => recover(store, keys.as_deref()),
    }
}

fn keygen(name: &Path, no_password: bool, json: bool) -> Result<(), Failure> {
    let password = match (no_password, std::env::var("LIGHTBOX_KEY_PASSWORD")) {
        (true, _) => Password::None,
        (false, Ok(password)) => Password::Given(password),
        (false, Err(_)) => Password::Ask,
    };
    let [secret, public] = ["key", "pub"].map(|ending| with_ending(name, ending));
    for path in [&secret, &public] {
        if path.exists() {
            let source = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(Failure::File { what: "write", path: path.clone(), source });
        }
    }
    let files = signing::generate(password)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(&secret).and_then(|mut file| {
        file.write_all(files.secret.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|source| Failure::File { what: "write", path: secret.clone(), source })?;
    write_file(&public, files.public.as_bytes())?;
    let key = PublicKey::from_file_text(&files.public).map_err(SigningError::from)?;
    print(json, &json!({"id": key.id().to_string(), "public_key": key.as_base64()}), || {
        format!("key {}\n  secret: {}\n  public: {}", key.id(), secret.display(), public.display())
    })
}

fn seal(arguments: &SealArguments) -> Result<(), Failure> {
    let key = open_key(&arguments.key)?;
    let length = seal_model(&Order {
        model: &arguments.model,
        bundle_version: arguments.bundle_version,
        minimum_program: arguments.minimum_program.unwrap_or_else(ProgramVersion::current),
        audit: arguments.audit.as_deref(),
        golden: &arguments.golden,
        golden_source: &arguments.golden_source,
        key: &key,
        out: &arguments.out,
    })?;
    let path = arguments.out.display();
    print(false, &Value::Null, || format!("{path}: {length} bytes, signed by key {}", key.public().id()))
}

fn sign(file: &Path, key: &Path) -> Result<(), Failure> {
    let bytes = read_limited(file, MAX_BUNDLE_BYTES)?;
    let key = open_key(key)?;
    let path = with_ending(file, "minisig");
    let mut signatures = match read_limited(&path, MAX_SIGNATURES_BYTES) {
        Ok(found) => found,
        Err(ModelError::ReadBundle { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if !signatures.is_empty() {
        let found = parse(&signatures).map_err(SigningError::from)?;
        if found.iter().any(|signature| signature.key() == key.public().id()) {
            return Err(Failure::SignedAlready { path: file.to_owned(), key: key.public().id().to_string() });
        }
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    signatures.extend(key.sign(&bytes, &format!("file:{name}"))?.into_bytes());
    write_file(&path, &signatures)?;
    print(false, &Value::Null, || format!("{}: signed by key {}", file.display(), key.public().id()))
}

fn verify(arguments: &ReadArguments) -> Result<(), Failure> {
    let bundle = read_bundle(arguments)?;
    let signers: Vec<Value> = bundle
        .signers()
        .iter()
        .map(|signer| json!({"name": signer.name, "role": signer.role.name(), "id": signer.id.to_string()}))
        .collect();
    let value = json!({
        "bundle_version": bundle.contents().bundle_version, "sha256": bundle.sha256(), "signers": signers
    });
    print(arguments.store.json, &value, || {
        let signers = bundle.signers().iter().map(|s| format!("{} ({} key {})", s.name, s.role, s.id));
        format!("{}: accepted, signed by {}", arguments.file.display(), signers.collect::<Vec<_>>().join(" and "))
    })
}

fn inspect(arguments: &ReadArguments) -> Result<(), Failure> {
    let bundle = read_bundle(arguments)?;
    let lines = summarise(&bundle);
    let mut value: serde_json::Map<String, Value> =
        lines.iter().map(|line| (line.topic.to_string(), Value::from(line.told.to_string()))).collect();
    value.insert("facts".to_owned(), facts_json(&Facts::of(&bundle)));
    print(arguments.store.json, &Value::from(value), || {
        lines.iter().map(|line| format!("{:<24} {}", line.topic.to_string(), line.told)).collect::<Vec<_>>().join("\n")
    })
}

/// What a script or another screen needs of a bundle.
fn facts_json(facts: &Facts) -> Value {
    let signers = facts
        .signers
        .iter()
        .map(|signer| json!({"name": signer.name, "role": signer.role.name(), "revoked": signer.revoked}));
    let figures = facts.figures.iter().map(|figure| {
        json!({
            "name": figure.name, "value": figure.value, "low": figure.low, "high": figure.high, "films": figure.films,
        })
    });
    json!({
        "name": facts.name, "version": facts.version, "bundle_version": facts.bundle_version, "sha256": facts.sha256,
        "signers": signers.collect::<Vec<_>>(), "audit": figures.collect::<Vec<_>>(),
    })
}

fn show_diff(read: &ReadArguments, from: Option<&Path>) -> Result<(), Failure> {
    let device = read.store.device();
    let trusted = models::trusted(read.keys.as_deref(), &device)?;
    let after = open_bundle(&read.file, &trusted, &device.policy)?;
    let before = match from {
        Some(path) => Some(open_bundle(path, &trusted, &device.policy)?),
        None => Store::new(&mut read.store.open()?).running()?,
    };
    let changes = diff(&before.as_ref().map(summarise).unwrap_or_default(), &summarise(&after));
    print(read.store.json, &changes_json(&changes), || changes_text(&changes))
}

fn unpack_into(read: &ReadArguments, out: &Path) -> Result<(), Failure> {
    let bundle = read_bundle(read)?;
    unpack(&bundle, out)?;
    let manifest = bundle.manifest();
    print(read.store.json, &json!({"model": out.display().to_string()}), || {
        format!("{}: {} {} as a model directory", out.display(), manifest.name, manifest.version)
    })
}

fn permit(file: &Path, serial: u64, out: &Path) -> Result<(), Failure> {
    let permit = PermitFile::downgrade(&read_limited(file, MAX_BUNDLE_BYTES)?, serial);
    let text = serde_json::to_string_pretty(&permit).map_err(io::Error::from)?;
    write_file(out, format!("{text}\n").as_bytes())?;
    print(false, &Value::Null, || format!("{}: now sign it with `lightbox bundle sign`", out.display()))
}

fn init(store: &StoreArguments, keys: Option<&Path>) -> Result<(), Failure> {
    let device = store.device();
    let seeded = models::init(&device, keys)?;
    let folder = device.store.display();
    let holds = seeded.as_ref().map(ToString::to_string);
    print(store.json, &json!({"store": folder.to_string(), "confirmed": holds}), || match holds {
        Some(ref model) => format!("{folder}: a model store with {model}, confirmed"),
        None => format!("{folder}: an empty model store; next: lightbox bundle install FILE"),
    })
}

fn trust(store: &StoreArguments, file: &Path) -> Result<(), Failure> {
    let list = read_limited(file, MAX_LIST_BYTES)?;
    let signatures = read_limited(&with_ending(file, "minisig"), MAX_SIGNATURES_BYTES)?;
    let replaced = Store::new(&mut store.open()?).replace_key_list(&list, &signatures, &store.policy());
    let version = replaced.map_err(|source| Failure::Refused { path: file.to_owned(), source })?;
    print(store.json, &json!({"key_list_version": version}), || format!("key list {version} is in force"))
}

fn install(
    read: &ReadArguments,
    permit: Option<&Path>,
    recent: &RecentArguments,
    limits: &TrialLimits,
) -> Result<(), Failure> {
    let with = With { keys: read.keys.as_deref(), permit, replay: recent.from(), limits: limits.limits() };
    let installed = models::install(&read.file, &read.store.device(), &with, &mut |step| log::info!("{step:?}"))?;
    let [verify, write, self_test, replay] = installed.times.map(|time| (time.as_secs_f64() * 1e6).round() / 1e3);
    let value = json!({
        "slot": installed.slot.name(), "changes": changes_json(&installed.changes), "self_test": "passed",
        "replay": installed.replayed.as_ref().map(replayed_json),
        "timing_ms": {"verify": verify, "write": write, "self_test": self_test, "replay": replay}
    });
    print(read.store.json, &value, || {
        let what = if installed.first { "this is the first model here:" } else { "what changes:" };
        let replayed = installed
            .replayed
            .as_ref()
            .map_or_else(String::new, |replayed| format!("the last cases, read again: {}\n", replayed_text(replayed)));
        format!(
            "{what}\n{}\n{replayed}installed in slot {}, self-test passed, on trial; next: lightbox bundle confirm",
            changes_text(&installed.changes),
            installed.slot
        )
    })
}

fn run_self_test(store: &StoreArguments, limits: &TrialLimits) -> Result<(), Failure> {
    limits.set()?;
    let tested = models::self_test_of_the_installed(&store.device())?;
    for remark in &tested.remarks {
        eprintln!("lightbox: {remark}");
    }
    let stage = match tested.stage {
        Stage::Trial { boots_left, .. } => format!("trial, {boots_left} starts left"),
        Stage::Confirmed => "confirmed".to_owned(),
    };
    let (slot, films, ms) = (tested.slot, tested.films, tested.time.as_secs_f64() * 1e3);
    let value = json!({"slot": slot.name(), "stage": stage, "films": films, "ms": ms});
    print(store.json, &value, || {
        format!("slot {slot} ({stage}): {films} golden films answered as they should, in {ms:.0} ms")
    })
}

fn show_replay(
    store: &StoreArguments,
    recent: &RecentArguments,
    limits: &TrialLimits,
    listed: bool,
    films: &[PathBuf],
) -> Result<(), Failure> {
    // It sets limits of its own, which have to lie below those that it inherits.
    let mut wall = Wall::of_this_program();
    wall.warm_up().map_err(ModelsError::from)?;
    limits.set()?;
    let named = |film: &PathBuf| Case { name: film.display().to_string(), film: film.clone(), said: None };
    let mut cases: Vec<Case> = films.iter().map(named).collect();
    let mut skipped = 0;
    if listed {
        let mut text = String::new();
        io::stdin().take(MAX_BUNDLE_BYTES).read_to_string(&mut text)?;
        cases.extend(serde_json::from_str::<Vec<Case>>(&text).map_err(Failure::Listed)?);
    } else if let Some(from) = recent.from() {
        let found = models::recent_cases(&from).map_err(ModelsError::from)?;
        skipped = found.skipped;
        cases.extend(found.cases);
    } else if cases.is_empty() {
        return Err(Failure::NoCases);
    }
    let mut replayed = models::compare(&store.device(), &cases, &mut wall)?;
    replayed.skipped += skipped;
    print(store.json, &replayed_json(&replayed), || replayed_text(&replayed))
}

fn replayed_json(replayed: &Replayed) -> Value {
    // Text and numbers alone always have a form in JSON.
    serde_json::to_value(replayed).unwrap_or_default()
}

fn replayed_text(replayed: &Replayed) -> String {
    let Replayed { films, skipped, lost_positives, changed } = replayed;
    let skipped = if *skipped > 0 { format!(" ({skipped} more whose film is gone)") } else { String::new() };
    let mut text =
        format!("{films} films{skipped}, {} verdicts differ, {lost_positives} lost positives", changed.len());
    for case in changed {
        text += &format!("\n  {}: {} -> {}", case.film, case.before, case.after);
    }
    text
}

fn status(arguments: &StoreArguments) -> Result<(), Failure> {
    let mut storage = arguments.open()?;
    let mut store = Store::new(&mut storage);
    let state = store.state()?;
    let floor = store.floor(&arguments.policy())?;
    let running = slots::confirmed(&state.slots).first().copied();
    let trial = slots::candidate(&state.slots);
    let next = trial.or(running);
    let slot = |slot: Slot| {
        let held = state.slot(slot);
        let mut value = json!({
            "state": held.name(),
            "bundle": held.bundle().map(|bundle| json!({
                "name": bundle.name, "version": bundle.version,
                "bundle_version": bundle.bundle_version, "sha256": bundle.sha256,
            })),
        });
        match held {
            SlotState::Trial { boots_left, self_tested, good_readings, .. } => {
                value["boots_left"] = (*boots_left).into();
                value["self_tested"] = (*self_tested).into();
                value["good_readings"] = (*good_readings).into();
            }
            SlotState::Failed { why, .. } => value["why"] = why.to_string().into(),
            SlotState::Empty | SlotState::Staged { .. } | SlotState::Confirmed { .. } => {}
        }
        value
    };
    let value = json!({
        "generation": state.generation, "key_list_version": state.key_list_version,
        "lowest_bundle_version": floor.as_ref().map(|ratchet| ratchet.bundle_version),
        "confirmed": running.map(Slot::name), "next_start": next.map(Slot::name),
        "slots": {"a": slot(Slot::A), "b": slot(Slot::B)},
    });
    print(arguments.json, &value, || {
        let mut text = String::new();
        for at in Slot::ALL {
            let held = state.slot(at);
            let mark = if running == Some(at) { "running" } else { held.name() };
            let bundle = held.bundle().map_or_else(|| "-".to_owned(), ToString::to_string);
            let more = match held {
                SlotState::Trial { boots_left, self_tested, .. } => {
                    let tested = if *self_tested { "passed" } else { "not passed" };
                    format!(", self-test {tested}, {boots_left} starts left")
                }
                SlotState::Failed { why, .. } => format!(": {why}"),
                SlotState::Empty | SlotState::Staged { .. } | SlotState::Confirmed { .. } => String::new(),
            };
            text += &format!("slot {at}  {mark:<10} {bundle}{more}\n");
        }
        let floor = floor.map_or_else(|| "none".to_owned(), |ratchet| ratchet.bundle_version.to_string());
        text + &format!("key list {}, lowest bundle version {floor}", state.key_list_version)
    })
}

fn confirm(arguments: &StoreArguments) -> Result<(), Failure> {
    let mut storage = arguments.open()?;
    let id = Store::new(&mut storage).confirm()?;
    print(arguments.json, &json!({"running": id.to_string()}), || format!("{id} is confirmed"))
}

fn rollback(arguments: &StoreArguments) -> Result<(), Failure> {
    let mut storage = arguments.open()?;
    let id = Store::new(&mut storage).roll_back(&arguments.policy())?;
    print(arguments.json, &json!({"running": id.to_string()}), || format!("{id} is used again"))
}

fn history(arguments: &StoreArguments) -> Result<(), Failure> {
    let mut storage = arguments.open()?;
    let history = Store::new(&mut storage).state()?.history;
    let value = serde_json::to_value(&history).map_err(io::Error::from)?;
    print(arguments.json, &value, || {
        let line = |entry: &bundle::state::HistoryEntry| {
            let slot = entry.slot.as_deref().map_or_else(String::new, |slot| format!("slot {slot}"));
            let words = [entry.bundle.as_deref(), entry.detail.as_deref()].into_iter().flatten().collect::<Vec<_>>();
            format!("{:>6}  {:<16} {slot:<7} {}", entry.generation, entry.event, words.join(", "))
        };
        history.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

fn recover(arguments: &StoreArguments, keys: Option<&Path>) -> Result<(), Failure> {
    let list = match keys {
        Some(path) => read_limited(path, MAX_LIST_BYTES)?,
        None => bundle::key_list::BUILT_IN.to_vec(),
    };
    Store::new(&mut arguments.open()?).recover(&list)?;
    status(arguments)
}

// Below: files, keys and output.

fn read_bundle(read: &ReadArguments) -> Result<VerifiedBundle, Failure> {
    let device = read.store.device();
    let trusted = models::trusted(read.keys.as_deref(), &device)?;
    Ok(open_bundle(&read.file, &trusted, &device.policy)?)
}

fn open_key(path: &Path) -> Result<SigningKey, Failure> {
    let bytes = read_limited(path, MAX_LIST_BYTES)?;
    let password = std::env::var("LIGHTBOX_KEY_PASSWORD").map_or(Password::Ask, Password::Given);
    Ok(SigningKey::open(&String::from_utf8_lossy(&bytes), password)?)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|source| Failure::File { what: "write", path: path.to_owned(), source })
}

fn changes_json(changes: &[Change]) -> Value {
    let side = |side: &Option<Told>| side.as_ref().map(Told::to_string);
    let change = |change: &Change| json!({"what": change.topic.to_string(), "before": side(&change.before), "after": side(&change.after)});
    changes.iter().map(change).collect::<Vec<_>>().into()
}

fn changes_text(changes: &[Change]) -> String {
    let side = |side: &Option<Told>| side.as_ref().map_or_else(|| "-".to_owned(), Told::to_string);
    if changes.is_empty() {
        return "nothing differs".to_owned();
    }
    let line = |change: &Change| {
        format!("  {:<24} {} -> {}", change.topic.to_string(), side(&change.before), side(&change.after))
    };
    changes.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn print(json: bool, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let text = if json { value.to_string() } else { text() };
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}
