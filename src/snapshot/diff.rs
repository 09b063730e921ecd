//! What is different between two configurations, in words.
//!
//! Path: `app::reload` logs it. Both are written out as lines `path → value` and compared, so a key cannot be forgotten
//! in the comparison without being forgotten in the writing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use crate::config::model::{Config, HostMatch, Listener, PathMatch, Route, RouteMatch, Upstream};

/// A line for each difference, by path.
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let (old, new) = (lines(old), lines(new));
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    let change = |path: &&String| match (old.get(*path), new.get(*path)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(old), Some(new)) => Some(format!("{path} {old} → {new}")),
        (None, Some(new)) => Some(format!("{path} added{}", shown(new))),
        (Some(_), None) => Some(format!("{path} removed")),
        (None, None) => None,
    };
    paths.iter().filter_map(change).collect()
}

fn shown(value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else {
        format!(": {value}")
    }
}

type Lines = BTreeMap<String, String>;

fn lines(config: &Config) -> Lines {
    let mut lines = Lines::new();
    config
        .listeners
        .iter()
        .for_each(|listener| write_listener(&mut lines, listener));
    config
        .routes
        .iter()
        .enumerate()
        .for_each(|(index, route)| write_route(&mut lines, index, route));
    config
        .upstreams
        .iter()
        .for_each(|upstream| write_upstream(&mut lines, upstream));
    let mut line = |path: &str, value: String| drop(lines.insert(path.into(), value));
    let address = |address: &Option<crate::config::model::Located<std::net::SocketAddr>>| {
        address
            .as_ref()
            .map_or("off".into(), |address| address.value.to_string())
    };
    line("admin.probes", address(&config.admin.probes));
    line("admin.control", address(&config.admin.control));
    line(
        "access_log",
        match &config.access_log.output {
            crate::config::model::LogOutput::Stdout => "stdout".into(),
            crate::config::model::LogOutput::Off => "off".into(),
            crate::config::model::LogOutput::File(path) => path.value.clone(),
        },
    );
    line("drain.timeout", time(config.drain.timeout));
    line("drain.delay", time(config.drain.delay));
    line(
        "workers",
        config.workers.map_or("auto".into(), |workers| {
            format!("{workers} (after a restart)")
        }),
    );
    line("trusted_proxies", list(&config.trusted_proxies));
    line("forwarded_headers", word(&config.forwarded_headers));
    line("header_case", word(&config.header_case));
    lines
}

fn write_listener(lines: &mut Lines, listener: &Listener) {
    let mut line = |key: &str, value: String| {
        lines.insert(format!("listeners.{}.{key}", listener.name.value), value);
    };
    line("address", listener.address.value.to_string());
    line("direction", listener.direction.as_str().into());
    if let Some(forward) = &listener.forward {
        line("forward", forward.value.clone());
    }
    line("reuse_port", listener.reuse_port.to_string());
    line(
        "timeouts.request_header",
        time(listener.timeouts.request_header),
    );
    line("timeouts.idle", time(listener.timeouts.idle));
    line(
        "limits.connections",
        listener.limits.connections.to_string(),
    );
    line(
        "limits.header_bytes",
        listener.limits.header_bytes.to_string(),
    );
    line("limits.headers", listener.limits.headers.to_string());
}

fn write_route(lines: &mut Lines, index: usize, route: &Route) {
    let mut line = |key: &str, value: String| {
        lines.insert(format!("routes.{}.{key}", route.name.value), value);
    };
    line("position", (index + 1).to_string());
    line("forward", route.forward.value.clone());
    line("timeout", route.timeout.map_or("off".into(), time));
    line(
        "listeners",
        list(route.listeners.iter().map(|name| &name.value)),
    );
    for (number, item) in route.matches.iter().enumerate() {
        line(&format!("match[{number}]"), rule(&item.value));
    }
}

fn write_upstream(lines: &mut Lines, upstream: &Upstream) {
    let mut line = |key: &str, value: String| {
        lines.insert(format!("upstreams.{}.{key}", upstream.name.value), value);
    };
    for endpoint in &upstream.endpoints {
        line(
            &format!("endpoints.{}", endpoint.value.address),
            format!("weight {}", endpoint.value.weight),
        );
    }
    line("balance", word(&upstream.balance));
    line("timeouts.connect", time(upstream.timeouts.connect));
    line("timeouts.idle", time(upstream.timeouts.idle));
    line("pool.max_idle", upstream.pool.max_idle.to_string());
    line("pool.idle_timeout", time(upstream.pool.idle_timeout));
    line(
        "pool.max_age",
        upstream.pool.max_age.map_or("off".into(), time),
    );
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

/// `5s`, `1m`, `250ms`.
fn time(duration: Duration) -> String {
    crate::units::Pretty::Time(duration).to_string()
}

/// `RoundRobin` → `round_robin`.
fn word(value: &impl Debug) -> String {
    let mut text = String::new();
    for character in format!("{value:?}").chars() {
        if character.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}

fn list(items: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_configurations_have_no_changes() {
        assert!(changes(&Config::default(), &Config::default()).is_empty());
    }

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

    #[test]
    fn a_change_names_path_old_and_new() {
        let mut new = Config::default();
        new.drain.timeout = Duration::from_secs(5);
        assert_eq!(
            changes(&Config::default(), &new),
            ["drain.timeout 30s → 5s"]
        );
    }
}
