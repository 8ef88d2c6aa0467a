//! What a person was told of one server: each thing once, until it works again.

use super::{Alarm, Transport};
use crate::radius::packet::Code;

/// Answers with a bad authenticator, and none with a good one, that mean different secrets.
const BAD_TO_MISMATCH: u32 = 10;

/// What was told, and what is not yet enough to be told.
#[derive(Debug, Default)]
pub(super) struct Told {
    wrong_code: bool,
    mismatch: bool,
    mute: bool,
    bad_since_good: u32,
}

impl Told {
    /// Something authentic came.
    pub(super) fn heard(&mut self) {
        (self.bad_since_good, self.mismatch, self.mute) = (0, false, false);
    }

    /// A record was stored.
    pub(super) fn stored(&mut self) {
        self.wrong_code = false;
    }

    /// A bad authenticator: the secrets differ. To be told at once on a connection, where nobody else gets a word in.
    pub(super) fn heard_bad(&mut self, transport: Transport) -> Option<Alarm> {
        self.bad_since_good = self.bad_since_good.saturating_add(1);
        let enough = transport == Transport::Stream || self.bad_since_good >= BAD_TO_MISMATCH;
        (enough && !std::mem::replace(&mut self.mismatch, true)).then_some(Alarm::SecretMismatch)
    }

    /// An answer of a code that is no accounting.
    pub(super) fn wrong_code(&mut self, code: Code) -> Option<Alarm> {
        (!std::mem::replace(&mut self.wrong_code, true)).then_some(Alarm::WrongCode { code })
    }

    /// Nothing ever came on its connections.
    pub(super) fn mute(&mut self) -> Option<Alarm> {
        (!std::mem::replace(&mut self.mute, true)).then_some(Alarm::Mute)
    }
}
