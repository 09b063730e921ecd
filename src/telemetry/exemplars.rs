//! The latest recorded trace for each bucket of the requests' durations.
//!
//! Path: `proxy::exchange` adds one when a trace was recorded, [`super::openmetrics`] shows them, so that a click on a slow
//! bucket leads to a trace. Whoever does not record traces pays nothing. A lock that is taken is not waited for.

use std::collections::HashMap;
use std::time::SystemTime;

use parking_lot::Mutex;
use prometheus::DEFAULT_BUCKETS;

use super::catalogue::MAX_SERIES;
use super::trace::ids::TraceId;

/// One recorded request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exemplar {
    pub(super) trace: TraceId,
    /// How long it took, in seconds.
    pub(super) seconds: f64,
    pub(super) at: SystemTime,
}

/// By direction, route, method and status; within, by bucket, the last of which has no bound.
type Series = [Option<Exemplar>; DEFAULT_BUCKETS.len() + 1];

/// Those of all series.
#[derive(Debug, Default)]
pub(super) struct Exemplars {
    latest: Mutex<HashMap<String, Series>>,
}

/// The name of a series.
fn key(labels: [&str; 4]) -> String {
    labels.join("\0")
}

impl Exemplars {
    /// Puts `exemplar` in the place of the one before in its bucket.
    pub(super) fn add(&self, labels: [&str; 4], exemplar: Exemplar) {
        let Some(mut latest) = self.latest.try_lock() else {
            return;
        };
        let key = key(labels);
        if latest.len() >= MAX_SERIES && !latest.contains_key(&key) {
            return;
        }
        let bucket = DEFAULT_BUCKETS.partition_point(|bound| *bound < exemplar.seconds);
        if let Some(place) = latest.entry(key).or_default().get_mut(bucket) {
            *place = Some(exemplar);
        }
    }

    /// Those of a series.
    pub(super) fn of(&self, labels: [&str; 4]) -> Option<Series> {
        self.latest.lock().get(&key(labels)).copied()
    }

    /// Forgets those of routes that `gone` knows.
    pub(super) fn forget(&self, gone: impl Fn(&str) -> bool) {
        let route = |key: &str| key.split('\0').nth(1).is_some_and(&gone);
        self.latest.lock().retain(|key, _| !route(key));
    }
}
