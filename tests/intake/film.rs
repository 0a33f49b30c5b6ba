//! Films that are photographed on a light box: read like the film itself, or refused with what to do about it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lightbox::adapters::camera;
use lightbox::adapters::file::{Limits, decode_film, read_film};
use lightbox::adapters::spool::{Kept, Reserve, Spool};
use lightbox::config::{CameraConfig, CameraKind};
use lightbox::domain::{GreyImage, Reason};
use lightbox::pipeline::film::{develop, guide};

use crate::listening::{Place, program};
use crate::peers::fixture;
use crate::support::chest_phantom;
use crate::support::photograph::{Fault, Shot, photograph};

fn decoded(jpeg: &[u8]) -> lightbox::domain::Acquired {
    decode_film(jpeg, &Limits::default()).expect("a JPEG")
}

/// How alike two pictures are on a coarse grid, 1 for the same up to brightness and contrast.
fn alike(a: &GreyImage, b: &GreyImage) -> f32 {
    const CELLS: u32 = 24;
    let cells = |image: &GreyImage| -> Vec<f32> {
        let (width, height) = (image.width(), image.height());
        let mean = |cx: u32, cy: u32| {
            let (xs, ys) =
                (cx * width / CELLS..(cx + 1) * width / CELLS, cy * height / CELLS..(cy + 1) * height / CELLS);
            let all: Vec<f32> = ys
                .flat_map(|y| image.row(y)[xs.start as usize..xs.end as usize].iter().map(|g| f32::from(*g)))
                .collect();
            all.iter().sum::<f32>() / all.len() as f32
        };
        // Ranks: a film's density is no straight line.
        let values: Vec<f32> = (0..CELLS * CELLS).map(|i| mean(i % CELLS, i / CELLS)).collect();
        values.iter().map(|v| values.iter().filter(|other| *other < v).count() as f32).collect()
    };
    let (a, b) = (cells(a), cells(b));
    let mean = a.iter().sum::<f32>() / a.len() as f32;
    let dot = |p: &[f32], q: &[f32]| p.iter().zip(q).map(|(x, y)| (x - mean) * (y - mean)).sum::<f32>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

#[test]
fn a_careful_photograph_becomes_the_film_again() {
    for seed in 1..=4 {
        let film = chest_phantom(420, 500, seed);
        let shot = Shot { quarters: 0, inverted: false, ..Shot::careful(seed) };
        let jpeg = photograph(Some(&film), &shot, seed);
        let photo = decoded(&jpeg);
        let guidance = guide(&photo.image);
        assert_eq!(guidance.hint, None, "{seed}: {shot:?}");
        let developed = develop(photo).unwrap_or_else(|refused| panic!("{seed}: {refused}: {shot:?}")).image;
        let aspect = developed.width() as f32 / developed.height() as f32;
        assert!((aspect / 0.84 - 1.0).abs() < 0.04, "{seed}: {aspect}");
        assert!(alike(&film, &developed) > 0.97, "{seed}: {}", alike(&film, &developed));
    }
}

#[test]
fn every_way_to_spoil_a_photograph_is_refused_with_its_own_hint() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for fault in Fault::ALL {
        for seed in 1..=3 {
            let film = chest_phantom(420, 500, seed);
            let shot = Shot::spoilt(seed, fault, &film);
            let jpeg = photograph((fault != Fault::Missing).then_some(&film), &shot, seed);
            let photo = decoded(&jpeg);
            let hint = guide(&photo.image).hint;
            let refused = develop(photo).map(|_| ()).map_err(|rejection| rejection.reason);
            count += 1;
            assert!(refused.is_err(), "{fault:?} {seed} was read: {shot:?}");
            // Before the shot, the same is said as after it.
            assert!(hint.is_some(), "{fault:?} {seed}: no hint before the shot: {shot:?}");
            if refused != Err(fault.reason()) {
                wrong.push(format!("{fault:?} {seed}: {refused:?}"));
            }
        }
    }
    assert!(wrong.len() * 20 <= count, "{} of {count} with another hint: {wrong:?}", wrong.len());
}

#[test]
fn what_is_no_photograph_of_a_film_is_refused() {
    let flat = |grey: u16| GreyImage::new(800, 600, vec![grey; 800 * 600]).unwrap();
    let refused = |image: GreyImage| {
        let hint = guide(&image).hint;
        let rejection = develop(lightbox::domain::Acquired::from_image(image)).unwrap_err();
        assert_eq!(hint, Some(rejection.reason));
        rejection.reason
    };
    assert_eq!(refused(flat(0)), Reason::FilmUnderexposed);
    for grey in [20_000, 40_000, u16::MAX] {
        // Nothing to be found, or nothing left: never a film.
        refused(flat(grey));
    }
    for side in [1, 2, 7, 40] {
        refused(GreyImage::new(side, side, vec![30_000; (side * side) as usize]).unwrap());
    }
    // The radiograph itself fills the picture: its edges are not in it.
    refused(chest_phantom(700, 800, 3));
}

/// p(Covid-19) of the first line.
fn covid19(output: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(output);
    let line: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    line["probabilities"]["covid19"].as_f64().unwrap_or_else(|| panic!("no probabilities: {line}"))
}

/// A photograph of the radiograph that comes with the tests.
fn photographed(folder: &Path) -> std::path::PathBuf {
    let film = read_film(&fixture("chest-pa.dcm"), &Limits::default()).expect("a film").image;
    let shot = Shot { quarters: 0, inverted: false, ..Shot::careful(5) };
    let path = folder.join("photograph.jpg");
    fs::write(&path, photograph(Some(&film), &shot, 5)).expect("written");
    path
}

#[test]
fn a_photograph_is_read_from_the_command_line_nearly_as_the_radiograph_is() {
    let folder = tempfile::tempdir().unwrap();
    let photo = photographed(folder.path());
    let read = |arguments: &[&str], path: &Path| {
        let output = program().args(["screen", "--json"]).args(arguments).arg(path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let original = covid19(&read(&[], &fixture("chest-pa.dcm")));
    let film = read(&["--film"], &photo);
    assert!(String::from_utf8_lossy(&film).contains("photographed film, set straight, the lamp evened out"));
    assert!((covid19(&film) - original).abs() < 0.05, "{} for {original}", covid19(&film));
}

#[test]
fn a_camera_s_photograph_is_kept_and_read_once() {
    let place = Place::new("");
    let folder = tempfile::tempdir().unwrap();
    let photo = photographed(folder.path());
    let readings = folder.path().join("readings.jsonl");
    let config = fs::read_to_string(&place.config).unwrap() + &format!("[read]\nreadings = {readings:?}\n");
    fs::write(&place.config, config).unwrap();
    let shoot = vec!["cat".to_owned(), photo.display().to_string()];
    let kind = CameraKind::Program { shoot: shoot.clone(), look: Some(shoot) };
    let mut camera = camera::open(&CameraConfig { kind, timeout: Duration::from_secs(60) });
    {
        let spool = Spool::open(&place.spool, Reserve { bytes: 0, percent: 0 }).unwrap();
        let kept = camera::take(camera.as_mut(), &spool).unwrap();
        assert!(matches!(kept, Kept::New(stored) if stored.is_photograph()));
        assert_eq!(camera::take(camera.as_mut(), &spool).unwrap(), Kept::Again);
    }
    assert_eq!(fs::read(&place.unread()[0]).unwrap(), fs::read(&photo).unwrap());
    let mut listening = place.start();
    listening.wait_for("read 0000000000000001-");
    assert!(listening.stop().success());
    let text = fs::read_to_string(&readings).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("photographed film, set straight"), "{text}");
    covid19(text.as_bytes());
}
