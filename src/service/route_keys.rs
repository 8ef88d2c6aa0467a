//! The keys that sign Record-Route values: made at the first start, kept with the queue, replaced when they are old.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;
use crate::queue;
use crate::sip::dialog::{KeptKeys, RouteKeys};
use crate::sip::stack;
use crate::timers::random;

/// Under which name they are kept.
const NAME: &str = "route-keys";

/// The keys of a running gateway.
#[derive(Debug)]
pub(super) struct Keyring {
    kept: Mutex<KeptKeys>,
    legacy: [u8; 16],
    /// How long a key signs, seconds.
    age_s: AtomicU64,
    /// How long calls of the last release may go on.
    legacy_good_for: Duration,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No random octets.
    #[error("no random octets for a key")]
    Random(#[source] io::Error),
    /// They cannot be written.
    #[error("the key cannot be kept with the queue")]
    Keep(#[source] queue::CommandError),
}

impl Keyring {
    /// The keys that are kept with the queue, or new ones; `legacy` has signed in releases before.
    ///
    /// # Errors
    /// When new ones cannot be made or written.
    pub(super) fn open(
        queue: &queue::Handle,
        legacy: [u8; 16],
        age: Duration,
        settings: &stack::Settings,
    ) -> Result<Self, KeyError> {
        let kept = queue.meta_bytes(NAME).as_deref().and_then(KeptKeys::decode);
        let kept = match kept {
            Some(kept) => kept,
            None => keep(queue, KeptKeys::first(random::secret().map_err(KeyError::Random)?, now_s()))?,
        };
        let legacy_good_for = settings.call_good_for.max(settings.dialog_good_for);
        let age_s = AtomicU64::new(age.as_secs());
        let own = Self { kept: Mutex::new(kept), legacy, age_s, legacy_good_for };
        own.renew(queue)?;
        Ok(own)
    }

    /// The keys of now.
    pub(super) fn keys(&self) -> RouteKeys {
        lock(&self.kept).keys(self.legacy, self.legacy_good_for.as_secs())
    }

    /// A key signs for that long from now on.
    pub(super) fn replace_after(&self, age: Duration) {
        self.age_s.store(age.as_secs(), Ordering::Relaxed);
    }

    /// Replaces the present key if it is old; whether it was.
    ///
    /// # Errors
    /// When a new one cannot be made or written: the old one goes on.
    pub(super) fn renew(&self, queue: &queue::Handle) -> Result<bool, KeyError> {
        let kept = lock(&self.kept).clone();
        if !kept.is_due(now_s(), self.age_s.load(Ordering::Relaxed)) {
            return Ok(false);
        }
        *lock(&self.kept) = keep(queue, kept.renewed(random::secret().map_err(KeyError::Random)?, now_s()))?;
        Ok(true)
    }
}

fn lock(kept: &Mutex<KeptKeys>) -> std::sync::MutexGuard<'_, KeptKeys> {
    kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn keep(queue: &queue::Handle, kept: KeptKeys) -> Result<KeptKeys, KeyError> {
    queue.keep_meta_bytes(NAME, &kept.encode()).map_err(KeyError::Keep)?;
    Ok(kept)
}

fn now_s() -> u64 {
    u64::try_from(clock::wall().secs()).unwrap_or(0)
}
