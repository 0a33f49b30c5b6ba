//! Readings as HL7 FHIR R4 (4.0.1): one Bundle with a DiagnosticReport, its Observations and the Device of each reading.
//!
//! Identifiers are made of the row's digest, so that the same reading has the same ones at every export. Nothing here is
//! a finding of a physician: every report is preliminary.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::export::{ExportError, rfc3339, short};
use super::told::{Uuid, conclusion, verdict_words};
use super::{Journal, Recorded};

/// The code system of what only this device says, and the base of its identifiers: an OID of a UUID (ITU-T X.667).
const SYSTEM: &str = "urn:oid:2.25.117580862352543606013681488675285831854";
const LOINC: &str = "http://loinc.org";
const SNOMED: &str = "http://snomed.info/sct";
const UCUM: &str = "http://unitsofmeasure.org";

/// Names of the probabilities in their order in a row, and what each is of.
const PROBABILITIES: [(&str, &str); 3] = [
    ("probability-covid19", "Calibrated probability of Covid-19"),
    ("probability-pneumonia", "Calibrated probability of other pneumonia"),
    ("probability-normal", "Calibrated probability of no pneumonia"),
];

/// Every reading, as one Bundle.
///
/// # Errors
/// When the journal cannot be read or `out` not written to.
pub fn write_fhir(out: &mut impl Write, journal: &Journal) -> Result<(), ExportError> {
    out.write_all(br#"{"resourceType":"Bundle","type":"collection""#)?;
    let mut written = 0;
    let mut devices = BTreeSet::new();
    journal.for_each(|row| -> Result<(), ExportError> {
        let device = Uuid::of_device(&row);
        let device = devices.insert(device).then(|| self::device(&row, device));
        for resource in device.into_iter().chain(reading(&row)) {
            // An empty list is not allowed in FHIR: it opens with its first element.
            out.write_all(if written == 0 { br#","entry":["# } else { b"," })?;
            let id = resource["id"].as_str().unwrap_or_default();
            serde_json::to_writer(&mut *out, &json!({"fullUrl": format!("urn:uuid:{id}"), "resource": resource}))
                .map_err(io::Error::from)?;
            written += 1;
        }
        Ok(())
    })?;
    out.write_all(if written == 0 { b"}\n" } else { b"]}\n" })?;
    Ok(())
}

/// Observations and report of one reading.
fn reading(row: &Recorded) -> Vec<Value> {
    let mut observations = vec![verdict(row)];
    if let Some(probabilities) = row.probabilities {
        let all = PROBABILITIES.iter().zip(probabilities).enumerate();
        observations.extend(all.map(|(index, (name, value))| probability(row, index == 0, *name, value)));
    }
    let results: Vec<Value> = observations
        .iter()
        .map(|observation| json!({"reference": format!("urn:uuid:{}", observation["id"].as_str().unwrap_or_default())}))
        .collect();
    // One that was not read was never complete.
    let status = if row.verdict == "rejected" { "cancelled" } else { "preliminary" };
    let mut report = json!({
        "resourceType": "DiagnosticReport",
        "id": Uuid::of(row, "report").to_string(),
        "identifier": [{"system": SYSTEM, "value": row.digest.to_string()}],
        "status": status,
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}],
        "code": {"coding": [{"system": LOINC, "code": "30745-4"}], "text": "Radiograph of the chest, read by software"},
        "result": results,
        "conclusion": conclusion(row),
        "conclusionCode": [verdict_concept(row)],
    });
    if let Some(accession) = row.identity.as_ref().map(|identity| &identity.accession_number).filter(|text| named(text))
    {
        report["basedOn"] = json!([{
            "type": "ServiceRequest",
            "identifier": {
                "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]},
                "value": accession.trim(),
            },
        }]);
    }
    if let Some(study) = study(row) {
        report["imagingStudy"] = json!([study]);
    }
    told_of(row, &mut report);
    observations.push(report);
    observations
}

/// What reports and observations share: of whom, and when.
fn told_of(row: &Recorded, resource: &mut Value) {
    if let Some(patient) = row.identity.as_ref().map(|identity| &identity.patient_id).filter(|text| named(text)) {
        resource["subject"] = json!({"type": "Patient", "identifier": {"value": patient.trim()}});
    }
    // Beyond the calendar there is no instant.
    let issued = rfc3339(row.at_unix_ms);
    if issued.ends_with('Z') && issued.len() == 24 {
        resource["issued"] = json!(issued);
    }
}

fn reference(id: Uuid) -> Value {
    json!({"reference": format!("urn:uuid:{id}")})
}

/// FHIR takes no empty text.
fn named(text: &str) -> bool {
    !text.trim().is_empty()
}

fn study(row: &Recorded) -> Option<Value> {
    let study = row.identity.as_ref().map(|identity| identity.study_uid.trim()).filter(|uid| !uid.is_empty())?;
    let identifier = json!({"system": "urn:dicom:uid", "value": format!("urn:oid:{study}")});
    Some(json!({"type": "ImagingStudy", "identifier": identifier}))
}

/// What observations share.
fn observation(row: &Recorded, name: &str, text: &str) -> Value {
    let mut observation = json!({
        "resourceType": "Observation",
        "id": Uuid::of(row, name).to_string(),
        "status": "preliminary",
        "category": [{"coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"},
        ]}],
        "code": {"coding": [{"system": SYSTEM, "code": name}], "text": text},
        "device": reference(Uuid::of_device(row)),
    });
    if let Some(operator) = row.operator.as_ref().filter(|text| named(text)) {
        observation["performer"] = json!([{"display": operator.trim()}]);
    }
    if let Some(study) = study(row) {
        observation["derivedFrom"] = json!([study]);
    }
    told_of(row, &mut observation);
    observation
}

fn verdict_concept(row: &Recorded) -> Value {
    let mut coding = vec![json!({"system": SYSTEM, "code": row.verdict, "display": verdict_words(&row.verdict)})];
    if row.verdict == "covid19" {
        // Suspected, not diagnosed.
        coding.push(json!({"system": SNOMED, "code": "840544004"}));
    }
    json!({"coding": coding, "text": verdict_words(&row.verdict)})
}

/// Whether Covid-19 was called, as HL7 codes it.
fn interpretation(row: &Recorded) -> Value {
    let code = match row.covid_positive {
        Some(true) => "POS",
        Some(false) => "NEG",
        None => "IND",
    };
    let system = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";
    json!([{"coding": [{"system": system, "code": code}]}])
}

fn verdict(row: &Recorded) -> Value {
    let mut observation = observation(row, "verdict", "Verdict on the radiograph");
    observation["valueCodeableConcept"] = verdict_concept(row);
    let mut notes = vec![conclusion(row)];
    notes.extend(row.remarks.iter().filter(|text| named(text)).cloned());
    if let Some(sha256) = row.image_sha256 {
        notes.push(format!("SHA-256 of the image's file: {sha256}"));
    }
    observation["note"] = notes.into_iter().map(|text| json!({"text": text})).collect();
    observation
}

fn probability(row: &Recorded, is_covid: bool, (name, text): (&str, &str), value: f64) -> Value {
    let number = |value: f64| json!({"value": short(value), "unit": "1", "system": UCUM, "code": "1"});
    let mut observation = observation(row, name, text);
    observation["valueQuantity"] = number(value);
    if is_covid {
        let [rule_out, rule_in, ..] = row.operating_point;
        observation["interpretation"] = interpretation(row);
        observation["referenceRange"] = json!([{
            "low": number(rule_out),
            "high": number(rule_in),
            "text": "Below the lower line Covid-19 is not called, above the upper line it is; between them the answer is open",
        }]);
    }
    observation
}

fn device(row: &Recorded, id: Uuid) -> Value {
    let version = |kind: &str, value: &str| json!({"type": {"text": kind}, "value": value});
    json!({
        "resourceType": "Device",
        "id": id.to_string(),
        "identifier": [{"system": SYSTEM, "value": row.manifest_sha256}],
        "status": "active",
        "deviceName": [{"name": format!("Lightbox with {}", row.model_name), "type": "user-friendly-name"}],
        "version": [
            version("program", &row.software),
            version("model", &row.model_version),
            version("SHA-256 of the network", &row.network_sha256),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::super::told::tests::row;
    use super::*;

    #[test]
    fn an_open_answer_is_not_called_negative() {
        let resources = reading(&row());
        let report = resources.last().unwrap();
        assert_eq!(report["status"], "preliminary");
        assert_eq!(report["conclusionCode"][0]["coding"].as_array().unwrap().len(), 1);
        assert!(report["conclusion"].as_str().unwrap().starts_with("Cannot say (between-thresholds). Research device"));
        assert!(report["conclusion"].as_str().unwrap().ends_with("clock had not been verified."));
        assert_eq!(resources[1]["interpretation"][0]["coding"][0]["code"], "IND");
        assert_eq!(report["issued"], "2023-11-14T22:13:20.123Z");
        assert_eq!(report["subject"]["identifier"]["value"], "4711");
        assert_eq!(report.get("basedOn"), None, "there is no accession number");
        assert_eq!(report["result"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn a_film_that_was_not_read_has_no_probabilities_and_no_finding() {
        let rejected = Recorded { verdict: "rejected".into(), probabilities: None, identity: None, ..row() };
        let resources = reading(&rejected);
        assert_eq!(resources.len(), 2);
        assert_eq!(resources[1]["status"], "cancelled");
        assert_eq!(resources[1].get("subject"), None);
        assert!(!serde_json::to_string(&resources).unwrap().contains("POS"));
    }
}
