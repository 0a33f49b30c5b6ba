//! The verdict screen: what is said of a film, how sure, and what to do about it.
//!
//! ```text
//!  ┌──────────────────────────────────────────┐
//!  │ sign  VERDICT IN LARGE WORDS             │  band
//!  │       reason or caution                  │
//!  ├───────────────┬──────────────────────────┤
//!  │               │ what to do               │
//!  │     film      │ three bars, or why the   │  body: side by side, or
//!  │   with map    │ film was not read        │  one above the other
//!  ├───────────────┴──────────────────────────┤
//!  │ intended use                       model │  footer
//!  └──────────────────────────────────────────┘
//! ```
//!
//! One description serves every size: lengths follow the screen's area. What has no room at a readable size is left out
//! whole, never cut: captions first, then the bars, then what to do, then the footer; the reason or caution moves beside
//! the film before it goes, and the verdict goes last.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{DrawTarget, DrawTargetExt, Point, Size};
use embedded_graphics::primitives::Rectangle;

use super::scene::Align;
use super::text::{self, Fitting, Weight};
use super::{Item, Scene, Sign, TextItem, film, theme};
use crate::domain::{
    Finding, GreyImage, OperatingPoint, Probabilities, Probability, Reading, SaliencyMap, Verdict, Window,
};

const INTENDED_USE: &str = "Research use. Not a medical device. A clinician decides.";
const WHAT_TO_DO: &str = "What to do";
const DETAILS: &str = "Details";
const MAP_CAPTION: &str = "Colour: where the model looked";
const NO_PICTURE: &str = "No picture to show";

/// What is drawn when a film was read, or could not be.
#[derive(Clone, Copy, Debug)]
pub struct VerdictScreen<'a> {
    /// The film; `None` when there is no picture that could be shown.
    pub film: Option<Film<'a>>,
    /// What is said of it.
    pub reading: &'a Reading,
    /// The lines that decided it.
    pub operating_point: &'a OperatingPoint,
    /// Name of the model.
    pub model_name: &'a str,
    /// Version of the model.
    pub model_version: &'a str,
}

/// A film to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Film<'a> {
    /// The grey picture.
    pub image: &'a GreyImage,
    /// Height of a pixel ÷ its width.
    pub pixel_aspect: f32,
    /// What the model looked at, and the part of the film that the map covers; not shown for a film that was not read.
    pub saliency: Option<(&'a SaliencyMap, Window)>,
}

impl VerdictScreen<'_> {
    /// Draws the screen on the whole of `target`.
    ///
    /// # Errors
    /// The target's own.
    pub fn draw<D>(&self, target: &mut D) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        let area = target.bounding_box();
        self.layout(area.size).draw(&mut target.translated(area.top_left))
    }

    /// What stands where on a screen of that size.
    pub fn layout(&self, size: Size) -> Scene {
        let mut scene = Scene::new(size, theme::GROUND);
        let measure = Measure::of(size);
        let whole = Rectangle::new(Point::zero(), size);
        let (rest, unsaid) = self.lay_band(&mut scene, measure, whole);
        let rest = self.lay_footer(&mut scene, measure, rest);
        let body = inset(rest, measure.gap(16.0), measure.gap(12.0));
        if body.size.width >= body.size.height {
            let gap = measure.gap(22.0);
            let narrowest = body.size.width * 3 / 8;
            let beside_bars = body.size.width.saturating_sub(gap + measure.details_width());
            let most = (body.size.width / 2).min(beside_bars.max(narrowest));
            let width =
                self.film_width(measure, Size::new(most, body.size.height)).max(body.size.width * 3 / 10).min(most);
            let (left, right) = split_left(body, width);
            self.lay_film(&mut scene, measure, left, Align::Left);
            self.lay_details(&mut scene, measure, cut_left(right, gap), unsaid);
        } else {
            let (upper, lower) = split_top(body, body.size.height * 11 / 20);
            self.lay_film(&mut scene, measure, upper, Align::Centre);
            self.lay_details(&mut scene, measure, cut_top(lower, measure.gap(14.0)), unsaid);
        }
        scene
    }

    /// Lays the band at the top; returns what is left below it, and the reason or caution if the band has no room for it.
    ///
    /// The verdict is never shortened: the band grows for it, and where even that is not enough the sign stands alone.
    fn lay_band(&self, scene: &mut Scene, measure: Measure, whole: Rectangle) -> (Rectangle, Option<&'static str>) {
        let verdict = &self.reading.verdict;
        let (colour, ground) = (theme::of_verdict(verdict), theme::band(verdict));
        let (margin, pad) = (measure.gap(16.0), measure.gap(6.0));
        let side = measure.sign_side(whole.size).min(whole.size.height).min(whole.size.width);
        let width = whole.size.width.saturating_sub(side + 3 * margin);
        let budget = measure.band_budget(whole.size).saturating_sub(2 * pad);
        let second = second_line(verdict).and_then(|words| {
            let one_line = Fitting { max_lines: 1, ..measure.fitting(25.0, 1) };
            let two_lines = Fitting { max_lines: 2, ..one_line };
            let fit = |how| text::fit(words, Weight::Regular, width, budget / 2, how).filter(|block| !block.shortened);
            let enough = one_line.max_px * 0.8;
            fit(one_line).filter(|block| block.px >= enough).or_else(|| fit(two_lines))
        });
        let second_height = second.as_ref().map_or(0, text::Block::height);
        let fit =
            |height, how| text::fit(verdict.words(), Weight::Bold, width, height, how).filter(|block| !block.shortened);
        let large = measure.fitting(52.0, 2);
        let small = |max_lines| Fitting { max_px: measure.min_px * 1.1, min_px: measure.min_px, max_lines };
        let with_second = fit(budget - second_height, large).map(|first| (Some(first), second));
        let alone = || {
            let height = whole.size.height;
            (fit(budget, large).or_else(|| fit(height, small(2))).or_else(|| fit(height, small(3))), None)
        };
        let (first, second) = with_second.unwrap_or_else(alone);

        let first_height = first.as_ref().map_or(0, text::Block::height);
        let texts_height = first_height + second.as_ref().map_or(0, text::Block::height);
        let (band, rest) =
            split_top(whole, (texts_height + 2 * pad).max(measure.band_least(whole.size, side + 4 * pad)));
        scene.fill(band, ground);
        let at = band.top_left + Point::new(margin as i32, (band.size.height - side) as i32 / 2);
        scene.items.push(Item::Sign { area: square(at, side), sign: Sign::of(verdict), colour, ground });
        let room = cut_right(cut_left(band, margin + side + margin), margin);
        let spare = band.size.height.saturating_sub(texts_height);
        let (upper, lower) = split_top(cut_top(room, spare / 2), first_height);
        if let Some(block) = first {
            scene.items.push(text_item(block, Weight::Bold, upper, Align::Left, (colour, ground)));
        }
        let Some(block) = second else { return (rest, second_line(verdict)) };
        scene.items.push(text_item(block, Weight::Regular, lower, Align::Left, (theme::TEXT, ground)));
        (rest, None)
    }

    /// Lays the footer at the bottom and returns what is left above it.
    fn lay_footer(&self, scene: &mut Scene, measure: Measure, rest: Rectangle) -> Rectangle {
        let how = measure.fitting(15.0, 2);
        let (margin, pad) = (measure.gap(16.0), measure.gap(6.0));
        let width = rest.size.width.saturating_sub(2 * margin);
        let colours = (theme::MUTED, theme::GROUND);
        let room = rest.size.height / 4;
        let intended = text::fit(INTENDED_USE, Weight::Regular, width, room, how).filter(|block| !block.shortened);
        let Some(intended) = intended else { return rest };
        let left = intended.width(Weight::Regular).min(width);
        let right = width.saturating_sub(left + 2 * margin);
        let whole_name = format!("{} {}", self.model_name, self.model_version);
        let beside = text::width(&whole_name, Weight::Regular, intended.px) <= right as f32;
        let model = self.model_line(if beside { right } else { width }, intended.px);
        let model_height = model.as_ref().filter(|_| !beside).map_or(0, text::Block::height);
        let height = intended.height() + model_height + 2 * pad;
        let (above, footer) = split_top(rest, rest.size.height.saturating_sub(height));
        let (rule, _) = split_top(inset(footer, margin, 0), 1);
        scene.fill(rule, theme::RULE);
        let (upper, lower) = split_top(inset(footer, margin, pad), intended.height());
        if let Some(model) = model {
            let (area, align) =
                if beside { (cut_left(upper, width - right), Align::Right) } else { (lower, Align::Left) };
            scene.items.push(text_item(model, Weight::Regular, area, align, colours));
        }
        let (area, _) = split_left(upper, left);
        scene.items.push(text_item(intended, Weight::Regular, area, Align::Left, colours));
        above
    }

    /// Name and version; a name that is too long is shortened, so that the version stays.
    fn model_line(&self, width: u32, px: f32) -> Option<text::Block> {
        let how = Fitting { max_px: px, min_px: px, max_lines: 1 };
        let height = text::line_height(px);
        let version = format!(" {}", self.model_version);
        let left = width.saturating_sub(text::width(&version, Weight::Regular, px).ceil() as u32);
        match text::fit(self.model_name, Weight::Regular, left, height, how) {
            Some(mut name) => {
                if let Some(line) = name.lines.first_mut() {
                    line.push_str(&version);
                }
                Some(name)
            }
            None => text::fit(&format!("{}{version}", self.model_name), Weight::Regular, width, height, how),
        }
    }

    fn film_width(&self, measure: Measure, room: Size) -> u32 {
        self.film.map_or(room.width * 4 / 5, |film| {
            let below = self.caption_height(measure, room.height);
            film::fitted(film.image, film.pixel_aspect, Size::new(room.width, room.height - below)).width
        })
    }

    /// The map that is laid over the film; none over a film that was not read.
    fn shown_map(&self) -> Option<(&SaliencyMap, Window)> {
        match self.reading.verdict {
            Verdict::Found(_) | Verdict::Indeterminate(_) => self.film?.saliency,
            Verdict::Rejected(_) => None,
        }
    }

    /// What the caption of the map takes from a film's place of that height, gap included; 0 without one.
    fn caption_height(&self, measure: Measure, height: u32) -> u32 {
        let line_height = text::line_height(measure.fitting(15.0, 1).max_px);
        if self.shown_map().is_some() && height > 12 * line_height { line_height + measure.gap(5.0) } else { 0 }
    }

    /// The film at the top of `area`; centred on black, or at the left on the screen's ground.
    fn lay_film(&self, scene: &mut Scene, measure: Measure, area: Rectangle, align: Align) {
        if area.size.width == 0 || area.size.height == 0 {
            return;
        }
        let Some(shown) = self.film else {
            self.lay_missing_film(scene, measure, area);
            return;
        };
        let below = self.caption_height(measure, area.size.height);
        let room = Size::new(area.size.width, area.size.height - below);
        let size = film::fitted(shown.image, shown.pixel_aspect, room);
        let spare = room - size;
        let (at, ground) = match align {
            Align::Left | Align::Right => (Point::zero(), size),
            Align::Centre => (Point::new(spare.width as i32 / 2, spare.height as i32 / 2), room),
        };
        scene.fill(Rectangle::new(area.top_left, ground), theme::FILM_GROUND);
        let pixels = film::draw(shown.image, self.shown_map(), size);
        scene.items.push(Item::Picture { area: Rectangle::new(area.top_left + at, size), pixels });
        let line = cut_top(area, ground.height + measure.gap(5.0).min(below));
        let how = measure.fitting(15.0, 1);
        let caption = text::fit(MAP_CAPTION, Weight::Regular, line.size.width, line.size.height, how);
        if let Some(block) = caption.filter(|block| below > 0 && !block.shortened) {
            scene.items.push(text_item(block, Weight::Regular, line, Align::Left, (theme::MUTED, theme::GROUND)));
        }
    }

    /// An empty frame that says so: never something that could be taken for a dark film.
    fn lay_missing_film(&self, scene: &mut Scene, measure: Measure, area: Rectangle) {
        let line = measure.gap(3.0);
        scene.fill(area, theme::RULE);
        let inner = inset(area, line, line);
        scene.fill(inner, theme::GROUND);
        let room = inset(inner, measure.gap(10.0), 0);
        let how = measure.fitting(18.0, 2);
        let block = text::fit(NO_PICTURE, Weight::Regular, room.size.width, room.size.height, how);
        let Some(block) = block.filter(|block| !block.shortened) else {
            return;
        };
        let spare = room.size.height.saturating_sub(block.height());
        let colours = (theme::MUTED, theme::GROUND);
        scene.items.push(text_item(block, Weight::Regular, cut_top(room, spare / 2), Align::Centre, colours));
    }

    /// What could not be said in the band comes first, then what to do, then the bars or why there are none.
    fn lay_details(&self, scene: &mut Scene, measure: Measure, area: Rectangle, unsaid: Option<&str>) {
        let verdict = &self.reading.verdict;
        let colours = (theme::TEXT, theme::GROUND);
        let mut rest = area;
        if let Some(words) = unsaid
            && let Some(block) = whole_text(words, Weight::Regular, rest.size, measure.fitting(24.0, 4))
        {
            let (upper, lower) = split_top(rest, block.height());
            scene.items.push(text_item(block, Weight::Regular, upper, Align::Left, colours));
            rest = cut_top(lower, measure.gap(8.0));
        }
        let bars = self.reading.probabilities.as_ref().map(|_| Bars::plan(measure, rest.size));
        let bars_height = bars.map_or(0, |bars| bars.height());
        let line = |base_px| text::line_height(measure.fitting(base_px, 1).max_px);
        if rest.size.height >= bars_height + line(15.0) + 2 * line(24.0) {
            let (label, below) = label_item(measure, rest, WHAT_TO_DO);
            scene.items.extend(label);
            rest = below;
        }
        let room = Size::new(rest.size.width, rest.size.height.saturating_sub(bars_height));
        if let Some(block) = whole_text(advice(verdict), Weight::Bold, room, measure.fitting(24.0, 3)) {
            let (upper, lower) = split_top(rest, block.height());
            scene.items.push(text_item(block, Weight::Bold, upper, Align::Left, colours));
            rest = lower;
        }
        if let (Some(probabilities), Some(bars)) = (&self.reading.probabilities, bars) {
            self.lay_bars(scene, measure, rest, bars, probabilities);
        } else if let Verdict::Rejected(rejection) = verdict {
            let rest = cut_top(rest, measure.gap(18.0));
            let (label, below) = label_item(measure, rest, DETAILS);
            let Size { width, height } = below.size;
            let how = measure.fitting(18.0, 8);
            if let Some(block) = text::fit(&capitalised(&rejection.detail), Weight::Regular, width, height, how) {
                scene.items.extend(label);
                scene.items.push(text_item(block, Weight::Regular, below, Align::Left, (theme::TEXT, theme::GROUND)));
            }
        }
    }

    /// The bars stand at the bottom of `area`, level with the lower edge of the film.
    fn lay_bars(
        &self,
        scene: &mut Scene,
        measure: Measure,
        area: Rectangle,
        bars: Bars,
        probabilities: &Probabilities,
    ) {
        let Bars { narrow, row_height, rows } = bars;
        let spare = area.size.height.saturating_sub(bars.height());
        let lines = self.lines_caption();
        let gap = measure.gap(6.0);
        let room = Size::new(area.size.width, spare.saturating_sub(gap));
        let caption = text::fit(&lines, Weight::Regular, room.width, room.height, measure.fitting(15.0, 1))
            .filter(|block| rows == Finding::ALL.len() && !block.shortened);
        let caption_height = caption.as_ref().map_or(0, |block| block.height() + gap);
        let mut rest = cut_top(area, spare.saturating_sub(caption_height));
        for finding in Finding::ALL.into_iter().take(rows) {
            let (row, below) = split_top(rest, row_height);
            self.lay_bar(scene, measure, row, finding, probabilities.of(finding), narrow);
            rest = below;
            if finding == Finding::Covid19
                && let Some(block) = &caption
            {
                let (upper, below) = split_top(cut_top(rest, gap), caption_height - gap);
                let colours = (theme::MUTED, theme::GROUND);
                scene.items.push(text_item(block.clone(), Weight::Regular, upper, Align::Left, colours));
                rest = below;
            }
        }
    }

    /// Words and number beside each other above the bar, or one above the other where it is `narrow`.
    fn lay_bar(
        &self,
        scene: &mut Scene,
        measure: Measure,
        row: Rectangle,
        finding: Finding,
        p: Probability,
        narrow: bool,
    ) {
        let decided = self.reading.verdict == Verdict::Found(finding);
        let weight = if decided { Weight::Bold } else { Weight::Regular };
        let how = measure.fitting(20.0, 1);
        let colours = (theme::TEXT, theme::GROUND);
        let line_height = text::line_height(how.max_px);
        let (first, below) = split_top(cut_top(row, measure.bar_gap()), line_height);
        let number = percent(p);
        let number_width = (text::width(&number, Weight::Bold, how.max_px).ceil() as u32).min(first.size.width);
        let (words, number_area, below) = if narrow {
            let (second, below) = split_top(below, line_height);
            (first, second, below)
        } else {
            let (left, right) = split_left(first, first.size.width - number_width);
            (cut_right(left, measure.gap(6.0)), right, below)
        };
        let Size { width, height } = number_area.size;
        if let Some(block) = text::fit(&number, Weight::Bold, width, height, how) {
            let align = if narrow { Align::Left } else { Align::Right };
            scene.items.push(text_item(block, Weight::Bold, number_area, align, colours));
        }
        if let Some(block) = text::fit(label(finding), weight, words.size.width, words.size.height, how) {
            scene.items.push(text_item(block, weight, words, Align::Left, colours));
        }

        let (bar, _) = split_top(cut_top(below, measure.bar_lift()), measure.bar_height());
        scene.items.push(Item::Bar {
            area: bar,
            filled_px: along(bar, p),
            colour: theme::of_finding(finding),
            track: theme::TRACK,
            ground: theme::GROUND,
        });
        if finding == Finding::Covid19 {
            let at = self.operating_point;
            for line in [at.rule_out(), at.rule_in()] {
                self.lay_line(scene, measure, bar, line);
            }
        }
    }

    /// A line of the operating point across a bar, with a dark seam on both sides so that it shows on every colour.
    fn lay_line(&self, scene: &mut Scene, measure: Measure, bar: Rectangle, line: Probability) {
        let (thick, seam, over) = (measure.gap(3.0), measure.gap(2.0), measure.bar_lift());
        let most = bar.size.width.saturating_sub(thick);
        let x = along(bar, line).saturating_sub(thick / 2).min(most) as i32;
        let at = bar.top_left + Point::new(x, -(over as i32));
        let size = Size::new(thick.min(bar.size.width), bar.size.height + 2 * over);
        let behind = Rectangle::new(at - Point::new(seam as i32, 0), size + Size::new(2 * seam, 0));
        scene.fill(behind, theme::GROUND);
        scene.fill(Rectangle::new(at, size), theme::TEXT);
    }

    fn lines_caption(&self) -> String {
        let at = self.operating_point;
        let (out, called) = (percent(at.rule_out()), percent(at.rule_in()));
        if out == called {
            format!("Covid-19 suspected from {called}")
        } else {
            format!("Suspected from {called}, cannot say from {out}")
        }
    }
}

/// Lengths that follow the screen: 1 is a screen of 800 × 480 pixels.
#[derive(Clone, Copy, Debug)]
struct Measure {
    length: f32,
    type_size: f32,
    min_px: f32,
}

impl Measure {
    fn of(size: Size) -> Self {
        /// Below this many columns or rows only the verdict and the film have a place.
        const POSTAGE_STAMP: u32 = 160;
        let area = f64::from(size.width) * f64::from(size.height);
        let length = ((area / (800.0 * 480.0)).sqrt() as f32).clamp(0.05, 6.0);
        let min_px = if size.width.min(size.height) < POSTAGE_STAMP { 8.0 } else { 10.0 };
        // Small panels are held closer, so letters shrink less than the screen.
        Self { length, type_size: length.powf(0.75), min_px }
    }

    /// A length, at least 1 pixel.
    fn gap(self, base: f32) -> u32 {
        (base * self.length).round().max(1.0) as u32
    }

    fn fitting(self, base_px: f32, max_lines: usize) -> Fitting {
        // Whole steps: the same words have the same size everywhere.
        let max_px = ((base_px * self.type_size * 2.0).round() / 2.0).max(self.min_px);
        Fitting { max_px, min_px: self.min_px, max_lines }
    }

    /// The height that the band takes where it can.
    fn band_budget(self, size: Size) -> u32 {
        let share = if size.width > size.height { 0.25 } else { 0.27 };
        (size.height as f32 * share).round() as u32
    }

    /// The least height of the band: on a wide screen the same for every verdict, else `around_sign`.
    fn band_least(self, size: Size, around_sign: u32) -> u32 {
        if size.width > size.height { around_sign.max(self.band_budget(size)) } else { around_sign }
    }

    fn sign_side(self, size: Size) -> u32 {
        (size.height as f32 * 0.19).min(size.width as f32 * 0.17).max(self.min_px * 1.6).round() as u32
    }

    /// The least that the words of a bar need beside each other.
    fn details_width(self) -> u32 {
        let words = label(Finding::Pneumonia);
        let wide = text::width(words, Weight::Bold, self.min_px)
            + text::width(">99\u{a0}%", Weight::Bold, self.fitting(20.0, 1).max_px);
        wide.ceil() as u32 + 2 * self.gap(6.0)
    }

    fn bar_height(self) -> u32 {
        self.gap(14.0).max(4)
    }

    /// Above the words of a bar.
    fn bar_gap(self) -> u32 {
        self.gap(14.0)
    }

    /// Between the words and the bar; the lines of the operating point reach into it.
    fn bar_lift(self) -> u32 {
        self.gap(4.0)
    }

    fn row_height(self) -> u32 {
        text::line_height(self.fitting(20.0, 1).max_px) + self.bar_height() + self.bar_gap() + self.bar_lift()
    }
}

/// How the bars are laid out.
#[derive(Clone, Copy, Debug)]
struct Bars {
    /// Words and number one above the other.
    narrow: bool,
    row_height: u32,
    rows: usize,
}

impl Bars {
    /// All three where they leave room for two lines of advice, else the first alone: two of three would be read as a
    /// choice between two.
    fn plan(measure: Measure, room: Size) -> Self {
        let narrow = room.width < measure.details_width();
        let line_height = text::line_height(measure.fitting(20.0, 1).max_px);
        let row_height = if narrow { measure.row_height() + line_height } else { measure.row_height() };
        let advice_height = 2 * text::line_height(measure.min_px);
        let all = Finding::ALL.len();
        let rows = match room.height {
            height if height >= row_height * all as u32 + advice_height => all,
            height if height >= row_height => 1,
            _ => 0,
        };
        Self { narrow, row_height, rows }
    }

    fn height(self) -> u32 {
        self.row_height * self.rows as u32
    }
}

/// A small label at the top of an area, and what is left below it.
fn label_item(measure: Measure, area: Rectangle, words: &str) -> (Option<Item>, Rectangle) {
    let how = measure.fitting(15.0, 1);
    let height = text::line_height(how.max_px).min(area.size.height);
    let Some(block) = text::fit(words, Weight::Regular, area.size.width, height, how) else { return (None, area) };
    let (upper, lower) = split_top(area, block.height());
    (Some(text_item(block, Weight::Regular, upper, Align::Left, (theme::MUTED, theme::GROUND))), lower)
}

/// Under the verdict: the reason why nothing is said, or what the verdict must not be taken for.
fn second_line(verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Found(Finding::Covid19) => Some("The film alone does not prove it"),
        Verdict::Found(Finding::Pneumonia | Finding::Normal) => Some("This does not rule out Covid-19"),
        Verdict::Indeterminate(_) | Verdict::Rejected(_) => verdict.reason().map(|reason| reason.words()),
    }
}

/// What to do now.
fn advice(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Found(Finding::Covid19) => "Isolate, confirm with a PCR\u{a0}test, refer to a clinician",
        Verdict::Found(Finding::Pneumonia) => "Refer to a clinician; consider a PCR test",
        Verdict::Found(Finding::Normal) => "With symptoms or contact: do a PCR\u{a0}test",
        Verdict::Indeterminate(doubt) => doubt.reason().advice(),
        Verdict::Rejected(rejection) => rejection.reason.advice(),
    }
}

fn label(finding: Finding) -> &'static str {
    match finding {
        Finding::Covid19 => "Covid-19",
        Finding::Pneumonia => "Other pneumonia",
        Finding::Normal => "No pneumonia",
    }
}

fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Whole percent; never "0 %" or "100 %" for what is only nearly so.
fn percent(p: Probability) -> String {
    let hundredths = p.get() * 100.0;
    if hundredths > 0.0 && hundredths < 1.0 {
        "<1\u{a0}%".to_owned()
    } else if hundredths > 99.0 && hundredths < 100.0 {
        ">99\u{a0}%".to_owned()
    } else {
        format!("{hundredths:.0}\u{a0}%")
    }
}

/// Where a probability lies on a bar, in pixels from its left end.
fn along(bar: Rectangle, p: Probability) -> u32 {
    (bar.size.width as f32 * p.get()).round() as u32
}

/// The largest text that fits; nothing rather than a part of it.
fn whole_text(words: &str, weight: Weight, room: Size, how: Fitting) -> Option<text::Block> {
    text::fit(words, weight, room.width, room.height, how).filter(|block| !block.shortened)
}

fn text_item(block: text::Block, weight: Weight, area: Rectangle, align: Align, colours: (Rgb888, Rgb888)) -> Item {
    Item::Text(TextItem::place(block, weight, area, align, colours))
}

fn square(at: Point, side: u32) -> Rectangle {
    Rectangle::new(at, Size::new(side, side))
}

/// The upper `height` pixels, and the rest.
fn split_top(area: Rectangle, height: u32) -> (Rectangle, Rectangle) {
    let height = height.min(area.size.height);
    let upper = Rectangle::new(area.top_left, Size::new(area.size.width, height));
    (upper, cut_top(area, height))
}

/// The left `width` pixels, and the rest.
fn split_left(area: Rectangle, width: u32) -> (Rectangle, Rectangle) {
    let width = width.min(area.size.width);
    let left = Rectangle::new(area.top_left, Size::new(width, area.size.height));
    (left, cut_left(area, width))
}

fn cut_top(area: Rectangle, height: u32) -> Rectangle {
    let height = height.min(area.size.height);
    let at = area.top_left + Point::new(0, height as i32);
    Rectangle::new(at, Size::new(area.size.width, area.size.height - height))
}

fn cut_left(area: Rectangle, width: u32) -> Rectangle {
    let width = width.min(area.size.width);
    let at = area.top_left + Point::new(width as i32, 0);
    Rectangle::new(at, Size::new(area.size.width - width, area.size.height))
}

fn cut_right(area: Rectangle, width: u32) -> Rectangle {
    Rectangle::new(area.top_left, Size::new(area.size.width.saturating_sub(width), area.size.height))
}

/// What is left when every side loses pixels: `across` left and right, `down` above and below.
fn inset(area: Rectangle, across: u32, down: u32) -> Rectangle {
    let area = cut_right(cut_left(area, across), across);
    let area = cut_top(area, down);
    Rectangle::new(area.top_left, Size::new(area.size.width, area.size.height.saturating_sub(down)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_certain_is_not_shown_as_certain() {
        let shown = |p| percent(Probability::new(p).expect("a probability")).replace('\u{a0}', " ");
        let expected = ["0 %", "<1 %", "<1 %", "1 %", "50 %", "99 %", ">99 %", ">99 %", "100 %"];
        for (p, expected) in [0.0, 1e-9, 0.005, 0.0101, 0.5, 0.99, 0.9901, 0.999_999, 1.0].into_iter().zip(expected) {
            assert_eq!(shown(p), expected, "{p}");
        }
    }

    #[test]
    fn no_verdict_but_normal_is_shown_as_clear() {
        for finding in [Finding::Covid19, Finding::Pneumonia] {
            assert_ne!(Sign::of(&Verdict::Found(finding)), Sign::Clear);
        }
        for verdict in [Finding::Pneumonia, Finding::Normal].map(Verdict::Found) {
            assert_eq!(second_line(&verdict), Some("This does not rule out Covid-19"));
        }
    }
}
