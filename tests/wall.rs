//! Decoding behind a wall: what is decoded comes through unchanged; what brings the decoder down is rejected with its own
//! reason, and the next film is read.
#![cfg(feature = "device")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use image::ExtendedColorType;
use image::ImageEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use lightbox::adapters::content;
use lightbox::adapters::file::{Limits, read_film};
use lightbox::adapters::wall::{Allowance, Landlock, Wall, WallError};
use lightbox::domain::Reason;
use support::photograph::{Shot, photograph};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lightbox");

fn wall(change: impl FnOnce(&mut Allowance)) -> Wall {
    let mut allowance = Allowance::default();
    change(&mut allowance);
    Wall::new(PROGRAM, allowance)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A small file of many pixels.
fn bomb(folder: &TempDir, side: u32) -> PathBuf {
    let path = folder.path().join(format!("bomb-{side}.png"));
    let file = fs::File::create(&path).expect("a file");
    PngEncoder::new_with_quality(file, CompressionType::Fast, FilterType::NoFilter)
        .write_image(&vec![0; side as usize * side as usize], side, side, ExtendedColorType::L8)
        .expect("a picture");
    path
}

#[track_caller]
fn rejected(wall: &mut Wall, path: &Path) -> (Reason, String) {
    let rejection = wall.read_film(path, &Limits::default()).expect("a decoder").expect_err("a rejection");
    (rejection.reason, rejection.detail)
}

#[track_caller]
fn reads_the_next(wall: &mut Wall) {
    let path = fixture("golden/jpeg-ls-12.dcm");
    let film = wall.read_film(&path, &Limits::default()).expect("a decoder").expect("a film");
    assert_eq!(Ok(film), read_film(&path, &Limits::default()));
}

fn signal(name: &str, process: u32) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().expect("kill").success());
}

/// A number of /proc/PID/stat, counted from 1 as in proc(5).
fn stat(process: u32, field: usize) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).expect("it is there");
    let behind_name = &text[text.rfind(')').expect("a name") + 2..];
    behind_name.split(' ').nth(field - 3).expect("a field").parse().expect("a number")
}

#[test]
fn every_kind_of_film_comes_through_the_wall_unchanged() {
    let mut wall = wall(|_| {});
    let limits = Limits::default();
    let mut paths: Vec<_> = fs::read_dir(fixture("golden")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.push(fixture("chest-pa.dcm"));
    paths.push(fixture("no-such-file.dcm"));
    paths.push(fixture("golden"));
    let folder = TempDir::new().unwrap();
    // Large enough for decoders that would start threads.
    let picture = image::RgbImage::from_fn(300, 260, |x, y| image::Rgb([(4 * x) as u8, (5 * y) as u8, 9]));
    for name in ["a.png", "a.jpg", "a.tiff", "a.bmp"] {
        let path = folder.path().join(name);
        image::DynamicImage::ImageRgb8(picture.clone()).save(&path).unwrap();
        paths.push(path);
    }
    let mut read = 0;
    let mut decoder = None;
    for path in &paths {
        let film = wall.read_film(path, &limits).unwrap();
        read += usize::from(film.is_ok());
        assert_eq!(film, read_film(path, &limits), "{}", path.display());
        decoder = decoder.or(wall.decoder_id());
        assert_eq!(wall.decoder_id(), decoder, "another decoder than the one kept warm, for {}", path.display());
    }
    assert!(read > 50, "{read}");
}

#[test]
fn the_decoder_that_was_asked_how_it_is_confined_reads_the_first_film() {
    let mut wall = wall(|_| {});
    wall.confinement().unwrap();
    let decoder = wall.decoder_id();
    assert!(decoder.is_some());
    reads_the_next(&mut wall);
    assert_eq!(wall.decoder_id(), decoder);
}

#[test]
fn the_decoder_holds_no_right_that_it_does_not_need() {
    let mut wall = wall(|_| {});
    let confinement = wall.confinement().unwrap();
    // The filter and landlock depend on the kernel; the limits do not.
    let decoder = Command::new(PROGRAM)
        .args(["decode", "1000000000", "60"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Killed)
        .unwrap();
    let process = decoder.0.id();
    let wait = Instant::now();
    // The last limit that is set.
    while !limits_of(process).contains("Max open files            3                    3") {
        assert!(wait.elapsed() < Duration::from_secs(60), "{}", limits_of(process));
        thread::sleep(Duration::from_millis(5));
    }
    let limits = limits_of(process);
    for line in [
        "Max cpu time              60                   60",
        "Max file size             0                    0",
        "Max core file size        0                    0",
        "Max address space         1000000000           1000000000",
    ] {
        assert!(limits.contains(line), "no {line:?} in\n{limits}");
    }
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:\t")).unwrap_or("0");
    if confinement.system_calls {
        wait_for_filter(process);
    } else {
        assert_eq!(seccomp, "0");
        assert!(confinement.is_bare() || confinement.landlock != Landlock::No);
    }
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn limits_of(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/limits")).expect("it is there")
}

/// The filter is the last that is put in place.
fn wait_for_filter(process: u32) {
    let wait = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it is there");
        if status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1") {
            return;
        }
        assert!(wait.elapsed() < Duration::from_secs(60), "{status}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_film_that_needs_more_memory_than_there_is_stops_only_the_decoder() {
    let folder = TempDir::new().unwrap();
    let mut wall = wall(|allowance| allowance.memory_bytes = 150 << 20);
    reads_the_next(&mut wall);
    // Within the limits for pictures: 64 million pixels, of 2 bytes in the end.
    let bomb = bomb(&folder, 8000);
    assert!(fs::metadata(&bomb).unwrap().len() < 2_000_000);
    let (reason, detail) = rejected(&mut wall, &bomb);
    assert_eq!(reason, Reason::DecoderStopped, "{detail}");
    assert!(detail.starts_with("the decoder gave up: memory allocation of "), "{detail}");
    reads_the_next(&mut wall);
}

#[test]
fn a_film_that_takes_too_long_is_given_up() {
    let folder = TempDir::new().unwrap();
    let mut wall = wall(|allowance| allowance.deadline = Duration::from_millis(1));
    let (reason, detail) = rejected(&mut wall, &bomb(&folder, 8000));
    assert_eq!((reason, detail.as_str()), (Reason::DecoderTimeout, "the decoder had no answer after 0.001 s"));
    assert_eq!(wall.decoder_id(), None);
}

#[test]
fn a_decoder_that_hangs_is_replaced() {
    let mut wall = wall(|allowance| allowance.deadline = Duration::from_secs(2));
    reads_the_next(&mut wall);
    let hung = wall.decoder_id().unwrap();
    signal("-STOP", hung);
    let (reason, detail) = rejected(&mut wall, &fixture("golden/jpeg-ls-12.dcm"));
    assert_eq!((reason, detail.as_str()), (Reason::DecoderTimeout, "the decoder had no answer after 2 s"));
    assert!(!Path::new(&format!("/proc/{hung}")).exists(), "it was killed and reaped");
    let mut wall = self::wall(|_| {});
    reads_the_next(&mut wall);
    assert_ne!(wall.decoder_id(), Some(hung));
}

#[test]
fn a_decoder_that_is_killed_in_the_middle_rejects_one_film() {
    let folder = TempDir::new().unwrap();
    let long = bomb(&folder, 8000);
    let mut wall = wall(|_| {});
    reads_the_next(&mut wall);
    let decoder = wall.decoder_id().unwrap();
    // User and system time in ticks: it grows once the decoder works on the film.
    let busy = move || stat(decoder, 14) + stat(decoder, 15);
    let before = busy();
    let (started, start) = mpsc::channel::<()>();
    let killer = thread::spawn(move || {
        start.recv().unwrap();
        while busy() < before + 2 {
            thread::yield_now();
        }
        signal("-KILL", decoder);
    });
    started.send(()).unwrap();
    let (reason, detail) = rejected(&mut wall, &long);
    killer.join().unwrap();
    assert_eq!((reason, detail.as_str()), (Reason::DecoderStopped, "the decoder was killed"));
    reads_the_next(&mut wall);
    assert_ne!(wall.decoder_id(), Some(decoder));
}

#[test]
fn a_decoder_that_died_between_films_costs_no_film() {
    let mut wall = wall(|_| {});
    reads_the_next(&mut wall);
    let decoder = wall.decoder_id().unwrap();
    signal("-KILL", decoder);
    while stat_letter(decoder) != 'Z' {
        thread::yield_now();
    }
    reads_the_next(&mut wall);
    assert_ne!(wall.decoder_id(), Some(decoder));
}

fn stat_letter(process: u32) -> char {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).expect("it is there");
    text[text.rfind(')').expect("a name") + 2..].chars().next().expect("a letter")
}

#[test]
fn a_decoder_is_replaced_before_its_processor_time_runs_out() {
    let mut wall = wall(|allowance| allowance.lifetime = Duration::ZERO);
    wall.confinement().unwrap();
    let mut decoder = None;
    for _ in 0..3 {
        reads_the_next(&mut wall);
        assert_eq!(wall.decoder_id(), None, "its time is used up");
        wall.warm_up().unwrap();
        assert_ne!(wall.decoder_id(), decoder);
        decoder = wall.decoder_id();
    }
}

#[test]
fn the_decoder_ends_with_its_parent() {
    let mut decoder = Command::new(PROGRAM)
        .args(["decode", "1000000000", "60"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(decoder.stdin.take());
    assert!(decoder.wait().unwrap().success());
}

#[test]
fn a_program_that_is_no_decoder_is_named() {
    let refused = |program: &str| Wall::new(program, Allowance::default()).confinement().unwrap_err();
    assert!(matches!(refused("/no/such/program"), WallError::Start { .. }));
    assert!(refused("/no/such/program").to_string().starts_with("cannot start the decoder /no/such/program: "));
    let told = refused("/bin/false").to_string();
    assert_eq!(told, "the decoder /bin/false was not ready: the decoder ended with status 1");
    let told = refused("/bin/echo").to_string();
    assert_eq!(
        told,
        "the decoder /bin/echo was not ready: the decoder answered another greeting than that of the decoder"
    );
}

#[test]
fn the_digest_is_that_of_the_bytes_which_were_decoded_whatever_became_of_them() {
    let folder = TempDir::new().unwrap();
    let limits = Limits::default();
    let bomb = bomb(&folder, 8000);
    let (good, broken) = (fixture("golden/jpeg-ls-12.dcm"), folder.path().join("broken.dcm"));
    fs::write(&broken, &fs::read(&good).unwrap()[..500]).unwrap();
    // Too little memory for the bomb: the decoder falls.
    let mut wall = wall(|allowance| allowance.memory_bytes = 150 << 20);
    for path in [&good, &broken, &bomb] {
        let (film, digest) = wall.read_film_digested(path, &limits).unwrap();
        assert_eq!(film.is_ok(), path == &good, "{}", path.display());
        assert_eq!(digest, content::sha256(path, u64::MAX).ok(), "{}", path.display());
    }
    let (film, digest) = wall.read_film_digested(&fixture("no-such-file.dcm"), &limits).unwrap();
    assert_eq!((film.unwrap_err().reason, digest), (Reason::CannotOpen, None));
    let bytes = fs::read(&good).unwrap();
    assert_eq!(wall.decode(&bytes, &limits).unwrap(), read_film(&good, &limits));
}

#[test]
fn a_jpeg_that_its_decoder_shares_among_threads_comes_through() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("large.jpg");
    let picture = image::RgbImage::from_fn(900, 700, |x, y| image::Rgb([(x / 4) as u8, (y / 3) as u8, 90]));
    picture.save(&path).unwrap();
    let film = wall(|_| {}).read_film(&path, &Limits::default()).unwrap();
    assert_eq!(film, read_film(&path, &Limits::default()));
    assert!(film.is_ok(), "{film:?}");
}

#[test]
fn a_photograph_in_the_spool_is_developed_and_one_without_a_film_is_handed_on_as_it_is() {
    let folder = TempDir::new().expect("a folder");
    let film = read_film(&fixture("chest-pa.dcm"), &Limits::default()).expect("a film").image;
    let mut wall = wall(|_| {});
    let mut read = |ending: &str, bytes: &[u8]| {
        let path = folder.path().join(format!("0000000000000001-{0}-{0}.{ending}", "ab".repeat(16)));
        fs::write(&path, bytes).expect("written");
        wall.read_object(&path, &Limits::default()).expect("a decoder")
    };
    let careful = photograph(Some(&film), &Shot::careful(3), 3);
    let developed = read("photo", &careful);
    assert!(developed.photograph.is_none());
    let developed = developed.film.expect("a film").image;
    let plain = read("film", &careful).film.expect("a picture").image;
    assert_eq!([plain.width(), plain.height()], Shot::careful(3).size, "what came from elsewhere is left as it is");
    assert!(developed.width() < plain.width() && developed.height() < plain.height(), "the lamp beside it is cut off");
    let empty = read("photo", &photograph(None, &Shot::careful(3), 3));
    assert_eq!(empty.film.map_err(|rejection| rejection.reason).err(), Some(Reason::FilmNotFound));
    assert!(empty.photograph.is_some(), "whoever took it sees what was wrong");
}
