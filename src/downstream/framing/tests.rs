use super::*;
use proptest::prelude::*;

/// Longer than what is kept of a line, together with what stands around it.
const LONG: &str = "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

fn whole(bytes: &[u8]) -> Option<(u32, Offence)> {
    Framing::default().read(bytes)
}

#[test]
fn what_hyper_does_not_tell_is_found_in_its_request() {
    for (bytes, expected) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", None),
        ("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", None),
        ("GET / HTTP/1.1\nhost: a\n\n", Some((1, Offence::BareLf))),
        (
            "INVALID CONNECTION PREFACE\r\n",
            Some((1, Offence::NotHttp)),
        ),
        ("GET / HTTX/1.1\r\n\r\n", None),
        ("GET a HTTP/1.1\r\n\r\n", None),
        ("GET /\r\n\r\n", None),
        (
            "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            Some((1, Offence::BareLf)),
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            Some((1, Offence::BothFramings)),
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\nContent-Length:3\r\n\r\n",
            Some((1, Offence::BothFramings)),
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
            Some((1, Offence::SeveralLengths)),
        ),
        (
            "GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n\nx\n\
             POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n11;a=b\r\ncontent-length: 1\r\n0\r\nx: y\r\n\r\n\
             GET / HTTP/1.1\nhost: a\r\n\r\n",
            Some((4, Offence::BareLf)),
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n13\r\n\r\ncontent-length: 1\r\n0\r\nx: y\r\n\r\n\
             GET / HTTP/1.1\nhost: a\r\n\r\n",
            Some((2, Offence::BareLf)),
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            Some((2, Offence::Chunk)),
        ),
    ] {
        assert_eq!(whole(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

#[test]
fn bodies_are_skipped_whatever_is_in_them() {
    let body = "content-length: 5\r\ntransfer-encoding: chunked\r\n\n\n";
    let plain = format!(
        "POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let chunked = format!(
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{:x} ;x\r\n{body}\r\n0\r\na: b\r\n\r\n",
        body.len()
    );
    assert_eq!(whole(format!("{plain}{chunked}{plain}").as_bytes()), None);
    let wrong = "GET / HTTP/1.1\nhost: a\r\n\r\n";
    let all = format!("{plain}{chunked}{plain}{wrong}");
    assert_eq!(whole(all.as_bytes()), Some((4, Offence::BareLf)));
}

#[test]
fn a_long_line_that_comes_in_pieces_is_not_kept() {
    let mut framing = Framing::default();
    framing.read(b"GET /");
    for _ in 0..10_000 {
        framing.read(b"aaaaaaaaaa");
        assert!(framing.cut.text.len() <= LINE);
    }
}

proptest! {
    #[test]
    fn every_line_end_is_found(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(0x8a), any::<u8>()], 0..40)) {
        let found: Vec<usize> = LineEnds::of(&bytes).collect();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        prop_assert_eq!(found, ends.map(|(at, _)| at).collect::<Vec<_>>());
    }

    /// The network may cut anywhere.
    #[test]
    fn pieces_read_like_the_whole(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "GET / HTTP/1.1\r\n", "content-length: 3\r\n", "transfer-encoding: chunked\r\n", "\r\n", "abc", LONG, "content-length: ", "\r", "3\r\n",
            "3\r\nabc\r\n", "0\r\n\r\n", "x: y\r\n", "x: y\n", "Content-Length : 1\r\n",
        ]), 0..12),
        step in 1_usize..9,
    ) {
        let bytes = parts.concat().into_bytes();
        let mut framing = Framing::default();
        for piece in bytes.chunks(step) {
            framing.read(piece);
        }
        prop_assert_eq!(framing.read(b""), whole(&bytes));
    }

    /// Of a long line only a part is kept, so what is judged by all of it is not judged.
    #[test]
    fn long_first_lines_read_alike(length in 100_usize..150, step in 1_usize..150, end in "\r?\n", cr: bool) {
        let tail = if cr { "\r" } else { "x" };
        let bytes = format!("A {} {tail}{end}", "b".repeat(length)).into_bytes();
        let mut framing = Framing::default();
        for piece in bytes.chunks(step) {
            framing.read(piece);
        }
        prop_assert_eq!(framing.read(b""), whole(&bytes));
    }
}
