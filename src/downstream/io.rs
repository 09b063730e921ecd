//! The client's socket, noting what moves.
//!
//! Path: [`super::connection`] gives it to hyper. It adds no system call, and no buffer but [`crate::wire::outbox`]. What
//! passes is shown to the reader of its protocol, which finds what hyper does not tell: [`super::framing`],
//! [`super::frames`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::framing::Framing;
use super::sniff::Protocol;
use super::state::{ConnState, Order, Phase};
use crate::telemetry::protocol::Offence;
use crate::wire::Wire;

/// A socket and the state it keeps up to date.
#[derive(Debug)]
pub struct TrackedIo {
    stream: Wire,
    state: Arc<ConnState>,
    reader: Reader,
    /// Whether to look if the client is still there.
    watching: bool,
    /// Gone when HTTP has ended: a side that is closed then means no more than that.
    http: Weak<()>,
}

/// Who reads along.
#[derive(Debug)]
enum Reader {
    Http1(Framing),
    Http2(Box<Frames>),
}

/// GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 §6.8): nothing is promised about any stream.
const CALM_DOWN: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];

impl TrackedIo {
    /// Wraps `stream`, on which `protocol` is spoken for as long as `http` is held.
    pub fn new(stream: Wire, state: Arc<ConnState>, protocol: Protocol, http: &Arc<()>) -> Self {
        let reader = match protocol {
            Protocol::Http1 => Reader::Http1(Framing::default()),
            Protocol::Http2 => Reader::Http2(Box::default()),
        };
        Self {
            stream: stream.batched(),
            state,
            reader,
            watching: true,
            http: Arc::downgrade(http),
        }
    }

    /// Whether a client that leaves while its request is under way is noticed here. Then hyper need not read ahead in order
    /// to notice it, which takes a buffer for each request.
    pub fn tells_leaving(&self) -> bool {
        matches!(self.reader, Reader::Http1(_)) && self.stream.tells_leaving()
    }

    /// Whether the client has left a request that is under way.
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        let watches = self.watching && self.state.is_active() && self.tells_leaving();
        if !watches || self.http.strong_count() == 0 {
            return false;
        }
        match self.stream.poll_left(cx) {
            Poll::Ready(true) => true,
            Poll::Ready(false) => {
                // As long as that is not read nothing behind it can be seen.
                self.watching = false;
                false
            }
            Poll::Pending => false,
        }
    }

    fn wrote(&mut self, outcome: &Poll<io::Result<usize>>) {
        self.state.write_blocked(outcome.is_pending());
        if let (Reader::Http2(frames), Poll::Ready(Ok(bytes))) = (&mut self.reader, outcome) {
            frames.wrote(*bytes);
        }
    }

    fn read_along(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        match &mut self.reader {
            Reader::Http1(framing) => {
                if let Some((number, offence)) = framing.read(bytes) {
                    self.state.offend(number, offence);
                }
            }
            Reader::Http2(frames) => {
                let offence = frames.read(bytes);
                self.state.saw_frame(frames.last_kind());
                if let Some(offence) = offence
                    && self.state.order() < Order::Abuse
                {
                    self.end(cx, offence);
                }
            }
        }
    }

    /// Tells the peer, if it takes what it is told: then nothing is half written.
    fn end(&mut self, cx: &mut Context<'_>, offence: Offence) {
        self.state.offend(0, offence);
        if self.state.phase() != Phase::Blocked {
            // Best effort: the connection ends either way.
            let _ = Pin::new(&mut self.stream).poll_write(cx, &CALM_DOWN);
        }
        self.state.give(Order::Abuse);
    }
}

impl AsyncRead for TrackedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.watching = true;
            self.state.bytes_read();
            let new = buffer.filled().get(before..).unwrap_or_default();
            self.read_along(cx, new);
            if self.state.any_offence() == Some(Offence::NotHttp) {
                // An error on the way is what nobody is answered for.
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        outcome
    }
}

impl AsyncWrite for TrackedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.state.write_blocked(flushed.is_pending());
        // hyper flushes with each poll, and cancels what is under way when that fails.
        if self.has_left(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
