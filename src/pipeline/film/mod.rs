//! A photograph of a film on a light box to the film: found, set straight, freed of the lamp's unevenness, upright and
//! with dense bone bright. A photograph that spoils the film is refused with what to do about it; nothing is guessed.
//!
//! What a faint reflection, weaker than the film's clearest part, does to a film is not seen here.

mod flaws;
mod light;
mod outline;
mod plane;
mod upright;

use imageproc::geometric_transformations::Projection;

use self::flaws::Exposure;
use self::light::{Lamp, Rim};
use self::outline::{NoOutline, Outline, Place, side_lengths};
use self::plane::{Plane, code};
pub use self::upright::{Pose, SIDE, pose, thumbnail};
use crate::domain::{Acquired, GreyImage, Reason, Rejection};

/// The longer side on which the film is searched for, in pixels.
const SEARCH_PX: u32 = 360;
/// The film's shorter side at which flaws are measured and that it is developed at, at most twice this, in pixels.
const FILM_PX: f32 = 800.0;
/// Of the film's shorter side, as a share of the photograph's.
const MIN_SHARE: f32 = 0.33;
/// Of the film's shorter side, in pixels of the photograph: twice what the network sees.
const MIN_FILM_PX: f32 = 400.0;
/// How far the film may be turned away from the camera, in degrees.
const MAX_TURNED: f32 = 24.0;
/// Of the way across the film's edges, as a share of its shorter side: the network sees 200 pixels.
const MAX_EDGE_WIDTH: f32 = 0.0145;
/// Of stripes, as a share of the light; the blocks of a much enlarged JPEG have up to 0.04.
const MAX_STRIPES: f32 = 0.05;
/// Share of the film that may be burnt out when it is spread over the film.
const MAX_BURNT_OUT: f32 = 0.02;
/// Share of the film, or of the photograph, that is burnt out when nothing else matters.
const BURNT_AWAY: f32 = 0.3;
/// Share of the film that is burnt out when it cannot be told from a lamp.
const ALL_WHITE: f32 = 0.6;
/// Share of the film that a reflection may burn out, or make brighter than film can be.
const MAX_GLARE: f32 = 0.0025;
/// Share of the film that one reflection burns out at most; more is the exposure's fault.
const LARGEST_GLARE: f32 = 0.07;
/// How much of the smallest square around it a reflection fills.
const COMPACT: f32 = 0.4;
/// Of a film's light from a bent surface, in logarithms.
const MIN_UNEVENNESS: f32 = 0.1;
/// Share of the film that is brighter than its rim when that is no rim of a lamp but the film's own clear border.
const NO_RIM: f32 = 0.12;
/// Code of the film's bright parts below which its dark parts are noise.
const MIN_BRIGHT: f32 = 0.2;
/// Code of the brightest place of a photograph below which it is too dark for anything.
const MIN_LIT: f32 = 0.4;
/// What lies at the very edge of the film is not taken, as a share of its sides.
const INSET: f32 = 0.004;
/// Side of the picture on which exposure is judged, in pixels.
const EXPOSURE_PX: usize = 160;

/// What to tell whoever holds the camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// Corners of the film clockwise from the upper left, as shares of the picture's width and height.
    pub outline: Option<[[f32; 2]; 4]>,
    /// What has to be put right first; `None` when the shot can be taken.
    pub hint: Option<Reason>,
}

/// A look through the camera before the shot.
///
/// A film on a picture of 640 × 480 pixels is judged in a few milliseconds. That there are enough pixels for reading is
/// not asked for, as the shot has more.
pub fn guide(photo: &GreyImage) -> Guidance {
    match Inspected::of(photo) {
        Err((reason, _)) => Guidance { outline: None, hint: Some(reason) },
        Ok(inspected) => {
            let (width, height) = (photo.width() as f32, photo.height() as f32);
            let outline = inspected.outline.film.map(|[x, y]| [x / width, y / height]);
            Guidance { outline: Some(outline), hint: inspected.flaw().map(|(reason, _)| reason) }
        }
    }
}

/// The film in a photograph.
///
/// # Errors
/// With the first reason why it cannot be read from this photograph.
pub fn develop(photo: Acquired) -> Result<Acquired, Rejection> {
    let refused = |(reason, detail)| Rejection::new(reason, detail);
    let inspected = Inspected::of(&photo.image).map_err(refused)?;
    if let Some(flaw) = inspected.flaw() {
        return Err(refused(flaw));
    }
    let short = inspected.short;
    if short < MIN_FILM_PX {
        let detail = format!("its shorter side has {short:.0} pixels, expected at least {MIN_FILM_PX}");
        return Err(Rejection::new(Reason::FilmTooFar, detail));
    }
    let image = inspected.straightened().ok_or_else(|| refused(shapeless()))?;
    let pose = pose(&image);
    let image = if pose.inverted { inverted(&image) } else { image };
    let image = upright::turned(image, pose.quarters);
    let mut remarks = photo.remarks;
    remarks.push(match inspected.rim {
        Rim::Seen(_) => "photographed film, set straight, the lamp evened out".to_owned(),
        Rim::Missing | Rim::BurntOut => "photographed film, set straight, the lamp taken as even".to_owned(),
    });
    if pose.quarters != 0 {
        remarks.push(format!("turned by {} degrees", u32::from(pose.quarters) * 90));
    }
    if pose.inverted {
        remarks.push("black and white exchanged".to_owned());
    }
    Ok(Acquired { remarks, modality: photo.modality, ..Acquired::from_image(image) })
}

fn inverted(image: &GreyImage) -> GreyImage {
    let greys = image.greys().iter().map(|grey| u16::MAX - grey).collect();
    // As many values as before.
    GreyImage::new(image.width(), image.height(), greys).unwrap_or_else(|_| image.clone())
}

type Flaw = (Reason, String);

fn shapeless() -> Flaw {
    (Reason::FilmNotFound, "nothing lit with four straight sides, expected a film on a light box".to_owned())
}

/// A photograph in which a film was found.
struct Inspected {
    outline: Outline,
    /// The photograph at about [`FILM_PX`].
    plane: Plane,
    rim: Rim,
    exposure: Exposure,
    /// From a bent surface.
    unevenness: f32,
    /// The film's shorter side in pixels of the photograph.
    short: f32,
    /// The film's shorter side ÷ the photograph's.
    share: f32,
    width: f32,
    height: f32,
}

impl Inspected {
    fn of(photo: &GreyImage) -> Result<Self, Flaw> {
        let search = Plane::reduced(photo, photo.width().max(photo.height()).div_ceil(SEARCH_PX));
        let most = code(search.light.iter().copied().fold(0.0, f32::max));
        if most < MIN_LIT {
            let detail = format!("the brightest place has {most:.2} of full white, expected at least {MIN_LIT}");
            return Err((Reason::FilmUnderexposed, detail));
        }
        let burnt = search.light.iter().filter(|light| **light >= light::BURNT_OUT).count();
        let burnt = burnt as f32 / search.light.len() as f32;
        let outline = outline::find(&search).map_err(|none| match none {
            NoOutline::Dark | NoOutline::Shapeless | NoOutline::BeyondEdge if burnt > BURNT_AWAY => {
                let detail = format!("no film, and {:.0} % of the photograph are burnt out", burnt * 100.0);
                (Reason::FilmOverexposed, detail)
            }
            NoOutline::BeyondEdge => {
                (Reason::FilmCutOff, "what is lit goes on beyond the edge of the photograph".to_owned())
            }
            NoOutline::Dark => (Reason::FilmNotFound, "nothing that is lit, expected a film on a light box".to_owned()),
            NoOutline::Shapeless => shapeless(),
        })?;
        let short = side_lengths(&outline.film).into_iter().fold(f32::INFINITY, f32::min);
        let (width, height) = (photo.width() as f32, photo.height() as f32);
        let plane = Plane::reduced(photo, (short / FILM_PX).floor().max(1.0) as u32);
        let mut outline = outline;
        let mut rim = light::rim(&plane, &outline);
        let mut measured = measured(&plane, &outline, &rim);
        if measured.0.beyond_lamp > NO_RIM {
            outline = Outline { film: outline.lamp, rims: [false; 4], ..outline };
            rim = Rim::Missing;
            measured = self::measured(&plane, &outline, &rim);
        }
        let (exposure, unevenness) = measured;
        let share = short / width.min(height);
        Ok(Self { rim, exposure, unevenness, share, outline, plane, short, width, height })
    }

    /// What spoils it, the most fundamental first.
    fn flaw(&self) -> Option<Flaw> {
        // Whether there was a film does not matter any more.
        let is_white = self.exposure.burnt_out > ALL_WHITE;
        if !is_white && self.unevenness < MIN_UNEVENNESS {
            let detail = format!(
                "what is lit is as even as a lamp alone, within {:.2} of a surface, expected more than {MIN_UNEVENNESS}",
                self.unevenness
            );
            return Some((Reason::FilmNotFound, detail));
        }
        let lamp_known = matches!(self.rim, Rim::Seen(_));
        let light = judged(&self.exposure, lamp_known);
        // Where next to nothing is left of the film, its edges are not where they seem to be.
        if self.exposure.burnt_out > BURNT_AWAY || self.exposure.bright < MIN_BRIGHT {
            return light;
        }
        // A blurred rim reaches into the film and is no reflection.
        self.framing().or_else(|| self.focus()).or(light).or_else(|| self.stripes())
    }

    fn framing(&self) -> Option<Flaw> {
        let film = &self.outline.film;
        let beyond = |at: f32, most: f32| (-at).max(at - most);
        let furthest = film.iter().map(|[x, y]| beyond(*x, self.width).max(beyond(*y, self.height)));
        let furthest = furthest.fold(f32::NEG_INFINITY, f32::max);
        if let Some(side) = self.outline.open.iter().position(|open| *open) {
            let side = ["upper", "right", "lower", "left"][side];
            return Some((Reason::FilmCutOff, format!("no {side} edge of the film in the photograph")));
        }
        if furthest > 0.01 * self.short {
            let detail = format!("a corner of the film lies {furthest:.0} pixels outside the photograph");
            return Some((Reason::FilmCutOff, detail));
        }
        if self.share < MIN_SHARE {
            let detail = format!(
                "the film's shorter side is {:.0} % of the photograph's, expected at least {:.0} %",
                self.share * 100.0,
                MIN_SHARE * 100.0
            );
            return Some((Reason::FilmTooFar, detail));
        }
        let turned = outline::posture(film, self.width, self.height).map_or(90.0, |(_, turned)| turned);
        if turned > MAX_TURNED {
            let detail = format!("the film is turned away by {turned:.0} degrees, expected at most {MAX_TURNED}");
            return Some((Reason::FilmSkewed, detail));
        }
        None
    }

    fn focus(&self) -> Option<Flaw> {
        if let Some(width) = flaws::edge_width(&self.plane, &self.outline)
            && width > MAX_EDGE_WIDTH
        {
            let detail = format!(
                "the film's edges are blurred over {:.1} % of its width, expected at most {:.1} %",
                width * 100.0,
                MAX_EDGE_WIDTH * 100.0
            );
            return Some((Reason::FilmOutOfFocus, detail));
        }
        None
    }

    fn stripes(&self) -> Option<Flaw> {
        let stripes = flaws::stripes(&self.plane, &self.outline);
        if stripes > MAX_STRIPES {
            let detail = format!(
                "regular stripes change the light by {:.1} %, expected at most {:.0} %",
                stripes * 100.0,
                MAX_STRIPES * 100.0
            );
            return Some((Reason::FilmMoire, detail));
        }
        None
    }

    /// The film as if seen from straight before it and lit evenly.
    fn straightened(&self) -> Option<GreyImage> {
        let [upper, right, lower, left] = side_lengths(&self.outline.film).map(|side| side / self.plane.factor);
        let (width, height) = (upper.midpoint(lower), left.midpoint(right));
        // Seen aslant, one direction is foreshortened.
        let (aspect, _) = outline::posture(&self.outline.film, self.width, self.height)?;
        let (width, height) =
            (width.max(height * aspect).round().max(1.0), height.max(width / aspect).round().max(1.0));
        let onto = self.outline.film.map(|[x, y]: Place| (x, y));
        let from = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)];
        let projection = Projection::from_control_points(from, onto)?;
        let lamp: Option<&Lamp> = match &self.rim {
            Rim::Seen(lamp) => Some(lamp),
            Rim::Missing | Rim::BurntOut => None,
        };
        let (columns, rows) = (width as u32, height as u32);
        let share = |at: u32, of: u32| (2.0 * (at as f32 + 0.5) / of as f32 - 1.0) * (1.0 - INSET);
        let mut light: Vec<f32> = Vec::with_capacity((columns * rows) as usize);
        for y in 0..rows {
            let down = share(y, rows);
            light.extend((0..columns).map(|x| {
                let across = share(x, columns);
                let (px, py) = projection * (across, down);
                let here = self.plane.at([px, py]).unwrap_or(0.0);
                lamp.map_or(here, |lamp| here / lamp.at(across, down))
            }));
        }
        // Brightest but for a few places: base and fog.
        let mut sorted = light.clone();
        let at = sorted.len().saturating_sub(1) * 199 / 200;
        let clear = sorted.select_nth_unstable_by(at, f32::total_cmp).1.max(1e-3);
        let greys = light.into_iter().map(|light| (code(light / clear) * f32::from(u16::MAX)).round() as u16);
        GreyImage::new(columns, rows, greys.collect()).ok()
    }
}

/// How the film is exposed, and how far its light is from that of a lamp alone.
fn measured(plane: &Plane, outline: &Outline, rim: &Rim) -> (Exposure, f32) {
    let side = EXPOSURE_PX;
    let mut light = Vec::with_capacity(side * side);
    let mut transmission = Vec::with_capacity(side * side);
    for i in 0..side * side {
        // Nothing of the rim: it is brighter than any film.
        let share = |at: usize| 0.02 + 0.96 * (at as f32 + 0.5) / side as f32;
        let (across, down) = (share(i % side), share(i / side));
        let here = plane.at(flaws::inside(&outline.film, across, down)).unwrap_or(0.0);
        light.push(here);
        if let Rim::Seen(lamp) = rim {
            transmission.push(here / lamp.at(across * 2.0 - 1.0, down * 2.0 - 1.0));
        }
    }
    let known = matches!(rim, Rim::Seen(_)).then_some(&transmission[..]);
    (flaws::exposure(&light, known, side), light::unevenness(&light, side))
}

/// What is wrong with the exposure of a film.
fn judged(found: &Exposure, lamp_known: bool) -> Option<Flaw> {
    let percent = |share: f32| share * 100.0;
    if found.beyond_lamp > MAX_GLARE {
        let detail = format!(
            "{:.1} % of the film is brighter than film before this lamp can be, expected at most {:.2} %",
            percent(found.beyond_lamp),
            percent(MAX_GLARE)
        );
        return Some((Reason::FilmGlare, detail));
    }
    let is_spot = found.compact > COMPACT && found.burnt_out < LARGEST_GLARE;
    if found.burnt_out > MAX_GLARE && (is_spot || lamp_known && found.burnt_out <= MAX_BURNT_OUT) {
        let detail = format!(
            "a spot of {:.1} % of the film is burnt out, expected at most {:.2} %",
            percent(found.burnt_out),
            percent(MAX_GLARE)
        );
        return Some((Reason::FilmGlare, detail));
    }
    if found.burnt_out > MAX_BURNT_OUT {
        let detail = format!(
            "{:.0} % of the film is burnt out, expected at most {:.0} %",
            percent(found.burnt_out),
            percent(MAX_BURNT_OUT)
        );
        return Some((Reason::FilmOverexposed, detail));
    }
    if found.bright < MIN_BRIGHT {
        let detail =
            format!("the film's bright parts have {:.2} of full white, expected at least {MIN_BRIGHT}", found.bright);
        return Some((Reason::FilmUnderexposed, detail));
    }
    None
}
