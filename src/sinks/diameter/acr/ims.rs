//! What an Rf sink takes from the SIP messages without any field of the configuration (TS 32.260 §6.1.3, §6.3): fields of
//! our own, evaluated for every record. Their names have a dot, which none of the configuration can have.

use crate::record::{Fields, Value};

/// URIs of P-Asserted-Identity, all of them.
const ASSERTED: &str = "ims.asserted";
/// URI of From, where nobody asserted an identity.
const FROM: &str = "ims.from";
/// The called party as routed.
const CALLED: &str = "ims.called";
/// icid-value of P-Charging-Vector (RFC 7315 §5.6).
pub(super) const ICID: &str = "ims.icid";
/// orig-ioi of the request's P-Charging-Vector.
pub(super) const ORIGINATING_IOI: &str = "ims.orig-ioi";
/// term-ioi of the answer's P-Charging-Vector.
pub(super) const TERMINATING_IOI: &str = "ims.term-ioi";
/// P-Access-Network-Info (RFC 7315 §5.4).
pub(super) const ACCESS_NETWORK: &str = "ims.access-network";

/// The fields with their templates. All records of a call have their values as they were at its start.
pub const FIELDS: [(&str, &str); 7] = [
    (ASSERTED, "$(ai[*])"),
    (FROM, "$fu"),
    (CALLED, "$ru"),
    (ICID, "$(hdr(P-Charging-Vector){param.value,icid-value})"),
    (ORIGINATING_IOI, "$(hdr(P-Charging-Vector){param.value,orig-ioi})"),
    (TERMINATING_IOI, "$(hdr(P-Charging-Vector){param.value,term-ioi})/reply"),
    (ACCESS_NETWORK, "$(hdr(P-Access-Network-Info)[*])"),
];

/// The texts of one of these fields, in their order.
pub(super) fn texts<'a>(fields: &'a Fields, name: &str) -> Vec<&'a [u8]> {
    match fields.iter().find(|(own, _)| own == name).map(|(_, value)| value) {
        Some(Value::Text(text)) => vec![text],
        Some(Value::List(items)) => items.iter().map(Vec::as_slice).collect(),
        Some(Value::Absent | Value::Number(_)) | None => Vec::new(),
    }
}

/// The calling party: every identity that the network asserts, else what From says.
pub(super) fn calling(fields: &Fields) -> Vec<&[u8]> {
    let asserted = texts(fields, ASSERTED);
    if asserted.is_empty() { texts(fields, FROM) } else { asserted }
}

/// Values of the fields that name the called party, in their order.
pub(super) fn called(fields: &Fields) -> Vec<&[u8]> {
    texts(fields, CALLED)
}
