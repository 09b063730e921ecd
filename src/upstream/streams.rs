//! The HTTP/2 connections of one endpoint, and who opens another.
//!
//! Path: [`super::carrier`] asks for a stream. Each worker has connections of its own. The oldest that has room is taken,
//! so that surplus ones empty and grow old.
//!
//! While a connection is being opened, as many requests wait for it as its streams will probably hold; only what goes
//! beyond opens another. Nobody waits twice for one that failed: then each request tries for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::connect::{ConnectError, Opening};
use super::endpoint::Endpoint;
use super::http2::{Http2Settings, Shared, Stream};
use super::pool::PoolSettings;

/// The connections of one worker.
#[derive(Debug)]
pub struct Streams {
    state: Mutex<State>,
    /// A connection was opened or not, or a stream ended.
    changed: Arc<Notify>,
    /// Streams that the newest connection could have.
    expected: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<Arc<Shared>>,
    opening: usize,
    waiting: usize,
    failed: u64,
}

/// What a request does next.
enum Turn {
    Use(Stream),
    Open,
    Wait,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: Arc::default(),
            expected: AtomicUsize::new(usize::MAX),
        }
    }
}

impl Streams {
    /// A stream on a connection that is open, or on one that is opened for it by `end`.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn take(
        &self,
        endpoint: &Arc<Endpoint>,
        opening: Opening<'_>,
    ) -> Result<Stream, ConnectError> {
        let end = Instant::now() + opening.whole();
        let seen = self.state.lock().failed;
        let mut full = false;
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            match self.turn(opening.settings, (seen, full)) {
                Turn::Use(stream) => return Ok(stream),
                Turn::Open => match self.open(endpoint, opening).await {
                    // All that may be open are: one of them has to become free.
                    Err(ConnectError::Full) if !self.state.lock().open.is_empty() => full = true,
                    opened => return opened,
                },
                Turn::Wait => {
                    let _waiting = Waiting(&self.state);
                    if timeout_at(end, changed).await.is_err() {
                        return Err(if full {
                            ConnectError::Full
                        } else {
                            ConnectError::Timeout(opening.whole())
                        });
                    }
                }
            }
        }
    }

    /// A stream on a connection that is open.
    pub fn ready(&self, settings: &PoolSettings, now: Instant) -> Option<Stream> {
        self.state.lock().ready(settings, now, &self.changed)
    }

    fn turn(&self, settings: &PoolSettings, (seen, full): (u64, bool)) -> Turn {
        let mut state = self.state.lock();
        if let Some(stream) = state.ready(settings, Instant::now(), &self.changed) {
            return Turn::Use(stream);
        }
        // Those who open have a stream of theirs already.
        let each = self
            .expected
            .load(Ordering::Relaxed)
            .min(settings.http2.max_streams);
        let room = state.opening.saturating_mul(each.saturating_sub(1));
        if (full && !state.open.is_empty()) || (state.failed == seen && state.waiting < room) {
            state.waiting += 1;
            return Turn::Wait;
        }
        state.opening += 1;
        Turn::Open
    }

    async fn open(
        &self,
        endpoint: &Arc<Endpoint>,
        opening: Opening<'_>,
    ) -> Result<Stream, ConnectError> {
        let mut outcome = Outcome {
            streams: self,
            failed: false,
        };
        let shared = match opening.http2(endpoint).await {
            Ok(shared) => Arc::new(shared),
            Err(error) => {
                outcome.failed = true;
                return Err(error);
            }
        };
        let settings = &opening.settings.http2;
        self.expected
            .store(shared.most(settings).max(1), Ordering::Relaxed);
        let stream = shared.stream(settings).ok_or(ConnectError::NoStreams)?;
        self.state.lock().open.push(shared);
        Ok(stream.tell(Arc::clone(&self.changed)))
    }

    /// Closes what is past its time or was closed by its peer.
    pub fn sweep(&self, now: Instant, settings: &PoolSettings) {
        let keep = |shared: &Arc<Shared>| {
            let idles = shared
                .idle_since()
                .is_some_and(|since| now.saturating_duration_since(since) >= settings.idle_timeout);
            !idles && may_serve(shared, now, settings)
        };
        let mut state = self.state.lock();
        let gone: Vec<_> = state.open.extract_if(.., |shared| !keep(shared)).collect();
        drop(state);
        drop(gone);
    }

    /// Closes one on which there is no stream.
    pub fn close_one(&self) -> bool {
        let mut state = self.state.lock();
        let idle = state.open.iter().position(|it| it.used() == 0);
        idle.map(|index| state.open.remove(index)).is_some()
    }

    /// Connections and streams.
    pub fn count(&self) -> (usize, usize) {
        let state = self.state.lock();
        (
            state.open.len(),
            state.open.iter().map(|shared| shared.used()).sum(),
        )
    }
}

impl State {
    fn ready(
        &mut self,
        settings: &PoolSettings,
        now: Instant,
        freed: &Arc<Notify>,
    ) -> Option<Stream> {
        // What has ended or grown old serves those who have it, and goes with them.
        self.open.retain(|shared| may_serve(shared, now, settings));
        let http2: &Http2Settings = &settings.http2;
        let stream = self.open.iter().find_map(|shared| shared.stream(http2))?;
        Some(stream.tell(Arc::clone(freed)))
    }
}

fn may_serve(shared: &Shared, now: Instant, settings: &PoolSettings) -> bool {
    let age = now.saturating_duration_since(shared.opened());
    !shared.has_ended() && settings.max_age.is_none_or(|max_age| age < max_age)
}

/// One who waits, counted by [`Streams::turn`].
struct Waiting<'a>(&'a Mutex<State>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

/// Tells those who wait what became of it, also when whoever opened has gone.
struct Outcome<'a> {
    streams: &'a Streams,
    failed: bool,
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        let mut state = self.streams.state.lock();
        state.opening -= 1;
        state.failed += u64::from(self.failed);
        drop(state);
        self.streams.changed.notify_waiters();
    }
}
