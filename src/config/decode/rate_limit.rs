//! `routes[].rate_limit`

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{LimitMode, Located, RateHeaders, RateKey, RateLimit, WhenExceeded};
use super::super::source::Span;
use super::super::yaml::Value;
use super::fields::{Fields, Item};
use super::limits::shown;
use super::{keys, scalars};
use scalars::{MAX_TIME, MIN_TIME};

const MOST: u32 = 1_000_000;
/// A bucket that takes longer to fill is a mistake of unit.
const LONGEST_FILL: Duration = Duration::from_secs(365 * 24 * 3600);

/// One rule, or a list of them.
pub(super) fn rate_limits(item: Item<'_>, out: &mut Diagnostics) -> Vec<RateLimit> {
    let items = match item.node.value {
        Value::Mapping(_) => vec![item],
        _ => {
            let label = "write `rate_limit: { requests: 100, per: 1s }`";
            item.items("rules", label, out).unwrap_or_default()
        }
    };
    let mut rules: Vec<RateLimit> = Vec::with_capacity(items.len());
    for (number, item) in (1u32..).zip(items) {
        let Some(rule) = rule(item, number, out) else {
            continue;
        };
        let same = rules.iter().find(|other| other.name == rule.name);
        match same {
            None => rules.push(rule),
            Some(other) => out.push(
                Diagnostic::error(format!("two rules are named `{}`", rule.name.value))
                    .at(rule.name.at)
                    .label("choose another name")
                    .related(other.name.at, "the first one"),
            ),
        }
    }
    rules
}

fn rule(item: Item<'_>, number: u32, out: &mut Diagnostics) -> Option<RateLimit> {
    let place = item.clone();
    let fields = Fields::of(item, keys::RATE_LIMIT, out)?;
    let requests = fields.required("requests", "100", out);
    let requests = requests.and_then(|item| count(&item, MOST, out));
    let per = fields
        .get("per")
        .and_then(|item| scalars::duration(&item, MIN_TIME..=MAX_TIME, out));
    let burst = fields.get("burst").map(|item| count(&item, MOST, out));
    let counted = |key, default, most, out: &mut Diagnostics| {
        let read = fields.get(key).and_then(|item| count(&item, most, out));
        read.unwrap_or(default)
    };
    let mut rule = RateLimit {
        name: name(&fields, &place, number, out),
        requests: requests.unwrap_or(NonZeroU32::MIN),
        per: per.unwrap_or(Duration::from_secs(1)),
        burst: burst.flatten().or(requests).unwrap_or(NonZeroU32::MIN),
        key: vec![RateKey::ClientIp],
        when_exceeded: WhenExceeded::default(),
        max_wait: Located::new(Duration::from_secs(1), Span::default()),
        max_waiting: counted(
            "max_waiting",
            NonZeroU32::MIN.saturating_add(99),
            100_000,
            out,
        ),
        headers: RateHeaders::default(),
        max_keys: counted(
            "max_keys",
            NonZeroU32::MIN.saturating_add(65_535),
            MOST,
            out,
        ),
        mode: LimitMode::default(),
    };
    if requests.is_some() {
        fillable(&rule, &place, out);
    }
    words(&mut rule, &fields, out);
    if let Some(item) = fields.get("key") {
        rule.key = key(item, out).unwrap_or(rule.key);
    }
    waiting(&mut rule, &fields, out);
    Some(rule)
}

fn count(item: &Item<'_>, most: u32, out: &mut Diagnostics) -> Option<NonZeroU32> {
    scalars::integer(item, 1..=most, out).and_then(NonZeroU32::new)
}

fn name(
    fields: &Fields<'_>,
    place: &Item<'_>,
    number: u32,
    out: &mut Diagnostics,
) -> Located<String> {
    let hint = "write a name: letters, digits, `-`, `_`, `.`";
    let item = fields.get("name");
    let read = item.and_then(|item| {
        let name = scalars::name(&item, "a name", hint, out)?;
        scalars::check_name(&name, &place.path, out);
        Some(name)
    });
    read.unwrap_or_else(|| Located::new(number.to_string(), place.key))
}

/// A bucket has to be full again before everybody has forgotten it.
fn fillable(rule: &RateLimit, place: &Item<'_>, out: &mut Diagnostics) {
    let fill = rule.per.as_nanos() * u128::from(rule.burst.get());
    let fill = fill / u128::from(rule.requests.get());
    if fill > LONGEST_FILL.as_nanos() {
        let days = fill / Duration::from_secs(24 * 3600).as_nanos();
        let message = format!(
            "{} would need {days} days to allow its `burst` of {} again",
            place.title(),
            rule.burst
        );
        out.push(
            Diagnostic::error(message)
                .at(place.key)
                .label("write a smaller `burst` or a higher rate"),
        );
    }
}

fn words(rule: &mut RateLimit, fields: &Fields<'_>, out: &mut Diagnostics) {
    if let Some(item) = fields.get("when_exceeded") {
        let words = [
            ("reject", WhenExceeded::Reject),
            ("wait", WhenExceeded::Wait),
        ];
        rule.when_exceeded = scalars::word(&item, &words, out).unwrap_or_default();
    }
    if let Some(item) = fields.get("headers") {
        let words = [
            ("off", RateHeaders::Off),
            ("standard", RateHeaders::Standard),
            ("legacy", RateHeaders::Legacy),
            ("both", RateHeaders::Both),
        ];
        rule.headers = scalars::word(&item, &words, out).unwrap_or_default();
    }
    if let Some(item) = fields.get("mode") {
        let words = [
            ("enforce", LimitMode::Enforce),
            ("observe", LimitMode::Observe),
        ];
        rule.mode = scalars::word(&item, &words, out).unwrap_or_default();
    }
}

/// `max_wait`, and what is said about waiting where nobody waits.
fn waiting(rule: &mut RateLimit, fields: &Fields<'_>, out: &mut Diagnostics) {
    if let Some(item) = fields.get("max_wait")
        && let Some(wait) = scalars::duration(&item, MIN_TIME..=MAX_TIME, out)
    {
        rule.max_wait = Located::new(wait, item.at());
    }
    let unclear = fields.is_mistyped("when_exceeded");
    for key in ["max_wait", "max_waiting"] {
        if let Some(item) = fields
            .get(key)
            .filter(|_| rule.when_exceeded == WhenExceeded::Reject && !unclear)
        {
            let message = format!("{} has no effect: nobody waits", item.title());
            out.push(
                Diagnostic::warning(message)
                    .at(item.at())
                    .label("add `when_exceeded: wait`, or remove it"),
            );
        }
    }
    let interval = rule.per / rule.requests.get();
    if rule.when_exceeded == WhenExceeded::Wait && rule.max_wait.value < interval {
        let message = format!(
            "hardly anybody can wait: the next request is allowed after {}, and `max_wait` is {}",
            shown(interval),
            shown(rule.max_wait.value)
        );
        let at = fields
            .get("max_wait")
            .or_else(|| fields.get("when_exceeded"));
        if let Some(item) = at {
            let label = format!("write at least `max_wait: {}`", shown(interval));
            out.push(Diagnostic::warning(message).at(item.at()).label(label));
        }
    }
}

/// One part, or a list of them.
fn key(item: Item<'_>, out: &mut Diagnostics) -> Option<Vec<RateKey>> {
    if !matches!(item.node.value, Value::Sequence(_)) {
        return part(item, out).map(|part| vec![part]);
    }
    let items = item.items("parts of a key", "write `[client_ip, method]`", out)?;
    if items.is_empty() {
        out.push(
            Diagnostic::error(format!("{} is empty", item.title()))
                .at(item.key)
                .label("write `client_ip`"),
        );
    }
    let parts: Vec<RateKey> = items
        .into_iter()
        .filter_map(|item| part(item, out))
        .collect();
    (!parts.is_empty()).then_some(parts)
}

/// `client_ip`, `client_identity`, `route`, `method`, or a mapping with one key.
fn part(item: Item<'_>, out: &mut Diagnostics) -> Option<RateKey> {
    if !matches!(item.node.value, Value::Mapping(_)) {
        let words = [
            ("client_ip", 0u8),
            ("client_identity", 1),
            ("route", 2),
            ("method", 3),
        ];
        return Some(match scalars::word(&item, &words, out)? {
            0 => RateKey::ClientIp,
            1 => RateKey::ClientIdentity,
            2 => RateKey::Route,
            _ => RateKey::Method,
        });
    }
    let place = item.clone();
    let fields = Fields::of(item, keys::RATE_KEY, out)?;
    let found: Vec<(&str, Item<'_>)> = keys::RATE_KEY
        .iter()
        .filter_map(|key| Some((*key, fields.get(key)?)))
        .collect();
    let [(kind, item)] = found.as_slice() else {
        if !fields.has_unknown() {
            let message = format!(
                "{} must name one of `header`, `cookie`, `query`",
                place.title()
            );
            out.push(Diagnostic::error(message).at(place.key).label(
                "write one; a list makes a key of several: `[{ header: a }, { query: b }]`",
            ));
        }
        return None;
    };
    let name = scalars::text(item, "a name", "write a name", out)?.value;
    Some(match *kind {
        "header" => RateKey::Header(header_name(item, &name, out)?),
        "cookie" => RateKey::Cookie(name),
        _ => RateKey::Query(name),
    })
}

fn header_name(item: &Item<'_>, name: &str, out: &mut Diagnostics) -> Option<String> {
    let read = http::HeaderName::from_bytes(name.as_bytes()).ok();
    if read.is_none() {
        let message = format!("{} is not the name of a header", item.title());
        out.push(
            Diagnostic::error(message)
                .at(item.at())
                .label("use letters, digits and `-`"),
        );
    }
    read.map(|name| name.as_str().to_owned())
}
