//! The fuzz targets of what comes in (`fuzz/targets/`), run over their corpora and over mutations of good input.
//!
//! `LIGHTBOX_MUTATIONS=100000 cargo test --release --test intake_fuzz` tries more of them than there is time for always.
#![cfg(feature = "intake")]

use std::fs;
use std::path::PathBuf;

#[path = "../fuzz/targets/config.rs"]
mod config;
#[path = "../fuzz/targets/data_set.rs"]
mod data_set;
#[path = "../fuzz/targets/film.rs"]
mod film;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What the fuzzer has found worth keeping; none is there until it has run.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(root().join("fuzz/corpus").join(name)) else { return Vec::new() };
    entries.flatten().map(|entry| fs::read(entry.path()).expect("a file of the corpus")).collect()
}

/// Small files of every format.
fn goldens() -> Vec<Vec<u8>> {
    let folder = root().join("tests/fixtures/golden");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let dicom = paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "dcm"));
    dicom.map(|path| fs::read(path).expect("a golden file")).filter(|bytes| bytes.len() < 60_000).collect()
}

/// SplitMix64 (Steele 2014).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }
}

/// `good` with one to eight things changed: bits, bytes that are often special, pieces doubled, cut out or exchanged with
/// those of another.
fn mutated(good: &[u8], other: &[u8], noise: &mut Noise) -> Vec<u8> {
    const SPECIAL: [u8; 8] = [0, 1, 0x7f, 0x80, 0xfe, 0xff, b'\\', b' '];
    let mut bytes = good.to_vec();
    for _ in 0..=noise.below(8) {
        if bytes.is_empty() {
            break;
        }
        // Headers are short and stand in front.
        let most = if noise.below(2) == 0 { bytes.len().min(1024) } else { bytes.len() };
        let at = noise.below(most);
        let length = 1 + noise.below(16).min(bytes.len() - at - 1);
        match noise.below(6) {
            0 => bytes[at] ^= 1 << noise.below(8),
            1 => bytes[at] = SPECIAL[noise.below(SPECIAL.len())],
            2 => bytes[at..at + length].fill(SPECIAL[noise.below(SPECIAL.len())]),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let from = noise.below(other.len());
                let piece = other[from..(from + length).min(other.len())].to_vec();
                let end = (at + piece.len()).min(bytes.len());
                bytes.splice(at..end, piece);
            }
        }
    }
    bytes
}

/// Runs a target over its corpus, good input and mutations; says what is good at least.
fn run(name: &str, good: &[Vec<u8>], target: fn(&[u8]) -> bool) {
    let mutations: usize = std::env::var("LIGHTBOX_MUTATIONS").map_or(2000, |text| text.parse().expect("a number"));
    corpus(name).iter().for_each(|bytes| {
        target(bytes);
    });
    let accepted = good.iter().filter(|bytes| target(bytes)).count();
    assert!(accepted * 2 > good.len(), "{accepted} of {} good inputs are accepted", good.len());
    let mut noise = Noise(name.bytes().fold(7, |state, byte| state * 31 + u64::from(byte)));
    let mut accepted = 0;
    for _ in 0..mutations {
        let (good, other) = (&good[noise.below(good.len())], &good[noise.below(good.len())]);
        let bytes = mutated(good, other, &mut noise);
        // What a target asserts fails here; the input is kept for a look.
        let ran = std::panic::catch_unwind(|| target(&bytes));
        if ran.is_err() {
            let path = std::env::temp_dir().join(format!("lightbox-fuzz-{name}"));
            fs::write(&path, &bytes).expect("written");
            panic!("{name} fails for {}", path.display());
        }
        accepted += usize::from(ran.is_ok_and(|accepted| accepted));
    }
    eprintln!("{name}: {accepted} of {mutations} mutations accepted");
}

#[test]
fn files_of_any_kind_are_answered() {
    run("film", &goldens(), film::run);
}

#[test]
fn data_sets_are_judged_the_same_in_any_pieces() {
    // Explicit little endian is the second of the transfer syntaxes, or the first; whichever takes most of them is good.
    let bodies: Vec<Vec<u8>> = goldens()
        .into_iter()
        .filter_map(|bytes| {
            let length = u32::from_le_bytes(bytes.get(140..144)?.try_into().ok()?) as usize;
            Some(bytes.get(144 + length..)?.to_vec())
        })
        .collect();
    let with = |first: u8| -> Vec<Vec<u8>> { bodies.iter().map(|body| [&[first], &body[..]].concat()).collect() };
    let good: Vec<Vec<u8>> =
        (0..4u8).flat_map(|syntax| with(syntax << 4 | 3)).filter(|bytes| data_set::run(bytes)).collect();
    assert!(good.len() > 20, "{} good data sets", good.len());
    run("data_set", &good, data_set::run);
}

#[test]
fn configurations_are_usable_or_say_what_is_wrong() {
    let example = lightbox::config::EXAMPLE;
    let typed: String = example
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    run("config", &[example.as_bytes().to_vec(), typed.into_bytes()], config::run);
}
