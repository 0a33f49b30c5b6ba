//! The journal's file: SQLite, in write-ahead mode, synced at every row.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::domain::{Finding, Identity, SaliencyMap, Verdict, What, Window};

use super::chain::{self, Digest};
use super::entry::Entry;
use super::{map, outgoing};

/// "LBJL": tells a journal from other databases (SQLite's application id).
const APPLICATION_ID: i32 = 0x4c42_4a4c;

/// How long to wait for another program that writes.
const BUSY: Duration = Duration::from_secs(10);

/// What brings a journal from each form to the next. The form of a file is how many of these it has been through.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE reading (
        sequence        INTEGER PRIMARY KEY,
        form            INTEGER NOT NULL,
        at_unix_ms      INTEGER NOT NULL,
        clock_verified  INTEGER NOT NULL CHECK (clock_verified IN (0, 1)),
        origin          TEXT NOT NULL,
        image_sha256    BLOB,
        image_reference TEXT,
        identity_sha256 BLOB,
        remarks         TEXT NOT NULL,
        model_name      TEXT NOT NULL,
        model_version   TEXT NOT NULL,
        network_sha256  TEXT NOT NULL,
        manifest_sha256 TEXT NOT NULL,
        rule_out        REAL NOT NULL,
        rule_in         REAL NOT NULL,
        pneumonia_below REAL NOT NULL,
        normal_above    REAL NOT NULL,
        covid19         REAL,
        pneumonia       REAL,
        normal          REAL,
        verdict         TEXT NOT NULL,
        reason          TEXT,
        detail          TEXT,
        covid_positive  INTEGER,
        software        TEXT NOT NULL,
        operator        TEXT,
        previous        BLOB NOT NULL,
        digest          BLOB NOT NULL
    ) STRICT;
    CREATE TABLE identity (
        sequence         INTEGER PRIMARY KEY REFERENCES reading (sequence),
        salt             BLOB NOT NULL,
        patient_id       TEXT NOT NULL,
        accession_number TEXT NOT NULL,
        study_uid        TEXT NOT NULL,
        series_uid       TEXT NOT NULL,
        sop_uid          TEXT NOT NULL
    ) STRICT;
    -- The last row that was taken out by retention: the first one kept follows it.
    CREATE TABLE anchor (
        only     INTEGER PRIMARY KEY CHECK (only = 1),
        sequence INTEGER NOT NULL,
        digest   BLOB NOT NULL
    ) STRICT;
    INSERT INTO anchor VALUES (1, 0, zeroblob(32));
    CREATE TRIGGER reading_is_never_changed BEFORE UPDATE ON reading
        BEGIN SELECT RAISE(ABORT, 'a reading is never changed'); END;
    CREATE TRIGGER reading_leaves_in_order BEFORE DELETE ON reading
        WHEN OLD.sequence > (SELECT sequence FROM anchor)
        BEGIN SELECT RAISE(ABORT, 'a reading leaves only by retention'); END;
",
    "
    -- Of rows of form 1 it is not known.
    ALTER TABLE identity ADD COLUMN sop_class_uid TEXT NOT NULL DEFAULT '';
",
    outgoing::TABLES,
    "
    ALTER TABLE reading ADD COLUMN map_sha256 BLOB;
    -- Where the network looked, as it was shown with the verdict.
    CREATE TABLE map (
        sequence INTEGER PRIMARY KEY REFERENCES reading (sequence),
        cells    BLOB NOT NULL
    ) STRICT;
",
];

/// The columns of the first form; `concat!` takes nothing but literals.
macro_rules! first_row {
    () => {
        "sequence, form, at_unix_ms, clock_verified, origin, image_sha256, image_reference, identity_sha256, remarks, \
         model_name, model_version, network_sha256, manifest_sha256, rule_out, rule_in, pneumonia_below, normal_above, \
         covid19, pneumonia, normal, verdict, reason, detail, covid_positive, software, operator"
    };
}

/// What the digests of a row are over.
struct Form {
    /// The columns of the row itself.
    row: &'static str,
    /// The identifiers beside it: so many of [`IDENTIFIERS`], the others are empty.
    identifiers: usize,
    /// Whether a map may lie beside it.
    map: bool,
}

/// The forms of rows, 1 is the first. A row's own form is among its chained columns, so that none can be given another
/// one later; what a new form adds leaves the digests of older rows as they are.
const FORMS: [Form; 3] = [
    Form { row: first_row!(), identifiers: 5, map: false },
    Form { row: first_row!(), identifiers: 6, map: false },
    Form { row: concat!(first_row!(), ", map_sha256"), identifiers: 6, map: true },
];

/// The columns of identifiers in the order of [`fields_of`].
const IDENTIFIERS: &str = "patient_id, accession_number, study_uid, series_uid, sop_uid, sop_class_uid";

/// The form in which rows are written.
const FORM: usize = FORMS.len();

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite says no.
    #[error("cannot {action} the journal {}: {source}", path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Another database.
    #[error("{} is a database of another kind (application id {found:#x}): name another file for the journal", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The id in it.
        found: i32,
    },
    /// A newer program wrote it.
    #[error("{} has form {found}, this program knows up to {}: install the newer program again", path.display(), MIGRATIONS.len())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its form.
        found: usize,
    },
    /// There is none.
    #[error("there is no journal at {}", .0.display())]
    Missing(PathBuf),
}

/// A row as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// 1, 2, 3 … without gaps.
    pub sequence: i64,
    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub at_unix_ms: i64,
    /// Whether the clock was known to be right.
    pub clock_verified: bool,
    /// Where the image came from.
    pub origin: String,
    /// SHA-256 of the image's file.
    pub image_sha256: Option<Digest>,
    /// Where it lay.
    pub image_reference: Option<String>,
    /// Who is on the film; `None` also when it was erased.
    pub identity: Option<Identity>,
    /// Findings about the image's quality.
    pub remarks: Vec<String>,
    /// Name of the model.
    pub model_name: String,
    /// Its version.
    pub model_version: String,
    /// SHA-256 of the network.
    pub network_sha256: String,
    /// SHA-256 of the manifest.
    pub manifest_sha256: String,
    /// `rule_out`, `rule_in`, `pneumonia_below`, `normal_above`.
    pub operating_point: [f64; 4],
    /// Covid-19, pneumonia, normal; `None` when the film was not read.
    pub probabilities: Option<[f64; 3]>,
    /// Name of the verdict.
    pub verdict: String,
    /// Code of the reason.
    pub reason: Option<String>,
    /// What was found and expected.
    pub detail: Option<String>,
    /// Whether Covid-19 was called.
    pub covid_positive: Option<bool>,
    /// Version of the program.
    pub software: String,
    /// Who operated the device.
    pub operator: Option<String>,
    /// Of this row and all before it.
    pub digest: Digest,
}

/// A chain without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Rows in the journal.
    pub rows: u64,
    /// Sequence of the last row ever taken out by retention, 0 when none was.
    pub removed_up_to: i64,
    /// Sequence of the newest row, 0 when there never was one.
    pub newest: i64,
    /// Its digest. Whoever writes it down can tell later whether rows at the end were taken away.
    pub head: Digest,
}

/// The first row that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {sequence}: {fault}; {}", self.still_sound())]
pub struct Broken {
    /// Which row.
    pub sequence: i64,
    /// What is wrong with it.
    pub fault: Fault,
    /// The first row that is there.
    pub first: i64,
}

impl Broken {
    fn still_sound(&self) -> String {
        if self.sequence > self.first {
            format!("rows {} to {} are sound", self.first, self.sequence - 1)
        } else {
            "no row before it is sound".to_owned()
        }
    }
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A number is left out.
    #[error("it is missing")]
    Missing,
    /// It does not follow the row before.
    #[error("it does not follow the row before: that one was changed or exchanged")]
    Unlinked,
    /// Its values are not those that its digest is of.
    #[error("its values are not those that were written")]
    Changed,
    /// The identifiers beside it are not those that it was written with.
    #[error("the patient beside it is not the one that was written")]
    OtherIdentity,
    /// The map beside it is not the one that it was written with.
    #[error("the map beside it is not the one that was written")]
    OtherMap,
    /// A form that is not known.
    #[error("it is of a form that this program does not know")]
    UnknownForm,
}

/// The journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    connection: Connection,
}

impl Journal {
    /// Opens the journal to write, and makes it where there is none.
    ///
    /// # Errors
    /// When the file cannot be used, is another database, or was written by a newer program.
    pub fn open_or_create(path: &Path) -> Result<Self, JournalError> {
        let journal = Self::opened(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        // A row whose sync failed can be read until the power goes, and is then a hole in the log, with all that was
        // written behind it. So nothing is: what the log has goes into the database first.
        let settled = journal.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        settled.map_err(journal.failed("settle"))?;
        Ok(journal)
    }

    /// Opens a journal that is there.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create), and when there is none.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        if !path.is_file() {
            return Err(JournalError::Missing(path.to_owned()));
        }
        Self::opened(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    fn opened(path: &Path, flags: OpenFlags) -> Result<Self, JournalError> {
        let failed = |action| move |source| JournalError::Database { action, path: path.to_owned(), source };
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed("open"))?;
        connection.busy_timeout(BUSY).map_err(failed("open"))?;
        let mut journal = Self { path: path.to_owned(), connection };
        journal.migrate()?;
        Ok(journal)
    }

    pub(super) fn failed(&self, action: &'static str) -> impl FnOnce(rusqlite::Error) -> JournalError + use<> {
        let path = self.path.clone();
        move |source| JournalError::Database { action, path, source }
    }

    fn migrate(&mut self) -> Result<(), JournalError> {
        let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; \
            PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF;";
        let failed = self.failed("set up");
        let steps = || -> rusqlite::Result<Result<(), JournalError>> {
            let whole = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
            // Looked at before anything is set, so that a foreign database stays as it is.
            let (id, form) = (whole("application_id")?, whole("user_version")?);
            let tables: i64 = self.connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            if id != APPLICATION_ID && tables > 0 {
                return Ok(Err(JournalError::Foreign { path: self.path.clone(), found: id }));
            }
            let form = usize::try_from(form).unwrap_or(usize::MAX);
            if form > MIGRATIONS.len() {
                return Ok(Err(JournalError::Newer { path: self.path.clone(), found: form }));
            }
            self.connection.execute_batch(settings)?;
            for (number, migration) in MIGRATIONS.iter().enumerate().skip(form) {
                // Form and tables change in one transaction: a cut leaves the old form or the new one.
                let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
                let now: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
                if now as usize > number {
                    continue; // Another program did it in the meantime.
                }
                transaction.execute_batch(migration)?;
                transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
                transaction.pragma_update(None, "user_version", number as i32 + 1)?;
                transaction.commit()?;
            }
            Ok(Ok(()))
        };
        steps().map_err(failed)?
    }

    /// Writes a reading down; once this returns, a power cut does not lose it.
    ///
    /// # Errors
    /// When it was not written; the journal is as it was.
    pub fn append(&mut self, entry: &Entry) -> Result<Recorded, JournalError> {
        self.append_to_send(entry, &[])
    }

    /// As [`append`](Self::append), and in the same step queues these objects of the reading for the archive.
    ///
    /// # Errors
    /// As there.
    pub fn append_to_send(&mut self, entry: &Entry, what: &[What]) -> Result<Recorded, JournalError> {
        let failed = self.failed("write to");
        self.try_append(entry, what).map_err(failed)
    }

    fn try_append(&mut self, entry: &Entry, what: &[What]) -> rusqlite::Result<Recorded> {
        let transaction = self.transaction()?;
        let (newest, previous) = head(&transaction)?;
        let sequence = newest + 1;
        let identity = match &entry.identity {
            Some(identity) => {
                let salt: Vec<u8> = transaction.query_row("SELECT randomblob(16)", [], |row| row.get(0))?;
                let digest = chain::of_identity(&salt, fields_of(identity));
                Some((salt, identity, digest))
            }
            None => None,
        };
        let map = entry.map.as_ref().map(|(map, window)| map::to_bytes(map, *window));
        let digests = (identity.as_ref().map(|(_, _, digest)| *digest), map.as_deref().map(chain::of_map));
        let mut values = values(entry, sequence, digests);
        let digest = chain::of_row(previous, &values);
        values.push(Value::Blob(previous.0.to_vec()));
        values.push(Value::Blob(digest.0.to_vec()));
        let places: Vec<String> = (1..=values.len()).map(|n| format!("?{n}")).collect();
        let columns = FORMS[FORM - 1].row;
        let insert = format!("INSERT INTO reading ({columns}, previous, digest) VALUES ({})", places.join(", "));
        transaction.execute(&insert, rusqlite::params_from_iter(&values))?;
        if let Some((salt, identity, _)) = identity {
            let [patient, accession, study, series, sop, class] = fields_of(identity);
            let insert =
                format!("INSERT INTO identity (sequence, salt, {IDENTIFIERS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
            transaction.execute(&insert, params![sequence, salt, patient, accession, study, series, sop, class])?;
        }
        if let Some(map) = map {
            transaction.execute("INSERT INTO map (sequence, cells) VALUES (?1, ?2)", params![sequence, map])?;
        }
        let recorded = transaction.query_row(&format!("{SELECT} WHERE sequence = ?1"), [sequence], recorded)?;
        outgoing::queue(&transaction, &recorded, what)?;
        transaction.commit()?;
        Ok(recorded)
    }

    /// The row with that number.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn find(&self, sequence: i64) -> Result<Option<Recorded>, JournalError> {
        let row = self.connection.query_row(&format!("{SELECT} WHERE sequence = ?1"), [sequence], recorded);
        row.optional().map_err(self.failed("read"))
    }

    /// Where the network looked and which part of the film it saw, as it was shown with that row; `None` where nothing
    /// was, and where it is not what was written.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn map_of(&self, sequence: i64) -> Result<Option<(SaliencyMap, Window)>, JournalError> {
        let select = "SELECT cells, map_sha256 FROM reading JOIN map USING (sequence) WHERE sequence = ?1";
        let found = self.connection.query_row(select, [sequence], |row| {
            let cells: Vec<u8> = row.get(0)?;
            let written = digest(row, 1)? == Some(chain::of_map(&cells));
            Ok(if written { map::of_bytes(&cells) } else { None })
        });
        found.optional().map(Option::flatten).map_err(self.failed("read"))
    }

    /// The newest row of the image at `reference`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn find_image(&self, reference: &str) -> Result<Option<Recorded>, JournalError> {
        let query = format!("{SELECT} WHERE image_reference = ?1 ORDER BY sequence DESC LIMIT 1");
        self.connection.query_row(&query, [reference], recorded).optional().map_err(self.failed("read"))
    }

    /// The newest rows, newest first, at most `count`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn newest(&self, count: usize) -> Result<Vec<Recorded>, JournalError> {
        let query = || -> rusqlite::Result<Vec<Recorded>> {
            let mut statement = self.connection.prepare(&format!("{SELECT} ORDER BY sequence DESC LIMIT ?1"))?;
            statement.query_map([count as i64], recorded)?.collect()
        };
        query().map_err(self.failed("read"))
    }

    /// Calls `each` for every row, oldest first.
    ///
    /// # Errors
    /// When the journal cannot be read, or the first error of `each`.
    pub fn for_each<E: From<JournalError>>(&self, mut each: impl FnMut(Recorded) -> Result<(), E>) -> Result<(), E> {
        let statement = self.connection.prepare(&format!("{SELECT} ORDER BY sequence"));
        let mut statement = statement.map_err(self.failed("read"))?;
        let rows = statement.query_map([], recorded).map_err(self.failed("read"))?;
        for row in rows {
            each(row.map_err(self.failed("read"))?)?;
        }
        Ok(())
    }

    /// Follows the chain from the oldest row to the newest.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn verify(&self) -> Result<Result<Sound, Broken>, JournalError> {
        self.try_verify().map_err(self.failed("read"))
    }

    fn try_verify(&self) -> rusqlite::Result<Result<Sound, Broken>> {
        let (removed_up_to, mut head) = anchor(&self.connection)?;
        let (mut newest, mut rows) = (removed_up_to, 0);
        let first = removed_up_to + 1;
        let mut by_form = Vec::new();
        for form in &FORMS {
            let row = self.connection.prepare(&format!("SELECT {} FROM reading WHERE sequence = ?1", form.row))?;
            by_form.push((row, form));
        }
        let identity = format!("SELECT salt, {IDENTIFIERS} FROM identity WHERE sequence = ?1");
        let mut identity = self.connection.prepare(&identity)?;
        let mut map = self.connection.prepare("SELECT cells FROM map WHERE sequence = ?1")?;
        let mut statement = self.connection.prepare(
            "SELECT sequence, form, previous, digest, identity_sha256, map_sha256 FROM reading ORDER BY sequence",
        )?;
        let mut links = statement.query([])?;
        while let Some(link) = links.next()? {
            let sequence: i64 = link.get(0)?;
            let broken = |sequence, fault| Ok(Err(Broken { sequence, fault, first }));
            if sequence != newest + 1 {
                return broken(newest + 1, Fault::Missing);
            }
            if digest(link, 2)? != Some(head) {
                return broken(sequence, Fault::Unlinked);
            }
            let form = usize::try_from(link.get::<_, i64>(1)?).unwrap_or(0);
            let Some((row, form)) = form.checked_sub(1).and_then(|form| by_form.get_mut(form)) else {
                return broken(sequence, Fault::UnknownForm);
            };
            let values = row.query_row([sequence], |row| {
                (0..row.as_ref().column_count()).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<Value>>>()
            })?;
            let expected = chain::of_row(head, &values);
            if digest(link, 3)? != Some(expected) {
                return broken(sequence, Fault::Changed);
            }
            let beside = identity.query_row([sequence], |row| {
                let salt: Vec<u8> = row.get(0)?;
                let fields: Vec<String> =
                    (1..row.as_ref().column_count()).map(|column| row.get(column)).collect::<rusqlite::Result<_>>()?;
                let (known, later) = fields.split_at(form.identifiers.min(fields.len()));
                let untouched = later.iter().all(String::is_empty);
                Ok(untouched.then(|| chain::of_identity(&salt, known.iter().map(String::as_str))))
            });
            if let Some(beside) = beside.optional()?
                && (beside.is_none() || digest(link, 4)? != beside)
            {
                return broken(sequence, Fault::OtherIdentity);
            }
            let cells = map.query_row([sequence], |row| row.get::<_, Vec<u8>>(0)).optional()?;
            let written = if form.map { digest(link, 5)? } else { None };
            if cells.as_deref().map(chain::of_map) != written {
                return broken(sequence, Fault::OtherMap);
            }
            (head, newest, rows) = (expected, sequence, rows + 1);
        }
        Ok(Ok(Sound { rows, removed_up_to, newest, head }))
    }

    /// Takes out the oldest rows until `kept` are left, identifiers included; how many went. It stops at the first of
    /// which an object waits to be sent.
    ///
    /// # Errors
    /// When nothing was taken out.
    pub fn retain(&mut self, kept: u64) -> Result<u64, JournalError> {
        let failed = self.failed("take old rows out of");
        let mut steps = || -> rusqlite::Result<u64> {
            let transaction = self.transaction()?;
            let newest_kept = i64::try_from(kept).unwrap_or(i64::MAX);
            let last = "SELECT sequence FROM reading ORDER BY sequence DESC LIMIT 1 OFFSET ?1";
            let last = transaction.query_row(last, [newest_kept], |row| row.get::<_, i64>(0)).optional()?;
            let Some(last) = last else { return Ok(0) };
            let last = last.min(outgoing::first_waiting(&transaction)?.saturating_sub(1));
            let digest = "SELECT digest FROM reading WHERE sequence = ?1";
            let digest = transaction.query_row(digest, [last], |row| row.get::<_, Vec<u8>>(0)).optional()?;
            // The first row of all waits.
            let Some(digest) = digest else { return Ok(0) };
            transaction.execute("UPDATE anchor SET sequence = ?1, digest = ?2", params![last, digest])?;
            transaction.execute("DELETE FROM outgoing WHERE sequence <= ?1", [last])?;
            transaction.execute("DELETE FROM identity WHERE sequence <= ?1", [last])?;
            transaction.execute("DELETE FROM map WHERE sequence <= ?1", [last])?;
            let removed = transaction.execute("DELETE FROM reading WHERE sequence <= ?1", [last])?;
            transaction.commit()?;
            Ok(removed as u64)
        };
        steps().map_err(failed)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// One that has the right to write from its start: none is refused half way.
    pub(super) fn transaction(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.connection.transaction_with_behavior(TransactionBehavior::Immediate)
    }
}

/// The identifiers in the order of their columns.
fn fields_of(identity: &Identity) -> [&str; 6] {
    let Identity { patient_id, accession_number, study_uid, series_uid, sop_uid, sop_class_uid } = identity;
    [patient_id, accession_number, study_uid, series_uid, sop_uid, sop_class_uid]
}

/// The columns of [`Recorded`] in the order in which [`recorded`] reads them.
const SELECT: &str = "SELECT sequence, at_unix_ms, clock_verified, origin, image_sha256, image_reference, remarks, \
    model_name, model_version, network_sha256, manifest_sha256, rule_out, rule_in, pneumonia_below, normal_above, \
    covid19, pneumonia, normal, verdict, reason, detail, covid_positive, software, operator, digest, \
    patient_id, accession_number, study_uid, series_uid, sop_uid, sop_class_uid FROM reading LEFT JOIN identity USING (sequence)";

fn recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let remarks: String = row.get(6)?;
    let probabilities: [Option<f64>; 3] = [row.get(15)?, row.get(16)?, row.get(17)?];
    let identity = match row.get::<_, Option<String>>(25)? {
        Some(patient_id) => Some(Identity {
            patient_id,
            accession_number: row.get(26)?,
            study_uid: row.get(27)?,
            series_uid: row.get(28)?,
            sop_uid: row.get(29)?,
            sop_class_uid: row.get(30)?,
        }),
        None => None,
    };
    Ok(Recorded {
        sequence: row.get(0)?,
        at_unix_ms: row.get(1)?,
        clock_verified: row.get(2)?,
        origin: row.get(3)?,
        image_sha256: digest(row, 4)?,
        image_reference: row.get(5)?,
        identity,
        // A row that was tampered with is still shown, as far as it can be; `verify` tells of it.
        remarks: serde_json::from_str(&remarks).unwrap_or_else(|_| vec![remarks]),
        model_name: row.get(7)?,
        model_version: row.get(8)?,
        network_sha256: row.get(9)?,
        manifest_sha256: row.get(10)?,
        operating_point: [row.get(11)?, row.get(12)?, row.get(13)?, row.get(14)?],
        probabilities: match probabilities {
            [Some(covid19), Some(pneumonia), Some(normal)] => Some([covid19, pneumonia, normal]),
            _ => None,
        },
        verdict: row.get(18)?,
        reason: row.get(19)?,
        detail: row.get(20)?,
        covid_positive: row.get(21)?,
        software: row.get(22)?,
        operator: row.get(23)?,
        digest: digest(row, 24)?.unwrap_or(Digest::NONE),
    })
}

/// A digest in a column; `None` where there is none or something else.
fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Digest>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) => Digest::from_slice(bytes),
        _ => None,
    })
}

/// Number and digest of the last row that retention took out.
fn anchor(connection: &Connection) -> rusqlite::Result<(i64, Digest)> {
    connection.query_row("SELECT sequence, digest FROM anchor", [], |row| {
        Ok((row.get(0)?, digest(row, 1)?.unwrap_or(Digest::NONE)))
    })
}

/// Number and digest of the newest row, or of what the first one will follow.
fn head(connection: &Connection) -> rusqlite::Result<(i64, Digest)> {
    let newest =
        connection.query_row("SELECT sequence, digest FROM reading ORDER BY sequence DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, digest(row, 1)?.unwrap_or(Digest::NONE)))
        });
    match newest.optional()? {
        Some(newest) => Ok(newest),
        None => anchor(connection),
    }
}

/// The chained values of a new row, in the order of `FORMS[FORM - 1]`; beside the entry the digests of what lies beside
/// the row.
fn values(entry: &Entry, sequence: i64, (identity, map): (Option<Digest>, Option<Digest>)) -> Vec<Value> {
    let text = |text: &str| Value::Text(text.to_owned());
    let text_or_null = |value: Option<&str>| value.map_or(Value::Null, text);
    // SQLite keeps no negative zero.
    let real = |value: f32| Value::Real(f64::from(value) + 0.0);
    let blob = |digest: Digest| Value::Blob(digest.0.to_vec());
    let at = &entry.operating_point;
    let reading = &entry.reading;
    let probability = |finding| reading.probabilities.map_or(Value::Null, |p| real(p.of(finding).get()));
    let detail = match &reading.verdict {
        Verdict::Rejected(rejection) => Some(rejection.detail.as_str()),
        Verdict::Found(_) | Verdict::Indeterminate(_) => None,
    };
    vec![
        Value::Integer(sequence),
        Value::Integer(FORM as i64),
        Value::Integer(entry.at.unix_ms),
        Value::Integer(entry.at.verified.into()),
        text(entry.origin.name()),
        entry.image.as_ref().map_or(Value::Null, |image| blob(image.sha256)),
        text_or_null(entry.image.as_ref().map(|image| image.reference.as_str())),
        identity.map_or(Value::Null, blob),
        Value::Text(serde_json::Value::from(entry.remarks.clone()).to_string()),
        text(&entry.model.name),
        text(&entry.model.version),
        text(&entry.model.network_sha256),
        text(&entry.model.manifest_sha256),
        real(at.rule_out().get()),
        real(at.rule_in().get()),
        real(at.pneumonia_below().get()),
        real(at.normal_above().get()),
        probability(Finding::Covid19),
        probability(Finding::Pneumonia),
        probability(Finding::Normal),
        text(reading.verdict.name()),
        text_or_null(reading.verdict.reason().map(|reason| reason.code())),
        text_or_null(detail),
        reading.covid_positive.map_or(Value::Null, |positive| Value::Integer(positive.into())),
        text(&entry.software),
        text_or_null(entry.operator.as_deref()),
        map.map_or(Value::Null, blob),
    ]
}
