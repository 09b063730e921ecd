//! Shares of requests by weight: which upstream of a split, whether a copy is made.
//!
//! Path: [`super::Route::target`] and `proxy::mirror` ask once a request. Shared by all workers. Never blocks, never
//! allocates, and needs the same few bytes whatever the weights are.
//!
//! With weights of sum n, turn t stands for the point t·s mod n of a line on which each holder owns a stretch as long as
//! its weight. As s has no divisor in common with n, n turns in a row visit every point once: each gets exactly its share
//! of every cycle. As s is near n divided by the golden ratio, neighbouring turns fall far apart (Knuth, TAOCP 3, §6.4).

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use http::header::{COOKIE, HeaderName};
use xxhash_rust::xxh3::xxh3_64;

use crate::upstream::Upstream;

/// Who is how often.
#[derive(Debug)]
pub struct Shares {
    /// Where each holder's stretch ends; the last is the sum.
    ends: Box<[u64]>,
    step: u64,
    turn: AtomicU64,
}

impl Shares {
    /// For holders of these weights, in their order. `None` if all weights are 0.
    pub fn new(weights: &[u32]) -> Option<Self> {
        let divisor = weights
            .iter()
            .fold(0, |divisor, &weight| gcd(divisor, weight.into()));
        let mut sum = 0;
        let ends: Box<[u64]> = weights
            .iter()
            .map(|&weight| {
                sum += u64::from(weight).checked_div(divisor).unwrap_or(0);
                sum
            })
            .collect();
        (sum > 0).then(|| Self {
            ends,
            step: step(sum),
            // Not at 0: of many routes, and after each reload, it would be the first holder's turn everywhere.
            turn: AtomicU64::new(fastrand::u64(..1 << 32)),
        })
    }

    /// The holder whose turn it is.
    pub fn next(&self) -> usize {
        let sum = self.sum();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % sum;
        // Both are below 2^32: a split has at most some dozen weights of at most a million.
        self.holder(turn.wrapping_mul(self.step) % sum)
    }

    /// The holder for `key`: always the same as long as the weights are, and of other weights for most keys.
    pub fn of(&self, key: &[u8]) -> usize {
        let point = (u128::from(xxh3_64(key)) * u128::from(self.sum())) >> 64;
        self.holder(u64::try_from(point).unwrap_or(0))
    }

    fn sum(&self) -> u64 {
        self.ends.last().copied().unwrap_or(1)
    }

    fn holder(&self, point: u64) -> usize {
        self.ends.partition_point(|&end| end <= point)
    }
}

/// The number nearest to `sum` divided by the golden ratio that has no divisor in common with it.
fn step(sum: u64) -> u64 {
    let ideal = (u128::from(sum) * 618_034 / 1_000_000).max(1);
    let ideal = u64::try_from(ideal).unwrap_or(1);
    let near = (0..ideal).flat_map(|distance| [ideal + distance, ideal - distance]);
    near.into_iter()
        .find(|&step| gcd(step, sum) == 1)
        .unwrap_or(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One of several upstreams for each request.
#[derive(Debug)]
pub struct Split {
    /// In the order of the shares.
    pub upstreams: Box<[Arc<Upstream>]>,
    /// How often each.
    pub shares: Shares,
    /// What makes requests go together.
    pub sticky: Option<Sticky>,
}

/// Requests with the same value go to the same upstream.
#[derive(Debug)]
pub enum Sticky {
    /// Of this header.
    Header(HeaderName),
    /// Of this cookie.
    Cookie(Box<str>),
}

impl Split {
    /// The upstream for a request with these headers.
    pub fn pick(&self, headers: &HeaderMap) -> Option<&Arc<Upstream>> {
        let key = self.sticky.as_ref().and_then(|sticky| sticky.key(headers));
        let index = key.map_or_else(|| self.shares.next(), |key| self.shares.of(&key));
        self.upstreams.get(index)
    }
}

impl Sticky {
    fn key<'h>(&self, headers: &'h HeaderMap) -> Option<Cow<'h, [u8]>> {
        match self {
            Self::Header(name) => headers.get(name).map(|value| value.as_bytes().into()),
            Self::Cookie(name) => cookie(headers, name).map(Cow::Borrowed),
        }
    }
}

/// The value of the first cookie called `name`.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let lines = headers.get_all(COOKIE).iter();
    let mut cookies = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    cookies.find_map(|cookie| {
        let cookie = cookie.trim_ascii_start();
        cookie.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(shares: &Shares, holders: usize, turns: u64) -> Vec<u64> {
        let mut seen = vec![0; holders];
        (0..turns).for_each(|_| seen[shares.next()] += 1);
        seen
    }

    proptest! {
        #[test]
        fn each_gets_exactly_its_share_of_a_cycle_wherever_it_begins(
            weights in prop::collection::vec(0u32..300, 1..8), skipped in 0u64..1000
        ) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let shares = Shares::new(&weights).unwrap();
            counts(&shares, weights.len(), skipped);
            let sum = weights.iter().map(|&weight| u64::from(weight)).sum();
            let expected: Vec<u64> = weights.iter().map(|&weight| weight.into()).collect();
            prop_assert_eq!(counts(&shares, weights.len(), sum), expected);
        }

        #[test]
        fn a_key_keeps_its_holder_and_a_weight_of_zero_holds_nothing(
            weights in prop::collection::vec(0u32..=1_000_000, 1..8), key in prop::collection::vec(any::<u8>(), 0..20)
        ) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let (shares, again) = (Shares::new(&weights).unwrap(), Shares::new(&weights).unwrap());
            prop_assert_eq!(shares.of(&key), again.of(&key));
            prop_assert!(weights[shares.of(&key)] > 0);
            prop_assert!(weights[shares.next()] > 0);
        }
    }

    #[test]
    fn ninety_to_ten_is_so_within_one_per_cent_of_any_hundred_thousand() {
        for weights in [[90, 10], [900_000, 100_000], [899_999, 100_003]] {
            let seen = counts(&Shares::new(&weights).unwrap(), 2, 100_000);
            assert!(seen[0].abs_diff(90_000) <= 100, "{weights:?}: {seen:?}");
        }
    }

    #[test]
    fn turns_of_one_share_are_spread_evenly() {
        let shares = Shares::new(&[90, 10]).unwrap();
        let turns: Vec<usize> = (0..1000).map(|_| shares.next()).collect();
        for window in turns.windows(20) {
            let few = window.iter().filter(|&&holder| holder == 1).count();
            assert!((1..=3).contains(&few), "{window:?}");
        }
    }

    #[test]
    fn keys_are_spread_by_weight() {
        let shares = Shares::new(&[90, 10]).unwrap();
        let few = (0..100_000u32)
            .filter(|key| shares.of(&key.to_be_bytes()) == 1)
            .count();
        assert!(few.abs_diff(10_000) < 500, "{few}");
    }

    #[test]
    fn all_zero_is_no_split() {
        assert!(Shares::new(&[0, 0]).is_none() && Shares::new(&[]).is_none());
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; user=7;b=2".parse().unwrap());
        headers.append(COOKIE, "c=3".parse().unwrap());
        let value =
            |name| cookie(&headers, name).map(|value| String::from_utf8_lossy(value).into_owned());
        assert_eq!(value("user").as_deref(), Some("7"));
        assert_eq!(value("b").as_deref(), Some("2"));
        assert_eq!(value("c").as_deref(), Some("3"));
        assert_eq!(value("use"), None);
    }
}
