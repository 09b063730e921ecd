//! Idle connections of one endpoint.
//!
//! Path: `proxy::attempt` takes from it, the end of an answer's body puts back. Each worker has a part of its own,
//! whose lock nobody else wants but a sweep once a second; the connection used last is taken first, so that surplus
//! ones grow old and are closed. A connection never leaves the worker whose reactor drives it.

#[cfg(test)]
mod model;
mod shelf;
mod sync;

use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::time::Instant;

use super::connection::Connection;
use super::http2::Http2Settings;
use super::streams::Streams;
use shelf::Shelf;

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
    /// How HTTP/2 is spoken.
    pub http2: Http2Settings,
    /// What the head of an answer may be, on connections opened from now on.
    pub head: HeadLimits,
}

/// How large the head of an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Its bytes, at least 8 KiB.
    pub bytes: usize,
    /// Its header lines.
    pub lines: usize,
}

impl HeadLimits {
    /// What holds unless the file says otherwise.
    pub const DEFAULT: Self = Self {
        bytes: 64 * 1024,
        lines: 100,
    };
}

impl PoolSettings {
    /// Whether `connection` may be used at `now`.
    fn allow(&self, connection: &Connection, now: Instant) -> bool {
        let idle = now.saturating_duration_since(connection.idle_since());
        idle < self.idle_limit(connection) && self.is_young(connection, now)
    }

    /// Whether `connection`, which idles from now on, may be used at all.
    fn keep(&self, connection: &Connection) -> bool {
        !self.idle_limit(connection).is_zero() && self.is_young(connection, connection.idle_since())
    }

    fn idle_limit(&self, connection: &Connection) -> Duration {
        let peer = connection.peer_idle_timeout();
        peer.map_or(self.idle_timeout, |peer| peer.min(self.idle_timeout))
    }

    fn is_young(&self, connection: &Connection, now: Instant) -> bool {
        let age = || now.saturating_duration_since(connection.opened());
        self.max_age.is_none_or(|max_age| age() < max_age)
    }
}

/// The idle connections, by worker.
#[derive(Debug)]
pub struct Pool {
    /// Boxed, for a connection is 800 bytes and moves twice a request.
    shards: Box<[Shelf<Box<Connection>>]>,
    /// Those of HTTP/2, made when the first of them is wanted.
    streams: OnceLock<Box<[Streams]>>,
    idle: IntGauge,
}

impl Pool {
    /// Empty, for `workers` workers.
    pub fn new(workers: usize, idle: IntGauge) -> Self {
        Self {
            shards: (0..workers.max(1)).map(|_| Shelf::new()).collect(),
            streams: OnceLock::new(),
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
        self.shard(worker)?
            .take(|connection| settings.allow(connection, now))
    }

    /// Keeps `connection`, or closes it when the pool is full or it is past its time.
    pub fn put(&self, worker: usize, connection: Box<Connection>, settings: &PoolSettings) {
        let Some(shard) = self.shard(worker) else {
            return;
        };
        if settings.keep(&connection) {
            // One too many is closed by being dropped.
            drop(shard.put(connection, settings.max_idle));
        }
    }

    /// Closes what is past its time or was closed by its peer. Called by the worker itself, whose reactor knows.
    pub fn sweep(&self, worker: usize, now: Instant, settings: &PoolSettings) {
        let Some(shard) = self.shard(worker) else {
            return;
        };
        shard.sweep(|connection| settings.allow(connection, now) && connection.is_usable_at_rest());
        if let Some(streams) = self.streams.get().and_then(|it| it.get(worker)) {
            streams.sweep(now, settings);
        }
    }

    /// Closes one that idles, wherever it does, the one unused longest of its worker. Whether there was one.
    pub fn close_one(&self) -> bool {
        let mut shards = self.shards.iter();
        let mut streams = self.streams.get().into_iter().flatten();
        shards.any(|shard| shard.take_oldest().is_some()) || streams.any(Streams::close_one)
    }

    /// The HTTP/2 connections of `worker`.
    pub fn streams(&self, worker: usize) -> Option<&Streams> {
        let made = || self.shards.iter().map(|_| Streams::default()).collect();
        self.streams.get_or_init(made).get(worker)
    }

    /// HTTP/2 connections of all workers, and the streams on them.
    pub fn count_streams(&self) -> (usize, usize) {
        let counts = self.streams.get().into_iter().flatten().map(Streams::count);
        counts.fold((0, 0), |(connections, streams), (more, used)| {
            (connections + more, streams + used)
        })
    }

    /// Idle connections of all workers; sets the gauge on the way.
    pub fn count_idle(&self) -> usize {
        let count = self.shards.iter().map(Shelf::len).sum();
        self.idle.set(i64::try_from(count).unwrap_or(i64::MAX));
        count
    }

    fn shard(&self, worker: usize) -> Option<&Shelf<Box<Connection>>> {
        self.shards.get(worker)
    }
}
