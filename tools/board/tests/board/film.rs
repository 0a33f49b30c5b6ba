//! Films as a modality sends them: DICOM files, uncompressed, so that tests whose subject is not a codec do not wait for an
//! emulated processor to undo one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::root;

const COMPUTED_RADIOGRAPHY: &str = "1.2.840.10008.5.1.4.1.1.1";
const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";

/// Greys of 16 bits.
pub(crate) struct Film {
    width: u16,
    height: u16,
    /// Two bytes a pixel, the lower one first.
    greys: Vec<u8>,
}

impl Film {
    /// The real film among the golden films of the released model, which is that of `tests/fixtures/chest-pa.dcm`.
    pub(crate) fn real() -> Self {
        Self::golden("golden/00.pgm")
    }

    /// The small one, made by code.
    pub(crate) fn phantom() -> Self {
        Self::golden("golden/01.pgm")
    }

    /// One that is refused as soon as it is decoded.
    pub(crate) fn too_small() -> Self {
        let side = 24;
        Self {
            width: side,
            height: side,
            greys: (0..u32::from(side) * u32::from(side) * 2).map(|at| at as u8).collect(),
        }
    }

    fn golden(name: &str) -> Self {
        let bundle = root().join("models/released/model.lbx");
        let output = Command::new("tar").arg("-xOf").arg(&bundle).arg(name).output().expect("tar");
        assert!(output.status.success(), "{name} is not in {}", bundle.display());
        // "P5", width and height, the largest value, each in a line of its own; the higher byte first.
        let mut parts = output.stdout.splitn(4, |byte| *byte == b'\n');
        let mut line = || parts.next().expect("a PGM has three lines and pixels");
        let (kind, size, most, pixels) = (line(), line(), line(), line());
        assert_eq!((kind, most), (&b"P5"[..], &b"65535"[..]), "{name} is a PGM of 16 bits");
        let sides: Vec<u16> = String::from_utf8_lossy(size).split(' ').flat_map(str::parse).collect();
        let [width, height] = sides[..] else { panic!("{name} has a size: {size:?}") };
        let greys = pixels.as_chunks::<2>().0.iter().flat_map(|[high, low]| [*low, *high]).collect();
        Self { width, height, greys }
    }

    /// Writes it as an image of its own, named after its SOP Instance UID.
    pub(crate) fn write(&self, folder: &Path, uid: &str) -> PathBuf {
        let mut meta = Vec::new();
        element(&mut meta, 0x0002_0001, "OB", &[0, 1]);
        text(&mut meta, 0x0002_0002, "UI", COMPUTED_RADIOGRAPHY);
        text(&mut meta, 0x0002_0003, "UI", uid);
        text(&mut meta, 0x0002_0010, "UI", EXPLICIT_LITTLE_ENDIAN);
        text(&mut meta, 0x0002_0012, "UI", "1.2.826.0.1.3680043.9.9998");
        let mut file = vec![0; 128];
        file.extend_from_slice(b"DICM");
        element(&mut file, 0x0002_0000, "UL", &(meta.len() as u32).to_le_bytes());
        file.extend_from_slice(&meta);
        text(&mut file, 0x0008_0016, "UI", COMPUTED_RADIOGRAPHY);
        text(&mut file, 0x0008_0018, "UI", uid);
        text(&mut file, 0x0008_0060, "CS", "CR");
        text(&mut file, 0x0018_0015, "CS", "CHEST");
        text(&mut file, 0x0018_5101, "CS", "PA");
        text(&mut file, 0x0020_000d, "UI", "1.2.826.0.1.3680043.9.9998.1");
        text(&mut file, 0x0020_000e, "UI", "1.2.826.0.1.3680043.9.9998.2");
        let mut number = |tag, value: u16| element(&mut file, tag, "US", &value.to_le_bytes());
        number(0x0028_0002, 1);
        text(&mut file, 0x0028_0004, "CS", "MONOCHROME2");
        let mut number = |tag, value: u16| element(&mut file, tag, "US", &value.to_le_bytes());
        number(0x0028_0010, self.height);
        number(0x0028_0011, self.width);
        number(0x0028_0100, 16);
        number(0x0028_0101, 16);
        number(0x0028_0102, 15);
        number(0x0028_0103, 0);
        element(&mut file, 0x7fe0_0010, "OW", &self.greys);
        let path = folder.join(format!("{uid}.dcm"));
        fs::write(&path, file).expect("a film");
        path
    }
}

fn text(out: &mut Vec<u8>, tag: u32, representation: &str, value: &str) {
    let mut value = value.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(if representation == "UI" { 0 } else { b' ' });
    }
    element(out, tag, representation, &value);
}

/// A data element in explicit VR little endian (DICOM PS3.5, 7.1.2).
fn element(out: &mut Vec<u8>, tag: u32, representation: &str, value: &[u8]) {
    out.extend_from_slice(&((tag >> 16) as u16).to_le_bytes());
    out.extend_from_slice(&(tag as u16).to_le_bytes());
    out.extend_from_slice(representation.as_bytes());
    if matches!(representation, "OB" | "OW") {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    } else {
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    }
    out.extend_from_slice(value);
}
