//! Opens a connection to an endpoint.
//!
//! Path: [`super::carrier`] comes here when the pool has none to give. What is spoken on a connection is decided by the
//! upstream's `protocol`; with TLS it would be what both sides agree on, known when [`Opening::http1`] is done.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::{Connection, Transport};
use super::endpoint::{Endpoint, OpenConnection};
use super::health::words;
use super::http2::{self, Shared};
use super::pool::{HeadLimits, PoolSettings};
use crate::wire::Wire;

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nothing answered in time.
    #[error("no connection within {} ms", .0.as_millis())]
    Timeout(Duration),
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

/// How a connection is to be opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// By when it must be ready.
    pub limit: Duration,
    /// What it is for.
    pub settings: &'a PoolSettings,
}

impl Opening<'_> {
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

    /// A connection for bytes that are not HTTP's; only the bound on connections is of the settings.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn bytes(
        self,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(TcpStream, OpenConnection), ConnectError> {
        noted(endpoint, self.socket(endpoint).await)
    }

    async fn open_http1(self, endpoint: &Arc<Endpoint>) -> Result<Box<Connection>, ConnectError> {
        let (transport, counted) = self.dial(endpoint).await?;
        let mut builder = http1::Builder::new();
        // The buffer holds a head; 64 KiB of it also keep a long answer's cost per byte low, and bound what is held.
        builder
            .max_buf_size(self.settings.head.bytes)
            .preserve_header_case(self.settings.preserve_header_case);
        if self.settings.head.lines != HeadLimits::DEFAULT.lines {
            // Only where it differs: another number than hyper's own is kept on the heap.
            builder.max_headers(self.settings.head.lines);
        }
        let (sender, driver) = builder.handshake(transport).await?;
        Ok(Box::new(Connection::new(sender, driver, counted)))
    }

    async fn open_http2(self, endpoint: &Arc<Endpoint>) -> Result<Shared, ConnectError> {
        let begun = Instant::now();
        let (transport, counted) = self.dial(endpoint).await?;
        // For a request that has no host.
        let named = Authority::try_from(&*endpoint.label);
        let named = named.unwrap_or_else(|_| Authority::from_static("localhost"));
        let target = (Scheme::HTTP, named);
        let shaken = http2::handshake(transport, counted, &self.settings.http2, target);
        timeout_at(begun + self.limit, shaken)
            .await
            .map_err(|_| ConnectError::Timeout(self.limit))?
            .map_err(ConnectError::NotHttp2)
    }

    async fn dial(
        self,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(Transport, OpenConnection), ConnectError> {
        let (stream, counted) = self.socket(endpoint).await?;
        Ok((TokioIo::new(Wire::Tcp(stream)), counted))
    }

    async fn socket(
        self,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(TcpStream, OpenConnection), ConnectError> {
        let counted = endpoint
            .open_connection(self.settings.connections)
            .ok_or(ConnectError::Full)?;
        let stream = timeout(self.limit, TcpStream::connect(endpoint.address))
            .await
            .map_err(|_| ConnectError::Timeout(self.limit))??;
        stream.set_nodelay(true)?;
        Ok((stream, counted))
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
