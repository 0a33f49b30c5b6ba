//! A reading as a DICOM structured report: Comprehensive SR (PS3.3 A.35.3) after template 2000, Basic Diagnostic Imaging
//! Report (PS3.16), with the device as its observer. It is never verified: that is for a physician.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_object::InMemDicomObject;

use super::derived::{
    FilmReference, MANUFACTURER, code_item, date_and_time, film_of, fit, header, model_of, reference, sequence, text,
};
use crate::record::{Recorded, Uuid, What, conclusion, verdict_words};

/// Comprehensive SR Storage (PS3.4 B.5).
pub const COMPREHENSIVE_SR: &str = "1.2.840.10008.5.1.4.1.1.88.33";

/// The coding scheme of what only this device says: as in the FHIR export, a UID of a UUID.
const SCHEME: &str = "99LIGHTBOX";
const SCHEME_UID: &str = "2.25.117580862352543606013681488675285831854";

/// Header and content tree.
pub(super) fn report(row: &Recorded) -> InMemDicomObject {
    let (date, time) = date_and_time(row.at_unix_ms);
    let mut object = header(row, What::Report, "SR", "Lightbox: report on the radiograph");
    let scheme = InMemDicomObject::from_element_iter([
        text(Tag(0x0008, 0x0102), VR::SH, SCHEME),
        text(Tag(0x0008, 0x010C), VR::UI, SCHEME_UID),
        text(Tag(0x0008, 0x0115), VR::ST, "What only Lightbox says"),
    ]);
    // Series and document (C.17.1, C.17.2).
    for element in [
        sequence(Tag(0x0008, 0x0110), vec![scheme]),
        sequence(Tag(0x0008, 0x1111), vec![]),
        // A film that was not read has no complete report.
        text(Tag(0x0040, 0xA491), VR::CS, if row.verdict == "rejected" { "PARTIAL" } else { "COMPLETE" }),
        text(Tag(0x0040, 0xA493), VR::CS, "UNVERIFIED"),
        text(Tag(0x0008, 0x0023), VR::DA, &date),
        text(Tag(0x0008, 0x0033), VR::TM, &time),
        sequence(Tag(0x0040, 0xA372), vec![]),
    ] {
        object.put(element);
    }
    if let Some(film) = film_of(row) {
        object.put(evidence(&film));
    }
    for element in content(row, &model_of(row)) {
        object.put(element);
    }
    object
}

/// Current Requested Procedure Evidence Sequence: every object that the content refers to (C.17.2).
fn evidence(film: &FilmReference<'_>) -> DataElement<InMemDicomObject> {
    let series = InMemDicomObject::from_element_iter([
        text(Tag(0x0020, 0x000E), VR::UI, film.series),
        sequence(Tag(0x0008, 0x1199), vec![reference(film)]),
    ]);
    let study = InMemDicomObject::from_element_iter([
        text(Tag(0x0020, 0x000D), VR::UI, film.study),
        sequence(Tag(0x0008, 0x1115), vec![series]),
    ]);
    sequence(Tag(0x0040, 0xA375), vec![study])
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
    if let Some(film) = film_of(row) {
        findings.push(image("CONTAINS", Code::dcm("121324", "Source image"), &film));
    } else if let Some(identity) = row.identity.as_ref().filter(|identity| !identity.sop_uid.trim().is_empty()) {
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
        words(observer, Code::dcm("121013", "Device Observer Name"), MANUFACTURER),
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
        code_item(self.scheme, &self.value, &self.meaning)
    }
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

fn image(relationship: &str, name: Code, film: &FilmReference<'_>) -> InMemDicomObject {
    let mut item = item(relationship, "IMAGE", &name);
    item.put(sequence(Tag(0x0008, 0x1199), vec![reference(film)]));
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
