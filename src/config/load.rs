//! A configuration file from disk: one clear sentence if it cannot be had.
//!
//! Path: `cli` and reloads call [`load`] → [`super::read`]. The size is bounded, for a wrong path can name anything.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::source::Source;

/// Largest file in bytes; 10,000 endpoints need less than a quarter of it.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Why there is no text to read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Nothing has this name.
    #[error("{} does not exist; name the configuration file, for example `--config sidecar.yaml`", .path.display())]
    Missing {
        /// What was asked for.
        path: PathBuf,
    },
    /// A directory has this name.
    #[error("{} is a directory; name the file in it", .path.display())]
    Directory {
        /// What was asked for.
        path: PathBuf,
    },
    /// The file is not ours to read.
    #[error("{} may not be read; give this user the right to read it", .path.display())]
    Denied {
        /// What was asked for.
        path: PathBuf,
    },
    /// The system says no.
    #[error("{} cannot be read ({source}); name a readable file", .path.display())]
    Unreadable {
        /// What was asked for.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// More than [`MAX_BYTES`].
    #[error("{} is larger than 4 MiB; is it the configuration file?", .path.display())]
    TooLarge {
        /// What was asked for.
        path: PathBuf,
    },
    /// Not UTF-8.
    #[error("{} is not text: byte {offset} is not UTF-8; save it as UTF-8", .path.display())]
    NotText {
        /// What was asked for.
        path: PathBuf,
        /// The first wrong byte, from 0.
        offset: usize,
    },
}

/// Reads the file at `path`.
///
/// # Errors
/// A missing file, a directory, no right to read, more than 4 MiB, not UTF-8.
pub fn load(path: &Path) -> Result<Source, LoadError> {
    let refused = |source: std::io::Error| {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::NotFound => LoadError::Missing { path },
            ErrorKind::PermissionDenied => LoadError::Denied { path },
            _ => LoadError::Unreadable { path, source },
        }
    };
    if std::fs::metadata(path).map_err(refused)?.is_dir() {
        return Err(LoadError::Directory {
            path: path.to_owned(),
        });
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(refused)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(LoadError::TooLarge {
            path: path.to_owned(),
        });
    }
    let text = String::from_utf8(bytes).map_err(|error| LoadError::NotText {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new(".")).to_owned();
    Ok(Source {
        name: path.display().to_string(),
        directory,
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_had_is_told_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("binary", b"ab\xff");
        write("large", &vec![b'#'; 4 * 1024 * 1024 + 1]);
        for (name, said) in [
            ("missing", "missing does not exist; name"),
            ("", "is a directory; name the file in it"),
            (
                "binary",
                "binary is not text: byte 2 is not UTF-8; save it as UTF-8",
            ),
            ("large", "large is larger than 4 MiB"),
            ("binary/x", "cannot be read"),
        ] {
            let text = load(&dir.path().join(name)).unwrap_err().to_string();
            assert!(
                text.contains(said) && !text.contains('\n'),
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn references_start_at_the_files_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        std::fs::write(&path, "a: 1").unwrap();
        assert_eq!(load(&path).unwrap().directory, dir.path());
        assert_eq!(
            load(Path::new("Cargo.toml")).unwrap().directory,
            Path::new(".")
        );
    }
}
