//! Dictionary files that travel inside the program; `dictionaries/radius/README.md` tells where each comes from.

use super::types::Oid;

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../../dictionaries/radius/", $name)))
    };
}

/// The standard attributes and Tollgate's own: name and text, in order of reading.
pub const STANDARD: &[(&str, &str)] = &[
    file!("dictionary.rfc2865"),
    file!("dictionary.rfc2866"),
    file!("dictionary.rfc2867"),
    file!("dictionary.rfc2868"),
    file!("dictionary.rfc2869"),
    file!("dictionary.rfc3162"),
    file!("dictionary.rfc4072"),
    file!("dictionary.rfc4372"),
    file!("dictionary.rfc4675"),
    file!("dictionary.rfc4818"),
    file!("dictionary.rfc5090"),
    file!("dictionary.rfc5176"),
    file!("dictionary.rfc5580"),
    file!("dictionary.rfc6911"),
    file!("dictionary.rfc6929"),
    file!("dictionary.rfc7930"),
    file!("dictionary.iana"),
    file!("dictionary.client"),
    file!("dictionary.tollgate"),
];

/// SIP numberings of other programs, by the name an operator gives: name and text.
pub const PROFILES: &[(&str, &str)] = &[
    file!("dictionary.opensips"),
    file!("dictionary.opensips-2.2"),
    file!("dictionary.openser"),
    file!("dictionary.kamailio"),
];

/// Text of the profile `opensips`, `opensips-2.2`, `openser` or `kamailio`.
#[must_use]
pub fn profile(name: &str) -> Option<&'static str> {
    PROFILES.iter().find(|(file, _)| file.strip_prefix("dictionary.") == Some(name)).map(|(_, text)| *text)
}

/// Names from before RFC 2865 and of radiusclient files that mean the attribute with this number: no conflict.
const HISTORIC: &[(&str, u8)] = &[
    ("Password", 2),
    ("Client-Id", 4),
    ("Client-Port-Id", 5),
    ("NAS-Port-Id", 5),
    ("User-Service-Type", 6),
    ("Framed-Address", 8),
    ("Framed-Netmask", 9),
    ("Framed-Filter-Id", 11),
    ("Login-Host", 14),
    ("Login-Port", 16),
    ("Port-Message", 18),
    ("Dialback-No", 19),
    ("Login-Callback-Number", 19),
    ("Dialback-Name", 20),
    ("Framed-Callback-Id", 20),
    ("Challenge-State", 24),
    ("Client-Port-DNIS", 30),
    ("Caller-ID", 31),
    ("NAS-Port-Id-String", 87),
    ("CUI", 89),
];

/// Whether `name` is an old name of this standard number.
pub(super) fn is_historic(name: &str, oid: &Oid) -> bool {
    HISTORIC.iter().any(|(old, number)| Oid::standard(*number) == *oid && old.eq_ignore_ascii_case(name))
}
