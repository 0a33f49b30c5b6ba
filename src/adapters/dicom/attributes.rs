//! The parsed elements that describe a picture, read leniently: an element that cannot be read counts as absent.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataDictionary, Tag};
use dicom_object::InMemDicomObject;

use crate::domain::{Reason, Rejection};
use crate::pipeline::grayscale::LookupTable;

/// Elements of a data set or of an item of a sequence.
pub(super) struct Attributes(InMemDicomObject);

/// An item of a sequence.
pub(super) struct Item<'a>(&'a InMemDicomObject);

impl Attributes {
    pub(super) fn new(object: InMemDicomObject) -> Self {
        Self(object)
    }

    /// The first value as a whole number.
    pub(super) fn integer(&self, tag: Tag) -> Option<i64> {
        self.integers(tag).first().copied()
    }

    /// All values as whole numbers; empty when absent.
    pub(super) fn integers(&self, tag: Tag) -> Vec<i64> {
        integers(&self.0, tag)
    }

    /// All values as finite numbers; empty when absent.
    pub(super) fn numbers(&self, tag: Tag) -> Vec<f64> {
        let values = self.0.get(tag).and_then(|element| element.to_multi_float64().ok()).unwrap_or_default();
        if values.iter().all(|value| value.is_finite()) { values } else { Vec::new() }
    }

    /// The first value as text; `None` when absent or blank.
    pub(super) fn text(&self, tag: Tag) -> Option<String> {
        text(&self.0, tag)
    }

    /// The first item of a sequence.
    pub(super) fn first_item(&self, tag: Tag) -> Option<Item<'_>> {
        self.0.get(tag)?.items()?.first().map(Item)
    }

    /// The values of an element of 8 or 16-bit words, as they are stored.
    pub(super) fn words(&self, tag: Tag) -> Option<Words<'_>> {
        words(&self.0, tag)
    }
}

impl Item<'_> {
    /// The first value as text.
    pub(super) fn text(&self, tag: Tag) -> Option<String> {
        text(self.0, tag)
    }

    /// LUT Descriptor (0028,3002) and LUT Data (0028,3006), PS3.3 C.11.1.1; `signed` is what the input can be.
    pub(super) fn lookup_table(&self, signed: bool, what: &str) -> Result<LookupTable, Rejection> {
        let descriptor = integers(self.0, Tag(0x0028, 0x3002));
        lookup_table(&descriptor, words(self.0, Tag(0x0028, 0x3006)), signed, what)
    }
}

/// Values as they are stored.
#[derive(Debug)]
pub(super) enum Words<'a> {
    Bytes(&'a [u8]),
    Unsigned(&'a [u16]),
    Signed(&'a [i16]),
}

impl Words<'_> {
    fn to_vec(&self) -> Vec<u16> {
        match self {
            Self::Bytes(bytes) => bytes.iter().copied().map(u16::from).collect(),
            Self::Unsigned(words) => words.to_vec(),
            Self::Signed(words) => words.iter().map(|&word| word as u16).collect(),
        }
    }
}

/// A table from its descriptor (entries, first input, bits) and its data.
pub(super) fn lookup_table(
    descriptor: &[i64],
    data: Option<Words<'_>>,
    signed: bool,
    what: &str,
) -> Result<LookupTable, Rejection> {
    let refused = |found: String| Rejection::new(Reason::Corrupt, format!("DICOM: {what} has {found}"));
    let &[count, first, bits, ..] = descriptor else {
        return Err(refused(format!("a descriptor of {} values, expected 3", descriptor.len())));
    };
    // The three are written as US or SS alike; 0 entries stand for 65536.
    let count = match count & 0xffff {
        0 => 1 << 16,
        count => count as usize,
    };
    let first = if signed { i32::from(first as u16 as i16) } else { i32::from(first as u16) };
    if !(1..=16).contains(&bits) {
        return Err(refused(format!("entries of {bits} bits, expected 8 to 16")));
    }
    let data = data.ok_or_else(|| refused("no data".into()))?;
    let entries = match &data {
        Words::Bytes(bytes) if bytes.len() >= 2 * count => {
            bytes.chunks_exact(2).take(count).map(|b| u16::from_le_bytes([b[0], b[1]])).collect()
        }
        // Two 8-bit entries in a word, low byte first.
        Words::Unsigned(words) if bits <= 8 && words.len() < count && 2 * words.len() >= count => {
            words.iter().flat_map(|word| word.to_le_bytes()).map(u16::from).take(count).collect()
        }
        Words::Bytes(_) | Words::Unsigned(_) | Words::Signed(_) => {
            let mut entries = data.to_vec();
            if entries.len() < count {
                return Err(refused(format!("{} entries, its descriptor says {count}", entries.len())));
            }
            entries.truncate(count);
            entries
        }
    };
    Ok(LookupTable { first, bits: bits as u8, entries })
}

fn integers(object: &InMemDicomObject, tag: Tag) -> Vec<i64> {
    object.get(tag).and_then(|element| element.to_multi_int().ok()).unwrap_or_default()
}

fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let text = object.get(tag)?.to_multi_str().ok()?;
    let first = text.first()?.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    // It is repeated in messages and records.
    let first: String = first.chars().filter(|c| !c.is_control()).take(64).collect();
    (!first.is_empty()).then_some(first)
}

fn words<D: DataDictionary + Clone>(object: &InMemDicomObject<D>, tag: Tag) -> Option<Words<'_>> {
    let value = object.get(tag)?.value().primitive()?;
    if let PrimitiveValue::U8(bytes) = value {
        Some(Words::Bytes(bytes))
    } else if let PrimitiveValue::U16(words) = value {
        Some(Words::Unsigned(words))
    } else if let PrimitiveValue::I16(words) = value {
        Some(Words::Signed(words))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_from_words_bytes_and_packed_bytes() {
        let table = |descriptor: &[i64], data, signed| lookup_table(descriptor, Some(data), signed, "the LUT");
        let words = table(&[2, 65535, 12], Words::Unsigned(&[7, 9]), true).unwrap();
        assert_eq!((words.first, words.bits, words.entries), (-1, 12, vec![7, 9]));
        let packed = table(&[3, 0, 8], Words::Unsigned(&[0x0201, 0x0003]), false).unwrap();
        assert_eq!(packed.entries, [1, 2, 3]);
        let bytes = table(&[3, 0, 8], Words::Bytes(&[1, 2, 3, 0]), false).unwrap();
        assert_eq!(bytes.entries, [1, 2, 3]);
        let wide = table(&[2, 0, 16], Words::Bytes(&[1, 2, 3, 4]), false).unwrap();
        assert_eq!(wide.entries, [0x0201, 0x0403]);
        let full = table(&[0, -5, 16], Words::Signed(&vec![-1; 1 << 16]), false).unwrap();
        assert_eq!((full.first, full.entries.len(), full.entries[0]), (65531, 1 << 16, 65535));
    }

    #[test]
    fn a_table_shorter_than_its_descriptor_is_refused() {
        let refused = |descriptor: &[i64], data| lookup_table(descriptor, data, false, "the LUT").unwrap_err().detail;
        assert_eq!(
            refused(&[3, 0, 8], Some(Words::Unsigned(&[1]))),
            "DICOM: the LUT has 1 entries, its descriptor says 3"
        );
        assert_eq!(refused(&[3, 0], None), "DICOM: the LUT has a descriptor of 2 values, expected 3");
        assert_eq!(refused(&[3, 0, 0], None), "DICOM: the LUT has entries of 0 bits, expected 8 to 16");
        assert_eq!(refused(&[3, 0, 8], None), "DICOM: the LUT has no data");
    }
}
