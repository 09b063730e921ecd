//! How long attempts at the endpoints of an upstream take, by the class of the answer's status.
//!
//! Path: `proxy::attempt` counts each at its end. A class is resolved when it first occurs, as most upstreams know two.

use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use prometheus::{Histogram, HistogramVec};

use super::families::Families;

/// Values of the label `class`; the last one: no answer.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// The family.
#[derive(Debug)]
pub(super) struct AttemptFamilies {
    seconds: HistogramVec,
}

impl AttemptFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        let name = "outrigger_upstream_attempt_duration_seconds";
        let help = "Time from an attempt's beginning to the head of its answer, or to its failure";
        Ok(Self {
            seconds: families.histograms(name, help, &["upstream", "class"])?,
        })
    }

    /// The handles of an upstream.
    pub(super) fn of(&self, upstream: &str) -> AttemptTimes {
        AttemptTimes {
            family: self.seconds.clone(),
            upstream: upstream.into(),
            classes: Default::default(),
        }
    }

    /// Removes the series of an upstream that is gone.
    pub(super) fn forget(&self, upstream: &str) {
        for class in CLASSES {
            // An error says that there is no such series, which is what was wanted.
            drop(self.seconds.remove_label_values(&[upstream, class]));
        }
    }
}

/// The handles of one upstream.
#[derive(Debug, Clone)]
pub(super) struct AttemptTimes {
    family: HistogramVec,
    upstream: Box<str>,
    classes: [OnceLock<Histogram>; CLASSES.len()],
}

impl AttemptTimes {
    /// Counts an attempt that took `elapsed` until it had an answer, or none.
    pub(super) fn observe(&self, answer: Option<StatusCode>, elapsed: Duration) {
        let class = answer.map_or(CLASSES.len(), |status| usize::from(status.as_u16() / 100));
        let class = class.clamp(1, CLASSES.len()) - 1;
        let (Some(slot), Some(name)) = (self.classes.get(class), CLASSES.get(class)) else {
            return;
        };
        let series = slot.get_or_init(|| self.family.with_label_values(&[&self.upstream, *name]));
        series.observe(elapsed.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::*;

    #[test]
    fn each_class_is_counted_by_itself_until_its_upstream_is_gone() {
        let metrics = Metrics::new().unwrap();
        let endpoint = metrics.endpoint("pay", "127.0.0.1:1");
        let text = || String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(
            !text().contains("attempt_duration"),
            "nothing is shown that never was"
        );
        for answer in [Some(200), Some(204), Some(503), Some(999), None] {
            let answer = answer.map(|code| StatusCode::from_u16(code).unwrap());
            endpoint.took(answer, Duration::from_millis(7));
        }
        for (class, count) in [("2xx", 2), ("5xx", 1), ("none", 2)] {
            let line = format!(
                "outrigger_upstream_attempt_duration_seconds_count{{class=\"{class}\",upstream=\"pay\"}} {count}"
            );
            assert!(text().contains(&line), "{line}");
        }
        metrics.forget_retries("pay", &[]);
        assert!(!text().contains("attempt_duration"));
    }
}
