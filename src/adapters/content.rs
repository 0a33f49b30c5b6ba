//! What tells a file's content from every other.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// SHA-256 of a regular file.
///
/// # Errors
/// When it cannot be read, is no regular file, or is longer than `limit` bytes.
pub fn sha256(path: &Path, limit: u64) -> io::Result<[u8; 32]> {
    // Asked before opening: opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let (mut hash, mut total) = (Sha256::new(), 0);
    let mut file = File::open(path)?;
    let mut part = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut part)?;
        if count == 0 {
            return Ok(hash.finalize().into());
        }
        total += count as u64;
        if total > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("expected at most {limit} bytes")));
        }
        hash.update(&part[..count]);
    }
}
