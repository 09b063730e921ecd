//! Who the client is by its certificate, as the app reads it.
//!
//! Path: [`super::headers`] prepares a request's head. What a client writes into such a field is removed on every listener,
//! also where nobody shows a certificate: an app that reads the field must be able to believe it. As some apps take `_`
//! and `-` for the same in a field's name, so is done here.

use http::HeaderMap;
use http::header::HeaderName;

use super::exchange::Exchange;

/// Writes the client's identity where the listener is to tell it.
pub(super) fn set(exchange: &Exchange, headers: &mut HeaderMap) {
    let names = &exchange.snapshot.identity_headers;
    if names.is_empty() {
        return;
    }
    let forged: Vec<HeaderName> = headers
        .keys()
        .filter(|sent| names.iter().any(|name| is_read_as(sent, name)))
        .cloned()
        .collect();
    for name in forged {
        headers.remove(name);
    }
    if let Some(name) = &exchange.listener.identity_header
        && let Some(identity) = exchange.connection.identity()
    {
        headers.insert(name, identity.clone());
    }
}

fn is_read_as(sent: &HeaderName, name: &HeaderName) -> bool {
    let same = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let (sent, name) = (sent.as_str().bytes(), name.as_str().bytes());
    sent.map(same).eq(name.map(same))
}
