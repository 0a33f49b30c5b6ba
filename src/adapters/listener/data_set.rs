//! A walk over a data set that comes in piece by piece: whether it is whole, and whose it is, in constant memory.
//!
//! Values are stepped over, not read, but for the two unique identifiers of the object. What it shows is not judged.

use std::io::{self, Write};

use dicom_core::Tag;
use flate2::write::DeflateDecoder;

use super::super::dicom::{Encoding, Syntax, is_vr};

const SOP_CLASS: Tag = Tag(0x0008, 0x0016);
const SOP_INSTANCE: Tag = Tag(0x0008, 0x0018);
const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);
const UNDEFINED: u32 = u32::MAX;
/// Sequences within sequences that are followed.
const DEEPEST: usize = 32;
/// A unique identifier has 64 bytes at most.
const MOST_UID_BYTES: u64 = 64;

/// What is wrong with a data set; `at` counts its bytes, inflated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DataSetError {
    #[error("the data set ends at byte {at}, inside {tag}")]
    EndsInside { tag: Tag, at: u64 },
    #[error("the data set ends at byte {at}, inside the header of an element or an open sequence")]
    EndsOpen { at: u64 },
    #[error("{tag} at byte {at}, expected {expected}")]
    Unexpected { tag: Tag, at: u64, expected: &'static str },
    #[error("value representation {vr:?} of {tag} at byte {at}, expected one of PS3.5 6.2")]
    UnknownVr { tag: Tag, vr: String, at: u64 },
    #[error("sequences at byte {at} are nested more than {DEEPEST} deep")]
    TooDeep { at: u64 },
    #[error("the data set has no {0}")]
    Missing(Tag),
    #[error("it inflates to more than {0} bytes")]
    InflatesTooFar(u64),
    #[error("it cannot be inflated: {0}")]
    Deflate(String),
}

/// Whose a data set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) sop_class: String,
    pub(super) sop_instance: String,
}

/// What is open around the present place.
#[derive(Clone, Copy, Debug)]
enum Level {
    /// Items are due, in this encoding.
    Sequence(Encoding),
    /// Elements are due, in this encoding.
    Item(Encoding),
}

#[derive(Debug)]
enum Step {
    /// Collects the header of an element or item.
    Header { bytes: [u8; 12], have: usize },
    /// Steps over a value.
    Skip { tag: Tag, left: u64 },
    /// Reads a unique identifier.
    Uid { tag: Tag, left: u64, bytes: Vec<u8> },
}

const HEADER: Step = Step::Header { bytes: [0; 12], have: 0 };

#[derive(Debug)]
struct Walk {
    levels: Vec<Level>,
    encoding: Encoding,
    step: Step,
    at: u64,
    header_at: u64,
    sop_class: Option<String>,
    sop_instance: Option<String>,
}

impl Walk {
    fn new(encoding: Encoding) -> Self {
        Self { levels: Vec::new(), encoding, step: HEADER, at: 0, header_at: 0, sop_class: None, sop_instance: None }
    }

    fn push(&mut self, mut bytes: &[u8]) -> Result<(), DataSetError> {
        while !bytes.is_empty() {
            let taken = match &mut self.step {
                Step::Skip { left, .. } => {
                    let count = (*left).min(bytes.len() as u64);
                    *left -= count;
                    if *left == 0 {
                        self.step = HEADER;
                    }
                    count as usize
                }
                Step::Uid { tag, left, bytes: uid } => {
                    let count = (*left).min(bytes.len() as u64) as usize;
                    uid.extend(&bytes[..count]);
                    *left -= count as u64;
                    if *left == 0 {
                        let text = String::from_utf8_lossy(uid).trim_end_matches(['\0', ' ']).to_owned();
                        let place = if *tag == SOP_CLASS { &mut self.sop_class } else { &mut self.sop_instance };
                        *place = Some(text);
                        self.step = HEADER;
                    }
                    count
                }
                Step::Header { bytes: header, have } => {
                    if *have == 0 {
                        self.header_at = self.at;
                    }
                    header[*have] = bytes[0];
                    *have += 1;
                    let (header, have) = (*header, *have);
                    if have == 8 || have == 12 {
                        self.header(&header, have)?;
                    }
                    1
                }
            };
            self.at += taken as u64;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Judges a header of which `have` bytes are there, 8 or 12.
    fn header(&mut self, bytes: &[u8; 12], have: usize) -> Result<(), DataSetError> {
        let at = self.header_at;
        let [g0, g1, e0, e1, a, b, c, d, rest @ ..] = *bytes;
        if at == 0 && have == 8 {
            // Some writers put an implicit data set under an explicit transfer syntax and the reverse.
            self.encoding = match self.encoding {
                Encoding::ExplicitLittle if !is_vr([a, b]) => Encoding::ImplicitLittle,
                Encoding::ImplicitLittle if is_vr([a, b]) => Encoding::ExplicitLittle,
                as_declared => as_declared,
            };
        }
        let encoding = match self.levels.last() {
            Some(Level::Sequence(encoding) | Level::Item(encoding)) => *encoding,
            None => self.encoding,
        };
        let tag = Tag(encoding.u16([g0, g1]), encoding.u16([e0, e1]));
        let unexpected = |expected| Err(DataSetError::Unexpected { tag, at, expected });
        let long = encoding.u32([a, b, c, d]);
        self.step = HEADER;
        match (self.levels.last().copied(), tag) {
            (Some(Level::Sequence(_)), ITEM) if long == UNDEFINED => self.open(Level::Item(encoding)),
            (Some(Level::Sequence(_)), ITEM) => self.skip(tag, long),
            (Some(Level::Sequence(_)), SEQUENCE_END) | (Some(Level::Item(_)), ITEM_END) => {
                if long != 0 {
                    return unexpected("a delimiter of length 0");
                }
                self.levels.pop();
                Ok(())
            }
            (Some(Level::Sequence(_)), _) => unexpected("an item"),
            (_, Tag(0xfffe, _)) => unexpected("a data element"),
            (_, _) if !encoding.is_explicit() => self.element(tag, None, long, encoding),
            (_, _) => {
                let vr = [a, b];
                if !is_vr(vr) {
                    let vr = String::from_utf8_lossy(&vr).into_owned();
                    return Err(DataSetError::UnknownVr { tag, vr, at });
                }
                // PS3.5 7.1.2: these have two reserved bytes and a length of four.
                let wide = matches!(
                    &vr,
                    b"OB"
                        | b"OD"
                        | b"OF"
                        | b"OL"
                        | b"OV"
                        | b"OW"
                        | b"SQ"
                        | b"SV"
                        | b"UC"
                        | b"UN"
                        | b"UR"
                        | b"UT"
                        | b"UV"
                );
                if !wide {
                    return self.element(tag, Some(vr), encoding.u16([c, d]).into(), encoding);
                }
                if have == 8 {
                    self.step = Step::Header { bytes: *bytes, have };
                    return Ok(());
                }
                self.element(tag, Some(vr), encoding.u32(rest), encoding)
            }
        }
    }

    fn element(&mut self, tag: Tag, vr: Option<[u8; 2]>, length: u32, within: Encoding) -> Result<(), DataSetError> {
        let at = self.header_at;
        if length == UNDEFINED {
            return match vr.as_ref() {
                // CP-246: a sequence of unknown elements is written in implicit little endian.
                Some(b"UN") => self.open(Level::Sequence(Encoding::ImplicitLittle)),
                // Encapsulated Pixel Data is a sequence of items as well (PS3.5 A.4).
                None | Some(b"SQ" | b"OB" | b"OW") => self.open(Level::Sequence(within)),
                Some(_) => Err(DataSetError::Unexpected { tag, at, expected: "a length that is defined" }),
            };
        }
        let is_uid = self.levels.is_empty() && (tag == SOP_CLASS || tag == SOP_INSTANCE);
        if is_uid && (1..=MOST_UID_BYTES).contains(&u64::from(length)) {
            self.step = Step::Uid { tag, left: length.into(), bytes: Vec::new() };
            return Ok(());
        }
        self.skip(tag, length)
    }

    fn skip(&mut self, tag: Tag, length: u32) -> Result<(), DataSetError> {
        if length == UNDEFINED {
            return Err(DataSetError::Unexpected { tag, at: self.header_at, expected: "a length that is defined" });
        }
        if length > 0 {
            self.step = Step::Skip { tag, left: length.into() };
        }
        Ok(())
    }

    fn open(&mut self, level: Level) -> Result<(), DataSetError> {
        if self.levels.len() >= 2 * DEEPEST {
            return Err(DataSetError::TooDeep { at: self.header_at });
        }
        self.levels.push(level);
        Ok(())
    }

    fn finish(self) -> Result<Identity, DataSetError> {
        match self.step {
            Step::Skip { tag, .. } | Step::Uid { tag, .. } => {
                return Err(DataSetError::EndsInside { tag, at: self.at });
            }
            Step::Header { have: 0, .. } if self.levels.is_empty() => {}
            Step::Header { .. } => return Err(DataSetError::EndsOpen { at: self.at }),
        }
        Ok(Identity {
            sop_class: self.sop_class.ok_or(DataSetError::Missing(SOP_CLASS))?,
            sop_instance: self.sop_instance.ok_or(DataSetError::Missing(SOP_INSTANCE))?,
        })
    }
}

/// Takes what was inflated; keeps what was wrong with it, since the inflater only hands on an I/O error.
#[derive(Debug)]
struct Inflated {
    walk: Walk,
    most: u64,
    wrong: Option<DataSetError>,
}

impl Write for Inflated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = if self.walk.at + bytes.len() as u64 > self.most {
            Err(DataSetError::InflatesTooFar(self.most))
        } else {
            self.walk.push(bytes)
        };
        outcome.map_err(|error| {
            self.wrong = Some(error);
            io::Error::other("refused")
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum Kind {
    Plain(Walk),
    Deflated { inflater: Box<DeflateDecoder<Inflated>>, ended: bool },
}

/// A data set that comes in.
#[derive(Debug)]
pub(super) struct DataSet(Kind);

impl DataSet {
    /// `most_inflated` bounds a deflated one.
    pub(super) fn new(syntax: Syntax, most_inflated: u64) -> Self {
        let walk = Walk::new(syntax.encoding);
        if syntax.deflated {
            let inflater = DeflateDecoder::new(Inflated { walk, most: most_inflated, wrong: None });
            Self(Kind::Deflated { inflater: Box::new(inflater), ended: false })
        } else {
            Self(Kind::Plain(walk))
        }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), DataSetError> {
        match &mut self.0 {
            Kind::Plain(walk) => walk.push(bytes),
            Kind::Deflated { inflater, ended } => {
                while !bytes.is_empty() && !*ended {
                    match inflater.write(bytes) {
                        // Behind the end of the stream a byte may make the length even (PS3.5 A.5).
                        Ok(0) => *ended = true,
                        Ok(taken) => bytes = &bytes[taken..],
                        Err(error) => return Err(refusal(inflater, &error)),
                    }
                }
                Ok(())
            }
        }
    }

    /// Whose it is, once all has come in.
    pub(super) fn finish(self) -> Result<Identity, DataSetError> {
        match self.0 {
            Kind::Plain(walk) => walk.finish(),
            Kind::Deflated { mut inflater, .. } => {
                if let Err(error) = inflater.try_finish() {
                    return Err(refusal(&inflater, &error));
                }
                let inflated = inflater.finish().map_err(|error| DataSetError::Deflate(error.to_string()))?;
                inflated.walk.finish()
            }
        }
    }
}

fn refusal(inflater: &DeflateDecoder<Inflated>, error: &io::Error) -> DataSetError {
    inflater.get_ref().wrong.clone().unwrap_or_else(|| DataSetError::Deflate(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::super::dicom::syntax_of;
    use super::*;

    fn bytes_of(explicit: bool, big: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let u16 = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let u32 = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut header = |tag: (u16, u16), vr: &str, length: u32| {
            bytes.extend(u16(tag.0));
            bytes.extend(u16(tag.1));
            let item = tag.0 == 0xfffe;
            match vr {
                "SQ" | "OW" | "UN" if explicit && !item => {
                    bytes.extend(vr.as_bytes());
                    bytes.extend([0, 0]);
                    bytes.extend(u32(length));
                }
                _ if explicit && !item => {
                    bytes.extend(vr.as_bytes());
                    bytes.extend(u16(length as u16));
                }
                _ => bytes.extend(u32(length)),
            }
            if length != UNDEFINED {
                bytes.extend(b"1.2.3\0\0\0".iter().cycle().take(length as usize));
            }
        };
        header((0x0008, 0x0016), "UI", 6);
        header((0x0008, 0x0018), "UI", 6);
        header((0x0008, 0x1140), "SQ", UNDEFINED);
        header((0xfffe, 0xe000), "", UNDEFINED);
        header((0x0008, 0x1150), "UI", 8);
        header((0x0008, 0x1199), "SQ", UNDEFINED);
        header((0xfffe, 0xe000), "", 20);
        header((0xfffe, 0xe0dd), "", 0);
        header((0xfffe, 0xe00d), "", 0);
        header((0xfffe, 0xe000), "", 0);
        header((0xfffe, 0xe0dd), "", 0);
        header((0x0028, 0x0010), "US", 2);
        header((0x7fe0, 0x0010), "OW", UNDEFINED);
        header((0xfffe, 0xe000), "", 0);
        header((0xfffe, 0xe000), "", 30);
        header((0xfffe, 0xe0dd), "", 0);
        header((0xfffc, 0xfffc), "OW", 4);
        bytes
    }

    fn walked(uid: &str, bytes: &[u8], chunk: usize) -> Result<Identity, DataSetError> {
        let mut data_set = DataSet::new(syntax_of(uid).unwrap(), 10_000);
        bytes.chunks(chunk).try_for_each(|part| data_set.push(part))?;
        data_set.finish()
    }

    const IMPLICIT: &str = "1.2.840.10008.1.2";
    const EXPLICIT: &str = "1.2.840.10008.1.2.1";
    const BIG: &str = "1.2.840.10008.1.2.2";
    const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn a_whole_data_set_is_understood_in_any_encoding_and_any_pieces() {
        let mut padded = deflated(&bytes_of(true, false));
        padded.push(0);
        for (uid, bytes) in [
            (IMPLICIT, bytes_of(false, false)),
            (EXPLICIT, bytes_of(true, false)),
            (BIG, bytes_of(true, true)),
            (DEFLATED, deflated(&bytes_of(true, false))),
            (DEFLATED, padded),
            // Written otherwise than declared.
            (EXPLICIT, bytes_of(false, false)),
            (IMPLICIT, bytes_of(true, false)),
        ] {
            for chunk in [1, 2, 3, 7, 13, 64, 10_000] {
                let identity = walked(uid, &bytes, chunk).unwrap();
                assert_eq!((identity.sop_class.as_str(), identity.sop_instance.as_str()), ("1.2.3", "1.2.3"));
            }
        }
    }

    #[test]
    fn a_data_set_cut_short_is_whole_only_between_elements() {
        for (uid, bytes) in [(EXPLICIT, bytes_of(true, false)), (IMPLICIT, bytes_of(false, false))] {
            let whole = (0..bytes.len()).filter(|&end| walked(uid, &bytes[..end], 64).is_ok()).count();
            // After the second UID: behind it, the sequence, the rows and the pixels.
            assert_eq!(whole, 4, "{uid}");
        }
        let packed = deflated(&bytes_of(true, false));
        let whole = (0..packed.len() - 4).filter(|&end| walked(DEFLATED, &packed[..end], 64).is_ok()).count();
        assert!(whole <= 4, "{whole}");
    }

    #[test]
    fn nonsense_is_told_by_place() {
        let told = |bytes: &[u8]| walked(EXPLICIT, bytes, 64).unwrap_err().to_string();
        assert_eq!(told(&[]), "the data set has no (0008,0016)");
        let start = b"\x08\0\x16\0UI\x02\x001\0";
        assert_eq!(told(start), "the data set has no (0008,0018)");
        let with = |rest: &[u8]| told(&[start, rest].concat());
        assert!(
            with(b"\x08\0\x18\0\x01\x02\x02\0").starts_with("value representation \"\\u{1}\\u{2}\" of (0008,0018)")
        );
        assert_eq!(with(b"\xfe\xff\x00\xe0\0\0\0\0"), "(FFFE,E000) at byte 10, expected a data element");
        assert_eq!(
            with(b"\x28\0\x10\0US\x02"),
            "the data set ends at byte 17, inside the header of an element or an open sequence"
        );
        assert_eq!(with(b"\x28\0\x10\0US\x02\0\x01"), "the data set ends at byte 19, inside (0028,0010)");
        let deep: Vec<u8> = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff".repeat(40);
        assert!(with(&deep).contains("are nested more than 32 deep"));
    }

    #[test]
    fn a_bomb_is_not_inflated_beyond_the_limit() {
        let mut bomb = bytes_of(true, false);
        bomb.extend(b"\x09\0\x10\0UN\0\0\0\x10\0\0");
        bomb.resize(bomb.len() + 0x1000, 0);
        bomb.resize(20_000, 0);
        let error = walked(DEFLATED, &deflated(&bomb), 64).unwrap_err();
        assert_eq!(error, DataSetError::InflatesTooFar(10_000));
        assert!(matches!(walked(DEFLATED, &[0xff; 64], 64), Err(DataSetError::Deflate(_))));
    }
}
