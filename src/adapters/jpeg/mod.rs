//! JPEG streams (ITU-T T.81), alone or inside DICOM: 8-bit ones by the library, the rest by [`precise`].
//!
//! The header is read here first, so that no decoder is asked for more memory than the stream can fill.

pub(super) mod precise;

use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

use super::file::Limits;
use super::guard::guarded;
use crate::domain::{Reason, Rejection};

/// A frame header (T.81 B.2.2) and what says how its colours are coded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JpegHeader {
    /// Number of the SOF marker, 0 to 15.
    pub(super) process: u8,
    /// Bits of a sample.
    pub(super) precision: u8,
    /// Rows.
    pub(super) height: u32,
    /// Columns.
    pub(super) width: u32,
    /// Identifiers of the components.
    pub(super) components: Vec<u8>,
    /// Transform flag of an Adobe APP14 segment.
    adobe: Option<u8>,
    jfif: bool,
}

/// What the components of a colour stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    /// Red, green, blue.
    Rgb,
    /// Luminance and two differences.
    YCbCr,
}

/// Samples as the decoder gives them, row by row, components together.
pub(super) enum Samples {
    /// Of 8 bits.
    Bytes(Vec<u8>),
    /// Of more.
    Words(Vec<u16>),
}

impl Samples {
    /// All as 16-bit words of the same value.
    pub(super) fn into_words(self) -> Vec<u16> {
        match self {
            Self::Bytes(bytes) => bytes.into_iter().map(u16::from).collect(),
            Self::Words(words) => words,
        }
    }
}

/// A decoded picture.
pub(super) struct Decoded {
    /// What was decoded.
    pub(super) samples: Samples,
    /// 1 (grey) or 3 (as stored, or red, green and blue where the stream's transform was undone).
    pub(super) depth: usize,
    /// EXIF, if any.
    pub(super) exif: Option<Vec<u8>>,
}

impl JpegHeader {
    /// Reads up to the frame header.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Rejection> {
        let corrupt = |detail: String| Rejection::new(Reason::Corrupt, detail);
        if bytes.get(..2) != Some(&[0xff, 0xd8]) {
            return Err(corrupt("the JPEG stream does not start with FFD8".into()));
        }
        let mut header =
            Self { process: 0, precision: 0, height: 0, width: 0, components: Vec::new(), adobe: None, jfif: false };
        let mut at = 2;
        loop {
            let short = || corrupt(format!("the JPEG stream of {} bytes ends before its frame header", bytes.len()));
            let &[mark, code] = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()).ok_or_else(short)?;
            if mark != 0xff {
                return Err(corrupt(format!("found {mark:02X} at byte {at} of the JPEG stream, expected a marker")));
            }
            if code == 0xff {
                at += 1;
                continue;
            }
            if matches!(code, 0x01 | 0xd0..=0xd9) {
                return Err(corrupt(format!("found marker FF{code:02X} before the frame header of the JPEG stream")));
            }
            let length = bytes.get(at + 2..).and_then(|rest| rest.first_chunk::<2>()).ok_or_else(short)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let segment = bytes.get(at + 4..(at + 2 + length).max(at + 4)).ok_or_else(short)?;
            match code {
                // DHT, JPG and DAC share the range of the frame headers.
                0xc4 | 0xc8 | 0xcc => {}
                0xc0..=0xcf | 0xf7 => {
                    let (&[precision, h0, h1, w0, w1, count], components) =
                        segment.split_first_chunk::<6>().ok_or_else(short)?;
                    header.process = if code == 0xf7 { 55 } else { code & 15 };
                    header.precision = precision;
                    header.height = u32::from(u16::from_be_bytes([h0, h1]));
                    header.width = u32::from(u16::from_be_bytes([w0, w1]));
                    header.components = components.chunks_exact(3).map(|c| c[0]).collect();
                    if header.components.len() != usize::from(count) {
                        let found = header.components.len();
                        return Err(corrupt(format!("the JPEG frame header has {found} components, says {count}")));
                    }
                    return Ok(header);
                }
                0xda => return Err(corrupt("the JPEG stream has a scan before its frame header".into())),
                0xe0 => header.jfif |= segment.starts_with(b"JFIF\0"),
                0xee if segment.starts_with(b"Adobe") => header.adobe = segment.get(11).copied(),
                _ => {}
            }
            at += 2 + length;
        }
    }

    /// How three components are coded; `unmarked` when the stream does not say.
    pub(super) fn colours(&self, unmarked: Colours) -> Colours {
        match (self.adobe, self.jfif, self.components.as_slice()) {
            (Some(0), ..) | (None, false, b"RGB") => Colours::Rgb,
            (Some(_), ..) | (None, true, _) => Colours::YCbCr,
            (None, false, _) => unmarked,
        }
    }

    /// Fewer bytes than this cannot code the picture: one bit for each block of 64 samples, or for each sample.
    fn least_bytes(&self) -> u64 {
        let samples = u64::from(self.width) * u64::from(self.height);
        match self.process {
            3 => samples / 8,
            // Its runs have no such bound, but no film is so uniform.
            55 => samples / 2048,
            _ => samples / 512,
        }
    }

    /// Refuses a picture that is beyond the limits or that the stream cannot hold.
    pub(super) fn check(&self, bytes: &[u8], limits: &Limits) -> Result<(), Rejection> {
        limits.check_picture(self.width, self.height, self.components.len() as u64 * 2)?;
        let found = bytes.len() as u64;
        if found < self.least_bytes() {
            let (width, height) = (self.width, self.height);
            let detail = format!(
                "{found} bytes of JPEG cannot hold the declared {width} × {height} pixels, at least {} bytes expected",
                self.least_bytes()
            );
            return Err(Rejection::new(Reason::Corrupt, detail));
        }
        Ok(())
    }
}

/// Decodes a stream whose header has been [checked](JpegHeader::check).
pub(super) fn decode(bytes: &[u8], header: &JpegHeader, colours: Colours) -> Result<Decoded, Rejection> {
    match (header.process, header.precision) {
        (3, _) | (1, 12) => guarded("JPEG", || {
            let samples = precise::decode(bytes).map_err(|error| {
                let unsupported = matches!(error, precise::PreciseJpegError::Unsupported(_));
                let reason = if unsupported { Reason::UnsupportedEncoding } else { Reason::Corrupt };
                Rejection::new(reason, error.to_string())
            })?;
            Ok(Decoded { samples: Samples::Words(samples), depth: header.components.len(), exif: None })
        }),
        (0..=2, 8) => guarded("JPEG", || decode_8_bit(bytes, header, colours)),
        (process, precision) => {
            let detail = format!(
                "JPEG process SOF{process} with {precision} bits; 8-bit baseline, extended and progressive, 12-bit \
                 extended and lossless can be read"
            );
            Err(Rejection::new(Reason::UnsupportedEncoding, detail))
        }
    }
}

fn decode_8_bit(bytes: &[u8], header: &JpegHeader, colours: Colours) -> Result<Decoded, Rejection> {
    let mut decoder = Decoder::new(bytes);
    let samples = header.width as usize * header.height as usize * header.components.len();
    decoder.set_max_decoding_buffer_size(samples);
    if header.components.len() == 3 {
        decoder.set_color_transform(match colours {
            Colours::Rgb => ColorTransform::RGB,
            Colours::YCbCr => ColorTransform::YCbCr,
        });
    }
    let values = decoder.decode().map_err(|error| {
        let unsupported = matches!(error, jpeg_decoder::Error::Unsupported(_));
        let reason = if unsupported { Reason::UnsupportedEncoding } else { Reason::Corrupt };
        Rejection::new(reason, format!("JPEG: {error}"))
    })?;
    let exif = decoder.exif_data().map(<[u8]>::to_vec);
    let info = decoder.info();
    let format = info.map_or(PixelFormat::L8, |info| info.pixel_format);
    let (samples, depth) = match format {
        PixelFormat::L8 => (values, 1),
        PixelFormat::RGB24 => (values, 3),
        PixelFormat::CMYK32 => {
            // Adobe writes the complement: 255 is no ink.
            let rgb = values.chunks_exact(4).flat_map(|ink| {
                let [c, m, y, k] = [0, 1, 2, 3].map(|i| u16::from(ink[i]));
                [c, m, y].map(|channel| (channel * k / 255) as u8)
            });
            (rgb.collect(), 3)
        }
        PixelFormat::L16 => {
            let detail = "the JPEG decoder gave 16-bit samples, expected 8-bit ones";
            return Err(Rejection::new(Reason::UnsupportedEncoding, detail));
        }
    };
    Ok(Decoded { samples: Samples::Bytes(samples), depth, exif })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(process: u8, precision: u8, size: u16) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe0, 0, 7];
        bytes.extend(b"JFIF\0");
        bytes.extend([0xff, process, 0, 11, precision]);
        bytes.extend(size.to_be_bytes());
        bytes.extend(size.to_be_bytes());
        bytes.extend([1, 1, 0x11, 0]);
        bytes
    }

    #[test]
    fn a_huge_picture_in_a_short_stream_is_refused_before_it_is_decoded() {
        let limits = Limits::default();
        let bytes = stream(0xc0, 8, 65_535);
        let refused = JpegHeader::read(&bytes).unwrap().check(&bytes, &limits).unwrap_err();
        assert_eq!(refused.reason, Reason::ImageTooLarge);
        let bytes = stream(0xc0, 8, 4000);
        let refused = JpegHeader::read(&bytes).unwrap().check(&bytes, &limits).unwrap_err();
        assert_eq!(refused.reason, Reason::Corrupt);
        let expected = "24 bytes of JPEG cannot hold the declared 4000 × 4000 pixels, at least 31250 bytes expected";
        assert_eq!(refused.detail, expected);
    }

    #[test]
    fn arithmetic_coding_is_named_as_unsupported() {
        let bytes = stream(0xc9, 8, 8);
        let header = JpegHeader::read(&bytes).unwrap();
        let refused = decode(&bytes, &header, Colours::YCbCr).err().unwrap();
        assert_eq!(refused.reason, Reason::UnsupportedEncoding);
        assert!(refused.detail.starts_with("JPEG process SOF9 with 8 bits"), "{}", refused.detail);
    }

    #[test]
    fn every_cut_of_a_header_is_corrupt() {
        let bytes = stream(0xc0, 8, 8);
        for length in 0..bytes.len() {
            let refused = JpegHeader::read(&bytes[..length]).unwrap_err();
            assert_eq!(refused.reason, Reason::Corrupt, "{length} bytes: {refused}");
        }
    }

    #[test]
    fn the_stream_says_how_its_colours_are_coded_before_the_file_does() {
        let mut header = JpegHeader::read(&stream(0xc0, 8, 8)).unwrap();
        assert_eq!(header.colours(Colours::Rgb), Colours::YCbCr);
        header.adobe = Some(0);
        assert_eq!(header.colours(Colours::YCbCr), Colours::Rgb);
        (header.adobe, header.jfif) = (None, false);
        assert_eq!(header.colours(Colours::Rgb), Colours::Rgb);
        header.components = b"RGB".to_vec();
        assert_eq!(header.colours(Colours::YCbCr), Colours::Rgb);
    }
}
