//! Readings in forms that other programs read.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use super::{Journal, JournalError, Recorded};

/// A row as other programs see it: keys are added, never renamed.
#[derive(Serialize)]
struct Exported<'a> {
    sequence: i64,
    /// RFC 3339, UTC.
    at: String,
    clock_verified: bool,
    origin: &'a str,
    image_sha256: Option<String>,
    image_reference: Option<&'a str>,
    patient_id: Option<&'a str>,
    accession_number: Option<&'a str>,
    study_uid: Option<&'a str>,
    series_uid: Option<&'a str>,
    sop_uid: Option<&'a str>,
    sop_class_uid: Option<&'a str>,
    verdict: &'a str,
    reason: Option<&'a str>,
    detail: Option<&'a str>,
    covid_positive: Option<bool>,
    covid19: Option<f64>,
    pneumonia: Option<f64>,
    normal: Option<f64>,
    rule_out: f64,
    rule_in: f64,
    pneumonia_below: f64,
    normal_above: f64,
    remarks: String,
    model_name: &'a str,
    model_version: &'a str,
    network_sha256: &'a str,
    manifest_sha256: &'a str,
    software: &'a str,
    operator: Option<&'a str>,
    digest: String,
}

/// Eight digits say all that was in the single-precision number.
pub(super) fn short(value: f64) -> f64 {
    (value * 1e8).round() / 1e8
}

/// RFC 3339 in UTC, to a millisecond; times beyond the calendar as their number.
pub fn rfc3339(unix_ms: i64) -> String {
    match DateTime::from_timestamp_millis(unix_ms) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => unix_ms.to_string(),
    }
}

impl<'a> From<&'a Recorded> for Exported<'a> {
    fn from(row: &'a Recorded) -> Self {
        let identity = row.identity.as_ref();
        let probability = |n: usize| row.probabilities.map(|p| short(p[n]));
        let [rule_out, rule_in, pneumonia_below, normal_above] = row.operating_point.map(short);
        Self {
            sequence: row.sequence,
            at: rfc3339(row.at_unix_ms),
            clock_verified: row.clock_verified,
            origin: &row.origin,
            image_sha256: row.image_sha256.map(|digest| digest.to_string()),
            image_reference: row.image_reference.as_deref(),
            patient_id: identity.map(|identity| identity.patient_id.as_str()),
            accession_number: identity.map(|identity| identity.accession_number.as_str()),
            study_uid: identity.map(|identity| identity.study_uid.as_str()),
            series_uid: identity.map(|identity| identity.series_uid.as_str()),
            sop_uid: identity.map(|identity| identity.sop_uid.as_str()),
            sop_class_uid: identity.map(|identity| identity.sop_class_uid.as_str()),
            verdict: &row.verdict,
            reason: row.reason.as_deref(),
            detail: row.detail.as_deref(),
            covid_positive: row.covid_positive,
            covid19: probability(0),
            pneumonia: probability(1),
            normal: probability(2),
            rule_out,
            rule_in,
            pneumonia_below,
            normal_above,
            remarks: row.remarks.join("; "),
            model_name: &row.model_name,
            model_version: &row.model_version,
            network_sha256: &row.network_sha256,
            manifest_sha256: &row.manifest_sha256,
            software: &row.software,
            operator: row.operator.as_deref(),
            digest: row.digest.to_string(),
        }
    }
}

/// One object a line.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write_json_lines(out: &mut impl Write, rows: &[Recorded]) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut *out, &Exported::from(row))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Why readings were not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal cannot be read.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// They cannot be written.
    #[error("{0}")]
    Write(#[from] io::Error),
}

/// Every reading as a table with a head, for spreadsheets (RFC 4180).
///
/// # Errors
/// When the journal cannot be read or `out` not written to.
pub fn write_csv(out: &mut impl Write, journal: &Journal) -> Result<(), ExportError> {
    let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    journal.for_each(|row| -> Result<(), ExportError> {
        Ok(table.serialize(Exported::from(&row)).map_err(io::Error::other)?)
    })?;
    Ok(table.flush()?)
}
