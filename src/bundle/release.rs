//! Opens what may be named as a model: a model directory, a bundle, or a folder with one bundle in it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use super::container::MAX_BUNDLE_BYTES;
use super::directory::open_directory;
use super::directory::{CARD, MANIFEST, MANIFEST_DIGEST, ModelError, NETWORK, VerifiedModel, digest_line};
use super::key_list::KeyList;
use super::signature::MAX_SIGNATURES_BYTES;
use super::verified::{Policy, VerifiedBundle, verify};

/// Name of the bundle in a folder that is named as a model.
pub const BUNDLE: &str = "model.lbx";

/// A model that was named, verified.
#[derive(Debug)]
pub enum Opened {
    /// From a model directory, which nobody signed: its digests fit.
    Directory(VerifiedModel),
    /// From a bundle whose signatures suffice.
    Bundle(VerifiedBundle),
}

impl Opened {
    /// The model alone.
    pub fn into_model(self) -> VerifiedModel {
        match self {
            Self::Directory(model) => model,
            Self::Bundle(bundle) => bundle.into_parts().model,
        }
    }
}

/// Reads and verifies the model at `path`; a bundle has to be signed as the key list of this program demands.
///
/// # Errors
/// As [`open_with`].
pub fn open(path: &Path) -> Result<VerifiedModel, ModelError> {
    let refused = |source| ModelError::Bundle { path: path.to_owned(), source };
    let trusted = KeyList::built_in().map_err(|error| refused(error.into()))?;
    Ok(open_with(path, &trusted, &Policy::default())?.into_model())
}

/// Reads and verifies the model at `path`; a bundle has to be signed as `trusted` demands.
///
/// # Errors
/// When a file is missing, too long, has another digest than it should, or is not signed as it has to be; or when
/// what was verified is not understood.
pub fn open_with(path: &Path, trusted: &KeyList, policy: &Policy) -> Result<Opened, ModelError> {
    match bundle_at(path) {
        Some(file) => open_bundle(&file, trusted, policy).map(Opened::Bundle),
        None => open_directory(path).map(Opened::Directory),
    }
}

/// The bundle that `path` names, if it is not a model directory.
pub fn bundle_at(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        let inside = path.join(BUNDLE);
        return (!path.join(MANIFEST).exists() && inside.exists()).then_some(inside);
    }
    path.exists().then(|| path.to_owned())
}

/// Reads and verifies a bundle that came from outside, with its signatures beside it.
///
/// # Errors
/// When it cannot be read or is refused.
pub fn open_bundle(path: &Path, trusted: &KeyList, policy: &Policy) -> Result<VerifiedBundle, ModelError> {
    let bytes = read_limited(path, MAX_BUNDLE_BYTES)?;
    let signatures = read_limited(&with_ending(path, "minisig"), MAX_SIGNATURES_BYTES)?;
    verify(bytes, signatures, trusted, policy).map_err(|source| ModelError::Bundle { path: path.to_owned(), source })
}

/// Writes the model in `bundle` as a model directory, and its golden films beside it.
///
/// # Errors
/// When there is something at `out` already, or it cannot be written.
pub fn unpack(bundle: &VerifiedBundle, out: &Path) -> Result<(), ModelError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ModelError::Write { path, source }
    };
    fs::create_dir(out).map_err(failed(out))?;
    let golden = out.join("golden");
    fs::create_dir(&golden).map_err(failed(&golden))?;
    let members = bundle.members();
    let manifest = members.iter().find(|(name, _)| name == MANIFEST).map_or(&[][..], |(_, bytes)| bytes);
    for (name, bytes) in &members {
        // Names come from a closed set, whatever the bundle says.
        let wanted = [MANIFEST, NETWORK, CARD].contains(&name.as_str()) || name.ends_with(".pgm");
        if wanted {
            let path = out.join(name);
            fs::write(&path, bytes).map_err(failed(&path))?;
        }
    }
    let path = out.join(MANIFEST_DIGEST);
    fs::write(&path, digest_line(manifest)).map_err(failed(&path))
}

/// `a/b.lbx` and `minisig` make `a/b.lbx.minisig`.
pub fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// The whole of a regular file, at most `limit` bytes.
///
/// # Errors
/// When it cannot be read, is no regular file, or is longer.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, ModelError> {
    let failed = |source| ModelError::ReadBundle { path: path.to_owned(), source };
    // Asked before opening: opening a pipe would wait for its other end.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length > limit {
        return Err(ModelError::TooLarge { path: path.to_owned(), limit });
    }
    let mut bytes = vec![0; length as usize];
    read_halves(&file, &mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Fills `bytes` from the beginning of a file. Two threads share what is long: most of the time goes into finding memory.
fn read_halves(file: &File, bytes: &mut [u8]) -> io::Result<()> {
    const LONG: usize = 1 << 20;
    if bytes.len() < LONG {
        return file.read_exact_at(bytes, 0);
    }
    let (first, second) = bytes.split_at_mut(bytes.len() / 2);
    let middle = first.len() as u64;
    thread::scope(|scope| {
        let second = scope.spawn(move || file.read_exact_at(second, middle));
        file.read_exact_at(first, 0)?;
        second.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_added_and_never_replaces_one() {
        assert_eq!(with_ending(Path::new("a/b.lbx"), "minisig"), Path::new("a/b.lbx.minisig"));
    }

    #[test]
    fn a_folder_is_a_model_directory_or_has_a_bundle() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(bundle_at(folder.path()), None);
        assert_eq!(bundle_at(&folder.path().join("none")), None);
        let inside = folder.path().join(BUNDLE);
        fs::write(&inside, b"x").expect("written");
        assert_eq!(bundle_at(folder.path()), Some(inside.clone()));
        assert_eq!(bundle_at(&inside), Some(inside));
        fs::write(folder.path().join(MANIFEST), b"{}").expect("written");
        assert_eq!(bundle_at(folder.path()), None);
    }

    #[test]
    fn what_is_no_regular_file_or_too_long_is_not_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = read_limited(folder.path(), 10).expect_err("a folder").to_string();
        assert!(error.contains("not a regular file"), "{error}");
        let path = folder.path().join("long");
        fs::write(&path, b"12345").expect("written");
        assert_eq!(read_limited(&path, 5).expect("fits"), b"12345");
        assert!(read_limited(&path, 4).expect_err("too long").to_string().ends_with("has more than 4 bytes"));
    }

    #[test]
    fn a_long_file_is_read_whole_and_in_order() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("long");
        for length in [0, 1, (1 << 20) - 1, 1 << 20, (3 << 20) + 7] {
            let content: Vec<u8> = (0..length as u32).map(|i| (i % 251) as u8).collect();
            fs::write(&path, &content).expect("written");
            assert!(read_limited(&path, length).expect("fits") == content, "{length} bytes");
        }
    }
}
