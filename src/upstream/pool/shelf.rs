//! What one worker has put by: last in, first out, so that surplus grows old.
//!
//! Path: [`super::Pool`] has one for each worker, whose lock nobody else wants but a sweep, a count and whoever needs room.
//! What is taken out is dropped without the lock.

use super::sync::Lock;

/// Things at rest, the one used last at the end.
#[derive(Debug)]
pub(super) struct Shelf<T>(Lock<Vec<T>>);

impl<T> Shelf<T> {
    pub(super) fn new() -> Self {
        Self(Lock::new(Vec::new()))
    }

    /// The one used last that is `good`. Those above it that are not are given up.
    pub(super) fn take(&self, good: impl Fn(&T) -> bool) -> Option<T> {
        loop {
            let item = self.0.with(Vec::pop)?;
            if good(&item) {
                return Some(item);
            }
        }
    }

    /// Puts `item` on top, unless `most` are there: then it is given back.
    pub(super) fn put(&self, item: T, most: usize) -> Result<(), T> {
        self.0.with(|items| {
            if items.len() >= most {
                return Err(item);
            }
            items.push(item);
            Ok(())
        })
    }

    /// Gives up those that are not worth keeping.
    pub(super) fn sweep(&self, mut keep: impl FnMut(&mut T) -> bool) {
        let gone: Vec<T> = self
            .0
            .with(|items| items.extract_if(.., |item| !keep(item)).collect());
        drop(gone);
    }

    /// The one unused longest.
    pub(super) fn take_oldest(&self) -> Option<T> {
        self.0
            .with(|items| (!items.is_empty()).then(|| items.remove(0)))
    }

    pub(super) fn len(&self) -> usize {
        self.0.with(|items| items.len())
    }
}
