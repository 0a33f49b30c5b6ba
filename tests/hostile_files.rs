//! Files that are broken, or made to break: each is answered with a reason, and none makes the program take more memory
//! than the file could need.
#![cfg(feature = "decode")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lightbox::adapters::file::{Limits, decode_film};
use lightbox::domain::{Acquired, Reason, Rejection};

/// Counts what is held, and remembers the most.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
/// Only one test measures at a time.
static MEASURING: Mutex<()> = Mutex::new(());

#[expect(unsafe_code, reason = "an allocator can be written in no other way; it only counts and calls the system's")]
// SAFETY: every call is handed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(), Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The answer, and the most memory that was held on the way to it.
fn measured(bytes: &[u8], limits: &Limits) -> (Result<Acquired, Rejection>, usize) {
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let answer = decode_film(bytes, limits);
    (answer, MOST.load(Ordering::Relaxed).saturating_sub(before))
}

#[track_caller]
fn refused(bytes: &[u8], most: usize) -> Rejection {
    let _alone = MEASURING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (answer, held) = measured(bytes, &Limits::default());
    let rejection = answer.expect_err("a rejection");
    assert!(held <= most, "{held} bytes were held for a file of {}: {rejection}", bytes.len());
    rejection
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name)).expect("a golden file")
}

/// An explicit little endian file of the given elements.
fn dicom(syntax: &str, elements: &[(u16, u16, &[u8; 2], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    let uid = if syntax.len().is_multiple_of(2) { syntax.to_owned() } else { format!("{syntax}\0") };
    let meta: (u16, u16, &[u8; 2], Vec<u8>) = (2, 0x10, b"UI", uid.into_bytes());
    for (group, element, vr, value) in std::iter::once(&meta).chain(elements) {
        bytes.extend(group.to_le_bytes());
        bytes.extend(element.to_le_bytes());
        bytes.extend(*vr);
        if matches!(*vr, b"OB" | b"OW" | b"SQ") {
            bytes.extend([0, 0]);
            bytes.extend((value.len() as u32).to_le_bytes());
        } else {
            bytes.extend((value.len() as u16).to_le_bytes());
        }
        bytes.extend(value);
    }
    bytes
}

const EXPLICIT: &str = "1.2.840.10008.1.2.1";

fn image(rows: u16, columns: u16, bits: u16, pixels: Vec<u8>) -> Vec<(u16, u16, &'static [u8; 2], Vec<u8>)> {
    let us = |value: u16| value.to_le_bytes().to_vec();
    vec![
        (0x08, 0x60, b"CS", b"CR".to_vec()),
        (0x28, 0x02, b"US", us(1)),
        (0x28, 0x04, b"CS", b"MONOCHROME2 ".to_vec()),
        (0x28, 0x10, b"US", us(rows)),
        (0x28, 0x11, b"US", us(columns)),
        (0x28, 0x100, b"US", us(bits)),
        (0x28, 0x101, b"US", us(bits)),
        (0x28, 0x102, b"US", us(bits.wrapping_sub(1))),
        (0x28, 0x103, b"US", us(0)),
        (0x7fe0, 0x10, b"OW", pixels),
    ]
}

/// Pixel Data of undefined length with one fragment.
fn in_fragment(mut file: Vec<u8>, fragment: &[u8]) -> Vec<u8> {
    let length_at = file.len() - 4;
    file[length_at..].copy_from_slice(&[0xff; 4]);
    file.extend([0xfe, 0xff, 0, 0xe0, 0, 0, 0, 0, 0xfe, 0xff, 0, 0xe0]);
    file.extend((fragment.len() as u32).to_le_bytes());
    file.extend(fragment);
    file.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    file
}

const MIB: usize = 1 << 20;

#[test]
fn an_object_without_a_picture_says_so() {
    let mut elements = image(4, 4, 16, vec![0; 32]);
    elements.pop();
    let rejection = refused(&dicom(EXPLICIT, &elements), MIB);
    assert_eq!(rejection.reason, Reason::NoPixelData);
    assert!(rejection.detail.contains("modality CR"), "{rejection}");
    let rejection = refused(&dicom(EXPLICIT, &[]), MIB);
    assert_eq!(rejection.to_string(), "corrupt: DICOM: the file ends before its data set");
}

#[test]
fn sizes_that_make_no_sense_are_refused_before_memory_is_taken() {
    for (rows, columns, bits, reason) in [
        (0, 0, 16, Reason::BadDimensions),
        (4, 0, 16, Reason::BadDimensions),
        (65_535, 65_535, 16, Reason::ImageTooLarge),
        (8000, 8000, 16, Reason::BadDimensions),
        (4, 4, 1, Reason::UnsupportedEncoding),
        (4, 4, 64, Reason::UnsupportedEncoding),
        (4, 4, 0, Reason::UnsupportedEncoding),
    ] {
        let rejection = refused(&dicom(EXPLICIT, &image(rows, columns, bits, vec![0; 30])), MIB);
        assert_eq!(rejection.reason, reason, "{rows} × {columns} of {bits} bits: {rejection}");
    }
    let rejection = refused(&dicom(EXPLICIT, &image(4, 4, 16, vec![0; 30])), MIB);
    assert_eq!(rejection.to_string(), "bad-dimensions: DICOM: 30 bytes of Pixel Data, expected 32");
}

#[test]
fn an_element_of_four_gigabytes_is_refused_before_memory_is_taken() {
    let mut file = dicom(EXPLICIT, &[(0x09, 0x10, b"OB", vec![0; 1000])]);
    let length_at = file.len() - 1004;
    file[length_at..length_at + 4].copy_from_slice(&0xffff_fffe_u32.to_le_bytes());
    let rejection = refused(&file, MIB);
    assert_eq!(
        rejection.to_string(),
        "corrupt: DICOM: (0009,0010) at byte 0 declares 4294967294 bytes, only 1000 are left"
    );
}

#[test]
fn codec_headers_that_declare_other_sizes_than_the_object_are_refused() {
    let jpeg = |size: u16| {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xc0, 0, 11, 8];
        bytes.extend([size.to_be_bytes(), size.to_be_bytes()].concat());
        bytes.extend([1, 1, 0x11, 0, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0]);
        bytes
    };
    let j2k = |size: u32| {
        let mut bytes = vec![0xff, 0x4f, 0xff, 0x51, 0, 41, 0, 0];
        for word in [size, size, 0, 0, size, size, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend([0, 1, 7, 1, 1, 0xff, 0x52, 0, 12, 0, 0, 0, 1, 0, 5, 4, 4, 0, 1, 0xff, 0xd9]);
        bytes
    };
    let jpeg_ls = |size: u16| {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xf7, 0, 11, 8];
        bytes.extend([size.to_be_bytes(), size.to_be_bytes()].concat());
        bytes.extend([1, 1, 0x11, 0, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0, 0xff, 0xd9]);
        bytes
    };
    let rle = [&1_u32.to_le_bytes()[..], &64_u32.to_le_bytes(), &[0; 56], &[0x81, 0]].concat();
    let packed = |syntax: &str, size: u16, stream: &[u8]| {
        in_fragment(dicom(&format!("1.2.840.10008.1.2{syntax}"), &image(size, size, 8, vec![])), stream)
    };
    for (name, file, reason) in [
        ("JPEG 65535", packed(".4.50", 8, &jpeg(65_535)), Reason::BadDimensions),
        ("JPEG 8000", packed(".4.50", 8000, &jpeg(8000)), Reason::Corrupt),
        ("JPEG 8", packed(".4.50", 8, &jpeg(8)), Reason::Corrupt),
        ("JPEG 2000 65535", packed(".4.90", 8, &j2k(65_535)), Reason::BadDimensions),
        ("JPEG 2000 8000", packed(".4.90", 8000, &j2k(8000)), Reason::Corrupt),
        ("JPEG 2000 8", packed(".4.90", 8, &j2k(8)), Reason::Corrupt),
        ("JPEG-LS 65535", packed(".4.80", 8, &jpeg_ls(65_535)), Reason::BadDimensions),
        ("JPEG-LS 8000", packed(".4.80", 8000, &jpeg_ls(8000)), Reason::Corrupt),
        ("JPEG-LS 8", packed(".4.80", 8, &jpeg_ls(8)), Reason::Corrupt),
        ("RLE 8000", packed(".5", 8000, &rle), Reason::Corrupt),
        ("RLE 16", packed(".5", 16, &rle), Reason::Corrupt),
        ("no fragment", packed(".4.50", 8, &[]), Reason::NoPixelData),
    ] {
        let rejection = refused(&file, 4 * MIB);
        assert_eq!(rejection.reason, reason, "{name}: {rejection}");
    }
}

#[test]
fn a_deflate_bomb_is_stopped_at_the_limit() {
    let _alone = MEASURING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&[0x09, 0, 0x10, 0, b'O', b'B', 0, 0, 0, 0, 0, 0x40]).unwrap();
    for _ in 0..64 {
        packer.write_all(&vec![0; MIB]).unwrap();
    }
    let mut file = dicom("1.2.840.10008.1.2.1.99", &[]);
    file.extend(packer.finish().unwrap());
    let limits = Limits { inflated_bytes: 4 << 20, ..Limits::default() };
    let (answer, held) = measured(&file, &limits);
    let rejection = answer.unwrap_err();
    assert_eq!(rejection.reason, Reason::FileTooLarge, "{rejection}");
    assert!(held <= 17 * MIB, "{held} bytes were held for a limit of 4 MiB");
}

#[test]
fn pictures_that_declare_huge_sizes_are_refused_before_memory_is_taken() {
    let crc = |chunk: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(chunk);
        crc.sum().to_be_bytes()
    };
    let png = |side: u32| {
        let mut header = b"IHDR".to_vec();
        header.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
        header.extend([16, 6, 0, 0, 0]);
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
        bytes.extend(&header);
        bytes.extend(crc(&header));
        let data = [&b"IDAT"[..], &[0x78, 0x9c, 0x63, 0, 0]].concat();
        bytes.extend([0, 0, 0, 5]);
        bytes.extend(&data);
        bytes.extend(crc(&data));
        bytes
    };
    let jpeg = |side: u16| {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xc2, 0, 17, 8];
        bytes.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
        bytes.extend([3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
        bytes
    };
    let tiff = |side: u32| {
        let mut bytes = b"II*\0\x08\0\0\0\x09\0".to_vec();
        let entries =
            [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, side), (279, 100)];
        for (tag, value) in entries {
            bytes.extend((tag as u16).to_le_bytes());
            bytes.extend([4, 0, 1, 0, 0, 0]);
            bytes.extend(u32::to_le_bytes(value));
        }
        bytes.extend([0; 200]);
        bytes
    };
    let bmp = |side: i32| {
        let mut bytes = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        bytes.extend([side.to_le_bytes(), side.to_le_bytes()].concat());
        bytes.extend([1, 0, 24, 0]);
        bytes.resize(200, 0);
        bytes
    };
    for (name, file, reason) in [
        ("PNG 2 Gi", png(0x7fff_ffff), Reason::ImageTooLarge),
        ("PNG 3000", png(3000), Reason::Corrupt),
        ("JPEG 65500", jpeg(65_500), Reason::ImageTooLarge),
        ("JPEG 3000", jpeg(3000), Reason::Corrupt),
        ("TIFF 2 Gi", tiff(0x7fff_ffff), Reason::ImageTooLarge),
        ("TIFF 8000", tiff(8000), Reason::Corrupt),
        ("BMP 65535", bmp(65_535), Reason::ImageTooLarge),
        ("BMP 6000", bmp(6000), Reason::Corrupt),
    ] {
        let rejection = refused(&file, 4 * MIB);
        assert_eq!(rejection.reason, reason, "{name}: {rejection}");
    }
}

/// One small file of each way of coding.
const KINDS: [&str; 13] = [
    "mono2-12.dcm",
    "implicit.dcm",
    "big-endian.dcm",
    "deflated.dcm",
    "voi-lut-signed.dcm",
    "palette.dcm",
    "rle-12.dcm",
    "jpeg-baseline.dcm",
    "jpeg-extended-12.dcm",
    "jpeg-lossless-12-p6.dcm",
    "jpeg-ls-12.dcm",
    "j2k-signed.dcm",
    "htj2k-12.dcm",
];

/// The golden files of [`KINDS`], and a small picture in each other format.
fn small_files() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = KINDS.iter().map(|name| ((*name).to_owned(), golden(name))).collect();
    let picture = image::RgbImage::from_fn(24, 20, |x, y| image::Rgb([(x * 9) as u8, (y * 12) as u8, (x * y) as u8]));
    let picture = image::DynamicImage::ImageRgb8(picture);
    for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg, image::ImageFormat::Tiff, image::ImageFormat::Bmp]
    {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("a picture in memory");
        files.push((format!("{format:?}"), bytes.into_inner()));
    }
    files
}

/// The same picture, or a reason: never another picture, a panic, or memory out of proportion.
#[track_caller]
fn answered(bytes: &[u8], whole: Option<&Acquired>, what: &str) {
    let (answer, held) = measured(bytes, &Limits::default());
    assert!(held <= 8 * MIB, "{what}: {held} bytes were held for a file of {}", bytes.len());
    match (answer, whole) {
        (Err(rejection), _) => assert!(!rejection.detail.is_empty(), "{what}"),
        (Ok(film), Some(whole)) => assert_eq!(film.image, whole.image, "{what}"),
        (Ok(_), None) => {}
    }
}

#[test]
fn a_file_cut_at_any_byte_is_refused_or_whole() {
    let _alone = MEASURING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (name, file) in small_files() {
        let whole = decode_film(&file, &Limits::default()).unwrap();
        // Bytes of a look-up table or palette are many and alike.
        let step = file.len() / 3000 + 1;
        for length in (0..file.len()).step_by(step) {
            answered(&file[..length], Some(&whole), &format!("{name} cut to {length} bytes"));
        }
    }
}

#[test]
fn the_chest_film_cut_short_is_refused() {
    let _alone = MEASURING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let file = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chest-pa.dcm")).unwrap();
    for part in 0..32 {
        let length = file.len() * part / 32;
        let (answer, held) = measured(&file[..length], &Limits::default());
        let rejection = answer.expect_err("a rejection");
        let expected = if part == 0 { Reason::EmptyFile } else { Reason::Corrupt };
        assert_eq!(rejection.reason, expected, "{length} bytes: {rejection}");
        assert!(held <= MIB, "{held} bytes were held for {length}");
    }
}

#[test]
fn a_file_with_flipped_bits_is_answered() {
    let _alone = MEASURING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Xorshift, so that a failure can be repeated.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for (name, file) in small_files() {
        // The preamble of a DICOM file means nothing.
        let start = if file[..128].iter().all(|&byte| byte == 0) { 132 } else { 0 };
        for round in 0..400 {
            let mut broken = file.clone();
            let mut flips = Vec::new();
            for _ in 0..1 + round % 4 {
                let at = start + next(file.len() - start);
                let bit = next(8);
                broken[at] ^= 1 << bit;
                flips.push((at, bit));
            }
            answered(&broken, None, &format!("{name} with flips {flips:?}"));
        }
    }
}
