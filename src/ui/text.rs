//! Text: what it measures, how it breaks into lines and shrinks into a box, and its coverage of pixels.
//!
//! Sizes are em sizes in pixels. Which glyphs stand where is the business of `shape`.

use ab_glyph::{Font, FontRef, Glyph, PxScale, point};
use unicode_bidi::BidiClass;

use super::shape::{self, Face};

/// Distance of two base lines ÷ the em size.
const LEADING: f32 = 1.26;
/// From the top of a line to its base line ÷ the em size.
const BASE_LINE: f32 = 0.98;
/// Steps in which text shrinks to fit.
const STEP_PX: f32 = 0.5;

/// How heavy the strokes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weight {
    /// For reading.
    Regular,
    /// For what matters.
    Bold,
}

/// Text broken into lines that fit a box.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Em size.
    pub px: f32,
    /// From the top.
    pub lines: Vec<String>,
    /// Whether something was left out, and an ellipsis put in its place.
    pub shortened: bool,
    /// Whether a word was torn because it alone was too wide.
    pub torn: bool,
}

impl Block {
    /// Height of all lines, in whole pixels.
    pub fn height(&self) -> u32 {
        line_height(self.px) * self.lines.len() as u32
    }

    /// Width of the longest line, in whole pixels.
    pub fn width(&self, weight: Weight) -> u32 {
        self.lines.iter().map(|line| width(line, weight, self.px).ceil() as u32).max().unwrap_or(0)
    }
}

/// How text may be fitted into a box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitting {
    /// Em size that is tried first.
    pub max_px: f32,
    /// Em size below which nobody can read it; text is shortened before it shrinks further.
    pub min_px: f32,
    /// Most lines.
    pub max_lines: usize,
}

/// Height of one line, in whole pixels.
pub fn line_height(px: f32) -> u32 {
    (px * LEADING).ceil() as u32
}

/// Whether there are letters that are written from right to left.
pub(super) fn has_right_to_left(text: &str) -> bool {
    text.chars().any(|c| matches!(unicode_bidi::bidi_class(c), BidiClass::R | BidiClass::AL))
}

/// Width of one line, in pixels.
pub fn width(text: &str, weight: Weight, px: f32) -> f32 {
    px * shape::width(text, weight)
}

/// Whether a line may end there: any space but those made not to break.
fn breaks(c: char) -> bool {
    c.is_whitespace() && !matches!(c, '\u{a0}' | '\u{202f}')
}

/// Breaks `text` at spaces, and inside of words only where a word alone is too wide.
pub fn wrap(text: &str, weight: Weight, px: f32, max_width: f32) -> Vec<String> {
    break_lines(text, weight, px, max_width).0
}

/// The lines, and whether a word was broken.
fn break_lines(text: &str, weight: Weight, px: f32, max_width: f32) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    let mut broken = false;
    let mut line = String::new();
    for word in text.split(breaks).filter(|word| !word.is_empty()) {
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if width(&longer, weight, px) <= max_width {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for cluster in clusters(word) {
            let longer = format!("{line}{cluster}");
            if width(&longer, weight, px) > max_width && !line.is_empty() {
                lines.push(std::mem::replace(&mut line, cluster.to_owned()));
                broken = true;
            } else {
                line = longer;
            }
        }
        // A letter that is wider than the box.
        broken |= width(&line, weight, px) > max_width;
    }
    if !line.is_empty() {
        lines.push(line);
    }
    (lines, broken)
}

/// Letters with their marks: what is never torn apart.
fn clusters(word: &str) -> impl Iterator<Item = &str> {
    /// Devanagari's virama ties the letter that follows to the one before.
    const VIRAMA: char = '\u{94d}';
    let mut rest = word;
    std::iter::from_fn(move || {
        let mut before = rest.chars().next()?;
        let end = rest.char_indices().skip(1).find_map(|(at, c)| {
            let tied = shape::is_mark(c) || before == VIRAMA;
            before = c;
            (!tied).then_some(at)
        });
        let (cluster, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(cluster)
    })
}

/// The largest text that fits `box_width` × `box_height` pixels; at the smallest size it is shortened.
///
/// `None` when the box is too small to hold anything worth reading, or there is no text.
pub fn fit(text: &str, weight: Weight, box_width: u32, box_height: u32, how: Fitting) -> Option<Block> {
    let max_width = box_width as f32;
    let mut px = how.max_px.max(how.min_px);
    while px >= how.min_px {
        let (lines, broken) = break_lines(text, weight, px, max_width);
        if lines.is_empty() {
            return None;
        }
        let block = Block { px, lines, shortened: false, torn: false };
        if !broken && block.lines.len() <= how.max_lines && block.height() <= box_height {
            return Some(balanced(text, weight, max_width, block));
        }
        px -= STEP_PX;
    }
    shorten(text, weight, max_width, box_height, how)
}

/// The same number of lines, as even as they get: no last line of one short word.
fn balanced(text: &str, weight: Weight, max_width: f32, block: Block) -> Block {
    const MOST_LINES: usize = 3;
    const TRIES: u8 = 12;
    if !(2..=MOST_LINES).contains(&block.lines.len()) {
        return block;
    }
    let mut best = block;
    let (mut narrow, mut wide) = (max_width / 2.0, max_width);
    for _ in 0..TRIES {
        let middle = (narrow + wide) / 2.0;
        let (lines, broken) = break_lines(text, weight, best.px, middle);
        if broken || lines.len() > best.lines.len() {
            narrow = middle;
        } else {
            wide = middle;
            best.lines = lines;
        }
    }
    best
}

/// As many lines of the smallest size as fit, an ellipsis at the end if that is not all.
fn shorten(text: &str, weight: Weight, max_width: f32, box_height: u32, how: Fitting) -> Option<Block> {
    const WORTH_READING_CHARS: usize = 4;
    let px = how.min_px;
    let room = ((box_height / line_height(px).max(1)) as usize).min(how.max_lines);
    let (mut lines, torn) = break_lines(text, weight, px, max_width);
    let shortened = lines.len() > room;
    lines.truncate(room);
    let last = lines.last_mut()?;
    if shortened {
        while width(&format!("{last}…"), weight, px) > max_width {
            last.pop()?;
        }
        *last = format!("{}…", last.trim_end());
    }
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let fits = lines.iter().all(|line| width(line, weight, px) <= max_width);
    (fits && (longest > WORTH_READING_CHARS || !shortened)).then_some(Block { px, lines, shortened, torn })
}

/// One line as it covers pixels: `width` × `height` values from 0 to 1, row by row.
pub(super) struct Coverage {
    /// Rows that lie above the line's box, and as many below it.
    pub(super) beyond: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) values: Vec<f32>,
}

/// How far marks above and below letters may reach beyond their line, in ems.
const BEYOND: f32 = 0.27;

/// Draws one line into a box of `width` × [`line_height`] pixels, and what reaches above and below it.
pub(super) fn cover(text: &str, weight: Weight, px: f32, width: u32, right_to_left: bool) -> Coverage {
    let beyond = (px * BEYOND).ceil() as u32;
    let height = line_height(px) + 2 * beyond;
    let base_line = (px * BASE_LINE).round() + beyond as f32;
    let mut values = vec![0.0f32; width as usize * height as usize];
    for shape::Placed { script, id, x, y } in shape::line(text, weight, right_to_left) {
        let font = &Face::of(script, weight).outlines;
        let placed = Glyph { id, scale: scale(font, px), position: point(x * px, base_line - y * px) };
        let Some(outline) = font.outline_glyph(placed) else { continue };
        let corner = outline.px_bounds().min;
        outline.draw(|x, y, share| {
            let (x, y) = (corner.x as i64 + i64::from(x), corner.y as i64 + i64::from(y));
            if (0..i64::from(width)).contains(&x) && (0..i64::from(height)).contains(&y) {
                let value = &mut values[y as usize * width as usize + x as usize];
                *value = (*value + share).min(1.0);
            }
        });
    }
    Coverage { beyond, width, height, values }
}

/// How far ink reaches above and below the base line, in ems.
#[cfg(test)]
pub(super) fn ink(text: &str, weight: Weight, right_to_left: bool) -> (f32, f32) {
    const PX: f32 = 100.0;
    let mut reach = (0.0f32, 0.0f32);
    for shape::Placed { script, id, y, .. } in shape::line(text, weight, right_to_left) {
        let font = &Face::of(script, weight).outlines;
        let placed = Glyph { id, scale: scale(font, PX), position: point(0.0, -y * PX) };
        let Some(outline) = font.outline_glyph(placed) else { continue };
        let bounds = outline.px_bounds();
        reach = (reach.0.max(-bounds.min.y / PX), reach.1.max(bounds.max.y / PX));
    }
    reach
}

/// What is drawn of a line above and below its base line, in ems.
#[cfg(test)]
pub(super) const DRAWN: (f32, f32) = (BASE_LINE + BEYOND, LEADING - BASE_LINE + BEYOND);

/// Em size to ab_glyph's scale, which measures ascent to descent.
fn scale(font: &FontRef<'_>, px: f32) -> PxScale {
    PxScale::from(px * font.height_unscaled() / font.units_per_em().unwrap_or(1000.0))
}

#[cfg(test)]
mod tests {
    use ab_glyph::GlyphId;

    use super::shape::latin_glyph as glyph;
    use super::*;

    #[test]
    fn a_line_is_never_wider_than_the_box() {
        let text = "The quick brown fox, Donaudampfschifffahrtsgesellschaft and 30000 × 20000 pixels";
        for box_width in [30, 60, 100, 250] {
            let lines = wrap(text, Weight::Bold, 14.0, box_width as f32);
            for line in &lines {
                assert!(width(line, Weight::Bold, 14.0) <= box_width as f32, "{line:?} in {box_width}");
            }
            let without_spaces = |s: &str| s.split_whitespace().collect::<String>();
            assert_eq!(without_spaces(&lines.concat()), without_spaces(text));
        }
    }

    #[test]
    fn text_shrinks_first_and_is_shortened_last() {
        let how = Fitting { max_px: 30.0, min_px: 10.0, max_lines: 1 };
        let large = fit("Covid-19", Weight::Bold, 300, 60, how).expect("room");
        assert_eq!((large.px, large.shortened), (30.0, false));
        let smaller = fit("Covid-19", Weight::Bold, 80, 60, how).expect("room");
        assert!(smaller.px < 30.0 && !smaller.shortened, "{smaller:?}");
        let cut = fit("Covid-19 suspected in both lungs", Weight::Bold, 80, 60, how).expect("room");
        assert!(cut.shortened && cut.lines[0].ends_with('…') && cut.px == 10.0, "{cut:?}");
        assert_eq!(fit("Covid-19", Weight::Bold, 80, 5, how), None);
        assert_eq!(fit("  ", Weight::Bold, 80, 60, how), None);
    }

    #[test]
    fn lines_are_even_and_keep_together_what_belongs_together() {
        let how = Fitting { max_px: 20.0, min_px: 20.0, max_lines: 3 };
        let whole = "Refer to a clinician; consider a PCR test";
        let room = width("Refer to a clinician; consider a PCR", Weight::Bold, 20.0).ceil() as u32;
        let block = fit(whole, Weight::Bold, room, 200, how).expect("room");
        assert_eq!(block.lines, ["Refer to a clinician;", "consider a PCR test"]);
        assert_eq!(wrap("from 45\u{a0}% on", Weight::Regular, 20.0, 60.0), ["from", "45\u{a0}%", "on"]);
    }

    #[test]
    fn a_letter_that_the_font_lacks_is_shown_as_missing() {
        assert_ne!(glyph(Weight::Regular, '漢'), GlyphId(0));
        assert_eq!(glyph(Weight::Regular, '漢'), glyph(Weight::Regular, '\u{FFFD}'));
        assert_eq!(glyph(Weight::Regular, '\t'), glyph(Weight::Regular, ' '));
    }

    #[test]
    fn marks_are_never_torn_from_their_letters() {
        assert_eq!(clusters("निमोनिया").collect::<Vec<_>>(), ["नि", "मो", "नि", "या"]);
        assert_eq!(clusters("क्षमता").collect::<Vec<_>>(), ["क्ष", "म", "ता"]);
        assert_eq!(clusters("يُشتبه").collect::<Vec<_>>(), ["يُ", "ش", "ت", "ب", "ه"]);
        for width in [20.0, 30.0, 60.0] {
            for line in wrap("कोविड-उन्नीस निमोनिया", Weight::Bold, 18.0, width) {
                assert!(!line.starts_with(shape::is_mark), "{line:?}");
            }
        }
    }

    #[test]
    fn letters_stay_inside_of_their_line() {
        let covered = cover("Ẫgjpqyß|", Weight::Bold, 40.0, 400, false);
        let row = |y: u32| &covered.values[(y * covered.width) as usize..((y + 1) * covered.width) as usize];
        let inked: Vec<u32> = (0..covered.height).filter(|y| row(*y).iter().any(|v| *v > 0.0)).collect();
        assert!(inked.first() >= Some(&1) && inked.last() < Some(&(covered.height - 1)), "{inked:?}");
        assert!(covered.values.iter().all(|v| (0.0..=1.0).contains(v)));
    }
}
