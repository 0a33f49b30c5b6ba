//! What the journal is told of a film.

use std::path::Path;

use crate::adapters::file::Limits;
use crate::adapters::spool::Stored;
use crate::adapters::{clock, content};
use crate::app::Screened;
use crate::bundle::VerifiedModel;
use crate::domain::Identity;
use crate::record::{Digest, Entry, Image, Model, Moment, Origin};

/// The entry of the object of the spool that lies at `path` and was read with `model` just now.
pub fn entry_of(
    stored: &Stored,
    path: &Path,
    screened: &Screened,
    remarks: Vec<String>,
    identity: Option<Identity>,
    model: &VerifiedModel,
) -> Entry {
    let origin = match stored {
        stored if stored.from_network() => Origin::Network,
        stored if stored.is_photograph() => Origin::Camera,
        stored if stored.from_drive() => Origin::Drive,
        _ => Origin::Folder,
    };
    let sha256 = content::sha256(path, Limits::default().file_bytes).ok();
    let image = sha256.map(|sha256| Image { sha256: Digest(sha256), reference: stored.file_name() });
    Entry { identity, ..entry(origin, image, screened, remarks, model) }
}

/// The entry of a film that was read with `model` just now, of whom nothing is kept.
pub fn entry(
    origin: Origin,
    image: Option<Image>,
    screened: &Screened,
    remarks: Vec<String>,
    model: &VerifiedModel,
) -> Entry {
    let (unix_ms, verified) = clock::now();
    let manifest = model.manifest();
    Entry {
        at: Moment { unix_ms, verified },
        origin,
        image,
        identity: None,
        remarks,
        model: Model {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            network_sha256: model.network_sha256().to_owned(),
            manifest_sha256: model.manifest_sha256().to_owned(),
        },
        operating_point: manifest.rule.operating_point,
        reading: screened.reading.clone(),
        map: screened.saliency.clone(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        operator: None,
    }
}
