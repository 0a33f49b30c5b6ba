//! The arrows and invariants of `ARCHITECTURE.md`, held against the source text.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of `src/` and what each may import from the crate.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("pipeline", &["domain"]),
    ("ports", &["domain"]),
    ("config", &["domain"]),
    ("bundle", &["domain", "ports"]),
    ("engine", &["bundle", "domain", "ports"]),
    ("app", &["bundle", "domain", "pipeline", "ports"]),
    ("self_test", &["app", "bundle", "domain", "pipeline", "ports"]),
    ("command_bench", &[]),
    ("command_bundle", &[]),
    ("command_journal", &[]),
    ("command_listen", &[]),
    ("sealing", &["adapters", "bundle", "domain", "engine", "self_test"]),
    ("models", &["adapters", "app", "bundle", "config", "domain", "engine", "ports", "record", "self_test"]),
    ("command_doctor", &[]),
    ("command_run", &[]),
    (
        "kiosk",
        &["adapters", "app", "bundle", "config", "domain", "engine", "models", "pipeline", "ports", "record", "ui"],
    ),
    ("record", &["domain"]),
    ("ui", &["domain"]),
    ("adapters", &["bundle", "config", "domain", "pipeline", "ports", "record", "ui"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the project").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of a file: no comments, no text in quotes.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let lines = text.lines().map(|line| {
        let line = line.split("//").next().unwrap_or("");
        line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Source files of `src/` by the module of the first floor that they belong to.
fn by_module() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let src = root().join("src");
    let mut modules: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).expect("below src");
        let first = inside.components().next().expect("a name").as_os_str().to_string_lossy();
        let module = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
        modules.entry(module).or_default().push((inside.to_owned(), code(&path)));
    }
    modules
}

/// Names of the crate's modules that `code` imports with `crate::`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for after in code.split("crate::").skip(1) {
        let (mut depth, mut at_name) = (0, true);
        for (position, c) in after.char_indices() {
            if at_name && (c.is_alphanumeric() || c == '_') {
                found.push(after[position..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
                at_name = false;
            }
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => at_name = true,
                _ => {}
            }
            // Without braces the first name is all there is.
            if depth <= 0 && !at_name {
                break;
            }
        }
    }
    found
}

#[test]
fn modules_import_only_what_the_arrows_allow() {
    let mut wrong = Vec::new();
    for (module, files) in by_module() {
        if module == "main" || module == "lib" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("src/{module} has no arrows: add it to ARROWS and to ARCHITECTURE.md"));
            continue;
        };
        for (path, code) in files {
            for import in imports(&code) {
                if import != module && !allowed.contains(&import.as_str()) {
                    wrong.push(format!("{} imports crate::{import}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[track_caller]
fn only(word: &str, allowed: &[&str]) {
    // At the start of a name: `abstract_syntax` does not name tract.
    let named = |code: &str| {
        code.match_indices(word).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let mut wrong = Vec::new();
    for (module, files) in by_module() {
        for (path, code) in files {
            if named(&code) && !allowed.contains(&module.as_str()) {
                wrong.push(path.display().to_string());
            }
        }
    }
    assert!(wrong.is_empty(), "'{word}' stands outside {allowed:?}: {}", wrong.join(", "));
}

#[test]
fn only_the_engine_names_tract() {
    only("tract_", &["engine"]);
}

#[test]
fn only_main_and_the_adapters_name_the_hardware() {
    for word in ["linux_embedded_hal", "embedded_hal", "mipidsi", "evdev::", "linuxvideo"] {
        only(word, &["main", "adapters"]);
    }
}

#[test]
fn only_the_adapters_name_dicom_rs() {
    only("dicom_", &["adapters"]);
}

#[test]
fn domain_and_pipeline_do_no_io_and_read_no_clock() {
    for word in ["std::fs", "std::io", "std::net", "std::time", "std::env", "std::process", "println!", "log::"] {
        for (module, files) in by_module() {
            if module == "domain" || module == "pipeline" {
                for (path, code) in files {
                    assert!(!code.contains(word), "{} names {word}", path.display());
                }
            }
        }
    }
}

#[test]
fn only_quality_finds_a_film_fit() {
    for (_, files) in by_module() {
        for (path, code) in files {
            let product = code.split("#[cfg(test)]").next().unwrap_or("");
            let judge = path.ends_with("quality.rs") || path.ends_with("domain/radiograph.rs");
            assert!(judge || !product.contains("found_fit"), "{} calls found_fit", path.display());
        }
    }
}

#[test]
fn unsafe_code_is_denied_and_no_product_code_lifts_that() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    assert!(manifest.contains("unsafe_code = \"deny\""));
    for (module, files) in by_module() {
        for (path, code) in files {
            assert!(module == "engine" || !code.contains("unsafe_code"), "{} lifts the ban", path.display());
        }
    }
}

#[test]
fn the_trainer_takes_only_what_it_shares() {
    let manifest = fs::read_to_string(root().join("tools/trainer/Cargo.toml")).expect("the trainer's manifest");
    let line = manifest.lines().find(|l| l.starts_with("lightbox")).expect("it depends on lightbox");
    assert!(line.contains("default-features = false"), "{line}");
    assert!(!line.contains("device"), "{line}");
}

#[test]
fn the_imports_are_found_in_every_spelling() {
    assert_eq!(imports("use crate::ui::Frame;"), ["ui"]);
    assert_eq!(imports("use crate::{app, domain::{Finding, Reading}};"), ["app", "domain"]);
    assert_eq!(imports("let x = crate::ports::x(); pub(crate) fn y() {}"), ["ports"]);
    assert_eq!(imports("use crate::{\n    bundle,\n    ui::*,\n};"), ["bundle", "ui"]);
}
