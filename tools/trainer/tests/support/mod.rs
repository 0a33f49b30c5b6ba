//! Generated films, weights and recipes, small enough to train on in seconds.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use image::{GrayImage, Luma};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use trainer::network::weights::{Array, Weights};
use trainer::network::{Network, mobilenet_v2};

/// Side of the network's input in the tests.
const SIDE: usize = 64;

/// A chest of ellipses: two lungs, and shadows as the label has them.
pub(crate) fn film(label: &str, random: &mut impl Rng) -> GrayImage {
    let (width, height) = (random.random_range(120..160), random.random_range(120..150));
    let shift: f32 = random.random_range(-0.03..0.03);
    let spots: Vec<[f32; 3]> = (0..5)
        .map(|i| {
            let x = if i % 2 == 0 { 0.3 } else { 0.7 } + random.random_range(-0.08..0.08);
            [x, random.random_range(0.45..0.75), 0.07]
        })
        .collect();
    GrayImage::from_fn(width, height, |x, y| {
        let (u, v) = (x as f32 / width as f32 + shift, y as f32 / height as f32);
        let inside = |cx: f32, cy: f32, rx: f32, ry: f32| ((u - cx) / rx).powi(2) + ((v - cy) / ry).powi(2) < 1.0;
        let lung = inside(0.3, 0.5, 0.17, 0.35) || inside(0.7, 0.5, 0.17, 0.35);
        let mut grey: f32 = if lung { 60.0 } else { 170.0 };
        grey += 25.0 * (v * 40.0).sin() * f32::from(u8::from(lung));
        let shadow = match label {
            "covid19" => spots.iter().any(|[cx, cy, r]| inside(*cx, *cy, *r, *r)),
            "viral" | "bacterial" => inside(spots[0][0], spots[0][1], 0.14, 0.18),
            _ => false,
        };
        if lung && shadow {
            grey += 70.0;
        }
        Luma([(grey + random.random_range(-12.0..12.0)).clamp(1.0, 254.0) as u8])
    })
}

/// A data folder with two training sources, one external source, and a film that is no film.
pub(crate) fn data(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut manifest = String::from("file,label,split,source,group_id\n");
    let mut add = |file: &str, label: &str, split: &str, source: &str, group: &str| {
        film(label, &mut random).save(data.join(file)).expect("a film");
        writeln!(manifest, "{file},{label},{split},{source},{group}").expect("text");
    };
    for (source, labels) in
        [("North", &["covid19", "viral", "normal", "other"][..]), ("South", &["covid19", "bacterial", "normal"])]
    {
        for label in labels {
            for number in 0..8 {
                // Two films a patient.
                add(
                    &format!("{source}-{label}-{number}.png"),
                    label,
                    "train",
                    source,
                    &format!("{source}{label}{}", number / 2),
                );
            }
        }
    }
    for label in ["covid19", "normal", "viral"] {
        for number in 0..3 {
            add(&format!("East-{label}-{number}.png"), label, "external", "East", &format!("East{label}{number}"));
        }
    }
    std::fs::write(data.join("broken.png"), b"\x89PNG\r\n\x1a\nand no more").expect("written");
    manifest.push_str("broken.png,normal,train,North,broken\n");
    std::fs::write(data.join("manifest.csv"), manifest).expect("written");
    data
}

/// Weights as torchvision names them, random.
pub(crate) fn imagenet_like(folder: &Path) -> PathBuf {
    let device = Device::flex();
    device.seed(3);
    let mut weights = Weights::default();
    for (path, array) in Weights::of(&Network::new(0.0, &device)).0 {
        let Some(name) = mobilenet_v2::torchvision_name(&path) else { continue };
        let array = if name == "features.0.0.weight" {
            let values = (0..32 * 27).map(|i| ((i * 37 % 101) as f32 - 50.0) / 150.0).collect();
            Array { shape: vec![32, 3, 3, 3], values }
        } else {
            array
        };
        weights.0.insert(name, array);
    }
    let path = folder.join("imagenet.safetensors");
    weights.write(&path, &BTreeMap::new()).expect("written");
    path
}

/// The first recipe, made small; `change` edits its text.
pub(crate) fn recipe(folder: &Path, change: impl Fn(String) -> String) -> PathBuf {
    let mut text = include_str!("../../recipes/first.toml").to_string();
    // No list of sources: each name in the manifest is one.
    let (from, to) = (text.find("# Cohen's").expect("the sources"), text.find("[augment]").expect("the end"));
    text.replace_range(from..to, "");
    let lines = [
        ("height", SIDE.to_string()),
        ("width", SIDE.to_string()),
        ("steps", "6".into()),
        ("batch", "6".into()),
        ("held_out", "0.3".into()),
        ("evaluate_every", "3".into()),
        ("checkpoint_every", "1".into()),
    ];
    let text: String = text
        .lines()
        .map(|line| match lines.iter().find(|(key, _)| line.starts_with(&format!("{key} = "))) {
            Some((key, value)) => format!("{key} = {value}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let path = folder.join("recipe.toml");
    std::fs::write(&path, change(text)).expect("written");
    path
}
