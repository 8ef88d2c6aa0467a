//! `[[route]]`: where a request goes.

use serde::Deserialize;

use super::super::decode::{At, OneOrMany, Ordered};
use super::accounting::{Flags, Switch};
use crate::units::{Count, Secs};

/// `[[route]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteTable {
    /// Its name in the log and in metrics. Default: its place in the file.
    pub name: Option<String>,
    /// Conditions; all given ones must hold.
    pub r#match: MatchTable,
    /// The function of the script that is asked first; empty: none.
    pub script: Option<At<String>>,
    /// Targets, tried in this order.
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

impl RouteTable {
    /// The function of the script that it names.
    pub fn named(&self) -> Option<&At<String>> {
        self.script.as_ref().filter(|name| !name.is_empty())
    }
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
    /// Methods it is for; without any all are.
    pub method: Option<OneOrMany<At<String>>>,
    /// Blocks of source addresses.
    pub source: Option<OneOrMany<At<String>>>,
    /// A header that the request has to have, with a pattern for its body.
    pub header: Option<At<HeaderTable>>,
}

/// `match.header` of a route.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct HeaderTable {
    /// Its name, in any case, whole or compact.
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
    /// All at once; the first 2xx cancels the others.
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
    /// Its final status code.
    pub code: Count<200, 699>,
    /// Its reason phrase. Default: the usual one of the code.
    #[serde(default)]
    pub reason: Option<String>,
    /// Seconds of its `Retry-After`. Default: none is sent.
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
    pub flags: Option<Flags>,
    /// Whether those who forwarded a call are legs; instead of `accounting.forwarding_legs`.
    pub forwarding_legs: Option<Switch>,
}
