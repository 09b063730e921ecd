use proptest::prelude::*;

use super::*;

fn written_line(client: SocketAddr, target: SocketAddr) -> Vec<u8> {
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (source, to) = (client.ip(), target.ip());
    let (port, to_port) = (client.port(), target.port());
    format!("PROXY {family} {source} {to} {port} {to_port}\r\n").into_bytes()
}

fn written_binary(client: SocketAddr, target: SocketAddr, extensions: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    for ip in [client.ip(), target.ip()] {
        match ip {
            IpAddr::V4(ip) => content.extend(ip.octets()),
            IpAddr::V6(ip) => content.extend(ip.octets()),
        }
    }
    content.extend(client.port().to_be_bytes());
    content.extend(target.port().to_be_bytes());
    content.extend(extensions);
    let family = if client.is_ipv4() { 0x11 } else { 0x21 };
    binary_of(0x21, family, &content)
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
    let v6 = any::<([u8; 16], u16, [u8; 16], u16)>()
        .prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q))));
    prop_oneof![v4, v6]
}

/// Every beginning of `header` asks for more, and what follows it is left alone.
fn assert_read(header: &[u8], client: SocketAddr) {
    for end in 0..header.len() {
        assert_eq!(parse(&header[..end]), Ok(None), "after {end} bytes");
    }
    let length = header.len();
    let client = Some(client);
    let followed = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
    assert_eq!(parse(&followed), Ok(Some(Header { client, length })));
}

proptest! {
    #[test]
    fn what_is_written_is_read((client, target) in pair(), more in prop::collection::vec(any::<u8>(), 0..200)) {
        assert_read(&written_line(client, target), client);
        assert_read(&written_binary(client, target, &more), client);
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
        let client = None;
        assert_eq!(parse(&header), Ok(Some(Header { client, length })));
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
