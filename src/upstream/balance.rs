//! Picks the endpoint for one attempt.
//!
//! Path: `proxy::attempt` → here → `upstream::pool`. Shared by all workers, so that a request on any of them, on any
//! connection, takes the next turn. Never blocks, never allocates; `None` means there is no endpoint.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::endpoint::Endpoint;

/// Up to this many endpoints `least_connections` looks at all of them; beyond, at two drawn at random
/// (Mitzenmacher 2001, "The power of two choices"), which comes close at constant cost.
const FULL_SCAN: usize = 16;

/// Who is next.
#[derive(Debug)]
pub enum Balancer {
    /// Smooth weighted round robin.
    RoundRobin(RoundRobin),
    /// Fewest requests in flight for its weight.
    LeastConnections(LeastConnections),
}

impl Balancer {
    /// The endpoint whose turn it is.
    pub fn pick<'a>(&self, endpoints: &'a [Arc<Endpoint>]) -> Option<&'a Arc<Endpoint>> {
        let index = match self {
            Self::RoundRobin(balancer) => balancer.next()?,
            Self::LeastConnections(balancer) => {
                balancer.next(|index| endpoints.get(index).map_or(usize::MAX, |e| e.in_flight()))?
            }
        };
        endpoints.get(index)
    }
}

/// One cycle of turns, worked out beforehand; a request takes the next one with a single atomic addition.
///
/// The k-th turn (from 0) of an endpoint of weight w falls due at (2k + 1) / 2w of the cycle, and turns are taken in
/// order of their due times: each endpoint gets exactly its share of every cycle, spread evenly over it.
#[derive(Debug)]
pub struct RoundRobin {
    turns: Box<[u32]>,
    cursor: AtomicUsize,
}

impl RoundRobin {
    /// For endpoints of these weights, in their order.
    pub fn new(weights: &[NonZeroU32]) -> Self {
        let divisor = weights
            .iter()
            .fold(0, |divisor, weight| {
                greatest_common_divisor(divisor, weight.get())
            })
            .max(1);
        let mut turns: Vec<(u64, u64, u32)> = Vec::new();
        for (index, weight) in (0u32..).zip(weights) {
            let weight = u64::from(weight.get() / divisor);
            turns.extend((0..weight).map(|turn| (2 * turn + 1, 2 * weight, index)));
        }
        // a/b < c/d exactly when a·d < c·b; equal due times keep the order of the endpoints.
        turns.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.cmp(&b.2)));
        Self {
            turns: turns.into_iter().map(|(_, _, index)| index).collect(),
            cursor: AtomicUsize::new(0),
        }
    }

    /// The index of the next endpoint.
    pub fn next(&self) -> Option<usize> {
        if self.turns.len() == 1 {
            return Some(0);
        }
        let turn = self.cursor.fetch_add(1, Ordering::Relaxed);
        let index = turn.checked_rem(self.turns.len())?;
        self.turns.get(index).map(|&endpoint| endpoint as usize)
    }
}

/// Compares requests in flight, each divided by the endpoint's weight.
#[derive(Debug)]
pub struct LeastConnections {
    weights: Box<[NonZeroU32]>,
    cursor: AtomicUsize,
}

impl LeastConnections {
    /// For endpoints of these weights, in their order.
    pub fn new(weights: &[NonZeroU32]) -> Self {
        Self {
            weights: weights.into(),
            cursor: AtomicUsize::new(0),
        }
    }

    /// The index of the endpoint with the smallest load, where `in_flight` tells an endpoint's requests under way.
    pub fn next(&self, in_flight: impl Fn(usize) -> usize) -> Option<usize> {
        let count = self.weights.len();
        if count <= 1 {
            return count.checked_sub(1);
        }
        if count <= FULL_SCAN {
            // Starting at another endpoint each time lets equals take turns.
            let start = self.cursor.fetch_add(1, Ordering::Relaxed);
            let candidates = (0..count).map(|offset| (start.wrapping_add(offset)) % count);
            return candidates.reduce(|best, other| self.lighter(best, other, &in_flight));
        }
        let first = fastrand::usize(..count);
        let second = (first + fastrand::usize(1..count)) % count;
        Some(self.lighter(first, second, &in_flight))
    }

    /// `first` unless `second` carries less per weight. One more is added to both sides, the request to come, so that
    /// of two idle endpoints the heavier one is preferred.
    fn lighter(&self, first: usize, second: usize, in_flight: impl Fn(usize) -> usize) -> usize {
        let load = |index: usize| in_flight(index).saturating_add(1) as u128;
        let weight =
            |index: usize| u128::from(self.weights.get(index).map_or(1, |weight| weight.get()));
        if load(second) * weight(first) < load(first) * weight(second) {
            second
        } else {
            first
        }
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weights(values: &[u32]) -> Vec<NonZeroU32> {
        values
            .iter()
            .map(|&value| NonZeroU32::new(value).unwrap())
            .collect()
    }

    proptest! {
        #[test]
        fn round_robin_gives_exact_shares_over_one_cycle_wherever_it_starts(
            values in prop::collection::vec(1u32..40, 1..8), skipped in 0usize..500
        ) {
            let balancer = RoundRobin::new(&weights(&values));
            (0..skipped).for_each(|_| { balancer.next(); });
            let mut seen = vec![0u32; values.len()];
            for _ in 0..values.iter().sum() {
                seen[balancer.next().unwrap()] += 1;
            }
            prop_assert_eq!(seen, values);
        }

        #[test]
        fn round_robin_is_smooth(values in prop::collection::vec(1u32..20, 2..6)) {
            let balancer = RoundRobin::new(&weights(&values));
            let total: u32 = values.iter().sum();
            let mut seen = vec![0i64; values.len()];
            for turn in 1..=i64::from(total) {
                seen[balancer.next().unwrap()] += 1;
                for (index, &weight) in values.iter().enumerate() {
                    // Never more than one turn and a half away from the ideal share.
                    let gap = 2 * (seen[index] * i64::from(total) - turn * i64::from(weight));
                    prop_assert!(gap.abs() <= 3 * i64::from(total), "endpoint {} after {} turns", index, turn);
                }
            }
        }

        #[test]
        fn least_connections_finds_the_true_minimum_of_few(
            loads in prop::collection::vec((0usize..50, 1u32..5), 2..=FULL_SCAN)
        ) {
            let values: Vec<u32> = loads.iter().map(|load| load.1).collect();
            let balancer = LeastConnections::new(&weights(&values));
            let chosen = balancer.next(|index| loads[index].0).unwrap();
            let cost = |index: usize| (loads[index].0 + 1) as f64 / f64::from(loads[index].1);
            for other in 0..loads.len() {
                prop_assert!(cost(chosen) <= cost(other));
            }
        }

        #[test]
        fn least_connections_never_takes_the_busiest_of_many(count in FULL_SCAN + 1..200, busiest in 0usize..17) {
            let balancer = LeastConnections::new(&weights(&vec![1; count]));
            for _ in 0..50 {
                prop_assert_ne!(balancer.next(|index| usize::from(index == busiest) * 10).unwrap(), busiest);
            }
        }
    }

    #[test]
    fn equally_loaded_endpoints_take_turns() {
        let balancer = LeastConnections::new(&weights(&[1, 1, 1]));
        let mut seen = [0; 3];
        (0..30).for_each(|_| seen[balancer.next(|_| 0).unwrap()] += 1);
        assert_eq!(seen, [10, 10, 10]);
    }

    #[test]
    fn no_endpoint_is_no_choice() {
        assert_eq!(RoundRobin::new(&[]).next(), None);
        assert_eq!(LeastConnections::new(&[]).next(|_| 0), None);
    }
}
