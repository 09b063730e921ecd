//! The open connections of one worker, and their timers.
//!
//! Path: [`super::worker`] registers each connection and calls [`Registry::sweep`] a few times a second; orders go
//! through [`super::state`]. A limit is exceeded by one sweep's interval at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::state::{ConnState, Order, Phase};
use crate::snapshot::{ListenerId, ListenerTimeouts};

/// How long a draining connection without a request stays open, so that a request already on its way is answered and
/// told to go elsewhere, not met by a closed door.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// The open connections of one worker.
#[derive(Debug, Default)]
pub struct Registry {
    entries: Mutex<HashMap<u64, Entry, RandomState>>,
    next: AtomicU64,
    draining: AtomicBool,
    first: Notify,
}

#[derive(Debug)]
struct Entry {
    state: Arc<ConnState>,
    /// What the sweep saw last, and since when it has seen nothing else.
    changes: u32,
    phase: Phase,
    since: Instant,
    draining_since: Option<Instant>,
}

/// Takes the connection out of the registry when dropped.
#[derive(Debug)]
pub struct Registration<'a> {
    registry: &'a Registry,
    key: u64,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.registry.entries.lock().remove(&self.key);
    }
}

impl Registry {
    /// Adds a connection accepted at `now`.
    pub fn register(&self, state: &Arc<ConnState>, now: Instant) -> Registration<'_> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            state: Arc::clone(state),
            changes: state.changes(),
            phase: state.phase(),
            since: now,
            draining_since: None,
        };
        let mut entries = self.entries.lock();
        entries.insert(key, entry);
        if entries.len() == 1 {
            self.first.notify_one();
        }
        drop(entries);
        if self.draining.load(Ordering::Acquire) {
            state.drain();
        }
        Registration {
            registry: self,
            key,
        }
    }

    /// Completes when there is a connection after there was none.
    pub async fn first(&self) {
        self.first.notified().await;
    }

    /// Open connections.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.lock().is_empty()
    }

    /// Ends all connections, those still to come included, when that costs nobody an answer.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.entries
            .lock()
            .values()
            .for_each(|entry| entry.state.drain());
    }

    /// Ends the connections of one listener likewise.
    pub fn drain_listener(&self, listener: ListenerId) {
        let entries = self.entries.lock();
        entries
            .values()
            .filter(|entry| entry.state.listener == listener)
            .for_each(|entry| entry.state.drain());
    }

    /// Ends all connections now.
    pub fn cut(&self) {
        self.entries
            .lock()
            .values()
            .for_each(|entry| entry.state.give(Order::Cut));
    }

    /// Looks at every connection at `now`; `timeouts` tells the limits of a listener.
    pub fn sweep(&self, now: Instant, timeouts: impl Fn(ListenerId) -> Option<ListenerTimeouts>) {
        for entry in self.entries.lock().values_mut() {
            entry.state.look();
            if let Some(order) = entry.look(now, &timeouts) {
                entry.state.give(order);
            }
        }
    }
}

impl Entry {
    fn look(
        &mut self,
        now: Instant,
        timeouts: &impl Fn(ListenerId) -> Option<ListenerTimeouts>,
    ) -> Option<Order> {
        let (changes, phase) = (self.state.changes(), self.state.phase());
        if changes != self.changes || phase != self.phase {
            (self.changes, self.phase, self.since) = (changes, phase, now);
        }
        if self.state.is_draining() {
            let begun = *self.draining_since.get_or_insert(now);
            match phase {
                // A head that is half read is still served: hyper finishes what has begun.
                Phase::Idle | Phase::Head
                    if now.saturating_duration_since(begun.max(self.since)) >= DRAIN_GRACE =>
                {
                    return Some(Order::Finish);
                }
                Phase::Idle | Phase::Head | Phase::Active | Phase::Blocked => {}
            }
        }
        let unchanged = now.saturating_duration_since(self.since);
        let limits = timeouts(self.state.listener).unwrap_or_default();
        match phase {
            Phase::Head => (unchanged >= limits.request_header).then_some(Order::HeaderTimeout),
            Phase::Idle | Phase::Blocked => {
                (unchanged >= limits.idle).then_some(Order::IdleTimeout)
            }
            Phase::Active => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::ConnObserver;

    const LISTENER: ListenerId = ListenerId(1);

    fn limits(_: ListenerId) -> Option<ListenerTimeouts> {
        Some(ListenerTimeouts {
            request_header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            tls_handshake: Duration::from_secs(10),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_own_limit() {
        let registry = Registry::default();
        let state = Arc::new(ConnState::new(LISTENER));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let _registration = registry.register(&state, start);
        registry.sweep(at(9), limits);
        assert_eq!(state.order(), Order::Serve, "a head may take ten seconds");
        state.exchange_started();
        registry.sweep(at(500), limits);
        assert_eq!(
            state.order(),
            Order::Serve,
            "a request is not the connection's business"
        );
        state.exchange_ended();
        registry.sweep(at(501), limits);
        registry.sweep(at(560), limits);
        assert_eq!(state.order(), Order::Serve);
        registry.sweep(at(561), limits);
        assert_eq!(state.order(), Order::IdleTimeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_cut_even_if_bytes_keep_coming() {
        let registry = Registry::default();
        let state = Arc::new(ConnState::new(LISTENER));
        let start = Instant::now();
        let _registration = registry.register(&state, start);
        for second in 0..=10 {
            state.bytes_read();
            registry.sweep(start + Duration::from_secs(second), limits);
        }
        assert_eq!(state.order(), Order::HeaderTimeout);
    }

    #[tokio::test(start_paused = true)]
    async fn draining_leaves_an_idle_connection_a_moment() {
        let registry = Registry::default();
        let state = Arc::new(ConnState::new(LISTENER));
        let start = Instant::now();
        let _registration = registry.register(&state, start);
        state.exchange_started();
        state.exchange_ended();
        registry.drain();
        registry.sweep(start, limits);
        assert_eq!(state.order(), Order::Serve);
        registry.sweep(start + DRAIN_GRACE, limits);
        assert_eq!(state.order(), Order::Finish);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_ended_is_forgotten() {
        let registry = Registry::default();
        let state = Arc::new(ConnState::new(LISTENER));
        drop(registry.register(&state, Instant::now()));
        assert!(registry.is_empty());
    }
}
