//! A strict walk over the bytes of a DICOM object (PS3.5 chapter 7, PS3.10 chapter 7) before anything else reads them.
//!
//! Parsers allocate the length that an element declares. Here every length is compared with the bytes that are left,
//! and only the few elements that a picture needs are copied out for the parser; the Pixel Data stays where it is.

use std::ops::Range;

use dicom_core::{Tag, VR};

/// Sequences within sequences that are followed; radiographs need two.
const DEEPEST: u32 = 16;
/// Bytes of all elements that are handed on; two LUTs and three palettes of 65536 entries are 640 KiB.
const MOST_HEADER_BYTES: usize = 4 << 20;

const PIXEL_DATA: Tag = Tag(0x7fe0, 0x0010);
const FLOAT_PIXEL_DATA: Tag = Tag(0x7fe0, 0x0008);
const DOUBLE_FLOAT_PIXEL_DATA: Tag = Tag(0x7fe0, 0x0009);
const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);
const UNDEFINED: u32 = u32::MAX;

/// The elements that are handed on, with their value representation.
const WANTED: &[(Tag, VR)] = &[
    (Tag(0x0008, 0x0016), VR::UI), // SOP Class UID
    (Tag(0x0008, 0x0018), VR::UI), // SOP Instance UID
    (Tag(0x0008, 0x0050), VR::SH), // Accession Number
    (Tag(0x0008, 0x0060), VR::CS), // Modality
    (Tag(0x0010, 0x0020), VR::LO), // Patient ID
    (Tag(0x0018, 0x0015), VR::CS), // Body Part Examined
    (Tag(0x0018, 0x1164), VR::DS), // Imager Pixel Spacing
    (Tag(0x0018, 0x5101), VR::CS), // View Position
    (Tag(0x0020, 0x000d), VR::UI), // Study Instance UID
    (Tag(0x0020, 0x000e), VR::UI), // Series Instance UID
    (Tag(0x0028, 0x0002), VR::US), // Samples per Pixel
    (Tag(0x0028, 0x0004), VR::CS), // Photometric Interpretation
    (Tag(0x0028, 0x0006), VR::US), // Planar Configuration
    (Tag(0x0028, 0x0008), VR::IS), // Number of Frames
    (Tag(0x0028, 0x0010), VR::US), // Rows
    (Tag(0x0028, 0x0011), VR::US), // Columns
    (Tag(0x0028, 0x0030), VR::DS), // Pixel Spacing
    (Tag(0x0028, 0x0034), VR::IS), // Pixel Aspect Ratio
    (Tag(0x0028, 0x0100), VR::US), // Bits Allocated
    (Tag(0x0028, 0x0101), VR::US), // Bits Stored
    (Tag(0x0028, 0x0102), VR::US), // High Bit
    (Tag(0x0028, 0x0103), VR::US), // Pixel Representation
    (Tag(0x0028, 0x0120), VR::US), // Pixel Padding Value
    (Tag(0x0028, 0x0121), VR::US), // Pixel Padding Range Limit
    (Tag(0x0028, 0x1050), VR::DS), // Window Center
    (Tag(0x0028, 0x1051), VR::DS), // Window Width
    (Tag(0x0028, 0x1052), VR::DS), // Rescale Intercept
    (Tag(0x0028, 0x1053), VR::DS), // Rescale Slope
    (Tag(0x0028, 0x1056), VR::CS), // VOI LUT Function
    (Tag(0x0028, 0x1101), VR::US), // Red Palette Color Lookup Table Descriptor
    (Tag(0x0028, 0x1102), VR::US), // Green …
    (Tag(0x0028, 0x1103), VR::US), // Blue …
    (Tag(0x0028, 0x1201), VR::OW), // Red Palette Color Lookup Table Data
    (Tag(0x0028, 0x1202), VR::OW), // Green …
    (Tag(0x0028, 0x1203), VR::OW), // Blue …
    (Tag(0x0028, 0x3000), VR::SQ), // Modality LUT Sequence
    (Tag(0x0028, 0x3010), VR::SQ), // VOI LUT Sequence
    (Tag(0x0054, 0x0220), VR::SQ), // View Code Sequence
];

/// What the walk found wrong; `at` counts from the start of the data set or file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrescanError {
    /// The object ends inside an element.
    #[error("{tag} at byte {at} declares {declared} bytes, only {left} are left")]
    Truncated {
        /// The element.
        tag: Tag,
        /// Where it starts.
        at: usize,
        /// Its length as written.
        declared: u64,
        /// Bytes after its header.
        left: usize,
    },
    /// The object ends inside the header of an element, or before a sequence is closed.
    #[error("the object ends at byte {at}, inside {inside}")]
    EndsInside {
        /// Its length.
        at: usize,
        /// Where it ends.
        inside: &'static str,
    },
    /// Something else stands where a data element or item is due.
    #[error("found {found} at byte {at}, expected {expected}")]
    Unexpected {
        /// What was found.
        found: String,
        /// Where.
        at: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// Too many sequences within each other.
    #[error("sequences at byte {at} are nested more than {DEEPEST} deep")]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// The elements of interest are larger than any radiograph's.
    #[error("the elements that describe the picture take {found} bytes, at most {MOST_HEADER_BYTES} are read")]
    HeaderTooLarge {
        /// Their length.
        found: usize,
    },
}

/// How elements are written (PS3.5 7.1 and 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::adapters) enum Encoding {
    ImplicitLittle,
    ExplicitLittle,
    ExplicitBig,
}

impl Encoding {
    pub(in crate::adapters) fn is_explicit(self) -> bool {
        self != Self::ImplicitLittle
    }

    pub(in crate::adapters) fn u16(self, bytes: [u8; 2]) -> u16 {
        if self == Self::ExplicitBig { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    pub(in crate::adapters) fn u32(self, bytes: [u8; 4]) -> u32 {
        if self == Self::ExplicitBig { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// File Meta Information, as far as it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileMeta {
    /// Transfer Syntax UID (0002,0010), without padding.
    pub(super) transfer_syntax: Option<String>,
    /// Where the data set starts.
    pub(super) data_set: usize,
}

/// Where the Pixel Data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PixelData {
    /// Without compression.
    Native {
        /// Its bytes.
        value: Range<usize>,
        /// Written as OW, whose 16-bit words are swapped in big endian.
        words: bool,
    },
    /// As a sequence of fragments (PS3.5 A.4).
    Encapsulated {
        /// Basic Offset Table, may be empty.
        offsets: Vec<u32>,
        /// The fragments' bytes.
        fragments: Vec<Range<usize>>,
    },
}

/// A data set after the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// As found, which may differ from what the transfer syntax says.
    pub(super) encoding: Encoding,
    /// The wanted elements, copied one after the other.
    pub(super) header: Vec<u8>,
    /// `None` when there is none.
    pub(super) pixels: Option<PixelData>,
    /// Float Pixel Data or Double Float Pixel Data is there.
    pub(super) float_pixels: bool,
    /// Elements up to the Pixel Data.
    pub(super) elements: usize,
}

/// Whether `bytes` can be the start of a DICOM object without preamble and prefix.
pub(super) fn looks_like_data_set(bytes: &[u8]) -> bool {
    let Some(start) = bytes.get(..8) else { return false };
    let group = u16::from_le_bytes([start[0], start[1]]);
    let element = u16::from_le_bytes([start[2], start[3]]);
    if !matches!(group, 0x0002 | 0x0008) || element > 0x0100 {
        return false;
    }
    let length = u32::from_le_bytes([start[4], start[5], start[6], start[7]]) as usize;
    is_vr([start[4], start[5]]) || length <= 256.min(bytes.len() - 8)
}

/// Reads File Meta Information that starts at byte `from`; it is always explicit little endian (PS3.10 7.1).
pub(super) fn walk_file_meta(bytes: &[u8], from: usize) -> Result<FileMeta, PrescanError> {
    let mut walk = Walk { bytes, at: from, end: bytes.len(), encoding: Encoding::ExplicitLittle };
    let mut transfer_syntax = None;
    while bytes.get(walk.at..walk.at + 2) == Some(&[0x02, 0x00]) {
        let element = walk.element_header()?;
        let value = walk.value(&element)?;
        if element.tag == Tag(0x0002, 0x0010) {
            let text = String::from_utf8_lossy(&bytes[value]);
            transfer_syntax = Some(text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned());
        }
    }
    Ok(FileMeta { transfer_syntax, data_set: walk.at })
}

/// Walks the data set up to its Pixel Data. `declared` is what the transfer syntax says.
pub(super) fn walk_data_set(bytes: &[u8], declared: Encoding) -> Result<Layout, PrescanError> {
    let encoding = match (bytes.get(4..6), declared) {
        // Some writers put an implicit data set under an explicit transfer syntax and the reverse.
        (Some(&[a, b]), Encoding::ExplicitLittle) if !is_vr([a, b]) => Encoding::ImplicitLittle,
        (Some(&[a, b]), Encoding::ImplicitLittle) if is_vr([a, b]) => Encoding::ExplicitLittle,
        _ => declared,
    };
    let mut walk = Walk { bytes, at: 0, end: bytes.len(), encoding };
    let mut layout = Layout { encoding, header: Vec::new(), pixels: None, float_pixels: false, elements: 0 };
    while walk.at < walk.end {
        let start = walk.at;
        let element = walk.element_header()?;
        layout.elements += 1;
        match element.tag {
            PIXEL_DATA => {
                layout.pixels = Some(walk.pixel_data(&element)?);
                break;
            }
            FLOAT_PIXEL_DATA | DOUBLE_FLOAT_PIXEL_DATA => layout.float_pixels = true,
            _ => {}
        }
        let value = walk.value_or_sequence(&element, DEEPEST)?;
        if let Some(&(tag, vr)) = WANTED.iter().find(|(tag, _)| *tag == element.tag) {
            let known = element.vr == Some(*b"UN") && encoding == Encoding::ExplicitLittle && vr != VR::SQ;
            if known && vr != VR::OW && value.len() <= usize::from(u16::MAX) {
                // Unknown to a relay on the way, not to us.
                layout.header.extend(tag.group().to_le_bytes());
                layout.header.extend(tag.element().to_le_bytes());
                layout.header.extend(vr.to_bytes());
                layout.header.extend((value.len() as u16).to_le_bytes());
                layout.header.extend(&bytes[value]);
            } else {
                layout.header.extend(&bytes[start..walk.at]);
            }
            if layout.header.len() > MOST_HEADER_BYTES {
                return Err(PrescanError::HeaderTooLarge { found: layout.header.len() });
            }
        }
    }
    Ok(layout)
}

/// A value representation of PS3.5 6.2.
pub(in crate::adapters) fn is_vr(bytes: [u8; 2]) -> bool {
    std::str::from_utf8(&bytes).is_ok_and(|text| text.parse::<VR>().is_ok())
}

struct Element {
    tag: Tag,
    at: usize,
    vr: Option<[u8; 2]>,
    length: u32,
}

#[derive(Clone)]
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    encoding: Encoding,
}

impl Walk<'_> {
    fn take<const N: usize>(&mut self, inside: &'static str) -> Result<[u8; N], PrescanError> {
        let taken = self.bytes[..self.end].get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let taken = *taken.ok_or(PrescanError::EndsInside { at: self.end, inside })?;
        self.at += N;
        Ok(taken)
    }

    fn tag(&mut self, inside: &'static str) -> Result<Tag, PrescanError> {
        let group = self.take(inside)?;
        let element = self.take(inside)?;
        Ok(Tag(self.encoding.u16(group), self.encoding.u16(element)))
    }

    fn length(&mut self) -> Result<u32, PrescanError> {
        let length = self.take("the length of an element")?;
        Ok(self.encoding.u32(length))
    }

    /// PS3.5 7.1.2 and 7.1.3.
    fn element_header(&mut self) -> Result<Element, PrescanError> {
        let at = self.at;
        let tag = self.tag("the tag of an element")?;
        if tag.group() == 0xfffe {
            return Err(PrescanError::Unexpected { found: tag.to_string(), at, expected: "a data element" });
        }
        if !self.encoding.is_explicit() {
            return Ok(Element { tag, at, vr: None, length: self.length()? });
        }
        let vr: [u8; 2] = self.take("the value representation of an element")?;
        let length = match &vr {
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV" => {
                self.take::<2>("an element")?;
                self.length()?
            }
            _ if is_vr(vr) => {
                let length = self.take("the length of an element")?;
                u32::from(self.encoding.u16(length))
            }
            _ => {
                let found = format!("value representation {:?} of {tag}", String::from_utf8_lossy(&vr));
                return Err(PrescanError::Unexpected { found, at, expected: "one of PS3.5 6.2" });
            }
        };
        Ok(Element { tag, at, vr: Some(vr), length })
    }

    /// A value of known length, which is stepped over.
    fn value(&mut self, element: &Element) -> Result<Range<usize>, PrescanError> {
        let left = self.end - self.at;
        let length = element.length as usize;
        if element.length == UNDEFINED || length > left {
            let declared = u64::from(element.length);
            return Err(PrescanError::Truncated { tag: element.tag, at: element.at, declared, left });
        }
        self.at += length;
        Ok(self.at - length..self.at)
    }

    fn value_or_sequence(&mut self, element: &Element, depth: u32) -> Result<Range<usize>, PrescanError> {
        let start = self.at;
        let sequence = matches!(&element.vr, Some(vr) if vr == b"SQ");
        if element.length != UNDEFINED {
            let value = self.value(element)?;
            if sequence {
                let mut inner = Walk { at: value.start, end: value.end, ..self.clone() };
                inner.items(element.at, depth, false)?;
            }
            return Ok(value);
        }
        match element.vr.as_ref() {
            None | Some(b"SQ") => self.items(element.at, depth, true)?,
            // CP-246: a sequence of unknown elements is written in implicit little endian.
            Some(b"UN") => {
                let mut inner = Walk { encoding: Encoding::ImplicitLittle, ..self.clone() };
                inner.items(element.at, depth, true)?;
                self.at = inner.at;
            }
            Some(_) => {
                let found = format!("an undefined length of {}", element.tag);
                return Err(PrescanError::Unexpected { found, at: element.at, expected: "a length" });
            }
        }
        Ok(start..self.at)
    }

    /// The items of a sequence (PS3.5 7.5), to its delimiter when `open`, else to the end.
    fn items(&mut self, sequence_at: usize, depth: u32, open: bool) -> Result<(), PrescanError> {
        let depth = depth.checked_sub(1).ok_or(PrescanError::TooDeep { at: sequence_at })?;
        while open || self.at < self.end {
            let at = self.at;
            let tag = self.tag("a sequence")?;
            let length = self.length()?;
            match tag {
                SEQUENCE_END if open => return Ok(()),
                ITEM if length == UNDEFINED => loop {
                    let before = self.at;
                    if self.tag("an item")? == ITEM_END {
                        self.length()?;
                        break;
                    }
                    self.at = before;
                    let element = self.element_header()?;
                    self.value_or_sequence(&element, depth)?;
                },
                ITEM => {
                    let value = self.value(&Element { tag, at, vr: None, length })?;
                    let mut inner = Walk { at: value.start, end: value.end, ..self.clone() };
                    while inner.at < inner.end {
                        let element = inner.element_header()?;
                        inner.value_or_sequence(&element, depth)?;
                    }
                }
                _ => {
                    return Err(PrescanError::Unexpected { found: tag.to_string(), at, expected: "an item" });
                }
            }
        }
        Ok(())
    }

    /// PS3.5 A.4: an item with the Basic Offset Table, then one item a fragment, then a delimiter.
    fn pixel_data(&mut self, element: &Element) -> Result<PixelData, PrescanError> {
        if element.length != UNDEFINED {
            let words = matches!(&element.vr, Some(vr) if vr == b"OW");
            return Ok(PixelData::Native { value: self.value(element)?, words });
        }
        let mut offsets = None;
        let mut fragments = Vec::new();
        loop {
            let at = self.at;
            let tag = self.tag("the encapsulated Pixel Data")?;
            let length = self.length()?;
            match tag {
                SEQUENCE_END => break,
                ITEM => {
                    let value = self.value(&Element { tag, at, vr: None, length })?;
                    match offsets {
                        None => {
                            let table = self.bytes[value].chunks_exact(4);
                            // Only where the second frame starts matters.
                            let first = table.take(2).map(|o| u32::from_le_bytes([o[0], o[1], o[2], o[3]]));
                            offsets = Some(first.collect());
                        }
                        Some(_) => fragments.push(value),
                    }
                }
                _ => {
                    return Err(PrescanError::Unexpected { found: tag.to_string(), at, expected: "a fragment" });
                }
            }
        }
        Ok(PixelData::Encapsulated { offsets: offsets.unwrap_or_default(), fragments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explicit(group: u16, element: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = [group.to_le_bytes(), element.to_le_bytes()].concat();
        bytes.extend(vr);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(value);
        bytes
    }

    fn undefined(group: u16, element: u16, vr: &[u8; 2]) -> Vec<u8> {
        let mut bytes = [group.to_le_bytes(), element.to_le_bytes()].concat();
        bytes.extend(vr);
        bytes.extend([0, 0, 0xff, 0xff, 0xff, 0xff]);
        bytes
    }

    fn item(element: u16, length: u32) -> Vec<u8> {
        [&[0xfe, 0xff][..], &element.to_le_bytes(), &length.to_le_bytes()].concat()
    }

    #[track_caller]
    fn refused(bytes: &[u8]) -> String {
        walk_data_set(bytes, Encoding::ExplicitLittle).unwrap_err().to_string()
    }

    #[test]
    fn only_the_wanted_elements_are_handed_on() {
        let rows = explicit(0x28, 0x10, b"US", &[2, 0]);
        let bytes = [explicit(0x10, 0x10, b"PN", b"A^B "), rows.clone()].concat();
        let layout = walk_data_set(&bytes, Encoding::ExplicitLittle).unwrap();
        assert_eq!((layout.header, layout.elements, layout.pixels), (rows, 2, None));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let mut bytes = undefined(0x09, 0x10, b"OB");
        bytes[8..12].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
        bytes.extend([0; 4]);
        assert_eq!(refused(&bytes), "(0009,0010) at byte 0 declares 4294967280 bytes, only 4 are left");
        assert_eq!(refused(&bytes[..3]), "the object ends at byte 3, inside the tag of an element");
    }

    #[test]
    fn an_undefined_length_belongs_to_sequences_only() {
        assert_eq!(
            refused(&undefined(0x09, 0x10, b"OB")),
            "found an undefined length of (0009,0010) at byte 0, expected a length"
        );
        assert_eq!(refused(&undefined(0x09, 0x10, b"SQ")), "the object ends at byte 12, inside a sequence");
    }

    #[test]
    fn an_item_longer_than_its_sequence_is_refused() {
        let mut bytes = [&[0x28, 0, 0x10, 0x30][..], b"SQ", &[0, 0, 8, 0, 0, 0]].concat();
        bytes.extend(item(0xe000, 4));
        bytes.extend([0; 40]);
        assert_eq!(refused(&bytes), "(FFFE,E000) at byte 12 declares 4 bytes, only 0 are left");
    }

    #[test]
    fn a_fragment_beyond_the_end_is_refused() {
        let bytes = [undefined(0x7fe0, 0x10, b"OB"), item(0xe000, 0), item(0xe000, 9), vec![0; 8]].concat();
        assert_eq!(refused(&bytes), "(FFFE,E000) at byte 20 declares 9 bytes, only 8 are left");
    }

    #[test]
    fn fragments_and_the_offset_table_are_found() {
        let mut bytes = [undefined(0x7fe0, 0x10, b"OB"), item(0xe000, 8)].concat();
        bytes.extend([0, 0, 0, 0, 12, 0, 0, 0]);
        bytes.extend([item(0xe000, 4), vec![1; 4], item(0xe000, 2), vec![2; 2], item(0xe0dd, 0)].concat());
        let layout = walk_data_set(&bytes, Encoding::ExplicitLittle).unwrap();
        let expected = PixelData::Encapsulated { offsets: vec![0, 12], fragments: vec![36..40, 48..50] };
        assert_eq!(layout.pixels, Some(expected));
    }

    #[test]
    fn sequences_nested_too_deeply_are_refused() {
        let one = [undefined(0x28, 0x3010, b"SQ"), item(0xe000, UNDEFINED)].concat();
        assert!(refused(&one.repeat(1000)).ends_with("are nested more than 16 deep"));
    }

    #[test]
    fn an_implicit_data_set_under_an_explicit_syntax_is_recognised() {
        let bytes = [&[0x28, 0, 0x10, 0][..], &2_u32.to_le_bytes(), &[2, 0]].concat();
        let layout = walk_data_set(&bytes, Encoding::ExplicitLittle).unwrap();
        assert_eq!((layout.encoding, layout.header), (Encoding::ImplicitLittle, bytes));
    }

    #[test]
    fn the_transfer_syntax_is_read_from_the_file_meta_information() {
        let bytes = [explicit(2, 0x10, b"UI", b"1.2.840.10008.1.2\0"), vec![8, 0]].concat();
        let meta = walk_file_meta(&bytes, 0).unwrap();
        assert_eq!((meta.transfer_syntax.as_deref(), meta.data_set), (Some("1.2.840.10008.1.2"), 26));
    }
}
