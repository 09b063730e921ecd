//! HTTP/1 or HTTP/2 on a cleartext port: by the connection preface (RFC 9113 §3.4).
//!
//! Path: [`super::connection`] asks once per connection. The bytes are looked at, not taken, so nothing has to be put
//! back in front of the socket.

use std::io;
use std::time::Duration;

use crate::wire::Wire;

/// The first bytes that no HTTP/1 request begins with; the rest of the preface is for hyper to check.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Pause before looking again when so little has come that it could still be both. Rare: a preface cut by the network.
const AGAIN: Duration = Duration::from_millis(5);

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Waits for the first bytes; `None` when the peer closes instead. The caller bounds the wait.
///
/// # Errors
///
/// As the socket reports them.
pub async fn sniff(stream: &Wire) -> io::Result<Option<Protocol>> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        let seen = first.get(..count).unwrap_or_default();
        match judge(seen) {
            None if count == 0 => return Ok(None),
            None => tokio::time::sleep(AGAIN).await,
            decided => return Ok(decided),
        }
    }
}

/// `None`: more bytes are needed.
fn judge(seen: &[u8]) -> Option<Protocol> {
    if !PREFACE.starts_with(seen) {
        Some(Protocol::Http1)
    } else if seen.len() == PREFACE.len() {
        Some(Protocol::Http2)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_bytes_decide() {
        for (seen, expected) in [
            (&b""[..], None),
            (b"P", None),
            (b"PR", None),
            (b"PRI * HTTP/2.0", Some(Protocol::Http2)),
            (b"PROPFIND / HTT", Some(Protocol::Http1)),
            (b"PO", Some(Protocol::Http1)),
            (b"GET / HTTP/1.1", Some(Protocol::Http1)),
            (b"PRI / HTTP/1.1", Some(Protocol::Http1)),
            (b"\r\n", Some(Protocol::Http1)),
        ] {
            assert_eq!(judge(seen), expected, "{seen:?}");
        }
    }
}
