//! How the board itself is: temperature, throttling, supply voltage, room on a disk, its address.

use std::fs;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

/// Where the kernel tells temperatures (Documentation/ABI/testing/sysfs-class-thermal).
const THERMAL: &str = "/sys/class/thermal";
/// What the firmware of a Raspberry Pi says of its voltage and clock, the same bits as `vcgencmd get_throttled`.
const THROTTLED: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";

/// The highest temperature that is measured on the board, in degrees Celsius; `None` where none is.
pub fn temperature() -> Option<f32> {
    temperature_below(Path::new(THERMAL))
}

fn temperature_below(thermal: &Path) -> Option<f32> {
    let zones = fs::read_dir(thermal)
        .ok()?
        .flatten()
        .filter(|zone| zone.file_name().as_encoded_bytes().starts_with(b"thermal_zone"));
    let millidegrees =
        zones.filter_map(|zone| fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse::<i32>().ok());
    // A zone that measures nothing says so by what no board survives.
    millidegrees.filter(|value| (-40_000..150_000).contains(value)).max().map(|value| value as f32 / 1000.0)
}

/// What the firmware says of voltage and clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// The voltage is too low now.
    pub low_voltage: bool,
    /// The voltage has been too low since the start.
    pub low_voltage_before: bool,
    /// The clock is held down now, by heat or voltage.
    pub slowed: bool,
    /// The clock has been held down since the start.
    pub slowed_before: bool,
}

/// What the firmware says of voltage and clock; `None` on boards that say nothing.
pub fn throttling() -> Option<Throttling> {
    throttling_in(Path::new(THROTTLED))
}

fn throttling_in(file: &Path) -> Option<Throttling> {
    let text = fs::read_to_string(file).ok()?;
    let text = text.trim();
    let bits = u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()?;
    // Bits 1 to 3: frequency capped, throttled, soft temperature limit.
    let any = |mask: u32| bits & mask != 0;
    Some(Throttling {
        low_voltage: any(1),
        low_voltage_before: any(1 << 16),
        slowed: any(0b1110),
        slowed_before: any(0b1110 << 16),
    })
}

/// Room on the disk that `folder` lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that may be written.
    pub free: u64,
    /// Bytes in all.
    pub all: u64,
}

/// Room on the disk that `folder` lies on.
///
/// # Errors
/// When the folder is not there.
pub fn room(folder: &Path) -> io::Result<Room> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(Room { free: disk.f_bavail.saturating_mul(disk.f_frsize), all: disk.f_blocks.saturating_mul(disk.f_frsize) })
}

/// The address that this device has in its network; `None` without a network.
pub fn own_address() -> Option<IpAddr> {
    // Nothing is sent: the kernel only says which way it would go. The address is one for examples (RFC 5737).
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_zone_counts_and_nonsense_does_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(temperature_below(folder.path()), None);
        for (zone, content) in [
            ("thermal_zone0", "48312\n"),
            ("thermal_zone1", "-274000"),
            ("thermal_zone2", "x"),
            ("cooling_device0", "99000"),
        ] {
            fs::create_dir(folder.path().join(zone)).unwrap();
            fs::write(folder.path().join(zone).join("temp"), content).unwrap();
        }
        assert_eq!(temperature_below(folder.path()), Some(48.312));
    }

    #[test]
    fn the_firmwares_bits_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("get_throttled");
        assert_eq!(throttling_in(&file), None);
        let told = |text: &str| {
            fs::write(&file, text).unwrap();
            throttling_in(&file).unwrap()
        };
        assert_eq!(told("0\n"), Throttling::default());
        let low = told("50001");
        assert!(low.low_voltage && low.low_voltage_before && !low.slowed && low.slowed_before);
        let hot = told("0x8");
        assert!(hot.slowed && !hot.low_voltage && !hot.slowed_before);
    }

    #[test]
    fn room_is_that_of_the_disk() {
        let room = super::room(&std::env::temp_dir()).unwrap();
        assert!(room.all >= room.free);
        assert!(super::room(Path::new("/no/such/folder")).is_err());
    }
}
