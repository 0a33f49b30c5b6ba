//! Greys of DICOM files against those of pydicom; `fixtures/golden/make.py` says how they were made.
#![cfg(feature = "decode")]

use std::fs;
use std::path::{Path, PathBuf};

use lightbox::adapters::file::{Limits, read_film};
use lightbox::domain::{Acquired, Modality, Reason, ViewPosition};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

#[track_caller]
fn read(path: impl AsRef<Path>) -> Acquired {
    let path = fixtures().join(path);
    read_film(&path, &Limits::default()).unwrap_or_else(|refused| panic!("{}: {refused}", path.display()))
}

fn number(case: &Value, name: &str) -> f64 {
    case[name].as_f64().unwrap_or_else(|| panic!("golden.json: {name} of {}", case["file"]))
}

#[test]
fn greys_are_those_of_pydicom() {
    let text = fs::read_to_string(fixtures().join("golden/golden.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 80, "golden.json has {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let file = case["file"].as_str().unwrap();
        let path = fixtures().join("golden").join(file);
        let acquired = match read_film(&path, &Limits::default()) {
            Ok(acquired) => acquired,
            Err(refused) => {
                wrong.push(format!("{file}: {refused}"));
                continue;
            }
        };
        let size = (f64::from(acquired.image.width()), f64::from(acquired.image.height()));
        assert_eq!(size, (number(case, "width"), number(case, "height")), "{file}");
        let tolerance = number(case, "tolerance");
        let expected = case["greys"].as_array().unwrap();
        let found = acquired.image.greys().iter().step_by(number(case, "step") as usize);
        assert_eq!(found.len(), expected.len(), "{file}");
        let furthest =
            found.zip(expected).map(|(f, e)| (f64::from(*f) - e.as_f64().unwrap()).abs()).fold(0.0, f64::max);
        let greys = acquired.image.greys();
        let mean = greys.iter().map(|&grey| f64::from(grey)).sum::<f64>() / greys.len() as f64;
        let mean_off = (mean - number(case, "mean")).abs();
        let aspect_off = (f64::from(acquired.pixel_aspect) - number(case, "aspect")).abs();
        let colour_off = (f64::from(acquired.colourfulness) - number(case, "colourfulness")).abs();
        if furthest > tolerance || mean_off > tolerance / 2.0 || aspect_off > 1e-6 || colour_off > tolerance / 65535.0 {
            wrong.push(format!(
                "{file}: furthest grey {furthest}, mean {mean_off:.3}, aspect {aspect_off}, colour {colour_off:.6} off"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} files:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn every_golden_file_has_a_case() {
    let text = fs::read_to_string(fixtures().join("golden/golden.json")).unwrap();
    for entry in fs::read_dir(fixtures().join("golden")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".dcm") || text.contains(&format!("\"{name}\"")), "{name} is not in golden.json");
    }
}

#[test]
fn the_chest_film_says_what_it_is() {
    let film = read("chest-pa.dcm");
    assert_eq!((film.image.width(), film.image.height(), film.frames), (1841, 1955, 1));
    assert_eq!(film.modality, Some(Modality::Radiography("CR".into())));
    assert_eq!((film.body_part.as_deref(), film.view.as_ref()), (Some("CHEST"), Some(&ViewPosition::Pa)));
    // MONOCHROME1: the spine is bright only after the inversion.
    let spine = film.image.row(1200)[930];
    let lung = film.image.row(500)[480];
    assert!(spine > lung, "spine {spine}, lung {lung}");
}

#[test]
fn only_the_first_frame_is_taken_and_that_is_said() {
    for file in ["frames-3.dcm", "jpeg-baseline-frames.dcm", "j2k-frames-no-table.dcm"] {
        let film = read(Path::new("golden").join(file));
        let said = format!("the first of {} frames was taken", film.frames);
        assert!(film.frames > 1 && film.remarks.contains(&said), "{file}: {:?}", film.remarks);
        let one = if file.starts_with("jpeg") { "golden/jpeg-baseline.dcm" } else { "golden/mono2-12.dcm" };
        assert_eq!(film.image.greys(), read(one).image.greys(), "{file}");
    }
}

#[test]
fn a_file_is_known_by_its_content_not_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(fixtures().join("golden/mono2-12.dcm")).unwrap();
    let whole = read("golden/mono2-12.dcm");
    // With preamble, without it, without prefix, without File Meta Information.
    let meta_length = u32::from_le_bytes(bytes[140..144].try_into().unwrap()) as usize;
    for (name, from) in [("film.png", 0), ("film", 128), ("film.txt", 132), ("film.dcm", 144 + meta_length)] {
        let path = folder.path().join(name);
        fs::write(&path, &bytes[from..]).unwrap();
        let film = read_film(&path, &Limits::default()).unwrap();
        assert_eq!(film.image, whole.image, "from byte {from}");
    }
    let picture = image::GrayImage::from_fn(20, 10, |x, y| image::Luma([(x * 10 + y) as u8]));
    let path = folder.path().join("film2.dcm");
    picture.save_with_format(&path, image::ImageFormat::Png).unwrap();
    assert_eq!(read_film(&path, &Limits::default()).unwrap().image.width(), 20);
    fs::write(&path, "not a film\n").unwrap();
    assert_eq!(read_film(&path, &Limits::default()).unwrap_err().reason, Reason::UnknownFormat);
}
