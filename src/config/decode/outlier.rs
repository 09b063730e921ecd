//! `upstreams.*.outlier`, `upstreams.*.panic_threshold`

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{Located, Outlier, SuccessRate};
use super::super::source::Span;
use super::super::yaml::Value;
use super::fields::{Fields, Item};
use super::{keys, scalars};
use scalars::{MAX_TIME, MIN_TIME};

/// Half of them.
pub(super) const HALF: NonZeroU8 = NonZeroU8::MIN.saturating_add(49);

/// Reads `outlier`; `{}` is all defaults.
pub(super) fn outlier(item: Item<'_>, out: &mut Diagnostics) -> Option<Outlier> {
    let fields = Fields::of(item, keys::OUTLIER, out)?;
    let unwritten = |seconds| Located::new(Duration::from_secs(seconds), Span::default());
    let mut outlier = Outlier {
        consecutive_failures: NonZeroU32::new(5),
        success_rate: None,
        eject_for: unwritten(30),
        max_eject_for: unwritten(300),
        max_ejected: HALF,
    };
    if let Some(read) = fields
        .get("consecutive_failures")
        .and_then(|item| count_or_off(&item, out))
    {
        outlier.consecutive_failures = read;
    }
    for (key, target) in [
        ("eject_for", &mut outlier.eject_for),
        ("max_eject_for", &mut outlier.max_eject_for),
    ] {
        if let Some(item) = fields.get(key)
            && let Some(read) = scalars::duration(&item, MIN_TIME..=MAX_TIME, out)
        {
            *target = Located::new(read, item.at());
        }
    }
    if let Some(read) = fields.get("max_ejected").and_then(|item| share(&item, out)) {
        outlier.max_ejected = read;
    }
    outlier.success_rate = fields
        .get("success_rate")
        .and_then(|item| success_rate(item, out));
    Some(outlier)
}

/// A share, or `off` for none: `Some(None)`.
pub(super) fn percent_or_off(item: &Item<'_>, out: &mut Diagnostics) -> Option<Option<NonZeroU8>> {
    if scalars::is_off(item, out)? {
        return Some(None);
    }
    if matches!(&item.node.value, Value::Scalar(scalar) if scalar.value() == "0%") {
        let message = format!("{} cannot be 0%", item.title());
        let label = "write `off` for never";
        out.push(Diagnostic::error(message).at(item.at()).label(label));
        return None;
    }
    share(item, out).map(Some)
}

fn count_or_off(item: &Item<'_>, out: &mut Diagnostics) -> Option<Option<NonZeroU32>> {
    if scalars::is_off(item, out)? {
        return Some(None);
    }
    scalars::integer(item, 1..=10_000, out).map(NonZeroU32::new)
}

fn success_rate(item: Item<'_>, out: &mut Diagnostics) -> Option<SuccessRate> {
    if scalars::is_off(&item, out)? {
        return None;
    }
    let fields = Fields::of(item, keys::SUCCESS_RATE, out)?;
    let below = fields.get("below").and_then(|item| share(&item, out));
    let requests = fields
        .get("min_requests")
        .and_then(|item| scalars::integer(&item, 1..=100_000, out));
    let range = Duration::from_secs(1)..=Duration::from_secs(3600);
    let window = fields
        .get("window")
        .and_then(|item| scalars::duration(&item, range, out));
    Some(SuccessRate {
        below: below.unwrap_or(HALF),
        min_requests: requests
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MIN.saturating_add(19)),
        window: window.unwrap_or(Duration::from_secs(30)),
    })
}

/// `50%`: whole per cents from 1 to 100.
fn share(item: &Item<'_>, out: &mut Diagnostics) -> Option<NonZeroU8> {
    scalars::percent(item, 1..=100, out).and_then(NonZeroU8::new)
}
