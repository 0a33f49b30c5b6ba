//! Cameras that photograph films on a light box: Video4Linux devices, and programs that write a picture to their output.
//!
//! Both give the photograph as a file, JPEG or PNG, which goes the way of every file from outside: it is kept in the
//! spool, decoded behind the wall and only then looked at.

mod program;
mod v4l2;

use std::io;
use std::path::{Path, PathBuf};

pub use self::program::ProgramCamera;
pub use self::v4l2::V4l2Camera;
use super::spool::{Kept, Spool, SpoolError};
use crate::config::{CameraConfig, CameraKind};
use crate::ports::{Source, SourceError};

/// Of a photograph as a file.
const MOST_BYTES: usize = 64 << 20;

/// The camera that `config` names; it is opened when it is first used, and again after every error.
pub fn open(config: &CameraConfig) -> Box<dyn Source + Send> {
    match &config.kind {
        CameraKind::Device { path, size } => Box::new(V4l2Camera::new(path, *size, config.timeout)),
        CameraKind::Program { shoot, look } => Box::new(ProgramCamera::new(shoot, look.as_deref(), config.timeout)),
    }
}

/// Whether the camera seems to be there; it is not switched on.
///
/// # Errors
/// With what is missing, in words.
pub fn presence(config: &CameraConfig) -> Result<(), String> {
    match &config.kind {
        CameraKind::Device { path, .. } if path.exists() => Ok(()),
        CameraKind::Device { path, .. } => Err(format!("{} is not there", path.display())),
        CameraKind::Program { shoot, look } => {
            let programs = [Some(shoot), look.as_ref()].into_iter().flatten().filter_map(|words| words.first());
            let missing = programs.into_iter().find(|program| !is_program(program));
            missing.map_or(Ok(()), |program| Err(format!("there is no program {program}")))
        }
    }
}

/// Whether a command that begins with this word can be started.
fn is_program(word: &str) -> bool {
    let is_there = |path: PathBuf| path.is_file();
    if word.contains('/') {
        return is_there(word.into());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder: PathBuf| Path::new(&folder).join(word)).any(is_there)
}

/// Why no photograph was kept.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The camera gave none.
    #[error("{0}")]
    Camera(#[from] SourceError),
    /// The disk did not take it.
    #[error("{0}")]
    Spool(#[from] SpoolError),
}

/// Takes a photograph and keeps it, durably and queued for reading.
///
/// # Errors
/// When there is no photograph, or the spool does not take it.
pub fn take(camera: &mut dyn Source, spool: &Spool) -> Result<Kept, TakeError> {
    let bytes = camera.shoot()?;
    let mut incoming = spool.receive_photograph()?;
    incoming.write(&bytes)?;
    Ok(incoming.keep_photograph()?)
}

fn timed_out(camera: &str, timeout: std::time::Duration) -> SourceError {
    SourceError::TimedOut { camera: camera.to_owned(), seconds: timeout.as_secs_f32() }
}

fn device_error(camera: &str) -> impl Fn(io::Error) -> SourceError + use<> {
    let camera = camera.to_owned();
    move |source| SourceError::Device { camera: camera.clone(), source }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_camera_that_is_not_there_is_named_without_being_switched_on() {
        let timeout = Duration::from_secs(1);
        let device =
            |path: &str| CameraConfig { kind: CameraKind::Device { path: path.into(), size: (640, 480) }, timeout };
        let program = |shoot: &str, look: Option<&str>| {
            let words = |text: &str| text.split(' ').map(str::to_owned).collect();
            CameraConfig { kind: CameraKind::Program { shoot: words(shoot), look: look.map(words) }, timeout }
        };
        assert_eq!(presence(&device("/dev/null")), Ok(()));
        assert_eq!(presence(&device("/no/such/video0")), Err("/no/such/video0 is not there".to_owned()));
        assert_eq!(presence(&program("sh -c true", Some("/bin/sh"))), Ok(()));
        assert_eq!(
            presence(&program("no-such-camera -o -", None)),
            Err("there is no program no-such-camera".to_owned())
        );
        assert_eq!(
            presence(&program("sh", Some("/no/such/look"))),
            Err("there is no program /no/such/look".to_owned())
        );
    }
}
