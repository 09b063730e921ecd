//! JSON values (RFC 8259), appended by hand: a general serialiser costs more than the rest of a line's bookkeeping.
//!
//! Path: [`super::access_log`] and the program's own log write with it.

use std::net::IpAddr;
use std::time::Duration;

/// One in each byte, and the highest bit of each.
const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES << 7;

/// Appends a string (RFC 8259 §7). Bytes that are not UTF-8 become U+FFFD.
pub fn write_string(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    if is_plain(value) {
        out.extend_from_slice(value);
    } else {
        for character in String::from_utf8_lossy(value).chars() {
            write_character(out, character);
        }
    }
    out.push(b'"');
}

/// Whether `value` is ASCII in which nothing has to be escaped; looked at by eights.
fn is_plain(value: &[u8]) -> bool {
    let (eights, rest) = value.as_chunks::<8>();
    let mut last = [b' '; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    let odd = |eight: &[u8; 8]| odd_bytes(u64::from_le_bytes(*eight));
    eights
        .iter()
        .fold(odd(&last), |seen, eight| seen | odd(eight))
        == 0
}

/// Not zero if a byte is a control character, a quote, a backslash or beyond ASCII (by the well-known test for a zero byte).
fn odd_bytes(bytes: u64) -> u64 {
    let zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let control = bytes.wrapping_sub(ONES * 0x20) & !bytes;
    let quote = zero(bytes ^ (ONES * u64::from(b'"')));
    let backslash = zero(bytes ^ (ONES * u64::from(b'\\')));
    (control | quote | backslash | bytes) & HIGHS
}

fn write_character(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        control if u32::from(control) < 0x20 => {
            let _ = std::io::Write::write_fmt(out, format_args!("\\u{:04x}", u32::from(control)));
        }
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends `key`, as it stands, and a number.
pub fn number_field(out: &mut Vec<u8>, key: &str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends `key`, as it stands, and milliseconds with three decimals, trailing zeros cut: `41.7`.
pub fn millis_field(out: &mut Vec<u8>, key: &str, value: Duration) {
    let micros = value.subsec_micros();
    let millis = value.as_secs().saturating_mul(1000);
    number_field(out, key, millis.saturating_add(u64::from(micros / 1000)));
    let fraction = micros % 1000;
    if fraction > 0 {
        let [a, b, c] = [fraction / 100, fraction / 10 % 10, fraction % 10].map(digit);
        match (b, c) {
            (b'0', b'0') => out.extend_from_slice(&[b'.', a]),
            (_, b'0') => out.extend_from_slice(&[b'.', a, b]),
            _ => out.extend_from_slice(&[b'.', a, b, c]),
        }
    }
}

/// The digit for a number below ten.
fn digit(value: u32) -> u8 {
    b'0' + u8::try_from(value % 10).unwrap_or_default()
}

/// Appends an address as a string.
pub fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    if let IpAddr::V4(ip) = ip {
        let mut before = b'"';
        for octet in ip.octets() {
            out.push(before);
            out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            before = b'.';
        }
        out.push(b'"');
    } else {
        // Writing to a `Vec` cannot fail.
        let _ = std::io::Write::write_fmt(out, format_args!("\"{ip}\""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn string(value: &[u8]) -> String {
        let mut out = Vec::new();
        write_string(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_survive_a_round_trip_through_a_json_parser() {
        for text in [
            "",
            "plain",
            "quote \" and \\",
            "line\nend\r\t",
            "\u{1}\u{1f}",
            "grüße 🛶",
            "\u{7f}",
        ] {
            assert_eq!(
                serde_json::from_str::<String>(&string(text.as_bytes())).unwrap(),
                text
            );
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced_not_passed_on() {
        assert_eq!(string(b"a\xffb"), "\"a\u{fffd}b\"");
    }

    #[test]
    fn milliseconds_keep_three_decimals_at_most() {
        let text = |micros| {
            let mut out = Vec::new();
            millis_field(&mut out, "", Duration::from_micros(micros));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            [0, 7, 41_700, 1_050, 2_000, 61_000_100].map(text),
            ["0", "0.007", "41.7", "1.05", "2", "61000.1"]
        );
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "\\PC*|[ -~\u{0}-\u{1f}]{0,40}") {
            prop_assert_eq!(serde_json::from_str::<String>(&string(text.as_bytes())).unwrap(), text);
        }

        #[test]
        fn any_address_reads_as_it_is_displayed(v4: [u8; 4], v6: [u16; 8]) {
            for ip in [IpAddr::from(v4), IpAddr::from(v6)] {
                let mut out = Vec::new();
                write_ip(&mut out, ip);
                prop_assert_eq!(String::from_utf8(out).unwrap(), format!("\"{ip}\""));
            }
        }
    }
}
