//! Every screen in every language and size: golden pictures, digests, boxes, contrast, signs.
//!
//! `LIGHTBOX_BLESS=1 cargo test --release --test screens` writes the golden pictures and digests anew; look at each picture.

#[path = "support/screens.rs"]
mod screens;
#[path = "support/sight.rs"]
mod sight;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{Point, PointsIter, RgbColor, Size};
use embedded_graphics::primitives::Rectangle;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use lightbox::domain::{Frame, GreyImage, Language};
use lightbox::ui::theme::{self, contrast};
use lightbox::ui::{Item, Level, Look, Page, Scene, Screen, Sign};
use sha2::{Digest, Sha256};

use screens::{each_screen, film};
use sight::{VIEWS, clear_share, lightness};
use support::chest_phantom;

/// Sizes of the panels that one description has to serve.
const PANELS: [(u32, u32); 7] = [(240, 240), (320, 240), (240, 320), (480, 320), (800, 480), (480, 800), (1280, 800)];
/// Screens that are kept as pictures in every language.
const IN_EVERY_LANGUAGE: [&str; 2] = ["verdict-indeterminate", "ready-unwell"];

fn blessing() -> bool {
    std::env::var_os("LIGHTBOX_BLESS").is_some_and(|value| value == "1")
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ui").join(name)
}

/// A film that costs little: where its pixels do not matter.
fn small_film() -> GreyImage {
    chest_phantom(48, 48, 7)
}

/// A screen laid out for a size and a language.
struct Laid {
    name: String,
    scene: Scene,
    language: Language,
    /// Parts of the device that are not as they should be; only the ready screen has some.
    unwell: usize,
}

impl Laid {
    fn context(&self) -> String {
        format!("{} at {} in {}", self.name, self.scene.size, self.language)
    }
}

/// Every screen in every size and language, laid out once; the pixels of films are left out.
fn everywhere() -> &'static [Laid] {
    static ALL: LazyLock<Vec<Laid>> = LazyLock::new(|| {
        let film = small_film();
        let film = &film;
        let of_language = |language| {
            let mut laid = Vec::new();
            each_screen(film, |name, screen, keys| {
                for (width, height) in PANELS {
                    let mut scene = screen.scene(Size::new(width, height), Look { language, keys });
                    for item in &mut scene.items {
                        if let Item::Picture { pixels, .. } = item {
                            pixels.clear();
                        }
                    }
                    let unwell = match &screen {
                        Screen::Ready(view) => {
                            let unwell = view.health.iter().filter(|health| health.level() != Level::Good);
                            unwell.count() + usize::from(view.left_out.is_some())
                        }
                        _ => 0,
                    };
                    laid.push(Laid { name: name.to_owned(), scene, language, unwell });
                }
            });
            laid
        };
        thread::scope(|scope| {
            let of_language = &of_language;
            let working = Language::ALL.map(|language| scope.spawn(move || of_language(language)));
            working.into_iter().flat_map(|thread| thread.join().expect("every screen is laid out")).collect()
        })
    });
    &ALL
}

fn drawn(screen: &Screen<'_>, (width, height): (u32, u32), look: Look) -> Frame {
    let mut frame = Frame::new(width, height);
    screen.draw(&mut frame, look);
    frame
}

#[track_caller]
fn check_picture(name: &str, frame: &Frame) {
    /// Letters and films are computed in f32, which differs in the last bit between processors.
    const TOLERANCE: u8 = 2;
    let path = golden(name);
    if blessing() {
        let file = fs::File::create(&path).expect("the folder of golden pictures");
        let encoder = PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::NoFilter);
        let (width, height) = (frame.width(), frame.height());
        let written = encoder.write_image(frame.pixels().as_flattened(), width, height, ExtendedColorType::Rgb8);
        written.expect("the golden picture is written");
    }
    let known = image::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_rgb8();
    assert_eq!(known.dimensions(), (frame.width(), frame.height()), "{name}");
    let differs = |(known, drawn): &(&image::Rgb<u8>, &[u8; 3])| {
        known.0.iter().zip(*drawn).any(|(known, drawn)| known.abs_diff(*drawn) > TOLERANCE)
    };
    let count = known.pixels().zip(frame.pixels()).filter(differs).count();
    assert!(count == 0, "{count} pixels differ by more than {TOLERANCE} from {}", path.display());
}

#[test]
fn every_screen_looks_like_its_golden_picture() {
    each_screen(&film(), |name, screen, keys| {
        // They differ in their words alone, which are laid out in every size and language.
        if name.starts_with("aim-film-") || name.starts_with("ready-archive-") || name.starts_with("ready-left-out-l") {
            return;
        }
        let look = Look { keys, ..Look::default() };
        for (width, height) in [(800, 480), (320, 240)] {
            check_picture(&format!("{name}-{width}x{height}-en.png"), &drawn(&screen, (width, height), look));
        }
        if IN_EVERY_LANGUAGE.contains(&name) {
            for language in Language::ALL {
                let frame = drawn(&screen, (320, 240), Look { language, keys });
                check_picture(&format!("{name}-320x240-{language}.png"), &frame);
            }
        }
    });
}

#[test]
fn every_screen_in_every_language_and_size_is_laid_out_as_before() {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for laid in everywhere() {
        let digest = Sha256::digest(laid.scene.describe().as_bytes());
        // 64 bits: enough to notice a change.
        let short = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let Size { width, height } = laid.scene.size;
        found.insert(format!("{} {width}x{height} {}", laid.name, laid.language), short);
    }
    let path = golden("layouts.sha256");
    if blessing() {
        let lines: String = found.iter().map(|(key, digest)| format!("{digest} {key}\n")).collect();
        fs::write(&path, lines).expect("the digests are written");
    }
    let known = fs::read_to_string(&path).expect("the digests");
    let known: BTreeMap<_, _> =
        known.lines().filter_map(|line| line.split_once(' ')).map(|(d, key)| (key, d)).collect();
    assert_eq!(known.len(), found.len(), "the list of screens, sizes or languages changed");
    let changed: Vec<_> =
        found.iter().filter(|(key, digest)| known.get(key.as_str()) != Some(&digest.as_str())).collect();
    assert!(changed.is_empty(), "{} layouts changed, the first is {:?}", changed.len(), changed[0].0);
}

/// Where the ink of a text may be taken for that of another.
fn lines(scene: &Scene) -> impl Iterator<Item = (&str, Rectangle)> {
    scene.texts().flat_map(|text| text.lines.iter().map(|line| (line.text.as_str(), line.area)))
}

#[test]
fn every_text_is_on_the_screen_whole_and_apart_from_every_other() {
    /// Free text from outside may be shortened: details of an error, long names.
    const MAY_BE_SHORTENED: [&str; 7] =
        ["a spot of", "pixel data", "pixels are", "film lung-03", "/var/lib", "P-104233", "hospitals never seen"];
    for laid in everywhere() {
        let (scene, context) = (&laid.scene, laid.context());
        let whole = Rectangle::new(Point::zero(), scene.size);
        for text in scene.texts() {
            let said = text.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(" ");
            let outside = MAY_BE_SHORTENED.iter().any(|part| said.to_lowercase().contains(&part.to_lowercase()[..6]));
            assert!(!text.shortened || outside, "{context}: {said:?} is shortened");
            for line in &text.lines {
                assert_eq!(line.area.intersection(&whole), line.area, "{context}: {:?} leaves the screen", line.text);
                let inside = line.area.intersection(&text.area);
                assert_eq!(inside, line.area, "{context}: {:?} leaves its area {:?}", line.text, text.area);
                let wide = lightbox::ui::text::width(&line.text, text.weight, text.px);
                assert!(wide <= line.area.size.width as f32, "{context}: {:?} is clipped", line.text);
            }
        }
        let placed: Vec<_> = lines(scene).collect();
        for (index, (text, area)) in placed.iter().enumerate() {
            for (other, beside) in &placed[index + 1..] {
                assert!(area.intersection(beside).is_zero_sized(), "{context}: {text:?} lies on {other:?}");
            }
        }
        for item in &scene.items {
            let (Item::Picture { area, .. } | Item::Sign { area, .. } | Item::Bar { area, .. }) = item else {
                continue;
            };
            assert_eq!(area.intersection(&whole), *area, "{context}: a picture, sign or bar leaves the screen");
            for (text, line) in &placed {
                assert!(area.intersection(line).is_zero_sized(), "{context}: {text:?} lies on a picture, sign or bar");
            }
        }
    }
}

#[test]
fn every_text_on_the_drawn_picture_stands_out_from_its_ground() {
    for laid in everywhere() {
        let Size { width, height } = laid.scene.size;
        // Large letters are drawn in one language of each script: their colours and grounds are the same in all.
        let script = matches!(laid.language, Language::English | Language::Hindi | Language::Arabic);
        if width.max(height) > 480 && !script {
            continue;
        }
        // Films and signs lie apart from texts, which another test holds.
        let apart = |item: &&Item| matches!(item, Item::Fill { .. } | Item::Text(_));
        let scene = Scene { size: laid.scene.size, items: laid.scene.items.iter().filter(apart).cloned().collect() };
        let mut frame = Frame::new(width, height);
        let Ok(()) = scene.draw(&mut frame);
        for text in scene.texts() {
            let ground = [text.ground.r(), text.ground.g(), text.ground.b()];
            for line in &text.lines {
                let inside = line.area.points().filter_map(|at| frame.get(at.x as u32, at.y as u32));
                let away = |rgb: &[u8; 3]| rgb.iter().zip(ground).map(|(a, b)| u32::from(a.abs_diff(b))).sum::<u32>();
                let [r, g, b] = inside.max_by_key(away).expect("on the screen");
                let ratio = contrast(Rgb888::new(r, g, b), text.ground);
                assert!(ratio >= 4.5, "{}: {:?} has contrast {ratio:.1}", laid.context(), line.text);
            }
        }
    }
}

#[test]
fn verdicts_differ_in_grey_and_for_the_colour_blind_on_every_panel() {
    let film = small_film();
    for (width, height) in PANELS {
        for language in [Language::English, Language::Arabic] {
            let mut signs: Vec<(String, Vec<[u8; 3]>)> = Vec::new();
            each_screen(&film, |name, screen, keys| {
                let is_verdict = matches!(&screen, Screen::Verdict(verdict) if verdict.page == Page::Verdict && verdict.film.is_some());
                if !is_verdict || name == "verdict-photograph" {
                    return;
                }
                let look = Look { language, keys };
                let scene = screen.scene(Size::new(width, height), look);
                let frame = drawn(&screen, (width, height), look);
                let sign = scene.items.iter().find_map(|item| match item {
                    Item::Sign { area, sign, .. } if Sign::OF_VERDICTS.contains(sign) => Some(*area),
                    _ => None,
                });
                let pixels = sign.expect("every verdict has a sign").points();
                let seen = pixels.map(|at| frame.get(at.x as u32, at.y as u32).expect("on the screen")).collect();
                signs.push((name.to_owned(), seen));
            });
            assert_eq!(signs.len(), Sign::OF_VERDICTS.len());
            for (view, matrix) in &VIEWS {
                let seen: Vec<_> = signs.iter().map(|(name, sign)| (name, lightness(sign, matrix))).collect();
                for (index, (one, a)) in seen.iter().enumerate() {
                    for (other, b) in &seen[index + 1..] {
                        let share = clear_share(a, b);
                        assert!(share > 0.12, "{view}, {width} × {height}, {language}: {one} and {other}: {share}");
                    }
                }
            }
        }
    }
}

#[test]
fn arabic_changes_sides_but_never_those_of_the_film() {
    let film = small_film();
    let pictures = |scene: &Scene| -> Vec<(Rectangle, Vec<Rgb888>)> {
        let items = scene.items.iter().filter_map(|item| match item {
            Item::Picture { area, pixels } => Some((*area, pixels.clone())),
            _ => None,
        });
        items.collect()
    };
    let mut compared = 0;
    each_screen(&film, |name, screen, keys| {
        let size = Size::new(800, 480);
        let scene = |language| screen.scene(size, Look { language, keys });
        let arabic = scene(Language::Arabic);
        if let Some(Item::Sign { area, .. }) = arabic.items.iter().find(|item| matches!(item, Item::Sign { .. })) {
            assert!(area.top_left.x > 400, "{name}: reading begins at the right");
        }
        let (left, right) = (pictures(&scene(Language::English)), pictures(&arabic));
        for ((there, pixels), (here, same)) in left.iter().zip(&right) {
            if there.size == here.size {
                assert_eq!(pixels, same, "{name}: the film is the same, not its mirror image");
                compared += 1;
            }
            let centred = there.center().x.abs_diff(400) < 2;
            assert!(centred || (there.top_left.x < 400) != (here.top_left.x < 400), "{name}: {there:?} and {here:?}");
        }
    });
    assert!(compared >= 3, "{compared} films were compared");
}

#[test]
fn what_needs_attention_is_never_left_out() {
    for laid in everywhere().iter().filter(|laid| laid.name.starts_with("ready")) {
        let signs = laid.scene.items.iter().filter_map(|item| match item {
            Item::Sign { sign, .. } => Some(*sign),
            _ => None,
        });
        // The first is that of the whole device.
        let shown = signs.skip(1).filter(|sign| matches!(sign, Sign::Attention | Sign::Fault));
        assert_eq!(shown.count(), laid.unwell, "{}", laid.context());
    }
}

#[test]
fn the_chosen_line_of_a_list_is_always_seen() {
    use lightbox::domain::{Finding, Verdict};
    use lightbox::ui::{ReviewRow, ReviewView, Who};
    let verdict = Verdict::Found(Finding::Normal);
    let row =
        |index: u64| ReviewRow { sequence: 7000 + index, who: Who::Hidden, when: screens::UNSURE, verdict: &verdict };
    let rows: Vec<_> = (0..17).map(row).collect();
    for (width, height) in PANELS {
        for language in Language::ALL {
            for chosen in 0..rows.len() {
                let look = Look { language, ..Look::default() };
                let scene =
                    Screen::Review(ReviewView { rows: Some(&rows), chosen }).scene(Size::new(width, height), look);
                let marked = scene
                    .items
                    .iter()
                    .any(|item| matches!(item, Item::Fill { colour, .. } if *colour == theme::CHOSEN));
                assert!(marked, "line {chosen} at {width} × {height} in {language}");
            }
        }
    }
}
