//! What must not be read in a log: credentials in headers and queries.
//!
//! Path: [`super::access_format`]. By their names, for nobody can tell a secret by its value; rather one too many.

use std::borrow::Cow;

/// Stands for a secret.
pub const REDACTED: &str = "***";

/// A name with one of these in it has a secret behind it.
const SECRET: [&str; 11] = [
    "token",
    "key",
    "secret",
    "password",
    "passwd",
    "pwd",
    "signature",
    "credential",
    "session",
    "auth",
    "jwt",
];

/// Headers that carry credentials by definition; the rest goes by its name.
const SECRET_HEADERS: [&str; 3] = ["cookie", "set-cookie", "x-amz-security-token"];

/// Whether a header of this lower-case name is never shown.
pub fn is_secret_header(name: &str) -> bool {
    SECRET_HEADERS.contains(&name) || is_secret(name)
}

fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|part| name.contains(part))
}

/// `query` without the values of secret keys and of those in `more`, which are in lower case.
pub fn query<'q>(query: &'q str, more: &[Box<str>]) -> Cow<'q, str> {
    let secret = |pair: &str| {
        let key = decoded(pair.split('=').next().unwrap_or_default());
        is_secret(&key) || more.iter().any(|it| **it == *key)
    };
    // Some apps take `;` for `&`.
    let mut pairs = query.split(['&', ';']);
    if !pairs.any(secret) {
        return Cow::Borrowed(query);
    }
    let mut shown = String::with_capacity(query.len());
    for pair in query.split_inclusive(['&', ';']) {
        let (whole, end) = match pair.strip_suffix(['&', ';']) {
            Some(whole) => (whole, &pair[whole.len()..]),
            None => (pair, ""),
        };
        match whole.split_once('=') {
            Some((key, _)) if secret(whole) => {
                shown.push_str(key);
                shown.push('=');
                shown.push_str(REDACTED);
            }
            // A secret key without a value may be the secret itself.
            None if secret(whole) => shown.push_str(REDACTED),
            _ => shown.push_str(whole),
        }
        shown.push_str(end);
    }
    Cow::Owned(shown)
}

/// In lower case, with `%74` and the like resolved: `%74oken` is a token, too.
fn decoded(key: &str) -> String {
    let mut decoded = Vec::with_capacity(key.len());
    let mut bytes = key.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let digit = |at: usize| char::from(*rest.get(at)?).to_digit(16);
        bytes = rest;
        if *first == b'%'
            && let (Some(high), Some(low)) = (digit(0), digit(1))
        {
            decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
            bytes = &rest[2..];
        } else {
            decoded.push(*first);
        }
    }
    let mut text = String::from_utf8_lossy(&decoded).into_owned();
    text.make_ascii_lowercase();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_queries_are_hidden_however_they_are_spelt() {
        let more = ["card".into()];
        for (given, shown) in [
            ("a=1&b=2", "a=1&b=2"),
            ("token=x", "token=***"),
            ("a=1&access_token=x&b=2", "a=1&access_token=***&b=2"),
            ("API-KEY=x;b=2", "API-KEY=***;b=2"),
            ("%74oken=x", "%74oken=***"),
            ("PassWord=x=y", "PassWord=***"),
            ("card=4111&cards=2", "card=***&cards=2"),
            ("mytoken", "***"),
            ("", ""),
            ("&&=&token=", "&&=&token=***"),
            ("%&%7&%zz=1&gr\u{fc}n=1", "%&%7&%zz=1&gr\u{fc}n=1"),
        ] {
            assert_eq!(query(given, &more), shown);
        }
    }

    #[test]
    fn headers_with_credentials_are_secret() {
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "x-api-key",
            "x-auth-token",
        ] {
            assert!(is_secret_header(name), "{name}");
        }
        assert!(!is_secret_header("user-agent") && !is_secret_header("referer"));
    }
}
