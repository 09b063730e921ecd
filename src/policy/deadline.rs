//! By when a request has to be answered.
//!
//! Path: `proxy::forward` fixes it when the route is known; every attempt asks what is left, and tells the app.
//! Two clocks run: the route's total timeout, from which streams are exempt once they have begun, and the time that the
//! client itself allows, which binds the whole exchange. Time only ever gets shorter on its way to the app.

use std::time::{Duration, Instant};

/// The end of a request, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deadline {
    /// By the route's total timeout.
    pub total: Option<Instant>,
    /// By what the client allows.
    pub client: Option<Instant>,
}

/// Whose clock ends first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The route's total timeout.
    Total,
    /// The client's.
    Client,
}

impl Deadline {
    /// The end, and by whose clock; `None`: there is none.
    pub fn end(&self) -> Option<(Instant, Clock)> {
        match (self.total, self.client) {
            (Some(total), Some(client)) if client < total => Some((client, Clock::Client)),
            (Some(total), _) => Some((total, Clock::Total)),
            (None, client) => client.map(|client| (client, Clock::Client)),
        }
    }

    /// Time left at `now`; `None`: without end.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.end()
            .map(|(end, _)| end.saturating_duration_since(now))
    }

    /// What still binds a stream that has begun: the client's own clock.
    pub fn of_stream(self) -> Self {
        Self {
            total: None,
            ..self
        }
    }
}

/// `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Timeout"). `None` for anything else.
pub fn parse_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let count = parse_digits(digits, 8)?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// `left` as `grpc-timeout`, in the finest unit that has room for it; rounded down, so that the app gives up first.
pub fn format_grpc_timeout(left: Duration) -> String {
    const ROOM: u128 = 99_999_999;
    let units: [(u128, char); 6] = [
        (left.as_nanos(), 'n'),
        (left.as_micros(), 'u'),
        (left.as_millis(), 'm'),
        (left.as_secs().into(), 'S'),
        (u128::from(left.as_secs() / 60), 'M'),
        (u128::from(left.as_secs() / 3600), 'H'),
    ];
    let fits = units.iter().find(|(count, _)| *count <= ROOM);
    fits.map_or_else(
        || format!("{ROOM}H"),
        |(count, unit)| format!("{count}{unit}"),
    )
}

/// Whole milliseconds, at most twelve digits. `None` for anything else.
pub fn parse_millis(value: &[u8]) -> Option<Duration> {
    parse_digits(value, 12).map(Duration::from_millis)
}

fn parse_digits(digits: &[u8], most: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > most || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_earlier_clock_decides() {
        let now = tokio::time::Instant::now().into_std();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        let end = |total, client| Deadline { total, client }.end();
        assert_eq!(end(None, None), None);
        assert_eq!(end(at(5), at(3)), at(3).map(|end| (end, Clock::Client)));
        assert_eq!(end(at(5), at(8)), at(5).map(|end| (end, Clock::Total)));
        assert_eq!(end(None, at(8)), at(8).map(|end| (end, Clock::Client)));
    }

    #[test]
    fn nothing_is_left_past_the_end() {
        let now = tokio::time::Instant::now().into_std();
        let deadline = Deadline {
            total: Some(now),
            client: None,
        };
        assert_eq!(
            deadline.left(now + Duration::from_secs(1)),
            Some(Duration::ZERO)
        );
        assert_eq!(deadline.of_stream().left(now), None);
    }

    #[test]
    fn every_unit_of_grpc_is_read_and_nothing_else() {
        let millis = |text: &str| parse_grpc_timeout(text.as_bytes()).map(|time| time.as_millis());
        assert_eq!(millis("1H"), Some(3_600_000));
        assert_eq!(millis("2M"), Some(120_000));
        assert_eq!(millis("3S"), Some(3000));
        assert_eq!(millis("99999999m"), Some(99_999_999));
        assert_eq!(millis("5000u"), Some(5));
        assert_eq!(millis("7000000n"), Some(7));
        for wrong in [
            "",
            "S",
            "5",
            "5s",
            "-5S",
            "123456789m",
            "1 S",
            "１S",
            "5SS",
            "+5S",
        ] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn milliseconds_are_digits_only() {
        assert_eq!(parse_millis(b"250"), Some(Duration::from_millis(250)));
        for wrong in [&b""[..], b"2.5", b"-1", b"1s", b"1234567890123"] {
            assert_eq!(parse_millis(wrong), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_told_to_the_app_is_never_more_than_is_left(nanos: u64) {
            let left = Duration::from_nanos(nanos);
            let told = parse_grpc_timeout(format_grpc_timeout(left).as_bytes()).unwrap();
            prop_assert!(told <= left);
            // The finest unit with room loses a hundred-thousandth at most.
            prop_assert!(left - told <= left / 99_999 + Duration::from_nanos(1));
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = parse_grpc_timeout(&bytes);
            let _ = parse_millis(&bytes);
        }
    }
}
