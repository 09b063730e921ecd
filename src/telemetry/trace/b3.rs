//! Zipkin's headers: `b3: <trace>-<span>-<decision>-<parent>`, or one header for each of them.
//!
//! Source: <https://github.com/openzipkin/b3-propagation>. A trace's id may have 16 digits; it is written with 32. What
//! is malformed is no parent.

use super::context::{Flags, Incoming, Remote};
use super::ids::{SpanId, TraceId};

/// Longest value written.
pub const LENGTH: usize = 51;

/// What `b3` says; `None` if it is malformed.
pub fn parse(value: &[u8]) -> Option<Incoming> {
    if let Some(decision) = decision(value) {
        return Some(incoming(None, Some(decision)));
    }
    let mut fields = value.split(|byte| *byte == b'-');
    let trace = trace_id(fields.next()?)?;
    let span = SpanId::parse(fields.next()?)?;
    let decision = match fields.next() {
        Some(field) => Some(decision(field)?),
        None => None,
    };
    if let Some(parent) = fields.next() {
        SpanId::parse(parent)?;
    }
    if fields.next().is_some() {
        return None;
    }
    Some(incoming(Some(Remote { trace, span }), decision))
}

/// The fields of the form with many headers; each is absent or came once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'v> {
    /// `X-B3-TraceId`
    pub trace: Option<&'v [u8]>,
    /// `X-B3-SpanId`
    pub span: Option<&'v [u8]>,
    /// `X-B3-Sampled`
    pub sampled: Option<&'v [u8]>,
    /// `X-B3-Flags`
    pub flags: Option<&'v [u8]>,
}

/// What many headers say; `None` if they say nothing, or one of them is malformed.
pub fn parse_fields(fields: Fields<'_>) -> Option<Incoming> {
    let told = match (fields.flags, fields.sampled) {
        (Some(b"1"), _) => Some(Decision::Debug),
        (_, None) => None,
        // Early tracers wrote words.
        (_, Some(b"true")) => Some(Decision::Sampled),
        (_, Some(b"false")) => Some(Decision::Not),
        (_, Some(field)) => Some(decision(field).filter(|it| *it != Decision::Debug)?),
    };
    let remote = match (fields.trace, fields.span) {
        (None, None) => None,
        (trace, span) => Some(Remote {
            trace: trace_id(trace?)?,
            span: SpanId::parse(span?)?,
        }),
    };
    (remote.is_some() || told.is_some()).then(|| incoming(remote, told))
}

/// The value of `b3` that names `span` of `trace`.
pub fn format(trace: TraceId, span: SpanId, flags: Flags) -> [u8; LENGTH] {
    let mut value = [b'-'; LENGTH];
    value[..32].copy_from_slice(&trace.hex());
    value[33..49].copy_from_slice(&span.hex());
    value[50] = match flags {
        Flags { debug: true, .. } => b'd',
        Flags { sampled: true, .. } => b'1',
        _ => b'0',
    };
    value
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Not,
    Sampled,
    Debug,
}

fn decision(field: &[u8]) -> Option<Decision> {
    Some(match field {
        b"0" => Decision::Not,
        b"1" => Decision::Sampled,
        b"d" => Decision::Debug,
        _ => return None,
    })
}

fn incoming(remote: Option<Remote>, decision: Option<Decision>) -> Incoming {
    let sampled = decision.map(|decision| decision != Decision::Not);
    Incoming {
        remote,
        sampled,
        flags: Flags {
            sampled: sampled == Some(true),
            random: false,
            debug: decision == Some(Decision::Debug),
        },
    }
}

fn trace_id(field: &[u8]) -> Option<TraceId> {
    match field.len() {
        16 => SpanId::parse(field).map(|id| TraceId(id.0.into())),
        _ => TraceId::parse(field),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    fn read(value: &str) -> Option<(Option<String>, Option<bool>, bool)> {
        let read = parse(value.as_bytes())?;
        let trace = read.remote.map(|remote| remote.trace.to_string());
        Some((trace, read.sampled, read.flags.debug))
    }

    #[test]
    fn all_forms_of_the_single_header_are_read() {
        let id = Some(TRACE.to_owned());
        let cases = [
            (
                format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"),
                (id.clone(), Some(true), false),
            ),
            (format!("{TRACE}-{SPAN}-d"), (id.clone(), Some(true), true)),
            (
                format!("{TRACE}-{SPAN}-0"),
                (id.clone(), Some(false), false),
            ),
            (format!("{TRACE}-{SPAN}"), (id, None, false)),
            ("0".to_owned(), (None, Some(false), false)),
        ];
        for (value, told) in cases {
            assert_eq!(read(&value), Some(told), "{value}");
        }
        let short = read(&format!("64fe8b2a57d3eff7-{SPAN}-1")).unwrap();
        assert_eq!(short.0.unwrap(), format!("{:0>32}", "64fe8b2a57d3eff7"));
    }

    #[test]
    fn what_is_malformed_is_no_parent() {
        for bad in [
            String::new(),
            "2".into(),
            "-".into(),
            TRACE.into(),
            format!("{TRACE}-{SPAN}-"),
            format!("{TRACE}-{SPAN}-x"),
            format!("{TRACE}-{SPAN}-1-"),
            format!("{TRACE}-{SPAN}-1-{SPAN}-1"),
            format!("{TRACE}-0000000000000000-1"),
            format!("{:0>32}-{SPAN}-1", ""),
            format!("{TRACE}0-{SPAN}-1"),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn many_headers_are_read_together() {
        let fields = |trace: Option<&'static str>,
                      sampled: Option<&'static str>,
                      flags: Option<&'static str>| {
            parse_fields(Fields {
                trace: trace.map(str::as_bytes),
                span: trace.map(|_| SPAN.as_bytes()),
                sampled: sampled.map(str::as_bytes),
                flags: flags.map(str::as_bytes),
            })
        };
        assert_eq!(fields(None, None, None), None);
        assert_eq!(fields(Some(TRACE), Some("x"), None), None);
        assert_eq!(fields(Some(TRACE), Some("d"), None), None);
        assert_eq!(fields(Some("abc"), Some("1"), None), None);
        assert_eq!(fields(Some(TRACE), None, None).unwrap().sampled, None);
        assert_eq!(
            fields(Some(TRACE), Some("true"), None).unwrap().sampled,
            Some(true)
        );
        assert!(fields(Some(TRACE), None, Some("1")).unwrap().flags.debug);
        assert_eq!(fields(None, Some("0"), None).unwrap().remote, None);
        let half = Fields {
            trace: Some(TRACE.as_bytes()),
            ..Fields::default()
        };
        assert_eq!(parse_fields(half), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(sampled: bool, debug: bool) {
            let (trace, span) = (TraceId::random(), SpanId::random());
            let flags = Flags { sampled: sampled || debug, random: false, debug };
            let read = parse(&format(trace, span, flags));
            let told = Incoming { remote: Some(Remote { trace, span }), sampled: Some(flags.sampled), flags };
            prop_assert_eq!(read, Some(told));
        }

        #[test]
        fn no_bytes_break_the_reader(value: Vec<u8>, near in "[0-9a-f]{15,17}-[0-9a-f]{15,17}(-[01dx-]{0,3}){0,3}") {
            parse(&value);
            parse(near.as_bytes());
        }
    }
}
