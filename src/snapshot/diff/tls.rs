//! `tls` as lines.

use super::word;
use crate::config::model::{Certificate, ListenerTls, UpstreamTls};

/// That of a listener.
pub(super) fn write_listener_tls(tls: &ListenerTls, line: &mut impl FnMut(&str, String)) {
    let pairs: Vec<String> = tls.certificates.iter().map(pair).collect();
    line("tls.certificates", pairs.join(", "));
    let client = tls.client.as_ref();
    if let Some(client) = client {
        let allow = client.allow.as_ref().map(|names| {
            let names: Vec<String> = names.iter().map(|it| it.value.to_string()).collect();
            names.join(", ")
        });
        line("tls.client.allow", allow.unwrap_or("all".into()));
        let header = client.identity_header.clone();
        line(
            "tls.client.identity_header",
            header.unwrap_or("none".into()),
        );
    }
    line(
        "tls.client",
        client.map_or("off".into(), |client| {
            format!("{} by {}", word(&client.mode), client.ca.written.value)
        }),
    );
}

/// That of an upstream.
pub(super) fn write_upstream_tls(tls: &UpstreamTls, line: &mut impl FnMut(&str, String)) {
    let ca = tls.ca.as_ref().map(|ca| ca.written.value.clone());
    line("tls.ca", ca.unwrap_or("the system's".into()));
    let name = tls.server_name.as_ref().map(|name| name.value.clone());
    line("tls.server_name", name.unwrap_or("the endpoint's".into()));
    let certificate = tls.certificate.as_ref().map(pair);
    line("tls.certificate", certificate.unwrap_or("none".into()));
    line("tls.insecure", tls.insecure.value.to_string());
}

fn pair(pair: &Certificate) -> String {
    format!(
        "{} with {}",
        pair.cert.written.value, pair.key.written.value
    )
}
