//! The files of `tls`: whether they can be used as they are.
//!
//! They are read here to be judged, and once more by whoever uses them.

use std::path::Path;

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{
    Certificate, Config, EndpointAddress, Listener, PemFile, RateKey, Route, Upstream, UpstreamTls,
};
use crate::snapshot::compile::pair_files;
use crate::tls::files::{self, Trouble};

/// Looks into every file.
pub(super) fn tls(config: &Config, out: &mut Diagnostics) {
    config.listeners.iter().for_each(|it| on_unix(it, out));
    for tls in config.listeners.iter().filter_map(|it| it.tls.as_ref()) {
        (tls.certificates.iter()).for_each(|certificate| pair(certificate, out));
        if let Some(client) = &tls.client {
            authorities(&client.ca, out);
        }
    }
    for route in &config.routes {
        keys_without_identities(config, route, out);
    }
    for upstream in &config.upstreams {
        if let Some(tls) = &upstream.tls {
            on_tcp_only(upstream, out);
            of_upstream(&upstream.name.value, tls, out);
        }
    }
}

/// A count for each identity needs clients that show one.
fn keys_without_identities(config: &Config, route: &Route, out: &mut Diagnostics) {
    let asks = |listener: &Listener| listener.tls.as_ref().is_some_and(|it| it.client.is_some());
    let mut listeners = config.listeners.iter().filter(|listener| {
        let mut named = route.listeners.iter().map(|it| &it.value);
        route.listeners.is_empty() || named.any(|name| *name == listener.name.value)
    });
    let mut rules = route.rate_limits.iter();
    let rule = rules.find(|it| it.key.contains(&RateKey::ClientIdentity));
    if let Some(rule) = rule.filter(|_| !listeners.any(asks)) {
        let name = &route.name.value;
        let message =
            format!("no client of route `{name}` shows a certificate: all have one count");
        out.push(
            Diagnostic::warning(message)
                .at(rule.name.at)
                .label("add `tls: { client: … }` to its listener, or write another `key`"),
        );
    }
}

/// What a unix socket has no use for.
fn on_unix(listener: &Listener, out: &mut Diagnostics) {
    if listener.address.value.socket().is_some() {
        return;
    }
    let name = &listener.name.value;
    for (key, set, why) in [
        ("tls", listener.tls.is_some(), "is never encrypted"),
        ("reuse_port", listener.reuse_port, "has no port to share"),
    ] {
        if set {
            let message = format!("listener `{name}` has `{key}` and a unix socket, which {why}");
            let label = format!("write an IP address and a port, or remove `{key}`");
            out.push(
                Diagnostic::error(message)
                    .at(listener.address.at)
                    .label(label),
            );
        }
    }
}

/// What is on the other side of a unix socket is on this machine.
fn on_tcp_only(upstream: &Upstream, out: &mut Diagnostics) {
    let mut endpoints = upstream.endpoints.iter();
    let unix = endpoints.find(|it| matches!(it.value.address, EndpointAddress::Unix(_)));
    if let Some(endpoint) = unix {
        let message = format!(
            "upstream `{}` has `tls` and a unix socket, which is never encrypted",
            upstream.name.value
        );
        let label = "give it an upstream of its own, without `tls`";
        out.push(Diagnostic::error(message).at(endpoint.at).label(label));
    }
}

fn of_upstream(name: &str, tls: &UpstreamTls, out: &mut Diagnostics) {
    tls.certificate.iter().for_each(|it| pair(it, out));
    match &tls.ca {
        Some(ca) => authorities(ca, out),
        None if tls.insecure.value => {}
        None => {
            if let Err(trouble) = files::system_roots() {
                let message = format!("upstream `{name}` has TLS, but the system {}", trouble.what);
                let at = tls.insecure.at;
                out.push(Diagnostic::error(message).at(at).label(trouble.remedy));
            }
        }
    }
    if tls.insecure.value {
        let message = format!("the certificates of upstream `{name}` are not looked at");
        out.push(
            Diagnostic::warning(message)
                .at(tls.insecure.at)
                .label("anybody in between can read and change what is sent; name a `ca` instead"),
        );
    }
}

fn authorities(ca: &PemFile, out: &mut Diagnostics) {
    if let Err(trouble) = files::roots(&ca.path) {
        tell(&[ca], &trouble, out);
    }
}

fn pair(certificate: &Certificate, out: &mut Diagnostics) {
    let Certificate { cert, key } = certificate;
    match files::pair(&pair_files(certificate)) {
        Err(trouble) => tell(&[cert, key], &trouble, out),
        Ok(_) if files::is_needlessly_open(&key.path) => out.push(
            Diagnostic::warning(format!(
                "every user of this machine may read the key `{}`",
                key.written.value
            ))
            .at(key.written.at)
            .label("let its owner alone read it: `chmod 600`"),
        ),
        Ok(_) => {}
    }
}

fn tell(named: &[&PemFile], trouble: &Trouble, out: &mut Diagnostics) {
    let Some(file) = named.iter().find(|it| it.path == trouble.path) else {
        return;
    };
    let what = with_names(&trouble.what, named);
    out.push(
        Diagnostic::error(format!("`{}` {what}", file.written.value))
            .at(file.written.at)
            .label(trouble.remedy)
            .note(format!("read as {}", file.path.display())),
    );
}

/// Files as the user calls them.
fn with_names(what: &str, named: &[&PemFile]) -> String {
    let shown = |path: &Path| path.display().to_string();
    named.iter().fold(what.to_owned(), |what, file| {
        what.replace(&shown(&file.path), &format!("`{}`", file.written.value))
    })
}
