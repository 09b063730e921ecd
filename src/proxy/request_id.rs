//! `X-Request-Id`: kept when the caller's is well-formed, made otherwise.
//!
//! Path: [`super::headers`]. A made id is a ULID: 48 bits of time, 80 random ones, in Crockford's base 32, so that ids
//! sort by time.

use std::time::UNIX_EPOCH;

use http::HeaderValue;
use tokio::time::Instant;

use crate::telemetry::time::time_of_day;
use crate::units::header_value::short_value;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Longest id taken from a caller.
const MAX_LENGTH: usize = 128;

/// A new id, of a request that arrived at `moment`.
pub fn generate(moment: Instant) -> HeaderValue {
    let millis = time_of_day(moment)
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let mut text = [0; 26];
    let (time, random) = text.split_at_mut(10);
    write_base_32(time, u64::try_from(millis).unwrap_or_default());
    for half in random.chunks_exact_mut(8) {
        write_base_32(half, fastrand::u64(..));
    }
    // Letters and digits always are one.
    short_value(&text).unwrap_or_else(|| HeaderValue::from_static("0"))
}

/// Fills `text` with the lowest bits of `bits`, five a symbol.
fn write_base_32(text: &mut [u8], mut bits: u64) {
    for symbol in text.iter_mut().rev() {
        *symbol = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
}

/// Whether a caller's id is safe to log and to pass on.
pub fn is_well_formed(id: &HeaderValue) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
    !id.is_empty() && id.len() <= MAX_LENGTH && id.as_bytes().iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_well_formed_and_sort_by_time() {
        let now = Instant::now();
        let first = generate(now);
        let second = generate(now + std::time::Duration::from_millis(3));
        assert!(is_well_formed(&first) && is_well_formed(&second));
        assert_eq!(first.len(), 26);
        assert!(first.as_bytes() < second.as_bytes());
    }

    #[test]
    fn ids_that_could_harm_a_log_are_not_kept() {
        let long = "a".repeat(129);
        for bad in ["", "a b", "\"", "x\\", "ü", &long] {
            assert!(
                !is_well_formed(&HeaderValue::from_bytes(bad.as_bytes()).unwrap()),
                "{bad}"
            );
        }
    }
}
