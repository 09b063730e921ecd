//! What is known of each key: a number that says when its bucket is full again.
//!
//! Path: governor asks through `Store`. Keys are hashes with a seed that no client knows, so each costs the same and
//! none can be aimed at. Their number is bounded: a new one beyond the bound takes the place of that one among a few drawn
//! at random whose bucket is full again first. Whoever is being limited has the emptiest bucket and is forgotten last;
//! a flood of keys that are used once pushes out itself. Shards keep workers out of each other's way.

use std::cell::Cell;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;
use indexmap::IndexMap;
use parking_lot::Mutex;

/// Small tables have one shard, so that their bound is exact.
const SHARDS: usize = 16;
const SMALL: usize = 1024;

/// Candidates for eviction: with so many, the one taken is among the fullest fifth four times in five.
const DRAWN: u32 = 8;

/// All keys of one rule.
#[derive(Debug)]
pub(super) enum Table {
    /// One bucket for all; holds the time at which it is full.
    Single(AtomicU64),
    /// One for each.
    Keyed(Keyed),
}

/// Key → time at which its bucket is full, in nanoseconds since the limiter's epoch.
type Shard = Mutex<IndexMap<u64, u64, BuildHasherDefault<AsIs>>>;

#[derive(Debug)]
pub(super) struct Keyed {
    shards: Box<[Shard]>,
    max_keys: usize,
    keys: AtomicUsize,
    evictions: AtomicU64,
}

/// A key at a moment, and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    key: u64,
    now: u64,
    backlog: Cell<u64>,
}

impl Slot {
    pub(super) fn new(key: u64, now: u64) -> Self {
        Self {
            key,
            now,
            backlog: Cell::new(0),
        }
    }

    /// How far beyond `now` the bucket is full again.
    pub(super) fn backlog(&self) -> u64 {
        self.backlog.get()
    }

    /// What stands in the table.
    pub(super) fn mark(&self) -> u64 {
        self.now.saturating_add(self.backlog.get())
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Slot {}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.key);
    }
}

/// The table as governor wants it.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) table: Arc<Table>,
    /// Added to every backlog on its way to governor, whose buckets hold whole tokens only.
    pub(super) slack: u64,
}

impl StateStore for Store {
    type Key = Slot;

    fn measure_and_replace<T, F, E>(&self, slot: &Slot, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let measured = |full_at: u64| {
            let backlog = full_at.saturating_sub(slot.now);
            slot.backlog.set(backlog);
            let shown = Nanos::new(backlog.saturating_add(self.slack));
            let (outcome, next) = decide(Some(shown))?;
            slot.backlog.set(next.as_u64().saturating_sub(self.slack));
            Ok((outcome, slot.mark()))
        };
        match &*self.table {
            Table::Single(full_at) => replace(full_at, measured),
            Table::Keyed(keyed) => keyed.replace(slot.key, measured),
        }
    }
}

fn replace<T, E>(cell: &AtomicU64, measured: impl Fn(u64) -> Result<(T, u64), E>) -> Result<T, E> {
    let mut seen = cell.load(Ordering::Acquire);
    loop {
        let (outcome, next) = measured(seen)?;
        match cell.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(outcome),
            Err(other) => seen = other,
        }
    }
}

impl Table {
    pub(super) fn single() -> Self {
        Self::Single(AtomicU64::new(0))
    }

    pub(super) fn keyed(max_keys: usize) -> Self {
        let max_keys = max_keys.max(1);
        let shards = if max_keys < SMALL { 1 } else { SHARDS };
        Self::Keyed(Keyed {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            max_keys,
            keys: AtomicUsize::new(0),
            evictions: AtomicU64::new(0),
        })
    }

    /// Moves the time at which `key`'s bucket is full towards now.
    pub(super) fn lower(&self, key: u64, by: u64) {
        self.change(key, |full_at| full_at.saturating_sub(by));
    }

    /// [`Self::lower`] if nothing has moved it since it was `mark`.
    pub(super) fn lower_if(&self, key: u64, mark: u64, by: u64) {
        self.change(key, |full_at| {
            if full_at == mark {
                full_at.saturating_sub(by)
            } else {
                full_at
            }
        });
    }

    fn change(&self, key: u64, change: impl Fn(u64) -> u64) {
        match self {
            Self::Single(cell) => {
                // Never `None`, so never an error.
                let _ = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full_at| {
                    Some(change(full_at))
                });
            }
            Self::Keyed(keyed) => {
                if let Some(shard) = keyed.shard(key)
                    && let Some(full_at) = shard.lock().get_mut(&key)
                {
                    *full_at = change(*full_at);
                }
            }
        }
    }

    pub(super) fn sweep(&self, now: u64) {
        if let Self::Keyed(keyed) = self {
            keyed.sweep(now);
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Single(_) => 1,
            Self::Keyed(keyed) => keyed.keys.load(Ordering::Relaxed),
        }
    }

    pub(super) fn evictions(&self) -> u64 {
        match self {
            Self::Single(_) => 0,
            Self::Keyed(keyed) => keyed.evictions.load(Ordering::Relaxed),
        }
    }
}

impl Keyed {
    fn replace<T, E>(
        &self,
        key: u64,
        measured: impl Fn(u64) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        let Some(shard) = self.shard(key) else {
            return measured(0).map(|(outcome, _)| outcome);
        };
        let mut shard = shard.lock();
        if let Some(full_at) = shard.get_mut(&key) {
            let (outcome, next) = measured(*full_at)?;
            *full_at = next;
            return Ok(outcome);
        }
        let (outcome, next) = measured(0)?;
        self.make_room(&mut shard, key);
        shard.insert(key, next);
        Ok(outcome)
    }

    /// Counts one key more, and forgets another where the bound is reached.
    fn make_room(&self, shard: &mut IndexMap<u64, u64, BuildHasherDefault<AsIs>>, key: u64) {
        if self.keys.fetch_add(1, Ordering::Relaxed) < self.max_keys {
            return;
        }
        let draw = |turn: u32| {
            let random = usize::try_from(key.rotate_left(turn * 8 + 5)).unwrap_or_default();
            let index = random.checked_rem(shard.len())?;
            shard.get_index(index).map(|(_, full_at)| (*full_at, index))
        };
        // A shard that holds none yet may have one all the same.
        if let Some((_, index)) = (0..DRAWN).filter_map(draw).min() {
            shard.swap_remove_index(index);
            self.keys.fetch_sub(1, Ordering::Relaxed);
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sweep(&self, now: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let before = shard.len();
            shard.retain(|_, full_at| *full_at > now);
            self.keys.fetch_sub(before - shard.len(), Ordering::Relaxed);
            if shard.capacity() / 4 > shard.len() {
                let room = shard.len() * 2;
                shard.shrink_to(room);
            }
        }
    }

    fn shard(&self, key: u64) -> Option<&Shard> {
        // The map uses the low and the topmost bits.
        let index = usize::try_from(key >> 40).unwrap_or_default();
        self.shards.get(index.checked_rem(self.shards.len())?)
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
impl Table {
    /// Keys for which there is memory.
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Single(_) => 1,
            Self::Keyed(keyed) => (keyed.shards.iter())
                .map(|shard| shard.lock().capacity())
                .sum(),
        }
    }
}
