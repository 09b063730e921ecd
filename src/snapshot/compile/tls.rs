//! `tls` → what shakes hands. An equal section is the same object again, which reads its files again; what cannot be
//! used leaves what there was.

use std::sync::Arc;

use super::Environment;
use crate::config::model::{self, Certificate, ClientMode};
use crate::snapshot::Snapshot;
use crate::tls::files::PairFiles;
use crate::tls::server::{ClientFiles, ServerFiles, ServerTls};

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
    match tls.load() {
        Ok(expiries) => environment.metrics.certificates(direction, name, &expiries),
        Err(trouble) => {
            let detail = format!("{name}: {trouble}");
            tracing::warn!(detail, listener = name, "certificate not loaded");
        }
    }
}

/// Lets every listener of `snapshot` read its files again, which may be others under their old names.
pub fn read_again(snapshot: &Snapshot, environment: &Environment) {
    for listener in &snapshot.listeners {
        if let Some(tls) = &listener.tls {
            let direction = listener.direction.as_str();
            load_server(tls, direction, &listener.name, environment);
        }
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
