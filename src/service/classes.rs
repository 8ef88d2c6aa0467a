//! Class values that Diameter servers gave, kept in the queue beside the calls: one value for each session of a sink.
//!
//! They are written when a session's first answer brings them, and removed when its last record is delivered, with the
//! commits of others. Their keys are shorter than those of calls, by which they are told apart.

use std::sync::Arc;

use crate::accounting::Key;
use crate::ids::SinkNumber;
use crate::queue::{self, Producer};
use crate::record::{CallChange, Commit};
use crate::sinks::diameter::Keeper;

/// What every key begins with; the number of the sink and the session follow.
const MARK: &[u8] = b"class";
/// Octets of a key.
const KEY_BYTES: usize = MARK.len() + 1 + 8;
const _: () = assert!(KEY_BYTES < Key::BYTES, "keys of calls are longer");

/// A value with its name, as the queue has it.
pub(super) type Stored = (Vec<u8>, Vec<u8>);

/// The values an earlier process kept.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<(SinkNumber, u64, Vec<u8>)>);

impl Kept {
    /// Takes them out of what the queue holds; the calls are left.
    pub fn split(stored: Vec<Stored>) -> (Self, Vec<Stored>) {
        let mut kept = Vec::new();
        let mut calls = Vec::with_capacity(stored.len());
        for (key, value) in stored {
            match read_key(&key) {
                Some((sink, session)) => kept.push((sink, session, value)),
                None => calls.push((key, value)),
            }
        }
        (Self(kept), calls)
    }

    /// Those of a sink: session and octets.
    pub fn take(&mut self, sink: SinkNumber) -> Vec<(u64, Vec<u8>)> {
        self.0.extract_if(.., |(of, ..)| *of == sink).map(|(_, session, octets)| (session, octets)).collect()
    }

    /// Removes the rest, of sinks that are configured no more.
    pub fn discard(self, queue: &queue::Handle) {
        let remove = |(sink, session, _): &(SinkNumber, u64, Vec<u8>)| CallChange::Remove { key: key(*sink, *session) };
        let mut writer = Writer::new(queue);
        for chunk in self.0.chunks(CHANGES_MAX) {
            writer.write(chunk.iter().map(remove).collect());
        }
    }
}

/// Changes of one commit.
const CHANGES_MAX: usize = 1024;

/// What keeps the values of a sink from here on. It never waits.
pub(super) fn keeper(queue: &queue::Handle, name: &str, sink: SinkNumber) -> Keeper {
    let (mut writer, name) = (Writer::new(queue), name.to_owned());
    let mut is_told = false;
    Box::new(move |session, octets| {
        let key = key(sink, session);
        let change = match octets {
            Some(octets) => CallChange::Put { key, value: octets.to_vec() },
            None => CallChange::Remove { key },
        };
        let is_taken = writer.write(vec![change]);
        if !is_taken && !is_told {
            tracing::warn!(sink = %name, "the queue did not keep a Class value of a session: a restart forgets it");
        }
        is_told = !is_taken;
    })
}

/// Commits without waiting for the disk.
struct Writer {
    producer: Producer,
    receipts: Vec<(u64, Result<(), queue::AppendFailed>)>,
}

impl Writer {
    fn new(queue: &queue::Handle) -> Self {
        // Nobody waits for receipts: they are looked at with the next change.
        Self { producer: queue.producer(Arc::new(|| ())), receipts: Vec::new() }
    }

    /// Whether this was taken, and nothing before it has failed.
    fn write(&mut self, calls: Vec<CallChange>) -> bool {
        self.receipts.clear();
        self.producer.receipts(&mut self.receipts);
        let is_well = self.receipts.iter().all(|(_, receipt)| receipt.is_ok());
        self.producer.append(0, Commit { entries: Vec::new(), calls }).is_ok() && is_well
    }
}

/// Whether what the queue keeps under this name is a Class value and no call.
#[must_use]
pub fn is_class(key: &[u8]) -> bool {
    read_key(key).is_some()
}

fn key(sink: SinkNumber, session: u64) -> Vec<u8> {
    [MARK, &[sink.0], &session.to_be_bytes()].concat()
}

fn read_key(key: &[u8]) -> Option<(SinkNumber, u64)> {
    let (sink, session) = key.strip_prefix(MARK)?.split_first()?;
    Some((SinkNumber(*sink), u64::from_be_bytes(session.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_from_calls() {
        let call = Key::of(b"call", b"a", b"b").to_bytes();
        // A call whose hash begins like the mark.
        let alike = [MARK, &[0; Key::BYTES - MARK.len()]].concat();
        let own = key(SinkNumber(3), 0x0102_0304_0506_0708);
        assert_eq!(own.len(), KEY_BYTES);
        let stored = [&call, &own, &alike, &key(SinkNumber(4), 9)].map(|key| (key.clone(), key.clone())).to_vec();
        let (mut kept, calls) = Kept::split(stored);
        assert_eq!(calls, [(call.clone(), call), (alike.clone(), alike)]);
        assert_eq!(kept.take(SinkNumber(3)), [(0x0102_0304_0506_0708, own)]);
        assert_eq!((kept.take(SinkNumber(3)).len(), kept.0.len()), (0, 1), "of another sink");
    }
}
