//! `tracing`

use http::Uri;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{Collector, Located, OtlpProtocol, Propagation, Tracing};
use super::super::yaml::{Scalar, Value};
use super::fields::{Fields, Item};
use super::{keys, scalars};

/// Where collectors listen for gRPC, and for HTTP.
const GRPC_PORT: u16 = 4317;
const HTTP_PORT: u16 = 4318;

const PATH: &str = "/v1/traces";
const HINT: &str = "write `http://127.0.0.1:4318`";

/// Reads `tracing`.
pub(super) fn tracing(item: Item<'_>, out: &mut Diagnostics) -> Option<Tracing> {
    if scalars::is_off(&item, out)? {
        return None;
    }
    let fields = Fields::of(item, keys::TRACING, out)?;
    let mut tracing = Tracing::default();
    let protocol = protocol(&fields, out);
    if let Some(item) = fields.get("otlp") {
        tracing.otlp = collector(&item, protocol, out);
    }
    let share = fields.get("sample");
    let share = share.and_then(|item| scalars::hundredths(&item, out));
    tracing.sample = share.unwrap_or(tracing.sample);
    if let Some(read) = fields
        .get("propagation")
        .and_then(|item| propagation(&item, out))
    {
        tracing.propagation = read;
    }
    if let Some(name) = fields
        .get("service")
        .and_then(|item| scalars::name(&item, "a name", "write the app's name", out))
    {
        scalars::check_name(&name, "tracing.service", out);
        tracing.service = name.value;
    }
    Some(tracing)
}

fn protocol(fields: &Fields<'_>, out: &mut Diagnostics) -> Option<OtlpProtocol> {
    let item = fields.get("protocol")?;
    if fields.get("otlp").is_none() && !fields.is_mistyped("otlp") {
        let message = format!("{} has no effect: there is no collector", item.title());
        out.push(
            Diagnostic::warning(message)
                .at(item.at())
                .label("add `otlp: http://127.0.0.1:4318`, or remove it"),
        );
    }
    let words = [("http", OtlpProtocol::Http), ("grpc", OtlpProtocol::Grpc)];
    scalars::word(&item, &words, out)
}

fn collector(
    item: &Item<'_>,
    protocol: Option<OtlpProtocol>,
    out: &mut Diagnostics,
) -> Option<Located<Collector>> {
    let found = scalars::scalar(item, "a URL", HINT, out)?;
    match parse(found, protocol) {
        Ok(collector) => Some(Located::new(collector, item.node.at)),
        Err((what, label)) => {
            let message = format!("{} of {} {what}", found.words(), item.title());
            out.push(Diagnostic::error(message).at(item.at()).label(label));
            None
        }
    }
}

fn parse(
    found: &Scalar,
    protocol: Option<OtlpProtocol>,
) -> Result<Collector, (&'static str, String)> {
    let text = found.value();
    let hint = || HINT.to_owned();
    let no_url = || {
        // The remedy repeats what was written, which must not happen with a file's content.
        let bare = !text.contains("://") && found.shown.is_none();
        let url = format!("http://{text}");
        match url.parse::<Uri>() {
            Ok(url) if bare && url.port_u16().is_some() => format!("write `http://{text}`"),
            _ => hint(),
        }
    };
    let url = text.parse::<Uri>().map_err(|_| ("is not a URL", hint()))?;
    match url.scheme_str() {
        Some("http") => {}
        Some("https") => {
            let label = "write `http://…`, for instance to an agent on this host".to_owned();
            return Err(("asks for TLS, which is not supported yet", label));
        }
        Some(_) => {
            return Err((
                "has an unknown scheme",
                "write `http://…`, and `protocol: grpc` for gRPC".to_owned(),
            ));
        }
        None => return Err(("is not a URL", no_url())),
    }
    let authority = url.authority().map_or("", |it| it.as_str());
    if authority.contains('@') || url.query().is_some() {
        let label = "give credentials in OTEL_EXPORTER_OTLP_HEADERS".to_owned();
        return Err(("has parts that no collector gets", label));
    }
    let grpc = protocol == Some(OtlpProtocol::Grpc);
    let default = if grpc { GRPC_PORT } else { HTTP_PORT };
    let port = url.port_u16().unwrap_or(default);
    if port == 0 {
        return Err(("has port 0", hint()));
    }
    let protocol = protocol.unwrap_or(match port {
        GRPC_PORT => OtlpProtocol::Grpc,
        _ => OtlpProtocol::Http,
    });
    let path = Some(url.path()).filter(|path| !matches!(*path, "" | "/"));
    Ok(Collector {
        host: url.host().unwrap_or_default().to_owned(),
        port,
        path: path.unwrap_or(PATH).to_owned(),
        protocol,
    })
}

/// One word, or a list of them.
fn propagation(item: &Item<'_>, out: &mut Diagnostics) -> Option<Vec<Propagation>> {
    let words = [
        ("w3c", Propagation::W3c),
        ("b3", Propagation::B3),
        ("b3_multi", Propagation::B3Multi),
    ];
    let Value::Sequence(_) = &item.node.value else {
        return scalars::word(item, &words, out).map(|word| vec![word]);
    };
    let items = item.items("formats", "write `[w3c, b3]`", out)?;
    let mut read = Vec::new();
    for item in &items {
        let word = scalars::word(item, &words, out)?;
        if read.contains(&word) {
            let message = format!("{} is there already", item.title());
            out.push(Diagnostic::error(message).at(item.at()).label("remove it"));
            return None;
        }
        read.push(word);
    }
    if read.is_empty() {
        let message = format!("{} is empty", item.title());
        out.push(
            Diagnostic::error(message)
                .at(item.key)
                .label("write `w3c`, or remove `tracing`"),
        );
        return None;
    }
    Some(read)
}
