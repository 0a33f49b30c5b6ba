//! The screen on which a film is photographed: what the camera sees, where the film is found, and one thing to do.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{Point, Size};
use embedded_graphics::primitives::Rectangle;

use super::area::inset;
use super::measure::Measure;
use super::sheet::{Part, Sheet, lay_keys};
use super::words::{Phrase, Words};
use super::{Aim, AimView, Item, Level, Look, Scene, Sign, film, theme};
use crate::domain::{GreyImage, Reason};

/// What stands where on a screen of that size.
pub(super) fn scene(view: &AimView<'_>, size: Size, look: Look) -> Scene {
    let words = Words(look.language);
    let mut sheet = sheet(view.aim, words);
    let Some(sight) = view.sight else {
        sheet.first.push(Part::bold(0, words.say(Phrase::WayCamera)));
        return sheet.scene(size, look);
    };
    let mut scene = Scene::new(size, theme::GROUND);
    let measure = Measure::of(size, words);
    let rest = sheet.lay_band(&mut scene, measure, Rectangle::new(Point::zero(), size));
    let rest = lay_keys(&mut scene, measure, rest, look);
    let area = inset(rest, measure.gap(10.0), measure.gap(6.0));
    if area.is_zero_sized() {
        return scene;
    }
    let size = film::fitted(sight, 1.0, area.size);
    let spare = area.size - size;
    let at = area.top_left + Point::new(spare.width as i32 / 2, spare.height as i32 / 2);
    let pixels = drawn(sight, view.outline, sheet.tone, size, measure.gap(4.0));
    scene.fill(area, theme::FILM_GROUND);
    scene.items.push(Item::Picture { area: Rectangle::new(at, size), pixels });
    scene
}

fn sheet(aim: Aim, words: Words) -> Sheet<'static> {
    let (level, phrase) = match aim {
        Aim::Opening => (None, Phrase::AimOpening),
        Aim::Blind => (None, Phrase::AimBlind),
        Aim::Taking => (None, Phrase::AimTaking),
        Aim::Good => (Some(Level::Good), Phrase::AimGood),
        Aim::Fix(reason) => (Some(Level::Attention), hint(reason)),
    };
    let (sign, tone) = level.map_or((Sign::Busy, theme::CALM), |level| (Sign::of_level(level), theme::of_level(level)));
    Sheet::new(sign, tone, words.say(phrase))
}

/// What to do about it, in as few words as can be read at arm's length.
fn hint(reason: Reason) -> Phrase {
    match reason {
        Reason::FilmCutOff => Phrase::AimCutOff,
        Reason::FilmTooFar => Phrase::AimNearer,
        Reason::FilmSkewed => Phrase::AimStraight,
        Reason::FilmGlare => Phrase::AimGlare,
        Reason::FilmOutOfFocus => Phrase::AimFocus,
        Reason::FilmMoire => Phrase::AimMoire,
        Reason::FilmOverexposed => Phrase::AimBright,
        Reason::FilmUnderexposed => Phrase::AimDark,
        // What else a camera's picture may be is no film on a light box.
        Reason::FilmNotFound
        | Reason::CannotOpen
        | Reason::NotAFile
        | Reason::EmptyFile
        | Reason::FileTooLarge
        | Reason::UnknownFormat
        | Reason::Corrupt
        | Reason::UnsupportedEncoding
        | Reason::NoPixelData
        | Reason::BadDimensions
        | Reason::ImageTooLarge
        | Reason::DecoderStopped
        | Reason::DecoderTimeout
        | Reason::WrongModality
        | Reason::WrongBodyPart
        | Reason::LateralView
        | Reason::TooSmall
        | Reason::BadShape
        | Reason::Blank
        | Reason::Clipped
        | Reason::ColourPicture
        | Reason::LungsNotFound
        | Reason::OutOfDistribution
        | Reason::BetweenThresholds
        | Reason::PneumoniaOrNormal
        | Reason::ModelFault => Phrase::AimNoFilm,
    }
}

/// Where a film would be well placed: corners of a frame, as shares of the picture.
const PLACE: [[f32; 2]; 4] = [[0.18, 0.1], [0.82, 0.1], [0.82, 0.9], [0.18, 0.9]];
/// How much of the frame's sides is drawn from each corner.
const CORNER: f32 = 0.16;

/// The camera's picture with the film's outline in `tone`, or without one a frame that asks for the film.
fn drawn(sight: &GreyImage, outline: Option<[[f32; 2]; 4]>, tone: Rgb888, size: Size, thick: u32) -> Vec<Rgb888> {
    let mut pixels = film::draw(sight, None, size);
    let onto = |[x, y]: [f32; 2]| [x * size.width as f32, y * size.height as f32];
    let between = |[ax, ay]: [f32; 2], [bx, by]: [f32; 2], share: f32| [ax + (bx - ax) * share, ay + (by - ay) * share];
    let mut strokes = Vec::new();
    for side in 0..4 {
        match outline {
            Some(corners) => strokes.push([corners[side], corners[(side + 1) % 4]]),
            None => {
                let (from, to) = (PLACE[side], PLACE[(side + 1) % 4]);
                strokes.push([from, between(from, to, CORNER)]);
                strokes.push([between(from, to, 1.0 - CORNER), to]);
            }
        }
    }
    // A dark seam on both sides, so that it shows on film and lamp alike.
    for (half, colour) in [(thick as f32 / 2.0 + 1.0, theme::GROUND), (thick as f32 / 2.0, tone)] {
        for [from, to] in &strokes {
            stroke(&mut pixels, size, (onto(*from), onto(*to)), half, colour);
        }
    }
    pixels
}

/// Colours every pixel whose centre is within `half` of the line; what lies outside the picture is left out.
fn stroke(pixels: &mut [Rgb888], size: Size, (from, to): ([f32; 2], [f32; 2]), half: f32, colour: Rgb888) {
    let range = |a: f32, b: f32, side: u32| {
        let at = |edge: f32| edge.clamp(0.0, side as f32) as u32;
        at((a.min(b) - half).floor())..at((a.max(b) + half).ceil())
    };
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let squared = (dx * dx + dy * dy).max(1e-6);
    for y in range(from[1], to[1], size.height) {
        for x in range(from[0], to[0], size.width) {
            let (px, py) = (x as f32 + 0.5 - from[0], y as f32 + 0.5 - from[1]);
            let along = ((px * dx + py * dy) / squared).clamp(0.0, 1.0);
            let (away_x, away_y) = (px - along * dx, py - along * dy);
            if away_x * away_x + away_y * away_y <= half * half {
                pixels[(y * size.width + x) as usize] = colour;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use embedded_graphics::prelude::RgbColor;

    use super::*;
    use crate::domain::Language;

    fn sight() -> GreyImage {
        GreyImage::new(40, 30, vec![30_000; 1200]).unwrap()
    }

    #[test]
    fn the_outline_lies_where_the_film_was_found_and_nowhere_else() {
        let corners = [[0.25, 0.2], [0.75, 0.2], [0.75, 0.8], [0.25, 0.8]];
        let (size, tone) = (Size::new(400, 300), Rgb888::GREEN);
        let pixels = drawn(&sight(), Some(corners), tone, size, 4);
        let at = |x: usize, y: usize| pixels[y * 400 + x];
        assert_eq!([at(100, 150), at(300, 150), at(200, 60), at(200, 240)], [tone; 4]);
        assert_eq!([at(200, 150), at(50, 150), at(350, 280)], [Rgb888::new(117, 117, 117); 3]);
        // One that reaches beyond the picture, or is not made of numbers, draws what is inside of it.
        let beyond = [[-9.0, 0.5], [9.0, 0.5], [9.0, 7.0], [f32::NAN, f32::INFINITY]];
        let pixels = drawn(&sight(), Some(beyond), tone, size, 4);
        assert_eq!((pixels.len(), pixels[150 * 400 + 7]), (400 * 300, tone));
    }

    #[test]
    fn every_hint_of_the_camera_is_said_in_words_of_its_own() {
        use std::collections::HashSet;
        let camera = Reason::ALL.into_iter().filter(|reason| reason.code().starts_with("film-"));
        let aims: Vec<Aim> = camera.map(Aim::Fix).chain([Aim::Opening, Aim::Blind, Aim::Good, Aim::Taking]).collect();
        assert_eq!(aims.len(), 13);
        for language in Language::ALL {
            let titles: HashSet<String> = aims.iter().map(|aim| sheet(*aim, Words(language)).title).collect();
            assert_eq!(titles.len(), aims.len(), "{language}");
        }
    }
}
