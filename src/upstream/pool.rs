//! Idle connections of one endpoint.
//!
//! Path: `proxy::attempt` takes from it, the end of an answer's body puts back. Each worker has a part of its own,
//! whose lock nobody else wants but a sweep once a second; the connection used last is taken first, so that surplus
//! ones grow old and are closed. A connection never leaves the worker whose reactor drives it.

use std::num::NonZeroU32;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::time::Instant;

use super::connection::Connection;

/// What a pool keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// Idle connections per worker.
    pub max_idle: usize,
    /// An idle connection is closed after this.
    pub idle_timeout: Duration,
    /// A connection is not used again after this.
    pub max_age: Option<Duration>,
    /// Whether header names keep their case.
    pub preserve_header_case: bool,
    /// Connections to one endpoint, of all workers together.
    pub connections: Option<NonZeroU32>,
}

impl PoolSettings {
    /// Whether `connection` may be used at `now`.
    fn allow(&self, connection: &Connection, now: Instant) -> bool {
        let idle = now.saturating_duration_since(connection.idle_since());
        let limit = connection
            .peer_idle_timeout()
            .map_or(self.idle_timeout, |peer| peer.min(self.idle_timeout));
        let age = now.saturating_duration_since(connection.opened());
        idle < limit && self.max_age.is_none_or(|max_age| age < max_age)
    }
}

/// One worker's idle connections, the one used last at the end.
#[allow(
    clippy::vec_box,
    reason = "a connection is 800 bytes and moves twice a request: its pointer moves instead"
)]
type Shard = Mutex<Vec<Box<Connection>>>;

/// The idle connections, by worker.
#[derive(Debug)]
pub struct Pool {
    shards: Box<[Shard]>,
    idle: IntGauge,
}

impl Pool {
    /// Empty, for `workers` workers.
    pub fn new(workers: usize, idle: IntGauge) -> Self {
        Self {
            shards: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            idle,
        }
    }

    /// The connection used last that may be used at `now`. Whether its peer is still there is for the caller to see.
    pub fn take(
        &self,
        worker: usize,
        now: Instant,
        settings: &PoolSettings,
    ) -> Option<Box<Connection>> {
        let mut shard = self.shard(worker)?.lock();
        while let Some(connection) = shard.pop() {
            if settings.allow(&connection, now) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps `connection`, or closes it when the pool is full or it is past its time.
    pub fn put(&self, worker: usize, connection: Box<Connection>, settings: &PoolSettings) {
        let Some(shard) = self.shard(worker) else {
            return;
        };
        if settings.allow(&connection, connection.idle_since()) {
            let mut shard = shard.lock();
            if shard.len() < settings.max_idle {
                shard.push(connection);
            }
        }
    }

    /// Closes what is past its time or was closed by its peer. Called by the worker itself, whose reactor knows.
    pub fn sweep(&self, worker: usize, now: Instant, settings: &PoolSettings) {
        let Some(shard) = self.shard(worker) else {
            return;
        };
        shard.lock().retain_mut(|connection| {
            settings.allow(connection, now) && connection.is_usable_at_rest()
        });
    }

    /// Closes one that idles, wherever it does, the one unused longest of its worker. Whether there was one.
    pub fn close_one(&self) -> bool {
        self.shards.iter().any(|shard| {
            let mut shard = shard.lock();
            let oldest = (!shard.is_empty()).then(|| shard.remove(0));
            // Closed without the lock.
            drop(shard);
            oldest.is_some()
        })
    }

    /// Idle connections of all workers; sets the gauge on the way.
    pub fn count_idle(&self) -> usize {
        let count = self.shards.iter().map(|shard| shard.lock().len()).sum();
        self.idle.set(i64::try_from(count).unwrap_or(i64::MAX));
        count
    }

    fn shard(&self, worker: usize) -> Option<&Shard> {
        self.shards.get(worker)
    }
}
