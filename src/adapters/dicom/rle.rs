//! RLE Lossless (PS3.5 Annex G): each byte plane of each sample packed on its own.

use crate::domain::{Reason, Rejection};

fn corrupt(detail: String) -> Rejection {
    Rejection::new(Reason::Corrupt, format!("RLE: {detail}"))
}

/// Samples of a frame, those of a pixel together; `bytes_each` is 1 or 2.
pub(super) fn decode(frame: &[u8], pixels: usize, samples: usize, bytes_each: usize) -> Result<Vec<u16>, Rejection> {
    let expected = samples * bytes_each;
    let header: &[u8; 64] = frame
        .first_chunk()
        .ok_or_else(|| corrupt(format!("a frame of {} bytes, expected a header of 64", frame.len())))?;
    let word = |i: usize| u32::from_le_bytes([header[4 * i], header[4 * i + 1], header[4 * i + 2], header[4 * i + 3]]);
    if word(0) as usize != expected || expected > 15 {
        return Err(corrupt(format!("{} segments, expected {expected}", word(0))));
    }
    // A pair of bytes makes at most 128.
    let least = pixels / 64 * expected;
    if frame.len() < least {
        return Err(corrupt(format!(
            "a frame of {} bytes for {pixels} pixels, expected at least {least}",
            frame.len()
        )));
    }
    let mut values = vec![0_u16; pixels * samples];
    for segment in 0..expected {
        let start = word(segment + 1) as usize;
        let end = if segment + 1 < expected { word(segment + 2) as usize } else { frame.len() };
        let packed = frame
            .get(start..end)
            .filter(|_| start >= 64)
            .ok_or_else(|| corrupt(format!("segment {segment} from byte {start} to {end} of {}", frame.len())))?;
        // Most significant byte first (PS3.5 G.2).
        let shift = 8 * (bytes_each - 1 - segment % bytes_each);
        let mut places = values[segment / bytes_each..].iter_mut().step_by(samples);
        let filled = unpack(packed, |byte| places.next().map(|value| *value |= u16::from(byte) << shift).is_some());
        if filled < pixels {
            return Err(corrupt(format!("segment {segment} has {filled} bytes, expected {pixels}")));
        }
    }
    Ok(values)
}

/// Unpacks (PS3.5 G.3.2) until `put` refuses a byte; returns how many it took.
fn unpack(packed: &[u8], mut put: impl FnMut(u8) -> bool) -> usize {
    let mut taken = 0;
    let mut rest = packed;
    while let Some((&control, after)) = rest.split_first() {
        rest = after;
        let count = usize::from(control);
        if control < 128 {
            let (literal, after) = rest.split_at(rest.len().min(count + 1));
            rest = after;
            for &byte in literal {
                if !put(byte) {
                    return taken;
                }
                taken += 1;
            }
        } else if control > 128 {
            let Some((&byte, after)) = rest.split_first() else { break };
            rest = after;
            for _ in 0..257 - count {
                if !put(byte) {
                    return taken;
                }
                taken += 1;
            }
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(segments: &[&[u8]]) -> Vec<u8> {
        let mut header = vec![segments.len() as u32];
        let mut at = 64;
        for segment in segments {
            header.push(at);
            at += segment.len() as u32;
        }
        header.resize(16, 0);
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        segments.iter().for_each(|segment| bytes.extend(*segment));
        bytes
    }

    #[test]
    fn high_and_low_bytes_are_put_together() {
        // 3 × 0xAA; 0x80 is no operation; 1, 2, 3.
        let bytes = frame(&[&[0xfe, 0xaa], &[0x80, 0x02, 1, 2, 3]]);
        assert_eq!(decode(&bytes, 3, 1, 2), Ok(vec![0xaa01, 0xaa02, 0xaa03]));
        let bytes = frame(&[&[0xff, 1], &[0xff, 2], &[0xff, 3]]);
        assert_eq!(decode(&bytes, 2, 3, 1), Ok(vec![1, 2, 3, 1, 2, 3]));
    }

    #[test]
    fn what_does_not_fit_is_corrupt() {
        let refused = |bytes: &[u8]| decode(bytes, 3, 1, 1).unwrap_err().detail;
        assert_eq!(refused(&[0; 3]), "RLE: a frame of 3 bytes, expected a header of 64");
        assert_eq!(refused(&[0xff; 64]), "RLE: 4294967295 segments, expected 1");
        assert_eq!(refused(&frame(&[&[0xff, 9]])), "RLE: segment 0 has 2 bytes, expected 3");
        let mut beyond = frame(&[&[0xfe, 9]]);
        beyond[4] = 200;
        assert_eq!(refused(&beyond), "RLE: segment 0 from byte 200 to 66 of 66");
        let refused = decode(&frame(&[&[0xfe, 9]]), 1 << 20, 1, 1).unwrap_err().detail;
        assert_eq!(refused, "RLE: a frame of 66 bytes for 1048576 pixels, expected at least 16384");
    }
}
