//! Takes up the calls that the queue has kept over a restart.

use super::engine::{Engine, Storage};
use super::session::{self, Key, RestoreError, Stored};
use crate::clock::Now;

impl Engine {
    /// Takes up one stored call. Its spans come from the monotonic clock if it was stored in this boot, else from the
    /// wall clock. A call that only had early media is ended at the next [`tick`](Self::tick): its INVITE is lost.
    ///
    /// # Errors
    /// Key or value were not written by this release or an older one. The call is left as it is in the queue.
    pub fn restore(&mut self, now: Now, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let key = Key::from_bytes(key).ok_or(RestoreError::BadKey { length: key.len() })?;
        match session::decode(value)? {
            Stored::Live(mut session) => {
                session.alarms = self.maker.alarms(now, &session);
                if session.is_early() {
                    session.alarms.lifetime = Some(now.mono);
                }
                self.calls.insert(key, session);
            }
            Stored::Ended(until) => {
                // A clock set back meanwhile does not make it stay for ever.
                let left = until.since(now.wall).min(self.maker.long_kept());
                if !self.remember(key, now.mono + left, Storage::Queue) {
                    self.calls.store_later(key, now.mono);
                }
            }
        }
        Ok(())
    }
}
