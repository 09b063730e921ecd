use proptest::prelude::*;

use super::*;
use crate::upstream::proxy_header::ProxyHeader;

fn with_extensions(mut header: Vec<u8>, extensions: &[u8]) -> Vec<u8> {
    let size = u16::try_from(header.len() - FIXED + extensions.len()).unwrap();
    header[FIXED - 2..FIXED].copy_from_slice(&size.to_be_bytes());
    header.extend(extensions);
    header
}

fn binary_of(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend(content);
    bytes
}

fn pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<([u8; 4], u16, [u8; 4], u16)>()
        .prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q))));
    // Not one that is an IPv4 address in other words: it would be written as such.
    let v6 = any::<([u8; 16], u16, [u8; 16], u16)>()
        .prop_filter("mapped", |(a, _, b, _)| a[0] != 0 && b[0] != 0)
        .prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q))));
    prop_oneof![v4, v6]
}

/// Every beginning of `header` asks for more, and what follows it is left alone.
fn assert_read(header: &[u8], ends: Ends) {
    for end in 0..header.len() {
        assert_eq!(parse(&header[..end]), Ok(None), "after {end} bytes");
    }
    let length = header.len();
    let ends = Some(ends);
    let followed = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
    assert_eq!(parse(&followed), Ok(Some(Header { ends, length })));
}

proptest! {
    #[test]
    fn what_is_written_is_read((client, target) in pair(), more in prop::collection::vec(any::<u8>(), 0..200)) {
        let ends = Ends { client, server: target };
        assert_read(&ProxyHeader::V1.of(Some(ends)), ends);
        assert_read(&with_extensions(ProxyHeader::V2.of(Some(ends)), &more), ends);
    }

    #[test]
    fn nothing_panics_or_takes_more_than_came(
        start in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(&b"PROXY TCP4 "[..]), Just(&SIGNATURE[..])],
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, &rest].concat();
        if let Ok(Some(header)) = parse(&bytes) {
            prop_assert!(header.length <= bytes.len());
        }
    }

    #[test]
    fn an_end_is_always_reached(start in prop_oneof![Just(&b"PROXY "[..]), Just(&SIGNATURE[..])], byte in any::<u8>()) {
        let bytes = [start, &[byte; MAX_BINARY + FIXED]].concat();
        prop_assert!(!matches!(parse(&bytes), Ok(None)));
    }
}

#[test]
fn a_header_has_one_family() {
    let client = SocketAddr::from(([192, 0, 2, 1], 7));
    let server = "[2001:db8::1]:443".parse().unwrap();
    let header = ProxyHeader::V1.of(Some(Ends { client, server }));
    assert_eq!(header, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 7 443\r\n");
    let mapped = "[::ffff:192.0.2.2]:443".parse().unwrap();
    let ends = Ends {
        client,
        server: mapped,
    };
    let header = ProxyHeader::V1.of(Some(ends));
    assert_eq!(header, b"PROXY TCP4 192.0.2.1 192.0.2.2 7 443\r\n");
}

#[test]
fn what_has_no_addresses_says_so() {
    for header in [
        ProxyHeader::V1.of(None),
        ProxyHeader::V2.of(None),
        ProxyHeader::V1.own(),
        ProxyHeader::V2.own(),
    ] {
        let length = header.len();
        let ends = None;
        assert_eq!(parse(&header), Ok(Some(Header { ends, length })));
    }
}

#[test]
fn a_sender_may_speak_for_itself_or_not_know() {
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff:f 1 2 3\r\n".to_vec(),
        binary_of(0x20, 0x00, b""),
        binary_of(0x20, 0x11, b"any"),
        binary_of(0x21, 0x00, b"any"),
        binary_of(0x21, 0x31, &[0; 216]),
    ] {
        let length = header.len();
        let ends = None;
        assert_eq!(parse(&header), Ok(Some(Header { ends, length })));
    }
}

#[test]
fn what_is_no_header_is_refused() {
    for (bytes, why) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), Malformed::NoHeader),
        (b"proxy TCP4 ".to_vec(), Malformed::NoHeader),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".to_vec(),
            Malformed::Line,
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n".to_vec(),
            Malformed::Line,
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n".to_vec(),
            Malformed::Line,
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n".to_vec(),
            Malformed::Line,
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n".to_vec(),
            Malformed::Line,
        ),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), Malformed::Line),
        (
            b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
            Malformed::Line,
        ),
        (
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
            Malformed::Line,
        ),
        (b"PROXY UNKNOWNS\r\n".to_vec(), Malformed::Line),
        (binary_of(0x11, 0x11, &[0; 12]), Malformed::Binary),
        (binary_of(0x22, 0x11, &[0; 12]), Malformed::Binary),
        (binary_of(0x21, 0x11, &[0; 11]), Malformed::Binary),
        (binary_of(0x21, 0x21, &[0; 35]), Malformed::Binary),
        (binary_of(0x21, 0x41, &[0; 36]), Malformed::Binary),
        (binary_of(0x21, 0x11, &[0; 5000]), Malformed::TooLong),
    ] {
        assert_eq!(parse(&bytes), Err(why), "{}", bytes.escape_ascii());
    }
}
