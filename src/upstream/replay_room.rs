//! Memory for request bodies that another attempt may have to send again.
//!
//! Path: [`super::request_body`] keeps what goes by. One room for the whole process: when it is full, bodies are no longer
//! kept, which costs a retry and not the request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::policy::retry::Replayable;

/// What all kept bodies together may take: half a thousand of the largest that are kept by default.
pub const CAPACITY: usize = 32 * 1024 * 1024;

/// The bytes that all kept bodies take.
#[derive(Debug)]
pub struct ReplayRoom {
    used: AtomicUsize,
    capacity: usize,
}

impl ReplayRoom {
    /// Room for `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            capacity,
        }
    }

    /// Bytes taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.capacity;
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

/// The beginning of one body.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    limit: usize,
    replayable: Replayable,
    room: Arc<ReplayRoom>,
}

impl Kept {
    /// Nothing yet, `limit` bytes at most.
    pub(super) fn new(limit: usize, room: &Arc<ReplayRoom>) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            replayable: Replayable::Yes,
            room: Arc::clone(room),
        }
    }

    /// Copies `data`: a frame is a part of a larger buffer, which it would keep from being freed.
    pub(super) fn push(&mut self, data: &[u8]) {
        if self.replayable != Replayable::Yes {
            return;
        }
        if self.bytes.len().saturating_add(data.len()) > self.limit {
            self.give_up(Replayable::TooLarge);
        } else if self.room.take(data.len()) {
            self.bytes.extend_from_slice(data);
        } else {
            self.give_up(Replayable::NoMemory);
        }
    }

    pub(super) fn give_up(&mut self, why: Replayable) {
        self.room
            .used
            .fetch_sub(self.bytes.len(), Ordering::Relaxed);
        self.bytes = Vec::new();
        self.replayable = why;
    }

    pub(super) fn replayable(&self) -> Replayable {
        self.replayable
    }

    pub(super) fn copy(&self) -> Bytes {
        Bytes::copy_from_slice(&self.bytes)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.give_up(Replayable::Lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_given_back() {
        let room = Arc::new(ReplayRoom::new(100));
        let mut kept = Kept::new(60, &room);
        kept.push(&[1; 50]);
        assert_eq!((room.used(), kept.copy().len()), (50, 50));
        kept.push(&[1; 11]);
        assert_eq!(kept.replayable(), Replayable::TooLarge);
        assert_eq!((room.used(), kept.copy().len()), (0, 0));
        kept.push(&[1]);
        assert_eq!(room.used(), 0, "a body without its beginning is of no use");
    }

    #[test]
    fn a_full_room_keeps_nothing_more_and_loses_no_count() {
        let room = Arc::new(ReplayRoom::new(100));
        let mut first = Kept::new(90, &room);
        first.push(&[1; 90]);
        let mut second = Kept::new(90, &room);
        second.push(&[1; 20]);
        assert_eq!(second.replayable(), Replayable::NoMemory);
        drop(first);
        assert_eq!(room.used(), 0);
        let mut third = Kept::new(90, &room);
        third.push(&[1; 20]);
        assert_eq!(third.replayable(), Replayable::Yes);
        drop(third);
        assert_eq!(room.used(), 0);
    }
}
