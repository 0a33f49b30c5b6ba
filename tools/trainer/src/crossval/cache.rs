//! What the frozen part of a network makes of every film, computed once and kept on disk.
//!
//! The file holds one record a film: all live tensors one after the other, f32, little endian. It is written in order,
//! so its length says how many films are done, and what it holds is bit for bit what the network would compute anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::scope::Scope;
use crate::paper::networks::PaperNetwork;

/// Films that go through the frozen part together.
const TOGETHER: usize = 4;

/// Activations that cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {detail}: remove it and start again")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found and expected.
        detail: String,
    },
    /// Not enough room.
    #[error("{path} needs {} for the activations of {films} films and the checkpoints, and {} are free: \
             free some, choose another --out, or a smaller --size", mebibytes(*needed), mebibytes(*free))]
    Room {
        /// Which folder.
        path: PathBuf,
        /// Of how many films.
        films: usize,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A value that is no number.
    #[error("the frozen part of {network} makes values that are no numbers of {file}: the weights do not fit it")]
    NotFinite {
        /// Which network.
        network: &'static str,
        /// Of which film.
        file: String,
    },
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CacheError + '_ {
    |source| CacheError::Io { path: path.into(), source }
}

/// What a cache is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    /// Digest of the network's weights, the input and the films.
    key: String,
    /// Channels, rows and columns of each live tensor.
    shapes: Vec<[usize; 3]>,
    films: usize,
}

impl Header {
    fn values(&self) -> usize {
        self.shapes.iter().map(|shape| shape.iter().product::<usize>()).sum()
    }

    fn record_bytes(&self) -> u64 {
        self.values() as u64 * 4
    }
}

/// Where a network's activations lie.
#[derive(Clone, Debug)]
pub struct Place {
    values: PathBuf,
    header: PathBuf,
}

impl Place {
    /// In `folder`.
    pub fn of(folder: &Path) -> Self {
        Self { values: folder.join("trunk.f32"), header: folder.join("trunk.json") }
    }

    /// Removes them.
    pub fn clear(&self) {
        let _ = fs::remove_file(&self.header);
        let _ = fs::remove_file(&self.values);
    }

    fn read_header(&self) -> Option<Header> {
        serde_json::from_slice(&fs::read(&self.header).ok()?).ok()
    }
}

/// Films as the network's input.
pub struct Input<'a> {
    /// Greys from 0 to 1 of each film.
    pub greys: &'a [Vec<f32>],
    /// Their names, for messages.
    pub files: Vec<&'a str>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Which part of the network they go through here.
    pub scope: Scope,
}

impl Input<'_> {
    /// `[n, 3, h, w]` as `network` expects it, of films `from` to `to`.
    fn batch(&self, network: &PaperNetwork, from: usize, to: usize, device: &Device) -> Tensor<4> {
        let greys: Vec<f32> = self.greys[from..to].concat();
        let grey = Tensor::<4>::from_data(TensorData::new(greys, [to - from, 1, self.height, self.width]), device);
        network.normalise(Tensor::cat(vec![grey; 3], 1))
    }
}

/// Bytes that the activations of `input` will take beyond those already there.
pub fn bytes_needed(place: &Place, key: &str, network: &PaperNetwork, input: &Input<'_>) -> u64 {
    let header = header(key, network, input);
    let there = match place.read_header() {
        Some(old) if old == header => fs::metadata(&place.values).map_or(0, |about| about.len()),
        _ => 0,
    };
    (header.record_bytes() * input.greys.len() as u64).saturating_sub(there)
}

fn header(key: &str, network: &PaperNetwork, input: &Input<'_>) -> Header {
    let live = input.scope.fixed(network, input.batch(network, 0, 1, &Device::flex()));
    let shapes = live.iter().map(|tensor| tensor.dims()).map(|[_, c, h, w]| [c, h, w]).collect();
    Header { key: key.into(), shapes, films: input.greys.len() }
}

/// Computes what is missing of the activations of `input`; `progress` is called with the films done.
///
/// `network` is on a device without autodiff.
///
/// # Errors
/// When the file cannot be written; what was done is kept.
pub fn fill(
    place: &Place,
    key: &str,
    network: &PaperNetwork,
    input: &Input<'_>,
    mut progress: impl FnMut(usize),
) -> Result<(), CacheError> {
    let header = header(key, network, input);
    if place.read_header().as_ref() != Some(&header) {
        place.clear();
        let text = serde_json::to_vec(&header).map_err(|e| io_error(&place.header)(e.into()))?;
        crate::files::replace(&place.header, &text).map_err(io_error(&place.header))?;
    }
    let file = OpenOptions::new().create(true).append(true).open(&place.values).map_err(io_error(&place.values))?;
    let length = file.metadata().map_err(io_error(&place.values))?.len();
    // Films go through together in the same company, whether or not the work was cut.
    let mut done = (length / header.record_bytes()) as usize;
    if done < header.films {
        done -= done % TOGETHER;
    }
    file.set_len(done as u64 * header.record_bytes()).map_err(io_error(&place.values))?;
    let mut writer = BufWriter::new(&file);
    while done < header.films {
        let to = (done + TOGETHER).min(header.films);
        let live = input.scope.fixed(network, input.batch(network, done, to, &Device::flex()));
        let values: Vec<Vec<f32>> = live.into_iter().map(|tensor| tensor.into_data().iter::<f32>().collect()).collect();
        for film in 0..to - done {
            for tensor in &values {
                let one = tensor.len() / (to - done);
                let part = &tensor[film * one..(film + 1) * one];
                if part.iter().any(|value| !value.is_finite()) {
                    let file = input.files[done + film].to_string();
                    return Err(CacheError::NotFinite { network: network.architecture().title(), file });
                }
                let bytes: Vec<u8> = part.iter().flat_map(|value| value.to_le_bytes()).collect();
                writer.write_all(&bytes).map_err(io_error(&place.values))?;
            }
        }
        writer.flush().map_err(io_error(&place.values))?;
        done = to;
        progress(done);
    }
    drop(writer);
    file.sync_all().map_err(io_error(&place.values))
}

/// Activations of all films, read as they are needed.
pub struct Activations {
    path: PathBuf,
    file: File,
    header: Header,
}

impl Activations {
    /// Opens what [`fill`] wrote.
    ///
    /// # Errors
    /// When it is not there in full.
    pub fn open(place: &Place, films: usize) -> Result<Self, CacheError> {
        let header = place.read_header().ok_or_else(|| CacheError::Damaged {
            path: place.header.clone(),
            detail: "not a description of activations".into(),
        })?;
        let file = File::open(&place.values).map_err(io_error(&place.values))?;
        let found = file.metadata().map_err(io_error(&place.values))?.len();
        let expected = header.record_bytes() * films as u64;
        if found != expected || header.films != films {
            let detail = format!("{found} bytes of {} films, expected {expected} of {films}", header.films);
            return Err(CacheError::Damaged { path: place.values.clone(), detail });
        }
        Ok(Self { path: place.values.clone(), file, header })
    }

    /// The live tensors of `films`, each `[n, c, h, w]`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of(&self, films: &[usize], device: &Device) -> Result<Vec<Tensor<4>>, CacheError> {
        let mut bytes = vec![0; self.header.record_bytes() as usize];
        let mut values: Vec<Vec<f32>> = vec![Vec::new(); self.header.shapes.len()];
        for film in films {
            let start = *film as u64 * self.header.record_bytes();
            self.file.read_exact_at(&mut bytes, start).map_err(io_error(&self.path))?;
            let mut rest = bytes.as_slice();
            for (tensor, shape) in values.iter_mut().zip(&self.header.shapes) {
                let (part, after) = rest.split_at(shape.iter().product::<usize>() * 4);
                tensor.extend(part.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
                rest = after;
            }
        }
        let tensors = values.into_iter().zip(&self.header.shapes).map(|(values, [c, h, w])| {
            Tensor::<4>::from_data(TensorData::new(values, [films.len(), *c, *h, *w]), device)
        });
        Ok(tensors.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper::networks::Architecture;

    const SIDE: usize = 32;

    fn films() -> Vec<Vec<f32>> {
        (0..6).map(|film| (0..SIDE * SIDE).map(|i| ((i * (film + 3)) % 29) as f32 / 29.0).collect()).collect()
    }

    fn network() -> PaperNetwork {
        let device = Device::flex();
        device.seed(5);
        PaperNetwork::new(Architecture::MobileNetV2, 3, 0.5, &device)
    }

    fn input(greys: &[Vec<f32>]) -> Input<'_> {
        Input { greys, files: vec!["a.png"; greys.len()], height: SIDE, width: SIDE, scope: Scope::BehindCutOff }
    }

    #[test]
    fn what_is_kept_is_what_the_network_would_compute_and_a_cut_leaves_no_trace() {
        let folder = tempfile::tempdir().expect("a folder");
        let (network, films, place) = (network(), films(), Place::of(folder.path()));
        let needed = bytes_needed(&place, "key", &network, &input(&films));
        let mut seen = Vec::new();
        fill(&place, "key", &network, &input(&films), |done| seen.push(done)).expect("written");
        assert_eq!(seen, [4, 6]);
        let whole = fs::read(&place.values).expect("there");
        assert_eq!((whole.len() as u64, bytes_needed(&place, "key", &network, &input(&films))), (needed, 0));

        // In the middle of a film, as a cut leaves it.
        fs::write(&place.values, &whole[..whole.len() / 6 * 5 + 100]).expect("cut");
        assert!(Activations::open(&place, 6).is_err_and(|e| e.to_string().contains("remove it and start again")));
        fill(&place, "key", &network, &input(&films), |_| ()).expect("written");
        assert!(whole == fs::read(&place.values).expect("there"), "another outcome after a cut");

        let device = Device::flex();
        let kept = Activations::open(&place, 6).expect("whole").of(&[4, 1], &device).expect("read");
        let grey =
            Tensor::<4>::from_data(TensorData::new([&films[4][..], &films[1]].concat(), [2, 1, SIDE, SIDE]), &device);
        let anew = network.forward(network.normalise(Tensor::cat(vec![grey; 3], 1)));
        assert_eq!(network.tail(kept).into_data(), anew.into_data());

        // Other weights, films or sizes have another key and start anew.
        fill(&place, "other", &network, &input(&films[..2]), |_| ()).expect("written");
        assert_eq!(fs::read(&place.values).expect("there").len(), whole.len() / 3);
    }

    #[test]
    fn values_that_are_no_numbers_are_refused_with_the_film() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut films = films();
        films[1][7] = f32::NAN;
        let error = fill(&Place::of(folder.path()), "key", &network(), &input(&films), |_| ()).expect_err("refused");
        assert!(
            error.to_string().starts_with("the frozen part of MobileNetV2 makes values that are no numbers of a.png")
        );
    }

    #[test]
    fn too_little_room_says_how_much_is_needed() {
        let error = CacheError::Room { path: "RUN".into(), films: 3, needed: 5 << 20, free: 1 << 20 }.to_string();
        assert!(
            error.starts_with("RUN needs 5 MiB for the activations of 3 films and the checkpoints, and 1 MiB are free")
        );
    }
}
