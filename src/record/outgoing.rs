//! The queue of objects that are to be sent to an archive. It lies in the same database as the rows, and an object is
//! queued in the transaction that writes its row: a reading that was shown is never missing from it.
//!
//! ```text
//!                       taken (success, warning)
//!            ┌────────────────────────────────────► sent
//!  queued ──► waits ◄─┐ not this time
//!            │  │ └───┘
//!            │  └── refused for good, withdrawn ──► failed
//!            └◄──────────── queued again ────────────┘
//! ```
//! A reading stays in the journal until none of its objects waits. No times of day are compared here: a board's clock
//! may be wrong.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{Journal, JournalError, Recorded, sop_uid_of};
use crate::domain::What;

/// What brings a journal to form 3.
pub(super) const TABLES: &str = "
    CREATE TABLE outgoing (
        sequence       INTEGER NOT NULL REFERENCES reading (sequence),
        what           TEXT NOT NULL,
        sop_uid        TEXT NOT NULL UNIQUE,
        state          TEXT NOT NULL CHECK (state IN ('waits', 'sent', 'failed')),
        attempts       INTEGER NOT NULL,
        queued_unix_ms INTEGER NOT NULL,
        tried_unix_ms  INTEGER,
        status         INTEGER,
        told           TEXT,
        PRIMARY KEY (sequence, what)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX outgoing_by_state ON outgoing (state, attempts, sequence);
    CREATE TRIGGER reading_stays_until_its_objects_are_sent BEFORE DELETE ON reading
        WHEN EXISTS (SELECT 1 FROM outgoing WHERE sequence = OLD.sequence AND state = 'waits')
        BEGIN SELECT RAISE(ABORT, 'a reading stays until its objects are sent'); END;
    -- The tries in a row that did not even reach the archive.
    CREATE TABLE archive (
        only          INTEGER PRIMARY KEY CHECK (only = 1),
        tries         INTEGER NOT NULL,
        tried_unix_ms INTEGER,
        told          TEXT
    ) STRICT;
    INSERT INTO archive VALUES (1, 0, NULL, NULL);
";

/// What has become of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// It has not been sent yet.
    Waits,
    /// The archive has taken it.
    Sent,
    /// The archive has refused it for good, or it was withdrawn.
    Failed,
}

impl QueueState {
    const ALL: [Self; 3] = [Self::Waits, Self::Sent, Self::Failed];

    /// The name in the journal; never renamed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waits => "waits",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }
}

/// An object of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Of which reading.
    pub sequence: i64,
    /// What it is.
    pub what: What,
    /// Its SOP Instance UID, the same at every try.
    pub sop_uid: String,
    /// What has become of it.
    pub state: QueueState,
    /// Times that it was sent or that its sending failed.
    pub attempts: u32,
    /// When it was queued, in milliseconds since 1970-01-01 00:00 UTC.
    pub queued_unix_ms: i64,
    /// When it was tried last.
    pub tried_unix_ms: Option<i64>,
    /// What the archive answered last.
    pub status: Option<u16>,
    /// What went wrong last.
    pub told: Option<String>,
}

/// How a try to send an object ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What becomes of the object: it still waits where another time may do.
    pub state: QueueState,
    /// What the archive answered; `None` where it did not.
    pub status: Option<u16>,
    /// What went wrong.
    pub told: Option<String>,
}

/// How the queue is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueFigures {
    /// Objects that wait.
    pub waiting: u64,
    /// Objects that the archive refused for good, or that were withdrawn.
    pub failed: u64,
    /// Those of them that could be sent once more.
    pub again: u64,
    /// Objects that it has taken and whose readings are still in the journal.
    pub sent: u64,
    /// When the first of those that wait was queued, in milliseconds since 1970-01-01 00:00 UTC.
    pub oldest_unix_ms: Option<i64>,
    /// Tries in a row that did not reach the archive.
    pub tries: u32,
    /// Why the last one did not.
    pub told: Option<String>,
}

/// Identifiers that were erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Of so many readings.
    pub erased: u64,
    /// So many readings keep theirs until their objects are sent.
    pub waiting: u64,
}

/// Queues the objects of a row that is being written; nothing where its film is itself an object of this device's.
pub(super) fn queue(transaction: &Transaction<'_>, row: &Recorded, what: &[What]) -> rusqlite::Result<()> {
    // An archive may send back what it was sent: a report on every report would have no end.
    if let Some(identity) = &row.identity {
        let own = "SELECT 1 FROM outgoing WHERE sop_uid = ?1";
        if transaction.query_row(own, [identity.sop_uid.trim()], |_| Ok(())).optional()?.is_some() {
            return Ok(());
        }
    }
    let mut insert = transaction.prepare(
        "INSERT INTO outgoing (sequence, what, sop_uid, state, attempts, queued_unix_ms) VALUES (?1, ?2, ?3, 'waits', 0, ?4)",
    )?;
    for what in what {
        insert.execute(params![row.sequence, what.name(), sop_uid_of(row, *what), row.at_unix_ms])?;
    }
    Ok(())
}

/// The first reading of which an object waits; `i64::MAX` where there is none.
pub(super) fn first_waiting(connection: &Connection) -> rusqlite::Result<i64> {
    let first = "SELECT min(sequence) FROM outgoing WHERE state = 'waits'";
    Ok(connection.query_row(first, [], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(i64::MAX))
}

fn queued(row: &Row<'_>) -> rusqlite::Result<Queued> {
    let unknown = |column, found: &str| {
        let error = format!("{found:?} is none that this program knows");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
    };
    let (what, state): (String, String) = (row.get(1)?, row.get(3)?);
    Ok(Queued {
        sequence: row.get(0)?,
        what: What::of_name(&what).ok_or_else(|| unknown(1, &what))?,
        sop_uid: row.get(2)?,
        state: QueueState::ALL.into_iter().find(|known| known.name() == state).ok_or_else(|| unknown(3, &state))?,
        attempts: row.get(4)?,
        queued_unix_ms: row.get(5)?,
        tried_unix_ms: row.get(6)?,
        status: row.get(7)?,
        told: row.get(8)?,
    })
}

/// Which of those that failed can be sent once more: without the identifiers it would be another object under the same
/// name.
const AGAIN: &str = "state = 'failed' AND (sequence IN (SELECT sequence FROM identity) \
    OR sequence IN (SELECT sequence FROM reading WHERE identity_sha256 IS NULL))";

const SELECT: &str =
    "SELECT sequence, what, sop_uid, state, attempts, queued_unix_ms, tried_unix_ms, status, told FROM outgoing";

impl Journal {
    /// The objects in the state, or all of them, those of the oldest readings first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn queue(&self, state: Option<QueueState>) -> Result<Vec<Queued>, JournalError> {
        let query = || -> rusqlite::Result<Vec<Queued>> {
            let mut statement = self
                .connection()
                .prepare(&format!("{SELECT} WHERE ?1 IS NULL OR state = ?1 ORDER BY sequence, what"))?;
            statement.query_map([state.map(QueueState::name)], queued)?.collect()
        };
        query().map_err(self.failed("read"))
    }

    /// At most `most` objects that wait, those first that were tried least often, so that one that always fails keeps
    /// none from being tried.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn next_to_send(&self, most: usize) -> Result<Vec<Queued>, JournalError> {
        let query = || -> rusqlite::Result<Vec<Queued>> {
            let order = "WHERE state = 'waits' ORDER BY attempts, sequence, what LIMIT ?1";
            self.connection().prepare(&format!("{SELECT} {order}"))?.query_map([most as i64], queued)?.collect()
        };
        query().map_err(self.failed("read"))
    }

    /// Writes down how a try ended; nothing is changed where the object does not wait any more.
    ///
    /// # Errors
    /// When it was not written: the object is tried again, which does no harm.
    pub fn tried(&mut self, object: &Queued, tried: &Tried, at_unix_ms: i64) -> Result<(), JournalError> {
        let failed = self.failed("write to");
        let update = "UPDATE outgoing SET state = ?3, attempts = attempts + 1, tried_unix_ms = ?4, status = ?5, told = ?6 \
            WHERE sequence = ?1 AND what = ?2 AND state = 'waits'";
        let values = params![
            object.sequence,
            object.what.name(),
            tried.state.name(),
            at_unix_ms,
            tried.status,
            tried.told.as_deref()
        ];
        self.connection().execute(update, values).map(|_| ()).map_err(failed)
    }

    /// Writes down whether the archive was reached; `Err` with why not. Nothing is written where all was well before.
    ///
    /// # Errors
    /// When it was not written.
    pub fn reached(&mut self, archive: Result<(), &str>, at_unix_ms: i64) -> Result<(), JournalError> {
        let failed = self.failed("write to");
        let written = match archive {
            Ok(()) => {
                let update = "UPDATE archive SET tries = 0, tried_unix_ms = ?1, told = NULL WHERE tries > 0";
                self.connection().execute(update, [at_unix_ms])
            }
            Err(told) => {
                let update = "UPDATE archive SET tries = tries + 1, tried_unix_ms = ?1, told = ?2";
                self.connection().execute(update, params![at_unix_ms, told])
            }
        };
        written.map(|_| ()).map_err(failed)
    }

    /// How the queue is.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn queue_figures(&self) -> Result<QueueFigures, JournalError> {
        let query = || -> rusqlite::Result<QueueFigures> {
            let (tries, told) = self
                .connection()
                .query_row("SELECT tries, told FROM archive", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut figures = QueueFigures { tries, told, ..QueueFigures::default() };
            let counts = "SELECT state, count(*), min(queued_unix_ms) FROM outgoing GROUP BY state";
            let mut statement = self.connection().prepare(counts)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (state, count): (String, i64) = (row.get(0)?, row.get(1)?);
                let count = count.unsigned_abs();
                match state.as_str() {
                    "waits" => (figures.waiting, figures.oldest_unix_ms) = (count, row.get(2)?),
                    "failed" => figures.failed = count,
                    _ => figures.sent = count,
                }
            }
            if figures.failed > 0 {
                let count = format!("SELECT count(*) FROM outgoing WHERE {AGAIN}");
                figures.again = self.connection().query_row(&count, [], |row| row.get::<_, i64>(0))?.unsigned_abs();
            }
            Ok(figures)
        };
        query().map_err(self.failed("read"))
    }

    /// Lets the objects that failed wait again; how many there were.
    ///
    /// # Errors
    /// When nothing was changed.
    pub fn queue_failed_again(&mut self) -> Result<u64, JournalError> {
        let failed = self.failed("write to");
        let update = format!("UPDATE outgoing SET state = 'waits', attempts = 0 WHERE {AGAIN}");
        self.connection().execute(&update, []).map(|rows| rows as u64).map_err(failed)
    }

    /// Erases the identifiers of the rows up to `sequence`, whose readings stay. Readings of which an object waits keep
    /// theirs, unless `withdraw` takes those objects out of the queue.
    ///
    /// # Errors
    /// When nothing was erased.
    pub fn erase_identities(&mut self, up_to: i64, withdraw: bool) -> Result<Erased, JournalError> {
        let failed = self.failed("erase identifiers in");
        let mut steps = || -> rusqlite::Result<Erased> {
            let transaction = self.transaction()?;
            if withdraw {
                let update = "UPDATE outgoing SET state = 'failed', told = 'withdrawn: its identifiers were erased' \
                    WHERE state = 'waits' AND sequence <= ?1";
                transaction.execute(update, [up_to])?;
            }
            let waiting = "sequence IN (SELECT sequence FROM outgoing WHERE state = 'waits')";
            let delete = format!("DELETE FROM identity WHERE sequence <= ?1 AND NOT {waiting}");
            let erased = transaction.execute(&delete, [up_to])? as u64;
            let left = "SELECT count(*) FROM identity WHERE sequence <= ?1";
            let waiting: i64 = transaction.query_row(left, [up_to], |row| row.get(0))?;
            transaction.commit()?;
            Ok(Erased { erased, waiting: waiting.unsigned_abs() })
        };
        steps().map_err(failed)
    }
}
