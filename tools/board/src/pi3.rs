//! What a Raspberry Pi 3 B needs in QEMU beside the device tree of its kernel: a display.
//!
//! On the real board the firmware starts the display and tells the kernel of it; QEMU has the display and no firmware that
//! tells. So the node that the firmware would add is added here (`simple-framebuffer` of the kernel's device tree
//! bindings), at the place where QEMU's display reads its picture.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::BoardError;

const WIDTH: u32 = 800;
const HEIGHT: u32 = 480;
/// QEMU's video memory, 64 MiB below the end of the first GiB, and the picture 1 MiB into it.
const PICTURE: u32 = 0x3c10_0000;

/// The display's size, and its order of colours: the kernel's, which is not QEMU's own.
pub(crate) fn display_arguments() -> impl Iterator<Item = String> {
    let settings = [format!("xres={WIDTH}"), format!("yres={HEIGHT}"), "bpp=32".to_owned(), "pixo=0".to_owned()];
    settings.into_iter().flat_map(|setting| ["-global".to_owned(), format!("bcm2835-fb.{setting}")])
}

/// Writes the device tree with the display in it.
pub(crate) fn write_device_tree(from: &Path, to: &Path) -> Result<(), BoardError> {
    fs::copy(from, to)
        .map_err(|source| BoardError::Io { what: format!("{} cannot be copied", from.display()), source })?;
    let node = format!("/framebuffer@{PICTURE:x}");
    let [place, bytes] = [PICTURE, WIDTH * HEIGHT * 4].map(|number| format!("{number:x}"));
    let [width, height, stride] = [WIDTH, HEIGHT, WIDTH * 4].map(|number| number.to_string());
    let put = |kind: &str, name: &str, values: &[&str]| {
        let mut command = Command::new("fdtput");
        command.args(["-t", kind]).arg(to).args([&node, name]).args(values);
        done(command, to)
    };
    let mut made = Command::new("fdtput");
    made.arg("-c").arg(to).arg(&node);
    done(made, to)?;
    put("s", "compatible", &["simple-framebuffer"])?;
    put("x", "reg", &[&place, &bytes])?;
    put("i", "width", &[&width])?;
    put("i", "height", &[&height])?;
    put("i", "stride", &[&stride])?;
    put("s", "format", &["x8r8g8b8"])?;
    put("s", "status", &["okay"])
}

fn done(mut command: Command, path: &Path) -> Result<(), BoardError> {
    let failed = |words: String| BoardError::DeviceTree { path: path.to_owned(), words };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
