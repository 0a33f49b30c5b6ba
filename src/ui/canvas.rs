//! Makes the picture in memory a target that embedded-graphics can draw on.

use std::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{DrawTarget, OriginDimensions, RgbColor, Size};

use crate::domain::Frame;

impl OriginDimensions for Frame {
    fn size(&self) -> Size {
        Size::new(self.width(), self.height())
    }
}

impl DrawTarget for Frame {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        for Pixel(at, colour) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) {
                self.set(x, y, [colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use embedded_graphics::prelude::Point;

    use super::*;

    #[test]
    fn pixels_outside_the_picture_are_ignored() {
        let mut frame = Frame::new(2, 1);
        let dot = |x, y| Pixel(Point::new(x, y), Rgb888::new(1, 2, 3));
        frame.draw_iter([dot(-1, 0), dot(2, 0), dot(0, 1), dot(i32::MAX, i32::MIN), dot(1, 0)]).expect("infallible");
        assert_eq!(frame.pixels(), [[0; 3], [1, 2, 3]]);
    }
}
