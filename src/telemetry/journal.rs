//! What changed, in order: the configuration, breakers, endpoints.
//!
//! Path: whoever changes its state appends a [`Change`]; `/events` on the control address shows and streams them. A change
//! is rare, so one lock is enough. Bounded: the oldest events make room, and whoever reads too slowly finds that numbers
//! are missing.

use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;

use super::time::write_rfc3339;

/// Events kept.
pub const KEPT: usize = 1024;

/// Characters kept of a text: a cause may quote what an endpoint or a file said.
const TEXT: usize = 300;

/// What an event is about; a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A configuration is in force.
    ConfigApplied,
    /// A configuration was refused.
    ConfigRefused,
    /// Files that `tls` names have changed and are in use.
    TlsRenewed,
    /// Files that `tls` names have changed and cannot be used.
    TlsRefused,
    /// A circuit breaker went to another state.
    CircuitBreaker,
    /// An endpoint was ejected, or came back.
    Ejection,
    /// A health check changed its mind.
    Health,
    /// The process began or ended to drain.
    Drain,
    /// The endpoints of an upstream are others now.
    Discovery,
}

impl Kind {
    /// The word in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigApplied => "config_applied",
            Self::ConfigRefused => "config_refused",
            Self::TlsRenewed => "tls_renewed",
            Self::TlsRefused => "tls_refused",
            Self::CircuitBreaker => "circuit_breaker",
            Self::Ejection => "ejection",
            Self::Health => "health",
            Self::Drain => "drain",
            Self::Discovery => "discovery",
        }
    }
}

/// Something went from one state to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub kind: Kind,
    /// What changed: `upstreams.pay`, `upstreams.pay.endpoints.10.0.0.5:8443`, `config`.
    pub subject: String,
    /// Before.
    pub from: String,
    /// After.
    pub to: String,
    /// Why.
    pub cause: String,
}

/// A change with its number and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// From 1, without gaps.
    pub seq: u64,
    /// When it was appended.
    pub at: SystemTime,
    /// What changed.
    pub change: Change,
}

impl Event {
    /// One line of JSON, with its end.
    pub fn line(&self) -> String {
        let mut time = Vec::new();
        write_rfc3339(&mut time, self.at);
        let Change {
            kind,
            subject,
            from,
            to,
            cause,
        } = &self.change;
        let line = json!({
            "seq": self.seq,
            "time": String::from_utf8_lossy(&time),
            "kind": kind.as_str(),
            "subject": subject,
            "from": from,
            "to": to,
            "cause": cause,
        });
        format!("{line}\n")
    }
}

/// What a reader gets who has seen everything up to a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Events that it missed because they had to make room.
    pub missed: u64,
    /// What comes next, in order.
    pub events: Vec<Event>,
}

/// The last events.
#[derive(Debug)]
pub struct Journal {
    events: Mutex<VecDeque<Event>>,
    latest: watch::Sender<u64>,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            events: Mutex::default(),
            latest: watch::Sender::new(0),
        }
    }
}

impl Journal {
    /// Adds a change; gives its number.
    pub fn append(&self, mut change: Change) -> u64 {
        shorten(&mut change.subject);
        shorten(&mut change.cause);
        let mut events = self.events.lock();
        let seq = events.back().map_or(1, |last| last.seq + 1);
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(Event {
            seq,
            at: SystemTime::now(),
            change,
        });
        // Under the lock, so that the numbers that are told never go back.
        self.latest.send_replace(seq);
        seq
    }

    /// At most `limit` events after number `seen`.
    pub fn after(&self, seen: u64, limit: usize) -> Batch {
        let events = self.events.lock();
        let oldest = events.front().map_or(1, |first| first.seq);
        let next = seen.saturating_add(1).max(oldest);
        let skip = usize::try_from(next - oldest).unwrap_or(usize::MAX);
        Batch {
            missed: next - seen.saturating_add(1),
            events: events.iter().skip(skip).take(limit).cloned().collect(),
        }
    }

    /// Tells the number of the latest event, now and whenever there is another.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }
}

fn shorten(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(TEXT) {
        text.truncate(at);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(cause: &str) -> Change {
        Change {
            kind: Kind::CircuitBreaker,
            subject: "upstreams.pay".into(),
            from: "closed".into(),
            to: "open".into(),
            cause: cause.into(),
        }
    }

    #[test]
    fn events_are_numbered_without_gaps_and_read_from_where_a_reader_stands() {
        let journal = Journal::default();
        for n in 1..=5 {
            assert_eq!(journal.append(change("a")), n);
        }
        let seqs = |batch: &Batch| {
            batch
                .events
                .iter()
                .map(|event| event.seq)
                .collect::<Vec<_>>()
        };
        let batch = journal.after(0, 2);
        assert_eq!((batch.missed, seqs(&batch)), (0, vec![1, 2]));
        let batch = journal.after(3, 100);
        assert_eq!((batch.missed, seqs(&batch)), (0, vec![4, 5]));
        assert!(journal.after(5, 100).events.is_empty());
        assert!(journal.after(u64::MAX, 100).events.is_empty());
    }

    #[test]
    fn the_oldest_make_room_and_a_slow_reader_learns_how_many_it_missed() {
        let journal = Journal::default();
        for _ in 0..KEPT + 10 {
            journal.append(change("a"));
        }
        let batch = journal.after(3, 1);
        assert_eq!((batch.missed, batch.events[0].seq), (7, 11));
        assert_eq!(journal.after(0, usize::MAX).events.len(), KEPT);
    }

    #[test]
    fn a_long_cause_is_cut_between_characters() {
        let journal = Journal::default();
        journal.append(change(&"ä".repeat(10_000)));
        let event = &journal.after(0, 1).events[0];
        assert_eq!(event.change.cause.chars().count(), TEXT + 1);
        assert_eq!(event.line().matches('\n').count(), 1);
    }
}
