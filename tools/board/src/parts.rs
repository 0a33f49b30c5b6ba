//! Where the parts of the emulated board are: QEMU, the kernel, BusyBox and the device program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use thiserror::Error;

/// A part that the board cannot be made without is missing.
#[derive(Debug, Error)]
pub enum PartsError {
    /// The variable that says where something is.
    #[error("{0} is not set: run the tests of the emulated board with `tests/run board`")]
    NotSet(&'static str),
    /// A folder or file that should be there.
    #[error("{what} is not at {path}: run `cross/fetch-board` and `cross/build aarch64` again")]
    Missing {
        /// Which part.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
}

/// The parts of the emulated board.
#[derive(Clone, Debug)]
pub struct Parts {
    folder: PathBuf,
    /// The device program for 64-bit ARM, one static file.
    pub program: PathBuf,
    /// The kernel's image.
    pub kernel: PathBuf,
    /// The folder of the kernel's modules.
    pub modules: PathBuf,
    /// BusyBox for 64-bit ARM, one static file.
    pub busybox: PathBuf,
}

impl Parts {
    /// The parts that `LIGHTBOX_BOARD_PARTS` (a folder made by `cross/fetch-board`) and `LIGHTBOX_BOARD_PROGRAM` name.
    ///
    /// # Errors
    /// A variable that is not set, or a part that is not where it should be.
    pub fn find() -> Result<Self, PartsError> {
        let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(PartsError::NotSet(name));
        let folder = variable("LIGHTBOX_BOARD_PARTS")?;
        let program = present("the device program", variable("LIGHTBOX_BOARD_PROGRAM")?)?;
        let boot = folder.join("kernel/boot");
        let kernel = fs::read_dir(&boot)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
            .ok_or(PartsError::Missing { what: "the kernel", path: boot })?;
        Ok(Self {
            program,
            kernel,
            modules: present("the kernel's modules", folder.join("kernel/lib/modules"))?,
            busybox: present("BusyBox", folder.join("busybox/bin/busybox"))?,
            folder,
        })
    }

    /// A device tree of the kernel's package.
    ///
    /// # Errors
    /// It is not there.
    pub fn device_tree(&self, name: &str) -> Result<PathBuf, PartsError> {
        let packages = self.folder.join("kernel/usr/lib");
        let trees =
            fs::read_dir(&packages).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path().join(name)));
        let found = trees.into_iter().find(|path| path.exists());
        found.ok_or(PartsError::Missing { what: "the device tree", path: packages.join("linux-image-*").join(name) })
    }

    /// QEMU for 64-bit ARM, from its own folder and with its own libraries.
    ///
    /// # Errors
    /// QEMU is not there.
    pub fn qemu(&self) -> Result<Command, PartsError> {
        let root = self.folder.join("qemu");
        let mut command = Command::new(present("QEMU", root.join("usr/bin/qemu-system-aarch64"))?);
        let libraries =
            ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| root.join(folder).display().to_string());
        command
            .env("LD_LIBRARY_PATH", libraries.join(":"))
            .env("QEMU_MODULE_DIR", root.join("usr/lib/x86_64-linux-gnu/qemu"));
        Ok(command)
    }
}

fn present(what: &'static str, path: PathBuf) -> Result<PathBuf, PartsError> {
    if Path::exists(&path) { Ok(path) } else { Err(PartsError::Missing { what, path }) }
}
