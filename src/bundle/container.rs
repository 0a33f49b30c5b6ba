//! The container of a bundle: a POSIX ustar archive with one allowed form.
//!
//! Ordinary `tar` lists and unpacks it. The reader here is stricter: names come from a closed set and are never used as
//! paths, every header is the very header that the writer would have made, and nothing follows the end. The same
//! members therefore always give the same bytes. Must not be handed bytes whose signature has not been checked.

use std::fmt;

/// Length of a tar block in bytes (POSIX.1-1988, ustar).
const BLOCK: usize = 512;
/// Most golden films in a bundle.
pub const MAX_FILMS: u8 = 16;
/// Longest bundle that is read, in bytes.
pub const MAX_BUNDLE_BYTES: u64 = 96 << 20;

/// A file inside a bundle; the order of the variants is the order in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// What the bundle is: version, minimum program, audit figures, digests of all other members.
    Contents,
    /// The model's manifest, byte for byte as in a model directory.
    Manifest,
    /// For people.
    Card,
    /// The network.
    Network,
    /// What the network has to answer to the golden films.
    Expected,
    /// A golden film, below [`MAX_FILMS`].
    Film(u8),
}

impl Member {
    /// The member of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "bundle.json" => Some(Self::Contents),
            "manifest.json" => Some(Self::Manifest),
            "MODEL_CARD.md" => Some(Self::Card),
            "model.onnx" => Some(Self::Network),
            "golden/expected.json" => Some(Self::Expected),
            other => (0..MAX_FILMS).map(Self::Film).find(|film| film.to_string() == other),
        }
    }

    /// Longest content in bytes.
    pub fn limit(self) -> u64 {
        match self {
            Self::Contents | Self::Card | Self::Expected => 256 << 10,
            Self::Manifest | Self::Film(_) => 4 << 20,
            Self::Network => 64 << 20,
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contents => f.write_str("bundle.json"),
            Self::Manifest => f.write_str("manifest.json"),
            Self::Card => f.write_str("MODEL_CARD.md"),
            Self::Network => f.write_str("model.onnx"),
            Self::Expected => f.write_str("golden/expected.json"),
            Self::Film(number) => write!(f, "golden/{number:02}.pgm"),
        }
    }
}

/// A container that is not in the one allowed form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// Ends inside a member or before the end mark.
    #[error("the container ends at byte {length}, expected at least {expected}: it was cut short")]
    Truncated {
        /// Bytes that are there.
        length: usize,
        /// Bytes that are needed.
        expected: usize,
    },
    /// No ustar header where one has to be.
    #[error("no ustar header at byte {at}")]
    NotUstar {
        /// Offset in bytes.
        at: usize,
    },
    /// A header whose sum does not fit.
    #[error("the header at byte {at} has checksum {found:?}, expected {expected:?}")]
    Checksum {
        /// Offset in bytes.
        at: usize,
        /// As it stands there.
        found: String,
        /// As computed.
        expected: String,
    },
    /// A name that would lead somewhere else if it were a path.
    #[error("member {name:?} has a path for a name, expected a name such as model.onnx or golden/00.pgm")]
    Path {
        /// As it stands there.
        name: String,
    },
    /// A name outside the closed set.
    #[error("member {name:?} does not belong in a bundle")]
    Unknown {
        /// As it stands there.
        name: String,
    },
    /// A link, a folder, a device.
    #[error("member {name} has type {found:?}, expected a plain file ('0')")]
    Kind {
        /// Which member.
        name: Member,
        /// The type flag.
        found: char,
    },
    /// Two members of one name.
    #[error("member {0} is there twice")]
    Duplicate(Member),
    /// Members out of order.
    #[error("member {name} comes after {after}, expected it before")]
    Order {
        /// Which member.
        name: Member,
        /// What stands before it.
        after: Member,
    },
    /// More bytes than such a member ever has.
    #[error("member {name} has {found} bytes, expected at most {limit}")]
    MemberTooLarge {
        /// Which member.
        name: Member,
        /// Its length.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A header with an owner, a time, another mode or an extension.
    #[error("the header of {name} has byte {found:#04x} at offset {offset}, the only form allowed has {expected:#04x}")]
    Header {
        /// Which member.
        name: Member,
        /// Offset in the header.
        offset: usize,
        /// As it stands there.
        found: u8,
        /// As it has to be.
        expected: u8,
    },
    /// Something hidden between members.
    #[error("the padding after {name} is not zero")]
    Padding {
        /// The member before it.
        name: Member,
    },
    /// Something after the end.
    #[error("{bytes} bytes follow the end of the container")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A member that every bundle has.
    #[error("member {0} is missing")]
    Missing(Member),
}

/// Writes `members` in their order.
///
/// # Errors
/// When a member is there twice, too long, or missing.
pub fn write(members: &[(Member, &[u8])]) -> Result<Vec<u8>, ContainerError> {
    let mut sorted: Vec<_> = members.to_vec();
    sorted.sort_by_key(|(member, _)| *member);
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(ContainerError::Duplicate(pair[0].0));
    }
    let names: Vec<Member> = sorted.iter().map(|(member, _)| *member).collect();
    complete(&names)?;
    let mut bytes = Vec::new();
    for (member, content) in sorted {
        let size = content.len() as u64;
        if size > member.limit() {
            return Err(ContainerError::MemberTooLarge { name: member, found: size, limit: member.limit() });
        }
        bytes.extend_from_slice(&header(member, size));
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    Ok(bytes)
}

/// Where each member's content lies in `bytes`, in the order of the archive.
///
/// # Errors
/// When `bytes` are anything but what [`write()`] makes.
pub fn read(bytes: &[u8]) -> Result<Vec<(Member, std::ops::Range<usize>)>, ContainerError> {
    let mut members: Vec<(Member, std::ops::Range<usize>)> = Vec::new();
    let mut at = 0;
    loop {
        let block = block(bytes, at)?;
        if block.iter().all(|b| *b == 0) {
            break;
        }
        let (member, size) = entry(block, at)?;
        if members.iter().any(|(other, _)| *other == member) {
            return Err(ContainerError::Duplicate(member));
        }
        if let Some((after, _)) = members.last().filter(|(last, _)| *last > member) {
            return Err(ContainerError::Order { name: member, after: *after });
        }
        // `entry` has compared the size with a limit far below usize::MAX.
        let start = at + BLOCK;
        let end = start + size as usize;
        let next = end.next_multiple_of(BLOCK);
        let Some(padding) = bytes.get(end..next) else {
            return Err(ContainerError::Truncated { length: bytes.len(), expected: next + 2 * BLOCK });
        };
        if padding.iter().any(|b| *b != 0) {
            return Err(ContainerError::Padding { name: member });
        }
        members.push((member, start..end));
        at = next;
    }
    let end = at + 2 * BLOCK;
    if block(bytes, at + BLOCK)?.iter().any(|b| *b != 0) {
        return Err(ContainerError::Trailing { bytes: bytes.len() - at - BLOCK });
    }
    if bytes.len() > end {
        return Err(ContainerError::Trailing { bytes: bytes.len() - end });
    }
    let names: Vec<Member> = members.iter().map(|(member, _)| *member).collect();
    complete(&names)?;
    Ok(members)
}

fn complete(names: &[Member]) -> Result<(), ContainerError> {
    let needed = [Member::Contents, Member::Manifest, Member::Card, Member::Network, Member::Expected, Member::Film(0)];
    match needed.into_iter().find(|member| !names.contains(member)) {
        Some(missing) => Err(ContainerError::Missing(missing)),
        None => Ok(()),
    }
}

fn block(bytes: &[u8], at: usize) -> Result<&[u8], ContainerError> {
    bytes.get(at..at + BLOCK).ok_or(ContainerError::Truncated { length: bytes.len(), expected: at + 2 * BLOCK })
}

/// Name and size of the header `block` at byte `at`.
fn entry(block: &[u8], at: usize) -> Result<(Member, u64), ContainerError> {
    if &block[257..265] != b"ustar\x0000" {
        return Err(ContainerError::NotUstar { at });
    }
    let expected = checksum(block);
    if block[148..156] != *expected.as_bytes() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches(['\0', ' ']).to_owned();
        let (found, expected) = (text(&block[148..156]), text(expected.as_bytes()));
        return Err(ContainerError::Checksum { at, found, expected });
    }
    let name = &block[..100];
    let name = &name[..name.iter().position(|b| *b == 0).unwrap_or(name.len())];
    let name = String::from_utf8_lossy(name).into_owned();
    let Some(member) = Member::from_name(&name) else {
        let path = name.starts_with('/') || name.contains(['\\', ':']) || name.split('/').any(|part| part == "..");
        return Err(if path { ContainerError::Path { name } } else { ContainerError::Unknown { name } });
    };
    if block[156] != b'0' {
        return Err(ContainerError::Kind { name: member, found: char::from(block[156]) });
    }
    let size = octal(&block[124..135]).unwrap_or(u64::MAX);
    if size > member.limit() {
        return Err(ContainerError::MemberTooLarge { name: member, found: size, limit: member.limit() });
    }
    let only = header(member, size);
    if let Some(offset) = (0..BLOCK).find(|i| block[*i] != only[*i]) {
        let (found, expected) = (block[offset], only[offset]);
        return Err(ContainerError::Header { name: member, offset, found, expected });
    }
    Ok((member, size))
}

fn octal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// The only header that `member` can have: mode 0644, owner 0, time 0.
fn header(member: Member, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &member.to_string());
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(156, "0");
    put(257, "ustar\x0000");
    put(329, "0000000");
    put(337, "0000000");
    let sum = checksum(&block);
    block[148..156].copy_from_slice(sum.as_bytes());
    block
}

/// The header's checksum field: the sum of its bytes with the field itself as spaces.
fn checksum(block: &[u8]) -> String {
    let sum: u32 =
        block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
    format!("{sum:06o}\0 ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<(Member, &'static [u8])> {
        vec![
            (Member::Film(0), b"P5 film"),
            (Member::Contents, b"{}"),
            (Member::Manifest, b"{ }"),
            (Member::Card, b"# card"),
            (Member::Network, &[7; 600]),
            (Member::Expected, b""),
        ]
    }

    fn good() -> Vec<u8> {
        write(&members()).expect("complete")
    }

    /// Offset of a member's header.
    fn at(bytes: &[u8], member: Member) -> usize {
        let found = read(bytes).expect("a container").into_iter().find(|(m, _)| *m == member);
        found.expect("the member").1.start - BLOCK
    }

    /// Puts `change` into the header at `at` and makes its checksum fit again.
    fn altered(at: usize, offset: usize, change: &[u8]) -> Vec<u8> {
        let mut bytes = good();
        bytes[at + offset..at + offset + change.len()].copy_from_slice(change);
        let sum = checksum(&bytes[at..at + BLOCK]);
        bytes[at + 148..at + 156].copy_from_slice(sum.as_bytes());
        bytes
    }

    #[track_caller]
    fn check(bytes: &[u8], message: &str) {
        assert_eq!(read(bytes).expect_err("a refusal").to_string(), message);
    }

    #[test]
    fn what_was_written_is_read_in_the_one_order_whatever_order_it_was_given_in() {
        let bytes = good();
        let read = read(&bytes).expect("readable");
        assert!(read.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (member, content) in members() {
            let (_, range) = read.iter().find(|(m, _)| *m == member).expect("there");
            assert_eq!(&bytes[range.clone()], content, "{member}");
        }
        let mut reversed = members();
        reversed.reverse();
        assert_eq!(write(&reversed).expect("complete"), bytes);
    }

    #[test]
    fn a_container_cut_anywhere_is_refused() {
        let bytes = good();
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn every_changed_byte_of_headers_and_padding_is_refused() {
        let bytes = good();
        let contents: Vec<_> = read(&bytes).expect("readable").into_iter().map(|(_, range)| range).collect();
        let mut tried = 0;
        for at in (0..bytes.len()).filter(|at| !contents.iter().any(|range| range.contains(at))) {
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                assert!(read(&changed).is_err(), "byte {at} ^ {flip:#x}");
                tried += 1;
            }
        }
        println!("{tried} changed containers refused");
        assert!(tried > 10_000);
    }

    #[test]
    fn a_path_for_a_name_is_refused() {
        for name in ["../model.onnx", "/etc/passwd", "golden/../../x", "C:\\model.onnx"] {
            let mut field = [0; 100];
            field[..name.len()].copy_from_slice(name.as_bytes());
            let message =
                format!("member {name:?} has a path for a name, expected a name such as model.onnx or golden/00.pgm");
            check(&altered(0, 0, &field), &message);
        }
    }

    #[test]
    fn each_deviation_has_its_own_message() {
        let network = at(&good(), Member::Network);
        let mut unknown = [0; 100];
        unknown[..9].copy_from_slice(b"notes.txt");
        check(&altered(0, 0, &unknown), "member \"notes.txt\" does not belong in a bundle");
        let mut again = [0; 100];
        again[..13].copy_from_slice(b"manifest.json");
        check(&altered(network, 0, &again), "member manifest.json is there twice");
        check(&altered(network, 156, b"2"), "member model.onnx has type '2', expected a plain file ('0')");
        let huge = "member model.onnx has 8589934591 bytes, expected at most 67108864";
        check(&altered(network, 124, b"77777777777"), huge);
        let binary = "member model.onnx has 18446744073709551615 bytes, expected at most 67108864";
        check(&altered(network, 124, &[0x80; 11]), binary);
        let mode = "the header of model.onnx has byte 0x37 at offset 104, the only form allowed has 0x36";
        check(&altered(network, 104, b"7"), mode);
        let time = "the header of model.onnx has byte 0x31 at offset 146, the only form allowed has 0x30";
        check(&altered(network, 146, b"1"), time);
        let mut bytes = good();
        bytes.extend([0; BLOCK]);
        check(&bytes, "512 bytes follow the end of the container");
        let mut bytes = good();
        bytes[network + BLOCK + 601] = 1;
        check(&bytes, "the padding after model.onnx is not zero");
        let mut bytes = good();
        bytes[0] = b'B';
        check(&bytes, "the header at byte 0 has checksum \"011341\", expected \"011301\"");
        check(&[b'x'; 2 * BLOCK], "no ustar header at byte 0");
        check(b"", "the container ends at byte 0, expected at least 1024: it was cut short");
        check(&[0; 2 * BLOCK], "member bundle.json is missing");
    }

    #[test]
    fn members_out_of_order_are_refused() {
        let bytes = good();
        let (card, network) = (at(&bytes, Member::Card), at(&bytes, Member::Network));
        let mut swapped = bytes[..card].to_vec();
        let expected = at(&bytes, Member::Expected);
        swapped.extend_from_slice(&bytes[network..expected]);
        swapped.extend_from_slice(&bytes[card..network]);
        swapped.extend_from_slice(&bytes[expected..]);
        check(&swapped, "member MODEL_CARD.md comes after model.onnx, expected it before");
    }

    #[test]
    fn a_container_that_cannot_be_read_again_is_not_written() {
        let long = vec![0; (256 << 10) + 1];
        let mut members = members();
        members[1].1 = &long;
        let message = "member bundle.json has 262145 bytes, expected at most 262144";
        assert_eq!(write(&members).expect_err("a refusal").to_string(), message);
        members.remove(1);
        assert_eq!(write(&members).expect_err("a refusal").to_string(), "member bundle.json is missing");
        members.push(members[0]);
        assert_eq!(write(&members).expect_err("a refusal").to_string(), "member golden/00.pgm is there twice");
    }
}
