//! Of which calls messages are kept: how many, and conditions of the INVITE that begins one.

use std::net::SocketAddr;

use crate::policy::pattern::Pattern;
use crate::policy::routes::unescaped;
use crate::sip::message::{Message, Name, NameAddr};
use crate::sip::stack::Network;

/// Of which calls a shard keeps the messages.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tracing {
    /// The last calls; 0: none. Default 0.
    pub calls: usize,
    /// Which of them. Default: all.
    pub filter: Filter,
}

/// Conditions: those that are given must all hold, each by one of its values. Without any, every call is meant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// The user part of From or of the Request-URI: the calls of somebody, made and taken.
    pub users: Vec<Pattern>,
    /// The user part of From.
    pub from: Vec<Pattern>,
    /// The user part of the Request-URI.
    pub to: Vec<Pattern>,
    /// Where the INVITE came from.
    pub sources: Vec<Network>,
    /// The Call-ID.
    pub call_ids: Vec<Pattern>,
}

impl Filter {
    /// Whether a call that begins with this INVITE is meant. A URI that cannot be read, or without a user part, has none
    /// that fits.
    #[must_use]
    pub fn wants(&self, source: SocketAddr, invite: &Message) -> bool {
        let Self { users, from, to, sources, call_ids } = self;
        if !sources.is_empty() && !sources.iter().any(|block| block.contains(source.ip())) {
            return false;
        }
        if !call_ids.is_empty() && !call_ids.iter().any(|pattern| pattern.fits(invite.call_id())) {
            return false;
        }
        if users.is_empty() && from.is_empty() && to.is_empty() {
            return true;
        }
        let caller = invite.header(Name::From).and_then(NameAddr::parse).and_then(|from| from.parsed_uri()?.user);
        let callee = invite.uri().and_then(|uri| uri.user);
        let [caller, callee] = [caller, callee].map(|user| user.map(unescaped));
        let fits = |patterns: &[Pattern], user: Option<&[u8]>| {
            user.is_some_and(|user| patterns.iter().any(|pattern| pattern.fits(user)))
        };
        let (caller, callee) = (caller.as_deref(), callee.as_deref());
        (users.is_empty() || fits(users, caller) || fits(users, callee))
            && (from.is_empty() || fits(from, caller))
            && (to.is_empty() || fits(to, callee))
    }
}
