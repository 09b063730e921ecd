//! The life of one client connection.
//!
//! Path: [`super::worker`] spawns [`serve`] for each accepted socket. The protocol is found by [`super::greeting`], then
//! hyper serves it; between its polls the orders of [`super::state`] are obeyed.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;

use super::breach;
use super::greeting::greet;
use super::io::TrackedIo;
use super::linger::linger;
use super::sniff::Protocol;
use super::state::{ConnState, Order};
use crate::proxy::error::ProxyError;
use crate::proxy::respond::before_a_request;
use crate::proxy::service::ConnService;
use crate::proxy::stack::stack;
use crate::proxy::tcp;
use crate::proxy::{ConnInfo, ConnObserver, Engine};
use crate::snapshot::{Listener, ListenerLimits, TcpForward};
use crate::telemetry::protocol::Offence;
use crate::wire::Wire;

/// HTTP/2 flow-control windows: small per stream, large per connection, so that one slow upload does not stop the
/// others (RFC 9113 §6.9).
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Streams a client may have open at once.
const MAX_STREAMS: u32 = 100;

/// Streams that a client may have reset before they were even looked at (CVE-2023-44487); the library's own number.
const MAX_RESETS: usize = 20;

/// Streams with mistakes in them that are refused before the connection is (CVE-2025-8671); the library's own number.
const MAX_REFUSED: usize = 1024;

/// Answer bytes that may wait for the client in an HTTP/2 stream.
const SEND_BUFFER: usize = 64 * 1024;

/// Smallest buffer hyper accepts.
const MIN_BUFFER: usize = 8 * 1024;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By agreement, or because the peer left.
    Closed,
    /// By an order.
    Ordered(Order),
    /// Because the peer broke the protocol.
    Broken(Offence),
}

/// Serves `stream` to its end.
pub async fn serve(
    stream: Wire,
    info: Arc<ConnInfo>,
    state: Arc<ConnState>,
    engine: Arc<Engine>,
) -> End {
    if let Some(forward) = &info.listener.tcp {
        return serve_tcp(stream, &info, &state, forward).await;
    }
    let greeted = obeying(&state, greet(stream, &info, &state)).await;
    let (stream, protocol) = match greeted {
        Err(order) => return End::Ordered(order),
        Ok(Some(greeted)) => greeted,
        Ok(None) => return End::Closed,
    };
    let http = Arc::new(());
    let io = TrackedIo::new(stream, Arc::clone(&state), protocol, &http);
    let service = ConnService::new(stack(), Arc::clone(&engine), Arc::clone(&info));
    match protocol {
        Protocol::Http1 => {
            let preserve_case = engine.snapshots.load().preserves_header_case();
            let mut builder = http1_builder(&info.listener, preserve_case);
            builder.half_close(io.tells_leaving());
            let connection = builder.serve_connection(TokioIo::new(io), service);
            let mut connection = Box::pin(connection.with_upgrades());
            let end = obey(&state, &mut connection, |connection| {
                connection.as_mut().graceful_shutdown()
            })
            .await;
            // Before whoever talks on after a switch of protocols has its turn.
            drop(http);
            let late = end == End::Ordered(Order::HeaderTimeout);
            let unread = end == End::Closed && state.has_unread();
            if (late || unread)
                && let Some(parts) = Pin::into_inner(connection).into_parts()
            {
                let io = parts.io.into_inner();
                if late {
                    say(
                        io,
                        &before_a_request(&engine, &info, &ProxyError::HeaderTimeout),
                    );
                } else {
                    Box::pin(linger(&state, io)).await;
                }
            }
            end
        }
        Protocol::Http2 => {
            state.set_multiplexed();
            let builder = http2_builder(&info.listener);
            let mut connection = Box::pin(builder.serve_connection(TokioIo::new(io), service));
            obey(&state, &mut connection, |connection| {
                connection.as_mut().graceful_shutdown()
            })
            .await
        }
    }
}

/// One long exchange: its own timer ends it, a drain waits for it, a cut ends it.
async fn serve_tcp(stream: Wire, info: &ConnInfo, state: &ConnState, forward: &TcpForward) -> End {
    state.exchange_started();
    let idle = info.listener.timeouts.idle;
    let served = obeying(state, tcp::serve(stream, info.peer, forward, idle)).await;
    served.map_or_else(End::Ordered, |()| End::Closed)
}

/// Best effort: a client that is not there anymore does not read it.
fn say(mut io: TrackedIo, answer: &[u8]) {
    let _ = io.write_all(answer).now_or_never();
    let _ = io.flush().now_or_never();
}

fn http1_builder(listener: &Listener, preserve_case: bool) -> http1::Builder {
    let mut builder = http1::Builder::new();
    let head = usize::try_from(listener.limits.header_bytes).unwrap_or(usize::MAX);
    // No timer: see `state`. The buffer holds a head and lets bodies move in chunks of the same size.
    builder
        .max_buf_size(head.max(MIN_BUFFER))
        .max_header_size(head)
        .preserve_header_case(preserve_case);
    let default_headers = ListenerLimits::default().headers;
    if listener.limits.headers != default_headers {
        // Only where it differs: another number than hyper's own is kept on the heap, at a cost for each request.
        builder.max_headers(usize::try_from(listener.limits.headers).unwrap_or(usize::MAX));
    }
    builder
}

fn http2_builder(listener: &Listener) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(listener.limits.header_bytes)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_REFUSED);
    builder
}

/// Polls `connection` to its end, or until an order ends it; `finish` asks it to end after the requests under way.
async fn obey<C>(
    state: &ConnState,
    connection: &mut Pin<Box<C>>,
    finish: impl Fn(&mut Pin<Box<C>>),
) -> End
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut finishing = false;
    let mut registered = false;
    poll_fn(|cx| {
        register_once(state, cx, &mut registered);
        loop {
            let order = state.order();
            match order {
                Order::Serve => {}
                Order::Finish if finishing => {}
                Order::Finish => {
                    finishing = true;
                    finish(connection);
                }
                Order::HeaderTimeout | Order::IdleTimeout | Order::Abuse | Order::Cut => {
                    return Poll::Ready(End::Ordered(order));
                }
            }
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                let breach = outcome
                    .err()
                    .and_then(|error| breach::of(&error, state.last_frame()));
                return Poll::Ready(breach.map_or(End::Closed, End::Broken));
            }
            // The poll may have begun an exchange on a draining connection, which is an order, too.
            if state.order() == order {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// Waits for `future` unless an order comes first.
pub(super) async fn obeying<F: Future>(state: &ConnState, future: F) -> Result<F::Output, Order> {
    let mut future = std::pin::pin!(future);
    let mut registered = false;
    poll_fn(|cx| {
        register_once(state, cx, &mut registered);
        match state.order() {
            Order::Serve => future.as_mut().poll(cx).map(Ok),
            order => Poll::Ready(Err(order)),
        }
    })
    .await
}

fn register_once(state: &ConnState, cx: &Context<'_>, registered: &mut bool) {
    if !*registered {
        state.serve_by(cx.waker());
        *registered = true;
    }
}
