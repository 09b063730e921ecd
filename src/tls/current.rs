//! What was read from files last, and whether they say something else now.
//!
//! Path: [`super::server`] and [`super::client`] keep what they use in here; `snapshot` renews it with each configuration
//! and `app` whenever files change. What cannot be used leaves what there was, and is told once, until the files change
//! again. The files are marked before they are read: who writes in between is seen the next time.

use std::hash::Hasher;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use super::files::{self, Trouble};

/// What became of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// They say what they said before.
    Same,
    /// They were read for the first time.
    First,
    /// They say something else, which is used from now on.
    Renewed,
    /// They cannot be used; what there was before stays.
    Refused(Trouble),
}

/// What is used, for new handshakes.
#[derive(Debug)]
pub(super) struct Current<T> {
    config: ArcSwapOption<T>,
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    mark: Option<u64>,
    expiries: Vec<i64>,
}

/// What was read, and when its certificates end, in seconds since 1970.
pub(super) type Fresh<T> = (T, Vec<i64>);

impl<T> Default for Current<T> {
    fn default() -> Self {
        Self {
            config: ArcSwapOption::empty(),
            read: Mutex::default(),
        }
    }
}

impl<T> Current<T> {
    /// `None`: nothing that could be used was ever read.
    pub(super) fn get(&self) -> Option<Arc<T>> {
        self.config.load_full()
    }

    /// When the certificates in use end, in seconds since 1970.
    pub(super) fn expiries(&self) -> Vec<i64> {
        self.read.lock().expiries.clone()
    }

    /// Calls `read` if one of `files` is another than before.
    pub(super) fn renew<'a>(
        &self,
        files: impl Iterator<Item = &'a Path>,
        read: impl FnOnce() -> Result<Fresh<T>, Trouble>,
    ) -> Renewal {
        // Held meanwhile: what was read last is what is used.
        let mut known = self.read.lock();
        let mark = Some(mark(files));
        if known.mark == mark {
            return Renewal::Same;
        }
        known.mark = mark;
        match read() {
            Err(trouble) => Renewal::Refused(trouble),
            Ok((config, expiries)) => {
                known.expiries = expiries;
                match self.config.swap(Some(Arc::new(config))) {
                    None => Renewal::First,
                    Some(_) => Renewal::Renewed,
                }
            }
        }
    }
}

/// Another one when a file has another content, comes or goes.
fn mark<'a>(files: impl Iterator<Item = &'a Path>) -> u64 {
    let mut hash = Xxh3::new();
    for file in files {
        match files::read(file) {
            Ok(content) => {
                hash.write_usize(content.len());
                hash.write(&content);
            }
            Err(trouble) => hash.write(trouble.what.as_bytes()),
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_again_when_they_change_and_only_then() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let current = Current::<usize>::default();
        let renew = |read: Result<Fresh<usize>, Trouble>| {
            let files = [path.as_path()];
            current.renew(files.into_iter(), || read)
        };
        let trouble = Trouble {
            path: path.clone(),
            what: "is not good".into(),
            remedy: "",
        };
        assert_eq!(
            renew(Err(trouble.clone())),
            Renewal::Refused(trouble.clone())
        );
        assert!(current.get().is_none());
        assert_eq!(
            renew(Ok((1, vec![7]))),
            Renewal::Same,
            "it is as missing as before"
        );
        std::fs::write(&path, "one").unwrap();
        assert_eq!(renew(Ok((1, vec![7]))), Renewal::First);
        assert_eq!(renew(Ok((2, vec![8]))), Renewal::Same);
        std::fs::write(&path, "two").unwrap();
        assert_eq!(renew(Err(trouble.clone())), Renewal::Refused(trouble));
        assert_eq!(
            (current.get(), current.expiries()),
            (Some(1.into()), vec![7])
        );
        std::fs::write(&path, "one").unwrap();
        assert_eq!(renew(Ok((1, vec![7]))), Renewal::Renewed, "and back");
    }
}
