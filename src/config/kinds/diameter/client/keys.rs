//! Keywords of diameterclient.conf.

use crate::config::keyword_file::{Key, Kind, key};

const fn number(name: &'static str, min: u32, max: u32) -> Key {
    key(name, Kind::Number { min, max, usual_max: max })
}

/// All keywords.
pub(super) const ALL: &[Key] = &[
    key("identity", Kind::Text),
    key("realm", Kind::Text),
    key("destination-realm", Kind::Text),
    key("destination-host", Kind::Text),
    key("realm-from", Kind::Text),
    key("session-identity", Kind::Text),
    key("acctserver", Kind::Servers),
    key("peer-realms", Kind::List),
    key("serv-type", Kind::Text),
    key("tls-ca-file", Kind::Text),
    key("tls-cert-file", Kind::Text),
    key("tls-key-file", Kind::Text),
    key("tls-verify-hostname", Kind::Switch),
    key("bindaddr", Kind::Text),
    key("application", Kind::Text),
    key("dictionary", Kind::List),
    key("mandatory", Kind::List),
    key("optional", Kind::List),
    key("legs", Kind::Text),
    key("leg-group", Kind::Text),
    key("leg-number", Kind::Text),
    key("cdr-record", Kind::Text),
    key("without", Kind::List),
    key("service-type", Kind::Text),
    key("service-context-id", Kind::Text),
    key("role-of-node", Kind::Text),
    key("node-functionality", Kind::Text),
    number("vendor-id", 0, u32::MAX),
    key("product-name", Kind::Text),
    number("firmware-revision", 0, u32::MAX),
    number("origin-state-id", 1, u32::MAX),
    key("advertise-vendor-application", Kind::Switch),
    number("watchdog", 6, 3_600),
    number("connect-timeout", 1, 60),
    number("capabilities-timeout", 1, 60),
    number("request-timeout", 1, 600),
    number("drain-timeout", 0, 60),
    number("failback-hold", 0, 3_600),
    number("window", 1, 65_536),
    number("message-size", 4_096, 16_777_212),
    key("redirect-hosts", Kind::List),
    key("honour-realtime", Kind::Switch),
];
