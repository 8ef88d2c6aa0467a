//! `[[route]]`: where a request goes.

use serde::Deserialize;

use super::super::decode::{At, OneOrMany, Ordered};
use super::accounting::Flag;
use crate::units::{Count, Secs};

/// `[[route]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteTable {
    /// Name for logs.
    pub name: Option<String>,
    /// Conditions; all given ones must hold.
    pub r#match: MatchTable,
    /// Targets.
    pub to: Option<OneOrMany<At<String>>>,
    /// How several targets are tried.
    pub fork: Option<Fork>,
    /// What several targets are to each other.
    pub targets: Option<TargetsOption>,
    /// Responses that lead to the next target.
    pub next_on: Option<OneOrMany<At<String>>>,
    /// Longest ringing of one target.
    pub ring_timeout_s: Option<Secs<0, 3_600>>,
    /// What becomes of a redirection.
    pub redirects: Option<RedirectsOption>,
    /// A response instead of targets.
    pub answer: Option<At<AnswerTable>>,
    /// Accounting of this route.
    pub account: RouteAccountTable,
    /// Fields of its records, over those of `[accounting.fields]`: name to template.
    pub fields: Ordered<At<String>>,
    /// Values for `$avp(name)`.
    pub avps: Ordered<OneOrMany<At<String>>>,
}

/// `match` of a route.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatchTable {
    /// Beginnings of the user part of the Request-URI.
    pub prefix: Option<OneOrMany<At<String>>>,
    /// Patterns of the user part of the Request-URI.
    pub user: Option<OneOrMany<At<String>>>,
    /// Patterns of the host of the Request-URI.
    pub domain: Option<OneOrMany<At<String>>>,
    /// Methods.
    pub method: Option<OneOrMany<At<String>>>,
    /// Blocks of source addresses.
    pub source: Option<OneOrMany<At<String>>>,
    /// A header.
    pub header: Option<At<HeaderTable>>,
}

/// `match.header` of a route.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct HeaderTable {
    /// Its name.
    pub name: String,
    /// Pattern of its body.
    #[serde(default)]
    pub value: Option<String>,
}

/// How several targets are tried.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Fork {
    /// One after the other.
    Serial,
    /// All at once.
    Parallel,
    /// The highest q first, those of one q at once.
    ByQ,
}

/// What several targets are to each other.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum TargetsOption {
    /// Ways to one callee.
    Alternatives,
    /// One callee after the other.
    Forward,
}

/// What becomes of a redirection.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum RedirectsOption {
    /// It is a refusal like others.
    Pass,
    /// Its contacts are tried.
    Follow,
}

/// `answer` of a route.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct AnswerTable {
    /// Final status code.
    pub code: Count<200, 699>,
    /// Reason phrase.
    #[serde(default)]
    pub reason: Option<String>,
    /// `Retry-After`.
    #[serde(default)]
    pub retry_after_s: Option<Secs<0, 86_400>>,
    /// Contacts of a redirection.
    #[serde(default)]
    pub contacts: Option<OneOrMany<At<String>>>,
}

/// `account` of a route.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteAccountTable {
    /// Sinks; instead of `accounting.on`.
    pub on: Option<Vec<At<String>>>,
    /// Flags; instead of `accounting.flags`.
    pub flags: Option<Vec<At<Flag>>>,
}
