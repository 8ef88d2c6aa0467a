//! What an operator is to hear of single calls.

use super::session::{self, Session, Text};

/// Something about one call that a person should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// What there is to hear.
    pub what: Noticed,
    /// Name of the session, as in its records.
    pub session: String,
    /// Call-ID of the call, by which it is found in traces.
    pub call_id: Vec<u8>,
    /// Tag of the caller.
    pub from_tag: Vec<u8>,
    /// Tag of the callee; with the other one it tells the branches of a fork apart.
    pub to_tag: Vec<u8>,
}

/// What there is to know about a call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Noticed {
    /// Nobody has acknowledged its 2xx.
    Unacknowledged,
    /// It goes on though it has ended in the records.
    Revived,
}

impl Notice {
    pub(super) fn of(what: Noticed, session: &Session) -> Self {
        Self {
            what,
            session: session::hex(session.name),
            call_id: session.text(Text::CallId).to_vec(),
            from_tag: session.text(Text::FromTag).to_vec(),
            to_tag: session.text(Text::ToTag).to_vec(),
        }
    }
}
