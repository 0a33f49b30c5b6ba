//! The map that was shown with a verdict, as it lies beside the row: a reading that is shown again, or sent away, shows
//! where the network looked then, whichever model the device has by now.

use crate::domain::{SaliencyMap, Window};

/// Cells along one side at most; a network's last layer has far fewer.
const MOST_CELLS: usize = 1024;

/// Width, height and the four edges of the window, then the cells row by row; each is 4 bytes, big-endian.
pub(super) fn to_bytes(map: &SaliencyMap, window: Window) -> Vec<u8> {
    let Window { left, top, right, bottom } = window;
    let mut bytes = Vec::with_capacity(4 * (6 + map.values.len()));
    for side in [map.width, map.height] {
        bytes.extend(u32::try_from(side).unwrap_or(u32::MAX).to_be_bytes());
    }
    for number in [left, top, right, bottom].iter().chain(&map.values) {
        bytes.extend(number.to_be_bytes());
    }
    bytes
}

/// `None` for what [`to_bytes`] does not write.
pub(super) fn of_bytes(bytes: &[u8]) -> Option<(SaliencyMap, Window)> {
    let (words, rest) = bytes.as_chunks::<4>();
    let ([width, height, window @ ..], []) = (words, rest) else { return None };
    let [width, height] = [width, height].map(|side| u32::from_be_bytes(*side) as usize);
    let (window, cells) = window.split_first_chunk::<4>()?;
    let fits = (1..=MOST_CELLS).contains(&width) && (1..=MOST_CELLS).contains(&height) && cells.len() == width * height;
    let [left, top, right, bottom] = window.map(f32::from_be_bytes);
    let values: Vec<f32> = cells.iter().copied().map(f32::from_be_bytes).collect();
    let numbers = [left, top, right, bottom].iter().chain(&values).all(|number| number.is_finite());
    (fits && numbers).then_some((SaliencyMap { width, height, values }, Window { left, top, right, bottom }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_as_it_was_written_and_nothing_else_is() {
        let map = SaliencyMap { width: 3, height: 2, values: vec![0.0, 0.5, 1.0, 2.5, 1e-9, 3.0] };
        let window = Window { left: -0.25, top: 0.0, right: 1.25, bottom: 1.0 };
        let bytes = to_bytes(&map, window);
        assert_eq!(of_bytes(&bytes), Some((map.clone(), window)));
        for length in 0..bytes.len() {
            assert_eq!(of_bytes(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(of_bytes(&[&bytes[..], &[0; 4]].concat()), None);
        let huge = [&u32::MAX.to_be_bytes()[..], &u32::MAX.to_be_bytes(), &bytes[8..]].concat();
        assert_eq!(of_bytes(&huge), None);
        let nowhere = to_bytes(&map, Window { left: f32::NAN, ..window });
        assert_eq!(of_bytes(&nowhere), None);
    }
}
