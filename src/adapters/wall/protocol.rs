//! What the two sides of the wall say to each other; all numbers little endian.
//!
//! ```text
//! hello    magic u32, what is in force u8                                   once, from the decoder
//! request  bytes u64, inflated, pixels, decoded u64 (Limits); the file
//! answer   head bytes u32; head; for a picture columns × rows greys u16
//! head     0: columns, rows, frames u32, aspect, colourfulness f32, modality, body part, view, identity,
//!          remarks u8 × text
//!          1: code of the reason, detail
//! text     bytes u16; UTF-8
//! ```
//! The decoder may be in the hands of whoever made the file: its answer is read with a limit for everything, and memory
//! for the picture is taken only when its size is within the limits.

use std::io::{self, Read, Write};

use super::Confinement;
use crate::adapters::file::Limits;
use crate::domain::{Acquired, GreyImage, Identity, Modality, Reason, Rejection, ViewPosition};

const MAGIC: u32 = 0x4c42_5731;
/// Of one text; longer ones are cut by the sender.
const MOST_TEXT: usize = 512;
const MOST_REMARKS: usize = 32;
/// Of a head: all texts and the numbers.
const MOST_HEAD: usize = (MOST_REMARKS + 16) * (MOST_TEXT + 8);
/// Greys are sent in pieces of this many.
const PIECE: usize = 1 << 16;

const PICTURE: u8 = 0;
const REJECTION: u8 = 1;

/// Why nothing sensible came from the other side.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Nonsense(&'static str),
}

fn nonsense<T>(what: &'static str) -> Result<T, ProtocolError> {
    Err(ProtocolError::Nonsense(what))
}

pub(super) fn write_hello(out: &mut impl Write, confinement: Confinement) -> io::Result<()> {
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    bytes.push(confinement.to_byte());
    out.write_all(&bytes)
}

pub(super) fn read_hello(from: &mut impl Read) -> Result<Confinement, ProtocolError> {
    let mut bytes = [0; 5];
    from.read_exact(&mut bytes)?;
    let [magic @ .., byte] = bytes;
    match Confinement::from_byte(byte) {
        Some(confinement) if magic == MAGIC.to_le_bytes() => Ok(confinement),
        _ => nonsense("another greeting than that of the decoder"),
    }
}

/// The head of a request; `bytes` of file follow.
pub(super) fn request_head(bytes: u64, limits: &Limits) -> [u8; 32] {
    let mut head = [0; 32];
    let numbers = [bytes, limits.inflated_bytes, limits.pixels, limits.decoded_bytes];
    for (place, number) in head.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *place = number.to_le_bytes();
    }
    head
}

/// The file and the limits for it; `None` at the end of the stream.
pub(super) fn read_request(from: &mut impl Read) -> Result<Option<(Vec<u8>, Limits)>, ProtocolError> {
    let mut head = [0; 32];
    match from.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let numbers = head.as_chunks::<8>().0;
    let [file_bytes, inflated_bytes, pixels, decoded_bytes] = [0, 1, 2, 3].map(|at| u64::from_le_bytes(numbers[at]));
    let mut bytes = vec![0; file_bytes as usize];
    from.read_exact(&mut bytes)?;
    Ok(Some((bytes, Limits { file_bytes, inflated_bytes, pixels, decoded_bytes })))
}

fn put_text(head: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(MOST_TEXT)];
    head.extend((text.len() as u16).to_le_bytes());
    head.extend(text.as_bytes());
}

fn put_tagged(head: &mut Vec<u8>, tag: u8, text: &str) {
    head.push(tag);
    put_text(head, text);
}

pub(super) fn write_answer(out: &mut impl Write, answer: &Result<Acquired, Rejection>) -> io::Result<()> {
    let mut head = Vec::new();
    let greys = match answer {
        Err(rejection) => {
            put_tagged(&mut head, REJECTION, rejection.reason.code());
            put_text(&mut head, &rejection.detail);
            &[][..]
        }
        Ok(film) => {
            head.push(PICTURE);
            for number in [film.image.width(), film.image.height(), film.frames] {
                head.extend(number.to_le_bytes());
            }
            for number in [film.pixel_aspect, film.colourfulness] {
                head.extend(number.to_le_bytes());
            }
            match &film.modality {
                None => put_tagged(&mut head, 0, ""),
                Some(Modality::Radiography(code)) => put_tagged(&mut head, 1, code),
                Some(Modality::SecondaryCapture(code)) => put_tagged(&mut head, 2, code),
                Some(Modality::Other(code)) => put_tagged(&mut head, 3, code),
            }
            match &film.body_part {
                None => put_tagged(&mut head, 0, ""),
                Some(part) => put_tagged(&mut head, 1, part),
            }
            match &film.view {
                None => put_tagged(&mut head, 0, ""),
                Some(ViewPosition::Ap) => put_tagged(&mut head, 1, ""),
                Some(ViewPosition::Pa) => put_tagged(&mut head, 2, ""),
                Some(ViewPosition::Lateral(view)) => put_tagged(&mut head, 3, view),
                Some(ViewPosition::Other(view)) => put_tagged(&mut head, 4, view),
            }
            match &film.identity {
                None => head.push(0),
                Some(identity) => {
                    head.push(1);
                    let Identity { patient_id, accession_number, study_uid, series_uid, sop_uid, sop_class_uid } =
                        identity;
                    for text in [patient_id, accession_number, study_uid, series_uid, sop_uid, sop_class_uid] {
                        put_text(&mut head, text);
                    }
                }
            }
            let remarks = &film.remarks[..film.remarks.len().min(MOST_REMARKS)];
            head.push(remarks.len() as u8);
            remarks.iter().for_each(|remark| put_text(&mut head, remark));
            film.image.greys()
        }
    };
    out.write_all(&(head.len() as u32).to_le_bytes())?;
    out.write_all(&head)?;
    let mut bytes = vec![0; 2 * PIECE.min(greys.len())];
    for piece in greys.chunks(PIECE) {
        let bytes = &mut bytes[..2 * piece.len()];
        for (to, grey) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(piece) {
            *to = grey.to_le_bytes();
        }
        out.write_all(bytes)?;
    }
    Ok(())
}

/// A head that is being read.
struct Head<'a>(&'a [u8]);

impl Head<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let Some((taken, rest)) = self.0.split_first_chunk::<N>() else {
            return nonsense("a head that ends too early");
        };
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, ProtocolError> {
        self.take().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.take().map(u32::from_le_bytes)
    }

    /// A number from `least` to `most`.
    fn f32(&mut self, least: f32, most: f32) -> Result<f32, ProtocolError> {
        let number = f32::from_le_bytes(self.take()?);
        // What is not a number is in no range.
        if (least..=most).contains(&number) { Ok(number) } else { nonsense("a number out of its range") }
    }

    fn text(&mut self) -> Result<String, ProtocolError> {
        let length = usize::from(u16::from_le_bytes(self.take()?));
        if length > MOST_TEXT || length > self.0.len() {
            return nonsense("a text that is too long");
        }
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        match std::str::from_utf8(text) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => nonsense("a text that is no UTF-8"),
        }
    }

    fn tagged(&mut self) -> Result<(u8, String), ProtocolError> {
        Ok((self.byte()?, self.text()?))
    }

    fn end(&self) -> Result<(), ProtocolError> {
        if self.0.is_empty() { Ok(()) } else { nonsense("a head that is too long") }
    }
}

/// What became of the request, for which `limits` were given.
pub(super) fn read_answer(from: &mut impl Read, limits: &Limits) -> Result<Result<Acquired, Rejection>, ProtocolError> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MOST_HEAD {
        return nonsense("a head that is too long");
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    let mut head = Head(&bytes);
    match head.byte()? {
        PICTURE => read_picture(from, head, limits).map(Ok),
        REJECTION => {
            let Some(reason) = Reason::of_code(&head.text()?) else { return nonsense("an unknown reason") };
            let detail = head.text()?;
            head.end()?;
            Ok(Err(Rejection { reason, detail }))
        }
        _ => nonsense("neither a picture nor a rejection"),
    }
}

fn read_picture(from: &mut impl Read, mut head: Head<'_>, limits: &Limits) -> Result<Acquired, ProtocolError> {
    let (width, height, frames) = (head.u32()?, head.u32()?, head.u32()?);
    let pixel_aspect = head.f32(0.1, 10.0)?;
    let colourfulness = head.f32(0.0, 1.0)?;
    let modality = match head.tagged()? {
        (0, _) => None,
        (1, code) => Some(Modality::Radiography(code)),
        (2, code) => Some(Modality::SecondaryCapture(code)),
        (3, code) => Some(Modality::Other(code)),
        _ => return nonsense("an unknown kind of modality"),
    };
    let body_part = match head.tagged()? {
        (0, _) => None,
        (1, part) => Some(part),
        _ => return nonsense("an unknown kind of body part"),
    };
    let view = match head.tagged()? {
        (0, _) => None,
        (1, _) => Some(ViewPosition::Ap),
        (2, _) => Some(ViewPosition::Pa),
        (3, view) => Some(ViewPosition::Lateral(view)),
        (4, view) => Some(ViewPosition::Other(view)),
        _ => return nonsense("an unknown kind of view"),
    };
    let identity = match head.byte()? {
        0 => None,
        1 => Some(Identity {
            patient_id: head.text()?,
            accession_number: head.text()?,
            study_uid: head.text()?,
            series_uid: head.text()?,
            sop_uid: head.text()?,
            sop_class_uid: head.text()?,
        }),
        _ => return nonsense("an unknown kind of identity"),
    };
    let remarks = usize::from(head.byte()?);
    if remarks > MOST_REMARKS {
        return nonsense("too many remarks");
    }
    let remarks = (0..remarks).map(|_| head.text()).collect::<Result<_, _>>()?;
    head.end()?;
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > limits.pixels {
        return nonsense("a picture of a size that is never read");
    }
    let mut greys = Vec::with_capacity(pixels as usize);
    let mut bytes = vec![0; 2 * PIECE.min(pixels as usize)];
    while greys.len() < pixels as usize {
        let count = PIECE.min(pixels as usize - greys.len());
        let piece = &mut bytes[..2 * count];
        from.read_exact(piece)?;
        greys.extend(piece.as_chunks::<2>().0.iter().map(|grey| u16::from_le_bytes(*grey)));
    }
    let Ok(image) = GreyImage::new(width, height, greys) else { return nonsense("a picture without its pixels") };
    Ok(Acquired { image, pixel_aspect, colourfulness, modality, body_part, view, identity, frames, remarks })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn film() -> Acquired {
        Acquired {
            pixel_aspect: 1.25,
            colourfulness: 0.5,
            modality: Some(Modality::Radiography("CR".into())),
            body_part: Some("CHEST".into()),
            view: Some(ViewPosition::Lateral("LL".into())),
            identity: Some(Identity {
                patient_id: "4711".into(),
                sop_uid: "1.2.3".into(),
                sop_class_uid: "1.2".into(),
                ..Identity::default()
            }),
            frames: 3,
            remarks: vec!["the first of 3 frames was taken".into(), "Ü".repeat(MOST_TEXT)],
            ..Acquired::from_image(GreyImage::new(3, 2, vec![0, 1, 256, 65_535, 7, 8]).unwrap())
        }
    }

    fn written(answer: &Result<Acquired, Rejection>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_answer(&mut bytes, answer).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Result<Acquired, Rejection>, String> {
        read_answer(&mut &bytes[..], &Limits::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let mut expected = film();
        expected.remarks[1] = "Ü".repeat(MOST_TEXT / 2);
        assert_eq!(read(&written(&Ok(film()))), Ok(Ok(expected)));
        let plain = Acquired { view: Some(ViewPosition::Pa), ..Acquired::from_image(film().image) };
        assert_eq!(read(&written(&Ok(plain.clone()))), Ok(Ok(plain)));
        let refused = Err(Rejection::new(Reason::Corrupt, "it ends too early"));
        assert_eq!(read(&written(&refused)), Ok(refused));
    }

    #[test]
    fn an_answer_with_any_byte_missing_or_changed_is_no_panic_and_no_large_allocation() {
        for answer in [Ok(film()), Err(Rejection::new(Reason::Corrupt, "it ends too early"))] {
            let bytes = written(&answer);
            for end in 0..bytes.len() {
                assert!(read(&bytes[..end]).is_err(), "{end}");
            }
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 0xff;
                let limits = Limits { pixels: 1000, ..Limits::default() };
                if let Ok(Ok(film)) = read_answer(&mut &changed[..], &limits) {
                    assert!(film.image.greys().len() <= 6);
                }
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let good = written(&Ok(film()));
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = good.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            read(&changed).unwrap_err()
        };
        assert_eq!(with(0, &[255; 4]), "a head that is too long");
        assert_eq!(with(0, &[20, 0, 0, 0]), "a head that ends too early");
        assert_eq!(with(4, &[2]), "neither a picture nor a rejection");
        assert_eq!(with(5, &[0; 4]), "a picture of a size that is never read");
        assert_eq!(with(5, &[255; 8]), "a picture of a size that is never read");
        assert_eq!(with(17, &f32::NAN.to_le_bytes()), "a number out of its range");
        assert_eq!(with(25, &[9]), "an unknown kind of modality");
        assert_eq!(with(26, &[255, 255]), "a text that is too long");
        assert_eq!(with(28, &[255]), "a text that is no UTF-8");
        let mut unknown = written(&Err(Rejection::new(Reason::Corrupt, "")));
        unknown[7] = b'X';
        assert_eq!(read(&unknown), Err("an unknown reason".to_owned()));
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let limits = Limits { file_bytes: 5, inflated_bytes: 6, pixels: 7, decoded_bytes: 8 };
        let bytes = [&request_head(5, &limits)[..], b"bytes"].concat();
        assert_eq!(read_request(&mut &bytes[..]).unwrap(), Some((b"bytes".to_vec(), limits)));
        assert!(read_request(&mut &b""[..]).unwrap().is_none());
        assert!(read_request(&mut &bytes[..35]).is_err());
        let confinement = Confinement { system_calls: true, landlock: super::super::Landlock::Partly };
        let mut hello = Vec::new();
        write_hello(&mut hello, confinement).unwrap();
        assert_eq!(read_hello(&mut &hello[..]).unwrap(), confinement);
        hello[1] ^= 1;
        assert!(matches!(read_hello(&mut &hello[..]), Err(ProtocolError::Nonsense(_))));
    }
}
