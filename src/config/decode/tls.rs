//! `listeners.*.tls`

use std::path::PathBuf;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{Certificate, ClientMode, ClientTls, ListenerTls, PemFile};
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

/// A path; [`super::super::tls_files`] finds out from where.
fn file(item: &Item<'_>, out: &mut Diagnostics) -> Option<PemFile> {
    let written = scalars::text(item, "a path", "write the path of a PEM file", out)?;
    let path = PathBuf::from(&written.value);
    Some(PemFile { written, path })
}
