//! JPEG 2000 code streams (ITU-T T.800) and high-throughput ones (T.814) inside DICOM.
//!
//! The decoder takes memory for what the headers declare, so they are read here first: size, tiles, precincts and code
//! blocks.

use jpeg2k::{DecodeParameters, Image};

use crate::domain::{Reason, Rejection};

/// Tiles of a picture; encoders make one, or some tens.
const MOST_TILES: u64 = 4096;
/// Smallest exponent of a code block's or precinct's side; encoders use 5 or 6, and 7 or more.
const LEAST_BLOCK_EXPONENT: u8 = 3;
const LEAST_PRECINCT_EXPONENT: u8 = 5;
/// No film is packed so that a byte stands for more pixels.
const MOST_PIXELS_A_BYTE: u64 = 2048;

/// What the header of a code stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct J2kHeader {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) components: u16,
    /// Bits of a sample.
    pub(super) precision: u8,
    /// Samples are two's complement.
    pub(super) signed: bool,
    /// The decoder gives red, green and blue (T.800 Annex G).
    pub(super) colour_transform: bool,
}

fn corrupt(detail: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Corrupt, format!("JPEG 2000: {}", detail.into()))
}

fn unsupported(detail: impl Into<String>) -> Rejection {
    Rejection::new(Reason::UnsupportedEncoding, format!("JPEG 2000: {}", detail.into()))
}

/// The code stream itself; DICOM forbids the boxes around it (PS3.5 8.2.4), some writers leave them.
fn code_stream(bytes: &[u8]) -> Result<&[u8], Rejection> {
    if bytes.starts_with(&[0xff, 0x4f]) {
        return Ok(bytes);
    }
    let mut rest = bytes;
    while let Some((&[l0, l1, l2, l3, kind @ ..], _)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let (length, header) = if length == 0 { (rest.len(), 8) } else { (length, 8) };
        if &kind == b"jp2c" && length > header {
            return rest.get(header..length.min(rest.len())).ok_or_else(|| corrupt("an empty code stream"));
        }
        rest = match rest.get(length..) {
            Some(after) if length >= 8 => after,
            _ => break,
        };
    }
    Err(corrupt("no code stream, expected FF4F"))
}

impl J2kHeader {
    /// Reads the main header and the tile-part headers (T.800 Annex A).
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Rejection> {
        let stream = code_stream(bytes)?;
        let short = || corrupt(format!("the code stream of {} bytes ends inside a header", stream.len()));
        let word =
            |at: usize| stream.get(at..).and_then(|rest| rest.first_chunk::<2>()).copied().map(u16::from_be_bytes);
        let mut header: Option<Self> = None;
        let mut at = 2;
        let mut tile_part = 2..stream.len();
        loop {
            let marker = match word(at) {
                Some(marker) => marker,
                // The decoder says whether the last packets are missing.
                None if header.is_some() && at > 2 && at + 2 > stream.len() => break,
                None => return Err(short()),
            };
            match marker {
                // Start of data: on to the next tile-part.
                0xff93 => {
                    if tile_part.end <= at {
                        let detail = format!("a tile-part that ends at byte {} has its data at {at}", tile_part.end);
                        return Err(corrupt(detail));
                    }
                    at = tile_part.end;
                    continue;
                }
                0xffd9 => break,
                0xff30..=0xff3f => {
                    at += 2;
                    continue;
                }
                0xff01..=0xffff => {}
                // Padding after the last tile-part.
                _ if tile_part.start > 2 => break,
                _ => return Err(corrupt(format!("found {marker:04X} at byte {at}, expected a marker"))),
            }
            let length = usize::from(word(at + 2).ok_or_else(short)?);
            let segment = stream.get(at + 4..(at + 2 + length).max(at + 4)).ok_or_else(short)?;
            match marker {
                0xff51 => header = Some(Self::from_size(segment).ok_or_else(short)??),
                0xff52 => {
                    let &[style, _, _, _, transform, levels, width, height, _, _, ref precincts @ ..] = segment else {
                        return Err(short());
                    };
                    check_blocks(levels, width, height, if style & 1 == 1 { precincts } else { &[] })?;
                    if let Some(header) = header.as_mut() {
                        header.colour_transform |= transform == 1;
                    }
                }
                0xff53 => {
                    let wide = header.as_ref().is_some_and(|header| header.components > 256);
                    let segment = segment.get(if wide { 2 } else { 1 }..).unwrap_or_default();
                    let &[style, levels, width, height, _, _, ref precincts @ ..] = segment else {
                        return Err(short());
                    };
                    check_blocks(levels, width, height, if style & 1 == 1 { precincts } else { &[] })?;
                }
                0xff90 => {
                    let &[_, _, l0, l1, l2, l3, ..] = segment else { return Err(short()) };
                    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
                    let end = if length == 0 { stream.len() } else { at.saturating_add(length) };
                    if end <= at + 12 || end > stream.len() {
                        let left = stream.len() - at;
                        return Err(corrupt(format!("a tile-part of {length} bytes, {left} are left")));
                    }
                    tile_part = at..end;
                }
                _ => {}
            }
            at += 2 + length.max(2);
        }
        header.ok_or_else(|| corrupt("no image size, expected a SIZ marker"))
    }

    /// T.800 A.5.1; `None` when the segment is too short.
    fn from_size(segment: &[u8]) -> Option<Result<Self, Rejection>> {
        let word = |at: usize| segment.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        let (right, bottom, left, top) = (word(2)?, word(6)?, word(10)?, word(14)?);
        let (tile_width, tile_height, tile_left, tile_top) = (word(18)?, word(22)?, word(26)?, word(30)?);
        let components = u16::from_be_bytes(segment.get(34..36)?.try_into().ok()?);
        let each = segment.get(36..36 + 3 * usize::from(components))?;
        let depth = *each.first()?;
        let (Some(width), Some(height)) = (right.checked_sub(left), bottom.checked_sub(top)) else {
            return Some(Err(corrupt(format!("a picture from {left}, {top} to {right}, {bottom}"))));
        };
        if tile_width == 0 || tile_height == 0 || tile_left > left || tile_top > top {
            return Some(Err(corrupt(format!("tiles of {tile_width} × {tile_height} from {tile_left}, {tile_top}"))));
        }
        let tiles =
            u64::from((right - tile_left).div_ceil(tile_width)) * u64::from((bottom - tile_top).div_ceil(tile_height));
        if tiles > MOST_TILES {
            return Some(Err(unsupported(format!("{tiles} tiles, at most {MOST_TILES} are decoded"))));
        }
        if each.chunks_exact(3).any(|component| component[0] != depth || component[1..] != [1, 1]) {
            return Some(Err(unsupported("components of different depth or size")));
        }
        let (precision, signed) = ((depth & 0x7f) + 1, depth & 0x80 != 0);
        if precision > 16 {
            return Some(Err(unsupported(format!("samples of {precision} bits, at most 16 are decoded"))));
        }
        Some(Ok(Self { width, height, components, precision, signed, colour_transform: false }))
    }
}

/// T.800 A.6.1: `width` and `height` are exponents less 2, a precinct's are two nibbles, lowest resolution first.
fn check_blocks(levels: u8, width: u8, height: u8, precincts: &[u8]) -> Result<(), Rejection> {
    let [width, height] = [width, height].map(|exponent| (exponent & 15) + 2);
    if levels > 32 || width < LEAST_BLOCK_EXPONENT || height < LEAST_BLOCK_EXPONENT || width + height > 12 {
        let detail = format!("{levels} levels, code blocks of 2^{width} × 2^{height}, expected at most 32, 2^3 to 2^9");
        return Err(unsupported(detail));
    }
    for &precinct in precincts.iter().take(usize::from(levels) + 1) {
        let (wide, high) = (precinct & 15, precinct >> 4);
        if wide < LEAST_PRECINCT_EXPONENT || high < LEAST_PRECINCT_EXPONENT {
            return Err(unsupported(format!("precincts of 2^{wide} × 2^{high}, expected at least 2^5 × 2^5")));
        }
    }
    Ok(())
}

/// Samples, those of a pixel together, as the low 16 bits of two's complement.
pub(super) fn decode(bytes: &[u8], header: &J2kHeader) -> Result<Vec<u16>, Rejection> {
    let (pixels, depth) = (header.width as usize * header.height as usize, usize::from(header.components));
    let declared = u64::from(header.width) * u64::from(header.height);
    if declared > bytes.len() as u64 * MOST_PIXELS_A_BYTE {
        return Err(corrupt(format!("{} bytes for {declared} pixels, no film is packed so densely", bytes.len())));
    }
    let parameters = DecodeParameters::new().strict(true).ignore_pclr_cmap_cdef();
    let image = Image::from_bytes_with(bytes, parameters).map_err(|error| corrupt(error.to_string()))?;
    let components = image.components();
    if components.len() != depth || components.iter().any(|c| c.width() != header.width || c.height() != header.height)
    {
        return Err(corrupt(format!("the decoder gave {image:?}, expected {header:?}")));
    }
    let mut samples = vec![0_u16; pixels * depth];
    for (place, component) in components.iter().enumerate() {
        for (sample, &value) in samples[place..].iter_mut().step_by(depth).zip(component.data()) {
            *sample = value as u16;
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A main header up to the start of the first tile-part.
    fn stream(width: u32, tile: u32, block: u8, precinct: u8) -> Vec<u8> {
        let mut bytes = vec![0xff, 0x4f, 0xff, 0x51, 0, 41, 0, 0];
        for word in [width, width, 0, 0, tile, tile, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend([0, 1, 0x8b, 1, 1]);
        bytes.extend([0xff, 0x52, 0, 13, 1, 0, 0, 1, 0, 0, block, block, 0, 0, precinct]);
        bytes.extend([0xff, 0xd9]);
        bytes
    }

    #[test]
    fn size_depth_and_sign_are_read() {
        let header = J2kHeader::read(&stream(512, 512, 4, 0x88)).unwrap();
        let expected =
            J2kHeader { width: 512, height: 512, components: 1, precision: 12, signed: true, colour_transform: false };
        assert_eq!(header, expected);
    }

    #[test]
    fn what_takes_memory_beyond_reason_is_refused_before_decoding() {
        let refused = |bytes: &[u8]| J2kHeader::read(bytes).unwrap_err().to_string();
        let tiles = "unsupported-encoding: JPEG 2000: 16777216 tiles, at most 4096 are decoded";
        assert_eq!(refused(&stream(4096, 1, 4, 0x88)), tiles);
        assert!(refused(&stream(512, 512, 0, 0x88)).contains("code blocks of 2^2 × 2^2"));
        assert!(refused(&stream(512, 512, 4, 0x00)).contains("precincts of 2^0 × 2^0"));
        assert!(refused(&stream(512, 0, 4, 0x88)).contains("tiles of 0 × 0"));
    }

    #[test]
    fn a_tile_part_that_ends_before_its_data_is_refused() {
        let mut bytes = stream(512, 512, 4, 0x88);
        bytes.truncate(bytes.len() - 2);
        let ends_at = bytes.len() + 14;
        bytes.extend([0xff, 0x90, 0, 10, 0, 0, 0, 0, 0, 14, 0, 1]);
        bytes.extend([0xff, 0x64, 0, 8, 0, 0, 0xff, 0x93, 0, 0, 0xff, 0x93]);
        let refused = J2kHeader::read(&bytes).unwrap_err();
        assert_eq!(
            refused.detail,
            format!("JPEG 2000: a tile-part that ends at byte {ends_at} has its data at {}", ends_at + 8)
        );
    }

    #[test]
    fn every_cut_of_a_header_is_corrupt() {
        let bytes = stream(512, 512, 4, 0x88);
        // Cut inside SIZ or COD; behind them the decoder finds that packets are missing.
        for length in 0..bytes.len() - 2 {
            let refused = J2kHeader::read(&bytes[..length]).and_then(|header| decode(&bytes[..length], &header));
            assert_eq!(refused.unwrap_err().reason, Reason::Corrupt, "{length} bytes");
        }
    }
}
