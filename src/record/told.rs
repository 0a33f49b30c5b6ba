//! What exports say of a reading in words, and the identifiers that they give it.

use std::fmt;

use super::{Digest, Recorded};
use crate::domain::{Doubt, Finding, OperatingPoint, Probabilities, Reading, Reason, Rejection, Verdict, What};

/// What every report ends with.
pub const INTENDED_USE: &str =
    "Research device, not a cleared medical product: a clinician decides. No verdict rules out a disease.";

/// A UUID of form 8 (RFC 9562), whose bits are a digest's: the same for the same reading at every export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uuid(u128);

impl Uuid {
    /// Of the part of a reading that has this name.
    pub fn of(row: &Recorded, part: &str) -> Self {
        Self::hashed(&[&row.digest.0, part.as_bytes()])
    }

    /// Of program and model together: whoever reads with the same ones is the same device.
    pub fn of_device(row: &Recorded) -> Self {
        let parts = [&row.software, &row.model_name, &row.model_version, &row.network_sha256, &row.manifest_sha256];
        Self::hashed(&parts.map(|part| part.as_bytes()))
    }

    fn hashed(parts: &[&[u8]]) -> Self {
        let mut bytes = b"lightbox identifier\n".to_vec();
        for part in parts {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(*part);
        }
        let mut bits = [0; 16];
        bits.copy_from_slice(&Digest::of(&bytes).0[..16]);
        // Version in bits 76 to 79, variant in bits 62 and 63.
        Self(u128::from_be_bytes(bits) & !(0xf << 76) & !(0x3 << 62) | (8 << 76) | (2 << 62))
    }

    /// As an OID (ITU-T X.667), which DICOM takes as a UID (PS3.5 B.2).
    pub fn oid(self) -> String {
        format!("2.25.{}", self.0)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        f.write_str(&[&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
    }
}

/// SOP Instance UID of an object that is made of a reading: the same whenever it is made.
pub fn sop_uid_of(row: &Recorded, what: What) -> String {
    Uuid::of(row, what.name()).oid()
}

/// Series Instance UID of the object: reports and captures are series of their own.
pub fn series_uid_of(row: &Recorded, what: What) -> String {
    let part = match what {
        What::Report => "series",
        What::Capture => "capture series",
    };
    Uuid::of(row, part).oid()
}

/// What a row says, and by which lines; `None` where it says something that this program does not know.
pub fn reading_of(row: &Recorded) -> Option<(Reading, OperatingPoint)> {
    let verdict = verdict_named(&row.verdict, row.reason.as_deref(), row.detail.as_deref())?;
    let probabilities = match row.probabilities {
        Some(kept) => Some(Probabilities::from_kept(kept)?),
        None => None,
    };
    let [rule_out, rule_in, below, above] = row.operating_point.map(|line| line as f32);
    let operating_point = OperatingPoint::new(rule_out, rule_in, below, above).ok()?;
    Some((Reading { verdict, probabilities, covid_positive: row.covid_positive }, operating_point))
}

/// The verdict of that name and reason; `None` when there is none.
pub fn verdict_named(name: &str, reason: Option<&str>, detail: Option<&str>) -> Option<Verdict> {
    if let Some(finding) = Finding::from_name(name) {
        return Some(Verdict::Found(finding));
    }
    let reason = Reason::of_code(reason?)?;
    if name == "rejected" {
        return Some(Verdict::Rejected(Rejection::new(reason, detail.unwrap_or_default())));
    }
    let doubts = [Doubt::BetweenThresholds, Doubt::PneumoniaOrNormal, Doubt::ModelFault];
    let doubt = doubts.into_iter().find(|doubt| doubt.reason() == reason)?;
    (name == "indeterminate").then_some(Verdict::Indeterminate(doubt))
}

/// A verdict in words, as on the screen.
pub fn verdict_words(verdict: &str) -> &str {
    match verdict {
        "covid19" => "Covid-19 suspected",
        "pneumonia" => "Other pneumonia suspected",
        "normal" => "No pneumonia seen",
        "indeterminate" => "Cannot say",
        "rejected" => "Not read",
        // A newer program's, which this one cannot translate.
        other => other,
    }
}

/// What is said, why where there is no finding, and what it is worth.
pub fn conclusion(row: &Recorded) -> String {
    let mut text = verdict_words(&row.verdict).to_owned();
    if let Some(reason) = &row.reason {
        text += &format!(" ({reason})");
    }
    if let Some(detail) = &row.detail {
        text += &format!(": {detail}");
    }
    text += &format!(". {INTENDED_USE}");
    if !row.clock_verified {
        text += " The device's clock had not been verified.";
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::Identity;

    /// A reading without a clear answer.
    pub(crate) fn row() -> Recorded {
        Recorded {
            sequence: 1,
            at_unix_ms: 1_700_000_000_123,
            clock_verified: false,
            origin: "network".into(),
            image_sha256: Some(Digest([7; 32])),
            image_reference: Some("1.dcm".into()),
            identity: Some(Identity { patient_id: "4711 ".into(), study_uid: "1.2.3".into(), ..Identity::default() }),
            remarks: vec![String::new(), "the first of 3 frames was taken".into()],
            model_name: "m".into(),
            model_version: "2".into(),
            network_sha256: "aa".into(),
            manifest_sha256: "bb".into(),
            operating_point: [0.1, 0.7, 0.2, 0.8],
            probabilities: Some([0.25, 0.5, 0.25]),
            verdict: "indeterminate".into(),
            reason: Some("between-thresholds".into()),
            detail: None,
            covid_positive: None,
            software: "0.1.0".into(),
            operator: None,
            digest: Digest([9; 32]),
        }
    }

    #[test]
    fn identifiers_are_uuids_and_stay_the_same() {
        let id = Uuid::of(&row(), "report");
        assert_eq!(id, Uuid::of(&row(), "report"));
        assert_ne!(id, Uuid::of(&row(), "verdict"));
        assert_ne!(id, Uuid::of(&Recorded { digest: Digest([8; 32]), ..row() }, "report"));
        let text = id.to_string();
        assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{text}");
        assert!(text.as_bytes()[14] == b'8' && b"89ab".contains(&text.as_bytes()[19]), "{text}");
        let uid = id.oid();
        assert!(uid.len() <= 64 && uid[5..].bytes().all(|byte| byte.is_ascii_digit()), "{uid}");
    }

    #[test]
    fn words_are_those_of_the_screen() {
        let verdicts = [
            Verdict::Found(Finding::Covid19),
            Verdict::Found(Finding::Pneumonia),
            Verdict::Found(Finding::Normal),
            Verdict::Indeterminate(Doubt::BetweenThresholds),
            Verdict::Rejected(Rejection::new(Reason::Blank, "")),
        ];
        for verdict in verdicts {
            assert_eq!(verdict_words(verdict.name()), verdict.words());
        }
        assert_eq!(verdict_words("other"), "other");
    }

    #[test]
    fn a_verdict_is_found_by_what_the_journal_calls_it() {
        let verdicts = [
            Verdict::Found(Finding::Covid19),
            Verdict::Found(Finding::Pneumonia),
            Verdict::Found(Finding::Normal),
            Verdict::Indeterminate(Doubt::BetweenThresholds),
            Verdict::Indeterminate(Doubt::PneumoniaOrNormal),
            Verdict::Indeterminate(Doubt::ModelFault),
            Verdict::Rejected(Rejection::new(Reason::LateralView, "LL")),
        ];
        for verdict in verdicts {
            let reason = verdict.reason().map(Reason::code);
            assert_eq!(verdict_named(verdict.name(), reason, Some("LL")), Some(verdict));
        }
        // Nothing that is not known becomes a finding.
        for (name, reason) in [
            ("healthy", None),
            ("", None),
            ("indeterminate", None),
            ("indeterminate", Some("blank")),
            ("rejected", Some("x")),
        ] {
            assert_eq!(verdict_named(name, reason, None), None, "{name} {reason:?}");
        }
    }
}
