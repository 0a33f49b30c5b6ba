//! A decoded picture to a film that may be read, or the reason why not.

use crate::domain::{Acquired, GreyImage, Modality, Radiograph, Reason, Rejection, ViewPosition};

/// Fewer pixels than this on the shorter side show no lung structure: half of the coarsest film learned from.
pub const MIN_SIDE_PX: u32 = 112;
/// Longer side ÷ shorter side, as seen. Only a few frontal films, cropped
/// ones of children, are longer than this.
pub const MAX_ELONGATION: f32 = 2.0;
/// Mean saturation above which a picture is a colour photograph. Tinted film scans stay below.
pub const MAX_COLOURFULNESS: f32 = 0.15;
/// Difference between the 95th and the 5th percentile of the inner picture, as a share of the whole scale.
/// Pale but readable films have twice as much.
pub const MIN_CONTRAST: f32 = 0.06;
/// Share of the inner picture that may be pure black or pure white.
pub const MAX_CLIPPED: f32 = 0.4;

/// A picture that is not read, and why.
#[derive(Debug, thiserror::Error)]
#[error("{rejection}")]
pub struct Refused {
    /// The first reason found; its detail says what was found and what was expected.
    pub rejection: Rejection,
    /// The picture, still good enough to be shown beside the reason.
    pub acquired: Acquired,
}

/// Judges a picture before any network sees it: what the file says of it first, then what it shows.
///
/// # Errors
/// The picture with the first reason against it.
pub fn accept(acquired: Acquired) -> Result<Radiograph, Box<Refused>> {
    match judge(&acquired) {
        Ok(()) => Ok(Radiograph::found_fit(acquired)),
        Err(rejection) => Err(Box::new(Refused { rejection, acquired })),
    }
}

fn judge(acquired: &Acquired) -> Result<(), Rejection> {
    says_frontal_chest(acquired)?;
    has_usable_shape(acquired)?;
    is_grey(acquired)?;
    is_exposed(&acquired.image)
}

fn says_frontal_chest(acquired: &Acquired) -> Result<(), Rejection> {
    if let Some(Modality::Other(found)) = &acquired.modality {
        return Err(Rejection::new(
            Reason::WrongModality,
            format!("the modality is {found}, expected a plain radiograph (CR, DX) or a scanned film (SC, OT)"),
        ));
    }
    if let Some(part) = &acquired.body_part {
        // Spellings of the chest in the languages in which modalities are set up.
        const CHEST: [&str; 8] = ["CHEST", "THORA", "TORAX", "TÓRAX", "LUNG", "PULM", "BRUST", "POITRINE"];
        let upper = part.trim().to_uppercase();
        if !upper.is_empty() && !CHEST.iter().any(|name| upper.contains(name)) {
            let detail = format!("the body part is {}, expected CHEST", part.trim());
            return Err(Rejection::new(Reason::WrongBodyPart, detail));
        }
    }
    if let Some(ViewPosition::Lateral(found)) = &acquired.view {
        let detail = format!("the view position is {found}, expected PA or AP");
        return Err(Rejection::new(Reason::LateralView, detail));
    }
    Ok(())
}

fn has_usable_shape(acquired: &Acquired) -> Result<(), Rejection> {
    let (width, height) = (acquired.image.width(), acquired.image.height());
    if width.min(height) < MIN_SIDE_PX {
        let detail = format!("{width} × {height} pixels, expected at least {MIN_SIDE_PX} on the shorter side");
        return Err(Rejection::new(Reason::TooSmall, detail));
    }
    let seen_height = height as f32 * acquired.pixel_aspect;
    let elongation = (width as f32 / seen_height).max(seen_height / width as f32);
    if elongation.is_nan() || elongation > MAX_ELONGATION {
        let detail = format!(
            "{width} × {height} pixels of aspect {}, one side {elongation:.1} times the other, expected at most {MAX_ELONGATION}",
            acquired.pixel_aspect
        );
        return Err(Rejection::new(Reason::BadShape, detail));
    }
    Ok(())
}

fn is_grey(acquired: &Acquired) -> Result<(), Rejection> {
    if acquired.colourfulness > MAX_COLOURFULNESS {
        let detail =
            format!("mean saturation {:.2}, expected at most {MAX_COLOURFULNESS} of a film", acquired.colourfulness);
        return Err(Rejection::new(Reason::ColourPicture, detail));
    }
    Ok(())
}

/// Looks at the inner four fifths, where a collimator's black edges do not count.
fn is_exposed(image: &GreyImage) -> Result<(), Rejection> {
    let (width, height) = (image.width(), image.height());
    let mut counts = vec![0u32; usize::from(u16::MAX) + 1];
    // A pixel mostly has the grey of the one before, whose count would have to be written first: every second one is
    // counted apart.
    let mut others = counts.clone();
    for y in height / 10..height - height / 10 {
        let (pairs, last) = image.row(y)[(width / 10) as usize..(width - width / 10) as usize].as_chunks::<2>();
        for [even, odd] in pairs {
            counts[usize::from(*even)] += 1;
            others[usize::from(*odd)] += 1;
        }
        last.iter().for_each(|grey| counts[usize::from(*grey)] += 1);
    }
    counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
    let total: u32 = counts.iter().sum();
    let percentile = |share: f64| {
        let target = (f64::from(total) * share) as u32;
        let mut seen = 0;
        counts.iter().position(|count| {
            seen += count;
            seen > target
        })
    };
    let (low, high) = (percentile(0.05).unwrap_or(0), percentile(0.95).unwrap_or(0));
    let contrast = (high - low) as f32 / f32::from(u16::MAX);
    if contrast < MIN_CONTRAST {
        let detail = format!(
            "the greys span {:.1} % of the scale, expected at least {:.0} %",
            contrast * 100.0,
            MIN_CONTRAST * 100.0
        );
        return Err(Rejection::new(Reason::Blank, detail));
    }
    let share = |count: u32| count as f32 / total as f32;
    let (black, white) = (share(counts[0]), share(counts[usize::from(u16::MAX)]));
    if black.max(white) > MAX_CLIPPED {
        let detail = format!(
            "{:.0} % of the inner picture is pure black and {:.0} % pure white, expected at most {:.0} % of either",
            black * 100.0,
            white * 100.0,
            MAX_CLIPPED * 100.0
        );
        return Err(Rejection::new(Reason::Clipped, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, grey: impl Fn(u32, u32) -> u16) -> Acquired {
        let greys = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| grey(x, y)).collect();
        Acquired::from_image(GreyImage::new(width, height, greys).expect("sizes fit"))
    }

    fn slope(width: u32, height: u32) -> Acquired {
        picture(width, height, move |x, y| ((x + y) * 65535 / (width + height)) as u16)
    }

    #[track_caller]
    fn check(acquired: Acquired, reason: Reason, detail: &str) {
        let rejection = accept(acquired).expect_err("a rejection").rejection;
        assert_eq!((rejection.reason, rejection.detail.as_str()), (reason, detail));
    }

    #[test]
    fn a_picture_of_which_nothing_bad_is_known_is_accepted() {
        let mut acquired = slope(400, 300);
        acquired.modality = Some(Modality::Radiography("CR".into()));
        acquired.body_part = Some("PORT CHEST".into());
        acquired.view = Some(ViewPosition::Pa);
        assert!(accept(acquired).is_ok());
        assert!(accept(slope(112, 112)).is_ok());
    }

    #[test]
    fn what_the_file_says_is_believed() {
        let mut ct = slope(512, 512);
        ct.modality = Some(Modality::Other("CT".into()));
        check(
            ct,
            Reason::WrongModality,
            "the modality is CT, expected a plain radiograph (CR, DX) or a scanned film (SC, OT)",
        );
        let mut hand = slope(512, 512);
        hand.body_part = Some("HAND".into());
        check(hand, Reason::WrongBodyPart, "the body part is HAND, expected CHEST");
        let mut side = slope(512, 512);
        side.view = Some(ViewPosition::Lateral("LL".into()));
        check(side, Reason::LateralView, "the view position is LL, expected PA or AP");
    }

    #[test]
    fn a_body_part_left_empty_says_nothing() {
        let mut acquired = slope(400, 300);
        acquired.body_part = Some("  ".into());
        assert!(accept(acquired).is_ok());
    }

    #[test]
    fn shapes_that_no_chest_film_has_are_refused() {
        check(slope(111, 400), Reason::TooSmall, "111 × 400 pixels, expected at least 112 on the shorter side");
        check(
            slope(500, 200),
            Reason::BadShape,
            "500 × 200 pixels of aspect 1, one side 2.5 times the other, expected at most 2",
        );
        let mut nan = slope(400, 300);
        nan.pixel_aspect = f32::NAN;
        assert_eq!(accept(nan).expect_err("no number").rejection.reason, Reason::BadShape);
    }

    #[test]
    fn a_colour_photograph_is_refused() {
        let mut acquired = slope(400, 300);
        acquired.colourfulness = 0.4;
        check(acquired, Reason::ColourPicture, "mean saturation 0.40, expected at most 0.15 of a film");
    }

    #[test]
    fn a_picture_without_contrast_or_mostly_clipped_is_refused() {
        check(
            picture(200, 200, |_, _| 30000),
            Reason::Blank,
            "the greys span 0.0 % of the scale, expected at least 6 %",
        );
        let burnt = picture(200, 200, |x, _| if x > 80 { u16::MAX } else { x as u16 * 300 });
        assert_eq!(accept(burnt).expect_err("mostly white").rejection.reason, Reason::Clipped);
    }
}
