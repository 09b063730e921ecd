//! The time of day, and RFC 3339 timestamps in UTC with milliseconds.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

const SECONDS_PER_DAY: u64 = 86_400;

/// A step of the time of day is noticed after this at the latest.
const COMPARED_EVERY: Duration = Duration::from_secs(1);

/// `2026-11-24T12:00:03`
type Written = [u8; 19];

thread_local! {
    /// A second and how it is written. Most lines are of the same second as the one before.
    static LAST: Cell<(u64, Written)> = const { Cell::new((u64::MAX, [0; 19])) };

    /// What both clocks showed when they were last compared.
    static COMPARED: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
}

/// The time of day at `moment`, a moment ago. Whoever knows it by the one clock need not look at the other, too.
pub fn time_of_day(moment: Instant) -> SystemTime {
    if let Some((then, time)) = COMPARED.get()
        && let Some(since) = moment.checked_duration_since(then)
        && since < COMPARED_EVERY
    {
        return time.checked_add(since).unwrap_or(time);
    }
    let (now, time) = (Instant::now(), SystemTime::now());
    COMPARED.set(Some((now, time)));
    time.checked_sub(now.saturating_duration_since(moment))
        .unwrap_or(time)
}

/// Appends `now` as `2026-11-24T12:00:03.412Z`. After the year 9999 the clock stands still.
pub fn write_rfc3339(out: &mut Vec<u8>, now: SystemTime) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut second, mut text) = LAST.get();
    if second != since.as_secs() {
        second = since.as_secs();
        text = written(second.min(LAST_SECOND));
        LAST.set((second, text));
    }
    out.extend_from_slice(&text);
    let millis = since.subsec_millis();
    let [a, b, c] = [millis / 100, millis / 10, millis].map(digit);
    out.extend_from_slice(&[b'.', a, b, c, b'Z']);
}

/// The last second of the year 9999, the last that the format can hold.
const LAST_SECOND: u64 = 253_402_300_799;

/// The part before the fraction, for `seconds` since 1970.
fn written(seconds: u64) -> Written {
    let (year, month, day) = civil_date(seconds / SECONDS_PER_DAY);
    let second = seconds % SECONDS_PER_DAY;
    let mut text = *b"0000-00-00T00:00:00";
    let parts = [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, second / 3600),
        (14..16, second / 60 % 60),
        (17..19, second % 60),
    ];
    for (place, mut value) in parts {
        for digit in text[place].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    text
}

/// Days since 1970-01-01 → (year, month, day), by Howard Hinnant's `civil_from_days`.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The last digit of a number.
fn digit(value: u32) -> u8 {
    b'0' + (value % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_follows_the_other_clock() {
        let before = SystemTime::now();
        time_of_day(Instant::now());
        let first = Instant::now();
        let time = time_of_day(first);
        assert!(before <= time && time <= SystemTime::now());
        for after in (1..900).map(Duration::from_millis) {
            assert_eq!(time_of_day(first + after), time + after);
        }
        // Further ahead of the comparison it is made anew, and before it, too.
        assert!(time_of_day(first + Duration::from_secs(3)) <= SystemTime::now());
        let age = Duration::from_secs(5);
        let earlier = time_of_day(Instant::now() - age);
        assert!(earlier + age >= before && earlier + age <= SystemTime::now());
    }

    fn text(seconds: u64, millis: u64) -> String {
        let mut out = Vec::new();
        write_rfc3339(
            &mut out,
            UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis),
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_instants_are_written_as_rfc_3339() {
        assert_eq!(text(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(text(1_795_521_603, 412), "2026-11-24T12:00:03.412Z");
        assert_eq!(text(4_107_542_399, 999), "2100-02-28T23:59:59.999Z");
        assert_eq!(text(1_795_521_603, 42), "2026-11-24T12:00:03.042Z");
        assert_eq!(text(253_402_300_800, 0), "9999-12-31T23:59:59.000Z");
    }
}
