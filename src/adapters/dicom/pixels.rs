//! The first frame of an object's Pixel Data, and its greys as they are meant to be seen.

use std::borrow::Cow;
use std::ops::Range;

use dicom_core::Tag;

use super::Compression;
use super::attributes::{self, Attributes};
use super::j2k::{self, J2kHeader};
use super::prescan::PixelData;
use super::rle;
use crate::adapters::file::Limits;
use crate::adapters::guard::guarded;
use crate::adapters::jpeg::{self, Colours, JpegHeader};
use crate::domain::{Reason, Rejection};
use crate::pipeline::grayscale::{
    Colourfulness, GreyTransform, LookupTable, ModalityTransform, Padding, Polarity, StoredBits, VoiTransform,
    WindowFunction, luminance, stretched,
};

/// Photometric Interpretation (0028,0004), as far as it can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Photometric {
    Monochrome1,
    Monochrome2,
    Palette,
    Rgb,
    /// YBR_FULL, and in the compressed forms YBR_FULL_422, YBR_ICT and YBR_RCT.
    Ybr,
    /// YBR_FULL_422 without compression: chroma for every second column.
    Ybr422,
}

impl Photometric {
    fn samples(self) -> u16 {
        match self {
            Self::Monochrome1 | Self::Monochrome2 | Self::Palette => 1,
            Self::Rgb | Self::Ybr | Self::Ybr422 => 3,
        }
    }
}

/// How the pixels are laid out (PS3.3 C.7.6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) rows: u32,
    pub(super) columns: u32,
    pub(super) frames: u32,
    photometric: Photometric,
    planar: bool,
    bits_allocated: u8,
    stored: StoredBits,
    high_bit: u8,
}

fn refuse<T>(reason: Reason, detail: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::new(reason, format!("DICOM: {}", detail.into())))
}

impl Geometry {
    /// Reads and checks the Image Pixel module.
    pub(super) fn read(attributes: &Attributes, limits: &Limits) -> Result<Self, Rejection> {
        let side = |tag, name: &str| match attributes.integer(tag) {
            Some(side @ 0..=65535) => Ok(side as u32),
            Some(side) => refuse(Reason::BadDimensions, format!("{name} {side}, expected 1 to 65535")),
            None => refuse(Reason::BadDimensions, format!("no {name}, expected 1 to 65535")),
        };
        let (rows, columns) = (side(Tag(0x0028, 0x0010), "Rows")?, side(Tag(0x0028, 0x0011), "Columns")?);
        let Some(name) = attributes.text(Tag(0x0028, 0x0004)) else {
            return refuse(Reason::Corrupt, "no Photometric Interpretation (0028,0004)");
        };
        let photometric = match name.as_str() {
            "MONOCHROME1" => Photometric::Monochrome1,
            "MONOCHROME2" => Photometric::Monochrome2,
            "PALETTE COLOR" => Photometric::Palette,
            "RGB" => Photometric::Rgb,
            "YBR_FULL" | "YBR_ICT" | "YBR_RCT" => Photometric::Ybr,
            "YBR_FULL_422" => Photometric::Ybr422,
            other => {
                let known = "MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB, YBR_FULL, YBR_FULL_422, YBR_ICT, YBR_RCT";
                let detail = format!("Photometric Interpretation {other}, expected one of {known}");
                return refuse(Reason::UnsupportedEncoding, detail);
            }
        };
        let samples = attributes.integer(Tag(0x0028, 0x0002)).unwrap_or(1);
        if samples != i64::from(photometric.samples()) {
            let expected = photometric.samples();
            return refuse(Reason::Corrupt, format!("{samples} samples per pixel for {name}, expected {expected}"));
        }
        limits.check_picture(columns, rows, u64::from(photometric.samples()) * 2)?;

        let allocated = attributes.integer(Tag(0x0028, 0x0100));
        let bits_allocated = match allocated {
            Some(bits @ (8 | 16 | 32)) => bits as u8,
            Some(bits) => {
                return refuse(Reason::UnsupportedEncoding, format!("{bits} bits allocated, expected 8, 16 or 32"));
            }
            None => return refuse(Reason::Corrupt, "no Bits Allocated (0028,0100)"),
        };
        let bits_stored = attributes.integer(Tag(0x0028, 0x0101)).unwrap_or(i64::from(bits_allocated));
        let high_bit = attributes.integer(Tag(0x0028, 0x0102)).unwrap_or(bits_stored - 1);
        if !(1..=i64::from(bits_allocated)).contains(&bits_stored)
            || !(bits_stored - 1..i64::from(bits_allocated)).contains(&high_bit)
        {
            let detail = format!("{bits_stored} bits stored below bit {high_bit} of {bits_allocated}");
            return refuse(Reason::Corrupt, detail);
        }
        if bits_stored > 16 {
            return refuse(Reason::UnsupportedEncoding, format!("{bits_stored} bits stored, expected at most 16"));
        }
        let signed = attributes.integer(Tag(0x0028, 0x0103)).unwrap_or(0) == 1;
        let frames = attributes.integer(Tag(0x0028, 0x0008)).unwrap_or(1).clamp(1, i64::from(u32::MAX));
        Ok(Self {
            rows,
            columns,
            frames: frames as u32,
            photometric,
            planar: attributes.integer(Tag(0x0028, 0x0006)) == Some(1),
            bits_allocated,
            stored: StoredBits { count: bits_stored as u8, signed },
            high_bit: high_bit as u8,
        })
    }

    /// Rows × columns.
    fn pixels(&self) -> usize {
        self.rows as usize * self.columns as usize
    }

    fn samples(&self) -> usize {
        usize::from(self.photometric.samples())
    }

    /// Unused bits below the stored ones.
    fn shift(&self) -> u32 {
        u32::from(self.high_bit + 1 - self.stored.count)
    }

    fn check_size(&self, what: &str, width: u32, height: u32, samples: usize) -> Result<(), Rejection> {
        if (width, height, samples) == (self.columns, self.rows, self.samples()) {
            return Ok(());
        }
        let (columns, rows, expected) = (self.columns, self.rows, self.samples());
        let detail =
            format!("{what} of {width} × {height} × {samples}, the object says {columns} × {rows} × {expected}");
        refuse(Reason::BadDimensions, detail)
    }
}

/// A frame as stored: samples of a pixel together, each in the low bits of its word.
pub(super) struct StoredFrame {
    samples: Vec<u16>,
    /// Bits above the highest one that the codec wrote repeat nothing: values are extended from here.
    stored: StoredBits,
    /// Three samples that are luminance and two differences.
    ybr: bool,
}

/// Decodes the first frame.
pub(super) fn first_frame(
    data_set: &[u8],
    pixel_data: &PixelData,
    geometry: &Geometry,
    compression: Compression,
    big_endian: bool,
    limits: &Limits,
) -> Result<StoredFrame, Rejection> {
    let (offsets, fragments) = match (pixel_data, compression) {
        (PixelData::Native { value, words }, Compression::None) => {
            let value = &data_set[value.clone()];
            return native(value, geometry, big_endian, *words);
        }
        (PixelData::Native { .. }, _) => {
            return refuse(Reason::Corrupt, "Pixel Data without fragments under a compressed transfer syntax");
        }
        (PixelData::Encapsulated { .. }, Compression::None) => {
            return refuse(Reason::Corrupt, "Pixel Data in fragments under an uncompressed transfer syntax");
        }
        (PixelData::Encapsulated { offsets, fragments }, _) => (offsets, fragments),
    };
    let frame = first_frame_bytes(data_set, offsets, fragments, geometry.frames, compression);
    if frame.is_empty() {
        return refuse(Reason::NoPixelData, "the Pixel Data has no fragment");
    }
    let unpacked = |samples, stored, ybr| StoredFrame { samples, stored, ybr };
    let ybr = matches!(geometry.photometric, Photometric::Ybr | Photometric::Ybr422);
    match compression {
        Compression::None => refuse(Reason::Corrupt, "Pixel Data in fragments without compression"),
        Compression::Rle => {
            if geometry.bits_allocated > 16 {
                return refuse(Reason::UnsupportedEncoding, "32 bits allocated with RLE, expected 8 or 16");
            }
            let bytes_each = usize::from(geometry.bits_allocated / 8);
            let mut samples = rle::decode(&frame, geometry.pixels(), geometry.samples(), bytes_each)?;
            let shift = geometry.shift();
            samples.iter_mut().for_each(|sample| *sample >>= shift);
            Ok(unpacked(samples, geometry.stored, ybr))
        }
        Compression::Jpeg => {
            let header = JpegHeader::read(&frame)?;
            geometry.check_size("a JPEG", header.width, header.height, header.components.len())?;
            header.check(&frame, limits)?;
            let colours = header.colours(if ybr { Colours::YCbCr } else { Colours::Rgb });
            let decoded = jpeg::decode(&frame, &header, colours)?;
            geometry.check_size("a decoded JPEG", header.width, header.height, decoded.depth)?;
            // The lossless process stores what it was given; the others undo the transform.
            Ok(unpacked(decoded.samples.into_words(), geometry.stored, ybr && header.process == 3))
        }
        Compression::JpegLs => {
            let header = JpegHeader::read(&frame)?;
            if header.process != 55 {
                return refuse(Reason::Corrupt, format!("process SOF{}, expected JPEG-LS (SOF55)", header.process));
            }
            geometry.check_size("a JPEG-LS", header.width, header.height, header.components.len())?;
            if header.components.len() != 1 {
                return refuse(Reason::UnsupportedEncoding, "colour in JPEG-LS; grey JPEG-LS can be read");
            }
            header.check(&frame, limits)?;
            let samples = guarded("JPEG-LS", || {
                jpegls::decode(&frame, header.width, header.height).map_err(|error| {
                    let unsupported = matches!(error, jpegls::CodecError::Unsupported(_));
                    let reason = if unsupported { Reason::UnsupportedEncoding } else { Reason::Corrupt };
                    Rejection::new(reason, format!("JPEG-LS: {error}"))
                })
            })?;
            geometry.check_size("a decoded JPEG-LS", samples.1, samples.2, 1)?;
            Ok(unpacked(samples.0, geometry.stored, false))
        }
        Compression::Jpeg2000 => {
            let header = guarded("JPEG 2000", || J2kHeader::read(&frame))?;
            geometry.check_size("a JPEG 2000", header.width, header.height, usize::from(header.components))?;
            let samples = guarded("JPEG 2000", || j2k::decode(&frame, &header))?;
            let mut stored = geometry.stored;
            if !header.signed {
                // Two's complement that was packed as unsigned ends at the stream's highest bit.
                stored.count = stored.count.min(header.precision);
            }
            Ok(unpacked(samples, stored, ybr && !header.colour_transform))
        }
    }
}

/// The fragments that make up the first frame (PS3.5 A.4).
fn first_frame_bytes<'a>(
    data_set: &'a [u8],
    offsets: &[u32],
    fragments: &[Range<usize>],
    frames: u32,
    compression: Compression,
) -> Cow<'a, [u8]> {
    let Some(first) = fragments.first() else { return Cow::Borrowed(&[]) };
    let of_first_frame = if frames <= 1 {
        fragments.len()
    } else if let Some(&second) = offsets.get(1) {
        // Offsets count from the first fragment's item, whose header is 8 bytes.
        let second = first.start.saturating_add(second as usize);
        fragments.iter().take_while(|fragment| fragment.start < second).count()
    } else if fragments.len() as u64 == u64::from(frames) || compression == Compression::Rle {
        1
    } else {
        // No table: the next fragment that starts a stream starts the next frame.
        let starts = |fragment: &Range<usize>| {
            matches!(data_set.get(fragment.start..fragment.start + 2), Some([0xff, 0xd8] | [0xff, 0x4f]))
        };
        1 + fragments[1..].iter().take_while(|fragment| !starts(fragment)).count()
    };
    match &fragments[..of_first_frame.max(1)] {
        [only] => Cow::Borrowed(&data_set[only.clone()]),
        several => Cow::Owned(several.iter().flat_map(|fragment| &data_set[fragment.clone()]).copied().collect()),
    }
}

/// Uncompressed pixels (PS3.5 8.1).
fn native(value: &[u8], geometry: &Geometry, big_endian: bool, words: bool) -> Result<StoredFrame, Rejection> {
    let (pixels, samples, width) = (geometry.pixels(), geometry.samples(), usize::from(geometry.bits_allocated / 8));
    let halved = geometry.photometric == Photometric::Ybr422;
    if halved && (!geometry.columns.is_multiple_of(2) || width != 1) {
        let detail = "uncompressed YBR_FULL_422 with an odd number of columns or more than 8 bits";
        return refuse(Reason::UnsupportedEncoding, detail);
    }
    let count = if halved { pixels * 2 } else { pixels * samples };
    let expected = count as u64 * width as u64;
    if (value.len() as u64) < expected {
        let found = value.len();
        return refuse(Reason::BadDimensions, format!("{found} bytes of Pixel Data, expected {expected}"));
    }
    let shift = geometry.shift();
    // In big endian an 8-bit picture written as OW has its bytes swapped in pairs.
    let swapped = usize::from(big_endian && words && width == 1 && value.len().is_multiple_of(2));
    let at = |index: usize| -> u16 {
        let bytes = |n: usize| &value[index * n..index * n + n];
        let raw = match (width, big_endian) {
            (1, _) => u32::from(value[index ^ swapped]),
            (2, false) => u32::from(u16::from_le_bytes([bytes(2)[0], bytes(2)[1]])),
            (2, true) => u32::from(u16::from_be_bytes([bytes(2)[0], bytes(2)[1]])),
            (_, false) => bytes(4).iter().rev().fold(0, |high, &low| high << 8 | u32::from(low)),
            (_, true) => bytes(4).iter().fold(0, |high, &low| high << 8 | u32::from(low)),
        };
        (raw >> shift) as u16
    };
    let samples = if halved {
        // Two luminances, then the chroma of both (PS3.3 C.7.6.3.1.2).
        (0..pixels).flat_map(|p| [p / 2 * 4 + p % 2, p / 2 * 4 + 2, p / 2 * 4 + 3].map(at)).collect()
    } else if geometry.planar && samples > 1 {
        (0..count).map(|i| at(i % samples * pixels + i / samples)).collect()
    } else if width == 2 {
        // Nearly every film: all pixels alike, so that several are moved at once.
        let words = value.as_chunks::<2>().0[..count].iter();
        if big_endian {
            words.map(|word| u16::from_be_bytes(*word) >> shift).collect()
        } else {
            words.map(|word| u16::from_le_bytes(*word) >> shift).collect()
        }
    } else {
        (0..count).map(at).collect()
    };
    let ybr = matches!(geometry.photometric, Photometric::Ybr | Photometric::Ybr422);
    Ok(StoredFrame { samples, stored: geometry.stored, ybr })
}

/// Greys, and how far the picture's colours were from them.
pub(super) struct Seen {
    pub(super) greys: Vec<u16>,
    pub(super) colourfulness: f32,
}

/// Applies what stands between stored values and what is seen.
pub(super) fn as_seen(
    frame: StoredFrame,
    geometry: &Geometry,
    attributes: &Attributes,
    remarks: &mut Vec<String>,
) -> Result<Seen, Rejection> {
    let StoredFrame { mut samples, stored, ybr } = frame;
    match geometry.photometric {
        Photometric::Monochrome1 | Photometric::Monochrome2 => {
            grey_transform(stored, geometry.photometric, attributes, remarks)?.apply(&mut samples);
            Ok(Seen { greys: samples, colourfulness: 0.0 })
        }
        Photometric::Palette => from_palette(samples, stored, attributes),
        Photometric::Rgb | Photometric::Ybr | Photometric::Ybr422 => {
            let mut colours = Colourfulness::default();
            let greys = samples.as_chunks::<3>().0.iter().map(|pixel| {
                let pixel = pixel.map(|sample| stretched(sample, stored.count));
                let [red, green, blue] = if ybr { rgb_of(pixel) } else { pixel };
                colours.add(red, green, blue);
                luminance(red, green, blue)
            });
            let greys = greys.collect();
            Ok(Seen { greys, colourfulness: colours.mean() })
        }
    }
}

/// YBR_FULL to RGB (PS3.3 C.7.6.3.1.2), all 0 to 65535.
fn rgb_of([y, cb, cr]: [u16; 3]) -> [u16; 3] {
    // 128 of 255.
    let [cb, cr] = [cb, cr].map(|chroma| f32::from(chroma) - 32_896.0);
    let y = f32::from(y);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|v| v.round().clamp(0.0, 65_535.0) as u16)
}

fn from_palette(mut samples: Vec<u16>, stored: StoredBits, attributes: &Attributes) -> Result<Seen, Rejection> {
    let channel = |descriptor: u16, data: u16, name: &str| -> Result<LookupTable, Rejection> {
        let Some(words) = attributes.words(Tag(0x0028, data)) else {
            let detail = format!("no {name} palette; segmented palettes are not supported");
            return refuse(Reason::UnsupportedEncoding, detail);
        };
        let descriptor = attributes.integers(Tag(0x0028, descriptor));
        attributes::lookup_table(&descriptor, Some(words), stored.signed, &format!("the {name} palette"))
    };
    let palette =
        [channel(0x1101, 0x1201, "red")?, channel(0x1102, 0x1202, "green")?, channel(0x1103, 0x1203, "blue")?];
    let mask = ((1_u32 << stored.count) - 1) as u16;
    let table: Vec<[u16; 3]> = (0..=mask)
        .map(|pattern| {
            let value = stored.value(pattern);
            palette.each_ref().map(|channel| stretched(channel.look_up(f64::from(value)), channel.bits))
        })
        .collect();
    let mut colours = Colourfulness::default();
    for sample in &mut samples {
        let [red, green, blue] = table[usize::from(*sample & mask)];
        colours.add(red, green, blue);
        *sample = luminance(red, green, blue);
    }
    Ok(Seen { greys: samples, colourfulness: colours.mean() })
}

fn grey_transform(
    stored: StoredBits,
    photometric: Photometric,
    attributes: &Attributes,
    remarks: &mut Vec<String>,
) -> Result<GreyTransform, Rejection> {
    let modality = modality_transform(stored, attributes, remarks)?;
    // PS3.3 C.11.2.1.1: the VOI LUT's first input is signed where the modality transformation can give less than 0.
    let lowest = if stored.signed { -(1_i32 << (stored.count - 1)) } else { 0 };
    let highest = lowest + (1_i32 << stored.count) - 1;
    let signed = match &modality {
        ModalityTransform::Identity => stored.signed,
        ModalityTransform::Rescale { slope, intercept } => {
            f64::from(lowest) * slope + intercept < 0.0 || f64::from(highest) * slope + intercept < 0.0
        }
        ModalityTransform::Table(_) => false,
    };
    let polarity = match photometric {
        Photometric::Monochrome1 => Polarity::HighIsBlack,
        Photometric::Monochrome2 | Photometric::Palette | Photometric::Rgb | Photometric::Ybr | Photometric::Ybr422 => {
            Polarity::HighIsWhite
        }
    };
    Ok(GreyTransform {
        stored,
        modality,
        voi: voi_transform(signed, attributes, remarks)?,
        polarity,
        padding: padding(stored, attributes),
    })
}

fn modality_transform(
    stored: StoredBits,
    attributes: &Attributes,
    remarks: &mut Vec<String>,
) -> Result<ModalityTransform, Rejection> {
    if let Some(item) = attributes.first_item(Tag(0x0028, 0x3000)) {
        return item.lookup_table(stored.signed, "the Modality LUT").map(ModalityTransform::Table);
    }
    let first = |tag| attributes.numbers(tag).first().copied();
    Ok(match (first(Tag(0x0028, 0x1053)), first(Tag(0x0028, 0x1052))) {
        (None, None) => ModalityTransform::Identity,
        (Some(0.0), _) => {
            remarks.push("a Rescale Slope of 0 was ignored".to_owned());
            ModalityTransform::Identity
        }
        (slope, intercept) => {
            ModalityTransform::Rescale { slope: slope.unwrap_or(1.0), intercept: intercept.unwrap_or(0.0) }
        }
    })
}

fn voi_transform(signed: bool, attributes: &Attributes, remarks: &mut Vec<String>) -> Result<VoiTransform, Rejection> {
    if let Some(item) = attributes.first_item(Tag(0x0028, 0x3010)) {
        return item.lookup_table(signed, "the VOI LUT").map(VoiTransform::Table);
    }
    let first = |tag| attributes.numbers(tag).first().copied();
    let (Some(centre), Some(width)) = (first(Tag(0x0028, 0x1050)), first(Tag(0x0028, 0x1051))) else {
        return Ok(VoiTransform::FullRange);
    };
    let named = attributes.text(Tag(0x0028, 0x1056));
    let function = match named.as_deref() {
        None | Some("LINEAR") => WindowFunction::Linear,
        Some("LINEAR_EXACT") => WindowFunction::LinearExact,
        Some("SIGMOID") => WindowFunction::Sigmoid,
        Some(other) => {
            remarks.push(format!("VOI LUT Function {other} was taken as LINEAR"));
            WindowFunction::Linear
        }
    };
    if width <= 0.0 {
        remarks.push(format!("a window width of {width} was ignored"));
        return Ok(VoiTransform::FullRange);
    }
    let function = if function == WindowFunction::Linear && width < 1.0 {
        remarks.push(format!("a linear window of width {width} was taken as LINEAR_EXACT"));
        WindowFunction::LinearExact
    } else {
        function
    };
    Ok(VoiTransform::Window { centre, width, function })
}

/// PS3.3 C.7.5.1.1.2; both are of the pixels' own kind, whatever they are written as.
fn padding(stored: StoredBits, attributes: &Attributes) -> Option<Padding> {
    let value = |tag| {
        let pattern = attributes.integer(tag)? as u16;
        Some(if stored.signed { stored.value(pattern) } else { i32::from(pattern) })
    };
    let one = value(Tag(0x0028, 0x0120))?;
    let other = value(Tag(0x0028, 0x0121)).unwrap_or(one);
    Some(Padding { low: one.min(other), high: one.max(other) })
}
