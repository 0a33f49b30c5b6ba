//! How a picture lies on the panel that shows it.

use std::borrow::Cow;

use super::Frame;

/// By how much a picture is turned clockwise to stand upright on a panel that was built in on its side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rotation {
    /// Not at all.
    #[default]
    Upright,
    /// By 90°.
    Quarter,
    /// By 180°.
    Half,
    /// By 270°.
    ThreeQuarters,
}

impl Rotation {
    /// Every rotation.
    pub const ALL: [Self; 4] = [Self::Upright, Self::Quarter, Self::Half, Self::ThreeQuarters];

    /// Clockwise: 0, 90, 180 or 270.
    pub fn degrees(self) -> u16 {
        match self {
            Self::Upright => 0,
            Self::Quarter => 90,
            Self::Half => 180,
            Self::ThreeQuarters => 270,
        }
    }

    /// The rotation by so many degrees; `None` for others than 0, 90, 180 and 270.
    pub fn from_degrees(degrees: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|rotation| i64::from(rotation.degrees()) == degrees)
    }

    /// Columns and rows of the other side: of the frame for a panel's, of the panel for a frame's.
    pub fn turn_size(self, (width, height): (u32, u32)) -> (u32, u32) {
        match self {
            Self::Upright | Self::Half => (width, height),
            Self::Quarter | Self::ThreeQuarters => (height, width),
        }
    }

    /// Where a pixel of a frame of `size` lies on the panel.
    pub fn to_panel(self, (x, y): (u32, u32), (width, height): (u32, u32)) -> (u32, u32) {
        match self {
            Self::Upright => (x, y),
            Self::Quarter => (height - 1 - y, x),
            Self::Half => (width - 1 - x, height - 1 - y),
            Self::ThreeQuarters => (y, width - 1 - x),
        }
    }

    /// Where a pixel of the panel lies on a frame of `size`.
    pub fn to_frame(self, (x, y): (u32, u32), (width, height): (u32, u32)) -> (u32, u32) {
        match self {
            Self::Upright => (x, y),
            Self::Quarter => (y, height - 1 - x),
            Self::Half => (width - 1 - x, height - 1 - y),
            Self::ThreeQuarters => (width - 1 - y, x),
        }
    }

    /// The picture as the panel's own rows and columns have it.
    pub fn turn(self, frame: &Frame) -> Cow<'_, Frame> {
        if self == Self::Upright {
            return Cow::Borrowed(frame);
        }
        let size = (frame.width(), frame.height());
        let (width, height) = self.turn_size(size);
        let mut turned = Frame::new(width, height);
        for (index, pixel) in frame.pixels().iter().enumerate() {
            let at = (index as u32 % size.0, index as u32 / size.0);
            let (x, y) = self.to_panel(at, size);
            turned.set(x, y, *pixel);
        }
        Cow::Owned(turned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 2 3
    /// 4 5 6
    fn numbers() -> Frame {
        let mut frame = Frame::new(3, 2);
        for (index, number) in (1..=6).enumerate() {
            frame.set(index as u32 % 3, index as u32 / 3, [number; 3]);
        }
        frame
    }

    #[track_caller]
    fn check(rotation: Rotation, expected: &[&[u8]]) {
        let numbers = numbers();
        let turned = rotation.turn(&numbers);
        let rows: Vec<Vec<u8>> =
            turned.pixels().chunks(turned.width() as usize).map(|row| row.iter().map(|p| p[0]).collect()).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn pictures_turn_clockwise() {
        check(Rotation::Upright, &[&[1, 2, 3], &[4, 5, 6]]);
        check(Rotation::Quarter, &[&[4, 1], &[5, 2], &[6, 3]]);
        check(Rotation::Half, &[&[6, 5, 4], &[3, 2, 1]]);
        check(Rotation::ThreeQuarters, &[&[3, 6], &[2, 5], &[1, 4]]);
    }

    #[test]
    fn the_way_back_leads_to_the_same_pixel() {
        for rotation in Rotation::ALL {
            for at in (0..2).flat_map(|y| (0..3).map(move |x| (x, y))) {
                assert_eq!(rotation.to_frame(rotation.to_panel(at, (3, 2)), (3, 2)), at, "{rotation:?}");
            }
            assert_eq!(rotation.turn_size(rotation.turn_size((3, 2))), (3, 2));
            assert_eq!(Rotation::from_degrees(i64::from(rotation.degrees())), Some(rotation));
        }
        assert_eq!((Rotation::from_degrees(45), Rotation::from_degrees(-90)), (None, None));
    }
}
