//! `listeners.*.protocol`, and the keys that only mean something where HTTP is spoken.

use std::time::Duration;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{Listener, ListenerProtocol, Located, ProxyHeaderVersion, ProxyProtocol};
use super::super::yaml::Value;
use super::fields::{Fields, Item};
use super::{keys, scalars};

/// Idle time of a TCP connection: protocols below which nothing is known may rest for long between two questions.
const TCP_IDLE: Duration = Duration::from_secs(3600);

/// Reads `proxy_protocol` of an upstream.
pub(super) fn proxy_header(
    fields: &Fields<'_>,
    out: &mut Diagnostics,
) -> Option<Located<ProxyHeaderVersion>> {
    let words = [
        ("off", None),
        ("v1", Some(ProxyHeaderVersion::V1)),
        ("v2", Some(ProxyHeaderVersion::V2)),
    ];
    let item = fields.get("proxy_protocol")?;
    let version = scalars::word(&item, &words, out)??;
    Some(Located::new(version, item.at()))
}

fn proxy_protocol(fields: &Fields<'_>, listener: &mut Listener, out: &mut Diagnostics) {
    let words = [
        ("off", ProxyProtocol::Off),
        ("optional", ProxyProtocol::Optional),
        ("required", ProxyProtocol::Required),
    ];
    let read = fields.get("proxy_protocol");
    let read = read.and_then(|item| scalars::word(&item, &words, out));
    listener.proxy_protocol = read.unwrap_or_default();
}

/// Reads `protocol` and `proxy_protocol`, and refuses what makes no sense with them; to be called before `timeouts` are read.
pub(super) fn protocol(fields: &Fields<'_>, listener: &mut Listener, out: &mut Diagnostics) {
    proxy_protocol(fields, listener, out);
    let words = [
        ("http", ListenerProtocol::Http),
        ("tcp", ListenerProtocol::Tcp),
    ];
    let read = fields.get("protocol");
    let read = read.and_then(|item| scalars::word(&item, &words, out));
    listener.protocol = read.unwrap_or_default();
    if listener.protocol == ListenerProtocol::Http {
        return;
    }
    listener.timeouts.idle = TCP_IDLE;
    if let Some(item) = fields.get("normalize") {
        refuse(&item, out);
    }
    // The only head that is waited for is a PROXY header.
    let timeouts: &[&str] = match listener.proxy_protocol {
        ProxyProtocol::Off => &["idle"],
        ProxyProtocol::Optional | ProxyProtocol::Required => &["idle", "request_header"],
    };
    for (section, taken, known) in [
        ("timeouts", timeouts, keys::LISTENER_TIMEOUTS),
        ("limits", &["connections"], keys::LISTENER_LIMITS),
    ] {
        if let Some(section) = fields.get(section) {
            refuse_others(&section, taken, known, out);
        }
    }
}

/// All keys of `section` but `taken` are of HTTP; keys that are not `known` are told elsewhere.
fn refuse_others(section: &Item<'_>, taken: &[&str], known: &[&str], out: &mut Diagnostics) {
    let Value::Mapping(entries) = &section.node.value else {
        return;
    };
    for (key, node) in entries {
        let name = key.value.as_str();
        if !taken.contains(&name) && known.contains(&name) {
            refuse(&section.child(key, node), out);
        }
    }
}

fn refuse(item: &Item<'_>, out: &mut Diagnostics) {
    let message = format!("{} means nothing with `protocol: tcp`", item.title());
    out.push(
        Diagnostic::error(message)
            .at(item.key)
            .label("remove it")
            .note("bytes are passed on unread: there are no requests, heads or paths"),
    );
}
