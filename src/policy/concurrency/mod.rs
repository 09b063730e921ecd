//! How many may be under way at once.
//!
//! Path: `upstream::request_limit` puts names, metrics and time around a [`Gate`]; `proxy::admit` holds its permits in the
//! exchange, to the end of the answer's body.

mod gate;
#[cfg(test)]
mod model;
mod sync;

pub use gate::{Entry, Full, Gate, Permit, Queued};

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn gate(limit: u32, places: u32) -> Arc<Gate> {
        Arc::new(Gate::new(limit, places))
    }

    fn now(gate: &Arc<Gate>) -> Permit {
        match gate.enter() {
            Ok(Entry::Now(permit)) => permit,
            other => panic!("{other:?}"),
        }
    }

    fn later(gate: &Arc<Gate>) -> Pin<Box<Queued>> {
        match gate.enter() {
            Ok(Entry::Later(queued)) => Box::pin(queued),
            other => panic!("{other:?}"),
        }
    }

    fn poll(queued: &mut Pin<Box<Queued>>) -> Option<Permit> {
        match queued
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    #[test]
    fn no_more_than_the_limit_go_on_and_no_more_than_the_places_wait() {
        let gate = gate(2, 1);
        let (one, _two) = (now(&gate), now(&gate));
        let mut waiting = later(&gate);
        assert_eq!(gate.enter().unwrap_err(), Full);
        assert_eq!((gate.in_flight(), gate.waiting()), (2, 1));
        assert!(poll(&mut waiting).is_none());
        drop(one);
        let permit = poll(&mut waiting);
        assert!(permit.is_some());
        assert_eq!((gate.in_flight(), gate.waiting()), (2, 0));
    }

    #[test]
    fn first_come_first_served() {
        let gate = gate(1, 9);
        let mut permit = now(&gate);
        let mut waiting: Vec<_> = (0..5).map(|_| later(&gate)).collect();
        while !waiting.is_empty() {
            drop(permit);
            let served: Vec<_> = waiting.iter_mut().map(poll).collect();
            assert!(served[1..].iter().all(Option::is_none));
            permit = served.into_iter().next().flatten().expect("the first");
            drop(waiting.remove(0));
        }
        drop(permit);
        assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
    }

    #[test]
    fn whoever_leaves_frees_the_place_and_hands_on_what_was_granted() {
        let gate = gate(1, 2);
        let permit = now(&gate);
        let (first, mut second) = (later(&gate), later(&gate));
        drop(first);
        let third = later(&gate);
        drop(permit);
        drop(third);
        assert_eq!(gate.waiting(), 0);
        let granted = poll(&mut second).expect("handed over");
        let (fourth, mut fifth) = (later(&gate), later(&gate));
        drop(granted);
        drop(fourth);
        assert!(poll(&mut fifth).is_some(), "handed on");
    }

    #[test]
    fn a_place_given_up_after_its_end_gives_nothing_back_twice() {
        let gate = gate(1, 1);
        let permit = now(&gate);
        let mut waiting = later(&gate);
        drop(permit);
        let permit = poll(&mut waiting).unwrap();
        drop(waiting);
        assert_eq!(gate.in_flight(), 1);
        drop(permit);
        assert_eq!(gate.in_flight(), 0);
    }
}
