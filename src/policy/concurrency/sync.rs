//! What the gate is made of. The model puts primitives in their place whose interleavings it explores.

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicU64, Ordering};

/// A lock that is never held across a wait.
#[derive(Debug, Default)]
pub(super) struct Lock<T>(parking_lot::Mutex<T>);

impl<T> Lock<T> {
    pub(super) fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    pub(super) fn with<R>(&self, action: impl FnOnce(&mut T) -> R) -> R {
        action(&mut self.0.lock())
    }
}
