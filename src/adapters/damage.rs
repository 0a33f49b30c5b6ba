//! What changed from one frame to the next: the only part of it that is pushed to a panel.

use std::iter;
use std::ops::Range;

use crate::domain::Frame;

/// A part of a picture that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// The first column.
    pub x: u32,
    /// The first row.
    pub y: u32,
    /// How many columns.
    pub width: u32,
    /// How many rows.
    pub height: u32,
}

impl Area {
    /// How many pixels it has.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// The frame that a panel shows, as far as that is known.
#[derive(Debug, Default)]
pub struct Shown(Option<Frame>);

impl Shown {
    /// Runs of rows in which `next` differs from what is shown; all of them where nothing is known.
    pub fn changed_rows(&self, next: &Frame) -> Vec<Range<u32>> {
        let Some(shown) = self.comparable(next) else {
            return iter::once(0..next.height()).filter(|rows| !rows.is_empty()).collect();
        };
        let width = (next.width() as usize).max(1);
        let mut runs: Vec<Range<u32>> = Vec::new();
        let rows = shown.pixels().chunks_exact(width).zip(next.pixels().chunks_exact(width));
        for (row, _) in (0..).zip(rows).filter(|(_, (old, new))| old != new) {
            match runs.last_mut() {
                Some(run) if run.end == row => run.end = row + 1,
                _ => runs.push(row..row + 1),
            }
        }
        runs
    }

    /// Areas that hold every pixel in which `next` differs from what is shown, none of them twice; one area of
    /// everything where nothing is known.
    ///
    /// Changes are gathered by tiles of 16 × 16 pixels, neighbours are joined, and every area is then shrunk to what
    /// changed in it: few areas cost few commands, small ones few bytes.
    pub fn changed_areas(&self, next: &Frame) -> Vec<Area> {
        const TILE: u32 = 16;
        let (width, height) = (next.width(), next.height());
        let Some(shown) = self.comparable(next) else {
            let all = Area { x: 0, y: 0, width, height };
            return if all.pixels() == 0 { vec![] } else { vec![all] };
        };
        let mut areas: Vec<Area> = Vec::new();
        // Areas that end at the row of tiles before: they grow downwards.
        let mut above: Vec<usize> = Vec::new();
        for top in (0..height).step_by(TILE as usize) {
            let rows = top..(top + TILE).min(height);
            let mut runs: Vec<Range<u32>> = Vec::new();
            for left in (0..width).step_by(TILE as usize) {
                let columns = left..(left + TILE).min(width);
                if !differ(shown, next, &columns, &rows) {
                    continue;
                }
                match runs.last_mut() {
                    Some(run) if run.end == columns.start => run.end = columns.end,
                    _ => runs.push(columns),
                }
            }
            let mut now = Vec::new();
            for run in runs {
                let same = above.iter().find(|index| {
                    let area = areas[**index];
                    area.x == run.start && area.width == run.end - run.start
                });
                match same {
                    Some(index) => {
                        areas[*index].height = rows.end - areas[*index].y;
                        now.push(*index);
                    }
                    None => {
                        now.push(areas.len());
                        areas.push(Area { x: run.start, y: top, width: run.end - run.start, height: rows.end - top });
                    }
                }
            }
            above = now;
        }
        areas.iter().map(|area| shrunk(shown, next, area)).collect()
    }

    /// From now on `frame` is what is shown.
    pub fn is(&mut self, frame: &Frame) {
        match &mut self.0 {
            Some(shown) => shown.clone_from(frame),
            None => self.0 = Some(frame.clone()),
        }
    }

    /// What is shown is not known any more.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    fn comparable(&self, next: &Frame) -> Option<&Frame> {
        self.0.as_ref().filter(|shown| (shown.width(), shown.height()) == (next.width(), next.height()))
    }
}

/// The pixels of `row` from `columns`.
pub(super) fn row_of<'a>(frame: &'a Frame, row: u32, columns: &Range<u32>) -> &'a [[u8; 3]] {
    let start = row as usize * frame.width() as usize;
    &frame.pixels()[start + columns.start as usize..start + columns.end as usize]
}

fn differ(shown: &Frame, next: &Frame, columns: &Range<u32>, rows: &Range<u32>) -> bool {
    rows.clone().any(|row| row_of(shown, row, columns) != row_of(next, row, columns))
}

/// The part of `area`, in which something differs, without the rows and columns at its edges in which nothing does.
fn shrunk(shown: &Frame, next: &Frame, area: &Area) -> Area {
    let (mut columns, mut rows) = (area.x..area.x + area.width, area.y..area.y + area.height);
    while rows.len() > 1 && !differ(shown, next, &columns, &(rows.start..rows.start + 1)) {
        rows.start += 1;
    }
    while rows.len() > 1 && !differ(shown, next, &columns, &(rows.end - 1..rows.end)) {
        rows.end -= 1;
    }
    while columns.len() > 1 && !differ(shown, next, &(columns.start..columns.start + 1), &rows) {
        columns.start += 1;
    }
    while columns.len() > 1 && !differ(shown, next, &(columns.end - 1..columns.end), &rows) {
        columns.end -= 1;
    }
    Area { x: columns.start, y: rows.start, width: columns.end - columns.start, height: rows.end - rows.start }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Numbers without a pattern (xorshift64*), the same for the same seed.
    pub(crate) struct Noise(pub(crate) u64);

    impl Noise {
        pub(crate) fn below(&mut self, most: u32) -> u32 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % u64::from(most.max(1))) as u32
        }
    }

    /// Every pixel another colour than its neighbours.
    pub(crate) fn noisy(width: u32, height: u32, noise: &mut Noise) -> Frame {
        let mut frame = Frame::new(width, height);
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            frame.set(x, y, [0; 3].map(|_| noise.below(256) as u8));
        }
        frame
    }

    /// A few rectangles of `frame` in other colours.
    pub(crate) fn damaged(frame: &Frame, noise: &mut Noise) -> Frame {
        let mut next = frame.clone();
        for _ in 0..noise.below(4) {
            let (left, top) = (noise.below(frame.width()), noise.below(frame.height()));
            let (right, bottom) = (left + 1 + noise.below(40), top + 1 + noise.below(40));
            let colour = [0; 3].map(|_| noise.below(256) as u8);
            for (x, y) in (top..bottom).flat_map(|y| (left..right).map(move |x| (x, y))) {
                next.set(x, y, colour);
            }
        }
        next
    }

    fn one(rows: Range<u32>) -> Vec<Range<u32>> {
        iter::once(rows).collect()
    }

    #[track_caller]
    fn check(shown: &Frame, next: &Frame) {
        let mut known = Shown::default();
        known.is(shown);
        let differs = |x, y| shown.get(x, y) != next.get(x, y);
        let (width, height) = (next.width(), next.height());

        let rows = known.changed_rows(next);
        for y in 0..height {
            let changed = (0..width).any(|x| differs(x, y));
            assert_eq!(rows.iter().filter(|run| run.contains(&y)).count(), usize::from(changed), "row {y} of {rows:?}");
        }
        assert!(rows.windows(2).all(|pair| pair[0].end < pair[1].start), "{rows:?} are not joined");

        let areas = known.changed_areas(next);
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            let inside = |area: &&Area| {
                (area.x..area.x + area.width).contains(&x) && (area.y..area.y + area.height).contains(&y)
            };
            let covers = areas.iter().filter(inside).count();
            assert!(covers == 1 || covers == 0 && !differs(x, y), "({x}, {y}) is in {covers} of {areas:?}");
        }
        for area in &areas {
            let edge = |columns: Range<u32>, rows: Range<u32>| differ(shown, next, &columns, &rows);
            let (right, bottom) = (area.x + area.width, area.y + area.height);
            assert!(edge(area.x..area.x + 1, area.y..bottom) && edge(right - 1..right, area.y..bottom), "{area:?}");
            assert!(edge(area.x..right, area.y..area.y + 1) && edge(area.x..right, bottom - 1..bottom), "{area:?}");
        }
    }

    #[test]
    fn every_change_is_in_one_area_and_one_run_of_rows() {
        let mut noise = Noise(7);
        for (width, height) in [(1, 1), (16, 16), (17, 15), (33, 50), (240, 240), (101, 67)] {
            let mut frame = noisy(width, height, &mut noise);
            for _ in 0..20 {
                let next = damaged(&frame, &mut noise);
                check(&frame, &next);
                frame = next;
            }
        }
    }

    #[test]
    fn what_did_not_change_is_not_pushed() {
        let mut shown = Shown::default();
        let frame = noisy(40, 30, &mut Noise(1));
        assert_eq!(shown.changed_areas(&frame), [Area { x: 0, y: 0, width: 40, height: 30 }]);
        assert_eq!(shown.changed_rows(&frame), one(0..30));
        shown.is(&frame);
        assert_eq!((shown.changed_areas(&frame), shown.changed_rows(&frame)), (vec![], vec![]));
        let mut next = frame.clone();
        next.set(20, 17, [1, 2, 3]);
        assert_eq!(shown.changed_areas(&next), [Area { x: 20, y: 17, width: 1, height: 1 }]);
        assert_eq!(shown.changed_rows(&next), one(17..18));
    }

    #[test]
    fn a_change_over_several_tiles_is_one_area() {
        let mut shown = Shown::default();
        let frame = Frame::new(100, 100);
        shown.is(&frame);
        let mut next = frame;
        for (x, y) in (10..70).flat_map(|y| (20..90).map(move |x| (x, y))) {
            next.set(x, y, [9; 3]);
        }
        assert_eq!(shown.changed_areas(&next), [Area { x: 20, y: 10, width: 70, height: 60 }]);
    }

    #[test]
    fn after_a_failure_or_another_size_everything_is_pushed() {
        let mut shown = Shown::default();
        let frame = Frame::new(4, 4);
        shown.is(&frame);
        assert_eq!(shown.changed_rows(&Frame::new(4, 5)), one(0..5));
        shown.forget();
        assert_eq!(shown.changed_rows(&frame), one(0..4));
        assert_eq!(shown.changed_areas(&Frame::new(0, 0)), []);
        assert_eq!(shown.changed_rows(&Frame::new(0, 0)).len(), 0);
    }
}
