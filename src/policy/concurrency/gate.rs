//! A bounded number of permits and a bounded queue in front of them.
//!
//! While nobody waits, a permit is one atomic exchange to take and one to give back. Whoever gives one back while others
//! wait hands it to the one who waits longest, so that nobody overtakes. The number of those who wait stands in the same
//! word as the number of permits: a permit is never put down in the moment in which somebody begins to wait for it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::sync::{Arc, AtomicU64, Lock, Ordering};

/// One who waits, in the word's upper half.
const WAITING: u64 = 1 << 32;

/// Permits for a bounded number at once.
#[derive(Debug)]
pub struct Gate {
    /// Permits out in the lower half, those who wait in the upper. The upper half changes under the queue's lock only.
    word: AtomicU64,
    limit: u32,
    places: u32,
    queue: Lock<VecDeque<Arc<Waiter>>>,
}

/// The right to be under way; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
}

/// What a gate says.
#[derive(Debug)]
pub enum Entry {
    /// Go on.
    Now(Permit),
    /// Wait here.
    Later(Queued),
}

/// All permits are out and all places in the queue are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A place in the queue; gives the permit. Dropping it gives up the place.
#[derive(Debug)]
pub struct Queued {
    gate: Arc<Gate>,
    waiter: Arc<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    state: Lock<State>,
}

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    /// A permit is there and not yet taken up.
    Granted,
    /// Taken up or left.
    Gone,
}

impl Gate {
    /// `limit` permits, and a queue of `places`, which may be none.
    pub fn new(limit: u32, places: u32) -> Self {
        Self {
            word: AtomicU64::new(0),
            limit,
            places,
            queue: Lock::new(VecDeque::new()),
        }
    }

    /// Asks to go on.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn enter(self: &Arc<Self>) -> Result<Entry, Full> {
        if self.take() {
            return Ok(Entry::Now(self.permit()));
        }
        if self.places == 0 {
            return Err(Full);
        }
        self.queue.with(|queue| self.enqueue(queue))
    }

    /// Takes a permit if one is left and nobody waits.
    fn take(&self) -> bool {
        let free = |word: u64| (word < u64::from(self.limit)).then_some(word + 1);
        self.word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, free)
            .is_ok()
    }

    fn enqueue(self: &Arc<Self>, queue: &mut VecDeque<Arc<Waiter>>) -> Result<Entry, Full> {
        let limit = u64::from(self.limit);
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let next = match word {
                // Given back since we looked.
                word if word < limit => word + 1,
                word if word >> 32 >= u64::from(self.places) => return Err(Full),
                word => word + WAITING,
            };
            match (self.word).compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if word < limit => return Ok(Entry::Now(self.permit())),
                Ok(_) => break,
                Err(other) => word = other,
            }
        }
        let waiter = Arc::new(Waiter {
            state: Lock::new(State::Waiting(None)),
        });
        queue.push_back(Arc::clone(&waiter));
        Ok(Entry::Later(Queued {
            gate: Arc::clone(self),
            waiter,
        }))
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit {
            gate: Arc::clone(self),
        }
    }

    fn give_back(&self) {
        let nobody_waits = |word: u64| (word >> 32 == 0).then(|| word.saturating_sub(1));
        let put_down = || {
            self.word
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, nobody_waits)
                .is_ok()
        };
        while !put_down() {
            // Whoever left since is not in the queue anymore, and then the word says so: look again.
            let next = self.queue.with(|queue| {
                let next = queue.pop_front()?;
                self.word.fetch_sub(WAITING, Ordering::AcqRel);
                Some(next.grant())
            });
            if let Some(waker) = next {
                waker.into_iter().for_each(Waker::wake);
                return;
            }
        }
    }

    /// Permits out.
    pub fn in_flight(&self) -> u32 {
        low(self.word.load(Ordering::Relaxed))
    }

    /// Places taken in the queue.
    pub fn waiting(&self) -> u32 {
        low(self.word.load(Ordering::Relaxed) >> 32)
    }

    /// How many permits there are.
    pub fn limit(&self) -> u32 {
        self.limit
    }
}

fn low(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.give_back();
    }
}

impl Waiter {
    /// Hands the permit over; the waker is to be called outside of all locks.
    fn grant(&self) -> Option<Waker> {
        self.state.with(|state| {
            match std::mem::replace(state, State::Granted) {
                State::Waiting(waker) => waker,
                // Both leave the queue before they become so.
                State::Granted | State::Gone => None,
            }
        })
    }
}

impl Future for Queued {
    type Output = Permit;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let granted = self.waiter.state.with(|state| match state {
            State::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                false
            }
            State::Granted => {
                *state = State::Gone;
                true
            }
            State::Gone => false,
        });
        if granted {
            Poll::Ready(self.gate.permit())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let taken_up = |state: &mut State| matches!(state, State::Gone);
        if self.waiter.state.with(taken_up) {
            return;
        }
        let left = self.gate.queue.with(|queue| {
            let place = queue
                .iter()
                .position(|waiter| Arc::ptr_eq(waiter, &self.waiter));
            if let Some(place) = place {
                queue.remove(place);
                self.gate.word.fetch_sub(WAITING, Ordering::AcqRel);
            }
            // Whoever is not in the queue was granted a permit, under the same lock.
            (self.waiter.state).with(|state| std::mem::replace(state, State::Gone))
        });
        if matches!(left, State::Granted) {
            self.gate.give_back();
        }
    }
}
