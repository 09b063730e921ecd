//! "Did you mean …?": the known word nearest to a mistyped one.
//!
//! Optimal string alignment distance (Damerau–Levenshtein without repeated edits), letters' case and `-`/`_`
//! ignored. A word is near when at most a third of its letters must change; else a guess would only mislead.

/// The entry of `known` that was probably meant by `word`.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    let allowed = (folded.len() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate), allowed), candidate))
        .filter(|(distance, candidate)| {
            *distance <= allowed && *distance < candidate.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean `x`?`, if something known is near.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, known).map(|candidate| format!("did you mean `{candidate}`?"))
}

fn fold(word: &str) -> Vec<char> {
    // Names are at most 64 characters; a longer word is near to none of them.
    word.chars()
        .take(80)
        .flat_map(char::to_lowercase)
        .map(|c| if c == '-' { '_' } else { c })
        .collect()
}

fn distance(a: &[char], b: &[char], allowed: usize) -> usize {
    if a.len().abs_diff(b.len()) > allowed {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = above[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["endpoints", "balance", "timeouts", "pool", "app"];

    #[test]
    fn a_mistyped_word_finds_its_neighbour() {
        for (word, meant) in [
            ("endpionts", "endpoints"),
            ("Endpoints", "endpoints"),
            ("timeout", "timeouts"),
            ("poll", "pool"),
            ("ap", "app"),
            ("apps", "app"),
        ] {
            assert_eq!(nearest(word, KNOWN), Some(meant), "{word}");
        }
    }

    #[test]
    fn a_strange_word_finds_nothing() {
        for word in ["circuit_breaker", "x", "", "tls", "endpoint_list_of_all"] {
            assert_eq!(nearest(word, KNOWN), None, "{word}");
        }
    }
}
