//! `listeners.*.unix`

use std::net::SocketAddr;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::fields::{Fields, Item};
use super::{keys, scalars};
use crate::units::place::FileRules;

/// Reads who may connect to the socket of a listener; `other` is what it has instead of one.
pub(super) fn rules(item: Item<'_>, other: Option<SocketAddr>, out: &mut Diagnostics) -> FileRules {
    let mut rules = FileRules::default();
    if other.is_some_and(|address| address.port() != 0) {
        let message = format!(
            "{} says who may connect to a unix socket, and there is none",
            item.title()
        );
        let label = "remove it, or write `address: unix:/run/outrigger.sock`";
        out.push(Diagnostic::error(message).at(item.key).label(label));
    }
    let Some(fields) = Fields::of(item, keys::UNIX, out) else {
        return rules;
    };
    if let Some(mode) = fields.get("mode").and_then(|item| mode(&item, out)) {
        rules.mode = mode;
    }
    let mut number = |key: &str| {
        let item = fields.get(key)?;
        scalars::integer(&item, 0..=u32::MAX - 1, out)
    };
    rules.user = number("user");
    rules.group = number("group");
    rules
}

/// Octal, as `chmod` takes it.
fn mode(item: &Item<'_>, out: &mut Diagnostics) -> Option<u32> {
    const HINT: &str = "write `\"0660\"`";
    let found = scalars::scalar(item, "a mode", HINT, out)?;
    let text = found.value();
    let mode = Some(text).filter(|it| {
        matches!(it.len(), 3..=4) && it.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
    });
    let mode = mode
        .and_then(|it| u32::from_str_radix(it, 8).ok())
        .filter(|it| *it <= 0o777);
    if mode.is_none() {
        let message = format!("{} of {} is no mode of a file", found.words(), item.title());
        out.push(Diagnostic::error(message).at(item.at()).label(HINT));
    }
    mode
}
