//! `tls` as lines.

use super::word;
use crate::config::model::{Certificate, ListenerTls};

/// That of a listener.
pub(super) fn write_listener_tls(tls: &ListenerTls, line: &mut impl FnMut(&str, String)) {
    let pairs: Vec<String> = tls.certificates.iter().map(pair).collect();
    line("tls.certificates", pairs.join(", "));
    let client = tls.client.as_ref();
    line(
        "tls.client",
        client.map_or("off".into(), |client| {
            format!("{} by {}", word(&client.mode), client.ca.written.value)
        }),
    );
}

fn pair(pair: &Certificate) -> String {
    format!(
        "{} with {}",
        pair.cert.written.value, pair.key.written.value
    )
}
