//! What a shelf is made of. The model puts a lock in its place whose interleavings it explores.

/// A lock that is never held across a wait.
#[derive(Debug)]
pub(super) struct Lock<T>(parking_lot::Mutex<T>);

impl<T> Lock<T> {
    pub(super) fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    pub(super) fn with<R>(&self, action: impl FnOnce(&mut T) -> R) -> R {
        action(&mut self.0.lock())
    }
}
