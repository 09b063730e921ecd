//! `tls` → what shakes hands. An equal section is the same object again, which reads its files again; what cannot be
//! used leaves what there was.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::Environment;
use super::breakers::Before;
use crate::config::model::{self, Certificate, ClientMode};
use crate::snapshot::Snapshot;
use crate::telemetry::tls::{LoadResult, UPSTREAM};
use crate::tls::client::{self, ClientTls, Trust};
use crate::tls::files::PairFiles;
use crate::tls::server::{ClientFiles, ServerFiles, ServerTls};
use crate::upstream::{Encryption, Upstream};

/// The files of a certificate.
pub(in crate::snapshot) fn pair_files(certificate: &Certificate) -> PairFiles {
    PairFiles {
        cert: certificate.cert.path.clone(),
        key: certificate.key.path.clone(),
    }
}

/// That of a listener.
pub(super) fn listener_tls(
    section: &model::Listener,
    previous: Option<&Snapshot>,
    environment: &Environment,
) -> Option<Arc<ServerTls>> {
    let wanted = section.tls.as_ref()?;
    let name = &section.name.value;
    let same = previous.and_then(|previous| {
        let mut pairs = previous.config.listeners.iter().zip(&previous.listeners);
        let found =
            pairs.find(|(old, _)| old.name.value == *name && old.tls.as_ref() == Some(wanted));
        found.and_then(|(_, listener)| listener.tls.clone())
    });
    let tls = same.unwrap_or_else(|| Arc::new(ServerTls::new(server_files(wanted))));
    load_server(&tls, section.direction.as_str(), name, environment);
    Some(tls)
}

/// Lets it read its files. They were good a moment ago, when they were checked.
fn load_server(tls: &ServerTls, direction: &str, name: &str, environment: &Environment) {
    let metrics = &environment.metrics;
    match tls.load() {
        Ok(expiries) => {
            metrics.certificates(direction, name, &expiries);
            metrics.tls_loaded(direction, name, LoadResult::Loaded);
        }
        Err(trouble) => {
            metrics.tls_loaded(direction, name, LoadResult::Refused);
            let detail = format!("{name}: {trouble}");
            tracing::warn!(detail, listener = name, "certificate not loaded");
        }
    }
}

/// That of an upstream.
pub(super) fn encryption(
    section: &model::Upstream,
    before: Option<Before<'_>>,
) -> Option<Encryption> {
    let wanted = section.tls.as_ref()?;
    let equal = before.filter(|(old, _)| old.tls.as_ref() == Some(wanted));
    let same = equal.and_then(|(_, upstream)| upstream.tls.as_ref());
    let made = || {
        let name = wanted.server_name.as_ref();
        let name = name.and_then(|name| ServerName::try_from(name.value.clone()).ok());
        Arc::new(ClientTls::new(client_files(wanted), name))
    };
    Some(Encryption {
        client: same.map_or_else(made, |same| Arc::clone(&same.client)),
        timeout: section.timeouts.tls,
    })
}

/// Lets it read its files, like a listener.
pub(super) fn load_client(upstream: &Upstream, environment: &Environment) {
    let (Some(tls), name) = (&upstream.tls, &*upstream.name) else {
        return;
    };
    let metrics = &environment.metrics;
    metrics.upstream_unverified(name, tls.client.files().trust == Trust::Blind);
    match tls.client.load() {
        Ok(expires) => {
            metrics.certificates(UPSTREAM, name, expires.as_slice());
            metrics.tls_loaded(UPSTREAM, name, LoadResult::Loaded);
        }
        Err(trouble) => {
            metrics.tls_loaded(UPSTREAM, name, LoadResult::Refused);
            let detail = format!("{name}: {trouble}");
            tracing::warn!(detail, upstream = name, "certificate not loaded");
        }
    }
}

/// Lets every listener and upstream of `snapshot` read its files again, which may be others under their old names.
pub fn read_again(snapshot: &Snapshot, environment: &Environment) {
    for listener in &snapshot.listeners {
        if let Some(tls) = &listener.tls {
            let direction = listener.direction.as_str();
            load_server(tls, direction, &listener.name, environment);
        }
    }
    for upstream in &snapshot.upstreams {
        load_client(upstream, environment);
    }
}

fn client_files(section: &model::UpstreamTls) -> client::ClientFiles {
    client::ClientFiles {
        ca: section.ca.as_ref().map(|ca| ca.path.clone()),
        pair: section.certificate.as_ref().map(pair_files),
        trust: if section.insecure.value {
            Trust::Blind
        } else {
            Trust::Verified
        },
    }
}

fn server_files(section: &model::ListenerTls) -> ServerFiles {
    ServerFiles {
        pairs: section.certificates.iter().map(pair_files).collect(),
        client: section.client.as_ref().map(|client| ClientFiles {
            ca: client.ca.path.clone(),
            may_show_none: client.mode == ClientMode::Optional,
        }),
    }
}
