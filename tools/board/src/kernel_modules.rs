//! Picks the kernel's modules that a board needs, each after those that it depends on.
//!
//! Debian's package has no list of dependencies (it is made when the package is installed): each module names its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use thiserror::Error;

/// A module that cannot be had.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// The kernel has no such module.
    #[error("the kernel in {folder} has no module {name}")]
    Unknown {
        /// The module's name.
        name: String,
        /// Where the modules are.
        folder: PathBuf,
    },
    /// The folder or a module cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A compressed module cannot be expanded.
    #[error("{path} cannot be expanded with xz: {words}")]
    Compressed {
        /// The module.
        path: PathBuf,
        /// What xz said.
        words: String,
    },
}

/// Modules in the order in which they must be loaded.
#[derive(Debug)]
pub struct KernelModules {
    folder: PathBuf,
    files: HashMap<String, PathBuf>,
    picked: Vec<(String, Vec<u8>)>,
}

impl KernelModules {
    /// All modules of a kernel, none picked.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn of(folder: &Path) -> Result<Self, ModuleError> {
        let mut files = HashMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let unreadable = |source| ModuleError::Unreadable { path: folder.clone(), source };
            for entry in fs::read_dir(&folder).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                let name = path.file_name().map(|name| name.to_string_lossy().replace('-', "_")).unwrap_or_default();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some((name, "ko" | "ko.xz")) = name.split_once('.') {
                    files.insert(name.to_owned(), path);
                }
            }
        }
        Ok(Self { folder: folder.to_owned(), files, picked: Vec::new() })
    }

    /// Picks a module, after what it depends on.
    ///
    /// # Errors
    /// The module, or one that it depends on, is not there or cannot be read.
    pub fn pick(&mut self, name: &str) -> Result<(), ModuleError> {
        let name = name.replace('-', "_");
        if self.picked.iter().any(|(picked, _)| *picked == name) {
            return Ok(());
        }
        let path = self
            .files
            .get(&name)
            .ok_or_else(|| ModuleError::Unknown { name: name.clone(), folder: self.folder.clone() })?;
        let content = expanded(path)?;
        for dependency in dependencies(&content) {
            self.pick(&dependency)?;
        }
        // What a module only would like to have may be built into the kernel.
        for wish in wishes(&content) {
            if self.files.contains_key(&wish) {
                self.pick(&wish)?;
            }
        }
        self.picked.push((name, content));
        Ok(())
    }

    /// What was picked, in loading order.
    #[must_use]
    pub fn picked(&self) -> &[(String, Vec<u8>)] {
        &self.picked
    }
}

fn expanded(path: &Path) -> Result<Vec<u8>, ModuleError> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new("xz").arg("-dc").arg(path).output();
        let output = output.map_err(|source| ModuleError::Unreadable { path: "xz".into(), source })?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(ModuleError::Compressed { path: path.to_owned(), words });
        }
        return Ok(output.stdout);
    }
    fs::read(path).map_err(|source| ModuleError::Unreadable { path: path.to_owned(), source })
}

/// What the section `.modinfo` says under a key: zero-terminated `key=value`.
fn facts<'a>(content: &'a [u8], key: &'a str) -> impl Iterator<Item = String> + 'a {
    content.split(|byte| *byte == 0).filter_map(move |text| {
        let value = text.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

fn dependencies(content: &[u8]) -> Vec<String> {
    let lists = facts(content, "depends");
    lists
        .flat_map(|list| {
            list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect::<Vec<_>>()
        })
        .collect()
}

/// Soft dependencies that go first.
fn wishes(content: &[u8]) -> Vec<String> {
    let lines = facts(content, "softdep");
    lines
        .filter_map(|line| line.strip_prefix("pre: ").map(str::to_owned))
        .flat_map(|line| {
            line.split("post:")
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .map(|name| name.replace('-', "_"))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"\x7fELF\0license=GPL\0depends=jbd2,mbcache\0softdep=pre: crc32c post: other\0name=ext4\0";

    #[test]
    fn a_module_names_what_it_depends_on() {
        assert_eq!(dependencies(CONTENT), ["jbd2", "mbcache"]);
        assert_eq!(wishes(CONTENT), ["crc32c"]);
        assert_eq!(dependencies(b"\0depends=\0"), Vec::<String>::new());
    }

    #[test]
    fn modules_are_picked_after_what_they_depend_on_and_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, depends: &str| {
            std::fs::write(folder.path().join(name), format!("\0depends={depends}\0")).expect("a file");
        };
        write("ext4.ko", "jbd2,mbcache");
        write("jbd2.ko", "");
        write("mbcache.ko", "");
        write("usb-storage.ko", "jbd2");
        let mut modules = KernelModules::of(folder.path()).expect("modules");
        modules.pick("ext4").expect("ext4");
        modules.pick("usb-storage").expect("usb-storage");
        let names: Vec<&str> = modules.picked().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["jbd2", "mbcache", "ext4", "usb_storage"]);
        let missing = modules.pick("floppy").expect_err("there is none").to_string();
        assert!(missing.contains("has no module floppy"), "{missing}");
    }
}
