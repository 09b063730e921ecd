//! The access line: one JSON object a request.
//!
//! Path: `proxy::exchange` calls it at the end of an exchange with the worker's buffer.

use std::time::SystemTime;

use super::json::{millis_field, number_field, write_ip, write_string};
use super::record::{AttemptRecord, Outcome, RequestRecord};
use super::time::write_rfc3339;

/// Longest path shown; the rest is cut, so that a client does not choose the size of our lines.
const PATH_LIMIT: usize = 2048;

/// Appends `record` as one JSON object without a line end.
pub fn write_line(out: &mut Vec<u8>, record: &RequestRecord, now: SystemTime) {
    out.extend_from_slice(b"{\"time\":\"");
    write_rfc3339(out, now);
    out.extend_from_slice(&record.route.line);
    if let Some(upstream) = &record.upstream {
        plain_field(out, ",\"upstream\":\"", upstream.as_bytes());
    }
    if let Some(attempt) = record.attempts.last() {
        endpoint_field(out, ",\"endpoint\":\"", &attempt.endpoint);
    }
    plain_field(out, ",\"method\":\"", record.method.as_str().as_bytes());
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
    write_ip(out, record.client);
    if let Some(id) = &record.request_id {
        plain_field(out, ",\"request_id\":\"", id.as_bytes());
    }
    if let Some(trace) = &record.trace {
        plain_field(out, ",\"trace_id\":\"", &trace.id.hex());
    }
    plain_field(out, ",\"config\":\"", record.config.as_bytes());
    out.push(b'}');
}

/// The path, as much of it as a line may hold.
pub(super) fn shown_path(record: &RequestRecord) -> &[u8] {
    let path = record.uri.path().as_bytes();
    &path[..path.len().min(PATH_LIMIT)]
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
    if let Some(tls) = record.attempts.last().and_then(|attempt| attempt.tls) {
        millis_field(out, "\"tls\":", tls);
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
    endpoint_field(out, "{\"endpoint\":\"", &attempt.endpoint);
    let outcome = match &attempt.outcome {
        Outcome::Status(status) => status.as_str(),
        Outcome::Failed(reason) => reason,
    };
    plain_field(out, ",\"outcome\":\"", outcome.as_bytes());
    millis_field(out, ",\"ms\":", attempt.elapsed);
    out.push(b'}');
}

/// A string of which it is known that nothing in it has to be escaped: names of the file, methods, ids, codes. `key` ends
/// with the quotation mark that opens it.
fn plain_field(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(value);
    out.push(b'"');
}

/// An address, in which nothing has to be escaped, or a path, in which something may. `key` as for [`plain_field`].
fn endpoint_field(out: &mut Vec<u8>, key: &str, label: &str) {
    if label.starts_with("unix:") {
        out.extend_from_slice(key.as_bytes());
        out.pop();
        write_string(out, label.as_bytes());
    } else {
        plain_field(out, key, label.as_bytes());
    }
}

fn text_field(out: &mut Vec<u8>, key: &str, value: &str) {
    bytes_field(out, key, value.as_bytes());
}

fn bytes_field(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    write_string(out, value);
}
