//! The state record of the store. What is read is written as it was read, whatever it says.

use lightbox::bundle::sha256_hex;
use lightbox::bundle::state::{decode, encode};

/// Whether it is accepted behind a checksum.
pub fn run(bytes: &[u8]) -> bool {
    let _ = decode(bytes);
    // Behind a checksum that fits.
    let mut record = format!("lightbox-state 1 {}\n", sha256_hex(bytes)).into_bytes();
    record.extend_from_slice(bytes);
    let Ok(state) = decode(&record) else { return false };
    let again = encode(&state);
    assert_eq!(decode(&again).ok().as_ref(), Some(&state), "a record is read otherwise than it was written");
    true
}
