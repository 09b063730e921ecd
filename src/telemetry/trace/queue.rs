//! Requests whose spans wait for the exporter.
//!
//! Path: the last holder of an exchange pushes, on a worker; [`super::export`] takes all there are, on the control
//! runtime. A push never waits and wakes nobody until a batch is full. What there is no room for is dropped and counted.

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::SpanData;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::Notify;

use super::copied::Copied;
use super::finished::Finished;
use crate::telemetry::metrics::Metrics;

/// Spans that may wait. The largest holds some 2 KiB, so this bounds the memory, too.
pub const CAPACITY: usize = 4096;

/// Spans that are sent together.
pub const BATCH: usize = 512;

/// The counters of spans.
#[derive(Debug, Clone)]
pub struct SpanCounters {
    /// Not sent, because there was no room.
    pub dropped: IntCounter,
    /// Taken by the collector.
    pub exported: IntCounter,
    /// Refused by the collector, or not delivered in time.
    pub failed: IntCounter,
}

impl SpanCounters {
    /// Resolves the handles.
    pub fn new(metrics: &Metrics) -> Self {
        let exported = |result| metrics.traces.exported.with_label_values(&[result]);
        Self {
            dropped: metrics.traces.dropped.clone(),
            exported: exported("ok"),
            failed: exported("failed"),
        }
    }
}

/// What waits.
#[derive(Debug)]
pub enum Entry {
    /// A request.
    Request(Finished),
    /// A copy of one.
    Copy(Copied),
}

impl Entry {
    fn spans(&self) -> usize {
        match self {
            Self::Request(request) => request.spans(),
            Self::Copy(_) => 1,
        }
    }

    /// Its spans, added to `out`.
    pub fn into_spans(self, scope: &InstrumentationScope, out: &mut Vec<SpanData>) {
        match self {
            Self::Request(request) => request.into_spans(scope, out),
            Self::Copy(copy) => out.push(copy.into_span(scope)),
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<Entry>,
    spans: usize,
    closed: bool,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    due: Notify,
    /// What became of the spans.
    pub counters: SpanCounters,
}

impl Queue {
    /// An empty one.
    pub fn new(counters: SpanCounters) -> Self {
        Self {
            waiting: Mutex::default(),
            due: Notify::new(),
            counters,
        }
    }

    /// Adds one, or counts its spans as dropped.
    pub fn push(&self, entry: Entry) {
        let spans = entry.spans();
        let mut waiting = self.waiting.lock();
        if waiting.closed || waiting.spans + spans > CAPACITY {
            drop(waiting);
            self.counters.dropped.inc_by(spans as u64);
            return;
        }
        let before = waiting.spans;
        waiting.spans += spans;
        waiting.entries.push(entry);
        let due = before < BATCH && waiting.spans >= BATCH;
        drop(waiting);
        if due {
            self.due.notify_one();
        }
    }

    /// Takes all that wait, and whether more may come.
    pub fn take(&self) -> (Vec<Entry>, bool) {
        let mut waiting = self.waiting.lock();
        waiting.spans = 0;
        (std::mem::take(&mut waiting.entries), !waiting.closed)
    }

    /// From now on nothing is taken. What waits can still be sent.
    pub fn close(&self) {
        self.waiting.lock().closed = true;
        self.due.notify_one();
    }

    /// Waits until a batch is full, or the queue is closed.
    pub async fn due(&self) {
        self.due.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::trace::finished::tests::finished;

    fn queue() -> Queue {
        Queue::new(SpanCounters::new(&Metrics::new().unwrap()))
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_span_by_span() {
        let queue = queue();
        for _ in 0..CAPACITY {
            queue.push(Entry::Request(finished(1)));
        }
        // Two spans each: the request and its attempt.
        assert_eq!(queue.counters.dropped.get(), CAPACITY as u64);
        let (requests, open) = queue.take();
        assert_eq!((requests.len(), open), (CAPACITY / 2, true));
        queue.push(Entry::Request(finished(1)));
        assert_eq!(queue.take().0.len(), 1, "there is room again");
        queue.push(Entry::Request(finished(0)));
        queue.close();
        queue.push(Entry::Request(finished(3)));
        assert_eq!(queue.counters.dropped.get(), CAPACITY as u64 + 4);
        let (requests, open) = queue.take();
        assert_eq!((requests.len(), open), (1, false));
    }

    #[tokio::test]
    async fn nobody_is_woken_before_a_batch_is_full() {
        let queue = queue();
        let woken = |queue: &Queue| futures_util::FutureExt::now_or_never(queue.due()).is_some();
        for _ in 0..(BATCH / 2 - 1) {
            queue.push(Entry::Request(finished(1)));
        }
        assert!(!woken(&queue));
        queue.push(Entry::Request(finished(1)));
        assert!(woken(&queue) && !woken(&queue));
        queue.push(Entry::Request(finished(1)));
        assert!(!woken(&queue), "once");
        queue.close();
        assert!(woken(&queue));
    }
}
