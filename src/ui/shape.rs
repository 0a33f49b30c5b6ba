//! Which glyphs stand where: scripts, shaping and the order of mixed directions.
//!
//! Latin needs no shaping: its font has a glyph for every accented letter. Devanagari and Arabic are shaped by harfrust
//! word by word, which is enough because neither joins across a space. Lengths are parts of the em.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;

use ab_glyph::{Font as _, FontRef, GlyphId};
use harfrust::{Buffer, Direction, Font, Script as Tag, ShapeOptions, ShaperFont};
use unicode_bidi::{BidiInfo, Level};

use super::text::Weight;

/// A script with a font of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Script {
    Latin,
    Devanagari,
    Arabic,
}

/// A font, for outlines and for shaping.
pub(super) struct Face {
    pub(super) outlines: FontRef<'static>,
    shaping: Font,
    units_per_em: f32,
}

impl Face {
    fn load(bytes: &'static [u8]) -> Self {
        let outlines = FontRef::try_from_slice(bytes).expect("the font is part of the program, and a test loads it");
        let shaping = Font::new(bytes, 0).expect("the font is part of the program, and a test loads it");
        let units_per_em = outlines.units_per_em().unwrap_or(1000.0);
        Self { outlines, shaping, units_per_em }
    }

    pub(super) fn of(script: Script, weight: Weight) -> &'static Self {
        static LATIN: LazyLock<Face> =
            LazyLock::new(|| Face::load(include_bytes!("../../assets/fonts/NotoSans-Regular-Latin.ttf")));
        static LATIN_BOLD: LazyLock<Face> =
            LazyLock::new(|| Face::load(include_bytes!("../../assets/fonts/NotoSans-Bold-Latin.ttf")));
        static DEVANAGARI: LazyLock<Face> =
            LazyLock::new(|| Face::load(include_bytes!("../../assets/fonts/NotoSans-Regular-Devanagari.ttf")));
        static DEVANAGARI_BOLD: LazyLock<Face> =
            LazyLock::new(|| Face::load(include_bytes!("../../assets/fonts/NotoSans-Bold-Devanagari.ttf")));
        static ARABIC: LazyLock<Face> =
            LazyLock::new(|| Face::load(include_bytes!("../../assets/fonts/NotoSans-Regular-Arabic.ttf")));
        static ARABIC_BOLD: LazyLock<Face> =
            LazyLock::new(|| Face::load(include_bytes!("../../assets/fonts/NotoSans-Bold-Arabic.ttf")));
        match (script, weight) {
            (Script::Latin, Weight::Regular) => &LATIN,
            (Script::Latin, Weight::Bold) => &LATIN_BOLD,
            (Script::Devanagari, Weight::Regular) => &DEVANAGARI,
            (Script::Devanagari, Weight::Bold) => &DEVANAGARI_BOLD,
            (Script::Arabic, Weight::Regular) => &ARABIC,
            (Script::Arabic, Weight::Bold) => &ARABIC_BOLD,
        }
    }
}

impl Script {
    fn of(c: char) -> Self {
        match c {
            '\u{900}'..='\u{97f}' => Self::Devanagari,
            '\u{600}'..='\u{6ff}' => Self::Arabic,
            _ => Self::Latin,
        }
    }
}

/// Characters that steer the order of others and have no glyph.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Joiners belong to the word that they stand in.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Whether a mark of the letter before, which no line may begin with.
pub(super) fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{64b}'..='\u{655}' | '\u{670}' | '\u{900}'..='\u{903}' | '\u{93a}'..='\u{93c}'
        | '\u{93e}'..='\u{94f}' | '\u{951}'..='\u{957}' | '\u{962}'..='\u{963}')
        || is_invisible(c)
}

/// A glyph and where it stands on its line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Placed {
    pub(super) script: Script,
    pub(super) id: GlyphId,
    /// From the line's left end, in ems.
    pub(super) x: f32,
    /// Above the base line, in ems.
    pub(super) y: f32,
}

/// A shaped piece of one script and direction.
#[derive(Debug)]
struct Piece {
    glyphs: Vec<Placed>,
    advance: f32,
}

/// Width of a line in ems, whatever the order of its parts.
pub(super) fn width(text: &str, weight: Weight) -> f32 {
    pieces(text)
        .map(|(script, piece)| match script {
            Script::Latin => piece.chars().map(|c| latin_advance(weight, c)).sum(),
            Script::Devanagari | Script::Arabic => shaped(piece, script, weight).advance,
        })
        .sum()
}

/// The glyphs of a line from left to right.
pub(super) fn line(text: &str, weight: Weight, right_to_left: bool) -> Vec<Placed> {
    let mut placed = Vec::new();
    let mut pen = 0.0;
    let plain = !right_to_left && text.chars().all(|c| Script::of(c) != Script::Arabic && !is_invisible(c));
    if plain {
        lay_run(text, weight, false, &mut pen, &mut placed);
        return placed;
    }
    let base = if right_to_left { Level::rtl() } else { Level::ltr() };
    let order = BidiInfo::new(text, Some(base));
    for paragraph in &order.paragraphs {
        let (levels, runs) = order.visual_runs(paragraph, paragraph.range.clone());
        for run in runs {
            let backwards = levels.get(run.start).is_some_and(|level| level.is_rtl());
            if let Some(part) = text.get(run) {
                lay_run(part, weight, backwards, &mut pen, &mut placed);
            }
        }
    }
    placed
}

/// A run of one direction, given in the order in which it is read.
fn lay_run(text: &str, weight: Weight, backwards: bool, pen: &mut f32, placed: &mut Vec<Placed>) {
    let mut parts: Vec<_> = pieces(text).collect();
    if backwards {
        parts.reverse();
    }
    for (script, part) in parts {
        match script {
            Script::Latin => {
                let mut letters: Vec<_> = part.chars().filter(|c| !is_invisible(*c)).collect();
                if backwards {
                    letters.reverse();
                }
                for c in letters {
                    let c = if backwards { mirrored(c) } else { c };
                    placed.push(Placed { script, id: latin_glyph(weight, c), x: *pen, y: 0.0 });
                    *pen += latin_advance(weight, c);
                }
            }
            Script::Devanagari | Script::Arabic => {
                let piece = shaped(part, script, weight);
                placed.extend(piece.glyphs.iter().map(|glyph| Placed { x: glyph.x + *pen, ..*glyph }));
                *pen += piece.advance;
            }
        }
    }
}

/// The text cut where the script changes; joiners stay with what they join.
fn pieces(text: &str) -> impl Iterator<Item = (Script, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let script = Script::of(rest.chars().next()?);
        let end =
            rest.char_indices().find(|(_, c)| Script::of(*c) != script && !(script != Script::Latin && is_joiner(*c)));
        let (piece, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = after;
        Some((script, piece))
    })
}

/// What stands for a bracket where it is read from right to left.
fn mirrored(c: char) -> char {
    const PAIRS: [(char, char); 6] = [('(', ')'), ('[', ']'), ('{', '}'), ('<', '>'), ('«', '»'), ('‹', '›')];
    let other = |(a, b): &(char, char)| {
        if c == *a {
            Some(*b)
        } else if c == *b {
            Some(*a)
        } else {
            None
        }
    };
    PAIRS.iter().find_map(other).unwrap_or(c)
}

/// The shape of a word; words come again and again, so it is kept.
fn shaped(word: &str, script: Script, weight: Weight) -> Rc<Piece> {
    /// Many times the words of a screen; names and numbers from outside do not pile up.
    const MOST_KEPT: usize = 2048;
    type Kept = HashMap<(Weight, Box<str>), Rc<Piece>>;
    thread_local! {
        static KEPT: RefCell<Kept> = RefCell::new(HashMap::new());
    }
    KEPT.with_borrow_mut(|kept| {
        let key = (weight, Box::from(word));
        if let Some(piece) = kept.get(&key) {
            return Rc::clone(piece);
        }
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        let piece = Rc::new(shape(word, script, weight));
        kept.insert(key, Rc::clone(&piece));
        piece
    })
}

fn shape(word: &str, script: Script, weight: Weight) -> Piece {
    let face = Face::of(script, weight);
    let (tag, direction) = match script {
        Script::Latin => (Tag::LATIN, Direction::LeftToRight),
        Script::Devanagari => (Tag::DEVANAGARI, Direction::LeftToRight),
        Script::Arabic => (Tag::ARABIC, Direction::RightToLeft),
    };
    let mut buffer = Buffer::new();
    buffer.push_str(word);
    buffer.set_script(Some(tag));
    buffer.set_direction(direction);
    let mut piece = Piece { glyphs: Vec::new(), advance: 0.0 };
    if let Err(error) = harfrust::shape(&ShaperFont::new(&face.shaping), &mut buffer, ShapeOptions::new()) {
        // Letters that do not join can still be read.
        log::error!("\"{word}\" cannot be shaped: {error}");
        for c in word.chars() {
            let id = face.outlines.glyph_id(c);
            piece.glyphs.push(Placed { script, id, x: piece.advance, y: 0.0 });
            piece.advance += face.outlines.h_advance_unscaled(id) / face.units_per_em;
        }
        return piece;
    }
    for (info, position) in buffer.glyph_infos().iter().zip(buffer.glyph_positions()) {
        let em = |units: i32| units as f32 / face.units_per_em;
        // Fonts have at most 65,535 glyphs.
        let id = GlyphId(info.glyph_id as u16);
        piece.glyphs.push(Placed { script, id, x: piece.advance + em(position.x_offset), y: em(position.y_offset) });
        piece.advance += em(position.x_advance);
    }
    piece
}

/// The glyph of a character, or of what stands for it when the font has none.
pub(super) fn latin_glyph(weight: Weight, c: char) -> GlyphId {
    let font = &Face::of(Script::Latin, weight).outlines;
    let stand_in = match c {
        c if c.is_control() || c.is_whitespace() => ' ',
        '\u{2212}' => '-',
        c => c,
    };
    match font.glyph_id(stand_in) {
        GlyphId(0) => font.glyph_id('\u{FFFD}'),
        id => id,
    }
}

fn latin_advance(weight: Weight, c: char) -> f32 {
    if is_invisible(c) {
        return 0.0;
    }
    let face = Face::of(Script::Latin, weight);
    face.outlines.h_advance_unscaled(latin_glyph(weight, c)) / face.units_per_em
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, right_to_left: bool) -> Vec<u16> {
        line(text, Weight::Regular, right_to_left).iter().map(|glyph| glyph.id.0).collect()
    }

    fn latin(text: &str) -> Vec<u16> {
        text.chars().map(|c| latin_glyph(Weight::Regular, c).0).collect()
    }

    #[test]
    fn arabic_letters_join_and_run_from_right_to_left() {
        // Alone, at the start, in the middle and at the end a letter has other shapes.
        let alone = names("ب", true);
        let three = names("ببب", true);
        assert_eq!(alone.len(), 1);
        assert!(three.iter().all(|glyph| *glyph != alone[0]), "{three:?} has the shape of a letter alone");
        let first = line("كتاب", Weight::Regular, true);
        assert!(first.windows(2).all(|pair| pair[0].x <= pair[1].x), "from left to right on the screen");
        // Lam and alef are one.
        assert!(names("لا", true).len() < names("لب", true).len() || names("لا", true) != names("ل ا", true));
    }

    #[test]
    fn devanagari_vowel_signs_stand_before_and_letters_form_conjuncts() {
        // The sign for i is written before the letter that it follows.
        let ka = names("क", false);
        let ki = names("कि", false);
        assert_eq!((ka.len(), ki.len()), (1, 2));
        assert_eq!(ki[1], ka[0], "the letter comes second");
        assert!(names("क्ष", false).len() < 3, "ksha is a conjunct");
    }

    #[test]
    fn numbers_and_names_keep_their_order_in_arabic() {
        let shown = names("كوفيد-19", true);
        let nineteen = latin("19");
        assert!(shown.starts_with(&nineteen), "{shown:?}: 19 stands at the left end, not reversed");
        let isolated = names("من \u{2068}XRAY-1 (A)\u{2069}", true);
        let name = latin("XRAY-1 (A)");
        assert!(isolated.starts_with(&name), "{isolated:?}, expected {name:?} first");
        // Brackets around Arabic open to the right.
        let bracketed = names("(ب)", true);
        assert_eq!((bracketed[0], bracketed[2]), (latin("(")[0], latin(")")[0]));
    }

    #[test]
    fn the_width_of_a_line_is_where_its_last_glyph_ends() {
        for (text, right_to_left) in
            [("Covid-19 suspected", false), ("कोविड-19 की आशंका", false), ("يُشتبه في كوفيد-19", true)]
        {
            for weight in [Weight::Regular, Weight::Bold] {
                let last = line(text, weight, right_to_left).last().expect("glyphs").x;
                let all = width(text, weight);
                assert!(last < all && all < last + 1.5, "{text}: {last} of {all}");
            }
        }
    }

    #[test]
    fn every_word_is_shaped_with_glyphs_that_the_font_has() {
        for weight in [Weight::Regular, Weight::Bold] {
            for text in ["हिन्दी", "العربية", "Tiếng Việt", "Français"] {
                assert!(line(text, weight, false).iter().all(|glyph| glyph.id.0 != 0), "{text}");
            }
        }
    }
}
