//! Keywords of radiusclient-ng, freeradius-client and radcli.

use crate::config::keyword_file::{Key, Kind, key};

/// Largest number any keyword takes: what the libraries' `int` holds.
const NUMBER_MAX: u32 = i32::MAX.unsigned_abs();

/// A number from `min` on; more than `usual_max` is warned of.
const fn number(min: u32, usual_max: u32) -> Kind {
    Kind::Number { min, max: NUMBER_MAX, usual_max }
}

/// All keywords of the three libraries.
pub(super) const OURS: &[Key] = &[
    key("acctserver", Kind::Servers),
    key("authserver", Kind::Servers),
    key("servers", Kind::Text),
    key("dictionary", Kind::Text),
    key("default_realm", Kind::Text),
    key("radius_timeout", number(1, 60)),
    key("radius_retries", number(1, 10)),
    key("radius_deadtime", number(0, 86_400)),
    key("bindaddr", Kind::Word),
    key("nas-identifier", Kind::Text),
    key("nas-ip", Kind::Word),
    key("serv-type", Kind::Word),
    key("serv-auth-type", Kind::Word),
    key("tls-ca-file", Kind::Text),
    key("tls-cert-file", Kind::Text),
    key("tls-key-file", Kind::Text),
    key("tls-verify-hostname", Kind::Switch),
    key("namespace", Kind::Text),
    key("use-public-addr", Kind::Switch),
    key("clientdebug", number(0, NUMBER_MAX)),
    key("auth_order", Kind::Ignored),
    key("require-message-authenticator", Kind::Ignored),
    key("config_file", Kind::Ignored),
    key("login_tries", Kind::Ignored),
    key("login_timeout", Kind::Ignored),
    key("nologin", Kind::Ignored),
    key("issue", Kind::Ignored),
    key("login_radius", Kind::Ignored),
    key("login_local", Kind::Ignored),
    key("mapfile", Kind::Ignored),
    key("seqfile", Kind::Ignored),
];
