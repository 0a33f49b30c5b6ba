//! `lightbox journal`: shows, checks, exports and sends the record of readings. Ends with 0, or with 1 and why.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lightbox::adapters::archive::{Archive, ArchiveError, Films, age_s};
use lightbox::adapters::dicom::derived::{Derived, DerivedError, Shown};
use lightbox::config::{ConfigError, Sending};
use lightbox::domain::{Language, What};
use lightbox::record::{
    ExportError, Journal, JournalError, QueueState, Queued, Recorded, rfc3339, write_csv, write_fhir, write_json_lines,
};
use serde_json::json;

#[derive(clap::Subcommand)]
pub(crate) enum JournalCommand {
    /// Lists the newest readings, newest first
    List {
        #[command(flatten)]
        journal: Named,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        last: usize,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Shows all that is written down of one reading
    Show {
        #[command(flatten)]
        journal: Named,
        /// Number of the reading
        sequence: i64,
    },
    /// Follows the chain of digests: status 0 when it is whole, 1 with the first row that does not fit
    ///
    /// Rows taken away at the end leave a chain that is whole: compare the newest number and digest with what was
    /// written down earlier, on paper or in another system.
    Verify {
        #[command(flatten)]
        journal: Named,
        /// One JSON object instead of words
        #[arg(long)]
        json: bool,
    },
    /// Writes every reading as a table, as JSON, as FHIR, as DICOM reports or as DICOM pictures
    Export {
        #[command(flatten)]
        journal: Named,
        /// csv (RFC 4180), json (an object a line), fhir (R4: one Bundle), dicom-sr (a structured report for each),
        /// dicom-sc (a picture of the verdict's screen for each)
        #[arg(long, value_enum)]
        format: Format,
        /// Where to: a file, for DICOM a folder that exists [default: standard output, not for DICOM]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// For dicom-sc: the spool in which films are looked for [default: pictures are without their films]
        #[arg(long, value_name = "FOLDER")]
        spool: Option<PathBuf>,
        /// For dicom-sc: what the time in the pictures is ahead of UTC, in minutes
        #[arg(long, value_name = "MINUTES", default_value_t = 0, allow_negative_numbers = true,
            value_parser = clap::value_parser!(i32).range(-720..=840))]
        utc_offset_min: i32,
        /// For dicom-sc: what the pictures speak: en, fr, es, pt, sw, vi, hi or ar
        #[arg(long, value_name = "CODE", default_value = "en")]
        language: Language,
    },
    /// Lists the objects that wait to be sent to the archive, and those that it refused for good
    Queue {
        #[command(flatten)]
        journal: Named,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
        /// Also those that the archive has taken
        #[arg(long)]
        all: bool,
    },
    /// Sends now what waits for the archive
    ///
    /// A kiosk or listener that runs sends by itself; nothing happens where both do: the archive keeps an object once.
    /// Exit status: 0 when the archive has everything, 1 when something waits or was refused for good, or cannot be sent.
    Send {
        /// The board file, or the configuration of `lightbox listen`: it names archive and journal
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Send what was refused for good once more, too
        #[arg(long)]
        failed: bool,
    },
    /// Takes out the oldest readings until N are left; the chain stays whole
    ///
    /// It stops at the first reading of which an object waits to be sent to the archive.
    Retain {
        #[command(flatten)]
        journal: Named,
        /// How many are left
        #[arg(long, value_name = "N")]
        keep: u64,
    },
    /// Erases who was on the films, of the readings up to a number; what was read stays, and the chain whole
    ///
    /// Readings of which an object waits to be sent to the archive keep theirs, unless it is withdrawn.
    /// Exit status: 0 when all are erased, 1 when some are kept.
    Erase {
        #[command(flatten)]
        journal: Named,
        /// The last reading concerned
        #[arg(long, value_name = "NUMBER")]
        up_to: i64,
        /// Take what waits to be sent of these readings out of the queue: it will never be sent
        #[arg(long)]
        withdraw: bool,
    },
}

/// Which journal.
#[derive(clap::Args)]
pub(crate) struct Named {
    /// The journal
    #[arg(long, value_name = "FILE")]
    journal: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Format {
    Csv,
    Json,
    Fhir,
    DicomSr,
    DicomSc,
}

impl Format {
    /// The DICOM object of which it is a file for each reading.
    fn dicom(self) -> Option<What> {
        match self {
            Self::DicomSr => Some(What::Report),
            Self::DicomSc => Some(What::Capture),
            Self::Csv | Self::Json | Self::Fhir => None,
        }
    }
}

/// Why a command ended with 1.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Journal(#[from] JournalError),
    #[error("there is no reading {0} in the journal")]
    NoReading(i64),
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("--format dicom-sr and dicom-sc write files: name a folder for them with --out")]
    NoFolder,
    #[error("{0}")]
    Derived(#[from] DerivedError),
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Journal(error) => error.into(),
            ExportError::Write(error) => error.into(),
        }
    }
}

pub(crate) fn run(command: &JournalCommand) -> ExitCode {
    match try_run(command) {
        Ok(status) => status,
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lightbox: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(command: &JournalCommand) -> Result<ExitCode, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    match command {
        JournalCommand::List { journal, last, json } => {
            let rows = Journal::open(&journal.journal)?.newest(*last)?;
            if *json {
                write_json_lines(&mut out, &rows)?;
            } else {
                list(&mut out, &rows)?;
            }
        }
        JournalCommand::Show { journal, sequence } => {
            let journal = Journal::open(&journal.journal)?;
            let row = journal.find(*sequence)?.ok_or(Failure::NoReading(*sequence))?;
            show(&mut out, &row)?;
            if let Some((map, _)) = journal.map_of(*sequence)? {
                writeln!(out, "{:<16} {} × {} cells, as shown with the verdict", "map", map.width, map.height)?;
            }
        }
        JournalCommand::Verify { journal, json } => return verify(&mut out, journal, *json),
        JournalCommand::Export { journal, format, out: path, spool, utc_offset_min, language } => {
            let journal = Journal::open(&journal.journal)?;
            match (path, format.dicom()) {
                (None, Some(_)) => return Err(Failure::NoFolder),
                (Some(folder), Some(what)) => {
                    let mut films = spool.as_deref().map(Films::in_spool);
                    let shown = Shown { utc_offset_s: utc_offset_min * 60, language: *language, ..Shown::default() };
                    write_objects(&journal, folder, what, &mut films, shown, &mut out)?;
                }
                (None, None) => export(&journal, *format, &mut out)?,
                (Some(path), None) => {
                    let failed = |source| Failure::Write { path: path.clone(), source };
                    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
                    export(&journal, *format, &mut file)?;
                    file.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
                }
            }
        }
        JournalCommand::Retain { journal, keep } => {
            let mut journal = Journal::open(&journal.journal)?;
            let removed = journal.retain(*keep)?;
            writeln!(out, "{removed} taken out")?;
            let newest = journal.newest(1)?.first().map_or(0, |row| row.sequence);
            if let Some(first) = journal.queue(Some(QueueState::Waits))?.first()
                && newest.saturating_sub(first.sequence).unsigned_abs() >= *keep
            {
                let sequence = first.sequence;
                writeln!(out, "readings from {sequence} on stay: an object of {sequence} waits to be sent")?;
            }
        }
        JournalCommand::Erase { journal, up_to, withdraw } => {
            let erased = Journal::open(&journal.journal)?.erase_identities(*up_to, *withdraw)?;
            writeln!(out, "identifiers of {} erased", erased.erased)?;
            if erased.waiting > 0 {
                let waiting = erased.waiting;
                writeln!(
                    out,
                    "identifiers of {waiting} kept: objects of theirs wait to be sent (--withdraw erases them)"
                )?;
                out.flush()?;
                return Ok(ExitCode::FAILURE);
            }
        }
        JournalCommand::Queue { journal, json, all } => {
            let journal = Journal::open(&journal.journal)?;
            queue(&mut out, &journal, *json, *all)?;
        }
        JournalCommand::Send { config, failed } => return send(&mut out, config, *failed),
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn verify(out: &mut impl Write, journal: &Named, json: bool) -> Result<ExitCode, Failure> {
    let verified = Journal::open(&journal.journal)?.verify()?;
    let status = if verified.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    match (verified, json) {
        (Ok(sound), true) => {
            let head = sound.head.to_string();
            let line = json!({"sound": true, "rows": sound.rows, "removed_up_to": sound.removed_up_to,
                "newest": sound.newest, "digest": head});
            writeln!(out, "{line}")?;
        }
        (Err(broken), true) => {
            let line = json!({"sound": false, "sequence": broken.sequence, "fault": broken.fault.to_string(),
                "first": broken.first});
            writeln!(out, "{line}")?;
        }
        (Ok(sound), false) => {
            writeln!(out, "the chain is whole: {} readings, the newest is {}", sound.rows, sound.newest)?;
            if sound.removed_up_to > 0 {
                writeln!(out, "readings up to {} were taken out by retention", sound.removed_up_to)?;
            }
            writeln!(out, "digest {}", sound.head)?;
        }
        (Err(broken), false) => writeln!(out, "the chain is broken at {broken}")?,
    }
    out.flush()?;
    Ok(status)
}

fn export(journal: &Journal, format: Format, out: &mut impl Write) -> Result<(), Failure> {
    match format {
        Format::Csv => Ok(write_csv(out, journal)?),
        Format::Json => journal.for_each(|row| Ok::<(), Failure>(write_json_lines(out, &[row])?)),
        Format::Fhir => Ok(write_fhir(out, journal)?),
        Format::DicomSr | Format::DicomSc => Err(Failure::NoFolder),
    }
}

/// A file for each reading, named after its number; one that is there is written anew, with the same bytes.
fn write_objects(
    journal: &Journal,
    folder: &Path,
    what: What,
    films: &mut Option<Films<'_>>,
    shown: Shown<'_>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let name = match what {
        What::Report => "reading",
        What::Capture => "capture",
    };
    journal.for_each(|row| {
        let path = folder.join(format!("{name}-{:06}.dcm", row.sequence));
        let failed = |source| Failure::Write { path: path.clone(), source };
        let mut bytes = Vec::new();
        let film = films.as_mut().filter(|_| what == What::Capture).and_then(|films| films.of(&row));
        let map = if film.is_some() { journal.map_of(row.sequence)? } else { None };
        Derived::of(&row, what, Shown { film: film.as_ref(), map: map.as_ref(), ..shown })?.write_file(&mut bytes)?;
        let mut file = File::create(&path).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(writeln!(out, "{}", path.display())?)
    })
}

/// Sends what waits, and says what came of it.
fn send(out: &mut impl Write, config: &Path, failed: bool) -> Result<ExitCode, Failure> {
    let sending = Sending::read(config)?;
    if failed {
        let again = Journal::open(&sending.journal)?.queue_failed_again()?;
        writeln!(out, "{again} that were refused are sent once more")?;
    }
    let archive = Archive::new(sending);
    let round = archive.send_all()?;
    let refused = archive.figures().failed;
    writeln!(out, "{} sent, {} wait, {refused} refused for good", round.sent, round.left)?;
    out.flush()?;
    if let Some(trouble) = round.trouble {
        eprintln!("lightbox: archive: {}", trouble.told);
    }
    Ok(if round.left == 0 && refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn queue(out: &mut impl Write, journal: &Journal, json: bool, all: bool) -> Result<(), Failure> {
    let objects = journal.queue(None)?.into_iter().filter(|object| all || object.state != QueueState::Sent);
    let objects: Vec<Queued> = objects.collect();
    for object in &objects {
        let status = object.status.map(|status| format!("{status:04X}"));
        if json {
            let line = json!({"sequence": object.sequence, "what": object.what.name(), "state": object.state.name(),
                "sop_instance_uid": object.sop_uid, "attempts": object.attempts,
                "queued_at": rfc3339(object.queued_unix_ms), "tried_at": object.tried_unix_ms.map(rfc3339),
                "status": status, "told": object.told});
            writeln!(out, "{line}")?;
        } else {
            let (number, what, state) = (object.sequence, object.what.name(), object.state.name());
            let told = object.told.as_deref().unwrap_or_default();
            let queued = rfc3339(object.queued_unix_ms);
            writeln!(out, "{number:>7}  {what:<7}  {state:<6}  {queued}  tries {:<3}  {told}", object.attempts)?;
        }
    }
    if !json {
        let figures = journal.queue_figures()?;
        let oldest = age_s(&figures).map_or_else(String::new, |seconds| format!(", the oldest for {seconds} s"));
        writeln!(out, "{} wait{oldest}; {} refused for good; {} sent", figures.waiting, figures.failed, figures.sent)?;
        if let Some(told) = figures.told {
            writeln!(out, "the archive was not reached {} times: {told}", figures.tries)?;
        }
    }
    Ok(())
}

fn when(row: &Recorded) -> String {
    let unverified = if row.clock_verified { "" } else { " (time not verified)" };
    format!("{}{unverified}", rfc3339(row.at_unix_ms))
}

fn list(out: &mut impl Write, rows: &[Recorded]) -> io::Result<()> {
    for row in rows {
        let why = row.reason.as_deref().unwrap_or("");
        let image = row.image_reference.as_deref().unwrap_or("no image");
        let (number, verdict) = (row.sequence, &row.verdict);
        writeln!(out, "{number:>7}  {}  {verdict:<13}  {why:<20}  {image}", when(row))?;
    }
    Ok(())
}

fn show(out: &mut impl Write, row: &Recorded) -> io::Result<()> {
    let mut line = |key: &str, value: &str| writeln!(out, "{key:<16} {value}");
    line("reading", &row.sequence.to_string())?;
    line("at", &when(row))?;
    line("verdict", &row.verdict)?;
    for (key, value) in [("reason", &row.reason), ("found", &row.detail)] {
        if let Some(value) = value {
            line(key, value)?;
        }
    }
    if let Some([covid19, pneumonia, normal]) = row.probabilities {
        line("probabilities", &format!("covid19 {covid19:.4}, pneumonia {pneumonia:.4}, normal {normal:.4}"))?;
    }
    let [rule_out, rule_in, below, above] = row.operating_point;
    line("Covid-19 lines", &format!("rule_out {rule_out:.4}, rule_in {rule_in:.4}"))?;
    line("other lines", &format!("pneumonia_below {below:.4}, normal_above {above:.4}"))?;
    line("origin", &row.origin)?;
    line("image", row.image_reference.as_deref().unwrap_or("none"))?;
    if let Some(sha256) = row.image_sha256 {
        line("image sha256", &sha256.to_string())?;
    }
    match &row.identity {
        None => line("patient", "not kept, or erased")?,
        Some(identity) => {
            line("patient id", &identity.patient_id)?;
            line("accession", &identity.accession_number)?;
            line("study", &identity.study_uid)?;
            line("series", &identity.series_uid)?;
            line("SOP instance", &identity.sop_uid)?;
            line("SOP class", &identity.sop_class_uid)?;
        }
    }
    for remark in &row.remarks {
        line("remark", remark)?;
    }
    line("model", &format!("{} {}", row.model_name, row.model_version))?;
    line("network sha256", &row.network_sha256)?;
    line("manifest sha256", &row.manifest_sha256)?;
    line("software", &row.software)?;
    line("operator", row.operator.as_deref().unwrap_or("not known"))?;
    line("digest", &row.digest.to_string())
}
