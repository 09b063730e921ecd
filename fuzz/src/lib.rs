//! What the fuzzer calls: each function takes bytes and panics when something does not hold.
//!
//! To add a target: a function here, four lines in `targets/NAME.rs`, a block in `Cargo.toml`, a few files in
//! `corpus/NAME`. `.ci/fuzz` finds it by itself.

mod connection;

use outrigger::cli::check::{Format, source_text};
use outrigger::config::render::Colour;
use outrigger::config::source::Source;
use outrigger::downstream::frames::Frames;
use outrigger::downstream::framing::Framing;
use outrigger::policy::deadline::{format_grpc_timeout, parse_grpc_timeout};
use outrigger::proxy::authority::is_host;
use outrigger::route::normalize::{
    DotSegments, DoubleSlash, EncodedSlash, Normalize, normalize as normal_form,
};

pub use connection::connection;

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
