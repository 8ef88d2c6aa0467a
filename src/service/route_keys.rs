//! The keys that sign Record-Route values: made at the first start, kept with the queue, replaced when they are old.
//!
//! The gateways of a cluster have the same ones, so that each takes the values of the others for its own: the first gives
//! its keys to the cluster, the others take them, and whoever finds them old replaces them for all. The queue keeps a copy,
//! so that a start needs nobody; what a gateway has signed before it took others stays good there.

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
/// Under which name the key is kept that has signed before others were taken.
const BEFORE: &str = "route-keys-before";

/// The keys of a running gateway.
#[derive(Debug)]
pub(super) struct Keyring {
    queue: queue::Handle,
    kept: Mutex<KeptKeys>,
    /// Whether the cluster has them, which then replaces them too.
    sharing: Sharing,
    /// Has signed before those of the cluster were taken.
    before: Mutex<Option<[u8; 16]>>,
    legacy: [u8; 16],
    /// How long a key signs, seconds.
    age_s: AtomicU64,
    /// How long calls of the last release may go on.
    legacy_good_for: Duration,
}

/// Whether other gateways sign with the same keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sharing {
    /// This one is alone.
    Alone,
    /// Those of its cluster.
    Cluster,
}

/// What follows from the keys that a cluster has.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Whether other keys sign and check from now on.
    pub has_changed: bool,
    /// What the cluster is to have instead.
    pub write: Option<Vec<u8>>,
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
    /// Those of the cluster are of another release.
    #[error("what the cluster has for keys of Record-Route values cannot be read: a later release may have written it")]
    Foreign,
}

impl Keyring {
    /// The keys that are kept with the queue, or new ones; `legacy` has signed in releases before.
    ///
    /// # Errors
    /// When new ones cannot be made or written.
    pub(super) fn open(
        queue: &queue::Handle,
        legacy: [u8; 16],
        (age, sharing): (Duration, Sharing),
        settings: &stack::Settings,
    ) -> Result<Self, KeyError> {
        let kept = queue.meta_bytes(NAME).as_deref().and_then(KeptKeys::decode);
        let kept = match kept {
            Some(kept) => kept,
            None => keep(queue, KeptKeys::first(random::secret().map_err(KeyError::Random)?, now_s()))?,
        };
        let before = queue.meta_bytes(BEFORE).and_then(|octets| octets.try_into().ok());
        let own = Self {
            queue: queue.clone(),
            kept: Mutex::new(kept),
            sharing,
            before: Mutex::new(before),
            legacy,
            age_s: AtomicU64::new(age.as_secs()),
            legacy_good_for: settings.call_good_for.max(settings.dialog_good_for),
        };
        own.renew()?;
        Ok(own)
    }

    /// The keys of now.
    pub(super) fn keys(&self) -> RouteKeys {
        let keys = lock(&self.kept).keys(self.legacy, self.legacy_good_for.as_secs());
        RouteKeys { before: *lock(&self.before), ..keys }
    }

    /// A key signs for that long from now on.
    pub(super) fn replace_after(&self, age: Duration) {
        self.age_s.store(age.as_secs(), Ordering::Relaxed);
    }

    /// Whether the present key has signed for long enough.
    pub(super) fn is_due(&self) -> bool {
        lock(&self.kept).is_due(now_s(), self.age_s.load(Ordering::Relaxed))
    }

    /// Replaces the present key if it is old and no cluster has it; whether it was.
    ///
    /// # Errors
    /// When a new one cannot be made or written: the old one goes on.
    pub(super) fn renew(&self) -> Result<bool, KeyError> {
        if self.sharing == Sharing::Cluster || !self.is_due() {
            return Ok(false);
        }
        let kept = lock(&self.kept).clone();
        *lock(&self.kept) = keep(&self.queue, kept.renewed(random::secret().map_err(KeyError::Random)?, now_s()))?;
        Ok(true)
    }

    /// Takes the keys that the cluster has; where it has none, it is to have ours, and where they are old, new ones. These
    /// sign when they were read from there.
    ///
    /// # Errors
    /// When they cannot be read or kept.
    pub(super) fn shared(&self, found: Option<&[u8]>) -> Result<Step, KeyError> {
        let own = lock(&self.kept).clone();
        let Some(found) = found else { return Ok(Step { write: Some(own.encode()), ..Step::default() }) };
        let found = KeptKeys::decode(found).ok_or(KeyError::Foreign)?;
        let mut step = Step::default();
        if found != own {
            if !found.has(&own.current()) {
                self.queue.keep_meta_bytes(BEFORE, &own.current()).map_err(KeyError::Keep)?;
                *lock(&self.before) = Some(own.current());
            }
            *lock(&self.kept) = keep(&self.queue, found.clone())?;
            step.has_changed = true;
        }
        if self.is_due() {
            step.write = Some(found.renewed(random::secret().map_err(KeyError::Random)?, now_s()).encode());
        }
        Ok(step)
    }
}

fn lock<T>(kept: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn keep(queue: &queue::Handle, kept: KeptKeys) -> Result<KeptKeys, KeyError> {
    queue.keep_meta_bytes(NAME, &kept.encode()).map_err(KeyError::Keep)?;
    Ok(kept)
}

fn now_s() -> u64 {
    u64::try_from(clock::wall().secs()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn queue(folder: &std::path::Path) -> queue::Started {
        let settings = queue::Settings { path: folder.to_owned(), free_min: 0, reserve_bytes: 0, ..Default::default() };
        queue::spawn(settings, &[], &mut || {}).expect("a queue")
    }

    fn keyring(queue: &queue::Started, age: Duration) -> Keyring {
        let how = (age, Sharing::Cluster);
        Keyring::open(&queue.handle, [9; 16], how, &stack::Settings::default()).expect("keys")
    }

    #[test]
    fn all_gateways_sign_with_the_keys_of_the_first_and_keep_their_own_for_checking() {
        let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (one, of_other) = (queue(one.path()), queue(other.path()));
        let first = keyring(&one, DAY);
        let given = first.shared(None).expect("its keys").write.expect("the cluster is to have them");
        assert!(!first.shared(Some(&given)).expect("the same").has_changed);
        let second = keyring(&of_other, DAY);
        let own = second.keys().current;
        let step = second.shared(Some(&given)).expect("they are taken");
        assert!(step.has_changed && step.write.is_none());
        assert_eq!(second.keys().current, first.keys().current);
        assert_eq!(second.keys().before, Some(own), "what it has signed before stays good");
        assert_eq!(first.keys().before, None);
        of_other.handle.stop();
        of_other.join.join().expect("no panic").expect("it closes");
        let again = queue(other.path());
        let again = keyring(&again, DAY);
        assert_eq!(
            (again.keys().current, again.keys().before),
            (first.keys().current, Some(own)),
            "a start needs nobody"
        );
    }

    #[test]
    fn whoever_finds_the_keys_old_replaces_them_for_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let queue = queue(folder.path());
        let ring = keyring(&queue, DAY);
        let given = ring.shared(None).expect("its keys").write.expect("the cluster is to have them");
        ring.replace_after(Duration::ZERO);
        assert!(!ring.renew().expect("nothing is done"), "the cluster does that");
        let before = ring.keys().current;
        let new = ring.shared(Some(&given)).expect("new ones").write.expect("they are old");
        assert_eq!(ring.keys().current, before, "they do not sign before the cluster has them");
        ring.replace_after(DAY);
        assert!(ring.shared(Some(&new)).expect("they are taken").has_changed);
        assert_eq!((ring.keys().previous, ring.keys().before), (Some(before), None));
        assert!(matches!(ring.shared(Some(b"\x07later")), Err(KeyError::Foreign)));
        assert_ne!(ring.keys().current, before);
    }
}
