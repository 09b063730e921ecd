//! The journal over HTTP: `/events` as JSON lines, the last ones or from a number on, once or for as long as one listens.
//!
//! Path: [`super::handlers`]. A follower has no queue of its own: it reads the journal where it stands when it can take
//! more, so a slow one costs nothing, and is told with a line how many events it missed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use http_body::Frame;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::telemetry::journal::{Batch, Journal, KEPT};

/// Followers at once.
pub const FOLLOWERS: usize = 16;

/// Events written in one go.
const AT_ONCE: usize = 64;

/// A line without content goes out after this much silence, so that a follower that has vanished is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// `since=SEQ`: only what comes after this number.
    pub since: u64,
    /// `follow=1`: go on with what happens from now on.
    pub follow: bool,
}

/// Reads a query; `None` when it cannot be understood.
pub fn parse(query: &str) -> Option<Asked> {
    let mut asked = Asked::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("since", number) => asked.since = number.parse().ok()?,
            ("follow", "1" | "true") => asked.follow = true,
            ("follow", "0" | "false") => asked.follow = false,
            _ => return None,
        }
    }
    Some(asked)
}

/// Everything there is after number `since`.
pub fn all(journal: &Journal, since: u64) -> Bytes {
    lines(&journal.after(since, KEPT), since).into()
}

/// Everything after number `since`, now and in time to come. Holds `permit` to its end.
pub fn follow(
    journal: Arc<Journal>,
    since: u64,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    let follower = Follower {
        latest: journal.watch(),
        journal,
        seen: since,
        _permit: permit,
    };
    unfold(follower, |mut follower| async move {
        let frame = follower.next().await?;
        Some((Ok(Frame::data(frame)), follower))
    })
}

struct Follower {
    journal: Arc<Journal>,
    latest: watch::Receiver<u64>,
    seen: u64,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Marked before reading: what is appended meanwhile wakes us again.
            self.latest.mark_unchanged();
            let batch = self.journal.after(self.seen, AT_ONCE);
            if let Some(last) = batch.events.last() {
                let lines = lines(&batch, self.seen);
                self.seen = last.seq;
                return Some(lines.into());
            }
            match tokio::time::timeout(HEARTBEAT, self.latest.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(Bytes::from_static(b"\n")),
            }
        }
    }
}

/// `{"gap":12,"after":3}` for what is missing, if somebody waits for it, then a line for each event.
fn lines(batch: &Batch, seen: u64) -> String {
    let gap = (batch.missed > 0 && seen > 0)
        .then(|| format!("{}\n", json!({ "gap": batch.missed, "after": seen })));
    let events = batch.events.iter().map(|event| event.line());
    gap.into_iter().chain(events).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_understood_or_refused() {
        let asked = |since, follow| Some(Asked { since, follow });
        assert_eq!(parse(""), asked(0, false));
        assert_eq!(parse("since=7&follow=1"), asked(7, true));
        for wrong in ["since", "since=-1", "since=x", "follow=yes", "what=1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
