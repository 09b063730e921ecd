//! `upstreams.*.health_check`

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{HealthCheck, HealthQuestion, Located};
use super::super::source::Span;
use super::super::yaml::Value;
use super::fields::{Fields, Item};
use super::{keys, scalars};
use scalars::{MAX_TIME, MIN_TIME};

const HINT: &str = "write `tcp`, `grpc` or `{ http: /healthz }`";

/// Longest name of a gRPC service.
const MAX_SERVICE: usize = 255;

/// Reads `tcp`, `grpc`, or a mapping with `http`, `grpc` or `tcp`.
pub(super) fn health_check(item: &Item<'_>, out: &mut Diagnostics) -> Option<HealthCheck> {
    if matches!(item.node.value, Value::Scalar(_) | Value::Null) {
        let what = "`tcp`, `grpc` or a mapping";
        return match scalars::scalar(item, what, HINT, out)?.value() {
            "tcp" => Some(check(HealthQuestion::Tcp)),
            "grpc" => Some(check(WHOLE_SERVER)),
            _ => {
                out.push(item.wrong(what).label(HINT));
                None
            }
        };
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

/// What an entry of a mapping asks.
type Reader = fn(Item<'_>, &mut Diagnostics) -> Option<HealthQuestion>;

fn question(item: &Item<'_>, fields: &Fields<'_>, out: &mut Diagnostics) -> Option<HealthQuestion> {
    let readers: [(&str, Reader); 3] = [
        ("http", http),
        ("grpc", grpc),
        ("tcp", |item, out| no_keys(&item, out)),
    ];
    let mut asked = readers
        .iter()
        .filter_map(|&(key, read)| Some((key, fields.get(key)?, read)));
    let Some((first, entry, read)) = asked.next() else {
        if readers.iter().all(|(key, _)| !fields.is_mistyped(key)) {
            let message = format!("{} asks nothing", item.title());
            let label = "add `http: /healthz`, `grpc: {}` or `tcp: {}`";
            out.push(Diagnostic::error(message).at(item.key).label(label));
        }
        return None;
    };
    if let Some((second, more, _)) = asked.next() {
        let message = format!("{} has both `{first}` and `{second}`", item.title());
        let label = format!("remove it; `{first}` opens a connection as well");
        out.push(Diagnostic::error(message).at(more.key).label(label));
        return None;
    }
    read(entry, out)
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

const WHOLE_SERVER: HealthQuestion = HealthQuestion::Grpc {
    service: String::new(),
    host: None,
};

/// `{}`, `{ service: … }`, or the service alone.
fn grpc(item: Item<'_>, out: &mut Diagnostics) -> Option<HealthQuestion> {
    match &item.node.value {
        Value::Null => return Some(WHOLE_SERVER),
        Value::Scalar(_) => {
            let service = service(&item, out)?;
            return Some(HealthQuestion::Grpc {
                service,
                host: None,
            });
        }
        _ => {}
    }
    let fields = Fields::of(item, keys::HEALTH_GRPC, out)?;
    let host = fields.get("host").and_then(|item| host(&item, out));
    let service = fields.get("service").map(|item| service(&item, out));
    Some(HealthQuestion::Grpc {
        service: service.unwrap_or_else(|| Some(String::new()))?,
        host,
    })
}

fn service(item: &Item<'_>, out: &mut Diagnostics) -> Option<String> {
    // The protocol's own word for the server as a whole.
    if matches!(&item.node.value, Value::Scalar(scalar) if scalar.value().is_empty()) {
        return Some(String::new());
    }
    let hint = "write a name: `shop.v1.Cart`";
    let found = scalars::scalar(item, "a name", hint, out)?;
    let name = found.value();
    let fits = name.len() <= MAX_SERVICE && name.chars().all(|c| c.is_ascii_graphic() && c != '/');
    if fits {
        return Some(name.to_owned());
    }
    let message = format!(
        "{} of {} is no name of a service",
        found.words(),
        item.title()
    );
    out.push(Diagnostic::error(message).at(item.at()).label(hint));
    None
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
    if !found.value().contains('@') && found.value().parse::<Authority>().is_ok() {
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
