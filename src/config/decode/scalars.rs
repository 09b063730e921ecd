//! Readers of single values: words, numbers, quantities, names.
//!
//! Path: the section readers of `decode` call these. Each takes a value as it was written, quoted or not, and says
//! what is allowed if it is something else.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::fields::{Field, scalar, wrong};
use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::Located;
use crate::config::suggest::did_you_mean;
use crate::units::{self, Pretty};

/// Longest time that may be written: what is longer is meant as `off`, and timers must not overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Most characters of a name: it becomes a metric label.
const MAX_NAME: usize = 64;

/// Whether a time of nothing makes sense.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// `0s` is a time.
    Allowed,
    /// `0s` would refuse everything.
    Refused,
}

/// `5s`
pub(super) fn duration(field: &Field<'_>, zero: Zero, out: &mut Diagnostics) -> Option<Duration> {
    let text = &scalar(
        field,
        "a duration",
        "write a number and a unit: `5s`, `250ms`, `1m30s`",
        out,
    )?
    .text;
    checked_duration(field, text, zero, out, "")
}

/// `5s` or `off`; the outer `None` is a mistake.
pub(super) fn duration_or_off(
    field: &Field<'_>,
    out: &mut Diagnostics,
) -> Option<Option<Duration>> {
    let text = &scalar(
        field,
        "a duration or `off`",
        "write `5s`, `250ms`, `1m30s` or `off`",
        out,
    )?
    .text;
    if text == "off" {
        return Some(None);
    }
    checked_duration(field, text, Zero::Refused, out, ", or `off` for no limit").map(Some)
}

fn checked_duration(
    field: &Field<'_>,
    text: &str,
    zero: Zero,
    out: &mut Diagnostics,
    or_off: &str,
) -> Option<Duration> {
    let mistake = match units::duration(text) {
        Ok(time) if time.is_zero() && zero == Zero::Refused => wrong(
            field,
            "is no time at all",
            format!("write at least `1ms`{or_off}"),
        ),
        Ok(time) if time > LONGEST => wrong(
            field,
            "is longer than a year",
            format!("write at most `365d`{or_off}"),
        ),
        Ok(time) => return Some(time),
        Err(mistake) => wrong(
            field,
            &mistake.to_string(),
            format!("{}{or_off}", mistake.hint()),
        ),
    };
    out.push(mistake);
    None
}

/// `64KiB` within `range`.
pub(super) fn size(
    field: &Field<'_>,
    range: RangeInclusive<u32>,
    out: &mut Diagnostics,
) -> Option<u32> {
    let text = &scalar(
        field,
        "a size",
        "write a number and a unit: `64KiB`, `1MiB`",
        out,
    )?
    .text;
    let size = match units::bytes(text) {
        Ok(size) => size,
        Err(mistake) => {
            out.push(wrong(field, &mistake.to_string(), mistake.hint()));
            return None;
        }
    };
    let fits = u32::try_from(size).ok().filter(|size| range.contains(size));
    if fits.is_none() {
        let [least, most] =
            [range.start(), range.end()].map(|bound| Pretty::Bytes(u64::from(*bound)));
        out.push(wrong(
            field,
            "is out of range",
            format!("write a size from `{least}` to `{most}`"),
        ));
    }
    fits
}

/// A whole number within `range`.
pub(super) fn number(
    field: &Field<'_>,
    range: RangeInclusive<u32>,
    out: &mut Diagnostics,
) -> Option<u32> {
    let allowed = format!(
        "write a whole number from {} to {}",
        grouped(*range.start()),
        grouped(*range.end())
    );
    let text = scalar(field, "a number", &allowed, out)?.text.as_str();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        out.push(wrong(field, "is not a whole number", allowed));
        return None;
    }
    let number = text.parse().ok().filter(|number| range.contains(number));
    if number.is_none() {
        out.push(wrong(field, "is out of range", allowed));
    }
    number
}

/// A whole number from 1 to `most`.
pub(super) fn positive(field: &Field<'_>, most: u32, out: &mut Diagnostics) -> Option<NonZeroU32> {
    number(field, 1..=most, out).and_then(NonZeroU32::new)
}

/// `1000000` → `1,000,000`.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `true` or `false`
pub(super) fn boolean(field: &Field<'_>, out: &mut Diagnostics) -> Option<bool> {
    let text = &scalar(field, "`true` or `false`", "write `true` or `false`", out)?.text;
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        word => {
            let meant = match word {
                "yes" | "on" | "1" => "write `true`",
                "no" | "off" | "0" => "write `false`",
                _ => "write `true` or `false`",
            };
            out.push(wrong(field, "is neither `true` nor `false`", meant));
            None
        }
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    field: &Field<'_>,
    words: &[(&str, T)],
    out: &mut Diagnostics,
) -> Option<T> {
    let allowed: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    let allowed = format!("write {}", listed(&allowed));
    let text = &scalar(field, "a word", &allowed, out)?.text;
    if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
        return Some(*value);
    }
    out.push(
        match did_you_mean(text, words.iter().map(|(word, _)| *word)) {
            Some(meant) => wrong(field, "is not known", meant)
                .note(format!("known here: {}", keys(words).join(", "))),
            None => wrong(field, "is not known", allowed),
        },
    );
    None
}

fn keys<'w, T>(words: &[(&'w str, T)]) -> Vec<&'w str> {
    words.iter().map(|(word, _)| *word).collect()
}

/// `a`, `a or b`, `a, b or c`.
fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A name that refers to something: whether it exists is looked up later.
pub(super) fn reference(
    field: &Field<'_>,
    what: &str,
    out: &mut Diagnostics,
) -> Option<Located<String>> {
    let scalar = scalar(
        field,
        &format!("the name of {what}"),
        &format!("write the name of {what}"),
        out,
    )?;
    if scalar.text.is_empty() {
        out.push(wrong(
            field,
            "is empty",
            format!("write the name of {what}"),
        ));
        return None;
    }
    Some(Located::new(scalar.text.clone(), field.node.at))
}

/// The `name` of a route.
pub(super) fn name(field: &Field<'_>, out: &mut Diagnostics) -> Option<Located<String>> {
    let name = Located::new(
        scalar(field, "a name", "write a name such as `api`", out)?
            .text
            .clone(),
        field.node.at,
    );
    if let Some((what, label)) = odd_name(&name.value) {
        out.push(wrong(field, what, label));
    }
    Some(name)
}

/// Tells if `name`, a key of `section`, is no name. It stays known all the same.
pub(super) fn key_name(name: &Located<String>, section: &str, out: &mut Diagnostics) {
    if let Some((what, label)) = odd_name(&name.value) {
        let shown = crate::config::diagnostics::shown(&name.value);
        out.push(
            Diagnostic::error(format!("the name `{shown}` in `{section}` {what}"))
                .at(name.at)
                .label(label),
        );
    }
}

fn odd_name(name: &str) -> Option<(&'static str, &'static str)> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() {
        return Some(("is empty", "write a name such as `api`"));
    }
    if name.chars().count() > MAX_NAME {
        return Some(("is too long", "write at most 64 characters"));
    }
    (!name.chars().all(legal)).then_some((
        "has a character that names cannot have",
        "use letters, digits, `-`, `_`, `.`",
    ))
}
