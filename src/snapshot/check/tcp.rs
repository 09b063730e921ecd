//! TCP listeners know one upstream and no requests.

use std::collections::BTreeMap;

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Config, Listener, ListenerProtocol};
use crate::config::source::Span;

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
    proxy_headers(config, out);
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

/// A connection that requests of several clients share cannot begin with the address of one.
fn proxy_headers(config: &Config, out: &mut Diagnostics) {
    let of_http = config.listeners.iter();
    let of_http = of_http.filter(|it| it.protocol == ListenerProtocol::Http);
    let of_http = of_http.filter_map(|it| it.forward.as_ref());
    let of_routes = config.routes.iter().flat_map(|route| {
        let mirrors = route.mirrors.iter().map(|mirror| &mirror.upstream);
        route.action.upstreams().chain(mirrors)
    });
    let users: BTreeMap<&str, Span> = (of_http.chain(of_routes))
        .map(|name| (name.value.as_str(), name.at))
        .collect();
    for upstream in &config.upstreams {
        let name = &upstream.name.value;
        let (Some(header), Some(user)) = (&upstream.proxy_protocol, users.get(name.as_str()))
        else {
            continue;
        };
        let message = format!(
            "upstream `{name}` has `proxy_protocol`, and requests of HTTP are forwarded to it"
        );
        out.push(
            Diagnostic::error(message)
                .at(header.at)
                .label("remove it: apps read the client in `X-Forwarded-For`")
                .note("a connection of HTTP is shared by clients, so it cannot begin with the address of one")
                .related(*user, "they are forwarded here"),
        );
    }
}
