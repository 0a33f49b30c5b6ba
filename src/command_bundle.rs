//! `lightbox bundle`: makes, checks and installs model bundles. Reads arguments and files, prints, ends with 0 or 1.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use lightbox::adapters::disk::DiskStorage;
use lightbox::adapters::file::{Limits, read_film};
use lightbox::app;
use lightbox::bundle::container::MAX_BUNDLE_BYTES;
use lightbox::bundle::contents::{Contents, ContentsError, FigureEntry, ProgramVersion, figures};
use lightbox::bundle::key_list::{KeyList, MAX_LIST_BYTES, PermitFile, TrustError};
use lightbox::bundle::replay::replay;
use lightbox::bundle::signature::{MAX_SIGNATURES_BYTES, PublicKey};
use lightbox::bundle::signing::{self, Password, SigningError, SigningKey};
use lightbox::bundle::slots::{self, Slot, SlotState};
use lightbox::bundle::summary::{Change, diff, summarise};
use lightbox::bundle::{
    self, AfterSelfTest, BundleError, Draft, ModelError, Policy, Stage, Store, StoreError, VerifiedBundle,
};
use lightbox::domain::{GreyImage, Rejection, Verdict};
use lightbox::engine::{EngineError, TractClassifier};
use lightbox::ports::StorageError;
use lightbox::self_test::{SelfTestError, make_golden, self_test};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::{Value, json};

/// Longest side of a golden film.
const GOLDEN_SIDE: u32 = 512;

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
    /// Makes the model store of this device; its first key list is trusted because whoever runs this is
    Init {
        #[command(flatten)]
        store: StoreArguments,
        /// Key list
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
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
    /// own, and asked the golden films. The running model stays the one to come back to until `confirm`.
    Install {
        #[command(flatten)]
        read: ReadArguments,
        /// Signed permit to go back to an older bundle
        #[arg(long, value_name = "FILE")]
        permit: Option<PathBuf>,
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
        /// Films, such as the last local cases
        #[arg(required = true)]
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
        /// The key list that came with the program
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
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
    /// Audit figures: a JSON list of {name, value, low, high, films}
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
    /// Key list to go by [default: that of the store]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The bundle, with FILE.minisig beside it
    file: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct StoreArguments {
    /// Folder of the model store [default: $LIGHTBOX_STORE, else /var/lib/lightbox/models]
    #[arg(long = "store", value_name = "DIR", default_value_os_t = default_store(), hide_default_value = true)]
    store: PathBuf,
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

impl StoreArguments {
    fn policy(&self) -> Policy {
        Policy {
            unaudited: self.allow_unaudited,
            test_keys: self.allow_test_keys,
            trial_boots: self.trial_boots,
            ..Policy::default()
        }
    }
}

fn default_store() -> PathBuf {
    std::env::var_os("LIGHTBOX_STORE").unwrap_or_else(|| "/var/lib/lightbox/models".into()).into()
}

fn parse_version(text: &str) -> Result<ProgramVersion, String> {
    ProgramVersion::parse(text).ok_or_else(|| "expected three numbers with dots, such as 1.0.2".to_owned())
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot {what} {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} has more than {limit} bytes", path.display())]
    TooLong { path: PathBuf, limit: u64 },
    #[error("{}: {source}", path.display())]
    Refused { path: PathBuf, source: StoreError },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
    #[error("{}: {source}", path.display())]
    Film { path: PathBuf, source: Rejection },
    #[error("{}: {source}", path.display())]
    Audit { path: PathBuf, source: ContentsError },
    #[error("{} is signed already by key {key}", path.display())]
    SignedAlready { path: PathBuf, key: String },
    #[error("cannot limit the memory of the trial: {0}")]
    Limit(rustix::io::Errno),
    #[error("the self-test did not pass: {0}")]
    Trial(String),
    #[error("both a running model and one on trial are needed to compare them")]
    NothingToCompare,
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
        BundleCommand::Init { store, keys } => init(store, keys),
        BundleCommand::Trust { store, file } => trust(store, file),
        BundleCommand::Install { read, permit, limits } => install(read, permit.as_deref(), limits),
        BundleCommand::SelfTest { store, limits } => run_self_test(store, limits),
        BundleCommand::Replay { store, films } => show_replay(store, films),
        BundleCommand::Status(arguments) => status(arguments),
        BundleCommand::Confirm(arguments) => confirm(arguments),
        BundleCommand::Rollback(arguments) => rollback(arguments),
        BundleCommand::History(arguments) => history(arguments),
        BundleCommand::Recover { store, keys } => recover(store, keys),
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
    let mut model = bundle::open(&arguments.model)?;
    let mut classifier = TractClassifier::load(&model)?;
    let network = fs_read(&arguments.model.join(bundle::NETWORK), MAX_BUNDLE_BYTES)?;
    model.release_network();
    let mut films = Vec::new();
    for path in &arguments.golden {
        let acquired = read_film(path, &Limits::default());
        films.push(shrink(&acquired.map_err(|source| Failure::Film { path: path.clone(), source })?.image));
    }
    let golden = make_golden(films, model.manifest(), &mut classifier)?;
    let audit = match &arguments.audit {
        None => Vec::new(),
        Some(path) => {
            let refused = |source| Failure::Audit { path: path.clone(), source };
            let entries: Vec<FigureEntry> = serde_json::from_slice(&fs_read(path, MAX_LIST_BYTES)?)
                .map_err(|error| refused(ContentsError::Json(error.to_string())))?;
            figures(&entries).map_err(refused)?
        }
    };
    let contents = Contents {
        bundle_version: arguments.bundle_version,
        minimum_program: arguments.minimum_program.unwrap_or_else(ProgramVersion::current),
        audit,
    };
    let bytes = bundle::seal(&Draft {
        contents: &contents,
        manifest: &fs_read(&arguments.model.join(bundle::MANIFEST), MAX_BUNDLE_BYTES)?,
        card: &fs_read(&arguments.model.join(bundle::CARD), MAX_BUNDLE_BYTES)?,
        network: &network,
        golden: &golden,
        golden_source: &arguments.golden_source,
    })?;
    let key = open_key(&arguments.key)?;
    let manifest = model.manifest();
    let comment = format!("lightbox bundle {} {} {}", contents.bundle_version, manifest.name, manifest.version);
    let signature = key.sign(&bytes, &comment)?;
    write_file(&arguments.out, &bytes)?;
    write_file(&with_ending(&arguments.out, "minisig"), signature.as_bytes())?;
    let path = arguments.out.display();
    print(false, &Value::Null, || format!("{path}: {} bytes, signed by key {}", bytes.len(), key.public().id()))
}

/// At most [`GOLDEN_SIDE`] pixels wide and high.
fn shrink(image: &GreyImage) -> GreyImage {
    let longest = image.width().max(image.height());
    if longest <= GOLDEN_SIDE {
        return image.clone();
    }
    let side = |side: u32| (u64::from(side) * u64::from(GOLDEN_SIDE) / u64::from(longest)).max(1) as u32;
    let buffer: Option<image::ImageBuffer<image::Luma<u16>, _>> =
        image::ImageBuffer::from_raw(image.width(), image.height(), image.greys().to_vec());
    let small = buffer.map(|buffer| {
        image::imageops::resize(&buffer, side(image.width()), side(image.height()), image::imageops::Triangle)
    });
    let small = small.and_then(|small| GreyImage::new(small.width(), small.height(), small.into_raw()).ok());
    // A grey image always has as many values as it has pixels.
    small.unwrap_or_else(|| image.clone())
}

fn sign(file: &Path, key: &Path) -> Result<(), Failure> {
    let bytes = fs_read(file, MAX_BUNDLE_BYTES)?;
    let key = open_key(key)?;
    let path = with_ending(file, "minisig");
    let mut signatures = match fs_read(&path, MAX_SIGNATURES_BYTES) {
        Ok(found) => found,
        Err(Failure::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(failure) => return Err(failure),
    };
    if !signatures.is_empty() {
        let found = bundle::signature::parse(&signatures).map_err(SigningError::from)?;
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
    let value: serde_json::Map<String, Value> =
        lines.iter().map(|line| (line.key.clone(), Value::from(line.value.clone()))).collect();
    print(arguments.store.json, &Value::from(value), || {
        lines.iter().map(|line| format!("{:<24} {}", line.key, line.value)).collect::<Vec<_>>().join("\n")
    })
}

fn show_diff(read: &ReadArguments, from: Option<&Path>) -> Result<(), Failure> {
    let after = read_bundle(read)?;
    let before = match from {
        Some(path) => {
            let trusted = key_list(read)?;
            Some(read_signed(path, &trusted, &read.store.policy())?)
        }
        None => running_bundle(&read.store)?,
    };
    let changes = diff(&before.as_ref().map(summarise).unwrap_or_default(), &summarise(&after));
    print(read.store.json, &changes_json(&changes), || changes_text(&changes))
}

fn permit(file: &Path, serial: u64, out: &Path) -> Result<(), Failure> {
    let permit = PermitFile::downgrade(&fs_read(file, MAX_BUNDLE_BYTES)?, serial);
    let text = serde_json::to_string_pretty(&permit).map_err(io::Error::from)?;
    write_file(out, format!("{text}\n").as_bytes())?;
    print(false, &Value::Null, || format!("{}: now sign it with `lightbox bundle sign`", out.display()))
}

fn init(store: &StoreArguments, keys: &Path) -> Result<(), Failure> {
    let list = fs_read(keys, MAX_LIST_BYTES)?;
    let mut storage = DiskStorage::open_or_create(&store.store)?;
    Store::new(&mut storage).create(&list)?;
    print(store.json, &json!({"store": store.store.display().to_string()}), || {
        format!("{}: an empty model store; next: lightbox bundle install FILE", store.store.display())
    })
}

fn trust(store: &StoreArguments, file: &Path) -> Result<(), Failure> {
    let list = fs_read(file, MAX_LIST_BYTES)?;
    let signatures = fs_read(&with_ending(file, "minisig"), MAX_SIGNATURES_BYTES)?;
    let mut storage = DiskStorage::open(&store.store)?;
    let replaced = Store::new(&mut storage).replace_key_list(&list, &signatures, &store.policy());
    let version = replaced.map_err(|source| Failure::Refused { path: file.to_owned(), source })?;
    print(store.json, &json!({"key_list_version": version}), || format!("key list {version} is in force"))
}

fn install(read: &ReadArguments, permit: Option<&Path>, limits: &TrialLimits) -> Result<(), Failure> {
    let policy = read.store.policy();
    let start = Instant::now();
    let trusted = key_list(read)?;
    let bundle = read_signed(&read.file, &trusted, &policy)?;
    let permit = match permit {
        None => None,
        Some(path) => {
            let signatures = fs_read(&with_ending(path, "minisig"), MAX_SIGNATURES_BYTES)?;
            Some(trusted.permit(&fs_read(path, MAX_LIST_BYTES)?, &signatures)?)
        }
    };
    let after = summarise(&bundle);
    let verified = start.elapsed();
    let (slot, changes, first);
    {
        let mut storage = DiskStorage::open(&read.store.store)?;
        let mut store = Store::new(&mut storage);
        let before = store.running()?.map(|bundle| summarise(&bundle));
        first = before.is_none();
        changes = diff(&before.unwrap_or_default(), &after);
        let staged = store.stage(bundle, permit.as_ref(), &policy);
        slot = staged.map_err(|source| Failure::Refused { path: read.file.clone(), source })?;
        // The lock is let go, for the trial runs in a process of its own.
    }
    let staged = start.elapsed();
    try_in_a_process_of_its_own(&read.store, limits)?;
    let tried = start.elapsed();
    let ms = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    let value = json!({
        "slot": slot.name(), "changes": changes_json(&changes), "self_test": "passed",
        "timing_ms": {"verify": ms(verified), "write": ms(staged - verified), "self_test": ms(tried - staged)}
    });
    print(read.store.json, &value, || {
        let what = if first { "this is the first model here:" } else { "what changes:" };
        format!(
            "{what}\n{}\ninstalled in slot {slot}, self-test passed, on trial; next: lightbox bundle confirm",
            changes_text(&changes)
        )
    })
}

/// Starts what was staged as the device would, so that a network that eats the memory or never ends harms nothing.
fn try_in_a_process_of_its_own(store: &StoreArguments, limits: &TrialLimits) -> Result<(), Failure> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(["bundle", "self-test", "--json", "--store"]).arg(&store.store);
    command.arg("--trial-boots").arg(store.trial_boots.to_string());
    command.arg("--memory-mib").arg(limits.memory_mib.to_string());
    for (set, flag) in [(store.allow_test_keys, "--allow-test-keys"), (store.allow_unaudited, "--allow-unaudited")] {
        if set {
            command.arg(flag);
        }
    }
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn()?;
    let end = Instant::now() + Duration::from_secs(limits.trial_seconds);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if status.is_some_and(|status| status.success()) {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(4096).read_to_string(&mut said)?;
    }
    let ended = ended(status, limits);
    // A trial that gave its reason has taken it down itself.
    let own_reason = said.lines().find_map(|line| line.strip_prefix("lightbox: the self-test did not pass: "));
    if let Some(reason) = own_reason {
        return Err(Failure::Trial(reason.to_owned()));
    }
    let mut storage = DiskStorage::open(&store.store)?;
    match Store::new(&mut storage).report_fault(&ended) {
        Ok(()) | Err(StoreError::NoTrial) => {}
        Err(error) => return Err(error.into()),
    }
    let words: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
    Err(Failure::Trial(format!("{ended}; {}", words.join(" "))))
}

fn ended(status: Option<ExitStatus>, limits: &TrialLimits) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        None => format!("the trial took more than {} s", limits.trial_seconds),
        Some((_, Some(signal))) => {
            format!("the trial ended by signal {signal}, with {} MiB of memory allowed", limits.memory_mib)
        }
        Some((code, None)) => format!("the trial ended with status {}", code.unwrap_or(-1)),
    }
}

fn run_self_test(store: &StoreArguments, limits: &TrialLimits) -> Result<(), Failure> {
    let bytes = Some(limits.memory_mib.saturating_mul(1 << 20));
    setrlimit(Resource::As, Rlimit { current: bytes, maximum: bytes }).map_err(Failure::Limit)?;
    let mut storage = DiskStorage::open(&store.store)?;
    let mut models = Store::new(&mut storage);
    let running = models.boot(&store.policy())?;
    let (slot, stage) = (running.slot, running.stage);
    for remark in &running.remarks {
        eprintln!("lightbox: {remark}");
    }
    let start = Instant::now();
    let mut parts = running.bundle.into_parts();
    let outcome = TractClassifier::load(&parts.model).map_err(|error| error.to_string()).and_then(|mut classifier| {
        parts.model.release_network();
        self_test(&parts.golden, parts.model.manifest(), &mut classifier).map_err(|error| error.to_string())
    });
    let taken = start.elapsed();
    let after = models.report_self_test(slot, outcome.clone())?;
    if let Err(reason) = outcome {
        let next = match after {
            AfterSelfTest::Run | AfterSelfTest::BootAgain => "slot given up, the model before it is used",
            AfterSelfTest::Fault => "there is no other model: the device shows a fault and no verdict",
        };
        return Err(Failure::Trial(format!("{reason}; {next}")));
    }
    let stage = match stage {
        Stage::Trial { boots_left, .. } => format!("trial, {boots_left} starts left"),
        Stage::Confirmed => "confirmed".to_owned(),
    };
    let films = parts.golden.films.len();
    let value = json!({"slot": slot.name(), "stage": stage, "films": films, "ms": taken.as_secs_f64() * 1e3});
    print(store.json, &value, || {
        format!(
            "slot {slot} ({stage}): {films} golden films answered as they should, in {:.0} ms",
            taken.as_secs_f64() * 1e3
        )
    })
}

fn show_replay(store: &StoreArguments, films: &[PathBuf]) -> Result<(), Failure> {
    let mut storage = DiskStorage::open(&store.store)?;
    let mut models = Store::new(&mut storage);
    let (Some(running), Some(trial)) = (models.running()?, models.candidate()?) else {
        return Err(Failure::NothingToCompare);
    };
    let mut readers = Vec::new();
    for bundle in [running, trial] {
        let mut parts = bundle.into_parts();
        let classifier = TractClassifier::load(&parts.model)?;
        parts.model.release_network();
        readers.push((parts.model, classifier));
    }
    let mut read = |which: usize, film: &str| -> Verdict {
        let (model, classifier) = &mut readers[which];
        let acquired = read_film(Path::new(film), &Limits::default());
        app::screen(acquired, model.manifest(), classifier).reading.verdict
    };
    let names: Vec<String> = films.iter().map(|film| film.display().to_string()).collect();
    let cases: Vec<(String, Verdict)> = names.into_iter().map(|film| (film.clone(), read(0, &film))).collect();
    let diff = replay(cases, |film| Ok::<_, Failure>(read(1, film)))?;
    let said = |verdict: &Verdict| match verdict.reason() {
        Some(reason) => format!("{} ({reason})", verdict.name()),
        None => verdict.name().to_owned(),
    };
    let changed: Vec<Value> = diff
        .changed
        .iter()
        .map(|case| json!({"film": case.case, "before": said(&case.before), "after": said(&case.after)}))
        .collect();
    let lost = diff.lost_positives().count();
    let value = json!({"films": diff.cases, "lost_positives": lost, "changed": changed});
    print(store.json, &value, || {
        let mut text = format!("{} films, {} verdicts differ, {lost} lost positives", diff.cases, diff.changed.len());
        for case in &diff.changed {
            text += &format!("\n  {}: {} -> {}", case.case, said(&case.before), said(&case.after));
        }
        text
    })
}

fn status(arguments: &StoreArguments) -> Result<(), Failure> {
    let mut storage = DiskStorage::open(&arguments.store)?;
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
    let mut storage = DiskStorage::open(&arguments.store)?;
    let id = Store::new(&mut storage).confirm()?;
    print(arguments.json, &json!({"running": id.to_string()}), || format!("{id} is confirmed"))
}

fn rollback(arguments: &StoreArguments) -> Result<(), Failure> {
    let mut storage = DiskStorage::open(&arguments.store)?;
    let id = Store::new(&mut storage).roll_back(&arguments.policy())?;
    print(arguments.json, &json!({"running": id.to_string()}), || format!("{id} is used again"))
}

fn history(arguments: &StoreArguments) -> Result<(), Failure> {
    let mut storage = DiskStorage::open(&arguments.store)?;
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

fn recover(arguments: &StoreArguments, keys: &Path) -> Result<(), Failure> {
    let list = fs_read(keys, MAX_LIST_BYTES)?;
    let mut storage = DiskStorage::open(&arguments.store)?;
    Store::new(&mut storage).recover(&list)?;
    drop(storage);
    status(arguments)
}

// Below: files, keys and output.

fn running_bundle(store: &StoreArguments) -> Result<Option<VerifiedBundle>, Failure> {
    let mut storage = DiskStorage::open(&store.store)?;
    Ok(Store::new(&mut storage).running()?)
}

fn key_list(read: &ReadArguments) -> Result<KeyList, Failure> {
    match &read.keys {
        Some(path) => Ok(KeyList::anchor(&fs_read(path, MAX_LIST_BYTES)?)?),
        None => {
            let mut storage = DiskStorage::open(&read.store.store)?;
            Ok(Store::new(&mut storage).trusted()?)
        }
    }
}

fn read_bundle(read: &ReadArguments) -> Result<VerifiedBundle, Failure> {
    let trusted = key_list(read)?;
    read_signed(&read.file, &trusted, &read.store.policy())
}

fn read_signed(path: &Path, trusted: &KeyList, policy: &Policy) -> Result<VerifiedBundle, Failure> {
    let bytes = fs_read(path, MAX_BUNDLE_BYTES)?;
    let signatures = fs_read(&with_ending(path, "minisig"), MAX_SIGNATURES_BYTES)?;
    bundle::verify(bytes, signatures, trusted, policy)
        .map_err(|error| Failure::Refused { path: path.to_owned(), source: error.into() })
}

fn open_key(path: &Path) -> Result<SigningKey, Failure> {
    let bytes = fs_read(path, MAX_LIST_BYTES)?;
    let password = std::env::var("LIGHTBOX_KEY_PASSWORD").map_or(Password::Ask, Password::Given);
    Ok(SigningKey::open(&String::from_utf8_lossy(&bytes), password)?)
}

/// `a/b.lbx` and `minisig` make `a/b.lbx.minisig`.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn fs_read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let failed = |source| Failure::File { what: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::with_capacity(length.min(limit) as usize);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Failure::TooLong { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|source| Failure::File { what: "write", path: path.to_owned(), source })
}

fn changes_json(changes: &[Change]) -> Value {
    changes
        .iter()
        .map(|change| json!({"what": change.key, "before": change.before, "after": change.after}))
        .collect::<Vec<_>>()
        .into()
}

fn changes_text(changes: &[Change]) -> String {
    let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "-".to_owned());
    if changes.is_empty() {
        return "nothing differs".to_owned();
    }
    let line = |change: &Change| format!("  {:<24} {} -> {}", change.key, side(&change.before), side(&change.after));
    changes.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn print(json: bool, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let text = if json { value.to_string() } else { text() };
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_golden_film_is_shrunk_with_its_shape() {
        let large = GreyImage::new(2000, 1000, vec![700; 2_000_000]).expect("sizes fit");
        let small = shrink(&large);
        assert_eq!((small.width(), small.height()), (512, 256));
        assert!(small.greys().iter().all(|grey| *grey == 700));
        let tiny = GreyImage::new(100, 90, vec![0; 9000]).expect("sizes fit");
        assert_eq!(shrink(&tiny), tiny);
    }

    #[test]
    fn an_ending_is_added_and_never_replaces_one() {
        assert_eq!(with_ending(Path::new("a/b.lbx"), "minisig"), Path::new("a/b.lbx.minisig"));
    }
}
