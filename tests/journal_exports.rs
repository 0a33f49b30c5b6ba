//! Readings in other programs' hands: FHIR against published models, DICOM reports in dcmtk and Orthanc.

#[path = "support/orthanc.rs"]
mod orthanc;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lightbox::adapters::file::{Limits, read_film};
use lightbox::domain::{
    Doubt, Finding, OperatingPoint, Probabilities, Reading, Reason, Rejection, SaliencyMap, Verdict, Window,
};
use lightbox::record::{Digest, Entry, Identity, Image, Journal, Model, Moment, Origin};
use orthanc::Orthanc;
use serde_json::{Value, json};

/// Says what is missing; under CI nothing may be.
fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is missing: tests/run installs what it can");
    eprintln!("not tested: {what} is missing");
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn film() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chest-pa.dcm")
}

fn entry(verdict: Verdict, logits: Option<[f32; 3]>, identity: Option<Identity>) -> Entry {
    Entry {
        at: Moment { unix_ms: 1_770_000_000_250, verified: identity.is_some() },
        origin: Origin::Network,
        image: identity.is_some().then(|| Image { sha256: Digest([0x5a; 32]), reference: "1.2.3.dcm".to_owned() }),
        identity,
        remarks: vec!["the first of 3 frames was taken".to_owned(), "Übergröße".to_owned()],
        model: Model {
            name: "lightbox-chest".to_owned(),
            version: "1.0.0".to_owned(),
            network_sha256: "ab".repeat(32),
            manifest_sha256: "cd".repeat(32),
        },
        operating_point: OperatingPoint::new(0.1, 0.7, 0.2, 0.8).expect("lines in order"),
        reading: Reading {
            covid_positive: match &verdict {
                Verdict::Found(finding) => Some(*finding == Finding::Covid19),
                Verdict::Indeterminate(_) | Verdict::Rejected(_) => None,
            },
            probabilities: logits.map(|logits| Probabilities::from_logits(logits, 1.0).expect("numbers")),
            verdict,
        },
        map: None,
        software: "0.1.0".to_owned(),
        operator: Some("MT 3".to_owned()),
    }
}

/// A journal with a reading of every kind; the first is of the film of the fixtures.
fn journal(folder: &Path) -> String {
    let path = folder.join("readings.db");
    let mut journal = Journal::open_or_create(&path).expect("a journal");
    let identity =
        read_film(&film(), &Limits::default()).expect("a film").identity.expect("the film says who is on it");
    assert!(!identity.study_uid.is_empty());
    let rejection = Rejection::new(Reason::LateralView, "ViewPosition is \"LL\", expected PA or AP");
    for entry in [
        entry(Verdict::Found(Finding::Covid19), Some([3.0, 0.5, -1.0]), Some(identity)),
        entry(Verdict::Found(Finding::Pneumonia), Some([-2.0, 3.0, 0.0]), None),
        entry(Verdict::Found(Finding::Normal), Some([-2.0, -1.0, 4.0]), Some(Identity::default())),
        entry(Verdict::Indeterminate(Doubt::BetweenThresholds), Some([0.1, 0.0, 0.2]), None),
        entry(Verdict::Rejected(rejection), None, None),
    ] {
        journal.append(&entry).expect("written");
    }
    path.display().to_string()
}

fn export(journal: &str, format: &str, out: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox"));
    command.args(["journal", "export", "--journal", journal, "--format", format]);
    if let Some(out) = out {
        command.arg("--out").arg(out);
    }
    command.output().expect("the program")
}

#[test]
fn the_fhir_bundle_is_valid_and_says_no_more_than_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let file = folder.path().join("readings.json");
    let output = export(&journal, "fhir", Some(&file));
    assert!(output.status.success(), "{}", told(&output));
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, String::from_utf8(export(&journal, "fhir", None).stdout).unwrap(), "the same at every export");
    let bundle: Value = serde_json::from_str(&text).unwrap();
    let reports: Vec<&Value> = bundle["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["resource"])
        .filter(|resource| resource["resourceType"] == "DiagnosticReport")
        .collect();
    let said: Vec<_> = reports
        .iter()
        .map(|report| {
            (report["status"].as_str().unwrap(), report["conclusionCode"][0]["coding"][0]["code"].as_str().unwrap())
        })
        .collect();
    let expected = [
        ("preliminary", "covid19"),
        ("preliminary", "pneumonia"),
        ("preliminary", "normal"),
        ("preliminary", "indeterminate"),
        ("cancelled", "rejected"),
    ];
    assert_eq!(said, expected);
    assert_eq!(text.matches("840544004").count(), 2, "suspected Covid-19, in one report and its observation");
    assert!(reports[4]["conclusion"].as_str().unwrap().starts_with("Not read (lateral-view): ViewPosition is \"LL\""));

    let python = std::env::var_os("LIGHTBOX_PEER_PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import fhir.resources"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        return missing("a Python with fhir.resources (LIGHTBOX_PEER_PYTHON)");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/check_fhir.py");
    let checked = Command::new(&python).arg(&script).arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", told(&checked));
    let counts: Value = serde_json::from_slice(&checked.stdout).unwrap();
    // A verdict for each, and three probabilities for each that was read.
    assert_eq!(counts, json!({"Device": 1, "DiagnosticReport": 5, "Observation": 17}));

    // A journal without readings is a Bundle, too.
    let empty = folder.path().join("empty.db");
    drop(Journal::open_or_create(&empty).unwrap());
    let output = export(&empty.display().to_string(), "fhir", Some(&file));
    assert!(output.status.success(), "{}", told(&output));
    let checked = Command::new(&python).arg(&script).arg(&file).output().unwrap();
    assert_eq!((checked.status.success(), checked.stdout.as_slice()), (true, &b"{}\n"[..]), "{}", told(&checked));
}

/// The reports on every reading, by number.
fn reports(folder: &Path) -> Vec<PathBuf> {
    journal(folder);
    reports_of(folder)
}

/// The reports on the journal in that folder.
fn reports_of(folder: &Path) -> Vec<PathBuf> {
    let journal = folder.join("readings.db").display().to_string();
    let output = export(&journal, "dicom-sr", Some(folder));
    assert!(output.status.success(), "{}", told(&output));
    let files: Vec<PathBuf> = String::from_utf8(output.stdout).expect("UTF-8").lines().map(PathBuf::from).collect();
    let names: Vec<_> = (1..=5).map(|number| folder.join(format!("reading-00000{number}.dcm"))).collect();
    assert_eq!(files, names);
    let before: Vec<_> = files.iter().map(|file| fs::read(file).expect("a report")).collect();
    assert!(export(&journal, "dicom-sr", Some(folder)).status.success());
    let after: Vec<_> = files.iter().map(|file| fs::read(file).expect("a report")).collect();
    assert!(before == after, "the same at every export");
    files
}

#[test]
fn dcmtk_reads_every_report_without_a_word_against_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = reports(folder.path());
    if Command::new("dsrdump").arg("--version").output().is_err() {
        return missing("dsrdump (dcmtk)");
    }
    let expected = [
        "Conclusion\")=(covid19,99LIGHTBOX,\"Covid-19 suspected\")",
        "Conclusion\")=(pneumonia,99LIGHTBOX,\"Other pneumonia suspected\")",
        "Conclusion\")=(normal,99LIGHTBOX,\"No pneumonia seen\")",
        "Conclusion\")=(indeterminate,99LIGHTBOX,\"Cannot say\")",
        "Conclusion\")=(rejected,99LIGHTBOX,\"Not read\")",
    ];
    for (file, expected) in files.iter().zip(expected) {
        let dumped =
            Command::new("dsrdump").args(["--print-all-codes", "--print-long-values"]).arg(file).output().unwrap();
        let text = told(&dumped);
        assert!(dumped.status.success() && text.contains(expected), "{text}");
        // dcmtk's own checker of value representations knows no UTF-8, and says so.
        let complaints = text.lines().filter(|line| line.starts_with("W: ") || line.starts_with("E: "));
        let complaints: Vec<_> = complaints.filter(|line| !line.contains("Character Set: ISO_IR 192")).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
        assert!(text.contains("Übergröße") && text.contains("UNVERIFIED"), "{text}");
        // The film is referred to where it is known, and among the evidence.
        let first = file.ends_with("reading-000001.dcm");
        assert_eq!(text.contains("<contains IMAGE:(121324,DCM,\"Source image\")=(CR image,)>"), first, "{text}");
        assert_eq!(text.contains("P_COVID19"), !file.ends_with("reading-000005.dcm"), "{text}");
    }
}

#[test]
fn orthanc_keeps_the_report_beside_the_film() {
    let folder = tempfile::tempdir().unwrap();
    let files = reports(folder.path());
    let Some(orthanc) = Orthanc::start(&json!({})) else { return missing("Orthanc (orthanc)") };
    let film = orthanc.post("/instances", &fs::read(film()).unwrap());
    for (index, file) in files.iter().enumerate() {
        let stored = orthanc.post("/instances", &fs::read(file).unwrap());
        assert_eq!(stored["Status"], "Success", "{stored}");
        assert_eq!(stored["ParentStudy"] == film["ParentStudy"], index == 0, "{stored}");
        let again = orthanc.post("/instances", &fs::read(file).unwrap());
        assert_eq!(again["Status"], "AlreadyStored", "{again}");
    }
    let tags = orthanc.get(&format!("/instances/{}/simplified-tags", report_of(&orthanc, &film)));
    let referenced = &tags["CurrentRequestedProcedureEvidenceSequence"][0];
    let of_film = orthanc.get(&format!("/instances/{}/simplified-tags", film["ID"].as_str().unwrap()));
    assert_eq!(referenced["StudyInstanceUID"], of_film["StudyInstanceUID"]);
    let series = &referenced["ReferencedSeriesSequence"][0];
    assert_eq!(series["SeriesInstanceUID"], of_film["SeriesInstanceUID"]);
    let sop = &series["ReferencedSOPSequence"][0];
    assert_eq!(sop["ReferencedSOPInstanceUID"], of_film["SOPInstanceUID"]);
    assert_eq!(sop["ReferencedSOPClassUID"], of_film["SOPClassUID"]);
    let pictures = tempfile::tempdir().unwrap();
    for (index, file) in captures(pictures.path()).iter().enumerate() {
        let stored = orthanc.post("/instances", &fs::read(file).unwrap());
        assert_eq!(stored["Status"], "Success", "{stored}");
        assert_eq!(stored["ParentStudy"] == film["ParentStudy"], index == 0, "{stored}");
    }
    let study = orthanc.get(&format!("/studies/{}/series", film["ParentStudy"].as_str().unwrap()));
    let modalities: Vec<_> =
        study.as_array().unwrap().iter().map(|series| series["MainDicomTags"]["Modality"].as_str().unwrap()).collect();
    let has = ["SR", "OT"].iter().all(|modality| modalities.contains(modality));
    assert!(has && modalities.len() == 3, "{modalities:?}");
}

/// The report beside that film, as Orthanc calls it.
fn report_of(orthanc: &Orthanc, film: &Value) -> String {
    let instances = orthanc.get(&format!("/studies/{}/instances", film["ParentStudy"].as_str().expect("a study")));
    let report = instances.as_array().expect("a list").iter().find(|instance| instance["ID"] != film["ID"]);
    report.expect("a report")["ID"].as_str().expect("a name").to_owned()
}

/// A picture of every reading, by number; those whose films lie in the spool show them.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let journal = journal(folder);
    let output = export(&journal, "dicom-sc", Some(folder));
    assert!(output.status.success(), "{}", told(&output));
    let files: Vec<PathBuf> = (1..=5).map(|number| folder.join(format!("capture-00000{number}.dcm"))).collect();
    let before: Vec<_> = files.iter().map(|file| fs::read(file).expect("a capture")).collect();
    assert!(export(&journal, "dicom-sc", Some(folder)).status.success());
    let after: Vec<_> = files.iter().map(|file| fs::read(file).expect("a capture")).collect();
    assert!(before == after, "the same at every export");
    files
}

/// The picture of a DICOM file as dcmtk shows it; `None` when dcmtk is missing.
fn shown_by_dcmtk(file: &Path) -> Option<image::RgbImage> {
    let program =
        ["dcm2img", "dcmj2pnm"].into_iter().find(|name| Command::new(name).arg("--version").output().is_ok())?;
    let picture = file.with_extension("ppm");
    let output = Command::new(program).arg("--write-raw-pnm").arg(file).arg(&picture).output().expect("it runs");
    let output = if output.status.success() {
        output
    } else {
        // Another version's name of it.
        Command::new(program).arg("+op").arg(file).arg(&picture).output().expect("it runs")
    };
    assert!(output.status.success(), "{}", told(&output));
    // A portable pixmap: magic, width, height, most, then the bytes.
    let bytes = fs::read(&picture).expect("a picture");
    let head = b"P6\n800 480\n255\n";
    assert!(bytes.starts_with(head), "{:?}", &bytes[..20]);
    image::RgbImage::from_raw(800, 480, bytes[head.len()..].to_vec())
}

/// How many shades of grey there are: a film has many.
fn greys(picture: &image::RgbImage) -> usize {
    let greys = picture.pixels().filter(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]);
    greys.map(|pixel| pixel[0]).collect::<std::collections::BTreeSet<u8>>().len()
}

#[test]
fn dcmtk_shows_every_capture_as_the_screen_of_its_verdict() {
    use embedded_graphics::prelude::RgbColor;
    let folder = tempfile::tempdir().unwrap();
    let files = captures(folder.path());
    let verdicts = [
        Verdict::Found(Finding::Covid19),
        Verdict::Found(Finding::Pneumonia),
        Verdict::Found(Finding::Normal),
        Verdict::Indeterminate(Doubt::BetweenThresholds),
        Verdict::Rejected(Rejection::new(Reason::LateralView, "")),
    ];
    for (index, (file, verdict)) in files.iter().zip(&verdicts).enumerate() {
        let Some(picture) = shown_by_dcmtk(file) else { return missing("dcm2img or dcmj2pnm (dcmtk)") };
        let band = lightbox::ui::theme::band(verdict);
        assert_eq!(picture.get_pixel(1, 1).0, [band.r(), band.g(), band.b()], "{verdict:?}");
        assert!(greys(&picture) < 64, "there is no film");
        let dumped = told(&Command::new("dcmdump").arg("--print-all").arg(file).output().unwrap());
        // Who is on the film stands in the first picture.
        let burned_in = if index == 0 { "(0028,0301) CS [YES]" } else { "(0028,0301) CS [NO]" };
        for expected in [
            burned_in,
            "(0008,0064) CS [WSD]",
            "CS [DERIVED\\SECONDARY]",
            "Research device",
            "(0018,1016) LO [Lightbox]",
        ] {
            assert!(dumped.contains(expected), "{expected}: {dumped}");
        }
        assert_eq!(dumped.contains("(0008,2112) SQ"), index == 0, "{dumped}");
    }
}

#[test]
fn dciodvfy_finds_no_error_in_captures_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let files = [captures(folder.path()), reports_of(folder.path())].concat();
    if Command::new("dciodvfy").output().is_err() {
        return missing("dciodvfy (dicom3tools)");
    }
    for file in files {
        let checked = told(&Command::new("dciodvfy").arg(&file).output().unwrap());
        let errors: Vec<_> = checked.lines().filter(|line| line.starts_with("Error")).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
    }
}

/// How many points are coloured: those of signs, bars and maps.
fn coloured(picture: &image::RgbImage) -> usize {
    picture
        .pixels()
        .filter(|pixel| pixel.0.iter().max().zip(pixel.0.iter().min()).is_some_and(|(a, b)| a - b > 40))
        .count()
}

#[test]
fn a_capture_shows_film_and_map_where_the_spool_still_has_the_film_and_speaks_as_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    fs::create_dir_all(spool.join("read")).unwrap();
    let name = format!("0000000000000001-{0}-{0}.dcm", "ab".repeat(16));
    let bytes = fs::read(film()).unwrap();
    fs::write(spool.join("read").join(&name), &bytes).unwrap();
    let path = folder.path().join("readings.db");
    let mut journal = Journal::open_or_create(&path).unwrap();
    let values = (0..49).map(|cell| if cell % 7 > 3 { 1.0 } else { 0.0 }).collect();
    let map =
        Some((SaliencyMap { width: 7, height: 7, values }, Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 }));
    let (ours, another) = (Digest::of(&bytes), Digest::of(b"another film by now"));
    for (sha256, map) in [(ours, None), (another, map.clone()), (ours, map)] {
        let image = Some(Image { sha256, reference: name.clone() });
        journal
            .append(&Entry { image, map, ..entry(Verdict::Found(Finding::Normal), Some([-2.0, -1.0, 4.0]), None) })
            .unwrap();
    }
    drop(journal);
    let exported = |language: &str| {
        let out = folder.path().join(language);
        fs::create_dir(&out).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_lightbox"))
            .args(["journal", "export", "--format", "dicom-sc", "--utc-offset-min=-210", "--language", language])
            .arg("--journal")
            .arg(&path)
            .arg("--spool")
            .arg(&spool)
            .arg("--out")
            .arg(&out)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
        [1, 2, 3].map(|number| out.join(format!("capture-00000{number}.dcm")))
    };
    let english = exported("en");
    let mut pictures = Vec::new();
    for (file, with_film) in english.iter().zip([true, false, true]) {
        let Some(picture) = shown_by_dcmtk(file) else { return missing("dcm2img or dcmj2pnm (dcmtk)") };
        assert_eq!(greys(&picture) > 64, with_film, "{} greys", greys(&picture));
        let dumped = told(&Command::new("dcmdump").arg("--print-all").arg(file).output().unwrap());
        // A film may have a name in its pixels.
        assert!(dumped.contains(if with_film { "(0028,0301) CS [YES]" } else { "(0028,0301) CS [NO]" }), "{dumped}");
        assert!(dumped.contains("the time in it is UTC-03:30"), "{dumped}");
        pictures.push(picture);
    }
    let [plain, without, mapped] = [0, 1, 2].map(|index| coloured(&pictures[index]));
    assert!(mapped > plain + 1000, "{plain}, {without} and {mapped} coloured points: the map lies on the film");
    // The object stays the same, whatever it speaks: its UID, and its text in English.
    let uid = |file: &Path| told(&Command::new("dcmdump").args(["+P", "0008,0018"]).arg(file).output().unwrap());
    for (file, other) in english.iter().zip(&exported("ar")) {
        assert_eq!(uid(file), uid(other));
        let words = told(&Command::new("dcmdump").args(["+P", "0020,4000"]).arg(other).output().unwrap());
        assert!(words.contains("No pneumonia seen. Research device"), "{words}");
        assert_ne!(shown_by_dcmtk(file), shown_by_dcmtk(other));
    }
}

#[test]
fn reports_need_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let output = export(&journal, "dicom-sr", None);
    let expected = "lightbox: --format dicom-sr and dicom-sc write files: name a folder for them with --out\n";
    assert_eq!((output.status.code(), told(&output).as_str()), (Some(1), expected));
    assert_eq!(told(&export(&journal, "dicom-sc", None)), expected);
    let output = export(&journal, "dicom-sr", Some(&folder.path().join("none")));
    assert!(!output.status.success() && told(&output).contains("cannot write "), "{}", told(&output));
}
