//! Films with parts taken away: what a network still says of them, it does not say of the lungs.
//!
//! Parts are taken from what the network would have seen, and greys are ranked anew, as if the film had come that way;
//! the device's own quality gate would refuse most of these pictures and is left out on purpose.

use lightbox::domain::{GreyScale, InputSpec, Lungs, ModelInput};
use serde::Serialize;

/// Width of the frame that [`Alteration::BorderOnly`] leaves, as a share of the picture's side.
pub const BORDER: f32 = 0.15;

/// What is done to a film.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alteration {
    /// Nothing.
    None,
    /// The boxes of both lungs are black.
    LungsBlack,
    /// Everything but the boxes of both lungs is black.
    LungsOnly,
    /// Everything but a frame along the edges is black.
    BorderOnly,
}

impl Alteration {
    /// Every alteration.
    pub const ALL: [Self; 4] = [Self::None, Self::LungsBlack, Self::LungsOnly, Self::BorderOnly];

    /// For a heading.
    pub fn words(self) -> &'static str {
        match self {
            Self::None => "as it is",
            Self::LungsBlack => "lungs blacked out",
            Self::LungsOnly => "lungs alone",
            Self::BorderOnly => "border alone",
        }
    }

    fn keeps(self, lungs: &Lungs, x: f32, y: f32) -> bool {
        match self {
            Self::None => true,
            Self::LungsBlack => !lungs.contains(x, y),
            Self::LungsOnly => lungs.contains(x, y),
            Self::BorderOnly => x.min(y).min(1.0 - x).min(1.0 - y) < BORDER,
        }
    }
}

/// `input` after `how`; `lungs` in fractions of it.
pub fn altered(mut input: ModelInput, spec: &InputSpec, lungs: &Lungs, how: Alteration) -> ModelInput {
    if how == Alteration::None {
        return input;
    }
    let [_, channels, height, width] = input.shape;
    for (channel, plane) in input.values.chunks_exact_mut(height * width).enumerate().take(channels) {
        let (mean, std) = (spec.mean()[channel], spec.std()[channel]);
        let mut greys: Vec<f32> = plane.iter().map(|v| v * std + mean).collect();
        for (place, grey) in greys.iter_mut().enumerate() {
            let (x, y) =
                (((place % width) as f32 + 0.5) / width as f32, ((place / width) as f32 + 0.5) / height as f32);
            if !how.keeps(lungs, x, y) {
                *grey = 0.0;
            }
        }
        if spec.grey_scale() == GreyScale::Equalised {
            greys = ranks(&greys);
        }
        plane.iter_mut().zip(greys).for_each(|(v, grey)| *v = (grey - mean) / std);
    }
    input
}

/// Each grey's rank among all, 0 to 1, ties in the middle.
fn ranks(greys: &[f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..greys.len()).collect();
    order.sort_by(|a, b| greys[*a].total_cmp(&greys[*b]));
    let mut ranks = vec![0.0; greys.len()];
    let mut start = 0;
    while start < order.len() {
        let end = start + order[start..].iter().take_while(|i| greys[**i] == greys[order[start]]).count();
        let rank = (start + end) as f32 / 2.0 / greys.len() as f32;
        order[start..end].iter().for_each(|i| ranks[*i] = rank);
        start = end;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use lightbox::domain::{Acquired, Channels, Fit, GreyImage};
    use lightbox::pipeline::{preprocess::preprocess, quality};

    use super::*;

    fn spec(grey_scale: GreyScale) -> InputSpec {
        InputSpec::new(128, 128, Fit::Stretch, 0.0, grey_scale, Channels::Grey, vec![0.449], vec![0.226])
            .expect("usable")
    }

    fn lungs() -> Lungs {
        Lungs::from_edges([0.125, 0.25, 0.4375, 0.75, 0.5625, 0.25, 0.875, 0.75])
    }

    // A film of the input's own size, so that no pixel is a mixture; the darkest grey but one, as a film that is pure black
    // in large parts is refused.
    fn input(spec: &InputSpec, black: impl Fn(f32, f32) -> bool) -> ModelInput {
        let greys = (0..128u32 * 128)
            .map(|i| {
                let (x, y) = (i % 128, i / 128);
                let gone = black((x as f32 + 0.5) / 128.0, (y as f32 + 0.5) / 128.0);
                if gone { 1 } else { (1000 + (x / 2 * 37 + y / 2 * 91) % 251 * 250) as u16 }
            })
            .collect();
        let film = Acquired::from_image(GreyImage::new(128, 128, greys).expect("sizes fit"));
        preprocess(&quality::accept(film).expect("a film"), spec)
    }

    #[test]
    fn what_is_blacked_out_before_and_after_preprocessing_is_the_same() {
        for grey_scale in [GreyScale::AsShown, GreyScale::Equalised] {
            let spec = spec(grey_scale);
            let before = input(&spec, |x, y| lungs().contains(x, y));
            let after = altered(input(&spec, |_, _| false), &spec, &lungs(), Alteration::LungsBlack);
            for (a, b) in before.values.iter().zip(&after.values) {
                assert!((a - b).abs() < 1e-3, "{grey_scale:?}: {a} {b}");
            }
        }
    }

    #[test]
    fn every_alteration_keeps_what_its_name_says() {
        let spec = spec(GreyScale::AsShown);
        let grey = |how, x: usize, y: usize| {
            altered(input(&spec, |_, _| false), &spec, &lungs(), how).values[y * 128 + x] * 0.226 + 0.449 > 1e-3
        };
        let (lung, middle, corner) = ((32, 64), (64, 64), (4, 4));
        for (how, kept) in [
            (Alteration::None, [true, true, true]),
            (Alteration::LungsBlack, [false, true, true]),
            (Alteration::LungsOnly, [true, false, false]),
            (Alteration::BorderOnly, [false, false, true]),
        ] {
            assert_eq!([lung, middle, corner].map(|(x, y)| grey(how, x, y)), kept, "{how:?}");
        }
    }
}
