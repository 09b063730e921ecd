//! `upstreams.*.health_check`

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{HealthCheck, HealthQuestion, Located};
use super::super::source::Span;
use super::super::yaml::Value;
use super::fields::{Fields, Item};
use super::{keys, scalars};
use scalars::{MAX_TIME, MIN_TIME};

const HINT: &str = "write `tcp` or `{ http: /healthz }`";

/// Reads `tcp`, or a mapping with `http` or `tcp`.
pub(super) fn health_check(item: &Item<'_>, out: &mut Diagnostics) -> Option<HealthCheck> {
    if matches!(item.node.value, Value::Scalar(_) | Value::Null) {
        let found = scalars::scalar(item, "`tcp` or a mapping", HINT, out)?;
        if found.value() == "tcp" {
            return Some(check(HealthQuestion::Tcp));
        }
        out.push(item.wrong("`tcp` or a mapping").label(HINT));
        return None;
    }
    let fields = Fields::of(item.clone(), keys::HEALTH_CHECK, out)?;
    let mut check = check(question(item, &fields, out)?);
    if let Some(read) = fields
        .get("interval")
        .and_then(|item| time(&item, out).map(|time| Located::new(time, item.at())))
    {
        check.interval = read;
    }
    if let Some(read) = fields
        .get("timeout")
        .and_then(|item| time(&item, out).map(|time| Located::new(time, item.at())))
    {
        check.timeout = read;
    }
    check.interval_down = fields
        .get("interval_down")
        .and_then(|item| time(&item, out));
    for (key, target) in [("rise", &mut check.rise), ("fall", &mut check.fall)] {
        let read = fields
            .get(key)
            .and_then(|item| scalars::integer(&item, 1..=100, out));
        *target = read.and_then(NonZeroU32::new).unwrap_or(*target);
    }
    check.readiness = fields
        .get("readiness")
        .and_then(|item| scalars::boolean(&item, out))
        .unwrap_or_default();
    Some(check)
}

fn check(question: HealthQuestion) -> HealthCheck {
    let unwritten = |seconds| Located::new(Duration::from_secs(seconds), Span::default());
    HealthCheck {
        question,
        interval: unwritten(5),
        interval_down: None,
        timeout: unwritten(1),
        rise: NonZeroU32::MIN.saturating_add(1),
        fall: NonZeroU32::MIN.saturating_add(2),
        readiness: false,
    }
}

fn time(item: &Item<'_>, out: &mut Diagnostics) -> Option<Duration> {
    scalars::duration(item, MIN_TIME..=MAX_TIME, out)
}

fn question(item: &Item<'_>, fields: &Fields<'_>, out: &mut Diagnostics) -> Option<HealthQuestion> {
    match (fields.get("http"), fields.get("tcp")) {
        (Some(_), Some(tcp)) => {
            let message = format!("{} has both `http` and `tcp`", item.title());
            let label = "remove it; `http` opens a connection as well";
            out.push(Diagnostic::error(message).at(tcp.key).label(label));
            None
        }
        (Some(http), None) => self::http(http, out),
        (None, Some(tcp)) => no_keys(&tcp, out),
        (None, None) => {
            if !fields.is_mistyped("http") && !fields.is_mistyped("tcp") {
                let message = format!("{} asks nothing", item.title());
                let label = "add `http: /healthz` or `tcp: {}`";
                out.push(Diagnostic::error(message).at(item.key).label(label));
            }
            None
        }
    }
}

fn no_keys(item: &Item<'_>, out: &mut Diagnostics) -> Option<HealthQuestion> {
    match &item.node.value {
        Value::Null => Some(HealthQuestion::Tcp),
        Value::Mapping(entries) if entries.is_empty() => Some(HealthQuestion::Tcp),
        Value::Told => None,
        _ => {
            let wrong = item.wrong("`{}`").label("write `tcp: {}`");
            out.push(wrong.note("a TCP check asks nothing but whether a connection can be opened"));
            None
        }
    }
}

fn http(item: Item<'_>, out: &mut Diagnostics) -> Option<HealthQuestion> {
    if matches!(item.node.value, Value::Scalar(_)) {
        return Some(HealthQuestion::Http {
            path: path(&item, out)?,
            host: None,
            expect: vec![200..=299],
        });
    }
    let fields = Fields::of(item, keys::HEALTH_HTTP, out)?;
    let host = fields.get("host").and_then(|item| host(&item, out));
    let expect = fields.get("expect").map(|item| statuses(&item, out));
    let path = fields.required("path", "/healthz", out)?;
    Some(HealthQuestion::Http {
        path: self::path(&path, out)?,
        host,
        expect: expect
            .filter(|expect| !expect.is_empty())
            .unwrap_or_else(|| vec![200..=299]),
    })
}

fn path(item: &Item<'_>, out: &mut Diagnostics) -> Option<String> {
    let found = scalars::scalar(item, "a path", "write `/healthz`", out)?;
    let text = found.value();
    if text.starts_with('/') && text.parse::<PathAndQuery>().is_ok() {
        return Some(text.to_owned());
    }
    let message = format!("{} of {} is not a path", found.words(), item.title());
    let label = "begin with `/`, percent-encode blanks: `/healthz`";
    out.push(Diagnostic::error(message).at(item.at()).label(label));
    None
}

fn host(item: &Item<'_>, out: &mut Diagnostics) -> Option<String> {
    let hint = "write a host name";
    let found = scalars::scalar(item, "a host name", hint, out)?;
    let legal = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '@' | '?' | '#');
    if HeaderValue::from_str(found.value()).is_ok() && found.value().chars().all(legal) {
        return Some(found.value().to_owned());
    }
    let message = format!("{} of {} is not a host name", found.words(), item.title());
    out.push(Diagnostic::error(message).at(item.at()).label(hint));
    None
}

/// `[200, 300-399]`, or one of them.
fn statuses(item: &Item<'_>, out: &mut Diagnostics) -> Vec<RangeInclusive<u16>> {
    if matches!(item.node.value, Value::Scalar(_)) {
        return statuses_of(item, out).into_iter().collect();
    }
    let Some(items) = item.items("statuses", "write a list: `[200-299]`", out) else {
        return Vec::new();
    };
    if items.is_empty() {
        let message = format!("{} is empty, so no answer would be good", item.title());
        let label = "write at least one status: `[200-299]`";
        out.push(Diagnostic::error(message).at(item.key).label(label));
    }
    items
        .iter()
        .filter_map(|item| statuses_of(item, out))
        .collect()
}

fn statuses_of(item: &Item<'_>, out: &mut Diagnostics) -> Option<RangeInclusive<u16>> {
    let hint = "write a status or a range of them: `200` or `200-299`";
    let found = scalars::scalar(item, "a status", hint, out)?;
    let text = found.value();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let range = number(first).zip(number(last));
    let range = range.filter(|&(first, last)| first >= 100 && first <= last && last <= 599);
    if range.is_none() {
        let message = format!("{} of {} is not a status", found.words(), item.title());
        out.push(Diagnostic::error(message).at(item.at()).label(hint));
    }
    range.map(|(first, last)| first..=last)
}
