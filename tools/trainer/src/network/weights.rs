//! Weights by name: read from and written to safetensors, put into a network, taken out of one, averaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Network, mobilenet_v2};

/// One named array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Lengths of the dimensions.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

/// Arrays by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights(pub BTreeMap<String, Array>);

/// Weights that cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not a safetensors file.
    #[error("{path}: not a safetensors file: {source}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },
    /// Neither f32 nor f16.
    #[error("{path}: tensor {name} is {found:?}, expected F32 or F16")]
    Type {
        /// Which file.
        path: PathBuf,
        /// Which tensor.
        name: String,
        /// Its type.
        found: Dtype,
    },
    /// Names or shapes do not fit the network.
    #[error("weights do not fit the network: {}", misfit(missing, unused, shapes))]
    Misfit {
        /// Tensors that the network needs and the file lacks.
        missing: Vec<String>,
        /// Tensors that the file holds and the network has no place for.
        unused: Vec<String>,
        /// Tensors of another shape: name, found, expected.
        shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    },
}

pub(crate) fn misfit(missing: &[String], unused: &[String], shapes: &[(String, Vec<usize>, Vec<usize>)]) -> String {
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("{} missing ({})", missing.len(), missing.join(", ")));
    }
    if !unused.is_empty() {
        parts.push(format!("{} without a place ({})", unused.len(), unused.join(", ")));
    }
    if !shapes.is_empty() {
        let list: Vec<String> = shapes.iter().map(|(n, f, e)| format!("{n} is {f:?}, expected {e:?}")).collect();
        parts.push(format!("{} of another shape ({})", shapes.len(), list.join(", ")));
    }
    parts.join("; ")
}

impl Weights {
    /// Reads a safetensors file of f32 or f16 tensors and its metadata.
    ///
    /// # Errors
    /// When the file cannot be read or holds other types.
    pub fn read(path: &Path) -> Result<(Self, BTreeMap<String, String>), WeightsError> {
        let bytes = std::fs::read(path).map_err(|source| WeightsError::Io { path: path.into(), source })?;
        let format = |source| WeightsError::Format { path: path.into(), source };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(format)?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let file = SafeTensors::deserialize(&bytes).map_err(format)?;
        let mut arrays = BTreeMap::new();
        for (name, view) in file.iter() {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
                Dtype::F16 => data.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
                // Batch counters of PyTorch: of no use here.
                _ if name.ends_with("num_batches_tracked") => continue,
                found => return Err(WeightsError::Type { path: path.into(), name: name.into(), found }),
            };
            arrays.insert(name.to_string(), Array { shape: view.shape().to_vec(), values });
        }
        Ok((Self(arrays), metadata))
    }

    /// Writes f32 safetensors with `metadata`, replacing the file at once or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<(), WeightsError> {
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .0
            .iter()
            .map(|(n, a)| (n.clone(), a.shape.clone(), a.values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let format = |source| WeightsError::Format { path: path.into(), source };
        let views: Vec<(&str, TensorView<'_>)> = bytes
            .iter()
            .map(|(n, shape, data)| Ok((n.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?)))
            .collect::<Result<_, _>>()
            .map_err(format)?;
        let metadata = metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let file = safetensors::serialize(views, Some(metadata)).map_err(format)?;
        crate::files::replace(path, &file).map_err(|source| WeightsError::Io { path: path.into(), source })
    }

    /// Everything that a network has learned, running statistics included, by path in the module.
    pub fn of(network: &impl Module) -> Self {
        struct Collect {
            path: Vec<String>,
            arrays: BTreeMap<String, Array>,
        }
        impl ModuleVisitor for Collect {
            fn enter_module(&mut self, name: &str, _container: &str) {
                self.path.push(name.to_string());
            }
            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.path.pop();
            }
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let tensor = param.val();
                let array = Array { shape: tensor.dims().to_vec(), values: tensor.into_data().iter::<f32>().collect() };
                self.arrays.insert(self.path.join("."), array);
            }
        }
        let mut collect = Collect { path: Vec::new(), arrays: BTreeMap::new() };
        network.visit(&mut collect);
        Self(collect.arrays)
    }

    /// Puts every array into its place in `network`.
    ///
    /// # Errors
    /// When a name is missing or left over, or a shape differs; all of them are listed.
    pub fn put_into<M: Module>(mut self, network: M) -> Result<M, WeightsError> {
        struct Put<'a> {
            path: Vec<String>,
            arrays: &'a mut BTreeMap<String, Array>,
            missing: Vec<String>,
            shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
        }
        impl ModuleMapper for Put<'_> {
            fn enter_module(&mut self, name: &str, _container: &str) {
                self.path.push(name.to_string());
            }
            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.path.pop();
            }
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let name = self.path.join(".");
                let Some(array) = self.arrays.remove(&name) else {
                    self.missing.push(name);
                    return param;
                };
                let expected = param.dims().to_vec();
                if array.shape != expected {
                    self.shapes.push((name, array.shape, expected));
                    return param;
                }
                let wanted = param.is_require_grad();
                param.map(|old| {
                    let data = TensorData::new(array.values, array.shape);
                    Tensor::from_data(data, &old.device()).set_require_grad(wanted)
                })
            }
        }
        let mut put = Put { path: Vec::new(), arrays: &mut self.0, missing: Vec::new(), shapes: Vec::new() };
        let network = network.map(&mut put);
        let (missing, shapes) = (put.missing, put.shapes);
        let unused: Vec<String> = self.0.into_keys().collect();
        if missing.is_empty() && shapes.is_empty() && unused.is_empty() {
            Ok(network)
        } else {
            Err(WeightsError::Misfit { missing, unused, shapes })
        }
    }

    /// ImageNet weights in torchvision's names, for the trunk of `network`; its head stays as it is.
    ///
    /// The three input channels of the stem are summed: the same function of a grey film given three times, if the
    /// three channels are normalised alike. A classifier in the file is not used.
    ///
    /// # Errors
    /// When a tensor is missing, left over or of another shape; in the file's own names.
    pub fn import_imagenet(&self, network: Network) -> Result<Network, WeightsError> {
        let mut target = Self::of(&network);
        let mut left: BTreeMap<&str, &Array> = self
            .0
            .iter()
            .filter(|(name, _)| !name.starts_with("classifier."))
            .map(|(name, array)| (name.as_str(), array))
            .collect();
        let (mut missing, mut shapes) = (Vec::new(), Vec::new());
        for (path, array) in &mut target.0 {
            let Some(name) = mobilenet_v2::torchvision_name(path) else { continue };
            let Some(found) = left.remove(name.as_str()) else {
                missing.push(name);
                continue;
            };
            let stem = name == "features.0.0.weight";
            let taken = if stem { summed_over_input(found) } else { Some(found.clone()) };
            match taken {
                Some(taken) if taken.shape == array.shape => *array = taken,
                _ => {
                    let mut expected = array.shape.clone();
                    if stem {
                        expected[1] = 3;
                    }
                    shapes.push((name, found.shape.clone(), expected));
                }
            }
        }
        if !missing.is_empty() || !left.is_empty() || !shapes.is_empty() {
            let unused = left.into_keys().map(str::to_string).collect();
            return Err(WeightsError::Misfit { missing, unused, shapes });
        }
        target.put_into(network)
    }

    /// Moves every value towards `other` by `share` of the way: 0 changes nothing, 1 copies.
    pub fn approach(&mut self, other: &Self, share: f32) {
        for (name, array) in &mut self.0 {
            let Some(other) = other.0.get(name) else { continue };
            for (value, target) in array.values.iter_mut().zip(&other.values) {
                *value += share * (target - *value);
            }
        }
    }
}

/// `[out, in, k, k]` → `[out, 1, k, k]`; `None` for an array of fewer dimensions.
fn summed_over_input(array: &Array) -> Option<Array> {
    let [out, input, height, width] = array.shape.as_slice() else { return None };
    let (out, input, area) = (*out, *input, height * width);
    let mut values = vec![0.0; out * area];
    for o in 0..out {
        for i in 0..input {
            for p in 0..area {
                values[o * area + p] += array.values[(o * input + i) * area + p];
            }
        }
    }
    Some(Array { shape: vec![out, 1, *height, *width], values })
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    /// Random weights in torchvision's names and shapes, with a stem for three channels.
    fn imagenet_like(device: &Device) -> Weights {
        let network = Network::new(0.0, device);
        let mut weights = Weights::default();
        for (path, mut array) in Weights::of(&network).0 {
            let Some(name) = mobilenet_v2::torchvision_name(&path) else { continue };
            if name == "features.0.0.weight" {
                array.shape[1] = 3;
                array.values = (0..32 * 27).map(|i| ((i * 37 % 101) as f32 - 50.0) / 100.0).collect();
            }
            weights.0.insert(name, array);
        }
        weights
    }

    #[test]
    fn the_stem_of_a_grey_film_answers_as_three_equal_channels_did() {
        let device = Device::flex();
        let weights = imagenet_like(&device);
        let three = weights.0["features.0.0.weight"].clone();
        let network = weights.import_imagenet(Network::new(0.0, &device)).expect("all tensors are there");
        let grey = Tensor::<4>::random([1, 1, 32, 32], Distribution::Normal(0.0, 1.0), &device);
        let options = || burn::tensor::ops::ConvOptions::new([2, 2], [1, 1], [1, 1], 1);
        let colour = Tensor::cat(vec![grey.clone(); 3], 1);
        let kernel = Tensor::<4>::from_data(TensorData::new(three.values, three.shape), &device);
        let expected = burn::tensor::module::conv2d(colour, kernel, None, options());
        let folded = network.trunk.features[0].project.conv.forward(grey);
        let worst: f32 = (expected - folded).abs().max().into_scalar();
        assert!(worst < 1e-5, "differs by {worst}");
    }

    #[test]
    fn every_tensor_of_the_trunk_has_a_name_of_its_own_in_torchvision() {
        let weights = imagenet_like(&Device::flex());
        assert_eq!(weights.0.len(), 260);
        assert!(weights.0.contains_key("features.1.conv.1.weight"));
        assert!(weights.0.contains_key("features.18.1.running_var"));
    }

    #[test]
    fn missing_left_over_and_misshapen_tensors_are_all_listed() {
        let device = Device::flex();
        let mut weights = imagenet_like(&device);
        weights.0.remove("features.3.conv.1.0.weight");
        weights.0.insert("features.3.conv.1.0.wait".into(), Array { shape: vec![1], values: vec![0.0] });
        weights.0.insert("features.18.1.bias".into(), Array { shape: vec![7], values: vec![0.0; 7] });
        let error = weights.import_imagenet(Network::new(0.0, &device)).expect_err("a misfit").to_string();
        assert_eq!(
            error,
            "weights do not fit the network: 1 missing (features.3.conv.1.0.weight); \
             1 without a place (features.3.conv.1.0.wait); \
             1 of another shape (features.18.1.bias is [7], expected [1280])"
        );
    }

    #[test]
    fn weights_survive_the_way_through_a_file() {
        let device = Device::flex();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w.safetensors");
        let network = Network::new(0.0, &device);
        let weights = Weights::of(&network);
        let metadata = BTreeMap::from([("step".to_string(), "7".to_string())]);
        weights.write(&path, &metadata).expect("written");
        let (read, found) = Weights::read(&path).expect("read");
        assert_eq!((&read, found), (&weights, metadata));
        let other = read.put_into(Network::new(0.0, &device)).expect("fits");
        assert_eq!(Weights::of(&other), weights);
    }

    #[test]
    fn a_file_of_something_else_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w.safetensors");
        std::fs::write(&path, b"not weights at all").expect("written");
        let error = Weights::read(&path).expect_err("no weights").to_string();
        assert!(error.contains("w.safetensors: not a safetensors file"), "{error}");
    }
}
