//! Screens of words: a band with a sign and a title, parts below it in one or two groups, the keys at the bottom.
//!
//! ```text
//!  ┌──────────────────────────────────────────┐
//!  │ sign  TITLE                              │  band
//!  │       lead                               │
//!  ├─────────────────────┬────────────────────┤
//!  │ first group         │ second group       │  side by side, or
//!  │                     │                    │  one above the other
//!  ├─────────────────────┴────────────────────┤
//!  │ ● next                          ■ select │  keys
//!  └──────────────────────────────────────────┘
//! ```
//!
//! All parts share one scale, the largest at which they fit. What has no room at the smallest readable size is left out
//! whole, the highest rank first; only then is text shortened.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{Point, Size};
use embedded_graphics::primitives::Rectangle;

use super::area::{cut_left, cut_right, cut_top, inset, split_left, split_top, square};
use super::measure::Measure;
use super::scene::Align;
use super::text::{self, Fitting, Weight};
use super::words::{Phrase, Words};
use super::{Film, Hint, Item, Look, Scene, Sign, TextItem, film, theme};

/// A screen of words.
pub(super) struct Sheet<'a> {
    /// In the band.
    pub(super) sign: Sign,
    /// Colour of the sign and the title.
    pub(super) tone: Rgb888,
    /// In large words.
    pub(super) title: String,
    /// Below the title; empty for none.
    pub(super) lead: String,
    /// What comes first.
    pub(super) first: Vec<Part>,
    /// What comes second, beside or below; may be empty.
    pub(super) second: Vec<Part>,
    /// One line above the keys; empty for none.
    pub(super) foot: String,
    /// A film before the first group.
    pub(super) film: Option<Film<'a>>,
    /// The part of the first group that has to be seen; those around it as far as there is room.
    pub(super) scroll: Option<usize>,
    /// Whether it is said how many parts had no room.
    pub(super) counts_left_out: bool,
}

/// One part of a sheet, and how readily it is left out: 0 never.
pub(super) struct Part {
    pub(super) rank: u8,
    pub(super) kind: Kind,
}

/// What a part shows.
pub(super) enum Kind {
    /// Small, above what it names.
    Label(String),
    /// Lines of text.
    Lines(String, Weight),
    /// A name and its value.
    Row {
        /// Before the name.
        mark: Option<(Sign, Rgb888)>,
        /// Empty where the value speaks for itself.
        name: String,
        /// The value.
        value: String,
        /// Whether it is pointed at.
        chosen: bool,
    },
    /// How far something has come, 0 to 1.
    Progress(f32),
    /// A probability, named, with lines across it.
    Probability {
        /// What of.
        name: String,
        /// In words.
        number: String,
        /// 0 to 1.
        share: f32,
        /// Of the filled part.
        colour: Rgb888,
        /// Places of lines, 0 to 1.
        lines: Vec<f32>,
        /// Below the bar; empty for none.
        caption: String,
    },
    /// Small text that may be shortened.
    Small(String),
    /// A past case in a list.
    Case {
        /// Sign of its verdict.
        mark: (Sign, Rgb888),
        /// In words.
        verdict: String,
        /// Number and name.
        who: String,
        /// When it was read.
        when: String,
        /// Whether it is pointed at.
        chosen: bool,
    },
    /// Room.
    Space,
}

impl Part {
    pub(super) fn new(rank: u8, kind: Kind) -> Self {
        Self { rank, kind }
    }

    pub(super) fn label(rank: u8, words: &str) -> Self {
        Self::new(rank, Kind::Label(words.to_owned()))
    }

    pub(super) fn lines(rank: u8, words: &str) -> Self {
        Self::new(rank, Kind::Lines(words.to_owned(), Weight::Regular))
    }

    pub(super) fn bold(rank: u8, words: &str) -> Self {
        Self::new(rank, Kind::Lines(words.to_owned(), Weight::Bold))
    }

    pub(super) fn row(rank: u8, name: &str, value: impl Into<String>) -> Self {
        Self::new(rank, Kind::Row { mark: None, name: name.to_owned(), value: value.into(), chosen: false })
    }

    pub(super) fn space(rank: u8) -> Self {
        Self::new(rank, Kind::Space)
    }
}

impl Sheet<'_> {
    /// A sheet that has only a title.
    pub(super) fn new(sign: Sign, tone: Rgb888, title: &str) -> Self {
        Self {
            sign,
            tone,
            title: title.to_owned(),
            lead: String::new(),
            first: Vec::new(),
            second: Vec::new(),
            foot: String::new(),
            film: None,
            scroll: None,
            counts_left_out: false,
        }
    }

    /// What stands where on a screen of that size.
    pub(super) fn scene(&self, size: Size, look: Look) -> Scene {
        let mut scene = Scene::new(size, theme::GROUND);
        let measure = Measure::of(size, Words(look.language));
        let whole = Rectangle::new(Point::zero(), size);
        let rest = self.lay_band(&mut scene, measure, whole);
        let rest = lay_foot(&mut scene, measure, rest, look, &self.foot);
        let mut body = inset(rest, measure.gap(16.0), measure.gap(12.0));
        if let Some(film) = self.film {
            let wide = body.size.width > body.size.height;
            let gap = measure.gap(22.0);
            let (place, others) = if wide {
                let (left, right) = split_left(body, body.size.width * 9 / 20);
                (left, cut_left(right, gap))
            } else {
                let (upper, lower) = split_top(body, body.size.height / 2);
                (upper, cut_top(lower, gap))
            };
            film::lay(&mut scene, film, place);
            body = others;
        }
        if let Some(seen) = self.scroll {
            self.lay_list(&mut scene, measure, body, seen);
            return scene;
        }
        let mut parts = [self.first.iter().collect::<Vec<_>>(), self.second.iter().collect()];
        let all: usize = parts.iter().map(Vec::len).sum();
        loop {
            let plan = |scale| Plan { measure, scale, shorten: false };
            let left_out = all - parts.iter().map(Vec::len).sum::<usize>();
            let more = (self.counts_left_out && left_out > 0).then(|| more(left_out, Words(look.language)));
            let mut shown = parts.clone();
            let last = usize::from(!shown[1].is_empty());
            shown[last].extend(&more);
            // Rather the first of a long list than all of it in letters that nobody reads.
            let least = if self.counts_left_out { READABLE } else { 0.0 };
            let scales = SCALES.into_iter().filter(|scale| *scale >= least);
            let fitting = scales.into_iter().find_map(|scale| lay_groups(&shown, body, plan(scale)));
            if let Some(items) = fitting {
                scene.items.extend(items);
                return scene;
            }
            let worst = parts.iter().flatten().map(|part| part.rank).max().unwrap_or(0);
            if worst == 0 {
                break;
            }
            let group = usize::from(parts[1].iter().any(|part| part.rank == worst));
            let last = parts[group].iter().rposition(|part| part.rank == worst);
            if let Some(last) = last {
                parts[group].remove(last);
            }
        }
        let smallest = Plan { measure, scale: SCALES[SCALES.len() - 1], shorten: true };
        scene.items.extend(lay_groups(&parts, body, smallest).unwrap_or_default());
        scene
    }

    /// As many parts as fit around the one that has to be seen.
    fn lay_list(&self, scene: &mut Scene, measure: Measure, body: Rectangle, seen: usize) {
        let plan = Plan { measure, scale: 1.0, shorten: true };
        let height = |part: &Part| lay_part(&part.kind, body, 0, plan).map_or(0, |(_, height)| height);
        let most = self.first.iter().map(height).max().unwrap_or(0).max(1);
        let fitting = (body.size.height / most).max(1) as usize;
        let start = (seen / fitting) * fitting;
        let mut used = 0;
        for part in self.first.iter().skip(start).take(fitting) {
            if let Some((items, height)) = lay_part(&part.kind, cut_top(body, used), 0, plan) {
                scene.items.extend(items);
                used += height;
            }
        }
    }

    /// Lays the band at the top; returns what is left below it.
    pub(super) fn lay_band(&self, scene: &mut Scene, measure: Measure, whole: Rectangle) -> Rectangle {
        let ground = theme::mix(theme::GROUND, self.tone, 0.14);
        let (margin, pad) = (measure.gap(16.0), measure.gap(8.0));
        let Size { width, height } = whole.size;
        let side = ((height as f32 * 0.13).min(width as f32 * 0.13).max(measure.min_px * 1.6).round() as u32)
            .min(width)
            .min(height);
        let room = width.saturating_sub(side + 3 * margin);
        let budget = (height as f32 * 0.24) as u32;
        let title = text::fit(&self.title, Weight::Bold, room, budget, measure.fitting(36.0, 2));
        let lead = text::fit(&self.lead, Weight::Regular, room, budget, measure.fitting(22.0, 3));
        let heights = [&title, &lead].map(|block| block.as_ref().map_or(0, text::Block::height));
        let texts = heights[0] + heights[1];
        let (band, rest) = split_top(whole, texts.max(side) + 2 * pad);
        scene.fill(band, ground);
        let at = band.top_left + Point::new(margin as i32, band.size.height.saturating_sub(side) as i32 / 2);
        if margin + side <= width && side <= band.size.height {
            scene.items.push(Item::Sign {
                area: square(at, side),
                sign: self.sign,
                colour: self.tone,
                ground,
                mirrored: false,
            });
        }
        let room = cut_right(cut_left(band, margin + side + margin), margin);
        let (upper, lower) = split_top(cut_top(room, band.size.height.saturating_sub(texts) / 2), heights[0]);
        let blocks = [
            (title, Weight::Bold, upper, self.tone),
            (lead, Weight::Regular, split_top(lower, heights[1]).0, theme::TEXT),
        ];
        for (block, weight, area, colour) in blocks {
            if let Some(block) = block.filter(|block| block.height() <= area.size.height) {
                scene.items.push(Item::Text(TextItem::place(block, weight, area, Align::Left, (colour, ground))));
            }
        }
        rest
    }
}

/// What the keys do, and a line above them; returns what is left above.
pub(super) fn lay_foot(scene: &mut Scene, measure: Measure, rest: Rectangle, look: Look, foot: &str) -> Rectangle {
    let rest = lay_keys(scene, measure, rest, look);
    let (margin, pad) = (measure.gap(16.0), measure.gap(6.0));
    let width = rest.size.width.saturating_sub(2 * margin);
    let block = text::fit(foot, Weight::Regular, width, rest.size.height / 4, measure.fitting(15.0, 2));
    let Some(block) = block.filter(|block| !block.shortened) else { return rest };
    let (above, foot) = split_top(rest, rest.size.height.saturating_sub(block.height() + 2 * pad));
    let (rule, _) = split_top(inset(foot, margin, 0), 1);
    scene.fill(rule, theme::RULE);
    let colours = (theme::MUTED, theme::GROUND);
    let area = inset(foot, margin, pad);
    scene.items.push(Item::Text(TextItem::place(block, Weight::Regular, area, Align::Left, colours)));
    above
}

/// What the keys do, at the bottom; returns what is left above.
pub(super) fn lay_keys(scene: &mut Scene, measure: Measure, rest: Rectangle, look: Look) -> Rectangle {
    let words = measure.words;
    let hints = [(look.keys.next, Sign::Disc), (look.keys.select, Sign::Square)];
    if hints.iter().all(|(hint, _)| hint.is_none()) {
        return rest;
    }
    let how = measure.fitting(17.0, 1);
    let (margin, pad) = (measure.gap(16.0), measure.gap(6.0));
    let line_height = text::line_height(how.max_px);
    let height = line_height + 2 * pad;
    if rest.size.height < 3 * height {
        return rest;
    }
    let (above, strip) = split_top(rest, rest.size.height - height);
    scene.fill(strip, theme::STRIP);
    let room = inset(strip, margin, pad);
    let side = (how.max_px * 0.9).round() as u32;
    let half = room.size.width.saturating_sub(margin) / 2;
    for (index, (hint, sign)) in hints.into_iter().enumerate() {
        let Some(hint) = hint else { continue };
        let gap = measure.gap(8.0);
        let most = half.saturating_sub(side + gap);
        let Some(block) = text::fit(words.say(of_hint(hint)), Weight::Regular, most, line_height, how) else {
            continue;
        };
        let wide = side + gap + block.width(Weight::Regular);
        let area = if index == 0 { room } else { cut_left(room, room.size.width.saturating_sub(wide)) };
        let (mark, right) = split_left(area, side);
        let at = mark.top_left + Point::new(0, (line_height - side.min(line_height)) as i32 / 2);
        let (colour, ground) = (theme::TEXT, theme::STRIP);
        scene.items.push(Item::Sign { area: square(at, side), sign, colour, ground, mirrored: false });
        let (words, _) = split_left(cut_left(right, gap), block.width(Weight::Regular));
        scene.items.push(Item::Text(TextItem::place(block, Weight::Regular, words, Align::Left, (colour, ground))));
    }
    above
}

fn of_hint(hint: Hint) -> Phrase {
    match hint {
        Hint::Map => Phrase::KeyMap,
        Hint::Details => Phrase::KeyDetails,
        Hint::Verdict => Phrase::KeyVerdict,
        Hint::NextPage => Phrase::KeyNextPage,
        Hint::NextFilm => Phrase::KeyNextFilm,
        Hint::NextLine => Phrase::KeyNextLine,
        Hint::Review => Phrase::KeyReview,
        Hint::Settings => Phrase::KeySettings,
        Hint::Open => Phrase::KeyOpen,
        Hint::Choose => Phrase::KeyChoose,
        Hint::Done => Phrase::KeyDone,
        Hint::Back => Phrase::KeyBack,
        Hint::Install => Phrase::KeyInstall,
        Hint::Decline => Phrase::KeyDecline,
        Hint::Keep => Phrase::KeyKeep,
        Hint::RollBack => Phrase::KeyRollBack,
        Hint::Retry => Phrase::KeyRetry,
        Hint::Look => Phrase::KeyLook,
        Hint::Photograph => Phrase::KeyPhotograph,
        Hint::Shoot => Phrase::KeyShoot,
        Hint::TakeAgain => Phrase::KeyTakeAgain,
        Hint::More => Phrase::KeyMore,
    }
}

/// That so many parts had no room.
fn more(left_out: usize, words: Words) -> Part {
    let count = words.count(left_out as u64);
    Part::label(0, &words.fill(Phrase::AndMore, &[("count", &count)]))
}

/// Scales that are tried, from the largest.
const SCALES: [f32; 11] = [1.3, 1.2, 1.1, 1.0, 0.92, 0.84, 0.76, 0.68, 0.6, 0.5, 0.4];

/// The least scale of a list of which the end may be left out.
const READABLE: f32 = 0.68;

/// How parts are laid.
#[derive(Clone, Copy)]
struct Plan {
    measure: Measure,
    scale: f32,
    /// Whether text may be shortened.
    shorten: bool,
}

impl Plan {
    fn fitting(self, base_px: f32, max_lines: usize) -> Fitting {
        let Fitting { max_px, .. } = self.measure.fitting(base_px * self.scale, max_lines);
        Fitting { max_px, min_px: max_px, max_lines }
    }

    /// For words that shrink by themselves where a long one would be torn: an address should not make all else small.
    fn yielding(self, base_px: f32, max_lines: usize) -> Fitting {
        Fitting { min_px: self.measure.min_px, ..self.fitting(base_px, max_lines) }
    }

    fn gap(self, base: f32) -> u32 {
        self.measure.gap(base * self.scale.min(1.0))
    }

    /// The text in a width, as high as it gets; `None` where it would have to be shortened and must not be.
    fn block(self, words: &str, weight: Weight, width: u32, how: Fitting) -> Option<text::Block> {
        let height = text::line_height(how.max_px) * how.max_lines as u32;
        text::fit(words, weight, width, height, how).filter(|block| self.shorten || !(block.shortened || block.torn))
    }
}

/// Both groups, side by side on a wide screen, else one below the other; `None` when they do not fit either way.
fn lay_groups(parts: &[Vec<&Part>; 2], body: Rectangle, plan: Plan) -> Option<Vec<Item>> {
    let [first, second] = parts;
    let gap = plan.measure.gap(28.0);
    let below = || {
        let (mut items, height) = lay_group(first, body, plan)?;
        let between = if first.is_empty() || second.is_empty() { 0 } else { plan.gap(12.0) };
        let (others, other) = lay_group(second, cut_top(body, height + between), plan)?;
        items.extend(others);
        (plan.shorten || height + between + other <= body.size.height).then_some(items)
    };
    let beside = |share: f32| {
        let room = body.size.width.saturating_sub(gap);
        let (left, right) = split_left(body, (room as f32 * share) as u32);
        let (mut items, height) = lay_group(first, left, plan)?;
        let (others, other) = lay_group(second, cut_left(right, gap), plan)?;
        items.extend(others);
        (plan.shorten || height.max(other) <= body.size.height).then_some(items)
    };
    if first.is_empty() || second.is_empty() {
        return below();
    }
    if body.size.width <= body.size.height {
        return below();
    }
    [0.5, 0.42, 0.58].into_iter().find_map(beside).or_else(below)
}

/// The parts of a group from the top of `area`, and their height.
fn lay_group(parts: &[&Part], area: Rectangle, plan: Plan) -> Option<(Vec<Item>, u32)> {
    let names = parts.iter().filter_map(|part| match &part.kind {
        Kind::Row { name, mark, .. } => {
            let how = plan.fitting(ROW_PX, 1);
            let side = if mark.is_some() { text::line_height(how.max_px) + plan.gap(8.0) } else { 0 };
            Some(text::width(name, Weight::Regular, how.max_px).ceil() as u32 + side)
        }
        _ => None,
    });
    let column = names.max().unwrap_or(0);
    let mut items = Vec::new();
    let mut used = 0;
    for part in parts {
        let rest = cut_top(area, used);
        if plan.shorten && rest.size.height < text::line_height(plan.fitting(ROW_PX, 1).max_px) {
            break;
        }
        let (placed, height) = lay_part(&part.kind, rest, column, plan)?;
        if plan.shorten && height > rest.size.height {
            break;
        }
        items.extend(placed);
        used += height;
    }
    Some((items, used))
}

const ROW_PX: f32 = 21.0;

/// One part at the top of `area`, and its height with the gap below it.
fn lay_part(kind: &Kind, area: Rectangle, column: u32, plan: Plan) -> Option<(Vec<Item>, u32)> {
    let width = area.size.width;
    let text = |block: text::Block, weight, area: Rectangle, align, colours| {
        let (area, _) = split_top(area, block.height());
        Item::Text(TextItem::place(block, weight, area, align, colours))
    };
    match kind {
        Kind::Space => Some((Vec::new(), plan.gap(12.0))),
        Kind::Label(words) => {
            let block = plan.block(words, Weight::Regular, width, plan.fitting(16.0, 2))?;
            let height = block.height();
            let item = text(block, Weight::Regular, area, Align::Left, (theme::MUTED, theme::GROUND));
            Some((vec![item], height + plan.gap(2.0)))
        }
        Kind::Lines(words, weight) => {
            let block = plan.block(words, *weight, width, plan.yielding(24.0, 6))?;
            let height = block.height();
            let item = text(block, *weight, area, Align::Left, (theme::TEXT, theme::GROUND));
            Some((vec![item], height + plan.gap(8.0)))
        }
        Kind::Row { mark, name, value, chosen } => {
            let how = plan.fitting(ROW_PX, 1);
            let line_height = text::line_height(how.max_px);
            let pad = plan.gap(3.0);
            let ground = if *chosen { theme::CHOSEN } else { theme::GROUND };
            let mut items = Vec::new();
            let inner = cut_top(area, pad);
            let (marked, named) = match mark {
                Some((sign, colour)) => {
                    let (left, right) = split_left(inner, line_height);
                    let side = (how.max_px * 0.95).round() as u32;
                    let at = left.top_left + Point::new(0, (line_height - side.min(line_height)) as i32 / 2);
                    let sign =
                        Item::Sign { area: square(at, side), sign: *sign, colour: *colour, ground, mirrored: false };
                    (Some(sign), cut_left(right, plan.gap(8.0)))
                }
                None => (None, cut_left(inner, if *chosen { plan.gap(10.0) } else { 0 })),
            };
            let gap = plan.gap(16.0);
            let indent = width - named.size.width;
            let column = column.saturating_sub(if mark.is_some() { indent } else { 0 });
            let beside = named.size.width.saturating_sub(column + gap);
            let two = Fitting { max_lines: 2, ..how };
            let inline = plan.block(value, Weight::Bold, beside, two).filter(|block| !(block.shortened || block.torn));
            let colours = |strong: bool| (if strong { theme::TEXT } else { theme::MUTED }, ground);
            let height;
            if name.is_empty() {
                let block = plan.block(value, Weight::Regular, named.size.width, two)?;
                height = block.height();
                items.push(text(block, Weight::Regular, named, Align::Left, colours(true)));
            } else if let Some(block) = inline {
                height = block.height();
                let (left, _) = split_left(named, column);
                items.push(text(
                    plan.block(name, Weight::Regular, column, how)?,
                    Weight::Regular,
                    left,
                    Align::Left,
                    colours(false),
                ));
                items.push(text(block, Weight::Bold, cut_left(named, column + gap), Align::Left, colours(true)));
            } else {
                let upper = plan.block(name, Weight::Regular, named.size.width, two)?;
                let lower = plan.block(value, Weight::Bold, named.size.width, plan.yielding(ROW_PX, 3))?;
                height = upper.height() + lower.height();
                let below = cut_top(named, upper.height());
                items.push(text(upper, Weight::Regular, named, Align::Left, colours(false)));
                items.push(text(lower, Weight::Bold, below, Align::Left, colours(true)));
            }
            let whole = height + 2 * pad;
            if *chosen {
                items.insert(0, Item::Fill { area: split_top(area, whole).0, colour: theme::CHOSEN });
            }
            items.extend(marked);
            Some((items, whole + plan.gap(3.0)))
        }
        Kind::Small(words) => {
            let how = plan.fitting(16.0, 6);
            let height = text::line_height(how.max_px) * 6;
            let block = text::fit(words, Weight::Regular, width, height.min(area.size.height), how)?;
            let height = block.height();
            Some((vec![text(block, Weight::Regular, area, Align::Left, (theme::TEXT, theme::GROUND))], height))
        }
        Kind::Case { mark, verdict, who, when, chosen } => {
            let (large, small) = (plan.fitting(22.0, 1), plan.fitting(16.0, 1));
            let heights = [large, small].map(|how| text::line_height(how.max_px));
            let pad = plan.gap(5.0);
            let room_for = |lines: u32| {
                let side = ((heights[0] + lines * heights[1]) as f32 * 0.8) as u32;
                width.saturating_sub(2 * plan.gap(8.0) + side + plan.gap(14.0))
            };
            let wide = |words: &str| text::width(words, Weight::Regular, small.max_px).ceil() as u32;
            let lines = match () {
                () if wide(who) + plan.gap(12.0) + wide(when) <= room_for(1) => 1,
                () if wide(when) <= room_for(2) => 2,
                () => 3,
            };
            let whole = heights[0] + lines * heights[1] + 2 * pad;
            let ground = if *chosen { theme::CHOSEN } else { theme::GROUND };
            let mut items = Vec::new();
            if *chosen {
                items.push(Item::Fill { area: split_top(area, whole).0, colour: ground });
            }
            let inner = inset(split_top(area, whole).0, plan.gap(8.0), pad);
            let side = (inner.size.height as f32 * 0.8) as u32;
            let at = inner.top_left + Point::new(0, (inner.size.height - side) as i32 / 2);
            items.push(Item::Sign { area: square(at, side), sign: mark.0, colour: mark.1, ground, mirrored: false });
            let right = cut_left(inner, side + plan.gap(14.0));
            let room = right.size.width;
            let first = plan.block(verdict, Weight::Bold, room, large)?;
            items.push(text(first, Weight::Bold, right, Align::Left, (theme::TEXT, ground)));
            let (upper, lower) = split_top(cut_top(right, heights[0]), heights[1]);
            let moment_lines = if lines == 3 { 2 } else { 1 };
            let (named, timed, align) = if lines == 1 {
                let moment = wide(when).min(room);
                (split_left(upper, room - moment).0, cut_left(upper, room - moment), Align::Right)
            } else {
                (upper, lower, Align::Left)
            };
            for (words, area, align, max_lines) in [(who, named, Align::Left, 1), (when, timed, align, moment_lines)] {
                let (how, height) = (Fitting { max_lines, ..small }, heights[1] * max_lines as u32);
                if let Some(block) = text::fit(words, Weight::Regular, area.size.width, height, how) {
                    items.push(text(block, Weight::Regular, area, align, (theme::MUTED, ground)));
                }
            }
            Some((items, whole + plan.gap(3.0)))
        }
        Kind::Progress(share) => {
            let (bar, _) = split_top(area, plan.measure.gap(18.0).max(5));
            let filled_px = (bar.size.width as f32 * share.clamp(0.0, 1.0)).round() as u32;
            let item = Item::Bar {
                area: bar,
                filled_px,
                colour: theme::TEXT,
                track: theme::TRACK,
                ground: theme::GROUND,
                from_right: false,
            };
            Some((vec![item], bar.size.height + plan.gap(14.0)))
        }
        Kind::Probability { name, number, share, colour, lines, caption } => {
            let how = plan.fitting(20.0, 1);
            let numbered = plan.block(number, Weight::Bold, width, how)?;
            let gap = plan.gap(8.0);
            let number_width = numbered.width(Weight::Bold);
            let named = plan.block(
                name,
                Weight::Regular,
                width.saturating_sub(number_width + gap),
                Fitting { max_lines: 2, ..how },
            )?;
            let over = plan.gap(4.0);
            let first = named.height();
            let (bar, _) = split_top(cut_top(area, first + over), plan.measure.gap(14.0).max(4));
            let (left, _) = split_left(area, width.saturating_sub(number_width + gap));
            let mut items = vec![
                text(named, Weight::Regular, left, Align::Left, (theme::TEXT, theme::GROUND)),
                text(
                    numbered,
                    Weight::Bold,
                    cut_left(area, width.saturating_sub(number_width)),
                    Align::Right,
                    (theme::TEXT, theme::GROUND),
                ),
                Item::Bar {
                    area: bar,
                    filled_px: (bar.size.width as f32 * share.clamp(0.0, 1.0)).round() as u32,
                    colour: *colour,
                    track: theme::TRACK,
                    ground: theme::GROUND,
                    from_right: false,
                },
            ];
            for line in lines {
                items.extend(line_across(plan.measure, bar, *line, over));
            }
            let mut height = first + bar.size.height + 2 * over;
            if !caption.is_empty() {
                let block = plan.block(caption, Weight::Regular, width, plan.fitting(15.0, 2))?;
                let below = cut_top(area, height);
                height += block.height();
                items.push(text(block, Weight::Regular, below, Align::Left, (theme::MUTED, theme::GROUND)));
            }
            Some((items, height + plan.gap(10.0)))
        }
    }
}

/// A line of the operating point across a bar, with a dark seam on both sides so that it shows on every colour.
pub(super) fn line_across(measure: Measure, bar: Rectangle, share: f32, over: u32) -> [Item; 2] {
    let (thick, seam) = (measure.gap(3.0), measure.gap(2.0));
    let most = bar.size.width.saturating_sub(thick);
    let place = (bar.size.width as f32 * share).round() as u32;
    let x = place.saturating_sub(thick / 2).min(most) as i32;
    let at = bar.top_left + Point::new(x, -(over as i32));
    let size = Size::new(thick.min(bar.size.width), bar.size.height + 2 * over);
    let behind = Rectangle::new(at - Point::new(seam as i32, 0), size + Size::new(2 * seam, 0));
    [
        Item::Fill { area: behind, colour: theme::GROUND },
        Item::Fill { area: Rectangle::new(at, size), colour: theme::TEXT },
    ]
}
