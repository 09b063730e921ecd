//! What a connection's timers need to know, kept without looking at a clock.
//!
//! Path: [`super::io`] and the exchanges note what happens with plain stores; [`super::registry`] looks at every
//! connection a few times a second, sees what has not changed since, and gives orders. So a request sets no timer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::task::Waker;

use crate::proxy::ConnObserver;
use crate::snapshot::ListenerId;
use crate::telemetry::protocol::Offence;

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Go on.
    Serve,
    /// End after the requests under way.
    Finish,
    /// End now: no complete head in time.
    HeaderTimeout,
    /// End now: idle, or the peer does not read.
    IdleTimeout,
    /// End now: the peer asks for work and has no use for it.
    Abuse,
    /// End now: the drain's time is up.
    Cut,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A head is awaited or half read.
    Head,
    /// A request is under way.
    Active,
    /// Between requests.
    Idle,
    /// Bytes wait for a peer that does not read.
    Blocked,
}

/// The state of one connection.
#[derive(Debug)]
pub struct ConnState {
    /// Through which listener it came.
    pub listener: ListenerId,
    /// Wakes the connection's task, as often as it has to be.
    waker: OnceLock<Waker>,
    order: AtomicU8,
    changes: AtomicU32,
    in_flight: AtomicU32,
    head_begun: AtomicBool,
    blocked: AtomicBool,
    draining: AtomicBool,
    /// HTTP/2 keeps its own peace between requests: a ping is not a half-read head.
    multiplexed: AtomicBool,
    /// HTTP/2 streams whose windows may be what an answer waits for.
    offered: AtomicU32,
    /// The kind of the HTTP/2 frame that came last.
    last_frame: AtomicU8,
    /// Requests begun.
    served: AtomicU32,
    /// The first offence found, and the number of its request; see [`packed`]. 0: none.
    offence: AtomicU64,
    /// Its task is to be woken when somebody next looks at it.
    awaited: AtomicBool,
    /// The last answer went out before its request was read to the end.
    unread: AtomicBool,
}

impl ConnState {
    /// A connection from which nothing has been read.
    pub fn new(listener: ListenerId) -> Self {
        Self {
            listener,
            waker: OnceLock::new(),
            order: AtomicU8::new(Order::Serve as u8),
            changes: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            head_begun: AtomicBool::new(true),
            blocked: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            offered: AtomicU32::new(0),
            last_frame: AtomicU8::new(0),
            served: AtomicU32::new(0),
            offence: AtomicU64::new(0),
            awaited: AtomicBool::new(false),
            unread: AtomicBool::new(false),
        }
    }

    /// Notes that the peer speaks HTTP/2: its connection is begun, and may idle before its first request, too.
    pub fn set_multiplexed(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
        self.head_begun.store(false, Ordering::Relaxed);
        self.changed();
    }

    /// Notes that a handshake is under way, which has a deadline of its own: until it ends, the connection counts as busy.
    pub fn handshake_begun(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.changed();
    }

    /// Notes its end: a head is awaited.
    pub fn handshake_ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.changed();
    }

    /// Notes bytes from the peer.
    pub fn bytes_read(&self) {
        let begun = self.head_begun.load(Ordering::Relaxed) || self.is_active();
        if !begun && !self.multiplexed.load(Ordering::Relaxed) {
            self.head_begun.store(true, Ordering::Relaxed);
            self.changed();
        }
    }

    /// Notes whether the peer takes what is written.
    pub fn write_blocked(&self, blocked: bool) {
        if self.blocked.load(Ordering::Relaxed) || blocked {
            self.blocked.store(blocked, Ordering::Relaxed);
            if !blocked {
                self.changed();
            }
        }
    }

    /// Notes an offence in the request of that `number`, from 1. The first one counts.
    pub fn offend(&self, number: u32, offence: Offence) {
        if self.offence.load(Ordering::Relaxed) == 0 {
            let packed = packed(number, offence);
            self.offence.store(packed, Ordering::Relaxed);
        }
    }

    /// Notes the kind of the HTTP/2 frame that came last.
    pub fn saw_frame(&self, kind: u8) {
        self.last_frame.store(kind, Ordering::Relaxed);
    }

    /// The kind of the HTTP/2 frame that came last.
    pub fn last_frame(&self) -> u8 {
        self.last_frame.load(Ordering::Relaxed)
    }

    /// The offence noted, whichever request it is in.
    pub fn any_offence(&self) -> Option<Offence> {
        let packed = self.offence.load(Ordering::Relaxed);
        let place = usize::try_from((packed & 0xff).checked_sub(1)?).ok()?;
        Offence::ALL.get(place).copied()
    }

    /// Gives an order; a stronger one is not taken back.
    pub fn give(&self, order: Order) {
        if self.order.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.wake();
        }
    }

    /// Notes whom to wake: a task's waker is the same for its whole life. What was ordered before is seen by a look at
    /// [`Self::order`] after this.
    pub fn serve_by(&self, waker: &Waker) {
        let _ = self.waker.set(waker.clone());
        // Either side sees what the other has written first.
        fence(Ordering::SeqCst);
    }

    fn wake(&self) {
        fence(Ordering::SeqCst);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// The order in force.
    pub fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Finish,
            2 => Order::HeaderTimeout,
            3 => Order::IdleTimeout,
            4 => Order::Abuse,
            _ => Order::Cut,
        }
    }

    /// The connection is to end when that costs nobody an answer: at once if the protocol can say so by itself,
    /// otherwise with the next answer, which says so.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        if self.multiplexed.load(Ordering::Relaxed) {
            self.give(Order::Finish);
        }
    }

    /// Whether it is draining.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Wakes its task if that has asked for it.
    pub fn look(&self) {
        if self.awaited.load(Ordering::Relaxed) {
            self.awaited.store(false, Ordering::Relaxed);
            self.wake();
        }
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        if self.blocked.load(Ordering::Relaxed) || self.offered.load(Ordering::Relaxed) > 0 {
            Phase::Blocked
        } else if self.is_active() {
            Phase::Active
        } else if self.head_begun.load(Ordering::Relaxed) {
            Phase::Head
        } else {
            Phase::Idle
        }
    }

    /// Whether a request is under way.
    pub fn is_active(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Whether the peer may still be sending what nobody has read.
    pub fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// A number that is another whenever something has happened.
    pub fn changes(&self) -> u32 {
        self.changes.load(Ordering::Relaxed)
    }

    fn changed(&self) {
        // Only the connection's own tasks write, all on one worker: no need for an atomic addition.
        let changes = self.changes.load(Ordering::Relaxed).wrapping_add(1);
        self.changes.store(changes, Ordering::Relaxed);
    }
}

impl ConnObserver for ConnState {
    fn exchange_started(&self) {
        // As in `changed`: no need for an atomic addition.
        let served = self.served.load(Ordering::Relaxed).wrapping_add(1);
        self.served.store(served, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.head_begun.store(false, Ordering::Relaxed);
        self.unread.store(false, Ordering::Relaxed);
        self.changed();
        if self.is_draining() && self.multiplexed.load(Ordering::Relaxed) {
            self.give(Order::Finish);
        }
    }

    fn answer_offered(&self) {
        // HTTP/1 has the socket to wait for, and nothing else.
        if self.multiplexed.load(Ordering::Relaxed) {
            let offered = self.offered.load(Ordering::Relaxed).wrapping_add(1);
            self.offered.store(offered, Ordering::Relaxed);
            self.changed();
        }
    }

    fn answer_taken(&self) {
        if self.multiplexed.load(Ordering::Relaxed) {
            let offered = self.offered.load(Ordering::Relaxed).saturating_sub(1);
            self.offered.store(offered, Ordering::Relaxed);
            self.changed();
        }
    }

    fn looks_again(&self) -> bool {
        // Streams of HTTP/2 have tasks of their own, which nobody here knows.
        let alone = !self.multiplexed.load(Ordering::Relaxed);
        self.awaited.store(alone, Ordering::Relaxed);
        alone
    }

    fn exchange_ended(&self) {
        self.awaited.store(false, Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.changed();
    }

    fn says_good_bye(&self) -> bool {
        self.is_draining() && !self.multiplexed.load(Ordering::Relaxed)
    }

    fn offence(&self) -> Option<Offence> {
        let packed = self.offence.load(Ordering::Relaxed);
        let number = packed >> 8;
        if packed == 0 || number != u64::from(self.served.load(Ordering::Relaxed)) {
            return None;
        }
        self.any_offence()
    }

    fn left_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }
}

/// Never 0.
fn packed(number: u32, offence: Offence) -> u64 {
    u64::from(number) << 8 | (offence as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stronger_order_is_not_taken_back() {
        let state = ConnState::new(ListenerId(0));
        state.give(Order::Cut);
        state.give(Order::Finish);
        assert_eq!(state.order(), Order::Cut);
    }

    #[test]
    fn the_task_is_woken_for_each_order() {
        struct Count(AtomicU32);
        impl std::task::Wake for Count {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = std::sync::Arc::new(Count(AtomicU32::new(0)));
        let state = ConnState::new(ListenerId(0));
        state.serve_by(&Waker::from(std::sync::Arc::clone(&count)));
        state.give(Order::Finish);
        state.give(Order::Finish);
        state.give(Order::Cut);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_wait_is_looked_at_once_for_each_wish() {
        let state = ConnState::new(ListenerId(0));
        assert!(state.looks_again());
        assert!(state.awaited.load(Ordering::Relaxed));
        state.look();
        assert!(!state.awaited.load(Ordering::Relaxed));
        state.set_multiplexed();
        assert!(!state.looks_again(), "streams have tasks of their own");
    }

    #[test]
    fn an_offence_is_found_in_its_own_request() {
        let state = ConnState::new(ListenerId(0));
        state.exchange_started();
        assert_eq!(state.offence(), None);
        state.offend(2, Offence::BareLf);
        state.offend(3, Offence::Chunk);
        assert_eq!(state.offence(), None);
        state.exchange_started();
        assert_eq!(state.offence(), Some(Offence::BareLf));
        state.exchange_started();
        assert_eq!(state.offence(), None, "the first one counts");
    }

    #[test]
    fn phases_follow_what_happens() {
        let state = ConnState::new(ListenerId(0));
        assert_eq!(state.phase(), Phase::Head);
        state.exchange_started();
        assert_eq!(state.phase(), Phase::Active);
        state.write_blocked(true);
        assert_eq!(state.phase(), Phase::Blocked);
        state.write_blocked(false);
        state.exchange_ended();
        assert_eq!(state.phase(), Phase::Idle);
        state.bytes_read();
        assert_eq!(state.phase(), Phase::Head);
    }

    #[test]
    fn a_draining_connection_says_good_bye_with_its_next_answer() {
        let state = ConnState::new(ListenerId(0));
        state.exchange_started();
        assert!(!state.says_good_bye());
        state.drain();
        assert_eq!(state.order(), Order::Serve);
        assert!(state.says_good_bye());
        let state = ConnState::new(ListenerId(0));
        state.set_multiplexed();
        state.drain();
        assert_eq!(state.order(), Order::Finish);
        assert!(!state.says_good_bye(), "HTTP/2 has its own way");
    }
}
