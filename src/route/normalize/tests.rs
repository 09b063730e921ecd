use super::*;
use proptest::prelude::*;

const DEFAULT: Normalize = Normalize {
    encoded_slash: EncodedSlash::Keep,
    double_slash: DoubleSlash::Merge,
    dot_segments: DotSegments::Resolve,
};

/// The normal form, and whether the app is sent it.
fn normal(path: &str, rules: Normalize) -> Result<(String, bool), &'static str> {
    let normalized = normalize(path, rules)?;
    Ok(normalized.map_or((path.to_owned(), false), |normalized| {
        (normalized.path, normalized.sent == Sent::Normal)
    }))
}

#[test]
fn only_spelling_differs_and_the_app_is_sent_what_came() {
    for (path, expected) in [
        ("/", "/"),
        ("/a/b.c/..d/e..", "/a/b.c/..d/e.."),
        ("/%61dmin", "/admin"),
        ("/%7Euser/%7euser", "/~user/~user"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%5cb", "/a%5Cb"),
        ("/100%", "/100%"),
        ("/%zz/%4", "/%zz/%4"),
        ("/%%36%31", "/%%361"),
        ("/a%3bb;c=%2e", "/a%3Bb;c=."),
        ("/a//b///c/", "/a/b/c/"),
        ("/a//", "/a/"),
        ("/caf\u{e9}", "/caf%C3%A9"),
        ("/.well-known/x", "/.well-known/x"),
        ("/%252e%252e/x", "/%252e%252e/x"),
    ] {
        assert_eq!(
            normal(path, DEFAULT),
            Ok((expected.into(), false)),
            "{path}"
        );
    }
}

#[test]
fn what_an_app_could_read_as_another_path_is_sent_as_it_was_compared() {
    for (path, expected) in [
        ("/public/../admin", "/admin"),
        ("/public/%2e%2e/admin", "/admin"),
        ("/public/.%2E/admin", "/admin"),
        ("/public\\..\\admin", "/admin"),
        ("/public//../admin", "/admin"),
        ("/a/./b", "/a/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/..", "/"),
        ("/../../etc", "/etc"),
        ("//admin/x", "/admin/x"),
        ("//", "/"),
    ] {
        assert_eq!(normal(path, DEFAULT), Ok((expected.into(), true)), "{path}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for path in [
        "/public/..;/admin",
        "/public/..;x=1/admin",
        "/public/.;/admin",
        "/public%2F..%2Fadmin",
        "/public/..%2fadmin",
        "/public%5c..%5cadmin",
        "/public%2F%2e%2e",
        "/public%2f..;a%2fadmin",
    ] {
        assert!(normal(path, DEFAULT).is_err(), "{path}");
    }
}

#[test]
fn each_rule_has_its_words() {
    let encoded = |encoded_slash| Normalize {
        encoded_slash,
        ..DEFAULT
    };
    assert_eq!(
        normal("/a%2Fb%5Cc", encoded(EncodedSlash::Decode)),
        Ok(("/a/b/c".into(), true))
    );
    assert_eq!(
        normal("/a%2F..%2Fb", encoded(EncodedSlash::Decode)),
        Ok(("/b".into(), true))
    );
    assert!(normal("/a%2fb", encoded(EncodedSlash::Reject)).is_err());

    let double = |double_slash| Normalize {
        double_slash,
        ..DEFAULT
    };
    assert_eq!(
        normal("//a//b", double(DoubleSlash::Keep)),
        Ok(("//a//b".into(), false))
    );
    assert!(normal("/a//b", double(DoubleSlash::Reject)).is_err());
    assert!(normal("/a//", double(DoubleSlash::Reject)).is_err());
    assert!(normal("/a/b/", double(DoubleSlash::Reject)).is_ok());

    let dots = |dot_segments| Normalize {
        dot_segments,
        ..DEFAULT
    };
    assert_eq!(
        normal("/a/../b\\c/..;x", dots(DotSegments::Keep)),
        Ok(("/a/../b\\c/..;x".into(), false))
    );
    for path in ["/a/../b", "/a/%2e/b", "/a\\b", "/a/.."] {
        assert!(normal(path, dots(DotSegments::Reject)).is_err(), "{path}");
    }
}

fn any_rules() -> impl Strategy<Value = Normalize> {
    use DotSegments as D;
    use DoubleSlash as S;
    use EncodedSlash as E;
    let encoded = prop::sample::select(vec![E::Keep, E::Decode, E::Reject]);
    let double = prop::sample::select(vec![S::Keep, S::Merge, S::Reject]);
    let dots = prop::sample::select(vec![D::Keep, D::Resolve, D::Reject]);
    (encoded, double, dots).prop_map(|(encoded_slash, double_slash, dot_segments)| Normalize {
        encoded_slash,
        double_slash,
        dot_segments,
    })
}

/// Paths of the pieces that matter, and of anything.
fn any_path() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "/", "//", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", ";", "a", "b%", "%", "%6",
        "1", "61", "%25", "%41", "\u{e9}", "*",
    ]);
    let of_pieces =
        prop::collection::vec(pieces, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()));
    prop_oneof![of_pieces, "/[ -~]{0,20}", "/\\PC{0,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

    #[test]
    fn normalising_twice_is_normalising_once(path in any_path(), rules in any_rules()) {
        if let Ok(Some(once)) = normalize(&path, rules) {
            prop_assert_eq!(normalize(&once.path, rules), Ok(None), "{:?}", once);
        }
    }

    #[test]
    fn a_normal_path_holds_nothing_that_its_rules_forbid(path in any_path(), rules in any_rules()) {
        let Ok((path, _)) = normal(&path, rules) else { return Ok(()) };
        prop_assert!(path.starts_with('/') && path.is_ascii());
        prop_assert!(rules.double_slash == DoubleSlash::Keep || !path.contains("//"));
        if rules.dot_segments != DotSegments::Keep {
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
            prop_assert!(!path.contains('\\'));
        }
        if rules.encoded_slash != EncodedSlash::Keep {
            prop_assert!(!path.contains("%2F") && !path.contains("%2f"));
        }
    }

    #[test]
    fn a_plain_path_is_left_alone(path in "/([a-z0-9_-]{1,4}/){0,5}[a-z]{1,3}(\\.[a-z]{1,3})?", rules in any_rules()) {
        prop_assert_eq!(normalize(&path, rules), Ok(None));
    }
}
