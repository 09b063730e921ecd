//! Quantities as people write them: durations and sizes, each with its unit.
//!
//! A leaf: everyone may use it. [`duration`] and [`bytes()`] read, [`Pretty`] prints what they read. A wrong text is a
//! value that says what is allowed, never a panic; no number is rounded or wraps around.

pub mod header_value;
pub mod place;

use std::fmt;
use std::time::Duration;

/// Why a text is not a quantity. Its `Display` says what is wrong with it; [`Mistake::hint`] what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    what: &'static str,
    hint: String,
}

impl Mistake {
    fn new(what: &'static str, hint: impl Into<String>) -> Self {
        Self {
            what,
            hint: hint.into(),
        }
    }

    /// What to write instead.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for Mistake {}

/// Units of time with their length in milliseconds; the longest first, as they are written.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size with their length in bytes.
const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads `5s`, `250ms`, `1m30s`, `1h`, `0s`.
///
/// # Errors
/// A number without a unit, an unknown unit, a fraction, units out of order, more than fits.
pub fn duration(text: &str) -> Result<Duration, Mistake> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Mistake::new(
            "has no unit",
            format!("write a unit: `{text}s` or `{text}ms`"),
        ));
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (number, unit, after) = quantity(rest);
        let length = time_unit(number, unit)?;
        if length >= smallest {
            return Err(Mistake::new(
                "is not a duration",
                "write each unit once, the longest first: `1m30s`",
            ));
        }
        smallest = length;
        let part = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(length));
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or_else(too_long)?;
        rest = after;
    }
    if smallest == u64::MAX {
        return Err(not_a_duration());
    }
    Ok(Duration::from_millis(total))
}

/// Splits `90s…` into `90`, `s` and what follows.
fn quantity(text: &str) -> (&str, &str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let letters = text[digits..]
        .chars()
        .take_while(|c| !c.is_ascii_digit())
        .map(char::len_utf8)
        .sum::<usize>();
    (
        &text[..digits],
        &text[digits..digits + letters],
        &text[digits + letters..],
    )
}

fn time_unit(number: &str, unit: &str) -> Result<u64, Mistake> {
    if number.is_empty() {
        return Err(not_a_duration());
    }
    let unit = unit.trim();
    if let Some((_, length)) = TIMES.iter().find(|(name, _)| *name == unit) {
        return Ok(*length);
    }
    let meant = match unit.to_ascii_lowercase().as_str() {
        "" => {
            return Err(Mistake::new(
                "is not a duration",
                format!("write a unit behind `{number}`: `{number}s`"),
            ));
        }
        "." | "," => {
            return Err(Mistake::new(
                "is not a duration",
                "write whole numbers: `1500ms`, not `1.5s`",
            ));
        }
        "sec" | "secs" | "second" | "seconds" | "s" => "s",
        "min" | "mins" | "minute" | "minutes" | "m" => "m",
        "hour" | "hours" | "hr" | "hrs" | "h" => "h",
        "msec" | "msecs" | "millis" | "milliseconds" | "ms" => "ms",
        "us" | "µs" | "ns" => {
            return Err(Mistake::new("is too fine", "the smallest unit is `ms`"));
        }
        _ => {
            return Err(Mistake::new(
                "has an unknown unit",
                "units are `ms`, `s`, `m`, `h`",
            ));
        }
    };
    Err(Mistake::new(
        "has an unknown unit",
        format!("write `{number}{meant}`"),
    ))
}

fn not_a_duration() -> Mistake {
    Mistake::new(
        "is not a duration",
        "write a number and a unit: `5s`, `250ms`, `1m30s`",
    )
}

fn too_long() -> Mistake {
    Mistake::new("is too long", "write a shorter time")
}

/// Reads `64KiB`, `1MiB`, `10MB`; a plain number is bytes.
///
/// # Errors
/// Not a number, an unknown unit, a fraction, more than fits.
pub fn bytes(text: &str) -> Result<u64, Mistake> {
    let (number, unit, after) = quantity(text);
    if number.is_empty() || !after.is_empty() {
        let hint = if unit.trim() == "." {
            "write whole numbers: `1536KiB`, not `1.5MiB`"
        } else {
            SIZE_HINT
        };
        return Err(Mistake::new("is not a size", hint));
    }
    let factor = size_unit(number, unit.trim())?;
    let size = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    size.ok_or_else(|| Mistake::new("is too large", "write a smaller size"))
}

const SIZE_HINT: &str = "write a number and a unit: `64KiB`, `1MiB`, `10MB`";

fn size_unit(number: &str, unit: &str) -> Result<u64, Mistake> {
    if unit.is_empty() {
        return Ok(1);
    }
    if let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == unit) {
        return Ok(*factor);
    }
    let letter = unit
        .chars()
        .next()
        .map_or(' ', |letter| letter.to_ascii_uppercase());
    let folded = unit.to_ascii_lowercase();
    if matches!(letter, 'K' | 'M' | 'G') && matches!(&folded[1..], "" | "b" | "i" | "ib") {
        return Err(Mistake::new(
            "has an unknown unit",
            format!("write `{number}{letter}iB`"),
        ));
    }
    Err(Mistake::new(
        "has an unknown unit",
        "units are `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB`",
    ))
}

/// Prints a quantity as [`duration`] and [`bytes()`] read it: `1m30s`, `64KiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pretty {
    /// A time; what is finer than a millisecond is left out.
    Time(Duration),
    /// A number of bytes.
    Bytes(u64),
}

impl fmt::Display for Pretty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write_time(f, time.as_millis()),
            Self::Bytes(size) => write_size(f, *size),
        }
    }
}

fn write_time(f: &mut fmt::Formatter<'_>, mut millis: u128) -> fmt::Result {
    if millis == 0 {
        return f.write_str("0s");
    }
    for (unit, length) in TIMES {
        let count = millis / u128::from(length);
        if count > 0 {
            write!(f, "{count}{unit}")?;
            millis %= u128::from(length);
        }
    }
    Ok(())
}

fn write_size(f: &mut fmt::Formatter<'_>, size: u64) -> fmt::Result {
    let whole = SIZES
        .iter()
        .filter(|(_, factor)| size > 0 && size.is_multiple_of(*factor));
    match whole.max_by_key(|(_, factor)| *factor) {
        Some((unit, factor)) if *factor > 1 => write!(f, "{}{unit}", size / factor),
        _ => write!(f, "{size}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("5s", 5_000),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("26h3m4s5ms", 93_784_005),
        ] {
            let read = duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(millis), "{text}");
            assert_eq!(Pretty::Time(read).to_string(), text);
        }
    }

    #[test]
    fn a_wrong_duration_says_what_to_write() {
        for (text, hint) in [
            ("5", "write a unit: `5s` or `5ms`"),
            ("5sec", "write `5s`"),
            ("1.5s", "write whole numbers: `1500ms`, not `1.5s`"),
            ("30s1m", "write each unit once, the longest first: `1m30s`"),
            ("5x", "units are `ms`, `s`, `m`, `h`"),
            ("10us", "the smallest unit is `ms`"),
            ("99999999999999999999h", "write a shorter time"),
            ("", "write a number and a unit: `5s`, `250ms`, `1m30s`"),
            ("-1s", "write a number and a unit: `5s`, `250ms`, `1m30s`"),
            ("1m30", "write a unit behind `30`: `30s`"),
        ] {
            assert_eq!(duration(text).unwrap_err().hint(), hint, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, size) in [
            ("64KiB", 65_536),
            ("1MiB", 1 << 20),
            ("10MB", 10_000_000),
            ("0B", 0),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(bytes(text).unwrap(), size, "{text}");
            assert_eq!(Pretty::Bytes(size).to_string(), text);
        }
        assert_eq!(bytes("512"), Ok(512));
    }

    #[test]
    fn a_wrong_size_says_what_to_write() {
        for (text, hint) in [
            ("64K", "write `64KiB`"),
            ("64kb", "write `64KiB`"),
            ("1mib", "write `1MiB`"),
            ("1.5MiB", "write whole numbers: `1536KiB`, not `1.5MiB`"),
            ("5x", "units are `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB`"),
            ("99999999999GiB", "write a smaller size"),
            ("many", SIZE_HINT),
        ] {
            assert_eq!(bytes(text).unwrap_err().hint(), hint, "{text}");
        }
    }
}
