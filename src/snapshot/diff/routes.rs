//! `routes` as lines.

use super::{Lines, limits, list, time, word};
use crate::config::model::{GRPC_STATUS, HostMatch, PathMatch, Retry, RetryOn, Route, RouteMatch};

pub(super) fn write_route(lines: &mut Lines, index: usize, route: &Route) {
    let mut line = |key: &str, value: String| {
        lines.insert(format!("routes.{}.{key}", route.name.value), value);
    };
    line("position", (index + 1).to_string());
    line("forward", route.forward.value.clone());
    line("timeout", route.timeout.map_or("off".into(), time));
    write_retry(&mut line, &route.retry);
    line(
        "listeners",
        list(route.listeners.iter().map(|name| &name.value)),
    );
    limits::write_rate_limits(&route.rate_limits, &mut line);
    limits::write_in_flight(&route.limits, &mut line);
    for (number, item) in route.matches.iter().enumerate() {
        line(&format!("match[{number}]"), rule(&item.value));
    }
}

fn write_retry(line: &mut impl FnMut(&str, String), retry: &Retry) {
    line("retry.attempts", retry.attempts.to_string());
    line("retry.on", list(retry.on.iter().map(condition)));
    let per_try = retry.per_try_timeout.as_ref();
    line(
        "retry.per_try_timeout",
        per_try.map_or("off".into(), |it| time(it.value)),
    );
    line("retry.backoff.base", time(retry.backoff.base));
    line("retry.backoff.max", time(retry.backoff.max));
    line("retry.backoff.jitter", word(&retry.backoff.jitter));
    line("retry.max_retry_after", time(retry.max_retry_after));
    line("retry.retry_unsafe", retry.retry_unsafe.value.to_string());
    line("retry.replay_bytes", retry.replay_bytes.to_string());
}

fn condition(on: &RetryOn) -> String {
    match on {
        RetryOn::Status(status) => status.to_string(),
        RetryOn::Grpc(code) => GRPC_STATUS
            .get(usize::from(*code))
            .copied()
            .unwrap_or_default()
            .into(),
        other => word(other),
    }
}

/// `host *.example.com, path /v1, methods [GET]`.
fn rule(rule: &RouteMatch) -> String {
    let host = rule.host.as_ref().map(|host| match host {
        HostMatch::Exact(name) => format!("host {name}"),
        HostMatch::Suffix(name) => format!("host *.{name}"),
    });
    let path = rule.path.as_ref().map(|path| match path {
        PathMatch::Exact(path) => format!("path exactly {path}"),
        PathMatch::Prefix(path) => format!("path {path}"),
    });
    let methods = (!rule.methods.is_empty()).then(|| format!("methods {}", list(&rule.methods)));
    let parts: Vec<String> = [host, path, methods].into_iter().flatten().collect();
    if parts.is_empty() {
        "everything".into()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_shown_as_a_person_would_say_it() {
        let shown = rule(&RouteMatch {
            host: Some(HostMatch::Suffix("example.com".into())),
            path: Some(PathMatch::Exact("/a".into())),
            methods: vec!["GET".into(), "PUT".into()],
        });
        assert_eq!(
            shown,
            "host *.example.com, path exactly /a, methods [GET, PUT]"
        );
        assert_eq!(rule(&RouteMatch::default()), "everything");
    }
}
