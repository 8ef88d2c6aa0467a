//! What an operator is to hear of single calls.

use super::session::{self, Session, Text};

/// Something about one call that a person should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// What.
    pub what: Noticed,
    /// Name of the session, as in its records.
    pub session: String,
    /// Call-ID.
    pub call_id: Vec<u8>,
    /// The caller's tag.
    pub from_tag: Vec<u8>,
    /// The callee's tag.
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
