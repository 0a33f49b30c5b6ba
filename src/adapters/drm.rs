//! A display by DRM/KMS: two dumb buffers, of which one is shown while the other is drawn; the kernel changes them
//! between two pictures of the display, so that nothing tears.
//!
//! A display that is unplugged is an error; whoever has the panel opens it anew until it is there again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use drm::Device as _;
use drm::buffer::{Buffer as _, DrmFourcc};
use drm::control::dumbbuffer::DumbBuffer;
use drm::control::{Device as _, Event, Mode, ModeTypeFlags, PageFlipFlags, connector, crtc, framebuffer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::backlight::Backlight;
use super::damage::Shown;
use super::framebuffer::{Depth, PixelFormat, display, fits};
use crate::config::{ChannelOrder, DisplayMode};
use crate::domain::{Frame, Rotation};
use crate::ports::{DeviceError, Panel, PanelError};

/// XRGB8888: every driver with dumb buffers takes it (`DRM_FORMAT_XRGB8888`, little endian).
const FORMAT: PixelFormat = PixelFormat { depth: Depth::ThirtyTwo, order: ChannelOrder::Rgb };

/// A display shows at least some pictures a second; one that takes no new picture for so long is broken.
const FLIP_TIMEOUT: Duration = Duration::from_secs(2);

/// A card's device node.
#[derive(Debug)]
struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for Card {}
impl drm::control::Device for Card {}

/// A buffer that can be shown.
#[derive(Debug)]
struct Buffer {
    memory: DumbBuffer,
    handle: framebuffer::Handle,
    /// What was drawn into it last.
    shown: Shown,
}

/// Shows pictures on a display.
pub struct DrmPanel {
    card: Card,
    /// Device and connector.
    name: String,
    connector: connector::Handle,
    crtc: crtc::Handle,
    mode: Mode,
    /// What the display showed before.
    before: crtc::Info,
    buffers: Vec<Buffer>,
    /// Which buffer is shown.
    front: usize,
    /// Whether the display is on and shows `front`.
    lit: bool,
    rotation: Rotation,
    backlight: Option<Backlight>,
    row: Vec<u8>,
}

impl DrmPanel {
    /// Takes over a display of the card at `device`: the connector of that name, or the first that something is plugged
    /// into; in the mode that is wished for, or in the one that the display prefers.
    ///
    /// # Errors
    /// When there is no such display or mode, or another program draws on the card.
    pub fn open(
        device: &Path,
        connector: Option<&str>,
        mode: Option<DisplayMode>,
        rotation: Rotation,
        backlight: Option<Backlight>,
    ) -> Result<Self, DeviceError> {
        let name = display(device);
        let file = OpenOptions::new().read(true).write(true).open(device);
        let card = Card(file.map_err(|error| DeviceError::new("open", &name, error))?);
        // Whoever opens a card that nobody is master of is its master; the call is for a card that was opened before.
        if let Err(error) = card.acquire_master_lock() {
            log::debug!("{name}: cannot become DRM master: {error}");
        }
        let found = choose(&card, &name, connector, mode)?;
        let failed = |operation| {
            let display = found.display.clone();
            move |error: io::Error| DeviceError::new(operation, display, explained(error))
        };
        let before = card.get_crtc(found.crtc).map_err(failed("look at"))?;
        let mut panel = Self {
            card,
            name: found.display.clone(),
            connector: found.connector,
            crtc: found.crtc,
            mode: found.mode,
            before,
            buffers: Vec::new(),
            front: 0,
            lit: false,
            rotation,
            backlight,
            row: Vec::new(),
        };
        let (width, height) = found.mode.size();
        for _ in 0..2 {
            let size = (u32::from(width), u32::from(height));
            let memory = panel.card.create_dumb_buffer(size, DrmFourcc::Xrgb8888, 32);
            let memory = memory.map_err(failed("get memory for"))?;
            match panel.card.add_framebuffer(&memory, 24, 32) {
                Ok(handle) => panel.buffers.push(Buffer { memory, handle, shown: Shown::default() }),
                Err(error) => {
                    drop(panel.card.destroy_dumb_buffer(memory));
                    return Err(failed("get memory for")(error));
                }
            }
        }
        // Both start black, and the mode is set with a picture that is known.
        panel.draw(0, &Frame::new(width.into(), height.into())).map_err(failed("draw on"))?;
        panel.light().map_err(failed("show a picture on"))?;
        if let Some(backlight) = &mut panel.backlight {
            backlight.set_lit(true)?;
        }
        let refresh = found.mode.vrefresh();
        log::info!("{}: {width} × {height} pixels, {refresh} pictures a second", panel.name);
        Ok(panel)
    }

    /// Brings what changed into a buffer.
    fn draw(&mut self, index: usize, native: &Frame) -> io::Result<()> {
        let buffer = &mut self.buffers[index];
        let runs = buffer.shown.changed_rows(native);
        // If it stops half way the buffer holds neither picture.
        buffer.shown.forget();
        let (width, pitch) = (native.width() as usize, buffer.memory.pitch() as usize);
        let mut memory = self.card.map_dumb_buffer(&mut buffer.memory)?;
        for y in runs.into_iter().flatten() {
            self.row.clear();
            FORMAT.encode(&native.pixels()[y as usize * width..][..width], &mut self.row);
            let row = memory.as_mut().get_mut(y as usize * pitch..).and_then(|rest| rest.get_mut(..self.row.len()));
            let Some(row) = row else {
                return Err(io::Error::other(format!("the buffer of {pitch} bytes a row ends before row {y}")));
            };
            row.copy_from_slice(&self.row);
        }
        drop(memory);
        buffer.shown.is(native);
        Ok(())
    }

    /// Sets the mode and shows the front buffer.
    fn light(&mut self) -> io::Result<()> {
        let front = self.buffers[self.front].handle;
        self.card.set_crtc(self.crtc, Some(front), (0, 0), &[self.connector], Some(self.mode))?;
        self.lit = true;
        Ok(())
    }

    /// Shows the buffer at `index` from the display's next picture on, and waits for that.
    fn flip(&mut self, index: usize) -> io::Result<()> {
        let handle = self.buffers[index].handle;
        match self.card.page_flip(self.crtc, handle, PageFlipFlags::EVENT, None) {
            Ok(()) => self.wait_for_flip()?,
            // Drivers without page flips, and modes that another program has changed meanwhile.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                self.card.set_crtc(self.crtc, Some(handle), (0, 0), &[self.connector], Some(self.mode))?;
            }
            Err(error) => return Err(error),
        }
        self.front = index;
        Ok(())
    }

    fn wait_for_flip(&self) -> io::Result<()> {
        let deadline = Instant::now() + FLIP_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.card, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => {
                    let told = format!("it took no new picture within {} s", FLIP_TIMEOUT.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, told));
                }
                Ok(_) => {
                    if self.card.receive_events()?.any(|event| matches!(event, Event::PageFlip(_))) {
                        return Ok(());
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn refused(&self, operation: &'static str, error: io::Error) -> PanelError {
        DeviceError::new(operation, &self.name, explained(error)).into()
    }
}

impl Panel for DrmPanel {
    fn show(&mut self, frame: &Frame) -> Result<(), PanelError> {
        fits(&self.name, self.size(), frame)?;
        // Without probing: the kernel knows from the hot-plug interrupt.
        let state = self.card.get_connector(self.connector, false).map(|info| info.state());
        match state.map_err(|error| self.refused("look at", error))? {
            connector::State::Connected | connector::State::Unknown => {}
            connector::State::Disconnected => {
                let told = io::Error::new(io::ErrorKind::NotConnected, "nothing is plugged in");
                return Err(self.refused("show a picture on", told));
            }
        }
        let native = self.rotation.turn(frame);
        if self.lit && self.buffers[self.front].shown.changed_rows(&native).is_empty() {
            return Ok(());
        }
        let back = 1 - self.front;
        self.draw(back, &native).map_err(|error| self.refused("draw on", error))?;
        if self.lit {
            self.flip(back).map_err(|error| self.refused("show a picture on", error))
        } else {
            self.front = back;
            Ok(())
        }
    }

    fn size(&self) -> (u32, u32) {
        let (width, height) = self.mode.size();
        self.rotation.turn_size((width.into(), height.into()))
    }

    fn set_lit(&mut self, lit: bool) -> Result<(), PanelError> {
        if let Some(backlight) = &mut self.backlight {
            return Ok(backlight.set_lit(lit)?);
        }
        match (lit, self.lit) {
            (true, false) => self.light().map_err(|error| self.refused("light", error)),
            (false, true) => {
                let off = self.card.set_crtc(self.crtc, None, (0, 0), &[], None);
                off.map_err(|error| self.refused("darken", error))?;
                self.lit = false;
                Ok(())
            }
            (true, true) | (false, false) => Ok(()),
        }
    }
}

impl Drop for DrmPanel {
    fn drop(&mut self) {
        // The console, or whatever was there before. The kernel does the same for its console when the card is closed,
        // so that a failure here is no more than a log line.
        if let (Some(mode), Some(shown)) = (self.before.mode(), self.before.framebuffer()) {
            let position = self.before.position();
            let restored = self.card.set_crtc(self.crtc, Some(shown), position, &[self.connector], Some(mode));
            if let Err(error) = restored {
                log::debug!("{}: what was there before does not come back: {error}", self.name);
            }
        }
        for buffer in self.buffers.drain(..) {
            let freed = self.card.destroy_framebuffer(buffer.handle);
            if let Err(error) = freed.and_then(|()| self.card.destroy_dumb_buffer(buffer.memory)) {
                log::debug!("{}: a buffer was not freed: {error}", self.name);
            }
        }
    }
}

/// What the system said, with what it means on a card.
fn explained(error: io::Error) -> io::Error {
    let remedy = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
            "another program draws on this card: stop the desktop (Xorg, Wayland)"
        }
        Some(rustix::io::Errno::NOSPC | rustix::io::Errno::NOMEM) => "give the graphics more memory, or a smaller mode",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error} ({remedy})"))
}

/// A display that can be taken over.
struct Found {
    display: String,
    connector: connector::Handle,
    crtc: crtc::Handle,
    mode: Mode,
}

/// Chooses connector, mode and CRTC.
fn choose(card: &Card, name: &str, wanted: Option<&str>, mode: Option<DisplayMode>) -> Result<Found, DeviceError> {
    let failed = |error: io::Error| DeviceError::new("look at", name, explained(error));
    let resources = card.resource_handles().map_err(failed)?;
    // Probed: what is plugged in may have changed since the last time.
    let connectors = resources.connectors().iter().map(|handle| card.get_connector(*handle, true));
    let connectors = connectors.collect::<io::Result<Vec<_>>>().map_err(failed)?;
    let listed: Vec<_> = connectors.iter().map(|info| (connector_name(info), info.state())).collect();
    let index = choose_connector(&listed, wanted).map_err(|told| DeviceError::new("find a display on", name, told))?;
    let info = &connectors[index];
    let display = format!("{name} {}", listed[index].0);

    let modes: Vec<_> = info.modes().iter().map(ListedMode::of).collect();
    let chosen = choose_mode(&modes, mode).map_err(|told| DeviceError::new("set a mode of", &display, told))?;

    // The one that already drives it saves a flicker.
    let current = info.current_encoder().and_then(|encoder| card.get_encoder(encoder).ok()?.crtc());
    let possible = info.encoders().iter().filter_map(|encoder| card.get_encoder(*encoder).ok());
    let possible = possible.flat_map(|encoder| resources.filter_crtcs(encoder.possible_crtcs())).next();
    let crtc =
        current.or(possible).ok_or_else(|| DeviceError::new("drive", &display, "the card has no CRTC for it"))?;
    Ok(Found { display, connector: info.handle(), crtc, mode: info.modes()[chosen] })
}

/// As the kernel names it in `/sys/class/drm`.
fn connector_name(info: &connector::Info) -> String {
    format!("{}-{}", info.interface().as_str(), info.interface_id())
}

fn choose_connector(listed: &[(String, connector::State)], wanted: Option<&str>) -> Result<usize, String> {
    let names = || listed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let plugged = |(_, state): &(String, connector::State)| *state == connector::State::Connected;
    match wanted {
        Some(wanted) => match listed.iter().position(|(name, _)| name == wanted) {
            Some(index) if listed[index].1 == connector::State::Disconnected => {
                Err(format!("nothing is plugged into {wanted}"))
            }
            Some(index) => Ok(index),
            None => Err(format!("it has no connector {wanted}, only {}", names())),
        },
        None => listed.iter().position(plugged).ok_or_else(|| match listed {
            [] => "it has no connectors: it draws, but shows nothing".to_owned(),
            [..] => format!("nothing is plugged into any of {}", names()),
        }),
    }
}

/// What is asked of a mode.
#[derive(Clone, Copy, Debug)]
struct ListedMode {
    size: (u16, u16),
    refresh_hz: u32,
    preferred: bool,
}

impl ListedMode {
    fn of(mode: &Mode) -> Self {
        let preferred = mode.mode_type().contains(ModeTypeFlags::PREFERRED);
        Self { size: mode.size(), refresh_hz: mode.vrefresh(), preferred }
    }
}

fn choose_mode(listed: &[ListedMode], wanted: Option<DisplayMode>) -> Result<usize, String> {
    let Some(wanted) = wanted else {
        let preferred = listed.iter().position(|mode| mode.preferred);
        return preferred.or((!listed.is_empty()).then_some(0)).ok_or_else(|| "it tells no modes".to_owned());
    };
    let fits = |mode: &ListedMode| {
        mode.size == (wanted.width, wanted.height) && wanted.refresh_hz.is_none_or(|hz| hz == mode.refresh_hz)
    };
    listed.iter().position(fits).ok_or_else(|| {
        let modes = listed.iter().map(|mode| format!("{}x{}@{}", mode.size.0, mode.size.1, mode.refresh_hz));
        format!("it has no mode {wanted}, only {}", modes.collect::<Vec<_>>().join(", "))
    })
}

#[cfg(test)]
mod tests {
    use connector::State::{Connected, Disconnected, Unknown};

    use super::*;

    #[track_caller]
    fn connector(listed: &[(&str, connector::State)], wanted: Option<&str>, expected: Result<usize, &str>) {
        let listed: Vec<_> = listed.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect();
        assert_eq!(choose_connector(&listed, wanted), expected.map_err(str::to_owned));
    }

    #[test]
    fn the_named_connector_or_the_first_that_is_plugged_in_is_taken() {
        let listed = [("HDMI-A-1", Disconnected), ("DSI-1", Connected), ("HDMI-A-2", Connected), ("VGA-1", Unknown)];
        connector(&listed, None, Ok(1));
        connector(&listed, Some("HDMI-A-2"), Ok(2));
        // A panel that cannot tell may be taken by its name.
        connector(&listed, Some("VGA-1"), Ok(3));
        connector(&listed, Some("HDMI-A-1"), Err("nothing is plugged into HDMI-A-1"));
        connector(&listed, Some("DP-1"), Err("it has no connector DP-1, only HDMI-A-1, DSI-1, HDMI-A-2, VGA-1"));
        connector(&listed[..1], None, Err("nothing is plugged into any of HDMI-A-1"));
        connector(&[], None, Err("it has no connectors: it draws, but shows nothing"));
    }

    #[test]
    fn the_mode_that_is_wished_for_or_preferred_is_taken() {
        let mode = |width, height, refresh_hz, preferred| ListedMode { size: (width, height), refresh_hz, preferred };
        let listed = [mode(1920, 1080, 60, false), mode(800, 480, 50, false), mode(800, 480, 60, true)];
        let wish = |width, height, refresh_hz| Some(DisplayMode { width, height, refresh_hz });
        assert_eq!(choose_mode(&listed, None), Ok(2));
        assert_eq!(choose_mode(&listed[..2], None), Ok(0));
        assert_eq!(choose_mode(&listed, wish(800, 480, None)), Ok(1));
        assert_eq!(choose_mode(&listed, wish(800, 480, Some(60))), Ok(2));
        assert_eq!(choose_mode(&[], None), Err("it tells no modes".to_owned()));
        let told = "it has no mode 800x480@75, only 1920x1080@60, 800x480@50, 800x480@60";
        assert_eq!(choose_mode(&listed, wish(800, 480, Some(75))), Err(told.to_owned()));
    }

    #[test]
    fn what_the_system_says_comes_with_what_helps() {
        let told = |errno: rustix::io::Errno| explained(errno.into()).to_string();
        assert!(
            told(rustix::io::Errno::ACCESS)
                .ends_with("(another program draws on this card: stop the desktop (Xorg, Wayland))")
        );
        assert!(told(rustix::io::Errno::NOSPC).ends_with("(give the graphics more memory, or a smaller mode)"));
        assert_eq!(told(rustix::io::Errno::NODEV), io::Error::from(rustix::io::Errno::NODEV).to_string());
    }

    #[test]
    fn a_card_that_is_not_there_is_named() {
        let Err(told) = DrmPanel::open(Path::new("/dev/dri/no-card"), None, None, Rotation::Upright, None) else {
            panic!("there is such a card")
        };
        assert_eq!(told.to_string(), "cannot open /dev/dri/no-card: No such file or directory (os error 2)");
    }
}
