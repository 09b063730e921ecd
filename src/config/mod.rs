//! What the user wrote: YAML text → [`model::Config`], or a list of mistakes.
//!
//! Path: `cli` and `app` [`load`] a file and [`read`] it; `snapshot` checks and compiles what comes out. Only this
//! module knows YAML, and of it only `yaml` knows the crate. [`read`] needs no file, sets nothing and never
//! panics; it always gives a best-effort [`model::Config`], so that `snapshot` can add its mistakes to the same list.

mod bodies;
mod decode;
pub mod diagnostics;
mod load;
pub mod model;
mod places;
pub mod render;
pub mod source;
pub(crate) mod suggest;
mod tls_files;
mod vars;
pub mod watch;
mod yaml;

pub use load::{LoadError, MAX_FILE, load};
pub use vars::Env;

use diagnostics::{Diagnostic, Diagnostics, Section};
use model::{Config, Endpoint, Located};
use source::Source;
use yaml::Value;

/// Reads `source`; variables come from `env`. What is wrong is in the second part, in the file's order; if that has
/// errors, the config is good for finding more of them and for nothing else.
pub fn read(source: &Source, env: Env<'_>) -> (Config, Diagnostics) {
    let mut out = Diagnostics::default();
    let Some(mut root) = yaml::parse(source, &mut out) else {
        out.mark_unreadable(Section::File);
        return (Config::default(), out);
    };
    if matches!(root.value, Value::Null) {
        out.mark_unreadable(Section::File);
        out.push(Diagnostic::error("the file is empty").help(
            "the smallest useful file has one listener and one upstream; see config/minimal.yaml",
        ));
        return (Config::default(), out);
    }
    vars::resolve(&mut root, source, env, &mut out);
    let mut config = decode::config(&root, &mut out);
    config.places = places::Places::of(&root, source);
    bodies::load(&mut config, source, &mut out);
    tls_files::locate(&mut config, source);
    out.sort();
    (config, out)
}

/// Reads an endpoints file: a list of what may stand in `endpoints`. An empty list is one, an empty file is not.
///
/// # Errors
/// What is wrong with it, in the file's order.
pub fn read_endpoints(
    source: &Source,
    env: Env<'_>,
) -> Result<Vec<Located<Endpoint>>, Box<Diagnostics>> {
    let mut out = Diagnostics::default();
    let root = yaml::parse(source, &mut out);
    let mut list = Vec::new();
    match root {
        Some(mut root) if root.value != Value::Null => {
            vars::resolve(&mut root, source, env, &mut out);
            list = decode::endpoints(&root, &mut out);
        }
        _ if out.has_errors() => {}
        _ => out.push(Diagnostic::error("the file is empty").help("write `[]` for no endpoints")),
    }
    out.sort();
    if out.has_errors() {
        Err(Box::new(out))
    } else {
        Ok(list)
    }
}

/// The variables of this process. One that is not UTF-8 counts as not set.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Identifies a text: the same on every machine and in every version.
pub fn content_hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// Every place of a file and the keys it may hold; `*` stands for a name, `[]` for an item of a list.
pub fn known_keys() -> &'static [(&'static str, &'static [&'static str])] {
    decode::keys::ALL
}
