//! Pretrained weights: files of others, by the names that others give, into a network's layers.
//!
//! A tensor that is missing, left over or of another shape is an error that lists all of them. Only classifiers and
//! batch counters are passed over, and what was put in the place of layers that a file cannot have is said.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn::store::pytorch::{PytorchError, PytorchReader};
use burn::store::pytorch_reader::DType;
use half::{bf16, f16};
use serde::Serialize;

use super::plan::Operation;
use super::{Architecture, Convention, PaperNetwork, Scale, inception_resnet_v2, inception_v3, vgg19, xception};
use crate::network::weights::{Array, Weights, WeightsError, misfit};

/// How the tensors of a file are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// Keras's layers, with Keras's variables and layout (`kernel`, height × width × in × out) or with PyTorch's
    /// (`weight`, out × in × height × width).
    Keras,
    /// torchvision's modules.
    Torchvision,
    /// timm's modules, where torchvision has no such network.
    Timm,
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Imported {
    /// The file.
    pub path: PathBuf,
    /// How its tensors are called.
    pub names: Names,
    /// Tensors that are now in the network.
    pub tensors: usize,
    /// Whose way of padding and epsilon the network now has.
    pub convention: Convention,
    /// The input that the weights expect.
    pub scale: Scale,
    /// What was put in the place of layers that the file cannot have, in words.
    pub substituted: Vec<String>,
    /// Tensors of classifiers, passed over.
    pub passed_over: Vec<String>,
    /// What the file says of itself.
    pub metadata: BTreeMap<String, String>,
}

/// Weights that cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not a safetensors file of f32 or f16.
    #[error(transparent)]
    Safetensors(#[from] WeightsError),
    /// Not a PyTorch file.
    #[error("{path}: not a PyTorch file of tensors: {source}")]
    Pytorch {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: PytorchError,
    },
    /// Whole numbers where weights are expected.
    #[error("{path}: tensor {name} is {found:?}, expected floating-point numbers")]
    Type {
        /// Which file.
        path: PathBuf,
        /// Which tensor.
        name: String,
        /// Its type.
        found: DType,
    },
    /// Keras's own format.
    #[error("{path}: an HDF5 file: turn it into safetensors first, with tools/trainer/weights/keras_to_safetensors.py")]
    Hdf5 {
        /// Which file.
        path: PathBuf,
    },
    /// Weights of something else.
    #[error(
        "{path}: none of its {found} tensors ({examples}, …) is one of {architecture}: \
         expected the names of Keras, torchvision or timm, such as {expected}"
    )]
    Other {
        /// Which file.
        path: PathBuf,
        /// Tensors in it.
        found: usize,
        /// Some of their names.
        examples: String,
        /// Which network was to be filled.
        architecture: Architecture,
        /// A name that the network knows.
        expected: String,
    },
    /// Names or shapes do not fit.
    #[error("{path} does not fit {architecture}: {}", misfit(missing, unused, shapes))]
    Misfit {
        /// Which file.
        path: PathBuf,
        /// Which network was to be filled.
        architecture: Architecture,
        /// Tensors that the network needs and the file lacks, by the names that the file uses.
        missing: Vec<String>,
        /// Tensors that the file holds and the network has no place for.
        unused: Vec<String>,
        /// Tensors of another shape: name, found, expected.
        shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    },
}

/// A place for a tensor.
struct Slot {
    layer: String,
    variable: &'static str,
    shape: Vec<usize>,
    /// Which kernel of the network.
    kernel: usize,
    /// Whether a file may lack it.
    optional: bool,
}

/// The convolutions that VGG19 has and VGG16 lacks.
const BEYOND_VGG16: [&str; 3] = ["block3_conv4", "block4_conv4", "block5_conv4"];
const VGG16: [usize; 5] = [2, 2, 3, 3, 3];
const VGG19: [usize; 5] = [2, 2, 4, 4, 4];

impl PaperNetwork {
    /// Fills all layers but the head from a safetensors or PyTorch file and takes over its convention.
    ///
    /// # Errors
    /// When the file cannot be read or does not fit; all tensors that do not are listed.
    pub fn import(self, path: &Path) -> Result<(Self, Imported), ImportError> {
        let (weights, metadata) = read(path)?;
        self.import_named(weights, metadata, path)
    }

    /// [`PaperNetwork::import`] of tensors that were read already; `path` is for messages.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn import_named(
        mut self,
        weights: Weights,
        metadata: BTreeMap<String, String>,
        path: &Path,
    ) -> Result<(Self, Imported), ImportError> {
        let architecture = self.architecture();
        let mut arrays = keras_renamed(without_prefix(weights.0), architecture);
        let passed_over: Vec<String> = arrays.keys().filter(|name| is_classifier(name)).cloned().collect();
        arrays.retain(|name, _| !is_classifier(name));

        let slots = self.slots();
        let Some((names, place)) = naming(architecture, &slots, &arrays) else {
            let examples: Vec<&str> = arrays.keys().take(3).map(String::as_str).collect();
            return Err(ImportError::Other {
                path: path.into(),
                found: arrays.len(),
                examples: examples.join(", "),
                architecture,
                expected: slots.first().map(|s| format!("{}.{}", s.layer, s.variable)).unwrap_or_default(),
            });
        };
        let lacks = |layer: &str| {
            let mut of_layer = slots.iter().filter(|s| s.layer == layer);
            of_layer.all(|s| place(s).is_none_or(|name| !arrays.contains_key(&name)))
        };
        let from_vgg16 = architecture == Architecture::Vgg19 && BEYOND_VGG16.iter().all(|layer| lacks(layer));

        let (mut missing, mut shapes, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for slot in &slots {
            if from_vgg16 && BEYOND_VGG16.contains(&slot.layer.as_str()) {
                found.push((slot, identity(&slot.shape)));
                continue;
            }
            let name = place(slot).unwrap_or_else(|| format!("{}.{}", slot.layer, slot.variable));
            match arrays.remove(&name) {
                Some(array) if array.shape == slot.shape => found.push((slot, array)),
                Some(array) => shapes.push((name, array.shape, slot.shape.clone())),
                None if slot.optional => {}
                None => missing.push(name),
            }
        }
        let unused: Vec<String> = arrays.into_keys().collect();
        if !missing.is_empty() || !unused.is_empty() || !shapes.is_empty() {
            return Err(ImportError::Misfit { path: path.into(), architecture, missing, unused, shapes });
        }
        let mut tensors = found.len();
        let frozen = self.frozen.len();
        for (slot, array) in found {
            let kernel = match slot.kernel.checked_sub(frozen) {
                None => &mut self.frozen[slot.kernel],
                Some(index) => &mut self.trained[index],
            };
            kernel.put(slot.variable, array);
        }
        let mut substituted = Vec::new();
        if from_vgg16 {
            tensors -= 2 * BEYOND_VGG16.len();
            substituted.push(format!("weights of VGG16; identity kernels for {}", BEYOND_VGG16.join(", ")));
        }
        let convention = if names == Names::Keras { Convention::Keras } else { Convention::Torch };
        let scale = scale_of(&metadata).unwrap_or_else(|| architecture.scale(convention));
        let imported =
            Imported { path: path.into(), names, tensors, convention, scale, substituted, passed_over, metadata };
        Ok((self.with_convention(convention, scale), imported))
    }

    /// All layers but the head, by Keras's layer names with PyTorch's variables: what [`PaperNetwork::import`] takes.
    pub fn weights(&self) -> Weights {
        let mut arrays = BTreeMap::new();
        let layers = self.plan().layers.iter().filter(|l| l.weights.is_some());
        for (layer, kernel) in layers.zip(self.frozen.iter().chain(&self.trained)) {
            for (variable, array) in kernel.arrays() {
                arrays.insert(format!("{}.{variable}", layer.name), array);
            }
        }
        Weights(arrays)
    }

    /// What a file with such names calls each tensor of [`PaperNetwork::weights`]. Both of torchvision and timm stand
    /// for the one of them that the import knows for this network.
    pub fn names(&self, names: Names) -> BTreeMap<String, String> {
        let torch = torch_place(self.architecture());
        let named = |slot: &Slot| -> Option<(String, String)> {
            let own = format!("{}.{}", slot.layer, slot.variable);
            let theirs = if names == Names::Keras { own.clone() } else { torch(slot)? };
            Some((own, theirs))
        };
        self.slots().iter().filter_map(named).collect()
    }

    fn slots(&self) -> Vec<Slot> {
        let layers = self.plan().layers.iter().filter(|l| l.weights.is_some());
        let kernels = self.frozen.iter().chain(&self.trained);
        let mut slots = Vec::new();
        for (number, (layer, kernel)) in layers.zip(kernels).enumerate() {
            let unscaled = matches!(layer.operation, Operation::Normalisation { scale: false, .. });
            for (variable, shape) in kernel.shapes() {
                let optional = unscaled && variable == "weight";
                slots.push(Slot { layer: layer.name.clone(), variable, shape, kernel: number, optional });
            }
        }
        slots
    }
}

type Place = Box<dyn Fn(&Slot) -> Option<String>>;

/// The way of naming that most tensors of the file follow; `None` when they follow none.
fn naming(architecture: Architecture, slots: &[Slot], arrays: &BTreeMap<String, Array>) -> Option<(Names, Place)> {
    let torch = match architecture {
        Architecture::Vgg19 | Architecture::MobileNetV2 | Architecture::InceptionV3 => Names::Torchvision,
        Architecture::Xception | Architecture::InceptionResNetV2 => Names::Timm,
    };
    let keras: Place = Box::new(|slot| Some(format!("{}.{}", slot.layer, slot.variable)));
    let mut ways: Vec<(Names, Place)> = vec![(Names::Keras, keras), (torch, torch_place(architecture))];
    if architecture == Architecture::Vgg19 {
        ways.push((torch, Box::new(|slot| by_variable(vgg19::torchvision_place(VGG16, &slot.layer)?, slot))));
    }
    let hits = |place: &Place| slots.iter().filter(|s| place(s).is_some_and(|n| arrays.contains_key(&n))).count();
    let (hits, names, place) = ways
        .into_iter()
        .map(|(names, place)| (hits(&place), names, place))
        // The last of equals: VGG19 before VGG16.
        .rev()
        .max_by_key(|(hits, ..)| *hits)?;
    (hits > 0).then_some((names, place))
}

fn by_variable(module: String, slot: &Slot) -> Option<String> {
    Some(format!("{module}.{}", slot.variable))
}

/// Where torchvision, or timm, has the place of a slot.
fn torch_place(architecture: Architecture) -> Place {
    /// `conv2d_7` and `batch_normalization_7` are one module's `conv` and `bn`.
    fn in_module(modules: &[String], layer: &str) -> Option<String> {
        let (part, number) = match layer.strip_prefix("conv2d_") {
            Some(number) => ("conv", number),
            None => ("bn", layer.strip_prefix("batch_normalization_")?),
        };
        let module = modules.get(number.parse::<usize>().ok()?.checked_sub(1)?)?;
        Some(format!("{module}.{part}"))
    }
    match architecture {
        Architecture::Vgg19 => Box::new(|slot| by_variable(vgg19::torchvision_place(VGG19, &slot.layer)?, slot)),
        Architecture::MobileNetV2 => {
            Box::new(|slot| by_variable(super::mobilenet_v2::torchvision_place(&slot.layer)?, slot))
        }
        Architecture::InceptionV3 => {
            let modules = inception_v3::torchvision_modules();
            Box::new(move |slot| by_variable(in_module(&modules, &slot.layer)?, slot))
        }
        Architecture::InceptionResNetV2 => {
            let modules = inception_resnet_v2::timm_modules();
            Box::new(move |slot| {
                let named = inception_resnet_v2::timm_place(&slot.layer);
                by_variable(named.or_else(|| in_module(&modules, &slot.layer))?, slot)
            })
        }
        Architecture::Xception => Box::new(|slot| {
            let module = xception::timm_place(&slot.layer)?;
            let variable = if slot.variable == "depthwise.weight" { "conv1.weight" } else { slot.variable };
            Some(format!("{module}.{variable}"))
        }),
    }
}

/// Heads of the original networks, and counters that only PyTorch needs.
fn is_classifier(name: &str) -> bool {
    const FIRST: [&str; 9] =
        ["classifier", "classif", "fc", "fc1", "fc2", "head", "pre_logits", "predictions", "AuxLogits"];
    name.ends_with("num_batches_tracked") || name.split(['.', '/']).next().is_some_and(|part| FIRST.contains(&part))
}

/// Takes away what a training script put before every name.
fn without_prefix(mut arrays: BTreeMap<String, Array>) -> BTreeMap<String, Array> {
    for prefix in ["state_dict.", "model.", "module."] {
        if !arrays.is_empty() && arrays.keys().all(|name| name.starts_with(prefix)) {
            arrays = arrays.into_iter().map(|(name, array)| (name[prefix.len()..].to_string(), array)).collect();
        }
    }
    arrays
}

/// Keras's variables become PyTorch's, in PyTorch's layout, and layers that Keras numbers by the kind are numbered from
/// one; other names stay as they are.
fn keras_renamed(arrays: BTreeMap<String, Array>, architecture: Architecture) -> BTreeMap<String, Array> {
    let mut renamed = BTreeMap::new();
    for (name, array) in arrays {
        let (name, array) = match keras_variable(&name) {
            Some((layer, variable)) => keras_tensor(&layer, &variable, array),
            None => (name, array),
        };
        renamed.insert(name, array);
    }
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, number) in renamed.keys().filter_map(|name| by_kind(name.split('.').next()?)) {
        let lowest = first.entry(kind).or_insert(number);
        *lowest = number.min(*lowest);
    }
    let shortcut = |layer: &str| {
        let numbers = 1..=4;
        let mut all = numbers.flat_map(|n| [format!("conv2d_{n}"), format!("batch_normalization_{n}")]);
        all.find(|own| architecture == Architecture::Xception && xception::by_block(own) == layer)
    };
    let numbered = |name: String| {
        let Some((layer, variable)) = name.split_once('.') else { return name };
        if let Some((kind, number)) = by_kind(layer) {
            return format!("{kind}_{}.{variable}", number + 1 - first[kind]);
        }
        match shortcut(layer) {
            Some(own) => format!("{own}.{variable}"),
            None => name,
        }
    };
    renamed.into_iter().map(|(name, array)| (numbered(name), array)).collect()
}

/// The kind and number of a layer that Keras named by itself; the first one of a session may have none.
fn by_kind(layer: &str) -> Option<(&'static str, usize)> {
    for kind in ["conv2d", "batch_normalization"] {
        let Some(rest) = layer.strip_prefix(kind) else { continue };
        return match rest.strip_prefix('_') {
            Some(number) => Some((kind, number.parse().ok()?)),
            None => rest.is_empty().then_some((kind, 0)),
        };
    }
    None
}

/// Layer and variable of a name such as `block1_conv1/kernel:0` or `block1_conv1/block1_conv1/kernel`.
fn keras_variable(name: &str) -> Option<(String, String)> {
    const VARIABLES: [&str; 7] =
        ["kernel", "depthwise_kernel", "pointwise_kernel", "gamma", "beta", "moving_mean", "moving_variance"];
    let name = name.strip_suffix(":0").unwrap_or(name);
    let parts: Vec<&str> = name.split(['/', '.']).collect();
    let [layer, .., variable] = parts.as_slice() else { return None };
    let own = VARIABLES.contains(variable) || (*variable == "bias" && name.contains('/'));
    own.then(|| (layer.to_string(), variable.to_string()))
}

fn keras_tensor(layer: &str, variable: &str, array: Array) -> (String, Array) {
    let (variable, array) = match variable {
        // A separable layer has a pointwise kernel as well; a depthwise one has but this, and calls it either way.
        "depthwise_kernel" if !layer.contains("depthwise") => ("depthwise.weight", transposed(array, [2, 3, 0, 1])),
        "depthwise_kernel" => ("weight", transposed(array, [2, 3, 0, 1])),
        "kernel" if layer.contains("depthwise") => ("weight", transposed(array, [2, 3, 0, 1])),
        "kernel" => ("weight", transposed(array, [3, 2, 0, 1])),
        "pointwise_kernel" => ("pointwise.weight", transposed(array, [3, 2, 0, 1])),
        "gamma" => ("weight", array),
        "moving_mean" => ("running_mean", array),
        "moving_variance" => ("running_var", array),
        // Keras's beta and bias.
        _ => ("bias", array),
    };
    (format!("{layer}.{variable}"), array)
}

/// Dimension `order[i]` of `array` becomes dimension i; an array of other than four dimensions is left as it is.
fn transposed(array: Array, order: [usize; 4]) -> Array {
    let Ok(old) = <[usize; 4]>::try_from(array.shape.as_slice()) else { return array };
    let strides = [old[1] * old[2] * old[3], old[2] * old[3], old[3], 1];
    let shape = order.map(|d| old[d]);
    let step = order.map(|d| strides[d]);
    let mut values = Vec::with_capacity(array.values.len());
    for a in 0..shape[0] {
        for b in 0..shape[1] {
            for c in 0..shape[2] {
                let start = a * step[0] + b * step[1] + c * step[2];
                values.extend((0..shape[3]).map(|d| array.values[start + d * step[3]]));
            }
        }
    }
    Array { shape: shape.to_vec(), values }
}

/// A kernel that hands its input on, or a bias of zeros.
fn identity(shape: &[usize]) -> Array {
    let mut values = vec![0.0; shape.iter().product()];
    if let [output, input, height, width] = shape {
        let area = height * width;
        for channel in 0..*output.min(input) {
            values[(channel * input + channel) * area + (height / 2) * width + width / 2] = 1.0;
        }
    }
    Array { shape: shape.to_vec(), values }
}

/// From what the file says under `preprocess`, if it does.
fn scale_of(metadata: &BTreeMap<String, String>) -> Option<Scale> {
    let text = metadata.get("preprocess")?;
    if text.contains("BGR") {
        Some(Scale::CaffeMeans)
    } else if text.contains("127.5-1") {
        Some(Scale::PlusMinusOne)
    } else if text.contains("0.485") {
        Some(Scale::ImageNet)
    } else {
        None
    }
}

/// Every tensor of a file, and what it says of itself. What kind of file it is, is told by its first bytes.
fn read(path: &Path) -> Result<(Weights, BTreeMap<String, String>), ImportError> {
    let io = |source| ImportError::Io { path: path.into(), source };
    let mut start = Vec::new();
    File::open(path).and_then(|file| file.take(9).read_to_end(&mut start)).map_err(io)?;
    if start.starts_with(b"\x89HDF") {
        return Err(ImportError::Hdf5 { path: path.into() });
    }
    // A length of eight bytes, then the description.
    if start.get(8) == Some(&b'{') {
        return Ok(Weights::read(path)?);
    }
    // A zip archive, or a pickle of protocol 2 and later.
    if start.starts_with(b"PK") || start.starts_with(b"\x80") {
        return Ok((read_pytorch(path)?, BTreeMap::new()));
    }
    Ok(Weights::read(path)?)
}

fn read_pytorch(path: &Path) -> Result<Weights, ImportError> {
    let broken = |source| ImportError::Pytorch { path: path.into(), source };
    let mut arrays = BTreeMap::new();
    for (name, tensor) in PytorchReader::new(path).map_err(broken)?.into_tensors() {
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        let bytes = tensor.read().map_err(|source| ImportError::Io { path: path.into(), source })?;
        let values: Vec<f32> = match tensor.dtype() {
            DType::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            DType::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            DType::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            DType::F64 => bytes
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
                .collect(),
            found => return Err(ImportError::Type { path: path.into(), name, found }),
        };
        let shape = tensor.shape().to_vec();
        arrays.insert(name, Array { shape, values });
    }
    Ok(Weights(arrays))
}
