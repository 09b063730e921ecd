//! `listeners.*.tls`, `upstreams.*.tls`

use std::path::PathBuf;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{
    Certificate, ClientMode, ClientTls, ListenerTls, Located, PemFile, UpstreamTls,
};
use super::super::yaml::Value;
use super::fields::{Fields, Item};
use super::{keys, scalars};

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
    Some(ClientTls {
        ca: ca?,
        mode: mode?,
    })
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
    let label = |label: &str| {
        let letters = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        letters && (1..=63).contains(&label.len()) && !label.starts_with('-')
    };
    let is_name = name.value.len() <= 253 && name.value.split('.').all(label);
    if !is_ip && !is_name {
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
