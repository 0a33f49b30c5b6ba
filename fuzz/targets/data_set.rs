//! A data set as it comes in from a peer; the first byte chooses the transfer syntax and how it is cut into pieces, which
//! must not matter.

use lightbox::adapters::dicom::TRANSFER_SYNTAXES;
use lightbox::adapters::listener::judge_data_set;

/// Of what is inflated.
const MOST: u64 = 1 << 22;

/// Whether it is whole.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Some((first, bytes)) = bytes.split_first() else { return false };
    let syntax = TRANSFER_SYNTAXES[usize::from(first >> 4) % TRANSFER_SYNTAXES.len()].uid;
    let piece = 1 + usize::from(first & 15) * 7;
    let whole = judge_data_set([bytes], syntax, MOST);
    // What is wrong with one that has two faults may be said either way.
    assert_eq!(judge_data_set(bytes.chunks(piece), syntax, MOST).ok(), whole.clone().ok());
    if let Ok((class, instance)) = &whole {
        assert!(class.len() <= 64 && instance.len() <= 64);
    }
    whole.is_ok()
}
