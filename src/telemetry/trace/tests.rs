use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const B3: &str = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0";

fn tracing(formats: &[Format], share: u32) -> Tracing {
    Tracing::new(formats.to_vec(), Sampler::new(share))
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

/// What the app gets, and the trace.
fn through(tracing: &Tracing, mut headers: HeaderMap) -> (HeaderMap, Trace) {
    let trace = tracing.begin(Some(&headers));
    tracing.clear(&mut headers, &trace);
    tracing.tell(&mut headers, &trace, SpanId::random());
    (headers, trace)
}

#[test]
fn a_caller_s_trace_goes_on_and_its_decision_counts() {
    for (share, flags) in [(0, "01"), (10_000, "00")] {
        let parent = format!("{}{flags}", &PARENT[..53]);
        let sent = headers(&[
            ("traceparent", &parent),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
            ("baggage", "k=v"),
        ]);
        let (got, trace) = through(&tracing(&[Format::W3c], share), sent);
        assert_eq!(trace.parent.unwrap().to_string(), "00f067aa0ba902b7");
        let told = got["traceparent"].to_str().unwrap();
        assert_eq!(
            (&told[..35], &told[52..]),
            (&PARENT[..35], &*format!("-{flags}"))
        );
        assert_ne!(&told[36..52], "00f067aa0ba902b7");
        let state: Vec<_> = got.get_all("tracestate").iter().collect();
        assert_eq!(state, ["a=1", "b=2"]);
        assert_eq!(got["baggage"], "k=v");
    }
}

#[test]
fn a_malformed_parent_begins_a_new_trace_and_takes_its_state_with_it() {
    for parent in ["", "junk", &PARENT[..54], &PARENT.to_uppercase()] {
        let sent = headers(&[
            ("traceparent", parent),
            ("tracestate", "a=1"),
            ("baggage", "k=v"),
        ]);
        let (got, trace) = through(&tracing(&[Format::W3c], 0), sent);
        assert_eq!(trace.parent, None);
        assert!(
            !got["traceparent"].to_str().unwrap().contains("4bf92f"),
            "{got:?}"
        );
        assert!(
            !got.contains_key("tracestate") && got.contains_key("baggage"),
            "{got:?}"
        );
    }
    let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
    let (got, trace) = through(&tracing(&[Format::W3c], 0), twice);
    assert_eq!(
        (trace.parent, got.get_all("traceparent").iter().count()),
        (None, 1)
    );
}

#[test]
fn a_trace_that_begins_here_is_recorded_by_the_share() {
    for (share, flags) in [(0, "-02"), (10_000, "-03")] {
        let (got, trace) = through(&tracing(&[Format::W3c], share), HeaderMap::new());
        assert!(
            got["traceparent"].to_str().unwrap().ends_with(flags),
            "{got:?}"
        );
        assert_eq!(trace.flags.sampled, share > 0);
    }
}

#[test]
fn the_first_format_is_written_and_no_other_contradicts_it() {
    let all = tracing(&[Format::W3c, Format::B3, Format::B3Multi], 10_000);
    let (got, trace) = through(
        &all,
        headers(&[("b3", B3), ("tracestate", "a=1"), ("x-b3-sampled", "1")]),
    );
    assert_eq!(
        (trace.id.to_string(), trace.flags.sampled),
        (B3[..32].to_owned(), false)
    );
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(
        got["traceparent"]
            .to_str()
            .unwrap()
            .starts_with(&format!("00-{}-", &B3[..32]))
    );
    // Both are well-formed: the first one counts.
    let (_, trace) = through(&all, headers(&[("b3", B3), ("traceparent", PARENT)]));
    assert_eq!(trace.id.to_string(), PARENT[3..35]);
    // What is not listed is none of our business.
    let (got, trace) = through(
        &tracing(&[Format::B3], 0),
        headers(&[("traceparent", PARENT), ("tracestate", "a=1")]),
    );
    assert_eq!(
        (trace.parent, &got["traceparent"]),
        (None, &HeaderValue::from_static(PARENT))
    );
    assert!(got.contains_key("b3") && got.contains_key("tracestate"));
}

#[test]
fn b3_with_many_headers_is_read_and_written() {
    let multi = tracing(&[Format::B3Multi], 10_000);
    let sent = headers(&[
        ("x-b3-traceid", &B3[..32]),
        ("x-b3-spanid", &B3[33..49]),
        ("x-b3-parentspanid", "05e3ac9a4f6e3b90"),
        ("x-b3-sampled", "0"),
    ]);
    let (got, _) = through(&multi, sent);
    assert_eq!(
        (&got["x-b3-traceid"], &got["x-b3-sampled"]),
        (
            &HeaderValue::from_static(&B3[..32]),
            &HeaderValue::from_static("0")
        )
    );
    assert_ne!(got["x-b3-spanid"], B3[33..49]);
    // Not the parent of the span that is told.
    assert!(!got.contains_key("x-b3-parentspanid"), "{got:?}");
    // Nobody decided: the share does; and a decision without a trace is one.
    let (got, _) = through(
        &multi,
        headers(&[("x-b3-traceid", &B3[..32]), ("x-b3-spanid", &B3[33..49])]),
    );
    assert_eq!(got["x-b3-sampled"], "1");
    let (got, trace) = through(&multi, headers(&[("x-b3-sampled", "0")]));
    assert_eq!(
        (&got["x-b3-sampled"], trace.parent),
        (&HeaderValue::from_static("0"), None)
    );
    let (got, _) = through(&multi, headers(&[("x-b3-flags", "1")]));
    assert_eq!(
        (
            got["x-b3-flags"].as_bytes(),
            got.contains_key("x-b3-sampled")
        ),
        (&b"1"[..], false)
    );
}
