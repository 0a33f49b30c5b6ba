//! An ONNX file as it is looked through before an engine sees it.

use lightbox::bundle::network::inspect;

/// Whether it is accepted.
pub fn run(bytes: &[u8]) -> bool {
    inspect(bytes).is_ok()
}
