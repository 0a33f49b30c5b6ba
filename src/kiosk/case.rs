//! A case as it can be shown: what the journal says of it, and its film where that is at hand.

use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Luma};

use crate::domain::{Acquired, GreyImage, Identity, OperatingPoint, Reading, SaliencyMap, Verdict, Window};
use crate::record::{Recorded, reading_of};

/// One reading.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// As it stands in the journal.
    pub(super) row: Recorded,
    /// What was said.
    pub(super) reading: Reading,
    /// The lines that decided it.
    pub(super) operating_point: OperatingPoint,
    /// Who is on the film, where that is known.
    pub(super) identity: Option<Identity>,
    /// The film.
    pub(super) picture: Option<Picture>,
}

/// A film no larger than the panel.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) image: GreyImage,
    pub(super) pixel_aspect: f32,
    pub(super) saliency: Option<(SaliencyMap, Window)>,
}

impl Picture {
    /// The film of a reading, at most `longest` pixels wide and high: whole films of many cases would fill the memory.
    pub(super) fn of(film: Acquired, saliency: Option<(SaliencyMap, Window)>, longest: u32) -> Self {
        Self { image: shrunk(film.image, longest), pixel_aspect: film.pixel_aspect, saliency }
    }
}

/// At most `longest` pixels wide and high.
pub(super) fn shrunk(image: GreyImage, longest: u32) -> GreyImage {
    let side = image.width().max(image.height());
    if side <= longest {
        return image;
    }
    let scaled = |length: u32| (u64::from(length) * u64::from(longest) / u64::from(side)).max(1) as u32;
    let (width, height) = (scaled(image.width()), scaled(image.height()));
    let buffer: Option<ImageBuffer<Luma<u16>, _>> =
        ImageBuffer::from_raw(image.width(), image.height(), image.greys().to_vec());
    let small = buffer.map(|buffer| resize(&buffer, width, height, FilterType::Triangle).into_raw());
    // A grey image always has as many values as it has pixels.
    small.and_then(|greys| GreyImage::new(width, height, greys).ok()).unwrap_or(image)
}

impl Case {
    /// A row of the journal; `None` when it says something that this program does not know.
    pub(super) fn of(row: Recorded) -> Option<Self> {
        let (reading, operating_point) = reading_of(&row)?;
        let identity = row.identity.clone();
        Some(Self { row, reading, operating_point, identity, picture: None })
    }

    /// Whether the film was not fit for reading.
    pub(super) fn refused(&self) -> bool {
        matches!(self.reading.verdict, Verdict::Rejected(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_becomes_no_larger_than_the_panel_and_keeps_its_shape() {
        let film = GreyImage::new(1000, 500, vec![700; 500_000]).unwrap();
        let small = shrunk(film.clone(), 320);
        assert_eq!((small.width(), small.height()), (320, 160));
        assert!(small.greys().iter().all(|grey| *grey == 700));
        assert_eq!(shrunk(film.clone(), 1000), film);
        let thin = GreyImage::new(4000, 1, vec![9; 4000]).unwrap();
        assert_eq!((shrunk(thin, 100).width(), shrunk(film, 1).height()), (100, 1));
    }
}
