//! What a connection begins with: a handshake, or the first bytes of HTTP.
//!
//! Path: [`super::connection`] asks once per connection. Without TLS the first bytes tell the protocol; with it the
//! handshake has agreed on one (ALPN), and who did not ask for any speaks HTTP/1.1.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use super::sniff::{Protocol, sniff};
use super::state::ConnState;
use crate::proxy::ConnInfo;
use crate::proxy::respond::PLAIN_HTTP;
use crate::tls::hello::Handshake;
use crate::tls::server::{Accepted, Rejected, ServerTls};
use crate::wire::Wire;

/// How long a client that was refused has to read why.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What is read of it meanwhile, in bytes.
const MOST_UNREAD: usize = 64 * 1024;

/// Waits until it is known what is spoken on `stream`; `None` when the client left, or was not understood.
pub(super) async fn greet(
    stream: Wire,
    info: &ConnInfo,
    state: &ConnState,
) -> Option<(Wire, Protocol)> {
    match &info.listener.tls {
        // Boxed, for what a handshake needs is not to be part of every plain connection.
        Some(tls) => match stream {
            Wire::Tcp(stream) => Box::pin(shake_hands(stream, tls, info, state)).await,
            // The file's check lets no unix socket have TLS.
            Wire::Batched(_) | Wire::Unix(_) | Wire::Tls(_) => None,
        },
        None => {
            let protocol = sniff(&stream).await.ok()??;
            Some((stream, protocol))
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    tls: &ServerTls,
    info: &ConnInfo,
    state: &ConnState,
) -> Option<(Wire, Protocol)> {
    let listener = &info.listener;
    state.handshake_begun();
    let accepted = tls.accept(stream, listener.timeouts.tls_handshake).await;
    let result = match &accepted {
        Ok(_) => Handshake::Ok,
        Err(Rejected { why, .. }) => *why,
    };
    if let Some(metrics) = &listener.handshakes {
        metrics.count(result as usize);
    }
    match accepted {
        Ok(Accepted {
            stream,
            is_http2,
            identity,
        }) => {
            state.handshake_ended();
            if let Some(identity) = identity {
                info.identify(&identity);
            }
            let protocol = if is_http2 {
                Protocol::Http2
            } else {
                Protocol::Http1
            };
            let stream = Box::new(TlsStream::Server(stream));
            Some((Wire::Tls(stream), protocol))
        }
        Err(Rejected { plain, told, .. }) => {
            if let Some(stream) = plain {
                turn_away(stream).await;
            }
            if let Some(stream) = told {
                let _ = timeout(LAST_WORD, read_out(stream)).await;
            }
            None
        }
    }
}

/// A client with TLS 1.3 sends its request before it can learn that it was refused. What is closed with that unread is
/// reset, and the alert is lost; so it is read, a little.
async fn read_out(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut read = 0;
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        read += count;
        if read > MOST_UNREAD {
            break;
        }
    }
}

/// Best effort: a client that is not there anymore does not read it. What it sent is read, lest the answer be lost in a
/// reset.
async fn turn_away(mut stream: TcpStream) {
    let _ = stream.try_read(&mut [0; 8192]);
    let _ = stream.write_all(PLAIN_HTTP).now_or_never();
    let _ = stream.shutdown().await;
}
