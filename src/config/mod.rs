//! What the user wrote: YAML text → [`model::Config`], or a list of mistakes.
//!
//! Path: `cli` and reloads call [`load`] and [`read`]; `snapshot` takes what they return. A text is read in one
//! pass: `yaml` makes a tree with exact places, `vars` inserts variables and files, `decode` makes the types.
//! Nothing stops at the first mistake but a text that is not YAML. Whether names exist is for `snapshot` to say.

mod decode;
pub mod diagnostics;
pub mod load;
pub mod model;
pub mod render;
pub mod source;
mod suggest;
mod vars;
pub mod watch;
mod yaml;

pub use diagnostics::{Diagnostic, Diagnostics};
pub use load::{LoadError, load};
pub use model::Config;
pub use source::Source;
pub use suggest::did_you_mean;

/// Reads `source` with the variables of `env`. The configuration is complete only if there are no errors; else it
/// holds what could be read, so that `snapshot::check` can still look for mistakes.
pub fn read(source: &Source, env: &dyn Fn(&str) -> Option<String>) -> (Config, Diagnostics) {
    let mut out = Diagnostics::default();
    let mut tree = yaml::parse(source, &mut out);
    if let Some(tree) = &mut tree {
        vars::resolve(tree, source, env, &mut out);
    }
    let config = decode::config(tree.as_ref(), &mut out);
    out.sort();
    (config, out)
}

/// A short name for a text, shown in logs and answers: which configuration is in force.
pub fn content_hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}
