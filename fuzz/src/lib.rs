//! What the fuzzer calls: each function takes bytes and panics when something does not hold.
//!
//! To add a target: a function here, four lines in `targets/NAME.rs`, a block in `Cargo.toml`, a few files in
//! `corpus/NAME`. `.ci/fuzz` finds it by itself.

mod connection;

use std::net::SocketAddr;

use outrigger::cli::check::{Format, source_text};
use outrigger::config::render::Colour;
use outrigger::config::source::Source;
use outrigger::downstream::frames::Frames;
use outrigger::downstream::framing::Framing;
use outrigger::downstream::proxy_protocol::parse;
use outrigger::policy::deadline::{format_grpc_timeout, parse_grpc_timeout};
use outrigger::proxy::authority::is_host;
use outrigger::route::normalize::{
    DotSegments, DoubleSlash, EncodedSlash, Normalize, normalize as normal_form,
};
use outrigger::telemetry::trace::Tracing;
use outrigger::telemetry::trace::propagation::Format as TraceFormat;
use outrigger::telemetry::trace::sample::Sampler;
use outrigger::upstream::proxy_header::{Ends, ProxyHeader};

pub use connection::connection;

/// What a client says about its trace means the same to whoever is told next.
pub fn trace(data: &[u8]) {
    const NAMES: [&str; 7] = [
        "traceparent",
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-sampled",
        "x-b3-flags",
        "tracestate",
    ];
    let Some((order, data)) = data.split_first() else {
        return;
    };
    let mut headers = http::HeaderMap::new();
    for (line, name) in data
        .split(|byte| *byte == b'\n')
        .zip(NAMES.iter().cycle())
        .take(14)
    {
        if let (false, Ok(value)) = (line.is_empty(), http::HeaderValue::from_bytes(line)) {
            headers.append(*name, value);
        }
    }
    let mut formats = vec![TraceFormat::W3c, TraceFormat::B3, TraceFormat::B3Multi];
    formats.rotate_left(usize::from(order % 3));
    let tracing = Tracing::new(formats, Sampler::new(0));
    let trace = tracing.begin(Some(&headers));
    tracing.clear(&mut headers, &trace);
    tracing.tell(&mut headers, &trace, trace.span);
    let next = tracing.begin(Some(&headers));
    assert_eq!((next.id, next.parent), (trace.id, Some(trace.span)));
    assert_eq!(next.flags.sampled, trace.flags.sampled);
}

/// A PROXY header is read alike with anything behind it, and what it tells survives being written.
pub fn proxy_protocol(data: &[u8]) {
    let Ok(Some(header)) = parse(data) else {
        return;
    };
    let own = data.get(..header.length).expect("no longer than what came");
    let plain = |ends: Ends| {
        let plain = |end: SocketAddr| (end.ip().to_canonical(), end.port());
        (plain(ends.client), plain(ends.server))
    };
    let alone = parse(own)
        .ok()
        .flatten()
        .expect("whole without what is behind it");
    assert_eq!(alone.length, header.length);
    for shorter in 0..own.len() {
        assert!(
            !matches!(parse(&own[..shorter]), Ok(Some(_))),
            "{shorter} are enough"
        );
    }
    for version in [ProxyHeader::V1, ProxyHeader::V2] {
        let written = version.of(header.ends);
        let read = parse(&written)
            .ok()
            .flatten()
            .expect("what we write is read");
        assert_eq!(read.length, written.len());
        assert_eq!(read.ends.map(plain), header.ends.map(plain));
    }
}

/// A file is read, checked, and its mistakes are shown, whatever is in it.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let source = Source::inline("fuzz.yaml", text);
    let env = |name: &str| (name.len() % 2 == 0).then(|| name.to_lowercase());
    let (human, valid) = source_text(&source, &env, Format::Human(Colour::Never));
    let (json, again) = source_text(&source, &env, Format::Json);
    assert_eq!(valid, again);
    assert!(!human.is_empty() && !json.is_empty());
}

/// The normal form of a path is a path, and its own normal form.
pub fn normalize(data: &[u8]) {
    let Some((rules, path)) = data.split_first() else {
        return;
    };
    let Ok(uri) = http::Uri::try_from([b"/", path].concat()) else {
        return;
    };
    let rules = Normalize {
        encoded_slash: match rules % 3 {
            0 => EncodedSlash::Keep,
            1 => EncodedSlash::Decode,
            _ => EncodedSlash::Reject,
        },
        double_slash: match rules / 3 % 3 {
            0 => DoubleSlash::Keep,
            1 => DoubleSlash::Merge,
            _ => DoubleSlash::Reject,
        },
        dot_segments: match rules / 9 % 3 {
            0 => DotSegments::Keep,
            1 => DotSegments::Resolve,
            _ => DotSegments::Reject,
        },
    };
    let Ok(Some(normal)) = normal_form(uri.path(), rules) else {
        return;
    };
    assert!(normal.path.starts_with('/'), "{normal:?}");
    http::uri::PathAndQuery::try_from(normal.path.as_str()).expect("what is sent is a path");
    if let Ok(Some(again)) = normal_form(&normal.path, rules) {
        panic!("{} is {normal:?}, and that is {again:?}", uri.path());
    }
    if rules.dot_segments == DotSegments::Resolve {
        let mut segments = normal.path.split('/');
        assert!(!segments.any(|it| it == ".." || it == "."), "{normal:?}");
    }
}

/// A timeout that is understood is written so that it is understood again, as no more than it was.
pub fn grpc_timeout(data: &[u8]) {
    if let Some(timeout) = parse_grpc_timeout(data) {
        let written = format_grpc_timeout(timeout);
        let again = parse_grpc_timeout(written.as_bytes()).expect("our own words");
        assert!(again <= timeout, "{timeout:?} is written {written}");
    }
}

/// A host is one for the HTTP library, too, and holds nothing that ends one.
pub fn authority(data: &[u8]) {
    if !is_host(data) {
        return;
    }
    assert!(!data.iter().any(|it| b"@/?#\\, \t\r\n\"<>".contains(it)));
    http::HeaderValue::from_bytes(data).expect("a header's value");
}

/// Bytes are read alike however the network cuts them.
pub fn framing(data: &[u8]) {
    let Some((step, data)) = data.split_first() else {
        return;
    };
    let step = usize::from(*step % 61) + 1;
    let (mut whole, mut pieces) = (Framing::default(), Framing::default());
    let expected = whole.read(data);
    for piece in data.chunks(step) {
        pieces.read(piece);
    }
    assert_eq!(pieces.read(b""), expected);
    let mut frames = Frames::default();
    for piece in data.chunks(step) {
        if frames.read(piece).is_some() {
            break;
        }
    }
}
