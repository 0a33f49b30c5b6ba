//! What a journal is told in tests.

#![allow(unreachable_pub, reason = "each test is a program of its own")]

use lightbox::domain::{Identity, OperatingPoint, Reading, Reason, Rejection, SaliencyMap, Window};
use lightbox::record::{Digest, Entry, Image, Model, Moment, Origin};

/// A reading of a film that came by network, different for each number.
pub fn entry(number: i64) -> Entry {
    Entry {
        at: Moment { unix_ms: 1_770_000_000_000 + number, verified: false },
        origin: Origin::Network,
        image: Some(Image { sha256: Digest::of(&number.to_be_bytes()), reference: format!("film-{number}") }),
        identity: Some(Identity {
            patient_id: format!("patient {number}"),
            study_uid: format!("1.2.{number}"),
            series_uid: format!("1.2.{number}.1"),
            sop_uid: format!("1.2.{number}.1.1"),
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1".into(),
            ..Identity::default()
        }),
        remarks: Vec::new(),
        model: Model {
            name: "m".into(),
            version: "1.0.0".into(),
            network_sha256: "ab".repeat(32),
            manifest_sha256: "cd".repeat(32),
        },
        operating_point: OperatingPoint::new(0.1, 0.6, 0.4, 0.6).expect("in order"),
        reading: Reading::rejected(Rejection::new(Reason::Blank, "x")),
        map: Some(map(number)),
        software: "0.1.0".into(),
        operator: None,
    }
}

/// A map of a few cells.
pub fn map(number: i64) -> (SaliencyMap, Window) {
    let values = (0..6).map(|cell| (number * 6 + cell) as f32).collect();
    (SaliencyMap { width: 3, height: 2, values }, Window { left: -0.1, top: 0.0, right: 1.1, bottom: 1.0 })
}
