//! Areas of a screen, split and cut.

use embedded_graphics::prelude::{Point, Size};
use embedded_graphics::primitives::Rectangle;

pub(super) fn square(at: Point, side: u32) -> Rectangle {
    Rectangle::new(at, Size::new(side, side))
}

/// The upper `height` pixels, and the rest.
pub(super) fn split_top(area: Rectangle, height: u32) -> (Rectangle, Rectangle) {
    let height = height.min(area.size.height);
    let upper = Rectangle::new(area.top_left, Size::new(area.size.width, height));
    (upper, cut_top(area, height))
}

/// The left `width` pixels, and the rest.
pub(super) fn split_left(area: Rectangle, width: u32) -> (Rectangle, Rectangle) {
    let width = width.min(area.size.width);
    let left = Rectangle::new(area.top_left, Size::new(width, area.size.height));
    (left, cut_left(area, width))
}

pub(super) fn cut_top(area: Rectangle, height: u32) -> Rectangle {
    let height = height.min(area.size.height);
    let at = area.top_left + Point::new(0, height as i32);
    Rectangle::new(at, Size::new(area.size.width, area.size.height - height))
}

pub(super) fn cut_left(area: Rectangle, width: u32) -> Rectangle {
    let width = width.min(area.size.width);
    let at = area.top_left + Point::new(width as i32, 0);
    Rectangle::new(at, Size::new(area.size.width - width, area.size.height))
}

pub(super) fn cut_right(area: Rectangle, width: u32) -> Rectangle {
    Rectangle::new(area.top_left, Size::new(area.size.width.saturating_sub(width), area.size.height))
}

/// What is left when every side loses pixels: `across` left and right, `down` above and below.
pub(super) fn inset(area: Rectangle, across: u32, down: u32) -> Rectangle {
    let area = cut_right(cut_left(area, across), across);
    let area = cut_top(area, down);
    Rectangle::new(area.top_left, Size::new(area.size.width, area.size.height.saturating_sub(down)))
}
