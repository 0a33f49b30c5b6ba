//! The keyboard of the terminal that the program runs in.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::domain::Key;
use crate::ports::{DeviceError, Keys};

/// The terminal of the process, whatever its input and output lead to.
const TERMINAL: &str = "/dev/tty";

/// How long the rest of a key's sequence may take; an escape that stays alone for so long is the key.
const REST: Duration = Duration::from_millis(50);

/// Reads keys from the terminal, which shows none of them while this lives.
pub struct TerminalKeys {
    terminal: File,
    before: Termios,
    keys: Vec<(String, Key)>,
    typed: VecDeque<u8>,
}

impl TerminalKeys {
    /// Takes the terminal's keyboard; `keys` are names of [`crate::config::KEY_NAMES`] and what they mean.
    ///
    /// # Errors
    /// When the program does not run in a terminal.
    pub fn open(keys: &[(String, Key)]) -> Result<Self, DeviceError> {
        let failed = |error: io::Error| {
            let told = format!("{error}; the program has to run in a terminal for keyboard.device = \"terminal\"");
            DeviceError::new("open", TERMINAL, told)
        };
        let terminal = File::options().read(true).write(true).open(TERMINAL).map_err(failed)?;
        let before = tcgetattr(&terminal).map_err(|error| failed(error.into()))?;
        let mut raw = before.clone();
        // Every key at once and unseen; Ctrl-C still ends the program.
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Flush, &raw).map_err(|error| failed(error.into()))?;
        Ok(Self { terminal, before, keys: keys.to_vec(), typed: VecDeque::new() })
    }

    /// Reads what was typed; whether there was something within `timeout`.
    fn read(&mut self, timeout: Duration) -> Result<bool, DeviceError> {
        let failed = |error: io::Error| DeviceError::new("read", TERMINAL, error);
        let mut fds = [PollFd::new(&self.terminal, PollFlags::IN)];
        match poll(&mut fds, Timespec::try_from(timeout).ok().as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let mut bytes = [0; 64];
        match rustix::io::read(&self.terminal, &mut bytes) {
            Ok(0) => Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed"))),
            Ok(count) => {
                self.typed.extend(&bytes[..count]);
                Ok(true)
            }
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(failed(error.into())),
        }
    }
}

impl Keys for TerminalKeys {
    fn wait(&mut self, timeout: Duration) -> Result<Option<Key>, DeviceError> {
        let end = Instant::now() + timeout;
        loop {
            let complete = match next(&self.typed) {
                Next::Nothing => None,
                Next::Key(name, length) => Some((Some(name), length)),
                Next::Other(length) => Some((None, length)),
                // More may be under way.
                Next::Unfinished => {
                    if self.read(REST)? {
                        continue;
                    }
                    // A lone escape is the key; the start of a sequence that never came is nothing.
                    Some(((self.typed.len() == 1).then(|| "esc".to_owned()), self.typed.len()))
                }
            };
            match complete {
                Some((name, length)) => {
                    self.typed.drain(..length);
                    let key = name.and_then(|name| self.keys.iter().find(|(own, _)| *own == name).map(|(_, key)| *key));
                    if key.is_some() {
                        return Ok(key);
                    }
                }
                None => {
                    let left = end.saturating_duration_since(Instant::now());
                    if !self.read(left)? && Instant::now() >= end {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

impl Drop for TerminalKeys {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before) {
            log::warn!("the terminal stays without echo ({error}); `stty sane` brings it back");
        }
    }
}

/// What stands at the start of what was typed.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    /// A key by its name, and how many bytes it took.
    Key(String, usize),
    /// Something without a name, of so many bytes.
    Other(usize),
    /// The start of a sequence.
    Unfinished,
}

/// Takes apart what terminals send (ECMA-48, and what xterm, the Linux console and screen make of it).
fn next(typed: &VecDeque<u8>) -> Next {
    let key = |name: &str, length| Next::Key(name.to_owned(), length);
    match typed.front() {
        None => Next::Nothing,
        Some(b'\r' | b'\n') => key("enter", 1),
        Some(b' ') => key("space", 1),
        Some(b'\t') => key("tab", 1),
        Some(0x7f | 0x08) => key("backspace", 1),
        Some(0x1b) => match typed.get(1) {
            None => Next::Unfinished,
            // CSI: parameters, then one final byte. SS3: one byte.
            Some(b'[') => {
                let body = typed.iter().skip(2).take_while(|byte| (0x20..0x40).contains(*byte)).count();
                match typed.get(2 + body) {
                    None if body < 16 => Next::Unfinished,
                    None => Next::Other(2 + body),
                    // The Linux console sends function keys as `[[A`.
                    Some(b'[') if body == 0 => {
                        if typed.len() > 3 {
                            Next::Other(4)
                        } else {
                            Next::Unfinished
                        }
                    }
                    Some(last) => {
                        let parameters: Vec<u8> = typed.iter().skip(2).take(body).copied().collect();
                        named(&parameters, *last).map_or(Next::Other(3 + body), |name| key(name, 3 + body))
                    }
                }
            }
            Some(b'O') => match typed.get(2) {
                None => Next::Unfinished,
                Some(last) => named(&[], *last).map_or(Next::Other(3), |name| key(name, 3)),
            },
            // An escape before another key.
            Some(_) => key("esc", 1),
        },
        Some(byte) if byte.is_ascii_lowercase() || byte.is_ascii_digit() => key(&char::from(*byte).to_string(), 1),
        Some(byte) if byte.is_ascii_uppercase() => key(&char::from(byte.to_ascii_lowercase()).to_string(), 1),
        Some(_) => Next::Other(1),
    }
}

fn named(parameters: &[u8], last: u8) -> Option<&'static str> {
    match (parameters, last) {
        // With Shift or Ctrl they come as `1;2A`: still the same key.
        (_, b'A') => Some("up"),
        (_, b'B') => Some("down"),
        (_, b'C') => Some("right"),
        (_, b'D') => Some("left"),
        (_, b'H') | (b"1" | b"7", b'~') => Some("home"),
        (_, b'F') | (b"4" | b"8", b'~') => Some("end"),
        (b"5", b'~') => Some("pageup"),
        (b"6", b'~') => Some("pagedown"),
        (_, b'M') => Some("enter"),
        (_, b'Z') => Some("tab"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is complete in `text`, by name, and what is left.
    fn names(text: &[u8]) -> (Vec<String>, usize) {
        let mut typed: VecDeque<u8> = text.iter().copied().collect();
        let mut names = Vec::new();
        loop {
            let length = match next(&typed) {
                Next::Nothing | Next::Unfinished => return (names, typed.len()),
                Next::Key(name, length) => {
                    names.push(name);
                    length
                }
                Next::Other(length) => length,
            };
            typed.drain(..length);
        }
    }

    #[track_caller]
    fn check(text: &[u8], expected: &[&str], left: usize) {
        let (names, rest) = names(text);
        assert_eq!((names.iter().map(String::as_str).collect::<Vec<_>>(), rest), (expected.to_vec(), left), "{text:?}");
    }

    #[test]
    fn keys_of_common_terminals_are_known() {
        check(b"\x1b[A\x1b[B\x1b[C\x1b[D", &["up", "down", "right", "left"], 0);
        check(b"\x1bOA\x1bOB\x1bOC\x1bOD\x1bOM", &["up", "down", "right", "left", "enter"], 0);
        check(b"\x1b[5~\x1b[6~\x1b[1~\x1b[4~\x1b[H\x1b[F", &["pageup", "pagedown", "home", "end", "home", "end"], 0);
        check(b"\r\n \t\x7f\x08qQ7", &["enter", "enter", "space", "tab", "backspace", "backspace", "q", "q", "7"], 0);
        check(b"\x1b[1;5C", &["right"], 0);
    }

    #[test]
    fn what_has_no_name_is_passed_over_whole() {
        check(b"\x1b[15~\x1b[[A\x1b[200~n", &["n"], 0);
        check("ü€n".as_bytes(), &["n"], 0);
        check(b"\x01\x1b[3~;x", &["x"], 0);
    }

    #[test]
    fn an_escape_may_be_a_key_or_the_start_of_one() {
        check(b"\x1b", &[], 1);
        check(b"\x1b[", &[], 2);
        check(b"\x1b[1;", &[], 4);
        check(b"\x1b\x1b[A", &["esc", "up"], 0);
        check(b"\x1bn", &["esc", "n"], 0);
    }

    #[test]
    fn no_bytes_stop_the_reader() {
        let mut noise = super::super::damage::tests::Noise(43);
        for _ in 0..2000 {
            let text: Vec<u8> = (0..noise.below(40)).map(|_| b"\x1b[O0;A~\xffn"[noise.below(9) as usize]).collect();
            let (_, left) = names(&text);
            assert!(left <= 18, "{left} bytes wait for more in {text:?}");
        }
    }
}
