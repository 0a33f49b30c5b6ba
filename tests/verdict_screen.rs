//! The verdict screen as a person sees it: golden pictures, text that is whole and apart, verdicts that differ.
//!
//! `LIGHTBOX_BLESS=1 cargo test --release --test verdict_screen` writes the golden pictures anew; look at each of them.

#[path = "support/sight.rs"]
mod sight;
mod support;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{Dimensions, DrawTargetExt, Point, PointsIter, RgbColor, Size};
use embedded_graphics::primitives::Rectangle;
use lightbox::domain::{
    Doubt, Finding, Frame, GreyImage, OperatingPoint, Probabilities, Reading, Reason, Rejection, SaliencyMap, Verdict,
    Window,
};
use lightbox::ui::theme::contrast;
use lightbox::ui::{Film, Item, Look, Page, Scene, TextItem, VerdictScreen};
use sight::{VIEWS, clear_share, lightness};
use support::chest_phantom;

/// Sizes with golden pictures.
const SIZES: [(u32, u32); 2] = [(800, 480), (320, 240)];
/// Sizes of panels that the same description has to serve.
const PANELS: [(u32, u32); 8] =
    [(800, 480), (320, 240), (240, 240), (480, 320), (1280, 800), (240, 320), (480, 800), (800, 1280)];

/// One screen, with all that it borrows.
struct Case {
    name: &'static str,
    film: Option<GreyImage>,
    map: SaliencyMap,
    reading: Reading,
}

fn probabilities(covid19: f32, pneumonia: f32, normal: f32) -> Option<Probabilities> {
    Probabilities::from_logits([covid19, pneumonia, normal].map(f32::ln), 1.0)
}

/// As strong as two blobs, on the 7 × 7 cells of a network's last layer.
fn map() -> SaliencyMap {
    let blob = |x: f32, y: f32, cx: f32, cy: f32| (-((x - cx).powi(2) + (y - cy).powi(2)) / 1.6).exp();
    let cell = |index: usize| ((index % 7) as f32, (index / 7) as f32);
    let values = (0..49).map(cell).map(|(x, y)| 4.0 * blob(x, y, 1.5, 4.4) + 2.6 * blob(x, y, 5.0, 3.6)).collect();
    SaliencyMap { width: 7, height: 7, values }
}

fn cases() -> Vec<Case> {
    static FILM: LazyLock<GreyImage> = LazyLock::new(|| chest_phantom(512, 512, 7));
    let film = &*FILM;
    let read = |name, verdict, probabilities, covid_positive| Case {
        name,
        film: Some(film.clone()),
        map: map(),
        reading: Reading { verdict, probabilities, covid_positive },
    };
    let rejected = |name, film: Option<GreyImage>, reason, detail: &str| Case {
        name,
        film,
        map: map(),
        reading: Reading::rejected(Rejection::new(reason, detail)),
    };
    let clipped = "61 % of the pixels are white or black, expected at most 40 %";
    let corrupt = "the pixel data end after 41320 of 2097152 bytes (offset 0x1A54 in chest-0042.dcm)";
    vec![
        read("covid19", Verdict::Found(Finding::Covid19), probabilities(0.87, 0.10, 0.03), Some(true)),
        read("pneumonia", Verdict::Found(Finding::Pneumonia), probabilities(0.04, 0.81, 0.15), Some(false)),
        read("normal", Verdict::Found(Finding::Normal), probabilities(0.012, 0.048, 0.94), Some(false)),
        read("indeterminate", Verdict::Indeterminate(Doubt::BetweenThresholds), probabilities(0.29, 0.33, 0.38), None),
        rejected("rejected-with-film", Some(film.clone()), Reason::Clipped, clipped),
        rejected("rejected-without-film", None, Reason::Corrupt, corrupt),
    ]
}

fn operating_point() -> OperatingPoint {
    OperatingPoint::new(0.12, 0.45, 0.40, 0.60).expect("lines in order")
}

/// What a network saw that letterboxes a square film to 4 : 3.
const SEEN: Window = Window { left: -1.0 / 6.0, top: 0.0, right: 7.0 / 6.0, bottom: 1.0 };

impl Case {
    fn with_screen<T>(&self, look: impl FnOnce(&VerdictScreen<'_>) -> T) -> T {
        let film = self.film.as_ref().map(|image| Film { image, pixel_aspect: 1.0, saliency: Some((&self.map, SEEN)) });
        look(&VerdictScreen {
            film,
            reading: &self.reading,
            operating_point: &operating_point(),
            model_name: "chest-mobilenet",
            model_version: "1.2.0",
            page: Page::Whole,
            case: None,
        })
    }

    fn layout(&self, (width, height): (u32, u32)) -> Scene {
        self.with_screen(|screen| screen.scene(Size::new(width, height), Look::default()))
    }

    fn frame(&self, (width, height): (u32, u32)) -> Frame {
        let mut frame = Frame::new(width, height);
        self.with_screen(|screen| screen.draw(&mut frame, Look::default())).expect("infallible");
        frame
    }
}

fn golden(name: &str, (width, height): (u32, u32)) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/ui/verdict-{name}-{width}x{height}.png"))
}

fn write(frame: &Frame, path: &Path) {
    let picture = image::RgbImage::from_raw(frame.width(), frame.height(), frame.pixels().as_flattened().to_vec());
    picture.expect("as large as the frame").save(path).expect("the golden picture is written");
}

#[test]
fn every_verdict_looks_like_its_golden_picture() {
    /// Letters and films are computed in f32, which differs in the last bit between processors.
    const TOLERANCE: u8 = 2;
    let bless = std::env::var_os("LIGHTBOX_BLESS").is_some_and(|value| value == "1");
    for case in cases() {
        for size in SIZES {
            let frame = case.frame(size);
            let path = golden(case.name, size);
            if bless {
                write(&frame, &path);
            }
            let known = image::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_rgb8();
            assert_eq!(known.dimensions(), size, "{}", path.display());
            let differing = |known: &[u8; 3], drawn: &[u8; 3]| {
                known.iter().zip(drawn).any(|(known, drawn)| known.abs_diff(*drawn) > TOLERANCE)
            };
            let count = known.pixels().zip(frame.pixels()).filter(|(k, d)| differing(&k.0, d)).count();
            assert!(count == 0, "{count} pixels differ by more than {TOLERANCE} from {}", path.display());
        }
    }
}

#[test]
fn every_text_is_on_the_screen_and_apart_from_every_other() {
    for case in cases() {
        for size in PANELS {
            let scene = case.layout(size);
            let whole = Rectangle::new(Point::zero(), scene.size);
            let context = format!("{} at {size:?}", case.name);
            let mut placed: Vec<(&str, Rectangle)> = Vec::new();
            for text in scene.texts() {
                for line in &text.lines {
                    assert_eq!(
                        line.area.intersection(&whole),
                        line.area,
                        "{context}: {:?} leaves the screen",
                        line.text
                    );
                    let inside = line.area.intersection(&text.area);
                    assert_eq!(inside, line.area, "{context}: {:?} leaves its area {:?}", line.text, text.area);
                    for (other, area) in &placed {
                        let shared = area.intersection(&line.area);
                        assert!(shared.is_zero_sized(), "{context}: {:?} lies on {other:?}", line.text);
                    }
                    placed.push((&line.text, line.area));
                }
            }
            for item in &scene.items {
                if let Item::Picture { area, .. } | Item::Sign { area, .. } = item {
                    assert_eq!(area.intersection(&whole), *area, "{context}: a picture or sign leaves the screen");
                    for (text, line) in &placed {
                        assert!(
                            area.intersection(line).is_zero_sized(),
                            "{context}: {text:?} lies on a picture or sign"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn everything_that_has_to_be_said_is_said_on_every_panel() {
    for case in cases() {
        for size in PANELS {
            let said = words_of(&case.layout(size));
            let mut due = vec![case.reading.verdict.words(), "chest-mobilenet 1.2.0"];
            due.push("Research use. Not a medical device. A clinician decides.");
            match &case.reading.verdict {
                Verdict::Found(Finding::Covid19) => due.extend(["confirm with a PCR test", "87 %", "10 %", "3 %"]),
                Verdict::Found(_) => due.push("This does not rule out Covid-19"),
                Verdict::Indeterminate(_) | Verdict::Rejected(_) => {
                    let reason = case.reading.verdict.reason().expect("a reason");
                    due.extend([reason.words(), reason.advice()]);
                }
            }
            if case.reading.probabilities.is_some() {
                due.extend(["Covid-19", "Other pneumonia", "No pneumonia"]);
            } else {
                let bar = said.iter().any(|text| text == "Other pneumonia");
                assert!(!bar, "{} at {size:?}: a bar without a reading", case.name);
            }
            for words in due {
                let found = said.iter().any(|text| text.contains(words));
                assert!(found, "{} at {size:?}: {words:?} is not in {said:?}", case.name);
            }
        }
    }
}

#[test]
fn every_reason_fits_every_panel_in_full() {
    for reason in Reason::ALL {
        let case = Case {
            name: reason.code(),
            film: None,
            map: map(),
            reading: Reading::rejected(Rejection::new(reason, "found 1, expected 2")),
        };
        for size in PANELS {
            let said = words_of(&case.layout(size));
            for words in [reason.words(), reason.advice()] {
                assert!(said.iter().any(|text| text == words), "{reason} at {size:?}: {words:?} is not in {said:?}");
            }
        }
    }
}

fn words_of(scene: &Scene) -> Vec<String> {
    let said = |text: &TextItem| text.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(" ");
    scene.texts().map(|text| said(text).replace('\u{a0}', " ")).collect()
}

#[test]
fn a_terminal_shows_the_verdict_whole_and_what_it_must_not_be_taken_for() {
    for case in cases() {
        for size in [(100, 80), (120, 96), (160, 98), (160, 128)] {
            let said = words_of(&case.layout(size));
            let verdict = &case.reading.verdict;
            let second = match verdict {
                Verdict::Found(Finding::Covid19) => "The film alone does not prove it",
                Verdict::Found(_) => "This does not rule out Covid-19",
                Verdict::Indeterminate(_) | Verdict::Rejected(_) => verdict.reason().expect("a reason").words(),
            };
            for words in [verdict.words(), second] {
                assert!(said.iter().any(|text| text == words), "{} at {size:?}: no {words:?} in {said:?}", case.name);
            }
        }
    }
}

#[test]
fn the_words_of_the_verdict_are_the_largest() {
    for case in cases() {
        for size in PANELS {
            let scene = case.layout(size);
            let mut texts: Vec<_> = scene.texts().collect();
            texts.sort_by(|a, b| b.px.total_cmp(&a.px));
            assert!(case.reading.verdict.words().starts_with(&texts[0].lines[0].text), "{} at {size:?}", case.name);
            assert!(texts[0].px >= 1.25 * texts[1].px, "{} at {size:?}: {} {}", case.name, texts[0].px, texts[1].px);
        }
    }
}

#[test]
fn every_text_on_the_drawn_picture_stands_out_from_its_ground() {
    for case in cases() {
        for size in SIZES {
            let frame = case.frame(size);
            for text in case.layout(size).texts() {
                for line in &text.lines {
                    let mut ratio: f32 = 1.0;
                    for (x, y) in places(line.area) {
                        let [r, g, b] = frame.get(x, y).expect("on the screen");
                        ratio = ratio.max(contrast(Rgb888::new(r, g, b), text.ground));
                    }
                    assert!(ratio >= 4.5, "{} at {size:?}: {:?} has contrast {ratio:.1}", case.name, line.text);
                }
            }
        }
    }
}

fn places(area: Rectangle) -> impl Iterator<Item = (u32, u32)> {
    area.points().map(|at| (at.x as u32, at.y as u32))
}

#[test]
fn verdicts_differ_in_grey_and_for_the_colour_blind() {
    for (view, matrix) in VIEWS {
        let bands: Vec<_> = cases().iter().take(5).map(|case| (case.name, sign_seen(case, &matrix))).collect();
        for (index, (one, a)) in bands.iter().enumerate() {
            for (other, b) in &bands[index + 1..] {
                let share = clear_share(a, b);
                assert!(share > 0.12, "{view}: the signs of {one} and {other} differ clearly in {share} of their box");
            }
        }
    }
}

/// The lightness (0 to 255) of a case's sign as someone sees it.
fn sign_seen(case: &Case, matrix: &[[f32; 3]; 3]) -> Vec<f32> {
    let (frame, scene) = (case.frame((800, 480)), case.layout((800, 480)));
    let sign = scene.items.iter().find_map(|item| match item {
        Item::Sign { area, .. } => Some(*area),
        Item::Fill { .. } | Item::Bar { .. } | Item::Text(_) | Item::Picture { .. } => None,
    });
    let pixels = places(sign.expect("every verdict has a sign"));
    let pixels: Vec<_> = pixels.map(|(x, y)| frame.get(x, y).expect("on the screen")).collect();
    lightness(&pixels, matrix)
}

#[test]
fn the_film_keeps_its_proportions() {
    for (width, height, aspect) in [(3000, 300, 1.0), (300, 3000, 1.0), (500, 400, 1.0), (500, 400, 1.6)] {
        let film = chest_phantom(width, height, 3);
        let case = &cases()[0];
        for size in PANELS {
            let scene = VerdictScreen {
                film: Some(Film { image: &film, pixel_aspect: aspect, saliency: None }),
                reading: &case.reading,
                operating_point: &operating_point(),
                model_name: "m",
                model_version: "1",
                page: Page::Whole,
                case: None,
            }
            .scene(Size::new(size.0, size.1), Look::default());
            let shown = scene.items.iter().find_map(|item| match item {
                Item::Picture { area, pixels } => Some((area.size, pixels.len())),
                Item::Fill { .. } | Item::Bar { .. } | Item::Text(_) | Item::Sign { .. } => None,
            });
            let (shown, pixels) = shown.expect("a film");
            assert_eq!(pixels, (shown.width * shown.height) as usize);
            // The shorter side is whole pixels, so its ideal length may be half a pixel away.
            let ideal = f64::from(shown.width) * f64::from(height) * f64::from(aspect) / f64::from(width);
            let slack = 0.5 * f64::max(1.0, f64::from(height) * f64::from(aspect) / f64::from(width)) + 1e-3;
            assert!((ideal - f64::from(shown.height)).abs() <= slack, "{shown:?} for {width} × {height} × {aspect}");
        }
    }
}

#[test]
fn no_size_and_no_value_is_too_odd_to_be_drawn() {
    let long =
        "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft 漢字 \u{7} \n ".repeat(30);
    let odd_map = SaliencyMap { width: 10, height: 10, values: vec![f32::MAX; 100] };
    let films = [chest_phantom(300, 30, 1), chest_phantom(1, 1, 1), chest_phantom(31, 97, 1)];
    let readings = [
        Reading {
            verdict: Verdict::Found(Finding::Covid19),
            probabilities: Probabilities::from_logits([500.0, 0.0, -500.0], 1.0),
            covid_positive: Some(true),
        },
        Reading {
            verdict: Verdict::Found(Finding::Pneumonia),
            probabilities: probabilities(0.005, 0.99, 0.005),
            covid_positive: Some(false),
        },
        Reading { verdict: Verdict::Indeterminate(Doubt::ModelFault), probabilities: None, covid_positive: None },
        Reading::rejected(Rejection::new(Reason::Corrupt, long.clone())),
        Reading::rejected(Rejection::new(Reason::EmptyFile, "")),
    ];
    let points = [operating_point(), OperatingPoint::new(0.0, 1.0, 0.0, 1.0).expect("in order")];
    let sides = [0, 1, 2, 3, 7, 20, 41, 64, 100, 159, 240, 333];
    for (index, (width, height)) in sides.iter().flat_map(|w| sides.map(|h| (*w, h))).enumerate() {
        for (turn, reading) in readings.iter().enumerate() {
            let film = films.get((index + turn) % 4).map(|image| Film {
                image,
                pixel_aspect: [1.0, 0.01, 100.0, f32::NAN][(index + turn) % 4],
                saliency: Some((&odd_map, SEEN)),
            });
            let (model_name, model_version) = if turn % 2 == 0 { (long.as_str(), "1.0") } else { ("", long.as_str()) };
            let operating_point = &points[index % 2];
            let screen = VerdictScreen {
                film,
                reading,
                operating_point,
                model_name,
                model_version,
                page: Page::Whole,
                case: None,
            };
            let mut frame = Frame::new(width, height);
            screen.draw(&mut frame, Look::default()).expect("infallible");
            let whole = Rectangle::new(Point::zero(), Size::new(width, height));
            for text in screen.scene(whole.size, Look::default()).texts() {
                for line in &text.lines {
                    assert_eq!(line.area.intersection(&whole), line.area, "{:?} at {width} × {height}", line.text);
                }
            }
        }
    }
}

#[test]
fn a_screen_can_be_drawn_on_a_part_of_a_target() {
    let case = &cases()[0];
    let alone = case.frame((320, 240));
    let mut frame = Frame::new(400, 300);
    let part = Rectangle::new(Point::new(50, 30), Size::new(320, 240));
    case.with_screen(|screen| screen.draw(&mut frame.cropped(&part), Look::default())).expect("infallible");
    assert_eq!(frame.bounding_box().size, Size::new(400, 300));
    for (x, y) in places(part) {
        assert_eq!(frame.get(x, y), alone.get(x - 50, y - 30));
    }
    let [r, g, b] = frame.get(49, 100).expect("on the target");
    assert_eq!(Rgb888::new(r, g, b), Rgb888::BLACK, "nothing is drawn beside the part");
}
