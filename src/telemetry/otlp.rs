//! Spans as OTLP has them in JSON: names in lower camel case, identifiers in hexadecimal digits, 64-bit numbers as text.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::spans::{Attribute, Span};
use crate::clock::Timestamp;
use crate::names::PRODUCT;

/// A request to a collector with these spans; `instance` names this gateway among others.
pub(super) fn request(spans: &[Span], instance: &str) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [
        ("service.name", Attribute::Text(PRODUCT.to_owned())),
        ("service.version", Attribute::Text(version.to_owned())),
        ("service.instance.id", Attribute::Text(instance.to_owned())),
    ];
    let scope = json!({ "name": PRODUCT, "version": version });
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(&resource) },
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }] })
}

fn span(own: &Span) -> Value {
    let mut value = json!({
        "traceId": HEXLOWER.encode(&own.trace),
        "spanId": HEXLOWER.encode(&own.id),
        "name": own.name,
        "kind": own.role as u8,
        "startTimeUnixNano": nanos(own.from),
        "endTimeUnixNano": nanos(own.to),
        "attributes": attributes(&own.attributes),
    });
    if let Some(parent) = &own.parent {
        value["parentSpanId"] = HEXLOWER.encode(parent).into();
    }
    if let Some(error) = &own.error {
        value["status"] = json!({ "code": STATUS_CODE_ERROR, "message": error });
    }
    value
}

const STATUS_CODE_ERROR: u8 = 2;

fn attributes(list: &[(&'static str, Attribute)]) -> Vec<Value> {
    let value = |value: &Attribute| match value {
        Attribute::Text(text) => json!({ "stringValue": text }),
        Attribute::Number(number) => json!({ "intValue": number.to_string() }),
    };
    list.iter().map(|(key, own)| json!({ "key": key, "value": value(own) })).collect()
}

fn nanos(at: Timestamp) -> String {
    (i128::from(at.0) * 1_000).to_string()
}
