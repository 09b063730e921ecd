//! Fields of access lines that do not exist.

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Config, Located, LogFormat};
use crate::config::suggest;
use crate::telemetry::access_format::{Field, Part, TemplateError};

/// `access_log.fields` and the fields in `access_log.format` must exist; both at once make no sense.
pub(super) fn access_log(config: &Config, out: &mut Diagnostics) {
    let section = &config.access_log;
    for field in &section.fields {
        if Field::named(&field.value).is_none() {
            unknown(field, &field.value, out);
        }
    }
    let LogFormat::Template(template) = &section.format else {
        return;
    };
    match Part::parse(&template.value) {
        Ok(_) => {}
        Err(TemplateError::Unknown(name)) => unknown(template, name, out),
        Err(TemplateError::Open) => out.push(
            Diagnostic::error("a `{` in `access_log.format` has no `}`")
                .at(template.at)
                .label("close it, or write `{{` for a brace"),
        ),
    }
    if let Some(first) = section.fields.first() {
        out.push(
            Diagnostic::warning("`access_log.fields` has no effect: `format` is a template")
                .at(first.at)
                .label("remove it, or the `format`"),
        );
    }
}

fn unknown(at: &Located<String>, name: &str, out: &mut Diagnostics) {
    let label = suggest::did_you_mean(name, Field::NAMES.iter().copied());
    out.push(
        Diagnostic::error(format!("an access line has no field `{name}`"))
            .at(at.at)
            .label(label.unwrap_or_else(|| "name a field that exists".to_owned()))
            .note(format!("fields: {}", Field::NAMES.join(", "))),
    );
}
