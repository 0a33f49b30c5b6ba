//! The fuzz targets of what comes in (`fuzz/targets/`), run over their corpora and over mutations of good input.
//!
//! `LIGHTBOX_MUTATIONS=100000 cargo test --release --test intake_fuzz` tries more of them than there is time for always.
#![cfg(feature = "intake")]

use std::fs;
use std::path::PathBuf;

use dicom_ul::pdu::{AssociationRQ, PDataValueType, Pdu, PresentationContextProposed, UserVariableItem, write_pdu};
use sender::{CR, EXPLICIT, VERIFICATION, command, data_set as body, pdv, store_request};

#[path = "../fuzz/targets/association.rs"]
mod association;
#[path = "../fuzz/targets/config.rs"]
mod config;
#[path = "../fuzz/targets/data_set.rs"]
mod data_set;
#[path = "../fuzz/targets/film.rs"]
mod film;
#[path = "../fuzz/targets/folder.rs"]
mod folder;
#[path = "intake/sender.rs"]
#[allow(dead_code, reason = "only the messages are used")]
mod sender;

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

/// An association that stores an object and is released.
fn conversation(uid: &str, piece: usize) -> Vec<u8> {
    let request = Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "XRAY1".to_owned(),
        called_ae_title: "LIGHTBOX".to_owned(),
        application_context_name: "1.2.840.10008.3.1.1.1".to_owned(),
        presentation_contexts: vec![
            PresentationContextProposed {
                id: 1,
                abstract_syntax: CR.to_owned(),
                transfer_syntaxes: vec![EXPLICIT.to_owned(), "1.2.840.10008.1.2".to_owned()],
            },
            PresentationContextProposed {
                id: 3,
                abstract_syntax: VERIFICATION.to_owned(),
                transfer_syntaxes: vec!["1.2.840.10008.1.2".to_owned()],
            },
        ],
        user_variables: vec![
            UserVariableItem::MaxLength(16384),
            UserVariableItem::ImplementationClassUID("1.2.3".to_owned()),
        ],
    });
    let echo =
        command(&[(0x0002, VERIFICATION.as_bytes()), (0x0100, &[0x30, 0]), (0x0110, &[3, 0]), (0x0800, &[1, 1])]);
    let data = body(uid, 64);
    let mut pdus = vec![
        request,
        pdv(3, PDataValueType::Command, &echo, true),
        pdv(1, PDataValueType::Command, &store_request(CR, uid), true),
    ];
    let count = data.chunks(piece).count();
    pdus.extend(data.chunks(piece).enumerate().map(|(at, part)| pdv(1, PDataValueType::Data, part, at + 1 == count)));
    pdus.push(Pdu::ReleaseRQ);
    let mut bytes = Vec::new();
    pdus.iter().for_each(|pdu| write_pdu(&mut bytes, pdu).expect("written"));
    bytes
}

#[test]
fn what_a_peer_is_told_is_kept_is_kept_whatever_else_it_sends() {
    run("association", &[conversation("1.2.3.4", 1 << 14), conversation("1.2.3.5", 50)], association::run);
    association::end();
}

#[test]
fn each_film_of_a_folder_is_taken_once_and_the_folder_stays_as_it_was() {
    let files = goldens();
    let drive = |names: &[u8], from: usize| -> Vec<u8> {
        let file = |at: usize, name: u8| {
            let content = &files[(from + at) % files.len()];
            [&[name][..], &(content.len() as u16).to_le_bytes(), content].concat()
        };
        names.iter().enumerate().flat_map(|(at, name)| file(at, *name)).collect()
    };
    run("folder", &[drive(&[0, 8], 0), drive(&[1, 2, 5], 3), drive(&[3, 4, 6, 7, 10], 5)], folder::run);
}

#[test]
fn configurations_are_usable_or_say_what_is_wrong() {
    let example = lightbox::config::EXAMPLE;
    let typed: String = example
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    // An archive needs to be told who is on the film.
    let typed = typed.replace("keep_identity = false", "keep_identity = true");
    run("config", &[example.as_bytes().to_vec(), typed.into_bytes()], config::run);
}
