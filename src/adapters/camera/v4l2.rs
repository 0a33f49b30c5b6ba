//! Video4Linux cameras (USB document cameras, webcams): JPEG, YUYV or grey frames.

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::{ExtendedColorType, ImageEncoder};
use linuxvideo::format::{PixFormat, PixelFormat};
use linuxvideo::stream::ReadStream;
use linuxvideo::{BufType, Device};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;

use super::{MOST_BYTES, device_error, timed_out};
use crate::adapters::file::Limits;
use crate::adapters::wall::Wall;
use crate::domain::GreyImage;
use crate::ports::{Source, SourceError};

/// Frames that a camera may need until its exposure has settled.
const SETTLE: usize = 8;
/// Frames that were taken before they were asked for.
const STALE: usize = 2;

/// How the bytes of a frame are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// A JPEG file; the tables may be missing.
    Jpeg,
    /// Luminance and colour by turns (4:2:2).
    Yuyv,
    /// One byte a pixel.
    Grey,
}

impl Coding {
    /// Those that are understood, the one with the most pixels a second first.
    const ALL: [(Self, PixelFormat); 4] = [
        (Self::Jpeg, PixelFormat::MJPG),
        (Self::Jpeg, PixelFormat::JPEG),
        (Self::Yuyv, PixelFormat::YUYV),
        (Self::Grey, PixelFormat::from_fourcc(*b"GREY")),
    ];
}

/// A camera of which frames are coming in.
struct Streaming {
    stream: ReadStream,
    coding: Coding,
    width: u32,
    height: u32,
    /// Bytes from one row to the next.
    stride: usize,
    /// Frames that are not to be used.
    unusable: usize,
}

/// A Video4Linux device.
pub struct V4l2Camera {
    path: PathBuf,
    size: (u32, u32),
    timeout: Duration,
    streaming: Option<Streaming>,
    wall: Wall,
}

impl V4l2Camera {
    /// The camera at `path`, which need not be there yet; the driver gives the size nearest to `size`.
    pub fn new(path: &Path, size: (u32, u32), timeout: Duration) -> Self {
        Self { path: path.to_owned(), size, timeout, streaming: None, wall: Wall::of_this_program() }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Opens it where it is not open.
    fn streaming(&mut self) -> Result<Streaming, SourceError> {
        if let Some(streaming) = self.streaming.take() {
            return Ok(Streaming { unusable: STALE, ..streaming });
        }
        let failed = device_error(&self.name());
        let device = Device::open(&self.path).map_err(&failed)?;
        let offered: Vec<PixelFormat> = device
            .formats(BufType::VIDEO_CAPTURE)
            .map(|format| format.map(|format| format.pixel_format()))
            .collect::<io::Result<_>>()
            .map_err(&failed)?;
        let Some((coding, wanted)) = Coding::ALL.into_iter().find(|(_, format)| offered.contains(format)) else {
            let why = format!("it gives {offered:?}, expected MJPG, JPEG, YUYV or GREY");
            return Err(SourceError::Unusable { camera: self.name(), why });
        };
        let capture = device.video_capture(PixFormat::new(self.size.0, self.size.1, wanted)).map_err(&failed)?;
        let format = capture.format();
        let (width, height, stride) = (format.width(), format.height(), format.bytes_per_line() as usize);
        if format.pixel_format() != wanted {
            let why = format!("it was set to {wanted:?} and gives {:?}", format.pixel_format());
            return Err(SourceError::Unusable { camera: self.name(), why });
        }
        log::info!("{}: {width} × {height} pixels, {wanted:?}", self.path.display());
        let stream = capture.into_stream().map_err(&failed)?;
        Ok(Streaming { stream, coding, width, height, stride, unusable: SETTLE })
    }

    /// The next frame that was taken after it was asked for.
    fn frame(&mut self) -> Result<(Vec<u8>, Streaming), SourceError> {
        let (name, timeout) = (self.name(), self.timeout);
        let failed = device_error(&name);
        let deadline = Instant::now() + timeout;
        let mut streaming = self.streaming()?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(timed_out(&name, timeout));
            }
            let pause = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut events = [PollFd::new(&streaming.stream, PollFlags::IN)];
            match poll(&mut events, Some(&pause)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(failed(error.into())),
            }
            let frame = streaming.stream.dequeue(|frame| {
                // Cut by a full bus: the next one is whole.
                let usable = !frame.is_error() && !frame.is_empty() && frame.len() <= MOST_BYTES;
                Ok(usable.then(|| frame.to_vec()))
            });
            let Some(frame) = frame.map_err(&failed)? else { continue };
            if streaming.unusable == 0 {
                return Ok((frame, streaming));
            }
            streaming.unusable -= 1;
        }
    }
}

/// The grey picture of a frame that is not compressed.
fn greys(frame: &[u8], coding: Coding, width: u32, height: u32, stride: usize) -> Result<GreyImage, String> {
    let (columns, bytes_a_pixel) = (width as usize, if coding == Coding::Yuyv { 2 } else { 1 });
    let stride = stride.max(columns * bytes_a_pixel).max(1);
    let needed = (height as usize).saturating_sub(1) * stride + columns * bytes_a_pixel;
    if frame.len() < needed {
        return Err(format!("a frame of {} bytes, {width} × {height} pixels need {needed}", frame.len()));
    }
    // Whole range: most of these cameras say nothing else, and what matters here are differences.
    let row = |row: &[u8]| -> Vec<u16> {
        row.iter().step_by(bytes_a_pixel).take(columns).map(|value| u16::from(*value) * 257).collect()
    };
    let greys = frame.chunks(stride).take(height as usize).flat_map(row).collect();
    GreyImage::new(width, height, greys).map_err(|error| error.to_string())
}

/// A frame as a file that says what it is.
fn file_of(frame: Vec<u8>, streaming: &Streaming) -> Result<Vec<u8>, String> {
    if streaming.coding == Coding::Jpeg {
        return Ok(frame);
    }
    let Streaming { coding, width, height, stride, .. } = streaming;
    let image = greys(&frame, *coding, *width, *height, *stride)?;
    png(&image)
}

fn png(image: &GreyImage) -> Result<Vec<u8>, String> {
    let bytes: Vec<u8> = image.greys().iter().map(|grey| (grey >> 8) as u8).collect();
    let mut file = Cursor::new(Vec::new());
    let encoder = image::codecs::png::PngEncoder::new(&mut file);
    encoder
        .write_image(&bytes, image.width(), image.height(), ExtendedColorType::L8)
        .map_err(|error| error.to_string())?;
    Ok(file.into_inner())
}

impl Source for V4l2Camera {
    fn look(&mut self) -> Result<Option<GreyImage>, SourceError> {
        let (frame, streaming) = self.frame()?;
        let unusable = |why: String| SourceError::Unusable { camera: self.path.display().to_string(), why };
        let image = if streaming.coding == Coding::Jpeg {
            let decoded = self.wall.decode(&frame, &Limits::default()).map_err(|error| unusable(error.to_string()))?;
            decoded.map_err(|rejection| unusable(rejection.to_string()))?.image
        } else {
            let Streaming { coding, width, height, stride, .. } = streaming;
            greys(&frame, coding, width, height, stride).map_err(unusable)?
        };
        self.streaming = Some(streaming);
        Ok(Some(image))
    }

    fn shoot(&mut self) -> Result<Vec<u8>, SourceError> {
        let (frame, streaming) = self.frame()?;
        let file = file_of(frame, &streaming)
            .map_err(|why| SourceError::Unusable { camera: self.path.display().to_string(), why })?;
        self.streaming = Some(streaming);
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_luminance_is_taken_from_frames_with_padded_rows() {
        let yuyv = [10, 128, 20, 128, 0, 0, 30, 128, 40, 128];
        let image = greys(&yuyv, Coding::Yuyv, 2, 2, 6).unwrap();
        assert_eq!(image.greys(), [10, 20, 30, 40].map(|value: u16| value * 257));
        let image = greys(&[1, 2, 0, 3, 4], Coding::Grey, 2, 2, 3).unwrap();
        assert_eq!(image.greys(), [1, 2, 3, 4].map(|value: u16| value * 257));
    }

    #[test]
    fn a_frame_that_is_too_short_is_no_picture() {
        let told = greys(&[0; 9], Coding::Yuyv, 2, 2, 6).unwrap_err();
        assert_eq!(told, "a frame of 9 bytes, 2 × 2 pixels need 10");
        assert!(greys(&[], Coding::Grey, 0, 0, 0).is_err());
    }

    #[test]
    fn a_frame_becomes_a_file_that_is_read_like_any_other() {
        let image = GreyImage::new(3, 2, [0, 40, 80, 120, 160, 255].map(|value: u16| value * 257).to_vec()).unwrap();
        let file = png(&image).unwrap();
        let read = crate::adapters::file::decode_film(&file, &Limits::default()).unwrap();
        assert_eq!(read.image, image);
    }

    #[test]
    fn a_device_that_is_no_camera_is_named() {
        let seconds = Duration::from_secs(1);
        let told =
            V4l2Camera::new(Path::new("/no/such/video0"), (1920, 1080), seconds).shoot().unwrap_err().to_string();
        assert!(told.starts_with("the camera /no/such/video0 cannot be used: "), "{told}");
        let told = V4l2Camera::new(Path::new("/dev/null"), (1920, 1080), seconds).look().unwrap_err().to_string();
        assert!(told.starts_with("the camera /dev/null "), "{told}");
    }
}
