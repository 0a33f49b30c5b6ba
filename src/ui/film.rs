//! The film at the size of its place on the screen, with the saliency map laid over it.
//!
//! Areas are averaged when the film is larger than its place, lines drawn between pixels when it is smaller.

use std::collections::VecDeque;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{Point, Size};
use embedded_graphics::primitives::Rectangle;

use super::{Film, Item, Scene, theme};
use crate::domain::{GreyImage, SaliencyMap, Window};

/// The largest size in `room` that keeps the film's proportions; no side is below 1 pixel.
pub(super) fn fitted(image: &GreyImage, pixel_aspect: f32, room: Size) -> Size {
    let aspect = if pixel_aspect.is_finite() && pixel_aspect > 0.0 { f64::from(pixel_aspect) } else { 1.0 };
    let (width, height) = (f64::from(image.width()), f64::from(image.height()) * aspect);
    let scale = (f64::from(room.width) / width).min(f64::from(room.height) / height);
    let side = |length: f64, most: u32| ((length * scale).round() as u32).clamp(1, most.max(1));
    Size::new(side(width, room.width), side(height, room.height))
}

/// The film as `size` pixels, row by row.
pub(super) fn draw(image: &GreyImage, saliency: Option<(&SaliencyMap, Window)>, size: Size) -> Vec<Rgb888> {
    let greys = resample(image, size.width, size.height);
    let glow = saliency.and_then(|(map, window)| Glow::of(map, window));
    let places = (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y)));
    places
        .zip(greys)
        .map(|((x, y), grey)| {
            let level = (grey / 257.0).round() as u8;
            let film = Rgb888::new(level, level, level);
            let Some(glow) = &glow else { return film };
            let across = (x as f32 + 0.5) / size.width as f32;
            let down = (y as f32 + 0.5) / size.height as f32;
            let strength = glow.at(across, down);
            theme::mix(film, colour(strength), opacity(strength))
        })
        .collect()
}

/// The plain film in the middle of `area`, on black.
pub(super) fn lay(scene: &mut Scene, film: Film<'_>, area: Rectangle) {
    if area.is_zero_sized() {
        return;
    }
    let size = fitted(film.image, film.pixel_aspect, area.size);
    let spare = area.size - size;
    scene.fill(area, theme::FILM_GROUND);
    let at = area.top_left + Point::new(spare.width as i32 / 2, spare.height as i32 / 2);
    let pixels = draw(film.image, None, size);
    scene.items.push(Item::Picture { area: Rectangle::new(at, size), pixels });
}

/// A saliency map ready to be asked.
struct Glow<'a> {
    map: &'a SaliencyMap,
    window: Window,
    top: f32,
}

impl<'a> Glow<'a> {
    /// `None` when the map says nothing: empty, all zero, or not made of numbers.
    fn of(map: &'a SaliencyMap, window: Window) -> Option<Self> {
        let top = map.values.iter().copied().fold(0.0, f32::max);
        let whole = map.width > 0 && map.height > 0 && map.values.len() == map.width * map.height;
        let wide = window.right > window.left && window.bottom > window.top;
        (whole && wide && top > 0.0 && map.values.iter().all(|v| v.is_finite())).then_some(Self { map, window, top })
    }

    /// Strength at a place given in fractions of the film, 0 to 1; 0 where the network saw nothing.
    fn at(&self, across: f32, down: f32) -> f32 {
        let Window { left, top, right, bottom } = self.window;
        let (u, v) = ((across - left) / (right - left), (down - top) / (bottom - top));
        if !((0.0..=1.0).contains(&u) && (0.0..=1.0).contains(&v)) {
            return 0.0;
        }
        let (x, right_share, next_x) = neighbours(u, self.map.width);
        let (y, lower_share, next_y) = neighbours(v, self.map.height);
        let value = |x: usize, y: usize| self.map.values[y * self.map.width + x];
        let row = |y: usize| value(x, y) * (1.0 - right_share) + value(next_x, y) * right_share;
        ((row(y) * (1.0 - lower_share) + row(next_y) * lower_share) / self.top).clamp(0.0, 1.0)
    }
}

/// The cell before a place from 0 to 1, the share of the cell after it, and that cell.
fn neighbours(place: f32, cells: usize) -> (usize, f32, usize) {
    let position = (place * cells as f32 - 0.5).clamp(0.0, (cells - 1) as f32);
    let cell = position as usize;
    (cell, position - cell as f32, (cell + 1).min(cells - 1))
}

/// Opacity grows with strength; weak places leave the film as it is, strong ones never hide it.
fn opacity(strength: f32) -> f32 {
    const SILENT_BELOW: f32 = 0.15;
    const MOST: f32 = 0.5;
    let t = ((strength - SILENT_BELOW) / (1.0 - SILENT_BELOW)).clamp(0.0, 1.0);
    MOST * t * t * (3.0 - 2.0 * t).sqrt()
}

/// Matplotlib's "inferno" (CC0), whose lightness grows evenly; its black end is left out.
fn colour(strength: f32) -> Rgb888 {
    const STOPS: [(u8, u8, u8); 6] =
        [(106, 23, 110), (147, 38, 103), (188, 55, 84), (221, 81, 58), (243, 120, 25), (252, 180, 45)];
    let position = strength.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let stop = (position as usize).min(STOPS.len() - 2);
    let rgb = |(r, g, b)| Rgb888::new(r, g, b);
    theme::mix(rgb(STOPS[stop]), rgb(STOPS[stop + 1]), position - stop as f32)
}

/// Greys at a new size, row by row, 0 to 65535.
fn resample(image: &GreyImage, width: u32, height: u32) -> Vec<f32> {
    let across = weights(image.width(), width);
    let narrowed_row = |y: usize| -> Vec<f32> {
        let source = image.row(y as u32);
        let grey = |w: &Weights| w.shares.iter().zip(&source[w.first..]).map(|(share, g)| share * f32::from(*g)).sum();
        across.iter().map(grey).collect()
    };
    let mut greys = Vec::with_capacity(width as usize * height as usize);
    // The source rows of one target row, already at the target's width; the rows above are not needed again.
    let mut narrowed: VecDeque<Vec<f32>> = VecDeque::new();
    let mut first_kept = 0;
    for Weights { first, shares } in weights(image.height(), height) {
        narrowed.drain(..(first - first_kept).min(narrowed.len()));
        first_kept = first;
        narrowed.extend((first + narrowed.len()..first + shares.len()).map(narrowed_row));
        let mut target = vec![0.0; width as usize];
        for (share, row) in shares.iter().zip(&narrowed) {
            target.iter_mut().zip(row).for_each(|(sum, grey)| *sum += share * grey);
        }
        greys.extend(target);
    }
    greys
}

/// What one target pixel takes from the source: shares that sum to 1, from pixel `first` on.
struct Weights {
    first: usize,
    shares: Vec<f32>,
}

/// One for each of `to` target pixels along an axis of `from` source pixels.
fn weights(from: u32, to: u32) -> Vec<Weights> {
    let step = f64::from(from) / f64::from(to);
    (0..to)
        .map(|target| {
            if step >= 1.0 {
                let (start, end) = (f64::from(target) * step, (f64::from(target) + 1.0) * step);
                let first = start.floor() as usize;
                let last = (end.ceil() as usize).clamp(first + 1, from as usize);
                let covered = |pixel: usize| (end.min(pixel as f64 + 1.0) - start.max(pixel as f64)).max(0.0);
                let total: f64 = (first..last).map(covered).sum();
                Weights { first, shares: (first..last).map(|pixel| (covered(pixel) / total) as f32).collect() }
            } else {
                let position = ((f64::from(target) + 0.5) * step - 0.5).clamp(0.0, f64::from(from - 1));
                let first = (position as usize).min(from.saturating_sub(2) as usize);
                let share = (position - first as f64) as f32;
                let shares = if from == 1 { vec![1.0] } else { vec![1.0 - share, share] };
                Weights { first, shares }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: u32, height: u32, grey: impl Fn(u32, u32) -> u16) -> GreyImage {
        let greys = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| grey(x, y)).collect();
        GreyImage::new(width, height, greys).expect("numbers that fit")
    }

    #[test]
    fn the_film_is_never_stretched() {
        let film = image(300, 200, |_, _| 0);
        assert_eq!(fitted(&film, 1.0, Size::new(150, 150)), Size::new(150, 100));
        assert_eq!(fitted(&film, 1.5, Size::new(150, 150)), Size::new(150, 150));
        assert_eq!(fitted(&film, 3.0, Size::new(150, 150)), Size::new(75, 150));
        assert_eq!(fitted(&film, f32::NAN, Size::new(150, 150)), Size::new(150, 100));
        assert_eq!(fitted(&image(3000, 3, |_, _| 0), 1.0, Size::new(150, 150)), Size::new(150, 1));
    }

    #[test]
    fn a_smaller_film_keeps_its_mean_grey() {
        let film = image(97, 61, |x, y| if (x / 3 + y / 5) % 2 == 0 { 60_000 } else { 1_000 });
        let mean = film.greys().iter().map(|g| f64::from(*g)).sum::<f64>() / f64::from(97 * 61);
        for (width, height) in [(40, 30), (13, 7), (1, 1), (97, 61)] {
            let small = resample(&film, width, height);
            let small_mean = small.iter().map(|g| f64::from(*g)).sum::<f64>() / small.len() as f64;
            assert!((small_mean - mean).abs() < 1.0, "{width} × {height}: {small_mean}, was {mean}");
        }
        assert_eq!(resample(&film, 97, 61), film.greys().iter().map(|g| f32::from(*g)).collect::<Vec<_>>());
    }

    #[test]
    fn a_larger_film_stays_within_its_greys() {
        let film = image(2, 1, |x, _| if x == 0 { 100 } else { 300 });
        let large = resample(&film, 8, 3);
        assert!(large.iter().all(|g| (100.0..=300.0).contains(g)));
        assert!(large[..8].windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!((large[0], large[7]), (100.0, 300.0));
        assert_eq!(resample(&image(1, 1, |_, _| 7), 3, 2), [7.0; 6]);
    }

    #[test]
    fn the_map_colours_only_what_the_network_saw() {
        let film = image(100, 100, |_, _| 30_000);
        let map = SaliencyMap { width: 2, height: 2, values: vec![0.0, 3.0, 0.0, 3.0] };
        let window = Window { left: 0.5, top: -0.2, right: 0.9, bottom: 1.2 };
        let drawn = draw(&film, Some((&map, window)), Size::new(100, 100));
        let grey = Rgb888::new(117, 117, 117);
        for x in (0..50).chain(91..100) {
            assert_eq!(drawn[50 * 100 + x], grey, "column {x}");
        }
        assert_ne!(drawn[50 * 100 + 88], grey);
    }

    #[test]
    fn the_map_never_hides_the_film() {
        let film = image(20, 1, |x, _| if x % 2 == 0 { 0 } else { 65_535 });
        let map = SaliencyMap { width: 1, height: 1, values: vec![1e-3] };
        let window = Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };
        let drawn = draw(&film, Some((&map, window)), Size::new(20, 1));
        assert!(theme::contrast(drawn[0], drawn[1]) > 3.0);
    }

    #[test]
    fn a_map_that_says_nothing_leaves_the_film_grey() {
        let film = image(4, 4, |x, _| x as u16 * 9_000);
        let plain = draw(&film, None, Size::new(4, 4));
        let window = Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };
        for (width, height, values) in
            [(2, 1, vec![0.0, 0.0]), (2, 1, vec![f32::NAN, 1.0]), (2, 2, vec![1.0]), (0, 0, vec![])]
        {
            let map = SaliencyMap { width, height, values };
            assert_eq!(draw(&film, Some((&map, window)), Size::new(4, 4)), plain, "{map:?}");
        }
        let map = SaliencyMap { width: 1, height: 1, values: vec![1.0] };
        let nowhere = Window { left: 0.5, top: 0.0, right: 0.5, bottom: f32::NAN };
        assert_eq!(draw(&film, Some((&map, nowhere)), Size::new(4, 4)), plain);
    }
}
