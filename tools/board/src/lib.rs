//! An emulated board for tests: QEMU's `virt` machine with Debian's kernel for 64-bit ARM, and the device program on it.
//!
//! What is emulated is the hardware alone; the kernel and its drivers are those of a board: a virtio panel behind
//! `/dev/fb0` and DRM/KMS, GPIO lines of a PL061, USB drives, a watchdog, a network card, an ext4 disk. A test drives the
//! board from outside: it runs commands in it, presses its button, looks at its screen, cuts its power. A second machine is
//! the Raspberry Pi 3 B, with its own device tree, GPIO controller and display.
//!
//! Nothing is downloaded here: `cross/fetch-board` has brought the parts, `cross/build aarch64` the program.

mod archive;
mod disk;
mod kernel_modules;
mod machine;
mod monitor;
mod parts;
mod pi3;
mod picture;

pub use archive::Archive;
pub use disk::{Disk, DiskError, WriteLog};
pub use kernel_modules::{KernelModules, ModuleError};
pub use machine::{Board, BoardError, Output, Plan, free_port};
pub use monitor::{Monitor, MonitorError};
pub use parts::{Parts, PartsError};
pub use picture::Picture;
