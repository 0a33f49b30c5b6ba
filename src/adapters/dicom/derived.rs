//! DICOM objects that this device makes of a reading: what they have in common, and how they are written.
//!
//! Each joins the film's study, so that an archive shows it beside the film. Its UIDs are made of the row's digest: the
//! same reading is the same object, however often it is made.

use std::io::Write;

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_object::meta::FileMetaTableBuilder;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::super::listener::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION};
use super::capture::{self, SECONDARY_CAPTURE};
use super::report::{self, COMPREHENSIVE_SR};
use crate::domain::{Acquired, Language, SaliencyMap, SopInstanceUid, Window};
use crate::record::{Recorded, Uuid, What, rfc3339, series_uid_of, sop_uid_of};

/// In which files are written.
const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";

/// An object that was not made or written.
#[derive(Debug, thiserror::Error)]
pub enum DerivedError {
    /// The row says something that cannot be drawn.
    #[error("cannot draw reading {sequence}: {found} is no verdict that this program knows, a newer one wrote it")]
    Unknown {
        /// Of which reading.
        sequence: i64,
        /// Verdict and reason as the row has them.
        found: String,
    },
    /// It cannot be written.
    #[error("cannot write the {what} on reading {sequence}: {told}")]
    Write {
        /// Of which reading.
        sequence: i64,
        /// What was to be written.
        what: &'static str,
        /// What dicom-rs or the system said.
        told: String,
    },
}

/// What a capture shows beside what the row says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'a> {
    /// The film, where it is still at hand.
    pub film: Option<&'a Acquired>,
    /// Where the network looked, and which part of the film it saw; drawn with the film alone.
    pub map: Option<&'a (SaliencyMap, Window)>,
    /// Seconds that the place's time is ahead of UTC.
    pub utc_offset_s: i32,
    /// What is spoken in the picture; its header is in English.
    pub language: Language,
}

/// An object of a reading.
#[derive(Debug)]
pub struct Derived {
    sequence: i64,
    what: What,
    object: InMemDicomObject,
}

impl Derived {
    /// Makes it; `shown` is only looked at for a capture.
    ///
    /// # Errors
    /// [`DerivedError::Unknown`] for a capture of a row that says something unknown.
    pub fn of(row: &Recorded, what: What, shown: Shown<'_>) -> Result<Self, DerivedError> {
        let object = match what {
            What::Report => report::report(row),
            What::Capture => capture::capture(row, shown)?,
        };
        Ok(Self { sequence: row.sequence, what, object })
    }

    /// Writes it as a DICOM file (PS3.10).
    ///
    /// # Errors
    /// When it cannot be written to `out`.
    pub fn write_file(&self, out: impl Write) -> Result<(), DerivedError> {
        let meta = FileMetaTableBuilder::new()
            .transfer_syntax(EXPLICIT_LITTLE)
            .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
            .implementation_version_name(IMPLEMENTATION_VERSION);
        let object = self.object.clone().with_meta(meta).map_err(|error| self.failed(&error))?;
        object.write_all(out).map_err(|error| self.failed(&error))
    }

    /// The data set alone, as it goes over the network.
    ///
    /// # Errors
    /// When it cannot be written in that transfer syntax.
    pub fn data_set(&self, transfer_syntax: &str) -> Result<Vec<u8>, DerivedError> {
        let syntax = TransferSyntaxRegistry.get(transfer_syntax);
        let syntax = syntax.ok_or_else(|| self.failed(&format!("{transfer_syntax} is not known")))?;
        let mut bytes = Vec::new();
        self.object.write_dataset_with_ts(&mut bytes, syntax).map_err(|error| self.failed(&error))?;
        Ok(bytes)
    }

    fn failed(&self, told: &dyn std::fmt::Display) -> DerivedError {
        DerivedError::Write { sequence: self.sequence, what: self.what.name(), told: told.to_string() }
    }
}

/// SOP Class UID of such an object.
pub fn class_of(what: What) -> &'static str {
    match what {
        What::Report => COMPREHENSIVE_SR,
        What::Capture => SECONDARY_CAPTURE,
    }
}

/// SOP common, equipment, patient and study of the object; its series has `modality` and `description`.
pub(super) fn header(row: &Recorded, what: What, modality: &str, description: &str) -> InMemDicomObject {
    let identity = row.identity.clone().unwrap_or_default();
    let study = identity.study_uid.trim();
    let study = if study.is_empty() { Uuid::of(row, "study").oid() } else { study.to_owned() };
    InMemDicomObject::from_element_iter([
        // SOP common, equipment (PS3.3 C.12.1, C.7.5.1).
        text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192"),
        text(Tag(0x0008, 0x0016), VR::UI, class_of(what)),
        text(Tag(0x0008, 0x0018), VR::UI, &sop_uid_of(row, what)),
        text(Tag(0x0008, 0x0201), VR::SH, "+0000"),
        text(Tag(0x0008, 0x0070), VR::LO, MANUFACTURER),
        text(Tag(0x0008, 0x1090), VR::LO, &fit(&model_of(row), 64)),
        text(Tag(0x0018, 0x1002), VR::UI, &Uuid::of_device(row).oid()),
        text(Tag(0x0018, 0x1020), VR::LO, &fit(&row.software, 64)),
        // Patient and study: what is not known is empty (C.7.1.1, C.7.2.1).
        text(Tag(0x0010, 0x0010), VR::PN, ""),
        text(Tag(0x0010, 0x0020), VR::LO, &fit(&identity.patient_id, 64)),
        text(Tag(0x0010, 0x0030), VR::DA, ""),
        text(Tag(0x0010, 0x0040), VR::CS, ""),
        text(Tag(0x0008, 0x0020), VR::DA, ""),
        text(Tag(0x0008, 0x0030), VR::TM, ""),
        text(Tag(0x0008, 0x0050), VR::SH, &fit(&identity.accession_number, 16)),
        text(Tag(0x0008, 0x0090), VR::PN, ""),
        text(Tag(0x0020, 0x000D), VR::UI, &study),
        text(Tag(0x0020, 0x0010), VR::SH, ""),
        // Series and instance (C.7.3.1).
        text(Tag(0x0008, 0x0060), VR::CS, modality),
        text(Tag(0x0008, 0x103E), VR::LO, description),
        text(Tag(0x0020, 0x000E), VR::UI, &series_uid_of(row, what)),
        text(Tag(0x0020, 0x0011), VR::IS, "1"),
        text(Tag(0x0020, 0x0013), VR::IS, &row.sequence.to_string()),
    ])
}

/// Who made it.
pub(super) const MANUFACTURER: &str = "Lightbox";

/// The model with its version: what reads is what this device is.
pub(super) fn model_of(row: &Recorded) -> String {
    format!("{} {}", row.model_name, row.model_version)
}

/// The film as DICOM refers to it: four UIDs, each of them one.
pub(super) struct FilmReference<'a> {
    pub(super) study: &'a str,
    pub(super) series: &'a str,
    class: &'a str,
    instance: &'a str,
}

/// `None` where the film did not come as DICOM, or its row does not say enough of it.
pub(super) fn film_of(row: &Recorded) -> Option<FilmReference<'_>> {
    let identity = row.identity.as_ref()?;
    let uids = [&identity.study_uid, &identity.series_uid, &identity.sop_class_uid, &identity.sop_uid];
    // They came from outside: what is no UID would spoil the object.
    let [study, series, class, instance] = uids.map(|uid| uid.trim());
    let all = [study, series, class, instance].iter().all(|uid| uid.parse::<SopInstanceUid>().is_ok());
    all.then_some(FilmReference { study, series, class, instance })
}

/// A reference to the film as an item of a sequence (PS3.3 10.8).
pub(super) fn reference(film: &FilmReference<'_>) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([
        text(Tag(0x0008, 0x1150), VR::UI, film.class),
        text(Tag(0x0008, 0x1155), VR::UI, film.instance),
    ])
}

/// Date and time of PS3.5 6.2, in UTC, to a millisecond.
pub(super) fn date_and_time(unix_ms: i64) -> (String, String) {
    let text = rfc3339(unix_ms);
    // Beyond the calendar there is no date; the device's clock was wrong by centuries.
    let text = if text.len() == 24 { text } else { rfc3339(0) };
    (text[..10].replace('-', ""), text[11..23].replace(':', ""))
}

/// As much as an element holds.
pub(super) fn fit(text: &str, most: usize) -> String {
    text.trim().chars().take(most).collect()
}

/// An element of text.
pub(super) fn text(tag: Tag, vr: VR, text: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(text))
}

/// An element with items.
pub(super) fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// A coded concept (PS3.3 8.8).
pub(super) fn code_item(scheme: &str, value: &str, meaning: &str) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([
        text(Tag(0x0008, 0x0100), VR::SH, value),
        text(Tag(0x0008, 0x0102), VR::SH, scheme),
        text(Tag(0x0008, 0x0104), VR::LO, meaning),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_dicom() {
        assert_eq!(date_and_time(1_700_000_000_123), ("20231114".to_owned(), "221320.123".to_owned()));
        assert_eq!(date_and_time(i64::MAX), ("19700101".to_owned(), "000000.000".to_owned()));
    }

    #[test]
    fn text_is_cut_at_characters() {
        assert_eq!(fit(" Łódź und mehr ", 4), "Łódź");
    }
}
