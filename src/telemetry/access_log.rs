//! The access line: one JSON object a request.
//!
//! Path: `proxy::exchange` calls it at the end of an exchange with the worker's buffer. Written by hand into that
//! buffer, because a general serialiser costs more than the rest of the bookkeeping together.

use std::time::{Duration, SystemTime};

use super::record::{AttemptRecord, Outcome, RequestRecord};
use super::time::write_rfc3339;

/// Longest path shown; the rest is cut, so that a client does not choose the size of our lines.
const PATH_LIMIT: usize = 2048;

/// Appends `record` as one JSON object without a line end.
pub fn write_line(out: &mut Vec<u8>, record: &RequestRecord, now: SystemTime) {
    out.extend_from_slice(b"{\"time\":\"");
    write_rfc3339(out, now);
    out.extend_from_slice(b"\",\"level\":\"info\",\"msg\":\"request\",\"direction\":\"");
    out.extend_from_slice(record.route.direction.as_bytes());
    text_field(out, "\",\"listener\":", &record.route.listener);
    text_field(out, ",\"route\":", &record.route.route);
    if let Some(upstream) = &record.upstream {
        text_field(out, ",\"upstream\":", upstream);
    }
    if let Some(attempt) = record.attempts.last() {
        text_field(out, ",\"endpoint\":", &attempt.endpoint);
    }
    text_field(out, ",\"method\":", record.method.as_str());
    bytes_field(out, ",\"path\":", shown_path(record));
    if let Some(status) = record.status {
        number_field(out, ",\"status\":", u64::from(status.as_u16()));
    }
    number_field(out, ",\"bytes_in\":", record.bytes_in);
    number_field(out, ",\"bytes_out\":", record.bytes_out);
    millis_field(out, ",\"duration_ms\":", record.duration);
    write_phases(out, ",\"phases_ms\":", record);
    write_attempts(out, ",\"attempts\":", record);
    if let Some(reason) = record.reason {
        text_field(out, ",\"reason\":", reason.as_str());
    }
    if let Some(cause) = &record.cause {
        text_field(out, ",\"cause\":", cause);
    }
    write_limit(out, ",\"limit\":", record);
    if let Some(why) = record.not_retried {
        text_field(out, ",\"not_retried\":", why);
    }
    if let Some(observed) = record.observed {
        text_field(out, ",\"observed\":", observed);
    }
    out.extend_from_slice(b",\"client\":");
    write_client(out, record);
    if let Some(id) = &record.request_id {
        bytes_field(out, ",\"request_id\":", id.as_bytes());
    }
    if let Some(trace) = &record.trace {
        out.extend_from_slice(b",\"trace_id\":\"");
        out.extend_from_slice(&trace.id.hex());
        out.push(b'"');
    }
    text_field(out, ",\"config\":", &record.config);
    out.push(b'}');
}

/// The path, as much of it as a line may hold.
pub(super) fn shown_path(record: &RequestRecord) -> &[u8] {
    let path = record.uri.path().as_bytes();
    &path[..path.len().min(PATH_LIMIT)]
}

pub(super) fn write_client(out: &mut Vec<u8>, record: &RequestRecord) {
    // Writing to a `Vec` cannot fail.
    let _ = std::io::Write::write_fmt(out, format_args!("\"{}\"", record.client));
}

pub(super) fn write_limit(out: &mut Vec<u8>, key: &str, record: &RequestRecord) {
    let Some(limit) = &record.limit else {
        return;
    };
    out.extend_from_slice(key.as_bytes());
    text_field(out, "{\"key\":", &limit.key);
    text_field(out, ",\"value\":", &limit.value);
    if let Some(at) = &record.limit_at {
        text_field(out, ",\"at\":", at);
    }
    out.push(b'}');
}

pub(super) fn write_phases(out: &mut Vec<u8>, key: &str, record: &RequestRecord) {
    let Some(first_byte) = record.first_byte else {
        if !record.queued.is_zero() {
            out.extend_from_slice(key.as_bytes());
            millis_field(out, "{\"queue\":", record.queued);
            out.push(b'}');
        }
        return;
    };
    out.extend_from_slice(key.as_bytes());
    out.push(b'{');
    if !record.queued.is_zero() {
        millis_field(out, "\"queue\":", record.queued);
        out.push(b',');
    }
    if let Some(connect) = record.attempts.last().and_then(|attempt| attempt.connect) {
        millis_field(out, "\"connect\":", connect);
        out.push(b',');
    }
    millis_field(out, "\"first_byte\":", first_byte);
    millis_field(
        out,
        ",\"transfer\":",
        record.duration.saturating_sub(first_byte),
    );
    out.push(b'}');
}

pub(super) fn write_attempts(out: &mut Vec<u8>, key: &str, record: &RequestRecord) {
    out.extend_from_slice(key.as_bytes());
    out.push(b'[');
    for (index, attempt) in record.attempts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_attempt(out, attempt);
    }
    out.push(b']');
}

fn write_attempt(out: &mut Vec<u8>, attempt: &AttemptRecord) {
    text_field(out, "{\"endpoint\":", &attempt.endpoint);
    text_field(
        out,
        ",\"outcome\":",
        match &attempt.outcome {
            Outcome::Status(status) => status.as_str(),
            Outcome::Failed(reason) => reason,
        },
    );
    millis_field(out, ",\"ms\":", attempt.elapsed);
    out.push(b'}');
}

fn text_field(out: &mut Vec<u8>, key: &str, value: &str) {
    bytes_field(out, key, value.as_bytes());
}

fn bytes_field(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    write_string(out, value);
}

pub(super) fn number_field(out: &mut Vec<u8>, key: &str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with three decimals, trailing zeros cut: `41.7`.
pub(super) fn millis_field(out: &mut Vec<u8>, key: &str, value: Duration) {
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    number_field(out, key, micros / 1000);
    let fraction = micros % 1000;
    if fraction > 0 {
        let digits = [fraction / 100, fraction / 10 % 10, fraction % 10].map(digit);
        let used = if fraction.is_multiple_of(100) {
            1
        } else if fraction.is_multiple_of(10) {
            2
        } else {
            3
        };
        out.push(b'.');
        out.extend_from_slice(&digits[..used]);
    }
}

/// The digit for a number below ten.
fn digit(value: u64) -> u8 {
    b'0' + u8::try_from(value % 10).unwrap_or_default()
}

/// A JSON string (RFC 8259 §7). Bytes that are not UTF-8 become U+FFFD.
pub fn write_string(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    if value
        .iter()
        .all(|&byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\')
    {
        out.extend_from_slice(value);
    } else {
        for character in String::from_utf8_lossy(value).chars() {
            write_character(out, character);
        }
    }
    out.push(b'"');
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

#[cfg(test)]
mod tests {
    use super::*;

    fn string(value: &[u8]) -> String {
        let mut out = Vec::new();
        write_string(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_survive_a_round_trip_through_a_json_parser() {
        for text in [
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
            [0, 7, 41_700, 1_050, 2_000].map(text),
            ["0", "0.007", "41.7", "1.05", "2"]
        );
    }
}
