//! What counts as a failure of an endpoint: one answer for retries, breakers, ejection and metrics.
//!
//! Path: `upstream::admission` asks with an answer's head and its trailers, `proxy::verdict` knows what no answer means;
//! `upstream` passes the verdict on to whoever counts. What the proxy refused by itself, and what a client broke off, is
//! nobody's failure: it never comes here.
//!
//! A gRPC call that fails is a 200 in HTTP; its `grpc-status` comes at the end, in trailers, or in the head when there is
//! nothing else to say (gRPC over HTTP/2, "Trailers-Only"). grpc-web hides its trailers in the body and counts as HTTP.

use std::fmt;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, StatusCode};

/// How an attempt speaks for its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It did its work.
    Success,
    /// It did not.
    Failure(Failure),
    /// It says nothing about the endpoint: the client left, or the proxy refused.
    Ignored,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection was to be had.
    Connect,
    /// A timer ended the wait.
    Timeout,
    /// The connection broke.
    Reset,
    /// What came was not HTTP.
    Protocol,
    /// An answer with this status.
    Status(StatusCode),
    /// An answer with this `grpc-status`.
    Grpc(u16),
    /// An answer that took too long to count as good.
    Slow,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("no connection"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Reset => f.write_str("the connection broke"),
            Self::Protocol => f.write_str("not HTTP"),
            Self::Status(status) => write!(f, "status {}", status.as_u16()),
            Self::Grpc(code) => write!(f, "grpc-status {code}"),
            Self::Slow => f.write_str("too slow"),
        }
    }
}

/// `UNKNOWN`: what a gRPC server says of an error it does not know, and what a missing status means.
pub const GRPC_UNKNOWN: u16 = 2;

/// Codes of gRPC that count by default: what a 500 or 503 is in HTTP. `DEADLINE_EXCEEDED` is not among them, for a client
/// can bring it about with a short `grpc-timeout` and would open the breaker for everybody; the proxy's own timers count.
pub const GRPC_DEFAULT: [u16; 4] = [GRPC_UNKNOWN, 13, 14, 15];

/// HTTP statuses as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses([u64; 10]);

impl Statuses {
    /// Of any numbers; those from 640 up are left out.
    pub fn new(numbers: impl IntoIterator<Item = u16>) -> Self {
        let mut words = [0; 10];
        for number in numbers {
            if let Some(word) = words.get_mut(usize::from(number / 64)) {
                *word |= 1 << (number % 64);
            }
        }
        Self(words)
    }

    /// Whether it is in the set.
    pub fn contains(&self, status: StatusCode) -> bool {
        let number = status.as_u16();
        let word = self.0.get(usize::from(number / 64));
        word.is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

impl Default for Statuses {
    /// 500 to 599 without 501, which says that the request asks for what the app never does.
    fn default() -> Self {
        Self::new((500..600).filter(|number| *number != 501))
    }
}

/// What an upstream's section `failure` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classifier {
    statuses: Statuses,
    grpc: u32,
    slow: Option<Duration>,
}

impl Default for Classifier {
    fn default() -> Self {
        Self::new(Statuses::default(), GRPC_DEFAULT, None)
    }
}

impl Classifier {
    /// Failures are these `statuses`, these codes of `grpc` and answers that take as long as `slow`.
    pub fn new(
        statuses: Statuses,
        grpc: impl IntoIterator<Item = u16>,
        slow: Option<Duration>,
    ) -> Self {
        let bit = |code: u16| 1u32.checked_shl(code.into()).unwrap_or(0);
        Self {
            statuses,
            grpc: grpc.into_iter().map(bit).fold(0, |all, one| all | one),
            slow,
        }
    }

    /// An answer whose head came after `elapsed`.
    pub fn head(&self, status: StatusCode, elapsed: Duration) -> Verdict {
        if self.statuses.contains(status) {
            Verdict::Failure(Failure::Status(status))
        } else {
            self.in_time(elapsed)
        }
    }

    /// A gRPC call that ended with `code` and whose head came after `elapsed`.
    pub fn grpc(&self, code: u16, elapsed: Duration) -> Verdict {
        let bit = 1u32.checked_shl(code.into()).unwrap_or(0);
        if self.grpc & bit != 0 {
            Verdict::Failure(Failure::Grpc(code))
        } else {
            self.in_time(elapsed)
        }
    }

    fn in_time(&self, elapsed: Duration) -> Verdict {
        if self.slow.is_some_and(|slow| elapsed >= slow) {
            Verdict::Failure(Failure::Slow)
        } else {
            Verdict::Success
        }
    }
}

/// How an answer's content has to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The status in its head says it all.
    Plain,
    /// `text/event-stream`: it is meant to be broken off at some time.
    Events,
    /// `application/grpc`, `application/grpc+proto`, …: the end decides.
    Grpc,
}

/// The kind of content that `headers` announce.
pub fn content(headers: &HeaderMap) -> Content {
    let kind = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let after = |name: &[u8]| {
        let (start, rest) = kind.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some(rest)
    };
    match (after(b"application/grpc"), after(b"text/event-stream")) {
        (Some([] | [b'+' | b';' | b' ', ..]), _) => Content::Grpc,
        (_, Some(_)) => Content::Events,
        _ => Content::Plain,
    }
}

/// Whether they are those of a gRPC call.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    content(headers) == Content::Grpc
}

/// `grpc-status`, in a head or in trailers. What cannot be read is `UNKNOWN`.
pub fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    let value = headers.get("grpc-status")?.to_str().ok();
    let code = value.and_then(|value| value.trim().parse().ok());
    Some(code.unwrap_or(GRPC_UNKNOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn by_default_errors_of_the_app_are_failures_and_refusals_are_not() {
        let classifier = Classifier::default();
        for (status, failed) in [
            (200, false),
            (302, false),
            (404, false),
            (429, false),
            (499, false),
            (500, true),
            (501, false),
            (503, true),
            (599, true),
            (999, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let expected = if failed {
                Verdict::Failure(Failure::Status(status))
            } else {
                Verdict::Success
            };
            assert_eq!(classifier.head(status, NOW), expected);
        }
        for (code, failed) in [
            (0, false),
            (2, true),
            (4, false),
            (5, false),
            (14, true),
            (65_535, false),
        ] {
            let verdict = classifier.grpc(code, NOW);
            assert_eq!(verdict != Verdict::Success, failed, "{code}");
        }
    }

    #[test]
    fn a_good_answer_that_takes_too_long_is_a_failure_where_the_file_says_so() {
        let slow = Duration::from_secs(2);
        let classifier = Classifier::new(Statuses::default(), [], Some(slow));
        let verdict = classifier.head(StatusCode::OK, slow);
        assert_eq!(verdict, Verdict::Failure(Failure::Slow));
        let verdict = classifier.head(StatusCode::OK, slow - Duration::from_millis(1));
        assert_eq!(verdict, Verdict::Success);
    }

    #[test]
    fn grpc_is_told_from_what_only_begins_like_it() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
            content(&headers)
        };
        assert_eq!(of("application/grpc"), Content::Grpc);
        assert_eq!(of("Application/gRPC+proto"), Content::Grpc);
        assert_eq!(of("application/grpc; charset=utf-8"), Content::Grpc);
        assert_eq!(of("application/grpc-web+proto"), Content::Plain);
        assert_eq!(of("text/event-stream; charset=utf-8"), Content::Events);
        assert_eq!(of("text/plain"), Content::Plain);
        assert_eq!(content(&HeaderMap::new()), Content::Plain);
    }

    #[test]
    fn a_status_that_cannot_be_read_is_unknown() {
        let of = |text: &'static [u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", HeaderValue::from_bytes(text).unwrap());
            grpc_status(&headers)
        };
        assert_eq!((of(b"14"), of(b" 0 ")), (Some(14), Some(0)));
        assert_eq!(
            (of(b"-1"), of(b"\xff"), of(b"99999999")),
            (Some(2), Some(2), Some(2))
        );
        assert_eq!(grpc_status(&HeaderMap::new()), None);
    }
}
