//! `[camera]`: what photographs films on a light box.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Check, ConfigError};

/// As typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CameraTable {
    device: Option<PathBuf>,
    size: Option<[i64; 2]>,
    command: Option<Vec<String>>,
    look: Option<Vec<String>>,
    timeout_s: Option<i64>,
}

/// A camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraConfig {
    /// What it is.
    pub kind: CameraKind,
    /// For one picture.
    pub timeout: Duration,
}

/// What a camera is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraKind {
    /// A Video4Linux device.
    Device {
        /// Such as /dev/video0.
        path: PathBuf,
        /// Columns and rows that are wished for.
        size: (u32, u32),
    },
    /// A program that writes a picture to its standard output.
    Program {
        /// Takes the photograph: the program and its arguments.
        shoot: Vec<String>,
        /// Takes a small picture for guidance.
        look: Option<Vec<String>>,
    },
}

impl Check<'_> {
    /// A camera, from the table as typed.
    pub(super) fn camera(&self, typed: CameraTable) -> Result<CameraConfig, ConfigError> {
        let CameraTable { device, size, command, look, timeout_s } = typed;
        let timeout = Duration::from_secs(self.number("camera.timeout_s", timeout_s, 20, 1, 300)?);
        let program = |key: &str, words: &[String]| match words.first() {
            Some(program) if !program.is_empty() => Ok(()),
            _ => Err(self.refused(key, "empty", "a program and its arguments")),
        };
        let kind = match (device, command) {
            (Some(path), None) => {
                if path.as_os_str().is_empty() {
                    return Err(self.refused("camera.device", "empty", "a device such as /dev/video0"));
                }
                if look.is_some() {
                    return Err(self.refused("camera.look", "given", "it only with camera.command"));
                }
                let [width, height] = size.unwrap_or([1920, 1080]);
                let side = |typed| Ok::<_, ConfigError>(self.number("camera.size", Some(typed), 0, 320, 8192)? as u32);
                CameraKind::Device { path, size: (side(width)?, side(height)?) }
            }
            (None, Some(shoot)) => {
                program("camera.command", &shoot)?;
                look.as_deref().map_or(Ok(()), |look| program("camera.look", look))?;
                if size.is_some() {
                    return Err(self.refused("camera.size", "given", "it only with camera.device"));
                }
                CameraKind::Program { shoot, look }
            }
            (Some(_), Some(_)) => {
                return Err(self.refused("camera.command", "given beside camera.device", "one of the two"));
            }
            (None, None) => return Err(self.refused("camera.device", "missing", "it or camera.command")),
        };
        Ok(CameraConfig { kind, timeout })
    }
}
