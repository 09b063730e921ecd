//! `tls` → what shakes hands. An equal section is the same object again, which reads its files again; what cannot be
//! used leaves what there was. Here stands, too, what is told about files that have changed: `app` asks for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderName;
use rustls::pki_types::ServerName;

use super::Environment;
use super::breakers::Before;
use crate::config::model::{self, Certificate, ClientMode, ClientName, Config, Located};
use crate::snapshot::Snapshot;
use crate::telemetry::journal::{Change, Kind};
use crate::telemetry::time::write_rfc3339;
use crate::telemetry::tls::{LoadResult, UPSTREAM};
use crate::tls::client::{self, ClientTls, Trust};
use crate::tls::current::Renewal;
use crate::tls::files::PairFiles;
use crate::tls::identity::Allowed;
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
    let renewal = tls.load();
    let owner = Owner {
        direction,
        name,
        key: format!("listeners.{name}.tls"),
        expiries: tls.expiries(),
    };
    owner.tell(&renewal, environment);
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
    let renewal = tls.client.load();
    let owner = Owner {
        direction: UPSTREAM,
        name,
        key: format!("upstreams.{name}.tls"),
        expiries: tls.client.expiries(),
    };
    owner.tell(&renewal, environment);
}

/// Whose files were read.
struct Owner<'a> {
    direction: &'a str,
    name: &'a str,
    key: String,
    expiries: Vec<i64>,
}

impl Owner<'_> {
    fn tell(&self, renewal: &Renewal, environment: &Environment) {
        let Environment {
            metrics, journal, ..
        } = environment;
        metrics.certificates(self.direction, self.name, &self.expiries);
        let result = match renewal {
            Renewal::Same => return,
            Renewal::First | Renewal::Renewed => LoadResult::Loaded,
            Renewal::Refused(_) => LoadResult::Refused,
        };
        metrics.tls_loaded(self.direction, self.name, result);
        let key = &*self.key;
        let (kind, to, cause) = match renewal {
            Renewal::Same | Renewal::First => return,
            Renewal::Renewed => {
                let ends = self.ends();
                let detail = format!("{key}: new handshakes use them{ends}");
                tracing::info!(detail, key, "tls files renewed");
                (
                    Kind::TlsRenewed,
                    "renewed",
                    format!("the files changed{ends}"),
                )
            }
            Renewal::Refused(trouble) => {
                let detail = format!("{key}: {trouble}; what was read before stays in use");
                tracing::warn!(detail, key, "tls files refused");
                (Kind::TlsRefused, "in_use", trouble.to_string())
            }
        };
        journal.append(Change {
            kind,
            subject: self.key.clone(),
            from: "in_use".into(),
            to: to.into(),
            cause,
        });
    }

    /// `, until 2026-12-24T12:00:00.000Z`; nothing without a certificate.
    fn ends(&self) -> String {
        let Some(first) = self.expiries.iter().min() else {
            return String::new();
        };
        let seconds = u64::try_from(*first).unwrap_or_default();
        let mut text = Vec::new();
        write_rfc3339(&mut text, UNIX_EPOCH + Duration::from_secs(seconds));
        format!(", until {}", String::from_utf8_lossy(&text))
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

/// Every file that `tls` names.
pub fn followed(snapshot: &Snapshot) -> Vec<PathBuf> {
    let of_listeners = snapshot.listeners.iter().filter_map(|it| it.tls.as_ref());
    let of_upstreams = snapshot.upstreams.iter().filter_map(|it| it.tls.as_ref());
    let paths = of_listeners.flat_map(|tls| tls.files().paths());
    let paths = paths.chain(of_upstreams.flat_map(|tls| tls.client.files().paths()));
    paths.map(Path::to_owned).collect()
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
            allowed: client.allow.as_deref().map(allowed),
        }),
    }
}

fn allowed(list: &[Located<ClientName>]) -> Box<[Allowed]> {
    let allowed = |name: &Located<ClientName>| match &name.value {
        ClientName::Spiffe(id) => Allowed::Spiffe(id.as_str().into()),
        ClientName::SpiffeBelow(prefix) => Allowed::SpiffeBelow(prefix.as_str().into()),
        ClientName::Dns(name) => Allowed::Dns(name.as_str().into()),
        ClientName::DnsBelow(parent) => Allowed::DnsBelow(format!(".{parent}").into()),
    };
    list.iter().map(allowed).collect()
}

/// The header in which `section` tells who its clients are.
pub(super) fn identity_header(section: &model::Listener) -> Option<HeaderName> {
    let client = section.tls.as_ref()?.client.as_ref()?;
    client.identity_header.as_ref()?.parse().ok()
}

/// Those of all listeners.
pub(super) fn identity_headers(config: &Config) -> Box<[HeaderName]> {
    config
        .listeners
        .iter()
        .filter_map(identity_header)
        .collect()
}
