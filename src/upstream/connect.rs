//! Opens a connection to an endpoint.
//!
//! Path: `proxy::attempt` calls it when the pool has none to give.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::Connection;
use super::endpoint::Endpoint;
use super::health::words;
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
}

/// Connects to `endpoint` within `limit`.
///
/// # Errors
///
/// See [`ConnectError`].
pub async fn connect(
    endpoint: &Arc<Endpoint>,
    limit: Duration,
    settings: &PoolSettings,
) -> Result<Box<Connection>, ConnectError> {
    let connected = open(endpoint, limit, settings).await;
    match &connected {
        Ok(_) => endpoint.metrics.connects.inc(),
        Err(ConnectError::Full) => {}
        Err(error) => {
            endpoint.metrics.connect_failures.inc();
            let now = tokio::time::Instant::now().into_std();
            endpoint.note_error(&format!("connect: {}", words(error)), now);
        }
    }
    connected
}

async fn open(
    endpoint: &Arc<Endpoint>,
    limit: Duration,
    settings: &PoolSettings,
) -> Result<Box<Connection>, ConnectError> {
    let counted = endpoint
        .open_connection(settings.connections)
        .ok_or(ConnectError::Full)?;
    let stream = timeout(limit, TcpStream::connect(endpoint.address))
        .await
        .map_err(|_| ConnectError::Timeout(limit))??;
    stream.set_nodelay(true)?;
    let mut builder = http1::Builder::new();
    // The buffer holds a head; 64 KiB of it also keep a long answer's cost per byte low, and bound what is held.
    builder
        .max_buf_size(settings.head.bytes)
        .preserve_header_case(settings.preserve_header_case);
    if settings.head.lines != HeadLimits::DEFAULT.lines {
        // Only where it differs: another number than hyper's own is kept on the heap.
        builder.max_headers(settings.head.lines);
    }
    let (sender, driver) = builder.handshake(TokioIo::new(Wire(stream))).await?;
    Ok(Box::new(Connection::new(sender, driver, counted)))
}
