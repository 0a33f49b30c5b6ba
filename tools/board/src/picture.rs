//! What a panel shows, as a picture to be compared.

/// Red, green and blue, 8 bits each, row after row from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` pixels.
    pub pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// Reads a binary PPM of 8 bits a channel; `None` if it is not one.
    #[must_use]
    pub fn from_ppm(bytes: &[u8]) -> Option<Self> {
        // "P6", width, height and the largest value, with one white space after each.
        let mut rest = bytes;
        let mut fields = Vec::new();
        while fields.len() < 4 {
            let end = rest.iter().position(u8::is_ascii_whitespace)?;
            fields.push(std::str::from_utf8(&rest[..end]).ok()?);
            rest = &rest[end + 1..];
        }
        let (width, height) = (fields[1].parse().ok()?, fields[2].parse().ok()?);
        let pixels: Vec<[u8; 3]> = rest.as_chunks().0.to_vec();
        (fields[0] == "P6" && fields[3] == "255" && pixels.len() == usize::checked_mul(width, height)?)
            .then_some(Self { width, height, pixels })
    }

    /// The part of the pixels, 0 to 1, that are the same in both pictures; 0 where the sizes differ.
    #[must_use]
    pub fn agreement(&self, other: &Self) -> f64 {
        if (self.width, self.height) != (other.width, other.height) {
            return 0.0;
        }
        let same = self.pixels.iter().zip(&other.pixels).filter(|(a, b)| a == b).count();
        same as f64 / self.pixels.len() as f64
    }

    /// Number of different colours.
    #[must_use]
    pub fn colours(&self) -> usize {
        let mut colours = self.pixels.clone();
        colours.sort_unstable();
        colours.dedup();
        colours.len()
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "picture of {} × {}, {} colours", self.width, self.height, self.colours())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_read_and_compared_pixel_by_pixel() {
        let one = Picture::from_ppm(b"P6\n2 1\n255\n\x01\x02\x03\x04\x05\x06").expect("a picture");
        let other = Picture::from_ppm(b"P6 2 1 255 \x01\x02\x03\x04\x05\x07").expect("a picture");
        assert_eq!((one.width, one.height, one.pixels[1]), (2, 1, [4, 5, 6]));
        assert!((one.agreement(&other) - 0.5).abs() < f64::EPSILON);
        assert_eq!(Picture::from_ppm(b"P6\n2 2\n255\n\x01\x02\x03"), None, "too few pixels");
        assert_eq!(Picture::from_ppm(b"P5\n1 1\n255\n\x01\x02\x03"), None, "grey");
    }
}
