//! Takes up the calls that the queue has kept over a restart.
//!
//! The ends of a call may not have noticed the restart: a caller whose response was on its way sends its INVITE again,
//! and the callee its 2xx, by a branch that nobody knows any more. For as long as that may go on, [`Engine`] tells
//! such an INVITE from a new one ([`Engine::was_answered`]) and such a 2xx from a stray one ([`Engine::awaits`]):
//! sent on as new, the INVITE could make a second call and a second Start.

use std::collections::HashSet;
use std::time::Duration;

use super::doubt::CREDENTIALS_WAIT;
use super::engine::{Engine, Storage};
use super::session::{Key, RestoreError, Session, Text, hash};
use super::stored::{self, Stored};
use crate::clock::{Instant, Now};
use crate::sip::message::{Message, Method};

/// How long an INVITE and its 2xx may come again: 64 T1 (RFC 3261 §13.3.1.4, §17.1.1.2) with the longest T1.
const RESENT_MAX: Duration = Duration::from_secs(128);

/// The INVITEs answered shortly before a restart.
#[derive(Debug, Default)]
pub(super) struct Resent {
    /// Hashes of Call-ID, From tag and CSeq number.
    invites: HashSet<u128, foldhash::fast::RandomState>,
    until: Instant,
}

impl Resent {
    fn note(&mut self, now: Now, session: &Session) {
        let is_recent = session.answered.is_some_and(|answered| now.wall.since(answered.wall) < RESENT_MAX);
        if is_recent {
            self.invites.insert(name(session.text(Text::CallId), session.text(Text::FromTag), session.cseq));
            self.until = now.mono + RESENT_MAX;
        }
    }

    /// Whether an INVITE, or that of a response, is one of them.
    fn has(&self, now: Now, message: &Message) -> bool {
        !self.invites.is_empty()
            && now.mono < self.until
            && self.invites.contains(&name(message.call_id(), message.from_tag(), message.cseq().0))
    }

    /// Forgets them when their time is over.
    pub(super) fn expire(&mut self, now: Now) {
        if !self.invites.is_empty() && now.mono >= self.until {
            *self = Self::default();
        }
    }
}

fn name(call_id: &[u8], from_tag: &[u8], cseq: u32) -> u128 {
    hash(&[call_id, from_tag, &cseq.to_le_bytes()])
}

impl Engine {
    /// Takes up one stored call. Its spans come from the monotonic clock if it was stored in this boot, else from the
    /// wall clock. A call that only had early media is ended at the next [`tick`](Self::tick): its INVITE is lost.
    ///
    /// # Errors
    /// Key or value were not written by this release or an older one. The call is left as it is in the queue.
    pub fn restore(&mut self, now: Now, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let key = Key::from_bytes(key).ok_or(RestoreError::BadKey { length: key.len() })?;
        match stored::decode(value)? {
            Stored::Live(session) => self.take_up(now, key, session),
            Stored::Stray(stray) => self.restore_stray(now, key, *stray),
            Stored::Ended(until) => {
                // A clock set back meanwhile does not make it stay for ever.
                let left = until.since(now.wall).min(self.maker.long_kept());
                if !self.remember(key, now.mono + left, Storage::Queue, None) {
                    self.calls.store_later(key, now.mono);
                }
            }
        }
        Ok(())
    }

    /// Goes on with a call that another process began.
    pub(super) fn take_up(&mut self, now: Now, key: Key, mut session: Box<Session>) {
        session.alarms = self.maker.alarms(now, &session);
        session.alive.mono = now.mono.before(now.wall.since(session.alive.wall));
        session.alarms.ping = session.ends.as_ref().and_then(|_| self.first_ping(now, key));
        // Whoever was asked may have answered the process before.
        session.alarms.settle = session.doubt.is_some().then(|| now.mono + CREDENTIALS_WAIT);
        if session.is_early() {
            session.alarms.lifetime = Some(now.mono);
        }
        self.resent.note(now, &session);
        self.calls.insert(key, session);
    }

    /// Whether this is the INVITE, sent again, of a call that an earlier process has recorded as answered: the caller has
    /// not seen the response yet, and gets it from the callee, who sends it again too.
    #[must_use]
    pub fn was_answered(&self, now: Now, invite: &Message) -> bool {
        invite.method() == Method::Invite && invite.to_tag().is_empty() && self.resent.has(now, invite)
    }

    /// Whether this 2xx to an INVITE opened a call that an earlier process has recorded: it may go to the caller.
    #[must_use]
    pub fn awaits(&self, now: Now, response: &Message) -> bool {
        let key = Key::of_caller(response, response.to_tag());
        self.resent.has(now, response)
            && self.calls.get(key).is_some_and(|session| session.cseq == response.cseq().0 && !session.is_early())
    }
}
