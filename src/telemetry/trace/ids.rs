//! Ids of traces and spans, and their hexadecimal form.
//!
//! Path: every codec beside this file reads and writes them. An id is never all zero, which would mean "none"
//! (W3C Trace Context §3.2.2.3).

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// The id of a trace: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub NonZeroU128);

/// The id of a span: 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub NonZeroU64);

impl TraceId {
    /// A new one.
    pub fn random() -> Self {
        Self(NonZeroU128::new(fastrand::u128(..)).unwrap_or(NonZeroU128::MIN))
    }

    /// 32 digits.
    pub fn hex(self) -> [u8; 32] {
        let (high, low) = (self.0.get() >> 64, self.0.get() & u128::from(u64::MAX));
        let half = |number| digits(u64::try_from(number).unwrap_or_default());
        concat(half(high), half(low))
    }

    /// From 32 digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let number = number(text).filter(|_| text.len() == 32)?;
        NonZeroU128::new(number).map(Self)
    }
}

impl SpanId {
    /// A new one.
    pub fn random() -> Self {
        Self(NonZeroU64::new(fastrand::u64(..)).unwrap_or(NonZeroU64::MIN))
    }

    /// 16 digits.
    pub fn hex(self) -> [u8; 16] {
        digits(self.0.get())
    }

    /// From 16 digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let number = number(text).filter(|_| text.len() == 16)?;
        NonZeroU64::new(u64::try_from(number).ok()?).map(Self)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

fn digits(number: u64) -> [u8; 16] {
    let [high, low] = [number >> 32, number & 0xffff_ffff].map(eight_digits);
    concat(high, low)
}

/// The digits of a number below 2³², eight at once: an id is written twice for every request.
fn eight_digits(number: u64) -> [u8; 8] {
    // Halves change places until each half-byte has a byte of its own, the highest one first.
    let spread = number >> 16 | (number & 0xffff) << 32;
    let spread = (spread & 0x0000_ff00_0000_ff00) >> 8 | (spread & 0x0000_00ff_0000_00ff) << 16;
    let spread = (spread & 0x00f0_00f0_00f0_00f0) >> 4 | (spread & 0x000f_000f_000f_000f) << 8;
    // 1 in each byte from ten on: letters stand 39 further on than digits would.
    let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    ((spread | 0x3030_3030_3030_3030) + letters * 39).to_le_bytes()
}

fn concat<const N: usize, const ALL: usize>(high: [u8; N], low: [u8; N]) -> [u8; ALL] {
    let mut all = [0; ALL];
    let (first, second) = all.split_at_mut(N);
    first.copy_from_slice(&high);
    second.copy_from_slice(&low);
    all
}

/// Up to 32 digits; capital letters are none (W3C Trace Context §3.2.2).
pub(super) fn number(text: &[u8]) -> Option<u128> {
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    text.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_and_capital_letters_are_no_ids() {
        assert_eq!(TraceId::parse(&[b'0'; 32]), None);
        assert_eq!(SpanId::parse(&[b'0'; 16]), None);
        assert_eq!(SpanId::parse(b"00F067AA0BA902B7"), None);
        assert_eq!(SpanId::parse(b"00f067aa0ba902b"), None);
        assert_eq!(number(b""), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace in 1u128.., span in 1u64..) {
            let (trace, span) = (TraceId(NonZeroU128::new(trace).unwrap()), SpanId(NonZeroU64::new(span).unwrap()));
            prop_assert_eq!(TraceId::parse(&trace.hex()), Some(trace));
            prop_assert_eq!(SpanId::parse(&span.hex()), Some(span));
            prop_assert_eq!(trace.to_string().into_bytes(), trace.hex().to_vec());
            prop_assert_eq!(span.to_string().into_bytes(), span.hex().to_vec());
        }
    }
}
