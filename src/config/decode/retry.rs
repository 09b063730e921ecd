//! `routes[].retry`, `upstreams.*.retry_budget`

use std::time::Duration;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{Backoff, GRPC_STATUS, Jitter, Located, Retry, RetryBudget, RetryOn};
use super::super::suggest;
use super::circuit_breaker::grpc_code;
use super::fields::{Fields, Item};
use super::{keys, scalars};
use scalars::{MAX_TIME, MIN_TIME};

/// Larger bodies are uploads, which nobody wants to hold in memory.
const MAX_REPLAY: u32 = 16 * 1024 * 1024;

/// `off`, or the keys.
pub(super) fn retry(item: Item<'_>, out: &mut Diagnostics) -> Retry {
    let mut retry = Retry::default();
    match scalars::is_off(&item, out) {
        Some(true) => {
            retry.attempts = 1;
            return retry;
        }
        None => return retry,
        Some(false) => {}
    }
    let Some(fields) = Fields::of(item, keys::RETRY, out) else {
        return retry;
    };
    if let Some(read) = fields
        .get("attempts")
        .and_then(|item| scalars::integer(&item, 1..=10, out))
    {
        retry.attempts = read;
    }
    if let Some(read) = fields.get("on").and_then(|item| conditions(&item, out)) {
        retry.on = read;
    }
    if let Some(item) = fields.get("per_try_timeout")
        && let Some(read) = scalars::duration_or_off(&item, out)
    {
        retry.per_try_timeout = read.map(|time| Located::new(time, item.at()));
    }
    if let Some(item) = fields.get("backoff") {
        backoff(item, &mut retry.backoff, out);
    }
    if let Some(read) = fields
        .get("max_retry_after")
        .and_then(|item| scalars::duration(&item, Duration::ZERO..=MAX_TIME, out))
    {
        retry.max_retry_after = read;
    }
    if let Some(item) = fields.get("retry_unsafe")
        && let Some(read) = scalars::boolean(&item, out)
    {
        retry.retry_unsafe = Located::new(read, item.at());
    }
    if let Some(read) = fields
        .get("replay_bytes")
        .and_then(|item| scalars::bytes(&item, 0..=MAX_REPLAY, out))
    {
        retry.replay_bytes = read;
    }
    retry
}

fn conditions(item: &Item<'_>, out: &mut Diagnostics) -> Option<Vec<RetryOn>> {
    let items = item.items(
        "conditions",
        "write a list: `[connect_failure, reset, 503]`",
        out,
    )?;
    if items.is_empty() {
        out.push(
            Diagnostic::error(format!("{} is empty", item.title()))
                .at(item.key)
                .label("write `retry: off` for none"),
        );
        return None;
    }
    let read: Vec<RetryOn> = items
        .iter()
        .filter_map(|item| condition(item, out))
        .collect();
    (read.len() == items.len()).then_some(read)
}

const WORDS: [(&str, RetryOn); 5] = [
    ("connect_failure", RetryOn::ConnectFailure),
    ("refused_stream", RetryOn::RefusedStream),
    ("reset", RetryOn::Reset),
    ("attempt_timeout", RetryOn::AttemptTimeout),
    ("throttled", RetryOn::Throttled),
];

fn condition(item: &Item<'_>, out: &mut Diagnostics) -> Option<RetryOn> {
    let hint = "write a condition or a status: `reset`, `503`";
    let found = scalars::scalar(item, "a condition or a status", hint, out)?;
    let text = found.value();
    if let Some((_, word)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Some(*word);
    }
    // A number is an HTTP status here.
    let named = text.parse::<u16>().is_err();
    if let Some(code) = grpc_code(text).filter(|code| named && *code > 0) {
        return Some(RetryOn::Grpc(code));
    }
    let status = text.parse::<u16>().ok();
    if let Some(status) = status.filter(|status| (400..=599).contains(status)) {
        return Some(RetryOn::Status(status));
    }
    let message = format!("{} cannot hold {}", item.title(), found.words());
    let words = || WORDS.iter().map(|(word, _)| *word);
    let near = suggest::did_you_mean(text, words().chain(GRPC_STATUS));
    let label = match status {
        Some(_) => "write a status from 400 to 599".to_owned(),
        None => near.unwrap_or_else(|| hint.to_owned()),
    };
    let words = words().collect::<Vec<_>>().join(", ");
    out.push(
        Diagnostic::error(message)
            .at(item.at())
            .label(label)
            .note(format!(
                "conditions: {words}, statuses, and names of gRPC statuses"
            )),
    );
    None
}

fn backoff(item: Item<'_>, backoff: &mut Backoff, out: &mut Diagnostics) {
    let at = item.at();
    let Some(fields) = Fields::of(item, keys::BACKOFF, out) else {
        return;
    };
    let had_max = fields.get("max").is_some();
    for (key, target) in [("base", &mut backoff.base), ("max", &mut backoff.max)] {
        let read = fields
            .get(key)
            .and_then(|item| scalars::duration(&item, MIN_TIME..=MAX_TIME, out));
        *target = read.unwrap_or(*target);
    }
    let words = [
        ("full", Jitter::Full),
        ("decorrelated", Jitter::Decorrelated),
        ("none", Jitter::None),
    ];
    if let Some(read) = fields
        .get("jitter")
        .and_then(|item| scalars::word(&item, &words, out))
    {
        backoff.jitter = read;
    }
    if backoff.base <= backoff.max {
        return;
    }
    if !had_max {
        backoff.max = backoff.base;
        return;
    }
    out.push(
        Diagnostic::error("the first wait would be longer than the longest one")
            .at(fields.get("base").map_or(at, |item| item.at()))
            .label("write a `base` that is no longer than `max`"),
    );
}

/// `off`, or the keys.
pub(super) fn budget(item: Item<'_>, out: &mut Diagnostics) -> Option<RetryBudget> {
    let mut budget = RetryBudget::default();
    match scalars::is_off(&item, out) {
        Some(true) => return None,
        None => return Some(budget),
        Some(false) => {}
    }
    let Some(fields) = Fields::of(item, keys::RETRY_BUDGET, out) else {
        return Some(budget);
    };
    if let Some(read) = fields
        .get("percent")
        .and_then(|item| scalars::percent(&item, 0..=100, out))
    {
        budget.percent = read.into();
    }
    let window = fields.get("window").and_then(|item| {
        let range = Duration::from_secs(1)..=Duration::from_secs(600);
        scalars::duration(&item, range, out)
    });
    budget.window = window.unwrap_or(budget.window);
    if let Some(read) = fields
        .get("min_per_second")
        .and_then(|item| scalars::integer(&item, 0..=1000, out))
    {
        budget.min_per_second = read;
    }
    Some(budget)
}
