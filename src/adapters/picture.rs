//! PNG, JPEG, TIFF and BMP files to a grey picture.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageFormat, ImageReader, Luma};

use super::file::Limits;
use super::guard::guarded;
use super::jpeg::{self, Colours, JpegHeader, Samples};
use crate::domain::{Acquired, GreyImage, Reason, Rejection};
use crate::pipeline::grayscale::{Colourfulness, luminance, stretched};

/// No packing in these formats makes less than one byte of this many (deflate: 1032; LZW with 12-bit codes: 1365).
const MOST_EXPANSION: u64 = 1400;
/// Allowed on top, for tables and rows.
const SLACK_BYTES: u64 = 1 << 20;

/// The format that the first bytes name.
pub(super) fn format_of(bytes: &[u8]) -> Option<ImageFormat> {
    const SIGNATURES: [(&[u8], ImageFormat); 4] = [
        (b"\x89PNG\r\n\x1a\n", ImageFormat::Png),
        (b"\xff\xd8\xff", ImageFormat::Jpeg),
        (b"II*\0", ImageFormat::Tiff),
        (b"MM\0*", ImageFormat::Tiff),
    ];
    let named = SIGNATURES.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, format)| *format);
    // "BM" alone is two letters of many a text: the reserved fields of a bitmap are 0.
    let bitmap = bytes.starts_with(b"BM") && bytes.get(6..10).is_none_or(|reserved| reserved == [0; 4]);
    named.or(bitmap.then_some(ImageFormat::Bmp))
}

/// Decodes the first picture of a file in `format`.
pub(super) fn decode(bytes: &[u8], format: ImageFormat, limits: &Limits) -> Result<Acquired, Rejection> {
    if format == ImageFormat::Jpeg { decode_jpeg(bytes, limits) } else { decode_other(bytes, format, limits) }
}

fn decode_jpeg(bytes: &[u8], limits: &Limits) -> Result<Acquired, Rejection> {
    let header = JpegHeader::read(bytes)?;
    header.check(bytes, limits)?;
    // JFIF's rule for streams that do not say.
    let decoded = jpeg::decode(bytes, &header, header.colours(Colours::YCbCr))?;
    let orientation = decoded.exif.as_deref().and_then(Orientation::from_exif_chunk);
    let depth = header.precision;
    let (greys, colours) = match (decoded.samples, decoded.depth) {
        (Samples::Bytes(bytes), 1) => (bytes.into_iter().map(wide).collect(), Colourfulness::default()),
        (Samples::Bytes(bytes), 3) => folded(bytes.as_chunks().0.iter().map(|pixel: &[u8; 3]| pixel.map(wide))),
        (Samples::Words(mut words), 1) => {
            words.iter_mut().for_each(|word| *word = stretched(*word, depth));
            (words, Colourfulness::default())
        }
        (Samples::Words(words), 3) => {
            folded(words.as_chunks().0.iter().map(|pixel: &[u16; 3]| pixel.map(|word| stretched(word, depth))))
        }
        (_, found) => {
            let detail = format!("a JPEG with {found} components, expected 1, 3 or CMYK");
            return Err(Rejection::new(Reason::UnsupportedEncoding, detail));
        }
    };
    acquired(header.width, header.height, greys, colours, orientation)
}

fn decode_other(bytes: &[u8], format: ImageFormat, limits: &Limits) -> Result<Acquired, Rejection> {
    let name = if format == ImageFormat::Png {
        "PNG"
    } else if format == ImageFormat::Tiff {
        "TIFF"
    } else {
        "BMP"
    };
    if format == ImageFormat::Tiff {
        check_directory(bytes)?;
    }
    guarded(name, || {
        let refused = |error| refused(name, error);
        let mut bounds = image::Limits::default();
        let holds = (bytes.len() as u64).saturating_mul(MOST_EXPANSION).saturating_add(SLACK_BYTES);
        // The picture, and a strip of the file beside it.
        let beside = SLACK_BYTES + bytes.len() as u64;
        bounds.max_alloc = Some(limits.decoded_bytes.min(holds).saturating_add(beside));
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(bounds);
        let mut decoder = reader.into_decoder().map_err(refused)?;
        let (width, height) = decoder.dimensions();
        limits.check_picture(width, height, u64::from(decoder.color_type().bytes_per_pixel()).max(2))?;
        if decoder.total_bytes() > holds {
            let found = bytes.len();
            let detail = format!("{found} bytes of {name} cannot hold the declared {width} × {height} pixels");
            return Err(Rejection::new(Reason::Corrupt, detail));
        }
        let orientation = decoder.orientation().ok();
        let picture = DynamicImage::from_decoder(decoder).map_err(refused)?;
        let (greys, colours) = greys_of(picture)?;
        acquired(width, height, greys, colours, orientation)
    })
}

/// Refuses a TIFF whose first directory declares a value longer than the file: the decoder takes memory for it before
/// it is told its limits (TIFF 6.0, section 2).
fn check_directory(bytes: &[u8]) -> Result<(), Rejection> {
    let big_endian = bytes.starts_with(b"MM");
    let short = || Rejection::new(Reason::Corrupt, format!("TIFF: {} bytes end inside the directory", bytes.len()));
    let number = |at: usize, length: usize| -> Result<u64, Rejection> {
        let field = at.checked_add(length).and_then(|end| bytes.get(at..end)).ok_or_else(short)?;
        let join = |high: u64, low: &u8| high << 8 | u64::from(*low);
        Ok(if big_endian { field.iter().fold(0, join) } else { field.iter().rev().fold(0, join) })
    };
    let directory = number(4, 4)? as usize;
    for entry in 0..number(directory, 2)? as usize {
        let at = directory + 2 + 12 * entry;
        let (tag, count) = (number(at, 2)?, number(at + 4, 4)?);
        let each = match number(at + 2, 2)? {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16..=18 => 8,
            _ => 1,
        };
        if count * each > bytes.len() as u64 {
            let found = bytes.len();
            let detail = format!("TIFF: tag {tag} declares {count} values of {each} bytes, the file has {found} bytes");
            return Err(Rejection::new(Reason::Corrupt, detail));
        }
    }
    Ok(())
}

fn refused(name: &str, error: ImageError) -> Rejection {
    let reason = match &error {
        ImageError::Unsupported(_) => Reason::UnsupportedEncoding,
        ImageError::Limits(_) => Reason::ImageTooLarge,
        ImageError::Decoding(_) | ImageError::Encoding(_) | ImageError::Parameter(_) | ImageError::IoError(_) => {
            Reason::Corrupt
        }
    };
    Rejection::new(reason, format!("{name}: {error}"))
}

/// Greys of a picture of any kind, with transparent parts over black.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library adds kinds of its own without notice")]
fn greys_of(picture: DynamicImage) -> Result<(Vec<u16>, Colourfulness), Rejection> {
    let over = |v: u16, alpha: u16| ((u32::from(v) * u32::from(alpha) + 32_767) / 65_535) as u16;
    let grey = |greys: Vec<u16>| (greys, Colourfulness::default());
    Ok(match picture {
        DynamicImage::ImageLuma8(p) => grey(p.into_raw().into_iter().map(wide).collect()),
        DynamicImage::ImageLuma16(p) => grey(p.into_raw()),
        DynamicImage::ImageLumaA8(p) => grey(p.pixels().map(|p| over(wide(p.0[0]), wide(p.0[1]))).collect()),
        DynamicImage::ImageLumaA16(p) => grey(p.pixels().map(|p| over(p.0[0], p.0[1])).collect()),
        DynamicImage::ImageRgb8(p) => folded(p.pixels().map(|p| p.0.map(wide))),
        DynamicImage::ImageRgb16(p) => folded(p.pixels().map(|p| p.0)),
        DynamicImage::ImageRgba8(p) => {
            folded(p.pixels().map(|p| [p.0[0], p.0[1], p.0[2]].map(|v| over(wide(v), wide(p.0[3])))))
        }
        DynamicImage::ImageRgba16(p) => folded(p.pixels().map(|p| [p.0[0], p.0[1], p.0[2]].map(|v| over(v, p.0[3])))),
        other => {
            let detail = format!("samples of type {:?}, expected 8 or 16-bit whole numbers", other.color());
            return Err(Rejection::new(Reason::UnsupportedEncoding, detail));
        }
    })
}

/// An 8-bit value so that 255 becomes 65535.
fn wide(value: u8) -> u16 {
    u16::from(value) * 257
}

fn folded(pixels: impl Iterator<Item = [u16; 3]>) -> (Vec<u16>, Colourfulness) {
    let mut colours = Colourfulness::default();
    let greys = pixels.map(|[red, green, blue]| {
        colours.add(red, green, blue);
        luminance(red, green, blue)
    });
    (greys.collect(), colours)
}

fn acquired(
    width: u32,
    height: u32,
    greys: Vec<u16>,
    colours: Colourfulness,
    orientation: Option<Orientation>,
) -> Result<Acquired, Rejection> {
    let bad = |detail: String| Rejection::new(Reason::BadDimensions, detail);
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let image = if orientation == Orientation::NoTransforms {
        GreyImage::new(width, height, greys)
    } else {
        let found = greys.len();
        let buffer = ImageBuffer::<Luma<u16>, _>::from_raw(width, height, greys)
            .ok_or_else(|| bad(format!("{width} × {height} pixels, found {found} values")))?;
        let mut turned = DynamicImage::ImageLuma16(buffer);
        turned.apply_orientation(orientation);
        GreyImage::new(turned.width(), turned.height(), turned.into_luma16().into_raw())
    };
    let image = image.map_err(|error| bad(error.to_string()))?;
    let mut acquired = Acquired { colourfulness: colours.mean(), ..Acquired::from_image(image) };
    if orientation != Orientation::NoTransforms {
        acquired.remarks.push(format!("turned upright as its EXIF orientation {} says", orientation.to_exif()));
    }
    Ok(acquired)
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, GrayAlphaImage, ImageEncoder, Rgb, RgbImage, RgbaImage};

    use super::*;

    fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[track_caller]
    fn read(bytes: &[u8]) -> Acquired {
        super::super::file::decode_film(bytes, &Limits::default()).unwrap()
    }

    fn ramp() -> Vec<u16> {
        (0..12 * 8).map(|i| i * 600 + 17).collect()
    }

    #[test]
    fn sixteen_bits_are_kept_in_png_and_tiff() {
        let picture = DynamicImage::ImageLuma16(ImageBuffer::from_raw(12, 8, ramp()).unwrap());
        for format in [ImageFormat::Png, ImageFormat::Tiff] {
            let acquired = read(&written(&picture, format));
            assert_eq!((acquired.image.greys(), acquired.image.width()), (ramp().as_slice(), 12), "{format:?}");
            assert_eq!(acquired.colourfulness, 0.0);
        }
    }

    #[test]
    fn eight_bits_fill_the_range_in_png_tiff_and_bmp() {
        let values: Vec<u8> = (0..=255).collect();
        let expected: Vec<u16> = values.iter().map(|&v| u16::from(v) * 257).collect();
        let picture = DynamicImage::ImageLuma8(ImageBuffer::from_raw(16, 16, values).unwrap());
        for format in [ImageFormat::Png, ImageFormat::Tiff, ImageFormat::Bmp] {
            assert_eq!(read(&written(&picture, format)).image.greys(), expected, "{format:?}");
        }
    }

    #[test]
    fn a_grey_jpeg_is_within_a_few_greys() {
        let values: Vec<u8> = (0..=255).collect();
        let picture = DynamicImage::ImageLuma8(ImageBuffer::from_raw(16, 16, values.clone()).unwrap());
        let acquired = read(&written(&picture, ImageFormat::Jpeg));
        for (found, value) in acquired.image.greys().iter().zip(values) {
            assert!((i32::from(found / 257) - i32::from(value)).abs() < 12, "{found} for {value}");
        }
    }

    #[test]
    fn colours_become_luminance_and_are_measured() {
        let picture = DynamicImage::ImageRgb8(RgbImage::from_pixel(4, 4, Rgb([200, 100, 0])));
        let acquired = read(&written(&picture, ImageFormat::Png));
        assert_eq!(acquired.image.greys()[0], luminance(200 * 257, 100 * 257, 0));
        assert!((acquired.colourfulness - 200.0 / 255.0).abs() < 1e-6);
        let jpeg = read(&written(&picture, ImageFormat::Jpeg));
        assert!((jpeg.colourfulness - 200.0 / 255.0).abs() < 0.03, "{}", jpeg.colourfulness);
        assert!(jpeg.image.greys()[0].abs_diff(acquired.image.greys()[0]) < 1000);
    }

    #[test]
    fn transparent_parts_are_over_black() {
        let clear = DynamicImage::ImageLumaA8(GrayAlphaImage::from_pixel(2, 2, image::LumaA([255, 0])));
        assert_eq!(read(&written(&clear, ImageFormat::Png)).image.greys(), [0; 4]);
        let half = DynamicImage::ImageRgba8(RgbaImage::from_pixel(2, 2, image::Rgba([255, 255, 255, 51])));
        assert_eq!(read(&written(&half, ImageFormat::Png)).image.greys(), [51 * 257; 4]);
    }

    #[test]
    fn the_exif_orientation_of_a_jpeg_is_honoured() {
        // Left half black, right half white, 16 × 8; orientation 6: turn by 90 degrees clockwise.
        let values: Vec<u8> = (0..16 * 8).map(|i| if i % 16 < 8 { 0 } else { 255 }).collect();
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        encoder.write_image(&values, 16, 8, ExtendedColorType::L8).unwrap();
        let acquired = read(&bytes);
        assert_eq!((acquired.image.width(), acquired.image.height()), (8, 16));
        assert!(acquired.image.row(0)[0] < 3000 && acquired.image.row(15)[0] > 60_000);
        assert_eq!(acquired.remarks, ["turned upright as its EXIF orientation 6 says"]);
    }

    #[test]
    fn a_tiff_in_which_white_is_zero_is_shown_the_right_way_round() {
        // Two pixels, photometric interpretation 0, of 8 and of 16 bits.
        for (bits, pixels) in [(8_u32, &[0_u8, 255][..]), (16, &[0, 0, 255, 255])] {
            let mut bytes = b"II*\0\x08\0\0\0\x09\0".to_vec();
            let data_at = 8 + 2 + 9 * 12 + 4;
            let length = pixels.len() as u32;
            let entries = [
                (256, 2),
                (257, 1),
                (258, bits),
                (259, 1),
                (262, 0),
                (273, data_at),
                (277, 1),
                (278, 1),
                (279, length),
            ];
            for (tag, value) in entries {
                bytes.extend(u16::to_le_bytes(tag));
                bytes.extend([4, 0, 1, 0, 0, 0]);
                bytes.extend(u32::to_le_bytes(value));
            }
            bytes.extend([0; 4]);
            bytes.extend(pixels);
            assert_eq!(read(&bytes).image.greys(), [65535, 0], "{bits} bits");
        }
    }

    #[test]
    fn a_cut_picture_is_corrupt_and_never_half_a_film() {
        let noise: Vec<u8> = (0..64 * 64_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let picture = DynamicImage::ImageLuma8(ImageBuffer::from_raw(64, 64, noise).unwrap());
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Tiff, ImageFormat::Bmp] {
            let bytes = written(&picture, format);
            for part in 1..8 {
                let cut = &bytes[..bytes.len() * part / 8];
                let refused = super::super::file::decode_film(cut, &Limits::default()).unwrap_err();
                assert_eq!(refused.reason, Reason::Corrupt, "{format:?} {part}/8: {refused}");
            }
        }
    }
}
