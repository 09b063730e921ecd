//! How a list of addresses becomes the members of a set.
//!
//! Path: [`super::Members`] asks when the list is another. An address that is known keeps its endpoint, and its breaker if
//! that is of the same section.

use std::collections::HashMap;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Instant;

use super::{EndpointSet, Listed, Member};
use crate::telemetry::journal::Journal;
use crate::telemetry::metrics::Metrics;
use crate::upstream::address::Address;
use crate::upstream::balance::Balance;
use crate::upstream::breaker::{Breaker, Breakers};
use crate::upstream::endpoint::Endpoint;

/// What does not change about an upstream's endpoints.
#[derive(Debug)]
pub struct Settings {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// How the next one is chosen.
    pub balance: Balance,
    /// With a smaller share in service, in per cent, all are used; `None`: never.
    pub panic_threshold: Option<NonZeroU8>,
    /// Workers running.
    pub workers: usize,
    /// Where handles come from.
    pub metrics: Arc<Metrics>,
    /// Where changes are written down.
    pub journal: Arc<Journal>,
    /// Where circuit breakers come from.
    pub breakers: Option<Arc<Breakers>>,
}

impl Settings {
    /// `kept`: where endpoints come from that are known, and where their breakers do.
    pub(super) fn members(
        &self,
        list: &[Listed],
        kept: (&EndpointSet, &EndpointSet),
        now: Instant,
    ) -> Box<[Member]> {
        let by_address = |set: &'_ EndpointSet| -> HashMap<Address, Member> {
            let members = set.members.iter().cloned();
            members
                .map(|member| (member.endpoint.address.clone(), member))
                .collect()
        };
        let (known, before) = (by_address(kept.0), by_address(kept.1));
        let endpoint = |address: &Address| match known.get(address) {
            Some(known) => Arc::clone(&known.endpoint),
            None => {
                let metrics = self.metrics.endpoint(&self.upstream, &address.to_string());
                let address = address.clone();
                Arc::new(Endpoint::new(address, self.workers, metrics, now))
            }
        };
        list.iter()
            .map(|(address, weight)| Member {
                endpoint: endpoint(address),
                weight: *weight,
                breaker: self.breaker(address, before.get(address), kept.1),
            })
            .collect()
    }

    /// The breaker that the address had `before` if that was one of the same section, else a fresh one; what an operator
    /// had forced stays.
    fn breaker(
        &self,
        address: &Address,
        known: Option<&Member>,
        before: &EndpointSet,
    ) -> Option<Arc<Breaker>> {
        let breakers = self.breakers.as_ref()?;
        let old = known.and_then(|known| known.breaker.as_ref());
        let same = |other: &Arc<Breakers>| Arc::ptr_eq(other, breakers);
        match old {
            Some(old) if before.breakers.as_ref().is_some_and(same) => Some(Arc::clone(old)),
            old => {
                let fresh = breakers.for_endpoint(&address.to_string());
                old.into_iter().for_each(|old| fresh.inherit(old));
                Some(Arc::new(fresh))
            }
        }
    }
}
