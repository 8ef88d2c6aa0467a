//! Keywords of radiusclient-ng, freeradius-client and radcli.

/// What kind of value a keyword takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Servers; lines add up.
    Servers,
    /// Free text, a path or a name; may be empty.
    Text,
    /// Decimal digits.
    Number {
        /// Smallest.
        min: u32,
        /// Largest that passes without a warning.
        usual_max: u32,
    },
    /// On or off.
    Switch,
    /// One of a few words, or an address.
    Word,
    /// Of no meaning to accounting, or to a program that has a queue: accepted whatever it says.
    Ignored,
}

/// One keyword.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

/// Largest number any keyword takes: what the libraries' `int` holds.
pub(super) const NUMBER_MAX: u32 = i32::MAX.unsigned_abs();

/// All keywords of the three libraries.
pub(super) const OURS: &[Key] = &[
    key("acctserver", Kind::Servers),
    key("authserver", Kind::Servers),
    key("servers", Kind::Text),
    key("dictionary", Kind::Text),
    key("default_realm", Kind::Text),
    key("radius_timeout", Kind::Number { min: 1, usual_max: 60 }),
    key("radius_retries", Kind::Number { min: 1, usual_max: 10 }),
    key("radius_deadtime", Kind::Number { min: 0, usual_max: 86_400 }),
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
    key("clientdebug", Kind::Number { min: 0, usual_max: NUMBER_MAX }),
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
