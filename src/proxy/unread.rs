//! A request's body that nobody has read when the answer is there.
//!
//! Path: [`super::stack`] asks what a request owes and tells the connection when it is answered without it;
//! [`super::forward`] holds the body in an [`Unread`] until it is wanted. A client that is refused must get to read why:
//! one that waits for `100 Continue` is not asked for its body and told that the connection ends (RFC 9110 §10.1.1); a
//! short body is read and thrown away, so that the connection serves on; a long one meets a connection that ends in peace.

use std::time::Duration;

use http::Version;
use http::header::EXPECT;
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::exchange::Exchange;
use super::seen::{Field, Seen};
use crate::upstream::request_body::UploadState;

/// Bytes of a body that nobody reads, at most: what a form or a call has, not what an upload has.
const MAX_DISCARDED: u64 = 64 * 1024;

/// How long a client may take to send them.
const DISCARD_FOR: Duration = Duration::from_secs(5);

/// What a request's connection still has to carry when its head has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    /// Nothing, or nothing that concerns others: a stream of HTTP/2 ends by itself.
    Nothing,
    /// A body.
    Body,
    /// A body that the client holds back until it is asked for it.
    AwaitedBody,
}

/// What the connection has to know about an answered request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Its body was read, or had none.
    Nothing,
    /// Its body is not read to the end.
    Body,
    /// Its body was never asked for, so that nobody can tell what will come next.
    Unasked,
}

impl Owed {
    /// What a request owes.
    pub fn by<B: Body>(head: &Parts, body: &B) -> Self {
        if body.is_end_stream() || head.version > Version::HTTP_11 {
            Self::Nothing
        } else if head.headers.contains_key(EXPECT) {
            Self::AwaitedBody
        } else {
            Self::Body
        }
    }

    /// What is left of it when `exchange` is answered.
    pub fn left(self, exchange: &Exchange) -> Left {
        let upload = exchange.upload();
        match self {
            Self::Nothing => Left::Nothing,
            _ if upload.is_some_and(|upload| upload.state() == UploadState::Complete) => {
                Left::Nothing
            }
            Self::AwaitedBody if upload.is_none_or(|upload| upload.is_untouched()) => Left::Unasked,
            Self::Body | Self::AwaitedBody => Left::Body,
        }
    }
}

/// A body that is thrown away unless it is taken.
#[derive(Debug)]
pub struct Unread {
    body: Option<Incoming>,
    seen: Seen,
}

impl Unread {
    /// Holds `body`, of a request with these fields.
    pub fn new(body: Incoming, seen: Seen) -> Self {
        Self {
            body: Some(body).filter(|body| !body.is_end_stream()),
            seen,
        }
    }

    /// The body, if there is one.
    pub fn get(&self) -> Option<&Incoming> {
        self.body.as_ref()
    }

    /// The body, if there is one; from here on it is the caller's.
    pub fn take(&mut self) -> Option<Incoming> {
        self.body.take()
    }
}

impl Drop for Unread {
    /// Reads what is left: were it not, the connection would end with bytes unread. A long body is not worth it, nor one
    /// that waits to be asked for.
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else {
            return;
        };
        if self.seen.has(Field::Expect) || body.size_hint().lower() > MAX_DISCARDED {
            return;
        }
        let reading = async move {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if read > MAX_DISCARDED {
                    return;
                }
            }
        };
        // Ends by its timeout, or with the connection, which feeds it.
        tokio::spawn(timeout(DISCARD_FOR, reading));
    }
}
