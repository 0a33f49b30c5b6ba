//! Cameras that photograph films on a light box: Video4Linux devices, and programs that write a picture to their output.
//!
//! Both give the photograph as a file, JPEG or PNG, which goes the way of every file from outside: it is kept in the
//! spool, decoded behind the wall and only then looked at.

mod program;
mod v4l2;

use std::io;

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
