//! A film that no patient was exposed for, as a DICOM file: what a device measures its own speed with.

/// A square picture of `side` pixels with 16 bits in explicit little endian, uncompressed: two dark lungs in a lighter
/// trunk with a detector's noise. It passes as a frontal chest film; what a network says of it means nothing.
///
/// # Panics
/// When `side` is above 16384: DICOM counts the bytes of uncompressed pixels with 32 bits.
pub fn film_file(side: u16) -> Vec<u8> {
    assert!(side <= 16_384, "{side} pixels a side, expected at most 16384");
    let mut meta = Vec::new();
    element(&mut meta, [0x0002, 0x0001], b"OB", &[0, 1]);
    // Digital X-Ray Image Storage - For Presentation (PS3.4 B.5).
    element(&mut meta, [0x0002, 0x0002], b"UI", b"1.2.840.10008.5.1.4.1.1.1.1\0");
    element(&mut meta, [0x0002, 0x0003], b"UI", b"2.25.1\0\0");
    element(&mut meta, [0x0002, 0x0010], b"UI", b"1.2.840.10008.1.2.1\0");

    let pixels = pixels(side);
    let mut file = vec![0; 128];
    file.reserve_exact(pixels.len() + meta.len() + 512);
    file.extend(b"DICM");
    element(&mut file, [0x0002, 0x0000], b"UL", &(meta.len() as u32).to_le_bytes());
    file.extend(meta);
    element(&mut file, [0x0008, 0x0060], b"CS", b"DX");
    element(&mut file, [0x0018, 0x0015], b"CS", b"CHEST ");
    element(&mut file, [0x0018, 0x5101], b"CS", b"PA");
    element(&mut file, [0x0028, 0x0002], b"US", &1u16.to_le_bytes());
    element(&mut file, [0x0028, 0x0004], b"CS", b"MONOCHROME2 ");
    element(&mut file, [0x0028, 0x0010], b"US", &side.to_le_bytes());
    element(&mut file, [0x0028, 0x0011], b"US", &side.to_le_bytes());
    for (tag, value) in [(0x0100, 16u16), (0x0101, 16), (0x0102, 15), (0x0103, 0)] {
        element(&mut file, [0x0028, tag], b"US", &value.to_le_bytes());
    }
    element(&mut file, [0x7FE0, 0x0010], b"OW", &pixels);
    file
}

/// One element in explicit little endian (PS3.5 7.1.2); values have an even length.
fn element(to: &mut Vec<u8>, [group, element]: [u16; 2], vr: &[u8; 2], value: &[u8]) {
    debug_assert!(value.len().is_multiple_of(2));
    to.extend(group.to_le_bytes());
    to.extend(element.to_le_bytes());
    to.extend(vr);
    if matches!(vr, b"OB" | b"OW") {
        to.extend([0, 0]);
        to.extend((value.len() as u32).to_le_bytes());
    } else {
        to.extend((value.len() as u16).to_le_bytes());
    }
    to.extend(value);
}

fn pixels(side: u16) -> Vec<u8> {
    let mut noise = 1u32;
    let mut bytes = Vec::with_capacity(2 * usize::from(side).pow(2));
    for y in 0..side {
        let down = f32::from(y) / f32::from(side) - 0.5;
        for x in 0..side {
            let across = (f32::from(x) / f32::from(side) - 0.5).abs();
            let (dx, dy) = ((across - 0.2) / 0.13, (down + 0.02) / 0.3);
            let lung = (1.3 - dx * dx - dy * dy).clamp(0.0, 1.0);
            let trunk = 0.75 - 0.5 * across - 0.1 * down;
            // A linear congruential generator (Numerical Recipes): the same on every processor.
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = (noise >> 16) as f32 / 65_536.0 - 0.5;
            let light = trunk - 0.4 * lung + 0.02 * grain;
            bytes.extend(((light.clamp(0.0, 1.0) * 65_535.0) as u16).to_le_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::file::{Limits, decode_film};
    use crate::domain::{Modality, ViewPosition};
    use crate::pipeline::quality;

    #[test]
    fn the_film_is_read_and_found_fit() {
        let acquired = decode_film(&film_file(600), &Limits::default()).expect("a film");
        assert_eq!((acquired.image.width(), acquired.image.height()), (600, 600));
        assert!(matches!(acquired.modality, Some(Modality::Radiography(_))), "{:?}", acquired.modality);
        assert_eq!(acquired.view, Some(ViewPosition::Pa));
        assert!(acquired.remarks.is_empty(), "{:?}", acquired.remarks);
        assert!(quality::accept(acquired).is_ok());
    }
}
