//! A reading as a DICOM structured report: Comprehensive SR (PS3.3 A.35.3) after template 2000, Basic Diagnostic Imaging
//! Report (PS3.16), with the device as its observer. It is never verified: that is for a physician.
//!
//! The report joins the film's study, so that an archive shows it beside the film. Its UIDs are made of the row's digest:
//! the same reading is the same object, however often it is exported.

use std::io::Write;

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_object::InMemDicomObject;
use dicom_object::meta::FileMetaTableBuilder;

use super::super::listener::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION};
use crate::record::{Recorded, Uuid, conclusion, rfc3339, verdict_words};

/// Comprehensive SR Storage (PS3.4 B.5).
pub const COMPREHENSIVE_SR: &str = "1.2.840.10008.5.1.4.1.1.88.33";
const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";

/// The coding scheme of what only this device says: as in the FHIR export, a UID of a UUID.
const SCHEME: &str = "99LIGHTBOX";
const SCHEME_UID: &str = "2.25.117580862352543606013681488675285831854";

/// A report that was not written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report on reading {sequence}: {told}")]
pub struct ReportError {
    /// Of which reading.
    pub sequence: i64,
    /// What dicom-rs or the system said.
    pub told: String,
}

/// Writes the report on a reading as a DICOM file (PS3.10).
///
/// # Errors
/// When it cannot be written to `out`.
pub fn write_report(out: impl Write, row: &Recorded) -> Result<(), ReportError> {
    let failed = |told: String| ReportError { sequence: row.sequence, told };
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(EXPLICIT_LITTLE)
        .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(IMPLEMENTATION_VERSION);
    let object = report(row).with_meta(meta).map_err(|error| failed(error.to_string()))?;
    object.write_all(out).map_err(|error| failed(error.to_string()))
}

/// Header and content tree.
fn report(row: &Recorded) -> InMemDicomObject {
    let identity = row.identity.clone().unwrap_or_default();
    let (date, time) = date_and_time(row.at_unix_ms);
    let study = identity.study_uid.trim();
    let study = if study.is_empty() { Uuid::of(row, "study").oid() } else { study.to_owned() };
    let series = Uuid::of(row, "series").oid();
    let instance = Uuid::of(row, "report").oid();
    let model = format!("{} {}", row.model_name, row.model_version);
    let (number, uid) = (row.sequence.to_string(), |uid: &str| PrimitiveValue::from(uid));
    let text = |tag, vr, text: &str| DataElement::new(tag, vr, PrimitiveValue::from(text));
    let mut object = InMemDicomObject::from_element_iter([
        // SOP common, equipment (PS3.3 C.12.1, C.7.5.1).
        text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192"),
        DataElement::new(Tag(0x0008, 0x0016), VR::UI, uid(COMPREHENSIVE_SR)),
        DataElement::new(Tag(0x0008, 0x0018), VR::UI, uid(&instance)),
        text(Tag(0x0008, 0x0201), VR::SH, "+0000"),
        text(Tag(0x0008, 0x0070), VR::LO, "Lightbox"),
        text(Tag(0x0008, 0x1090), VR::LO, &fit(&model, 64)),
        text(Tag(0x0018, 0x1020), VR::LO, &fit(&row.software, 64)),
        sequence(
            Tag(0x0008, 0x0110),
            vec![InMemDicomObject::from_element_iter([
                text(Tag(0x0008, 0x0102), VR::SH, SCHEME),
                DataElement::new(Tag(0x0008, 0x010C), VR::UI, uid(SCHEME_UID)),
                text(Tag(0x0008, 0x0115), VR::ST, "What only Lightbox says"),
            ])],
        ),
        // Patient and study: what is not known is empty (C.7.1.1, C.7.2.1).
        text(Tag(0x0010, 0x0010), VR::PN, ""),
        text(Tag(0x0010, 0x0020), VR::LO, &fit(&identity.patient_id, 64)),
        text(Tag(0x0010, 0x0030), VR::DA, ""),
        text(Tag(0x0010, 0x0040), VR::CS, ""),
        text(Tag(0x0008, 0x0020), VR::DA, ""),
        text(Tag(0x0008, 0x0030), VR::TM, ""),
        text(Tag(0x0008, 0x0050), VR::SH, &fit(&identity.accession_number, 16)),
        text(Tag(0x0008, 0x0090), VR::PN, ""),
        DataElement::new(Tag(0x0020, 0x000D), VR::UI, uid(&study)),
        text(Tag(0x0020, 0x0010), VR::SH, ""),
        // Series and document (C.17.1, C.17.2).
        text(Tag(0x0008, 0x0060), VR::CS, "SR"),
        DataElement::new(Tag(0x0020, 0x000E), VR::UI, uid(&series)),
        text(Tag(0x0020, 0x0011), VR::IS, "1"),
        sequence(Tag(0x0008, 0x1111), vec![]),
        text(Tag(0x0020, 0x0013), VR::IS, &number),
        // A film that was not read has no complete report.
        text(Tag(0x0040, 0xA491), VR::CS, if row.verdict == "rejected" { "PARTIAL" } else { "COMPLETE" }),
        text(Tag(0x0040, 0xA493), VR::CS, "UNVERIFIED"),
        text(Tag(0x0008, 0x0023), VR::DA, &date),
        text(Tag(0x0008, 0x0033), VR::TM, &time),
        sequence(Tag(0x0040, 0xA372), vec![]),
    ]);
    for element in content(row, &model) {
        object.put(element);
    }
    object
}

/// The root of the tree (C.17.3), after template 2000.
fn content(row: &Recorded, model: &str) -> InMemDicomObject {
    let device = Uuid::of_device(row).oid();
    let mut findings = Vec::new();
    if let Some(probabilities) = row.probabilities {
        let names = [
            ("P_COVID19", "Calibrated probability of Covid-19"),
            ("P_PNEUMONIA", "Calibrated probability of other pneumonia"),
            ("P_NORMAL", "Calibrated probability of no pneumonia"),
        ];
        findings
            .extend(names.into_iter().zip(probabilities).map(|((code, meaning), value)| number(code, meaning, value)));
        let lines = [
            ("RULE_OUT", "Line below which Covid-19 is not called"),
            ("RULE_IN", "Line above which Covid-19 is called"),
        ];
        findings.extend(
            lines.into_iter().zip(row.operating_point).map(|((code, meaning), value)| number(code, meaning, value)),
        );
    }
    let remarks = row.remarks.iter().filter(|remark| !remark.trim().is_empty());
    findings.extend(remarks.map(|remark| words("CONTAINS", Code::dcm("121071", "Finding"), remark)));
    if let Some(sha256) = row.image_sha256 {
        let name = Code::own("IMAGE_SHA256", "SHA-256 of the image's file");
        findings.push(words("CONTAINS", name, &sha256.to_string()));
    }
    if let Some(identity) = row.identity.as_ref().filter(|identity| !identity.sop_uid.trim().is_empty()) {
        let name = Code::own("IMAGE_UID", "SOP instance UID of the image");
        findings.push(uid_reference("CONTAINS", name, identity.sop_uid.trim()));
    }
    findings.push(words(
        "CONTAINS",
        Code::own("MANIFEST_SHA256", "SHA-256 of the model's manifest"),
        &row.manifest_sha256,
    ));

    let verdict = Code { scheme: SCHEME, value: fit(&row.verdict, 16), meaning: fit(verdict_words(&row.verdict), 64) };
    let conclusions = vec![
        coded("CONTAINS", Code::dcm("121077", "Conclusion"), &verdict),
        words("CONTAINS", Code::dcm("121077", "Conclusion"), &conclusion(row)),
    ];
    let observer = "HAS OBS CONTEXT";
    let mut children = vec![
        coded(
            "HAS CONCEPT MOD",
            Code::dcm("121049", "Language of Content Item and Descendants"),
            &Code::of("RFC5646", "en", "English"),
        ),
        coded(observer, Code::dcm("121005", "Observer Type"), &Code::dcm("121007", "Device")),
        uid_reference(observer, Code::dcm("121012", "Device Observer UID"), &device),
        words(observer, Code::dcm("121013", "Device Observer Name"), "Lightbox"),
        words(observer, Code::dcm("121015", "Device Observer Model Name"), model),
        coded(
            "HAS CONCEPT MOD",
            Code::dcm("121058", "Procedure Reported"),
            &Code::of("LN", "30745-4", "XR Chest Views"),
        ),
    ];
    children.push(container("CONTAINS", Code::dcm("121070", "Findings"), findings));
    children.push(container("CONTAINS", Code::dcm("121076", "Conclusions"), conclusions));
    let mut root = container("", Code::of("LN", "18748-4", "Diagnostic imaging report"), children);
    root.put(sequence(
        Tag(0x0040, 0xA504),
        vec![InMemDicomObject::from_element_iter([
            DataElement::new(Tag(0x0008, 0x0105), VR::CS, PrimitiveValue::from("DCMR")),
            DataElement::new(Tag(0x0040, 0xDB00), VR::CS, PrimitiveValue::from("2000")),
        ])],
    ));
    root
}

/// Date and time of PS3.5 6.2, in UTC, to a millisecond.
fn date_and_time(unix_ms: i64) -> (String, String) {
    let text = rfc3339(unix_ms);
    // Beyond the calendar there is no date; the device's clock was wrong by centuries.
    let text = if text.len() == 24 { text } else { rfc3339(0) };
    (text[..10].replace('-', ""), text[11..23].replace(':', ""))
}

/// As much as an element holds.
fn fit(text: &str, most: usize) -> String {
    text.trim().chars().take(most).collect()
}

/// A coded concept (PS3.3 8.8).
struct Code {
    scheme: &'static str,
    value: String,
    meaning: String,
}

impl Code {
    fn of(scheme: &'static str, value: &str, meaning: &str) -> Self {
        Self { scheme, value: value.to_owned(), meaning: meaning.to_owned() }
    }

    fn dcm(value: &str, meaning: &str) -> Self {
        Self::of("DCM", value, meaning)
    }

    fn own(value: &str, meaning: &str) -> Self {
        Self::of(SCHEME, value, meaning)
    }

    fn item(&self) -> InMemDicomObject {
        InMemDicomObject::from_element_iter([
            DataElement::new(Tag(0x0008, 0x0100), VR::SH, PrimitiveValue::from(self.value.as_str())),
            DataElement::new(Tag(0x0008, 0x0102), VR::SH, PrimitiveValue::from(self.scheme)),
            DataElement::new(Tag(0x0008, 0x0104), VR::LO, PrimitiveValue::from(self.meaning.as_str())),
        ])
    }
}

fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// A content item of a type, without its value; the root has no relationship.
fn item(relationship: &str, value_type: &str, name: &Code) -> InMemDicomObject {
    let mut item = InMemDicomObject::from_element_iter([
        DataElement::new(Tag(0x0040, 0xA040), VR::CS, PrimitiveValue::from(value_type)),
        sequence(Tag(0x0040, 0xA043), vec![name.item()]),
    ]);
    if !relationship.is_empty() {
        item.put(DataElement::new(Tag(0x0040, 0xA010), VR::CS, PrimitiveValue::from(relationship)));
    }
    item
}

fn container(relationship: &str, name: Code, children: Vec<InMemDicomObject>) -> InMemDicomObject {
    let mut item = item(relationship, "CONTAINER", &name);
    item.put(DataElement::new(Tag(0x0040, 0xA050), VR::CS, PrimitiveValue::from("SEPARATE")));
    item.put(sequence(Tag(0x0040, 0xA730), children));
    item
}

fn words(relationship: &str, name: Code, text: &str) -> InMemDicomObject {
    let mut item = item(relationship, "TEXT", &name);
    item.put(DataElement::new(Tag(0x0040, 0xA160), VR::UT, PrimitiveValue::from(text)));
    item
}

fn coded(relationship: &str, name: Code, value: &Code) -> InMemDicomObject {
    let mut item = item(relationship, "CODE", &name);
    item.put(sequence(Tag(0x0040, 0xA168), vec![value.item()]));
    item
}

fn uid_reference(relationship: &str, name: Code, uid: &str) -> InMemDicomObject {
    let mut item = item(relationship, "UIDREF", &name);
    item.put(DataElement::new(Tag(0x0040, 0xA124), VR::UI, PrimitiveValue::from(uid)));
    item
}

/// A share of one; a decimal string has 16 characters at most.
fn number(code: &str, meaning: &str, value: f64) -> InMemDicomObject {
    let mut item = item("CONTAINS", "NUM", &Code::own(code, meaning));
    let measured = InMemDicomObject::from_element_iter([
        sequence(Tag(0x0040, 0x08EA), vec![Code::of("UCUM", "1", "no units").item()]),
        DataElement::new(Tag(0x0040, 0xA30A), VR::DS, PrimitiveValue::from(format!("{value:.8}"))),
    ]);
    item.put(sequence(Tag(0x0040, 0xA300), vec![measured]));
    item
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
