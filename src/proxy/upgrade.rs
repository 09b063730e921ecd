//! Connections that stop speaking HTTP (RFC 9110 §7.8), such as WebSocket.
//!
//! Path: [`super::forward`] comes here when the endpoint answers 101. Both connections are taken from their protocols
//! and joined; what was an exchange is a pipe from then on. It survives reloads, and ends when both sides have closed,
//! when nothing has moved for as long as the file allows, or at the end of a drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::time::Instant;
use tokio_util::io::{InspectReader, InspectWriter};

use super::attempt::Answer;
use super::body::ProxyBody;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::{headers, verdict};
use crate::telemetry::upgrade::UpgradeMetrics;
use crate::upstream::Upstream;
use crate::upstream::admission::Admission;
use crate::upstream::carrier::Carrier;
use crate::upstream::connect::Dialled;
use crate::upstream::connection::Connection;

/// Looks in the time in which nothing may move: so many in a row that see nothing end a pipe.
const LOOKS: u32 = 4;

/// What a client wants to switch to.
#[derive(Debug)]
pub struct Wish {
    /// Its connection, once it has been answered.
    client: OnUpgrade,
    /// As the app was told.
    protocols: HeaderValue,
}

/// Takes the promise of the client's connection out of a request that asks for one of `protocols`. Boxed, for every
/// request has a place for it and few have one.
pub fn wish(head: &mut Parts, protocols: Option<&HeaderValue>) -> Option<Box<Wish>> {
    let protocols = protocols?.clone();
    let client = head.extensions.remove::<OnUpgrade>()?;
    Some(Box::new(Wish { client, protocols }))
}

impl Wish {
    /// Whether it names everything that the app switches to (RFC 9110 §7.8).
    fn holds(&self, answer: &HeaderMap) -> bool {
        let wanted = self.protocols.to_str().unwrap_or_default();
        let mut chosen = headers::listed(answer, &UPGRADE);
        chosen.all(|name| {
            let mut wanted = wanted.split(',').map(str::trim);
            wanted.any(|it| it.eq_ignore_ascii_case(name))
        })
    }
}

/// Answers 101 and joins both sides once the answer is out.
///
/// # Errors
///
/// [`ProxyError::UnaskedUpgrade`] when the client did not ask, not for this protocol, or cannot switch.
pub fn switch(
    exchange: &Arc<Exchange>,
    wish: Option<Box<Wish>>,
    answer: Answer,
) -> Result<Response<ProxyBody>, ProxyError> {
    let Answer {
        mut head,
        seen,
        body,
    } = answer;
    // HTTP/2 knows no 101, and hyper takes it for an error of the protocol: a connection there is.
    let mut lease = body.into_lease().ok_or(ProxyError::UnaskedUpgrade)?;
    let now = Instant::now().into_std();
    let wish = wish.filter(|wish| wish.holds(&head.headers));
    let Some(client) = wish.map(|wish| wish.client) else {
        let error = ProxyError::UnaskedUpgrade;
        let elapsed = exchange.started.elapsed();
        lease
            .admission
            .report(verdict::of(&error, None), elapsed, now);
        return Err(error);
    };
    let Carrier::Connection(connection) = lease.connection else {
        return Err(ProxyError::UnaskedUpgrade);
    };
    lease.admission.complete(now);
    let protocol = head.headers.get(UPGRADE).cloned();
    headers::prepare_response(&mut head, seen)?;
    head.headers
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        head.headers.insert(UPGRADE, protocol);
    }
    let pipe = Pipe {
        connection,
        admission: lease.admission,
        exchange: Arc::clone(exchange),
    };
    exchange.engine.upgrades.spawn(pipe.run(client));
    Ok(Response::from_parts(head, ProxyBody::full("")))
}

/// Joins `client`, once it has been answered, with an endpoint that knows of no HTTP.
pub(super) fn tunnel(
    exchange: &Arc<Exchange>,
    client: OnUpgrade,
    admission: Admission,
    dialled: Dialled,
) {
    let exchange = Arc::clone(exchange);
    let Dialled {
        stream, counted, ..
    } = dialled;
    let tracker = exchange.engine.upgrades.clone();
    tracker.spawn(async move {
        let upstream = Arc::clone(admission.upstream());
        let joined = async {
            if let Ok(client) = client.await {
                let _open = Open::count(&upstream.metrics.upgrades);
                join(client, (stream, Bytes::new()), (&exchange, &upstream)).await;
            }
        };
        let _ = exchange.engine.cut.run_until_cancelled(joined).await;
        drop((admission, counted));
    });
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
        let upstream = Arc::clone(admission.upstream());
        let joined = async {
            let (client, endpoint) = tokio::join!(client, connection.into_upgraded());
            if let (Ok(client), Some(endpoint)) = (client, endpoint) {
                let _open = Open::count(&upstream.metrics.upgrades);
                join(client, endpoint, (&exchange, &upstream)).await;
            }
        };
        // A cut, an error or an end: in each case both sides are closed by being dropped.
        let _ = cut.run_until_cancelled(joined).await;
        drop((admission, counted));
    }
}

/// Counts a pipe while it is open.
struct Open(IntGauge);

impl Open {
    fn count(metrics: &UpgradeMetrics) -> Self {
        metrics.total.inc();
        metrics.active.inc();
        Self(metrics.active.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// `early` was read from the endpoint together with its answer.
async fn join(
    client: Upgraded,
    (mut endpoint, early): (impl AsyncRead + AsyncWrite + Unpin, Bytes),
    (exchange, upstream): (&Exchange, &Upstream),
) {
    let moved = AtomicU64::new(0);
    let metrics = &upstream.metrics.upgrades;
    let up = |bytes: &[u8]| {
        moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        metrics.up.inc_by(bytes.len() as u64);
        exchange.piped(bytes.len());
    };
    let down = |bytes: &[u8]| {
        moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        metrics.down.inc_by(bytes.len() as u64);
        exchange.sent(bytes.len());
    };
    let mut client = counted(TokioIo::new(client), up, down);
    let talk = async {
        client.write_all(&early).await?;
        copy_bidirectional(&mut client, &mut endpoint).await
    };
    tokio::select! {
        _ = talk => {}
        () = stalled(&moved, upstream.upgraded_idle) => exchange.fail(&ProxyError::UpgradedIdle),
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

/// Completes when nothing has moved for `idle`, or up to a quarter longer: a pipe sets a timer four times in it, not
/// with each byte.
async fn stalled(moved: &AtomicU64, idle: Option<Duration>) {
    let Some(idle) = idle else {
        return std::future::pending().await;
    };
    let mut before = moved.load(Ordering::Relaxed);
    let mut quiet = 0;
    while quiet < LOOKS {
        tokio::time::sleep(idle / LOOKS).await;
        let now = moved.load(Ordering::Relaxed);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
}
