//! What is different between two configurations, in words.
//!
//! Path: `app::reload` logs it. Both are written out as lines `path → value` and compared, so a key cannot be forgotten
//! in the comparison without being forgotten in the writing.

mod access_log;
mod circuit_breaker;
mod limits;
mod routes;
mod tls;
mod tracing;
mod upstreams;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use crate::config::model::{Config, Listener};
use crate::units::Pretty;
use crate::units::place::FileRules;
use routes::write_route;
use upstreams::{write_dns, write_upstream};

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
    write_dns(&mut lines, &config.dns);
    let mut line = |path: &str, value: String| drop(lines.insert(path.into(), value));
    let address = |address: &Option<crate::config::model::Located<crate::units::place::Place>>| {
        address
            .as_ref()
            .map_or("off".into(), |address| address.value.to_string())
    };
    line("admin.probes", address(&config.admin.probes));
    line("admin.control", address(&config.admin.control));
    access_log::write_access_log(&config.access_log, &mut line);
    tracing::write_tracing(config.tracing.as_ref(), &mut line);
    line("server_timing", config.server_timing.to_string());
    line("drain.timeout", time(config.drain.timeout));
    line("drain.delay", time(config.drain.delay));
    line(
        "workers",
        config.workers.map_or("auto".into(), |workers| {
            format!("{workers} (after a restart)")
        }),
    );
    limits::write_memory(&config.memory, &mut line);
    line("trusted_proxies", list(&config.trusted_proxies));
    line("forwarded_headers", word(&config.forwarded_headers));
    line("request_id", word(&config.request_id));
    line("header_case", word(&config.header_case));
    let deadline_header = config.deadline_header.clone();
    line("deadline_header", deadline_header.unwrap_or("off".into()));
    lines
}

fn write_unix(listener: &Listener, line: &mut impl FnMut(&str, String)) {
    if listener.address.value.socket().is_none() {
        let FileRules { mode, user, group } = listener.unix;
        let number = |it: Option<u32>| it.map_or("default".into(), |it| it.to_string());
        line("unix.mode", format!("{mode:04o}"));
        line("unix.user", number(user));
        line("unix.group", number(group));
    }
}

fn write_listener(lines: &mut Lines, listener: &Listener) {
    let mut line = |key: &str, value: String| {
        lines.insert(format!("listeners.{}.{key}", listener.name.value), value);
    };
    line("address", listener.address.value.to_string());
    write_unix(listener, &mut line);
    line("protocol", word(&listener.protocol));
    line("proxy_protocol", word(&listener.proxy_protocol));
    line("direction", listener.direction.as_str().into());
    if let Some(forward) = &listener.forward {
        line("forward", forward.value.clone());
    }
    line("reuse_port", listener.reuse_port.to_string());
    line(
        "normalize.encoded_slash",
        word(&listener.normalize.encoded_slash),
    );
    line(
        "normalize.double_slash",
        word(&listener.normalize.double_slash),
    );
    line(
        "normalize.dot_segments",
        word(&listener.normalize.dot_segments),
    );
    line(
        "timeouts.request_header",
        time(listener.timeouts.request_header),
    );
    line("timeouts.idle", time(listener.timeouts.idle));
    line(
        "timeouts.tls_handshake",
        time(listener.timeouts.tls_handshake),
    );
    if let Some(tls) = &listener.tls {
        tls::write_listener_tls(tls, &mut line);
    }
    line(
        "limits.connections",
        listener.limits.connections.to_string(),
    );
    line(
        "limits.header_bytes",
        listener.limits.header_bytes.to_string(),
    );
    line("limits.headers", listener.limits.headers.to_string());
    let rate = listener.limits.min_body_rate;
    line(
        "limits.min_body_rate",
        rate.map_or("off".into(), |rate| {
            format!("{} per second", Pretty::Bytes(rate.get().into()))
        }),
    );
    limits::write_body_bytes(listener.limits.body_bytes, &mut line);
    limits::write_in_flight(&listener.limits.in_flight, &mut line);
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
    fn a_change_names_path_old_and_new() {
        let mut new = Config::default();
        new.drain.timeout = Duration::from_secs(5);
        assert_eq!(
            changes(&Config::default(), &new),
            ["drain.timeout 30s → 5s"]
        );
    }
}
