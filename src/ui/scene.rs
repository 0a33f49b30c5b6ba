//! A screen laid out but not yet drawn: what stands where, in which colours.

use embedded_graphics::Pixel;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{DrawTarget, Point, Size};
use embedded_graphics::primitives::Rectangle;

use super::text::{self, Block, Weight};
use super::{Sign, shape, theme};

/// A screen as a list of what is drawn, from back to front.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Of the whole screen.
    pub size: Size,
    /// From back to front.
    pub items: Vec<Item>,
}

/// One thing on a screen.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A filled area.
    Fill {
        /// Where.
        area: Rectangle,
        /// Its colour.
        colour: Rgb888,
    },
    /// A bar with round ends, filled from where reading begins.
    Bar {
        /// Where.
        area: Rectangle,
        /// How far it is filled.
        filled_px: u32,
        /// Colour of the filled part.
        colour: Rgb888,
        /// Colour of the rest.
        track: Rgb888,
        /// What shows at the ends.
        ground: Rgb888,
        /// Whether it is filled from the right.
        from_right: bool,
    },
    /// Lines of text.
    Text(TextItem),
    /// A sign in a square.
    Sign {
        /// Where; as wide as it is high.
        area: Rectangle,
        /// Which.
        sign: Sign,
        /// Its colour.
        colour: Rgb888,
        /// Behind it.
        ground: Rgb888,
        /// Whether left and right are exchanged, as a question mark's are in Arabic.
        mirrored: bool,
    },
    /// A picture, one colour a pixel, row by row.
    Picture {
        /// Where; as large as the picture.
        area: Rectangle,
        /// `area.size.width` × `area.size.height` colours.
        pixels: Vec<Rgb888>,
    },
}

/// Lines of text in one size and colour.
#[derive(Clone, Debug, PartialEq)]
pub struct TextItem {
    /// What the lines may fill; they lie inside.
    pub area: Rectangle,
    /// From the top.
    pub lines: Vec<TextLine>,
    /// Em size, in pixels.
    pub px: f32,
    /// How heavy.
    pub weight: Weight,
    /// Colour of the letters.
    pub colour: Rgb888,
    /// Colour behind them, all over `area`.
    pub ground: Rgb888,
    /// Whether something was left out, and an ellipsis put in its place.
    pub shortened: bool,
    /// Whether the lines are read from right to left.
    pub right_to_left: bool,
}

/// One line of text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextLine {
    /// What it says.
    pub text: String,
    /// Where.
    pub area: Rectangle,
}

/// Where lines stand in the width that they are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Centre,
    Right,
}

impl TextItem {
    /// Places a block of lines at the top of `area`.
    pub(super) fn place(
        block: Block,
        weight: Weight,
        area: Rectangle,
        align: Align,
        (colour, ground): (Rgb888, Rgb888),
    ) -> Self {
        let line_height = text::line_height(block.px);
        let lines = block.lines.into_iter().enumerate().map(|(index, line)| {
            let width = (text::width(&line, weight, block.px).ceil() as u32).min(area.size.width);
            let spare = (area.size.width - width) as i32;
            let x = match align {
                Align::Left => 0,
                Align::Centre => spare / 2,
                Align::Right => spare,
            };
            let at = area.top_left + Point::new(x, index as i32 * line_height as i32);
            TextLine { text: line, area: Rectangle::new(at, Size::new(width, line_height)) }
        });
        let lines = lines.collect();
        Self { area, lines, px: block.px, weight, colour, ground, shortened: block.shortened, right_to_left: false }
    }
}

impl Scene {
    pub(super) fn new(size: Size, ground: Rgb888) -> Self {
        let area = Rectangle::new(Point::zero(), size);
        Self { size, items: vec![Item::Fill { area, colour: ground }] }
    }

    pub(super) fn fill(&mut self, area: Rectangle, colour: Rgb888) {
        self.items.push(Item::Fill { area, colour });
    }

    /// The screen for those who read from right to left: everything changes sides, but a film never left for right.
    pub(super) fn mirrored(mut self) -> Self {
        let whole = self.size.width as i32;
        let flip = |area: &mut Rectangle| area.top_left.x = whole - area.top_left.x - area.size.width as i32;
        for item in &mut self.items {
            match item {
                Item::Fill { area, .. } | Item::Picture { area, .. } => flip(area),
                Item::Bar { area, from_right, .. } => {
                    flip(area);
                    *from_right = !*from_right;
                }
                Item::Sign { area, sign, mirrored, .. } => {
                    flip(area);
                    *mirrored = *sign == Sign::Question;
                }
                Item::Text(text) => {
                    flip(&mut text.area);
                    text.lines.iter_mut().for_each(|line| flip(&mut line.area));
                    // What comes from outside in Latin letters is read as such.
                    text.right_to_left = text.lines.iter().any(|line| text::has_right_to_left(&line.text));
                }
            }
        }
        self
    }

    /// All texts, from back to front.
    pub fn texts(&self) -> impl Iterator<Item = &TextItem> {
        self.items.iter().filter_map(|item| match item {
            Item::Text(text) => Some(text),
            Item::Fill { .. } | Item::Bar { .. } | Item::Sign { .. } | Item::Picture { .. } => None,
        })
    }

    /// What stands where, glyph by glyph, as text: two screens that are described alike look alike but for their films.
    pub fn describe(&self) -> String {
        let mut said = String::new();
        for item in &self.items {
            match item {
                Item::Fill { area, colour } => said.push_str(&format!("fill {area:?} {colour:?}\n")),
                Item::Bar { area, filled_px, colour, from_right, .. } => {
                    said.push_str(&format!("bar {area:?} {filled_px} {colour:?} {from_right}\n"));
                }
                Item::Sign { area, sign, colour, mirrored, .. } => {
                    said.push_str(&format!("sign {area:?} {sign:?} {colour:?} {mirrored}\n"));
                }
                Item::Picture { area, .. } => said.push_str(&format!("picture {area:?}\n")),
                Item::Text(text) => {
                    let TextItem { px, weight, colour, ground, shortened, right_to_left, .. } = text;
                    said.push_str(&format!("text {px} {weight:?} {colour:?} {ground:?} {shortened}\n"));
                    for line in &text.lines {
                        said.push_str(&format!("line {:?}", line.area));
                        for glyph in shape::line(&line.text, *weight, *right_to_left) {
                            let eighth = |ems: f32| (ems * px * 8.0).round();
                            let shape::Placed { script, id, x, y } = glyph;
                            said.push_str(&format!(" {script:?} {} {} {}", id.0, eighth(x), eighth(y)));
                        }
                        said.push('\n');
                    }
                }
            }
        }
        said
    }

    /// Draws everything; what lies outside of the target is left to the target to ignore.
    ///
    /// # Errors
    /// The target's own.
    pub fn draw<D>(&self, target: &mut D) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        self.items.iter().try_for_each(|item| match item {
            Item::Fill { area, colour } => target.fill_solid(area, *colour),
            Item::Bar { area, filled_px, colour, track, ground, from_right } => {
                let shares = rounded(area.size);
                let pixels = shares.iter().zip((0..area.size.width).cycle()).map(|(share, x)| {
                    let along = if *from_right { area.size.width - 1 - x } else { x };
                    let inside = if along < *filled_px { *colour } else { *track };
                    theme::mix(*ground, inside, *share)
                });
                target.fill_contiguous(area, pixels)
            }
            Item::Text(text) => text.lines.iter().try_for_each(|line| {
                let covered = text::cover(&line.text, text.weight, text.px, line.area.size.width, text.right_to_left);
                let corner = line.area.top_left - Point::new(0, covered.beyond as i32);
                let places = (0..covered.height).flat_map(|y| (0..covered.width).map(move |x| (x, y)));
                // Only ink: marks reach into the lines above and below.
                let inked = places.zip(&covered.values).filter(|(_, share)| **share > 0.0);
                target.draw_iter(inked.map(|((x, y), share)| {
                    let at = corner + Point::new(x as i32, y as i32);
                    Pixel(at, theme::mix(text.ground, text.colour, *share))
                }))
            }),
            Item::Sign { area, sign, colour, ground, mirrored } => {
                let mut covered = sign.coverage(area.size.width);
                if *mirrored {
                    covered.chunks_exact_mut(area.size.width.max(1) as usize).for_each(<[f32]>::reverse);
                }
                blend(target, *area, &covered, *colour, *ground)
            }
            Item::Picture { area, pixels } => target.fill_contiguous(area, pixels.iter().copied()),
        })
    }
}

/// Colours an area by how much of each pixel is covered.
fn blend<D>(target: &mut D, area: Rectangle, cover: &[f32], colour: Rgb888, ground: Rgb888) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    target.fill_contiguous(&area, cover.iter().map(|share| theme::mix(ground, colour, *share)))
}

/// How much of each pixel a bar with round ends covers, row by row.
fn rounded(Size { width, height }: Size) -> Vec<f32> {
    let radius = width.min(height) as f32 / 2.0;
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let over = |place: u32, length: u32| {
        let centre = length as f32 / 2.0;
        ((place as f32 + 0.5 - centre).abs() - centre + radius).max(0.0)
    };
    places.map(|(x, y)| (0.5 - (over(x, width).hypot(over(y, height)) - radius)).clamp(0.0, 1.0)).collect()
}
