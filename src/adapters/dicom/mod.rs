//! DICOM objects (PS3.3, PS3.5, PS3.10) to a grey picture and what is said of it.
//!
//! The bytes are walked first ([`prescan`]), then the few elements of interest are parsed, then the first frame is
//! decoded (`pixels`). Whether the object is a chest film is judged elsewhere.

mod attributes;
#[cfg(feature = "device")]
pub mod capture;
#[cfg(feature = "device")]
pub mod derived;
mod j2k;
mod pixels;
pub mod prescan;
#[cfg(feature = "device")]
pub mod report;
mod rle;
mod syntaxes;
#[cfg(feature = "device")]
pub mod synthetic;

use std::borrow::Cow;
use std::io::Read;

use dicom_core::Tag;
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use flate2::read::DeflateDecoder;

use self::attributes::Attributes;
pub(super) use self::prescan::Encoding;
use self::prescan::PrescanError;
#[cfg(feature = "intake")]
pub(super) use self::prescan::is_vr;
pub use self::syntaxes::{TRANSFER_SYNTAXES, TransferSyntax};
use super::file::Limits;
use super::guard::guarded;
use crate::domain::{Acquired, GreyImage, Identity, Modality, Reason, Rejection, ViewPosition};

/// How the pixels of an object are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Rle,
    Jpeg,
    JpegLs,
    Jpeg2000,
}

/// A transfer syntax (PS3.5 chapter 10), as far as it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Syntax {
    pub(super) encoding: Encoding,
    pub(super) deflated: bool,
    compression: Compression,
}

/// Where the object starts behind preamble and prefix; `None` when this is no DICOM.
pub(super) fn starts_at(bytes: &[u8]) -> Option<usize> {
    if bytes.get(128..132) == Some(b"DICM") {
        Some(132)
    } else if bytes.starts_with(b"DICM") {
        Some(4)
    } else {
        prescan::looks_like_data_set(bytes).then_some(0)
    }
}

fn corrupt(error: &PrescanError) -> Rejection {
    let reason = match error {
        PrescanError::HeaderTooLarge { .. } => Reason::FileTooLarge,
        PrescanError::Truncated { .. }
        | PrescanError::EndsInside { .. }
        | PrescanError::Unexpected { .. }
        | PrescanError::TooDeep { .. } => Reason::Corrupt,
    };
    Rejection::new(reason, format!("DICOM: {error}"))
}

/// Decodes the object that starts at byte `start`.
pub(super) fn decode(bytes: &[u8], start: usize, limits: &Limits) -> Result<Acquired, Rejection> {
    let meta = prescan::walk_file_meta(bytes, start).map_err(|error| corrupt(&error))?;
    let mut remarks = Vec::new();
    let syntax = match meta.transfer_syntax.as_deref() {
        Some(uid) => syntax_of(uid)?,
        // Implicit little endian is DICOM's default (PS3.5 10.1); the walk notices explicit elements.
        None => {
            remarks.push("the file does not name its transfer syntax".to_owned());
            Syntax { encoding: Encoding::ImplicitLittle, deflated: false, compression: Compression::None }
        }
    };
    let data_set = &bytes[meta.data_set..];
    let data_set = if syntax.deflated { Cow::Owned(inflated(data_set, limits)?) } else { Cow::Borrowed(data_set) };
    let layout = prescan::walk_data_set(&data_set, syntax.encoding).map_err(|error| corrupt(&error))?;
    if layout.elements == 0 {
        return Err(Rejection::new(Reason::Corrupt, "DICOM: the file ends before its data set"));
    }
    if layout.encoding != syntax.encoding {
        remarks.push("its elements are not written as its transfer syntax says".to_owned());
    }
    let attributes = guarded("DICOM", || parse(&layout.header, layout.encoding))?;
    let Some(stored) = layout.pixels else {
        if layout.float_pixels {
            let detail = "DICOM: floating-point pixels, expected whole numbers of 8 or 16 bits";
            return Err(Rejection::new(Reason::UnsupportedEncoding, detail));
        }
        let kind = attributes.text(Tag(0x0008, 0x0060)).unwrap_or_else(|| "unknown".into());
        let class = attributes.text(Tag(0x0008, 0x0016)).unwrap_or_else(|| "unknown".into());
        let detail = format!("DICOM: modality {kind}, SOP class {class}, expected Pixel Data (7FE0,0010)");
        return Err(Rejection::new(Reason::NoPixelData, detail));
    };
    let geometry = pixels::Geometry::read(&attributes, limits)?;
    let big_endian = layout.encoding == Encoding::ExplicitBig;
    let frame = pixels::first_frame(&data_set, &stored, &geometry, syntax.compression, big_endian, limits)?;
    drop(data_set);
    let seen = pixels::as_seen(frame, &geometry, &attributes, &mut remarks)?;
    let image = GreyImage::new(geometry.columns, geometry.rows, seen.greys)
        .map_err(|error| Rejection::new(Reason::BadDimensions, format!("DICOM: {error}")))?;
    if geometry.frames > 1 {
        remarks.push(format!("the first of {} frames was taken", geometry.frames));
    }
    Ok(Acquired {
        image,
        pixel_aspect: pixel_aspect(&attributes, &mut remarks)?,
        colourfulness: seen.colourfulness,
        modality: attributes.text(Tag(0x0008, 0x0060)).map(modality_of),
        body_part: attributes.text(Tag(0x0018, 0x0015)),
        view: view_of(&attributes),
        identity: identity_of(&attributes),
        frames: geometry.frames,
        remarks,
    })
}

/// `None` where the object has none of them.
fn identity_of(attributes: &Attributes) -> Option<Identity> {
    let text = |group, element| attributes.text(Tag(group, element)).unwrap_or_default();
    let identity = Identity {
        patient_id: text(0x0010, 0x0020),
        accession_number: text(0x0008, 0x0050),
        study_uid: text(0x0020, 0x000d),
        series_uid: text(0x0020, 0x000e),
        sop_uid: text(0x0008, 0x0018),
        ..Identity::default()
    };
    // The class of an object names nobody.
    let sop_class_uid = text(0x0008, 0x0016);
    (identity != Identity::default()).then_some(Identity { sop_class_uid, ..identity })
}

pub(super) fn syntax_of(uid: &str) -> Result<Syntax, Rejection> {
    let packed = |compression| Ok(Syntax { encoding: Encoding::ExplicitLittle, deflated: false, compression });
    let plain = |encoding| Ok(Syntax { encoding, deflated: false, compression: Compression::None });
    let Some(number) = uid.strip_prefix("1.2.840.10008.1.2") else { return Err(unsupported_syntax(uid)) };
    match number {
        "" => plain(Encoding::ImplicitLittle),
        ".1" => plain(Encoding::ExplicitLittle),
        ".2" => plain(Encoding::ExplicitBig),
        ".1.99" => Ok(Syntax { encoding: Encoding::ExplicitLittle, deflated: true, compression: Compression::None }),
        ".5" => packed(Compression::Rle),
        // Those between baseline and lossless are retired; the stream itself says whether it can be decoded.
        ".4.50" | ".4.51" | ".4.52" | ".4.53" | ".4.54" | ".4.55" | ".4.56" | ".4.57" | ".4.58" | ".4.59" | ".4.60"
        | ".4.61" | ".4.62" | ".4.63" | ".4.64" | ".4.65" | ".4.66" | ".4.70" => packed(Compression::Jpeg),
        ".4.80" | ".4.81" => packed(Compression::JpegLs),
        ".4.90" | ".4.91" | ".4.201" | ".4.202" | ".4.203" => packed(Compression::Jpeg2000),
        _ => Err(unsupported_syntax(uid)),
    }
}

fn unsupported_syntax(uid: &str) -> Rejection {
    let name = TransferSyntaxRegistry.get(uid).map_or("unknown", |syntax| syntax.name());
    let detail = format!(
        "DICOM: transfer syntax {name} ({uid}); uncompressed, deflated, RLE, JPEG, JPEG-LS and JPEG 2000 can be read"
    );
    Rejection::new(Reason::UnsupportedEncoding, detail)
}

/// PS3.5 A.5: all behind the File Meta Information is one raw deflate stream.
fn inflated(packed: &[u8], limits: &Limits) -> Result<Vec<u8>, Rejection> {
    let mut bytes = Vec::new();
    let read = DeflateDecoder::new(packed).take(limits.inflated_bytes + 1).read_to_end(&mut bytes);
    if bytes.len() as u64 > limits.inflated_bytes {
        let detail = format!("DICOM: inflates to more than {} bytes, no more are read", limits.inflated_bytes);
        return Err(Rejection::new(Reason::FileTooLarge, detail));
    }
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Rejection::new(Reason::Corrupt, format!("DICOM: deflated data set: {error}"))),
    }
}

fn parse(header: &[u8], encoding: Encoding) -> Result<Attributes, Rejection> {
    read(header, encoding).map(Attributes::new)
}

fn read(bytes: &[u8], encoding: Encoding) -> Result<InMemDicomObject, Rejection> {
    let uid = match encoding {
        Encoding::ImplicitLittle => "1.2.840.10008.1.2",
        Encoding::ExplicitLittle => "1.2.840.10008.1.2.1",
        Encoding::ExplicitBig => "1.2.840.10008.1.2.2",
    };
    let syntax = TransferSyntaxRegistry.get(uid).ok_or_else(|| unsupported_syntax(uid))?;
    InMemDicomObject::read_dataset_with_ts(bytes, syntax).map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        Rejection::new(Reason::Corrupt, format!("DICOM: {error}{cause}"))
    })
}

/// Reads a data set of a message, all of it: its lengths are compared with the bytes that are there before.
#[cfg(feature = "intake")]
pub(super) fn read_data_set(bytes: &[u8], encoding: Encoding) -> Result<InMemDicomObject, Rejection> {
    prescan::walk_data_set(bytes, encoding).map_err(|error| corrupt(&error))?;
    guarded("DICOM", || read(bytes, encoding))
}

fn modality_of(code: String) -> Modality {
    match code.as_str() {
        "CR" | "DX" | "RG" | "PX" => Modality::Radiography(code),
        "SC" | "OT" => Modality::SecondaryCapture(code),
        _ => Modality::Other(code),
    }
}

/// View Position, else the meaning of the first code of the View Code Sequence (PS3.16 CID 4010).
fn view_of(attributes: &Attributes) -> Option<ViewPosition> {
    if let Some(code) = attributes.text(Tag(0x0018, 0x5101)) {
        return Some(match code.to_ascii_uppercase().as_str() {
            "PA" => ViewPosition::Pa,
            "AP" => ViewPosition::Ap,
            "LL" | "RL" | "LAT" | "LATERAL" | "L" | "R" | "LLAT" | "RLAT" => ViewPosition::Lateral(code),
            _ => ViewPosition::Other(code),
        });
    }
    let meaning = attributes.first_item(Tag(0x0054, 0x0220))?.text(Tag(0x0008, 0x0104))?;
    let plain: String = meaning.to_ascii_lowercase().chars().filter(char::is_ascii_alphabetic).collect();
    Some(match plain.as_str() {
        "posteroanterior" => ViewPosition::Pa,
        "anteroposterior" => ViewPosition::Ap,
        "lateral" | "leftlateral" | "rightlateral" => ViewPosition::Lateral(meaning),
        _ => ViewPosition::Other(meaning),
    })
}

/// Height of a pixel ÷ its width, from Pixel Aspect Ratio, else Imager Pixel Spacing, else Pixel Spacing.
fn pixel_aspect(attributes: &Attributes, remarks: &mut Vec<String>) -> Result<f32, Rejection> {
    for tag in [Tag(0x0028, 0x0034), Tag(0x0018, 0x1164), Tag(0x0028, 0x0030)] {
        let [vertical, horizontal] = match attributes.numbers(tag).as_slice() {
            [] => continue,
            &[vertical, horizontal, ..] => [vertical, horizontal],
            [_] => [0.0, 0.0],
        };
        let aspect = vertical / horizontal;
        if !(aspect.is_finite() && vertical > 0.0 && horizontal > 0.0) {
            remarks.push(format!("pixel shape {vertical}\\{horizontal} of {tag} is no ratio and was ignored"));
        } else if (0.1..=10.0).contains(&aspect) {
            return Ok(aspect as f32);
        } else {
            let detail = format!("DICOM: pixels {aspect} times as high as wide {tag}, expected 0.1 to 10");
            return Err(Rejection::new(Reason::BadDimensions, detail));
        }
    }
    Ok(1.0)
}

#[cfg(test)]
mod tests {
    use dicom_core::value::{DataSetSequence, PrimitiveValue};
    use dicom_core::{DataElement, VR};

    use super::*;

    #[test]
    fn a_syntax_that_cannot_be_read_is_named() {
        let refused = syntax_of("1.2.840.10008.1.2.4.100").unwrap_err();
        assert_eq!(refused.reason, Reason::UnsupportedEncoding);
        assert!(refused.detail.contains("MPEG2 Main Profile / Main Level (1.2.840.10008.1.2.4.100)"), "{refused}");
        let refused = syntax_of("1.2.3").unwrap_err();
        assert!(refused.detail.contains("unknown (1.2.3)"), "{refused}");
    }

    fn attributes(elements: &[(u16, u16, VR, &str)]) -> Attributes {
        let elements = elements.iter().map(|&(group, element, vr, text)| {
            DataElement::new(
                Tag(group, element),
                vr,
                PrimitiveValue::Strs(text.split('\\').map(String::from).collect()),
            )
        });
        Attributes::new(InMemDicomObject::from_element_iter(elements))
    }

    #[test]
    fn who_is_on_a_film_is_what_the_object_names() {
        let named = attributes(&[(0x0010, 0x0020, VR::LO, "4711 "), (0x0008, 0x0018, VR::UI, "1.2.3\0")]);
        let expected = Identity { patient_id: "4711".into(), sop_uid: "1.2.3".into(), ..Identity::default() };
        assert_eq!(identity_of(&named), Some(expected.clone()));
        let class = (0x0008, 0x0016, VR::UI, "1.2.840.10008.5.1.4.1.1.1\0");
        let named = attributes(&[(0x0010, 0x0020, VR::LO, "4711 "), (0x0008, 0x0018, VR::UI, "1.2.3\0"), class]);
        let expected = Identity { sop_class_uid: "1.2.840.10008.5.1.4.1.1.1".into(), ..expected };
        assert_eq!(identity_of(&named), Some(expected));
        assert_eq!(identity_of(&attributes(&[(0x0010, 0x0020, VR::LO, ""), class])), None);
    }

    #[test]
    fn the_view_is_that_of_the_view_position_or_of_its_code() {
        let position = |code| view_of(&attributes(&[(0x0018, 0x5101, VR::CS, code)]));
        assert_eq!(position("PA"), Some(ViewPosition::Pa));
        assert_eq!(position("AP "), Some(ViewPosition::Ap));
        assert_eq!(position("LL"), Some(ViewPosition::Lateral("LL".into())));
        assert_eq!(position("LLO"), Some(ViewPosition::Other("LLO".into())));
        assert_eq!(position(""), None);
        let coded = |meaning: &str| {
            let meaning = DataElement::new(Tag(0x0008, 0x0104), VR::LO, PrimitiveValue::from(meaning));
            let item = InMemDicomObject::from_element_iter([meaning]);
            let sequence = DataElement::new(Tag(0x0054, 0x0220), VR::SQ, DataSetSequence::from(vec![item]));
            view_of(&Attributes::new(InMemDicomObject::from_element_iter([sequence])))
        };
        assert_eq!(coded("postero-anterior"), Some(ViewPosition::Pa));
        assert_eq!(coded("antero-posterior"), Some(ViewPosition::Ap));
        assert_eq!(coded("left lateral"), Some(ViewPosition::Lateral("left lateral".into())));
        assert_eq!(coded("oblique"), Some(ViewPosition::Other("oblique".into())));
    }

    #[test]
    fn the_shape_of_a_pixel_is_taken_from_the_first_element_that_gives_one() {
        let aspect = |elements: &[(u16, u16, VR, &str)]| {
            let mut remarks = Vec::new();
            (pixel_aspect(&attributes(elements), &mut remarks), remarks.len())
        };
        assert_eq!(aspect(&[]), (Ok(1.0), 0));
        assert_eq!(aspect(&[(0x28, 0x30, VR::DS, "0.3\\0.2"), (0x28, 0x34, VR::IS, "1\\2")]), (Ok(0.5), 0));
        assert_eq!(aspect(&[(0x28, 0x30, VR::DS, "0.3\\0.2"), (0x18, 0x1164, VR::DS, "0\\0")]), (Ok(1.5), 1));
        assert_eq!(aspect(&[(0x28, 0x30, VR::DS, "0.3")]), (Ok(1.0), 1));
        let refused = aspect(&[(0x28, 0x30, VR::DS, "20\\1")]).0.unwrap_err();
        assert_eq!(refused.reason, Reason::BadDimensions);
    }

    #[test]
    fn only_plain_radiography_counts_as_such() {
        for code in ["CR", "DX", "RG", "PX"] {
            assert_eq!(modality_of(code.into()), Modality::Radiography(code.into()));
        }
        assert_eq!(modality_of("OT".into()), Modality::SecondaryCapture("OT".into()));
        assert_eq!(modality_of("CT".into()), Modality::Other("CT".into()));
    }

    #[test]
    fn an_object_is_found_with_and_without_preamble() {
        let mut file = vec![0; 128];
        file.extend(b"DICM\x02\0\0\0UL\x04\0");
        assert_eq!(starts_at(&file), Some(132));
        assert_eq!(starts_at(&file[128..]), Some(4));
        assert_eq!(starts_at(&file[132..]), Some(0));
        assert_eq!(starts_at(b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100"), Some(0));
        assert_eq!(starts_at(b"\x08\0\x05\0 some words and more"), None);
    }

    #[test]
    fn more_than_the_limit_is_never_inflated() {
        use std::io::Write;
        let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![0; 100_000]).unwrap();
        let packed = packer.finish().unwrap();
        let limits = Limits { inflated_bytes: 99_999, ..Limits::default() };
        assert_eq!(inflated(&packed, &limits).unwrap_err().reason, Reason::FileTooLarge);
        let limits = Limits { inflated_bytes: 100_000, ..limits };
        assert_eq!(inflated(&packed, &limits).unwrap().len(), 100_000);
        assert_eq!(inflated(&packed[..packed.len() / 2], &limits).unwrap_err().reason, Reason::Corrupt);
    }
}
