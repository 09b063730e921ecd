//! Picks the endpoint for one attempt.
//!
//! Path: `proxy::attempt` → here → `upstream::pool`. Shared by all workers, so that a request on any of them, on any
//! connection, takes the next turn. Never blocks, never allocates; `None` means there is no endpoint.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::members::Member;

/// Up to this many endpoints `least_connections` looks at all of them; beyond, at two drawn at random
/// (Mitzenmacher 2001, "The power of two choices"), which comes close at constant cost.
const FULL_SCAN: usize = 16;

/// How the next endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Smooth weighted round robin.
    RoundRobin,
    /// Fewest requests in flight for its weight.
    LeastConnections,
}

impl Balance {
    /// The word used in YAML and in views.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
        }
    }
}

/// Who is next.
#[derive(Debug)]
pub enum Balancer {
    /// Smooth weighted round robin.
    RoundRobin(RoundRobin),
    /// Fewest requests in flight for its weight.
    LeastConnections(LeastConnections),
}

impl Balancer {
    /// For endpoints of these weights, in their order; turns go on from `cursor`.
    pub fn new(balance: Balance, weights: &[NonZeroU32], cursor: usize) -> Self {
        match balance {
            Balance::RoundRobin => Self::RoundRobin(RoundRobin::starting_at(weights, cursor)),
            Balance::LeastConnections => {
                Self::LeastConnections(LeastConnections::starting_at(weights, cursor))
            }
        }
    }

    /// Turns taken so far.
    pub fn cursor(&self) -> usize {
        match self {
            Self::RoundRobin(balancer) => balancer.cursor.load(Ordering::Relaxed),
            Self::LeastConnections(balancer) => balancer.cursor.load(Ordering::Relaxed),
        }
    }

    /// The endpoint whose turn it is among those that are `eligible`.
    pub fn pick<'a>(
        &self,
        members: &'a [Member],
        eligible: impl Fn(&Member) -> bool,
    ) -> Option<&'a Member> {
        let eligible = |index: usize| members.get(index).is_some_and(&eligible);
        let index = match self {
            Self::RoundRobin(balancer) => balancer.next(eligible)?,
            Self::LeastConnections(balancer) => balancer.next(|index| {
                let member = members.get(index)?;
                eligible(index).then(|| member.endpoint.in_flight())
            })?,
        };
        members.get(index)
    }
}

/// More turns than this make a cycle nobody sees the end of: weights of a larger one are rounded.
const MAX_TURNS: u64 = 16_384;

/// So many turns of endpoints that are not eligible are passed over; then the first one that is takes it.
const PASSED_OVER: usize = 512;

/// One cycle of turns, worked out beforehand; a request takes the next one with a single atomic addition.
///
/// The k-th turn (from 0) of an endpoint of weight w falls due at (2k + 1) / 2w of the cycle, and turns are taken in
/// order of their due times: each endpoint gets exactly its share of every cycle, spread evenly over it. A turn of an
/// endpoint that is not eligible is used up, and whoever is next takes the one after it: so the others share what it
/// leaves by their weights, and its neighbour gets no more than they do.
#[derive(Debug)]
pub struct RoundRobin {
    turns: Box<[u32]>,
    cursor: AtomicUsize,
}

impl RoundRobin {
    /// For endpoints of these weights, in their order.
    pub fn new(weights: &[NonZeroU32]) -> Self {
        Self::starting_at(weights, 0)
    }

    fn starting_at(weights: &[NonZeroU32], cursor: usize) -> Self {
        let divisor = weights
            .iter()
            .fold(0, |divisor, weight| {
                greatest_common_divisor(divisor, weight.get())
            })
            .max(1);
        let total: u64 = weights.iter().map(|w| u64::from(w.get() / divisor)).sum();
        let shrink = total.div_ceil(MAX_TURNS).max(1);
        let mut turns: Vec<(u64, u64, u32)> = Vec::new();
        for (index, weight) in (0u32..).zip(weights) {
            let weight = (u64::from(weight.get() / divisor) / shrink).max(1);
            turns.extend((0..weight).map(|turn| (2 * turn + 1, 2 * weight, index)));
        }
        // a/b < c/d exactly when a·d < c·b; equal due times keep the order of the endpoints.
        turns.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.cmp(&b.2)));
        Self {
            turns: turns.into_iter().map(|(_, _, index)| index).collect(),
            cursor: AtomicUsize::new(cursor),
        }
    }

    /// The index of the next endpoint among those that are `eligible`.
    pub fn next(&self, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        if self.turns.len() <= 1 {
            return (!self.turns.is_empty() && eligible(0)).then_some(0);
        }
        for _ in 0..self.turns.len().min(PASSED_OVER) {
            let index = self.turn(self.cursor.fetch_add(1, Ordering::Relaxed))?;
            if eligible(index) {
                return Some(index);
            }
        }
        let from = self.cursor.load(Ordering::Relaxed);
        let rest = (0..self.turns.len()).filter_map(|offset| self.turn(from.wrapping_add(offset)));
        rest.into_iter().find(|&index| eligible(index))
    }

    fn turn(&self, number: usize) -> Option<usize> {
        let place = number.checked_rem(self.turns.len())?;
        self.turns.get(place).map(|&endpoint| endpoint as usize)
    }
}

/// Compares requests in flight, each divided by the endpoint's weight.
#[derive(Debug)]
pub struct LeastConnections {
    weights: Box<[u64]>,
    heaviest: Option<u64>,
    cursor: AtomicUsize,
}

impl LeastConnections {
    /// For endpoints of these weights, in their order.
    pub fn new(weights: &[NonZeroU32]) -> Self {
        Self::starting_at(weights, 0)
    }

    fn starting_at(weights: &[NonZeroU32], cursor: usize) -> Self {
        Self {
            heaviest: weights.iter().map(|w| u64::from(w.get())).max(),
            weights: weights.iter().map(|w| u64::from(w.get())).collect(),
            cursor: AtomicUsize::new(cursor),
        }
    }

    /// The index of the endpoint with the smallest load, where `in_flight` tells an endpoint's requests under way, or
    /// `None` if it is not eligible.
    pub fn next(&self, in_flight: impl Fn(usize) -> Option<usize>) -> Option<usize> {
        let count = self.weights.len();
        if count <= 1 {
            return (count == 1 && in_flight(0).is_some()).then_some(0);
        }
        if count > FULL_SCAN {
            let first = fastrand::usize(..count);
            let second = (first + fastrand::usize(1..count)) % count;
            let drawn = [first, second].into_iter();
            if let Some(index) = self.lightest(drawn, &in_flight) {
                return Some(index);
            }
        }
        // Starting at another endpoint each time lets equals take turns.
        let mut next = self.cursor.fetch_add(1, Ordering::Relaxed) % count;
        let all = (0..count).map(|_| {
            let index = next;
            next = if next + 1 == count { 0 } else { next + 1 };
            index
        });
        self.lightest(all, &in_flight)
    }

    /// The one that carries least per weight; the first of equals. One more is added to all of them, the request to
    /// come, so that of two idle endpoints the heavier one is preferred.
    fn lightest(
        &self,
        indices: impl Iterator<Item = usize>,
        in_flight: impl Fn(usize) -> Option<usize>,
    ) -> Option<usize> {
        let mut best: Option<(usize, u64, u64)> = None;
        for index in indices {
            let Some((requests, &weight)) = in_flight(index).zip(self.weights.get(index)) else {
                continue;
            };
            let load = u64::try_from(requests)
                .unwrap_or(u64::MAX)
                .saturating_add(1);
            let lighter = best.is_none_or(|(_, least, by)| {
                load.saturating_mul(by) < least.saturating_mul(weight)
            });
            if lighter {
                best = Some((index, load, weight));
            }
            if load == 1 && Some(weight) == self.heaviest {
                // None of the others can carry less.
                break;
            }
        }
        best.map(|(index, _, _)| index)
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
            (0..skipped).for_each(|_| { balancer.next(|_| true); });
            let mut seen = vec![0u32; values.len()];
            for _ in 0..values.iter().sum() {
                seen[balancer.next(|_| true).unwrap()] += 1;
            }
            prop_assert_eq!(seen, values);
        }

        #[test]
        fn round_robin_is_smooth(values in prop::collection::vec(1u32..20, 2..6)) {
            let balancer = RoundRobin::new(&weights(&values));
            let total: u32 = values.iter().sum();
            let mut seen = vec![0i64; values.len()];
            for turn in 1..=i64::from(total) {
                seen[balancer.next(|_| true).unwrap()] += 1;
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
            let chosen = balancer.next(|index| Some(loads[index].0)).unwrap();
            let cost = |index: usize| (loads[index].0 + 1) as f64 / f64::from(loads[index].1);
            for other in 0..loads.len() {
                prop_assert!(cost(chosen) <= cost(other));
            }
        }

        #[test]
        fn least_connections_never_takes_the_busiest_of_many(count in FULL_SCAN + 1..200, busiest in 0usize..17) {
            let balancer = LeastConnections::new(&weights(&vec![1; count]));
            for _ in 0..50 {
                prop_assert_ne!(balancer.next(|index| Some(usize::from(index == busiest) * 10)).unwrap(), busiest);
            }
        }
    }

    proptest! {
        #[test]
        fn what_one_leaves_is_shared_by_the_others_as_their_weights_say(
            values in prop::collection::vec(1u32..20, 2..7), gone in any::<prop::sample::Index>()
        ) {
            let balancer = RoundRobin::new(&weights(&values));
            let gone = gone.index(values.len());
            let others: u32 = values.iter().sum::<u32>() - values[gone];
            let mut seen = vec![0u32; values.len()];
            for _ in 0..others {
                seen[balancer.next(|index| index != gone).unwrap()] += 1;
            }
            let mut expected = values;
            expected[gone] = 0;
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn whoever_is_eligible_is_found(count in 1usize..300, only in any::<prop::sample::Index>(), heavy in 1u32..256) {
            let only = only.index(count);
            let mut values = vec![heavy; count];
            values[only] = 1;
            let turns = RoundRobin::new(&weights(&values));
            prop_assert_eq!(turns.next(|index| index == only), Some(only));
            prop_assert_eq!(turns.next(|_| false), None);
            let least = LeastConnections::new(&weights(&values));
            prop_assert_eq!(least.next(|index| (index == only).then_some(9)), Some(only));
            prop_assert_eq!(least.next(|_| None), None);
        }
    }

    #[test]
    fn a_huge_cycle_is_shortened_and_nobody_is_forgotten() {
        let values: Vec<u32> = (0..1000).map(|n| 1 + n % 256).collect();
        let balancer = RoundRobin::new(&weights(&values));
        assert!(balancer.turns.len() <= 20_000, "{}", balancer.turns.len());
        for index in 0..1000 {
            assert!(balancer.turns.contains(&index), "{index}");
        }
    }

    #[test]
    fn equally_loaded_endpoints_take_turns() {
        let balancer = LeastConnections::new(&weights(&[1, 1, 1]));
        let mut seen = [0; 3];
        (0..30).for_each(|_| seen[balancer.next(|_| Some(0)).unwrap()] += 1);
        assert_eq!(seen, [10, 10, 10]);
    }

    #[test]
    fn no_endpoint_is_no_choice() {
        assert_eq!(RoundRobin::new(&[]).next(|_| true), None);
        assert_eq!(LeastConnections::new(&[]).next(|_| Some(0)), None);
    }
}
