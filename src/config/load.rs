//! A path → the file's text, or one line on why not.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::source::Source;

/// A file of 10,000 endpoints has some 400 KiB; what is larger is not a configuration.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Why a file's text could not be had. Each says the path and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing is there.
    #[error("{path}: this file does not exist; check the path, or begin with config/minimal.yaml", path = .0.display())]
    Missing(PathBuf),
    /// A directory or device is there.
    #[error("{path}: this is not a file; name the file in it", path = .0.display())]
    NotAFile(PathBuf),
    /// This user may not.
    #[error("{path}: this file may not be read; let the user of this process read it", path = .0.display())]
    Denied(PathBuf),
    /// More than [`MAX_FILE`].
    #[error("{path}: this file has {size}; a configuration has at most 4 MiB: is it the right file?", path = .path.display(), size = size(*.bytes))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Not UTF-8.
    #[error("{path}:{line}: this is not UTF-8 text; save the file as UTF-8", path = .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line of the first byte that is none.
        line: usize,
    },
    /// Anything else the system said.
    #[error("{path}: this file cannot be read: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

fn size(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}

/// Reads the text of the file at `path`. Blocks.
///
/// # Errors
/// See [`LoadError`].
pub fn load(path: &Path) -> Result<Source, LoadError> {
    let refused = |error| refuse(path, error);
    let meta = std::fs::metadata(path).map_err(refused)?;
    if !meta.is_file() {
        return Err(LoadError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(refused)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(refused)?;
    let length = bytes.len() as u64;
    if length > MAX_FILE {
        return Err(LoadError::TooLarge {
            path: path.to_owned(),
            bytes: meta.len().max(length),
        });
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        LoadError::NotText {
            path: path.to_owned(),
            line,
        }
    })?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.map_or_else(|| PathBuf::from("."), Path::to_owned);
    Ok(Source {
        name: path.display().to_string(),
        directory,
        text,
    })
}

fn refuse(path: &Path, source: io::Error) -> LoadError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => LoadError::Missing(path),
        io::ErrorKind::PermissionDenied => LoadError::Denied(path),
        io::ErrorKind::NotADirectory => LoadError::Missing(path),
        _ => LoadError::Unreadable { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_file_is_told_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let big = file("big.yaml", &vec![b'a'; 10 * 1024 * 1024]);
        let latin = file("latin.yaml", b"a: 1\nb: caf\xe9\n");
        for (path, part) in [
            (dir.path().join("none.yaml"), "does not exist"),
            (dir.path().to_owned(), "is not a file"),
            (big, "has 10 MiB"),
            (latin, "latin.yaml:2: this is not UTF-8"),
        ] {
            let message = load(&path).unwrap_err().to_string();
            assert!(
                message.contains(part) && !message.contains('\n'),
                "{message}"
            );
        }
    }

    #[test]
    fn references_start_at_the_directory_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        std::fs::write(&path, "a: 1").unwrap();
        assert_eq!(load(&path).unwrap().directory, dir.path());
    }
}
