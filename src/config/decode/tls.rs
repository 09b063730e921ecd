//! `listeners.*.tls`, `upstreams.*.tls`

use std::path::PathBuf;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{
    Certificate, ClientMode, ClientName, ClientTls, ListenerTls, Located, PemFile, UpstreamTls,
};
use super::super::yaml::Value;
use super::fields::{Fields, Item};
use super::{keys, process, scalars};

/// Reads the `tls` of a listener.
pub(super) fn listener(item: Item<'_>, out: &mut Diagnostics) -> Option<ListenerTls> {
    let fields = Fields::of(item, keys::LISTENER_TLS, out)?;
    let example = "[{ cert: tls.crt, key: tls.key }]";
    let list = fields.required("certificates", example, out);
    let client = fields.get("client").map(|item| client(item, out));
    let certificates = certificates(&list?, out)?;
    let client = match client {
        Some(read) => Some(read?),
        None => None,
    };
    Some(ListenerTls {
        certificates,
        client,
    })
}

/// `None`: one of them could not be read, or there is none.
fn certificates(item: &Item<'_>, out: &mut Diagnostics) -> Option<Vec<Certificate>> {
    let hint = "write a list: `[{ cert: tls.crt, key: tls.key }]`";
    if matches!(&item.node.value, Value::Sequence(items) if items.is_empty()) {
        let message = format!("{} is empty", item.title());
        out.push(Diagnostic::error(message).at(item.key).label(hint));
        return None;
    }
    let items = item.items("certificates", hint, out)?;
    let read: Vec<_> = items
        .into_iter()
        .map(|item| certificate(item, out))
        .collect();
    read.into_iter().collect()
}

fn certificate(item: Item<'_>, out: &mut Diagnostics) -> Option<Certificate> {
    let fields = Fields::of(item, keys::CERTIFICATE, out)?;
    let cert = fields.required("cert", "tls.crt", out);
    let cert = cert.and_then(|item| file(&item, out));
    let key = fields.required("key", "tls.key", out);
    let key = key.and_then(|item| file(&item, out));
    Some(Certificate {
        cert: cert?,
        key: key?,
    })
}

fn client(item: Item<'_>, out: &mut Diagnostics) -> Option<ClientTls> {
    let fields = Fields::of(item, keys::CLIENT_TLS, out)?;
    let words = [
        ("required", ClientMode::Required),
        ("optional", ClientMode::Optional),
    ];
    let mode = match fields.get("mode") {
        Some(item) => scalars::word(&item, &words, out),
        None => Some(ClientMode::default()),
    };
    let ca = fields.required("ca", "ca.crt", out);
    let ca = ca.and_then(|item| file(&item, out));
    let allow = fields.get("allow").map(|item| allow(&item, out));
    let hint = "write a header's name: `x-client-identity`";
    let header = fields.get("identity_header");
    let header = header.map(|item| process::own_header(&item, hint, out));
    Some(ClientTls {
        ca: ca?,
        mode: mode?,
        // What could not be read is no permission.
        allow: allow.map(Option::unwrap_or_default),
        identity_header: header.flatten(),
    })
}

/// `None`: it is no list, or an empty one.
fn allow(item: &Item<'_>, out: &mut Diagnostics) -> Option<Vec<Located<ClientName>>> {
    let hint = "write a list: `[spiffe://cluster.local/ns/app/*, dns:client.internal]`";
    if matches!(&item.node.value, Value::Sequence(items) if items.is_empty()) {
        let message = format!("{} is empty: nobody could come in", item.title());
        out.push(Diagnostic::error(message).at(item.key).label(hint));
        return None;
    }
    let items = item.items("names", hint, out)?;
    let names = items.into_iter().filter_map(|item| {
        let hint = "write `spiffe://domain/path`, `spiffe://domain/*`, `dns:name` or `dns:*.name`";
        let written = scalars::text(&item, "a name", hint, out)?;
        let name = client_name(&written.value);
        if name.is_none() {
            let message = format!("{} cannot be `{}`", item.title(), written.value);
            out.push(Diagnostic::error(message).at(item.at()).label(hint));
        }
        Some(Located::new(name?, written.at))
    });
    Some(names.collect())
}

fn client_name(text: &str) -> Option<ClientName> {
    if let Some(name) = text.strip_prefix("dns:") {
        let name = name.to_ascii_lowercase();
        return match name.strip_prefix("*.") {
            Some(parent) => is_dns(parent).then(|| ClientName::DnsBelow(parent.to_owned())),
            None => is_dns(&name).then_some(ClientName::Dns(name)),
        };
    }
    // SPIFFE ID §2: the characters that are legal, and no segment that is empty or a dot.
    let (domain, path) = match text.strip_prefix("spiffe://")?.split_once('/') {
        Some((domain, path)) => (domain, Some(path)),
        None => (text.strip_prefix("spiffe://")?, None),
    };
    let lower =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let segment = |segment: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(legal)
    };
    if domain.is_empty() || !domain.bytes().all(lower) {
        return None;
    }
    let Some(path) = path else {
        return Some(ClientName::Spiffe(text.to_owned()));
    };
    match path.strip_suffix('*') {
        Some("") => Some(ClientName::SpiffeBelow(format!("spiffe://{domain}/"))),
        Some(above) => {
            let segments = above.strip_suffix('/')?;
            let legal = segments.split('/').all(segment);
            legal.then(|| ClientName::SpiffeBelow(format!("spiffe://{domain}/{above}")))
        }
        None => path
            .split('/')
            .all(segment)
            .then(|| ClientName::Spiffe(text.to_owned())),
    }
}

fn is_dns(name: &str) -> bool {
    let label = |label: &str| {
        let letters = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        letters && (1..=63).contains(&label.len()) && !label.starts_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Reads the `tls` of an upstream.
pub(super) fn upstream(item: Item<'_>, out: &mut Diagnostics) -> Option<UpstreamTls> {
    let section = item.key;
    let fields = Fields::of(item, keys::UPSTREAM_TLS, out)?;
    let ca = fields.get("ca").map(|item| file(&item, out));
    let name = fields
        .get("server_name")
        .map(|item| server_name(&item, out));
    let certificate = fields.get("certificate").map(|item| certificate(item, out));
    let insecure = fields.get("insecure").and_then(|item| {
        let value = scalars::boolean(&item, out)?;
        Some(Located::new(value, item.at()))
    });
    Some(UpstreamTls {
        ca: ca.flatten(),
        server_name: name.flatten(),
        certificate: certificate.flatten(),
        insecure: insecure.unwrap_or(Located::new(false, section)),
    })
}

/// A host name or an IP address, without a port.
fn server_name(item: &Item<'_>, out: &mut Diagnostics) -> Option<Located<String>> {
    let hint = "write a host name without port: `server_name: app.internal`";
    let name = scalars::text(item, "a host name", hint, out)?;
    let is_ip = name.value.parse::<std::net::IpAddr>().is_ok();
    if !is_ip && !is_dns(&name.value) {
        let message = format!("{} cannot be `{}`", item.title(), name.value);
        out.push(Diagnostic::error(message).at(item.at()).label(hint));
        return None;
    }
    Some(Located::new(name.value.to_ascii_lowercase(), name.at))
}

/// A path; [`super::super::tls_files`] finds out from where.
fn file(item: &Item<'_>, out: &mut Diagnostics) -> Option<PemFile> {
    let written = scalars::text(item, "a path", "write the path of a PEM file", out)?;
    let path = PathBuf::from(&written.value);
    Some(PemFile { written, path })
}
