//! Class values that Diameter servers gave, kept in the queue beside the calls: one value for each session of a sink.
//!
//! They are written when a session's first answer brings them, and removed when its last record is delivered, with the
//! commits of others.

use std::sync::Arc;

use crate::ids::SinkNumber;
use crate::queue::{self, Class, Producer};
use crate::record::{CallChange, Commit};
use crate::sinks::kind::Keeper;

/// The values an earlier process kept.
#[derive(Debug, Default)]
pub(super) struct Kept(pub Vec<Class>);

impl Kept {
    /// Those of a sink: session and octets.
    pub fn take(&mut self, sink: SinkNumber) -> Vec<(u64, Vec<u8>)> {
        self.0.extract_if(.., |(of, ..)| *of == sink).map(|(_, session, octets)| (session, octets)).collect()
    }

    /// Removes the rest, of sinks that are configured no more.
    pub fn discard(self, queue: &queue::Handle) {
        let remove = |&(sink, session, _): &Class| CallChange::Class { sink, session, value: None };
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
        let value = octets.map(<[u8]>::to_vec);
        let is_taken = writer.write(vec![CallChange::Class { sink, session, value }]);
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
