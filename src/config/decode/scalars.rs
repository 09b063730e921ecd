//! Words, numbers, times, sizes and names.
//!
//! Each reader gives `None` after it told what is wrong; the caller then keeps the default. A quoted number is a
//! number, for `"${PORT}"` must work.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::Located;
use super::super::suggest;
use super::super::yaml::{Scalar, Value};
use super::fields::{Item, brief};
use crate::units::{self, Pretty};

/// Longer waits are mistakes of unit; it also keeps the arithmetic of deadlines far from its limits.
pub(super) const MAX_TIME: Duration = Duration::from_secs(24 * 3600);
/// The clock of timers ticks in milliseconds.
pub(super) const MIN_TIME: Duration = Duration::from_millis(1);
const MAX_NAME: usize = 64;

impl Scalar {
    /// The text as it counts: block texts end in a line break that nobody means.
    pub(super) fn value(&self) -> &str {
        self.text.trim()
    }

    /// How a message names it; the content of a file is never shown.
    pub(super) fn words(&self) -> String {
        match &self.shown {
            Some(reference) => format!("the content of `{}`", brief(reference)),
            None if self.value().is_empty() => "an empty text".to_owned(),
            None => format!("`{}`", brief(self.value())),
        }
    }
}

/// The scalar at `item`; `allowed` says what it should be.
pub(super) fn scalar<'n>(
    item: &Item<'n>,
    allowed: &str,
    hint: &str,
    out: &mut Diagnostics,
) -> Option<&'n Scalar> {
    match &item.node.value {
        Value::Scalar(scalar) if !scalar.value().is_empty() => Some(scalar),
        Value::Told => None,
        _ => {
            out.push(item.wrong(allowed).label(hint));
            None
        }
    }
}

/// A text with its place.
pub(super) fn text(
    item: &Item<'_>,
    allowed: &str,
    hint: &str,
    out: &mut Diagnostics,
) -> Option<Located<String>> {
    scalar(item, allowed, hint, out)
        .map(|scalar| Located::new(scalar.value().to_owned(), item.node.at))
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    item: &Item<'_>,
    words: &[(&'static str, T)],
    out: &mut Diagnostics,
) -> Option<T> {
    let list = words
        .iter()
        .map(|(word, _)| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let hint = format!(
        "write {}",
        list.replacen(", ", " or ", usize::from(words.len() == 2))
    );
    let found = scalar(item, &format!("one of {list}"), &hint, out)?;
    let known = words.iter().find(|(word, _)| *word == found.value());
    if known.is_none() {
        let diagnostic = Diagnostic::error(format!("{} cannot be {}", item.title(), found.words()));
        let near = suggest::did_you_mean(found.value(), words.iter().map(|(word, _)| *word));
        out.push(match near {
            Some(near) => diagnostic
                .at(item.at())
                .label(near)
                .note(format!("values allowed here: {}", list.replace('`', ""))),
            None => diagnostic.at(item.at()).label(hint),
        });
    }
    known.map(|(_, value)| *value)
}

/// `true` or `false`.
pub(super) fn boolean(item: &Item<'_>, out: &mut Diagnostics) -> Option<bool> {
    word(item, &[("true", true), ("false", false)], out)
}

/// A whole number in `range`.
pub(super) fn integer(
    item: &Item<'_>,
    range: RangeInclusive<u32>,
    out: &mut Diagnostics,
) -> Option<u32> {
    let allowed = format!(
        "a whole number from {} to {}",
        grouped(*range.start()),
        grouped(*range.end())
    );
    let found = scalar(item, &allowed, "write a number", out)?;
    let text = found.value();
    let negative = text
        .strip_prefix('-')
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    let number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse::<u32>().ok());
    if number.is_none() && !negative {
        out.push(item.wrong(&allowed).label("write digits only"));
        return None;
    }
    let number = number.flatten().filter(|number| range.contains(number));
    if number.is_none() {
        let message = format!("{} must be {allowed}, not {}", item.title(), found.words());
        let label = if negative
            || text
                .parse::<u32>()
                .is_ok_and(|number| number < *range.start())
        {
            format!("write at least {}", range.start())
        } else {
            format!("write at most {}", range.end())
        };
        out.push(Diagnostic::error(message).at(item.at()).label(label));
    }
    number
}

/// `1,000,000`
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A whole share in `range` of percent, such as `20%`.
pub(super) fn percent(
    item: &Item<'_>,
    range: RangeInclusive<u8>,
    out: &mut Diagnostics,
) -> Option<u8> {
    let allowed = format!("a share from {}% to {}%", range.start(), range.end());
    let hint = format!("write a whole number and `%`: `{}%`", range.end().min(&50));
    let found = scalar(item, &allowed, &hint, out)?;
    let share = |number: &str| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| number.parse::<u8>().ok())?;
        number.filter(|number| range.contains(number))
    };
    let read = found.value().strip_suffix('%').map(str::trim_end);
    let read = read.and_then(share);
    if read.is_none() {
        let label = match share(found.value()) {
            Some(bare) if found.shown.is_none() => format!("write `{bare}%`"),
            _ => hint,
        };
        let message = format!("{} must be {allowed}, not {}", item.title(), found.words());
        out.push(Diagnostic::error(message).at(item.at()).label(label));
    }
    read
}

/// `10%`, `0.25%`: in hundredths of a per cent.
pub(super) fn hundredths(item: &Item<'_>, out: &mut Diagnostics) -> Option<u32> {
    let hint = "write a number and `%`: `10%`";
    let found = scalar(item, "a percentage", hint, out)?;
    let read = found.value().strip_suffix('%').and_then(|number| {
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let sound = digits(whole) && digits(part) && whole.len() <= 3 && part.len() <= 2;
        let hundredths = format!("{whole}{part:0<2}").parse::<u32>().ok()?;
        (sound && hundredths <= 10_000).then_some(hundredths)
    });
    if read.is_none() {
        let message = format!(
            "{} must be from 0% to 100% with at most two decimals, not {}",
            item.title(),
            found.words()
        );
        out.push(Diagnostic::error(message).at(item.at()).label(hint));
    }
    read
}

/// A time in `range`.
pub(super) fn duration(
    item: &Item<'_>,
    range: RangeInclusive<Duration>,
    out: &mut Diagnostics,
) -> Option<Duration> {
    let found = scalar(
        item,
        "a duration",
        "write a number and a unit: `5s`, `250ms`, `1m30s`",
        out,
    )?;
    let time = match units::duration(found.value()) {
        Ok(time) => time,
        Err(mistake) => {
            out.push(unit_mistake(item, found, &mistake));
            return None;
        }
    };
    if range.contains(&time) {
        return Some(time);
    }
    let (low, high) = (Pretty::Time(*range.start()), Pretty::Time(*range.end()));
    let label = if time < *range.start() {
        format!("write at least `{low}`")
    } else {
        format!("write at most `{high}`")
    };
    let message = format!(
        "{} must be from {low} to {high}, not {}",
        item.title(),
        found.words()
    );
    out.push(Diagnostic::error(message).at(item.at()).label(label));
    None
}

/// A time, or `off` for none: `Some(None)`.
pub(super) fn duration_or_off(item: &Item<'_>, out: &mut Diagnostics) -> Option<Option<Duration>> {
    if is_off(item, out)? {
        return Some(None);
    }
    if matches!(&item.node.value, Value::Scalar(scalar) if units::duration(scalar.value()) == Ok(Duration::ZERO))
    {
        let message = format!("{} cannot be 0", item.title());
        out.push(
            Diagnostic::error(message)
                .at(item.at())
                .label("write `off` for no limit"),
        );
        return None;
    }
    duration(item, MIN_TIME..=MAX_TIME, out).map(Some)
}

/// Whether `off` is written; other words for it are a mistake, and then `None`.
pub(super) fn is_off(item: &Item<'_>, out: &mut Diagnostics) -> Option<bool> {
    let Value::Scalar(scalar) = &item.node.value else {
        return Some(false);
    };
    match scalar.value() {
        "off" => Some(true),
        "false" | "no" | "none" | "never" | "disabled" | "unlimited" | "Off" | "OFF" => {
            let message = format!("{} cannot be {}", item.title(), scalar.words());
            out.push(
                Diagnostic::error(message)
                    .at(item.at())
                    .label("write `off`"),
            );
            None
        }
        _ => Some(false),
    }
}

/// A size in `range` of bytes.
pub(super) fn bytes(
    item: &Item<'_>,
    range: RangeInclusive<u32>,
    out: &mut Diagnostics,
) -> Option<u32> {
    let found = scalar(
        item,
        "a size",
        "write a number and a unit: `64KiB`, `1MiB`",
        out,
    )?;
    let size = match units::bytes(found.value()) {
        Ok(size) => size,
        Err(mistake) => {
            out.push(unit_mistake(item, found, &mistake));
            return None;
        }
    };
    if let Some(size) = u32::try_from(size).ok().filter(|size| range.contains(size)) {
        return Some(size);
    }
    let (low, high) = (
        Pretty::Bytes((*range.start()).into()),
        Pretty::Bytes((*range.end()).into()),
    );
    let label = if size < (*range.start()).into() {
        format!("write at least `{low}`")
    } else {
        format!("write at most `{high}`")
    };
    let message = format!(
        "{} must be from {low} to {high}, not {}",
        item.title(),
        found.words()
    );
    out.push(Diagnostic::error(message).at(item.at()).label(label));
    None
}

fn unit_mistake(item: &Item<'_>, found: &Scalar, mistake: &units::Mistake) -> Diagnostic {
    // The hint may repeat what was written, which must not happen with a file's content.
    let hint = if found.shown.is_some() {
        "correct that file"
    } else {
        mistake.hint()
    };
    Diagnostic::error(format!("{} of {} {mistake}", found.words(), item.title()))
        .at(item.at())
        .label(hint)
}

/// A name. It is repeated in messages, metrics and logs, so it cannot be the content of a file.
pub(super) fn name(
    item: &Item<'_>,
    allowed: &str,
    hint: &str,
    out: &mut Diagnostics,
) -> Option<Located<String>> {
    if matches!(&item.node.value, Value::Scalar(scalar) if scalar.shown.is_some()) {
        out.push(item.wrong(allowed).label("write the name itself"));
        return None;
    }
    text(item, allowed, hint, out)
}

/// The name of another section; empty if it cannot be read.
pub(super) fn reference(item: &Item<'_>, what: &str, out: &mut Diagnostics) -> Located<String> {
    name(item, &format!("the name of {what}"), "write one name", out)
        .unwrap_or_else(|| Located::new(String::new(), item.at()))
}

/// Tells if `name` is not one; `place` is where it stands.
pub(super) fn check_name(name: &Located<String>, place: &str, out: &mut Diagnostics) {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let wrong = name.value.chars().find(|c| !legal(*c));
    let (message, label) = if name.value.is_empty() {
        (
            format!("a name in `{place}` is empty"),
            "write a name".to_owned(),
        )
    } else if let Some(wrong) = wrong {
        let wrong = if wrong == ' ' {
            "a blank".to_owned()
        } else {
            format!("`{}`", wrong.escape_debug())
        };
        let message = format!(
            "the name `{}` in `{place}` holds {wrong}",
            brief(&name.value)
        );
        (message, "use letters, digits, `-`, `_`, `.`".to_owned())
    } else if name.value.len() > MAX_NAME {
        let message = format!(
            "the name `{}` in `{place}` has {} characters",
            brief(&name.value),
            name.value.len()
        );
        (message, format!("use at most {MAX_NAME} characters"))
    } else {
        return;
    };
    out.push(
        Diagnostic::error(message)
            .at(name.at)
            .label(label)
            .note("names appear in metrics and logs"),
    );
}
