//! What the user wrote: YAML text → [`model::Config`], or a list of mistakes.

pub mod model;
pub mod source;
