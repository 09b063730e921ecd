//! Opens a connection to an endpoint.
//!
//! Path: [`super::carrier`] comes here when the pool has none to give, `proxy::tcp` always. What is spoken is decided
//! before, by the upstream's `protocol` and the request; with TLS just that is offered (ALPN). Each step has a limit of
//! its own, and all of them end with the request's time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsStream;

use super::connection::Connection;
use super::endpoint::{Endpoint, OpenConnection};
use super::health::words;
use super::http2::{self, Shared};
use super::pool::{HeadLimits, PoolSettings};
use super::proxy_header::Ends;
use super::{Encryption, Upstream};
use crate::tls::client::{Offer, Peer};
use crate::tls::fault::Fault;
pub use crate::tls::fault::FaultKind;
use crate::wire::Wire;

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nothing answered in time.
    #[error("no connection within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// TCP was there in time, TLS was not.
    #[error("no TLS handshake within {} ms", .0.as_millis())]
    TlsTimeout(Duration),
    /// The two do not agree on TLS.
    #[error("TLS: {0}")]
    Tls(Box<Fault>),
    /// The system says why.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// As many connections as may be are open, all of them in use.
    #[error("as many connections as may be are open")]
    Full,
    /// The connection broke before it was ready.
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
    /// What it says, if anything, is not HTTP/2.
    #[error("the endpoint does not speak HTTP/2 ({}); is `protocol` right?", told(.0.as_ref()))]
    NotHttp2(Option<hyper::Error>),
    /// It speaks HTTP/2 and takes no request.
    #[error("the endpoint allows no stream")]
    NoStreams,
}

fn told(error: Option<&hyper::Error>) -> String {
    error.map_or_else(|| "it closed the connection".to_owned(), |it| words(it))
}

impl ConnectError {
    /// That the endpoint has refused our certificate, or asks for one, if this is what lies below `error`.
    pub fn refused(error: &hyper::Error) -> Option<Self> {
        Some(Self::Tls(Box::new(Fault::refusal(error)?)))
    }

    /// What a connection that ended before the endpoint's settings came means, where `agreed` tells whether HTTP/2 was agreed
    /// on in the handshake. Then only its refusal of us is left, of which the alert mostly got lost on the way.
    fn not_http2(error: Option<hyper::Error>, agreed: bool) -> Self {
        if let Some(refused) = error.as_ref().and_then(Self::refused) {
            return refused;
        }
        // A word of HTTP/2 in it tells more.
        let said = |error: &hyper::Error| http2::reason(error).and_then(h2::Error::reason);
        if agreed && error.as_ref().and_then(said).is_none() {
            return Self::Tls(Box::new(Fault::broken_off()));
        }
        Self::NotHttp2(error)
    }

    /// Whether time is all there was too little of.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::TlsTimeout(_))
    }
}

/// How a connection is to be opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    upstream: &'a Upstream,
    /// What the request has left; `None`: as long as it takes.
    left: Option<Duration>,
    /// What it is for.
    pub settings: &'a PoolSettings,
}

/// A connection for bytes.
#[derive(Debug)]
pub struct Dialled {
    /// What they go through.
    pub stream: Wire,
    /// Counts it while it is held.
    pub counted: OpenConnection,
    /// How long the TLS handshake took, if there was one.
    pub handshake_time: Option<Duration>,
}

impl<'a> Opening<'a> {
    /// To an endpoint of `upstream`, for a request that has `left`.
    pub fn to(upstream: &'a Upstream, left: Option<Duration>) -> Self {
        Self {
            upstream,
            left,
            settings: &upstream.pool,
        }
    }

    /// The longest time that it can take.
    pub fn whole(&self) -> Duration {
        let tls = self.upstream.tls.as_ref().map(|tls| tls.timeout);
        let steps = self.upstream.connect_timeout + tls.unwrap_or_default();
        self.left.map_or(steps, |left| left.min(steps))
    }

    /// A connection of HTTP/1.1.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn http1(self, endpoint: &Arc<Endpoint>) -> Result<Box<Connection>, ConnectError> {
        noted(endpoint, self.open_http1(endpoint).await)
    }

    /// A connection of HTTP/2 whose peer has told its settings.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn http2(self, endpoint: &Arc<Endpoint>) -> Result<Shared, ConnectError> {
        noted(endpoint, self.open_http2(endpoint).await)
    }

    /// A connection for bytes that are not HTTP's; only the bound on connections is of the settings. `ends` is for the PROXY
    /// header, if the upstream wants one.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn bytes(
        self,
        endpoint: &Arc<Endpoint>,
        ends: Option<Ends>,
    ) -> Result<Dialled, ConnectError> {
        let header = self.upstream.proxy_header.map(|header| header.of(ends));
        noted(endpoint, self.dial(endpoint, Offer::Bytes, header).await)
    }

    async fn open_http1(self, endpoint: &Arc<Endpoint>) -> Result<Box<Connection>, ConnectError> {
        let Dialled {
            stream,
            counted,
            handshake_time,
        } = self.dial(endpoint, Offer::Http1, None).await?;
        let mut builder = http1::Builder::new();
        // The buffer holds a head; 64 KiB of it also keep a long answer's cost per byte low, and bound what is held.
        builder
            .max_buf_size(self.settings.head.bytes)
            .preserve_header_case(self.settings.preserve_header_case);
        if self.settings.head.lines != HeadLimits::DEFAULT.lines {
            // Only where it differs: another number than hyper's own is kept on the heap.
            builder.max_headers(self.settings.head.lines);
        }
        let (sender, driver) = builder.handshake(TokioIo::new(stream.batched())).await?;
        let connection = Connection::new(sender, driver, counted);
        Ok(Box::new(connection.shaken_in(handshake_time)))
    }

    async fn open_http2(self, endpoint: &Arc<Endpoint>) -> Result<Shared, ConnectError> {
        let begun = Instant::now();
        let Dialled {
            stream,
            counted,
            handshake_time,
        } = self.dial(endpoint, Offer::Http2, None).await?;
        let scheme = match stream.is_encrypted() {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        };
        let agreed = stream.has_agreed_on_http2();
        // For a request that has no host.
        let named = Authority::try_from(endpoint.address.host());
        let named = named.unwrap_or_else(|_| Authority::from_static("localhost"));
        let transport = TokioIo::new(stream.batched());
        let shaken = http2::handshake(transport, counted, &self.settings.http2, (scheme, named));
        let mut shared = timeout_at(begun + self.whole(), shaken)
            .await
            .map_err(|_| ConnectError::Timeout(self.whole()))?
            .map_err(|error| ConnectError::not_http2(error, agreed))?;
        shared.handshake_time = handshake_time;
        Ok(shared)
    }

    async fn dial(
        self,
        endpoint: &Arc<Endpoint>,
        offer: Offer,
        header: Option<Vec<u8>>,
    ) -> Result<Dialled, ConnectError> {
        let begun = Instant::now();
        let counted = endpoint
            .open_connection(self.settings.connections)
            .ok_or(ConnectError::Full)?;
        let limit = self.upstream.connect_timeout;
        let limit = self.left.map_or(limit, |left| left.min(limit));
        let mut stream = timeout(limit, endpoint.address.connect())
            .await
            .map_err(|_| ConnectError::Timeout(limit))??;
        if let Some(header) = header {
            // The first bytes on a fresh connection always fit into the system's buffer.
            stream.write_all(&header).await?;
        }
        let connected = Instant::now();
        let stream = match &self.upstream.tls {
            None => stream,
            Some(tls) => {
                let left = self.left.map(|left| left.saturating_sub(begun.elapsed()));
                let limit = left.map_or(tls.timeout, |left| left.min(tls.timeout));
                // Boxed: a plain connection's future need not have room for it.
                let shaken = Box::pin(self.upstream.shake_hands(tls, endpoint, stream, offer));
                timeout(limit, shaken)
                    .await
                    .map_err(|_| ConnectError::TlsTimeout(limit))?
                    .map_err(|fault| ConnectError::Tls(Box::new(fault)))?
            }
        };
        let handshake_time = stream.is_encrypted().then(|| connected.elapsed());
        Ok(Dialled {
            stream,
            counted,
            handshake_time,
        })
    }
}

impl Upstream {
    /// Encrypts a fresh connection to `endpoint`. The caller bounds the wait.
    ///
    /// # Errors
    ///
    /// See [`Fault`].
    pub(super) async fn shake_hands(
        &self,
        tls: &Encryption,
        endpoint: &Endpoint,
        stream: Wire,
        offer: Offer,
    ) -> Result<Wire, Fault> {
        // The configuration is refused that wants it on a socket of this machine.
        let (Wire::Tcp(stream), Some(ip)) = (stream, endpoint.address.ip()) else {
            return Err(Fault::no_tcp());
        };
        let discovery = self.discovery.as_ref();
        let host = discovery.and_then(|it| it.host_of(&endpoint.address));
        let peer = Peer {
            host: host.as_deref(),
            ip,
        };
        let stream = tls.client.connect(stream, peer, offer).await?;
        Ok(Wire::Tls(Box::new(TlsStream::Client(stream))))
    }
}

fn noted<T>(
    endpoint: &Arc<Endpoint>,
    connected: Result<T, ConnectError>,
) -> Result<T, ConnectError> {
    match &connected {
        Ok(_) => endpoint.metrics.connects.inc(),
        Err(ConnectError::Full) => {}
        Err(error) => {
            endpoint.metrics.connect_failures.inc();
            let now = Instant::now().into_std();
            endpoint.note_error(&format!("connect: {}", words(error)), now);
        }
    }
    connected
}
