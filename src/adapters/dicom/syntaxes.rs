//! The transfer syntaxes whose pictures can be decoded: one table for what is negotiated and what is documented.

/// A transfer syntax (PS3.6 A) whose pictures can be decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct TransferSyntax {
    /// Its unique identifier.
    pub uid: &'static str,
    /// As the standard calls it.
    pub name: &'static str,
    /// Whether a picture always comes out as it went in.
    pub lossless: bool,
}

const fn lossless(uid: &'static str, name: &'static str) -> TransferSyntax {
    TransferSyntax { uid, name, lossless: true }
}

const fn lossy(uid: &'static str, name: &'static str) -> TransferSyntax {
    TransferSyntax { uid, name, lossless: false }
}

/// All of them, the preferred ones first: lossless before lossy, and what every sender writes well before the rest.
///
/// The retired JPEG processes are decoded where a file has them, but not asked for.
pub const TRANSFER_SYNTAXES: [TransferSyntax; 16] = [
    lossless("1.2.840.10008.1.2.1", "Explicit VR Little Endian"),
    lossless("1.2.840.10008.1.2", "Implicit VR Little Endian"),
    lossless("1.2.840.10008.1.2.4.70", "JPEG Lossless, Non-Hierarchical, First-Order Prediction"),
    lossless("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless"),
    lossless("1.2.840.10008.1.2.4.90", "JPEG 2000 (Lossless Only)"),
    lossless("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000 (Lossless Only)"),
    lossless("1.2.840.10008.1.2.4.202", "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)"),
    lossless("1.2.840.10008.1.2.5", "RLE Lossless"),
    lossless("1.2.840.10008.1.2.4.57", "JPEG Lossless, Non-Hierarchical (Process 14)"),
    lossless("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian"),
    lossless("1.2.840.10008.1.2.2", "Explicit VR Big Endian"),
    lossy("1.2.840.10008.1.2.4.91", "JPEG 2000"),
    lossy("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000"),
    lossy("1.2.840.10008.1.2.4.81", "JPEG-LS Lossy (Near-Lossless)"),
    lossy("1.2.840.10008.1.2.4.51", "JPEG Extended (Process 2 & 4)"),
    lossy("1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1)"),
];

#[cfg(test)]
mod tests {
    use super::super::syntax_of;
    use super::*;

    #[test]
    fn all_that_is_offered_is_decoded_and_lossless_comes_first() {
        for syntax in &TRANSFER_SYNTAXES {
            assert!(syntax_of(syntax.uid).is_ok(), "{}", syntax.name);
            assert_eq!(TRANSFER_SYNTAXES.iter().filter(|other| other.uid == syntax.uid).count(), 1);
        }
        assert!(TRANSFER_SYNTAXES.is_sorted_by_key(|syntax| !syntax.lossless));
    }
}
