//! The headers in which traces are told, by format.
//!
//! Path: [`super::Tracing`] reads them from the client's request and writes them into the request to the app. A header
//! that comes twice is malformed, for nobody knows which one counts. `baggage` is not about traces and is left alone.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::context::{Flags, Incoming};
use super::ids::{SpanId, TraceId};
use super::{b3, w3c};
use crate::units::header_value::short_value;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// A way to tell a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `traceparent` and `tracestate`.
    W3c,
    /// `b3`.
    B3,
    /// `X-B3-…`.
    B3Multi,
}

impl Format {
    /// What `headers` say in this format; `None`: nothing, or nothing well-formed.
    pub fn read(self, headers: &HeaderMap) -> Option<Incoming> {
        match self {
            Self::W3c => w3c::parse(one(headers, &TRACEPARENT)??),
            Self::B3 => b3::parse(one(headers, &B3)??),
            Self::B3Multi => b3::parse_fields(b3::Fields {
                trace: one(headers, &B3_TRACE)?,
                span: one(headers, &B3_SPAN)?,
                sampled: one(headers, &B3_SAMPLED)?,
                flags: one(headers, &B3_FLAGS)?,
            }),
        }
    }

    /// Writes `span` of `trace` as the app's parent.
    pub fn write(self, headers: &mut HeaderMap, trace: TraceId, span: SpanId, flags: Flags) {
        match self {
            Self::W3c => insert(headers, TRACEPARENT, &w3c::format(trace, span, flags)),
            Self::B3 => insert(headers, B3, &b3::format(trace, span, flags)),
            Self::B3Multi => {
                insert(headers, B3_TRACE, &trace.hex());
                insert(headers, B3_SPAN, &span.hex());
                let sampled = if flags.sampled { "1" } else { "0" };
                let (name, value) = if flags.debug {
                    (B3_FLAGS, "1")
                } else {
                    (B3_SAMPLED, sampled)
                };
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
    }

    /// Removes what this format's headers say.
    pub fn remove(self, headers: &mut HeaderMap) {
        let names: &[HeaderName] = match self {
            Self::W3c => &[TRACEPARENT, TRACESTATE],
            Self::B3 => &[B3],
            Self::B3Multi => &[B3_TRACE, B3_SPAN, B3_PARENT, B3_SAMPLED, B3_FLAGS],
        };
        for name in names {
            headers.remove(name);
        }
    }
}

/// The value of `name`; `None`: it came more than once.
#[expect(clippy::option_option, reason = "none, one and too many")]
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Option<&'h [u8]>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => None,
        (value, None) => Some(value.map(HeaderValue::as_bytes)),
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    // Digits and dashes are always a value.
    if let Some(value) = short_value(value) {
        headers.insert(name, value);
    }
}
