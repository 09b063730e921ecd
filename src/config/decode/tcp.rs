//! `listeners.*.protocol`, and the keys that only mean something where HTTP is spoken.

use std::time::Duration;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{Listener, ListenerProtocol};
use super::super::yaml::Value;
use super::fields::{Fields, Item};
use super::{keys, scalars};

/// Idle time of a TCP connection: protocols below which nothing is known may rest for long between two questions.
const TCP_IDLE: Duration = Duration::from_secs(3600);

/// Reads `protocol`, and refuses what makes no sense with it; to be called before `timeouts` are read.
pub(super) fn protocol(fields: &Fields<'_>, listener: &mut Listener, out: &mut Diagnostics) {
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
    for (section, taken, known) in [
        ("timeouts", "idle", keys::LISTENER_TIMEOUTS),
        ("limits", "connections", keys::LISTENER_LIMITS),
    ] {
        if let Some(section) = fields.get(section) {
            refuse_others(&section, taken, known, out);
        }
    }
}

/// All keys of `section` but `taken` are of HTTP; keys that are not `known` are told elsewhere.
fn refuse_others(section: &Item<'_>, taken: &str, known: &[&str], out: &mut Diagnostics) {
    let Value::Mapping(entries) = &section.node.value else {
        return;
    };
    for (key, node) in entries {
        let name = key.value.as_str();
        if name != taken && known.contains(&name) {
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
