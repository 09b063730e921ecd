//! The files that `tls` names: where they are.
//!
//! Path: [`super::read`] calls it when the tree has been read. They are not read here: their content is no part of the
//! configuration.

use super::model::Config;
use super::source::Source;

/// A relative path begins at the directory of `source`.
pub(super) fn locate(config: &mut Config, source: &Source) {
    let of_listeners = config.listeners.iter_mut();
    let of_listeners = of_listeners.filter_map(|it| it.tls.as_mut());
    let of_upstreams = config.upstreams.iter_mut();
    let of_upstreams = of_upstreams.filter_map(|it| it.tls.as_mut());
    let files = of_listeners
        .flat_map(|tls| tls.files_mut())
        .chain(of_upstreams.flat_map(|tls| tls.files_mut()));
    for file in files {
        file.path = source.directory.join(&file.written.value);
    }
}
