//! Connections that stop speaking HTTP (RFC 9110 §7.8), such as WebSocket.
//!
//! Path: [`super::forward`] comes here when the endpoint answers 101. Both connections are taken from their protocols
//! and joined; what was an exchange is a pipe from then on. It survives reloads, and ends when one side closes, when
//! nothing has moved for an hour, or at the end of a drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::io::{InspectReader, InspectWriter};

use super::attempt::Answer;
use super::body::ProxyBody;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::{headers, verdict};
use crate::upstream::admission::Admission;
use crate::upstream::connection::Connection;

/// A pipe in which nothing moves for this long is taken for abandoned: longer than any keep-alive ping in use.
const IDLE: Duration = Duration::from_secs(3600);

/// Takes the promise of the client's connection out of a request, if the connection can be had.
pub fn client_side(head: &mut Parts) -> Option<OnUpgrade> {
    head.extensions.remove::<OnUpgrade>()
}

/// Answers 101 and joins both sides once the answer is out.
///
/// # Errors
///
/// [`ProxyError::UnaskedUpgrade`] when the client did not ask, or cannot switch.
pub fn switch(
    exchange: &Arc<Exchange>,
    client: Option<OnUpgrade>,
    answer: Answer,
) -> Result<Response<ProxyBody>, ProxyError> {
    let Answer {
        response,
        mut lease,
    } = answer;
    let now = Instant::now().into_std();
    let Some(client) = client else {
        let error = ProxyError::UnaskedUpgrade;
        let elapsed = exchange.started.elapsed();
        lease
            .admission
            .report(verdict::of(&error, None), elapsed, now);
        return Err(error);
    };
    lease.admission.complete(now);
    let protocol = response.headers().get(UPGRADE).cloned();
    let (mut head, _) = response.into_parts();
    headers::prepare_response(&mut head);
    head.headers
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        head.headers.insert(UPGRADE, protocol);
    }
    let pipe = Pipe {
        connection: lease.connection,
        admission: lease.admission,
        exchange: Arc::clone(exchange),
    };
    exchange.engine.upgrades.spawn(pipe.run(client));
    Ok(Response::from_parts(head, ProxyBody::full("")))
}

struct Pipe {
    connection: Box<Connection>,
    admission: Admission,
    exchange: Arc<Exchange>,
}

impl Pipe {
    async fn run(self, client: OnUpgrade) {
        let Self {
            mut connection,
            admission,
            exchange,
        } = self;
        let counted = connection.take_count();
        let cut = exchange.engine.cut.clone();
        let joined = async {
            let (client, endpoint) = tokio::join!(client, connection.into_upgraded());
            if let (Ok(client), Some(endpoint)) = (client, endpoint) {
                join(client, endpoint, &exchange).await;
            }
        };
        // A cut, an error or an end: in each case both sides are closed by being dropped.
        let _ = cut.run_until_cancelled(joined).await;
        drop((admission, counted));
    }
}

/// `early` was read from the endpoint together with its answer.
async fn join(client: Upgraded, (mut endpoint, early): (TcpStream, Bytes), exchange: &Exchange) {
    let moved = AtomicU64::new(0);
    let up = |bytes: &[u8]| {
        moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    };
    let down = |bytes: &[u8]| {
        moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        exchange.sent(bytes.len());
    };
    let mut client = counted(TokioIo::new(client), up, down);
    let talk = async {
        client.write_all(&early).await?;
        copy_bidirectional(&mut client, &mut endpoint).await
    };
    tokio::select! {
        _ = talk => {}
        () = stalled(&moved) => {}
    }
}

/// Shows what is read from `io` and written to it.
pub(super) fn counted<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    read: impl FnMut(&[u8]) + Unpin,
    written: impl FnMut(&[u8]) + Unpin,
) -> impl AsyncRead + AsyncWrite + Unpin {
    InspectWriter::new(InspectReader::new(io, read), written)
}

/// Completes when nothing has moved for [`IDLE`].
async fn stalled(moved: &AtomicU64) {
    let mut before = moved.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(IDLE).await;
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}
