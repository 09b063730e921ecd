//! Whether what a client calls a host is one.
//!
//! Path: [`super::headers`] asks for each request. `uri-host [ ":" port ]` of RFC 9110 §7.2, RFC 3986 §3.2.2: a name, or an
//! address; empty is allowed. What is refused here would be read differently by whoever comes behind.

/// Whether `text` is a host with an optional port.
pub fn is_host(text: &[u8]) -> bool {
    let (host, port) = split(text);
    is_number(port) && is_name(host)
}

/// The host, and what follows it: nothing, or a colon and the port.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let end = if text.first() == Some(&b'[') {
        text.iter().position(|byte| *byte == b']').map(|at| at + 1)
    } else {
        text.iter().position(|byte| *byte == b':')
    };
    text.split_at_checked(end.unwrap_or(text.len()))
        .unwrap_or((text, b""))
}

fn is_number(port: &[u8]) -> bool {
    match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn is_name(host: &[u8]) -> bool {
    if let [b'[', address @ .., b']'] = host {
        return std::str::from_utf8(address)
            .is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    }
    host.iter().all(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\''
            )
            || matches!(byte, b'(' | b')' | b'*' | b'+' | b';' | b'=')
    })
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn names_and_addresses_are_hosts() {
        for host in [
            "",
            "a",
            "a:80",
            "a.b-c_d.example:65535",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "a:",
            "x%41",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_none() {
        for host in [
            "a b", "a/b", "a@b", "a:80:80", "a:-1", "a:x", "a:123456", "[::1", "[::1]x", "[]",
            "[x]", "::1", "a,b", "http://a", "a?b", "a#b", "a\\b", "a\tb", "\u{e9}", "<a>",
            "\"a\"", "a\0",
        ] {
            assert!(!is_host(host.as_bytes()), "{host:?}");
        }
    }
}
