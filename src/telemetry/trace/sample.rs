//! Which traces that begin here are recorded.
//!
//! Whether a caller records decides for its requests (parent-based); the rest is a share of all, by the trace's id, so
//! that every proxy with the same share decides alike. The same arithmetic as the SDK's `TraceIdRatioBased`.

use super::ids::TraceId;

/// All of it, in the unit of [`Sampler::new`].
pub const ALL: u32 = 10_000;

/// A share of traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    below: u64,
}

impl Sampler {
    /// `hundredths` of a per cent: 0 to 10,000.
    pub fn new(hundredths: u32) -> Self {
        let whole = 1u64 << 63;
        Self {
            below: whole / u64::from(ALL) * u64::from(hundredths.min(ALL))
                + if hundredths >= ALL {
                    whole % u64::from(ALL)
                } else {
                    0
                },
        }
    }

    /// Whether `trace` is one of them.
    pub fn takes(self, trace: TraceId) -> bool {
        let [.., a, b, c, d, e, f, g, h] = trace.0.get().to_be_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < self.below
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU128;

    use super::*;

    #[test]
    fn all_none_and_a_share_are_what_they_say() {
        let extremes = [1, u128::MAX, u128::from(u64::MAX), 1 << 64];
        for id in extremes.map(|id| TraceId(NonZeroU128::new(id).unwrap())) {
            assert!(Sampler::new(ALL).takes(id), "{id}");
            assert!(!Sampler::new(0).takes(id), "{id}");
        }
        fastrand::seed(7);
        let tenth = Sampler::new(1_000);
        let taken = (0..100_000)
            .filter(|_| tenth.takes(TraceId::random()))
            .count();
        assert!((9_500..10_500).contains(&taken), "{taken}");
    }

    #[test]
    fn a_larger_share_takes_all_that_a_smaller_one_does() {
        for _ in 0..1_000 {
            let id = TraceId::random();
            let takes = [1, 100, 5_000, ALL].map(|share| Sampler::new(share).takes(id));
            assert!(takes.is_sorted(), "{takes:?}");
        }
    }
}
