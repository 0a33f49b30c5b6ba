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

use super::area::{cut_left, cut_right, cut_top, inset, split_left, split_top, square};
use super::measure::Measure;
use super::scene::Align;
use super::screen::{count_of, moment};
use super::sheet::{Kind, Part, Sheet, lay_keys, line_across};
use super::text::{self, Fitting, Weight};
use super::words::{Phrase, Words};
use super::{Case, Item, Look, Page, Scene, Sign, Source, TextItem, Who, film, theme};
use crate::domain::{
    Finding, GreyImage, OperatingPoint, Probabilities, Probability, Reading, SaliencyMap, Verdict, Window,
};

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
    /// Which page is shown.
    pub page: Page,
    /// What is known of the case; `None` where nothing is shown of it.
    pub case: Option<Case<'a>>,
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
    pub fn draw<D>(&self, target: &mut D, look: Look) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        let area = target.bounding_box();
        self.scene(area.size, look).draw(&mut target.translated(area.top_left))
    }

    /// What stands where on a screen of that size.
    pub fn scene(&self, size: Size, look: Look) -> Scene {
        let scene = match self.page {
            Page::Whole | Page::Verdict => self.verdict_page(size, look),
            Page::Map => self.map_page(size, look),
            Page::Details => self.details_page(size, look),
        };
        if look.language.right_to_left() { scene.mirrored() } else { scene }
    }

    fn verdict_page(&self, size: Size, look: Look) -> Scene {
        let mut scene = Scene::new(size, theme::GROUND);
        let measure = Measure::of(size, Words(look.language));
        let whole = Rectangle::new(Point::zero(), size);
        let (rest, unsaid) = self.lay_band(&mut scene, measure, whole);
        let rest = self.lay_case(&mut scene, measure, rest);
        let rest = lay_keys(&mut scene, measure, rest, look);
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

    /// The film as large as it gets, under a narrow band with the verdict.
    fn map_page(&self, size: Size, look: Look) -> Scene {
        let mut scene = Scene::new(size, theme::GROUND);
        let measure = Measure::of(size, Words(look.language));
        let verdict = &self.reading.verdict;
        let (colour, ground) = (theme::of_verdict(verdict), theme::band(verdict));
        let (margin, pad) = (measure.gap(16.0), measure.gap(6.0));
        let whole = Rectangle::new(Point::zero(), size);
        let how = measure.fitting(26.0, 1);
        let side = (how.max_px * 1.2).round() as u32;
        let room = size.width.saturating_sub(side + 3 * margin);
        let line_height = text::line_height(how.max_px);
        let words = of_verdict(measure.words, verdict);
        let block = text::fit(words, Weight::Bold, room, line_height, how);
        let (band, rest) = split_top(whole, side.max(line_height) + 2 * pad);
        scene.fill(band, ground);
        if side + margin <= band.size.width && side <= band.size.height {
            let at = band.top_left + Point::new(margin as i32, (band.size.height - side) as i32 / 2);
            scene.items.push(Item::Sign {
                area: square(at, side),
                sign: Sign::of(verdict),
                colour,
                ground,
                mirrored: false,
            });
        }
        if let Some(block) = block.filter(|block| block.height() <= band.size.height) {
            let spare = band.size.height.saturating_sub(block.height()) / 2;
            let area = cut_top(cut_right(cut_left(band, margin + side + margin), margin), spare);
            scene.items.push(text_item(block, Weight::Bold, area, Align::Left, (colour, ground)));
        }
        let rest = self.lay_case(&mut scene, measure, rest);
        let rest = lay_keys(&mut scene, measure, rest, look);
        self.lay_film(&mut scene, measure, inset(rest, measure.gap(10.0), measure.gap(6.0)), Align::Centre);
        scene
    }

    /// Who is on the film and when it was read, in a strip at the top; returns what is left below it.
    fn lay_case(&self, scene: &mut Scene, measure: Measure, rest: Rectangle) -> Rectangle {
        let Some(case) = &self.case else { return rest };
        let words = measure.words;
        let (_, who) = of_who(words, case.who);
        let who = match case.position {
            Some((index, of)) => format!("{who} · {}", count_of(words, index, of)),
            None => who,
        };
        let when = moment(words, case.when);
        let how = measure.fitting(18.0, 1);
        let (margin, pad) = (measure.gap(16.0), measure.gap(4.0));
        let (width, line_height) = (rest.size.width.saturating_sub(2 * margin), text::line_height(how.max_px));
        let ground = theme::STRIP;
        let named = text::width(&who, Weight::Bold, how.max_px).ceil() as u32;
        let timed = text::width(&when, Weight::Regular, how.max_px).ceil() as u32;
        let beside = named + timed + margin <= width;
        let lines = if beside { 1 } else { 2 };
        let (strip, below) = split_top(rest, lines * line_height + 2 * pad);
        if strip.size.height * 4 > rest.size.height {
            return rest;
        }
        scene.fill(strip, ground);
        let inner = inset(strip, margin, pad);
        let (upper, lower) = split_top(inner, line_height);
        let (left, right) = if beside { (split_left(upper, named).0, cut_left(upper, named)) } else { (upper, lower) };
        let align = if beside { Align::Right } else { Align::Left };
        // A long name is shortened at its end; a time is whole or not there.
        let smallest = Fitting { min_px: how.max_px, ..how };
        if let Some(block) = text::fit(&who, Weight::Bold, left.size.width, line_height, smallest) {
            scene.items.push(text_item(block, Weight::Bold, left, Align::Left, (theme::TEXT, ground)));
        }
        if let Some(block) = whole_text(&when, Weight::Regular, right.size, how) {
            scene.items.push(text_item(block, Weight::Regular, right, align, (theme::TEXT, ground)));
        }
        below
    }

    /// What the verdict rests on.
    fn details_page(&self, size: Size, look: Look) -> Scene {
        let words = Words(look.language);
        let verdict = &self.reading.verdict;
        let mut first = Vec::new();
        let model = format!("{} {}", self.model_name, self.model_version);
        if let Some(case) = &self.case {
            let (name, value) = of_who(words, case.who);
            first.push(Part::row(0, words.say(name), value));
            first.push(Part::row(0, words.say(Phrase::ReadAt), moment(words, case.when)));
            first.push(Part::row(1, words.say(Phrase::RecordNumber), words.count(case.sequence)));
            first.push(Part::row(3, words.say(Phrase::CameBy), words.say(of_source(case.source))));
        }
        first.push(Part::row(0, words.say(Phrase::Model), model));
        let mut second = Vec::new();
        if let Some(probabilities) = &self.reading.probabilities {
            for finding in Finding::ALL {
                let p = probabilities.of(finding);
                let covid = finding == Finding::Covid19;
                let at = self.operating_point;
                second.push(Part::new(
                    0,
                    Kind::Probability {
                        name: words.say(label(finding)).to_owned(),
                        number: words.percent(p),
                        share: p.get(),
                        colour: theme::of_finding(finding),
                        lines: if covid { vec![at.rule_out().get(), at.rule_in().get()] } else { Vec::new() },
                        caption: if covid { self.lines_caption(words) } else { String::new() },
                    },
                ));
            }
        } else if let Verdict::Rejected(rejection) = verdict {
            second.push(Part::label(1, words.say(Phrase::WhatToDo)));
            second.push(Part::bold(0, advice(words, verdict)));
            if !rejection.detail.is_empty() {
                second.push(Part::label(1, words.say(Phrase::Details)));
                second.push(Part::new(1, Kind::Small(capitalised(&rejection.detail))));
            }
        } else {
            second.push(Part::label(1, words.say(Phrase::WhatToDo)));
            second.push(Part::bold(0, advice(words, verdict)));
        }
        let sheet = Sheet {
            sign: Sign::of(verdict),
            tone: theme::of_verdict(verdict),
            title: of_verdict(words, verdict).to_owned(),
            lead: second_line(words, verdict).unwrap_or_default().to_owned(),
            first,
            second,
            foot: words.say(Phrase::IntendedUse).to_owned(),
            film: None,
            scroll: None,
            counts_left_out: false,
        };
        sheet.scene(size, look)
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
        let second = second_line(measure.words, verdict).and_then(|words| {
            let one_line = Fitting { max_lines: 1, ..measure.fitting(25.0, 1) };
            let two_lines = Fitting { max_lines: 2, ..one_line };
            let fit = |how| text::fit(words, Weight::Regular, width, budget / 2, how).filter(|block| !block.shortened);
            let enough = one_line.max_px * 0.8;
            fit(one_line).filter(|block| block.px >= enough).or_else(|| fit(two_lines))
        });
        let second_height = second.as_ref().map_or(0, text::Block::height);
        let fit = |height, how| {
            text::fit(of_verdict(measure.words, verdict), Weight::Bold, width, height, how)
                .filter(|block| !block.shortened)
        };
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
        scene.items.push(Item::Sign {
            area: square(at, side),
            sign: Sign::of(verdict),
            colour,
            ground,
            mirrored: false,
        });
        let room = cut_right(cut_left(band, margin + side + margin), margin);
        let spare = band.size.height.saturating_sub(texts_height);
        let (upper, lower) = split_top(cut_top(room, spare / 2), first_height);
        if let Some(block) = first {
            scene.items.push(text_item(block, Weight::Bold, upper, Align::Left, (colour, ground)));
        }
        let Some(block) = second else { return (rest, second_line(measure.words, verdict)) };
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
        let intended = text::fit(measure.words.say(Phrase::IntendedUse), Weight::Regular, width, room, how)
            .filter(|block| !block.shortened);
        let Some(intended) = intended else { return rest };
        let left = intended.width(Weight::Regular).min(width);
        let right = width.saturating_sub(left + 2 * margin);
        let whole_name = format!("{} {}", self.model_name, self.model_version);
        let beside = text::width(&whole_name, Weight::Regular, intended.px) <= right as f32;
        // Where a case is shown, its page of details names the model too.
        let model =
            (beside || self.case.is_none()).then(|| self.model_line(if beside { right } else { width }, intended.px));
        let model = model.flatten();
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

    /// The map that is laid over the film: where it is asked for, and never over a film that was not read.
    fn shown_map(&self) -> Option<(&SaliencyMap, Window)> {
        if matches!(self.page, Page::Verdict | Page::Details) {
            return None;
        }
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
        let caption =
            text::fit(measure.words.say(Phrase::MapCaption), Weight::Regular, line.size.width, line.size.height, how);
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
        let block =
            text::fit(measure.words.say(Phrase::NoPicture), Weight::Regular, room.size.width, room.size.height, how);
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
        let told = advice(measure.words, verdict);
        let whole = |height| {
            whole_text(told, Weight::Bold, Size::new(rest.size.width, height), measure.fitting(24.0, 4)).is_some()
        };
        let bars = self.reading.probabilities.as_ref().map(|_| Bars::plan(measure, rest.size, whole));
        let bars_height = bars.map_or(0, |bars| bars.height());
        let line = |base_px| text::line_height(measure.fitting(base_px, 1).max_px);
        if rest.size.height >= bars_height + line(15.0) + 2 * line(24.0) {
            let (label, below) = label_item(measure, rest, measure.words.say(Phrase::WhatToDo));
            scene.items.extend(label);
            rest = below;
        }
        let room = Size::new(rest.size.width, rest.size.height.saturating_sub(bars_height));
        if let Some(block) = whole_text(told, Weight::Bold, room, measure.fitting(24.0, 4)) {
            let (upper, lower) = split_top(rest, block.height());
            scene.items.push(text_item(block, Weight::Bold, upper, Align::Left, colours));
            rest = lower;
        }
        if let (Some(probabilities), Some(bars)) = (&self.reading.probabilities, bars) {
            self.lay_bars(scene, measure, rest, bars, probabilities);
        } else if let Verdict::Rejected(rejection) = verdict {
            let rest = cut_top(rest, measure.gap(18.0));
            let (label, below) = label_item(measure, rest, measure.words.say(Phrase::Details));
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
        let lines = self.lines_caption(measure.words);
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
        let number = measure.words.percent(p);
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
        if let Some(block) =
            text::fit(measure.words.say(label(finding)), weight, words.size.width, words.size.height, how)
        {
            scene.items.push(text_item(block, weight, words, Align::Left, colours));
        }

        let (bar, _) = split_top(cut_top(below, measure.bar_lift()), measure.bar_height());
        scene.items.push(Item::Bar {
            area: bar,
            filled_px: along(bar, p),
            colour: theme::of_finding(finding),
            track: theme::TRACK,
            ground: theme::GROUND,
            from_right: false,
        });
        if finding == Finding::Covid19 {
            let at = self.operating_point;
            for line in [at.rule_out(), at.rule_in()] {
                scene.items.extend(line_across(measure, bar, line.get(), measure.bar_lift()));
            }
        }
    }

    fn lines_caption(&self, words: Words) -> String {
        let at = self.operating_point;
        let (open, called) = (words.percent(at.rule_out()), words.percent(at.rule_in()));
        if open == called {
            words.fill(Phrase::SuspectedFrom, &[("called", &called)])
        } else {
            words.fill(Phrase::SuspectedOrCannotSay, &[("called", &called), ("open", &open)])
        }
    }
}

impl Measure {
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
        let words = self.words.say(label(Finding::Pneumonia));
        let wide = text::width(words, Weight::Bold, self.min_px)
            + text::width(self.words.widest_percent(), Weight::Bold, self.fitting(20.0, 1).max_px);
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
    /// All three where what to do still fits, else the first alone: two of three would be read as a choice between two.
    fn plan(measure: Measure, room: Size, advice_fits: impl Fn(u32) -> bool) -> Self {
        let narrow = room.width < measure.details_width();
        let line_height = text::line_height(measure.fitting(20.0, 1).max_px);
        let row_height = if narrow { measure.row_height() + line_height } else { measure.row_height() };
        let fits = |rows: &usize| {
            let bars_height = row_height * *rows as u32;
            room.height.checked_sub(bars_height).is_some_and(&advice_fits)
        };
        let rows = [Finding::ALL.len(), 1].into_iter().find(fits).unwrap_or(0);
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
fn second_line(words: Words, verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Found(Finding::Covid19) => Some(words.say(Phrase::FilmAloneDoesNotProve)),
        Verdict::Found(Finding::Pneumonia | Finding::Normal) => Some(words.say(Phrase::DoesNotRuleOutCovid)),
        Verdict::Indeterminate(_) | Verdict::Rejected(_) => verdict.reason().map(|reason| words.explain(reason).words),
    }
}

/// What to do now.
fn advice(words: Words, verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Found(Finding::Covid19) => words.say(Phrase::AdviceCovid19),
        Verdict::Found(Finding::Pneumonia) => words.say(Phrase::AdvicePneumonia),
        Verdict::Found(Finding::Normal) => words.say(Phrase::AdviceNormal),
        Verdict::Indeterminate(doubt) => words.explain(doubt.reason()).advice,
        Verdict::Rejected(rejection) => words.explain(rejection.reason).advice,
    }
}

/// What is said of a film, in large words.
pub(super) fn of_verdict(words: Words, verdict: &Verdict) -> &'static str {
    words.say(match verdict {
        Verdict::Found(Finding::Covid19) => Phrase::Covid19Suspected,
        Verdict::Found(Finding::Pneumonia) => Phrase::PneumoniaSuspected,
        Verdict::Found(Finding::Normal) => Phrase::NoPneumoniaSeen,
        Verdict::Indeterminate(_) => Phrase::CannotSay,
        Verdict::Rejected(_) => Phrase::NotRead,
    })
}

/// What names the one on the film, and the name.
pub(super) fn of_who(words: Words, who: Who<'_>) -> (Phrase, String) {
    match who {
        Who::Hidden => (Phrase::Patient, words.say(Phrase::PatientHidden).to_owned()),
        Who::Unknown => (Phrase::Patient, words.say(Phrase::PatientNotGiven).to_owned()),
        Who::Patient(name) => (Phrase::Patient, words.apart(name)),
        Who::Study(name) => (Phrase::Study, words.apart(name)),
    }
}

pub(super) fn of_source(source: Source) -> Phrase {
    match source {
        Source::File => Phrase::ByFile,
        Source::Network => Phrase::ByNetwork,
        Source::Folder => Phrase::ByFolder,
        Source::Drive => Phrase::ByDrive,
        Source::Camera => Phrase::ByCamera,
    }
}

fn label(finding: Finding) -> Phrase {
    match finding {
        Finding::Covid19 => Phrase::LabelCovid19,
        Finding::Pneumonia => Phrase::LabelPneumonia,
        Finding::Normal => Phrase::LabelNormal,
    }
}

fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
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

#[cfg(test)]
mod tests {
    use super::super::words::Explained;
    use super::super::{Hint, Keys, When};
    use super::*;
    use crate::domain::{Doubt, Language, Reason, Rejection};

    #[test]
    fn no_verdict_but_normal_is_shown_as_clear() {
        for finding in [Finding::Covid19, Finding::Pneumonia] {
            assert_ne!(Sign::of(&Verdict::Found(finding)), Sign::Clear);
        }
        for language in Language::ALL {
            let words = Words(language);
            for verdict in [Finding::Pneumonia, Finding::Normal].map(Verdict::Found) {
                assert_eq!(second_line(words, &verdict), Some(words.say(Phrase::DoesNotRuleOutCovid)), "{language}");
            }
        }
    }

    /// Sizes of panels that the same description has to serve.
    const PANELS: [(u32, u32); 7] =
        [(240, 240), (320, 240), (240, 320), (480, 320), (800, 480), (480, 800), (1280, 800)];

    fn said(scene: &Scene) -> Vec<String> {
        let whole = |text: &TextItem| text.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(" ");
        scene.texts().map(whole).collect()
    }

    #[track_caller]
    fn check_told(reading: &Reading, case: Option<Case<'_>>, due: impl Fn(Words) -> Vec<&'static str>) {
        let point = OperatingPoint::new(0.12, 0.45, 0.40, 0.60).expect("in order");
        for language in Language::ALL {
            for (width, height) in PANELS {
                for page in [Page::Verdict, Page::Details] {
                    let screen = VerdictScreen {
                        film: None,
                        reading,
                        operating_point: &point,
                        model_name: "m",
                        model_version: "1",
                        page,
                        case,
                    };
                    let keys = Keys { next: Some(Hint::Map), select: Some(Hint::Done) };
                    let told = said(&screen.scene(Size::new(width, height), Look { language, keys }));
                    for words in due(Words(language)) {
                        // Lines end at spaces, and a space that keeps words together is one of them.
                        let found = told.iter().any(|text| text == words);
                        let needed = page == Page::Verdict || reading.probabilities.is_none();
                        assert!(
                            found || !needed,
                            "{language} at {width} × {height}, {page:?}: no {words:?} in {told:?}"
                        );
                    }
                }
            }
        }
    }

    fn case(verified: bool) -> Option<Case<'static>> {
        let when = When { unix_s: 1_795_605_600, utc_offset_s: 0, verified };
        let position = Some((3, 17));
        Some(Case { sequence: 1289, who: Who::Patient("P-104233"), when, source: Source::Network, position })
    }

    #[test]
    fn why_a_film_was_refused_is_told_in_full_on_every_panel_in_every_language() {
        for reason in Reason::ALL {
            let reading = Reading::rejected(Rejection::new(reason, "found 1, expected 2"));
            let due = |words: Words| {
                let Explained { words: why, advice } = words.explain(reason);
                vec![words.say(Phrase::NotRead), why, advice]
            };
            check_told(&reading, case(false), due);
        }
    }

    #[test]
    fn a_verdict_its_caution_and_what_to_do_are_told_on_every_panel_in_every_language() {
        let verdicts = Finding::ALL.map(Verdict::Found).into_iter();
        let doubts = [Doubt::BetweenThresholds, Doubt::PneumoniaOrNormal].map(Verdict::Indeterminate);
        for verdict in verdicts.chain(doubts) {
            let probabilities = Probabilities::from_logits([0.1, 0.2, 0.3], 1.0);
            let reading = Reading { verdict: verdict.clone(), probabilities, covid_positive: None };
            let due = |words: Words| {
                let caution = second_line(words, &verdict).expect("every verdict has one");
                vec![of_verdict(words, &verdict), caution, advice(words, &verdict), words.say(Phrase::IntendedUse)]
            };
            check_told(&reading, case(true), due);
            check_told(&reading, case(false), due);
        }
    }
}
