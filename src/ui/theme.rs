//! Colours for a dim room, and the contrast between them.
//!
//! Colour never carries a meaning alone: each verdict has words and a [`Sign`](super::Sign) of its own as well. The
//! verdict colours follow Okabe & Ito's palette for colour-blind readers, lightened for a dark ground.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::RgbColor;

use super::Level;
use crate::domain::{Finding, Verdict};

/// The ground of every screen.
pub const GROUND: Rgb888 = Rgb888::new(13, 17, 22);
/// What must be read.
pub const TEXT: Rgb888 = Rgb888::new(240, 243, 246);
/// What may be read.
pub const MUTED: Rgb888 = Rgb888::new(163, 174, 186);
/// Behind the film.
pub const FILM_GROUND: Rgb888 = Rgb888::BLACK;
/// The empty part of a bar.
pub const TRACK: Rgb888 = Rgb888::new(46, 54, 64);
/// Lines between parts.
pub const RULE: Rgb888 = Rgb888::new(46, 54, 64);

/// Behind what the keys do.
pub const STRIP: Rgb888 = Rgb888::new(27, 33, 41);
/// Behind what is pointed at in a list.
pub const CHOSEN: Rgb888 = Rgb888::new(38, 58, 82);
/// What is neither good nor bad: a title, a progress.
pub const CALM: Rgb888 = Rgb888::new(186, 201, 217);

/// Colour of how far something is from how it should be.
pub fn of_level(level: Level) -> Rgb888 {
    match level {
        Level::Good => Rgb888::new(124, 207, 160),
        Level::Attention => Rgb888::new(246, 216, 78),
        Level::Fault => Rgb888::new(255, 138, 128),
    }
}

/// Colour of a finding's bar, and of its verdict.
pub fn of_finding(finding: Finding) -> Rgb888 {
    match finding {
        Finding::Covid19 => Rgb888::new(255, 122, 61),
        Finding::Pneumonia => Rgb888::new(246, 216, 78),
        Finding::Normal => Rgb888::new(95, 184, 242),
    }
}

/// Colour of a verdict's sign and words.
pub fn of_verdict(verdict: &Verdict) -> Rgb888 {
    match verdict {
        Verdict::Found(finding) => of_finding(*finding),
        Verdict::Indeterminate(_) => Rgb888::new(232, 150, 205),
        Verdict::Rejected(_) => Rgb888::new(208, 213, 219),
    }
}

/// Ground of the band that carries a verdict.
pub fn band(verdict: &Verdict) -> Rgb888 {
    mix(GROUND, of_verdict(verdict), 0.14)
}

/// `share` of `over` on `under`, 0 to 1.
pub fn mix(under: Rgb888, over: Rgb888, share: f32) -> Rgb888 {
    let channel = |u: u8, o: u8| (f32::from(u) + (f32::from(o) - f32::from(u)) * share.clamp(0.0, 1.0)).round() as u8;
    Rgb888::new(channel(under.r(), over.r()), channel(under.g(), over.g()), channel(under.b(), over.b()))
}

/// Relative luminance, 0 to 1 (WCAG 2.2).
pub fn luminance(colour: Rgb888) -> f32 {
    let linear = |value: u8| {
        let v = f32::from(value) / 255.0;
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(colour.r()) + 0.7152 * linear(colour.g()) + 0.0722 * linear(colour.b())
}

/// Contrast ratio of two colours, 1 to 21 (WCAG 2.2); text needs at least 4.5.
pub fn contrast(a: Rgb888, b: Rgb888) -> f32 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Doubt, Reason, Rejection};

    fn verdicts() -> Vec<Verdict> {
        let mut all: Vec<_> = Finding::ALL.into_iter().map(Verdict::Found).collect();
        all.push(Verdict::Indeterminate(Doubt::BetweenThresholds));
        all.push(Verdict::Rejected(Rejection::new(Reason::Blank, "")));
        all
    }

    #[test]
    fn contrast_follows_wcag() {
        assert!((contrast(Rgb888::WHITE, Rgb888::BLACK) - 21.0).abs() < 1e-3);
        assert!((contrast(Rgb888::new(119, 119, 119), Rgb888::WHITE) - 4.48).abs() < 0.01);
    }

    #[test]
    fn every_text_colour_stands_out_from_its_ground() {
        for (text, ground) in [(TEXT, GROUND), (MUTED, GROUND), (TEXT, FILM_GROUND), (MUTED, FILM_GROUND)] {
            assert!(contrast(text, ground) >= 4.5, "{text:?} on {ground:?}: {}", contrast(text, ground));
        }
        for (text, ground) in [(TEXT, STRIP), (TEXT, CHOSEN), (MUTED, CHOSEN), (CALM, mix(GROUND, CALM, 0.14))] {
            assert!(contrast(text, ground) >= 4.5, "{text:?} on {ground:?}: {}", contrast(text, ground));
        }
        for level in [Level::Good, Level::Attention, Level::Fault].map(of_level) {
            assert!(contrast(level, mix(GROUND, level, 0.14)) >= 4.5, "{level:?}");
        }
        for verdict in verdicts() {
            let (ground, words) = (band(&verdict), of_verdict(&verdict));
            assert!(contrast(words, ground) >= 4.5, "{}: {}", verdict.name(), contrast(words, ground));
            assert!(contrast(TEXT, ground) >= 4.5, "{}: {}", verdict.name(), contrast(TEXT, ground));
        }
    }

    #[test]
    fn every_bar_stands_out_from_its_track() {
        for finding in Finding::ALL {
            let ratio = contrast(of_finding(finding), TRACK);
            assert!(ratio >= 3.0, "{finding}: {ratio}");
        }
        assert!(contrast(TEXT, TRACK) >= 3.0, "the operating point's lines on the track");
    }
}
