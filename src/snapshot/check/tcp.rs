//! TCP listeners know one upstream and no requests.

use std::collections::BTreeMap;

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Config, Listener, ListenerProtocol};

/// A TCP listener needs `forward`, and no route can name it.
pub(super) fn tcp(config: &Config, out: &mut Diagnostics) {
    let listeners = config.listeners.iter();
    let tcp: BTreeMap<&str, &Listener> = listeners
        .filter(|listener| listener.protocol == ListenerProtocol::Tcp)
        .map(|listener| (listener.name.value.as_str(), listener))
        .collect();
    for listener in config.listeners.iter().filter(|it| it.forward.is_none()) {
        if tcp.contains_key(listener.name.value.as_str()) {
            let name = &listener.name;
            let message = format!("TCP listener `{}` has no `forward`", name.value);
            out.push(
                Diagnostic::error(message)
                    .at(name.at)
                    .label("add `forward: UPSTREAM`")
                    .note("routes are for requests; a TCP listener has none"),
            );
        }
    }
    for (name, listener) in &tcp {
        if listener.tls.is_some() {
            let message =
                format!("TCP listener `{name}` has `tls`, which only HTTP is offered with");
            out.push(Diagnostic::error(message).at(listener.name.at).label(
                "remove `tls`: the bytes are passed on as they are, and the app may speak TLS",
            ));
        }
    }
    for route in &config.routes {
        for name in &route.listeners {
            let Some(listener) = tcp.get(name.value.as_str()) else {
                continue;
            };
            let message = format!(
                "route `{}` names listener `{}`, which speaks no HTTP",
                route.name.value, name.value
            );
            out.push(
                Diagnostic::error(message)
                    .at(name.at)
                    .label("remove it")
                    .related(listener.name.at, "`protocol: tcp` stands here"),
            );
        }
    }
}
