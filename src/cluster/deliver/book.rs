//! What a deliverer has taken out of the stream, and how far it is settled.
//!
//! | what happens to a message | what follows |
//! |---|---|
//! | it is read, and was not settled before | its record goes into the queue of this process |
//! | the queue has committed the record | its place there is known, by which all else is told |
//! | the record has left the queue: delivered, dropped, superseded | it is settled, and that is written down with the next progress of its lane |
//! | the record is parked | that is written down in the cluster first; then it is settled |
//! | a parked record has left the queue, or waits again | once it has left, its parking is removed |
//!
//! What belongs to a partition that was given back is forgotten: whatever the queue still tells of it means nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::parked::{Parking, fitting, names_of};
use crate::clock::Timestamp;
use crate::cluster::admission::{Admission, Fate};
use crate::cluster::names;
use crate::cluster::progress::{Mark, Next, Progress, ProgressError};
use crate::ids::{RecordId, SinkMask, SinkNumber};
use crate::queue::witness::{Event, How, Source};
use crate::record::Entry;

/// A lane: the messages of a sink in a partition.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LaneId {
    /// The partition.
    pub partition: u16,
    /// The sink.
    pub sink: SinkNumber,
}

/// A message that was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Taken {
    lane: LaneId,
    /// Its place in the stream.
    place: u64,
    id: RecordId,
    /// Whether the cluster knows it as parked.
    is_parked: bool,
}

#[derive(Debug)]
struct Lane {
    progress: Progress,
    /// Revision of what is written down.
    revision: u64,
    is_writing: bool,
    /// Messages up to here may have been delivered by an earlier owner.
    may_be_there: u64,
}

/// What is to be written down of a lane.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    /// The lane.
    pub lane: LaneId,
    /// Its progress.
    pub bytes: Vec<u8>,
    /// In the place of this revision.
    pub expected: u64,
}

/// The stream, as it was when a partition was taken up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stream {
    /// When it was made, as [`Progress::of`] has it.
    pub made: u64,
    /// Its last message.
    pub last: u64,
}

/// What is written down of a lane.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stored {
    /// The progress; `None`: nothing is.
    pub bytes: Option<Bytes>,
    /// Its revision, under which it is ours now.
    pub revision: u64,
    /// The leader has other messages where those stood that were read: the lane is read again behind this place.
    pub again_behind: Option<u64>,
}

/// Where a lane is to be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// When its stream was made.
    pub stream: u64,
    /// The first message.
    pub next: u64,
    /// What a predecessor has left open.
    pub owed: VecDeque<Mark>,
    /// The last one that was read for certain.
    pub mark: Mark,
}

/// What follows from something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// One more message of the lane may be read.
    Room(LaneId),
    /// A record is parked: [`Book::parked`] when that is written down.
    Park {
        /// Where the message is.
        at: (LaneId, u64),
        /// The record.
        id: RecordId,
        /// What is written down.
        parking: Parking,
    },
    /// A parked record has left.
    Unpark(LaneId, RecordId),
    /// Messages that were open are not in the stream any more.
    Gone(LaneId, Vec<u64>),
    /// The queue of this process has lost records: all has to be read again.
    Lost,
}

/// All lanes of the partitions that are ours.
#[derive(Debug)]
pub struct Book {
    /// Who writes.
    name: String,
    sinks: Vec<SinkNumber>,
    lanes: BTreeMap<LaneId, Lane>,
    /// On their way into the queue, by sink and name, first come first; `None`: of a partition that is not ours any more.
    coming: HashMap<(SinkNumber, RecordId), VecDeque<Option<Taken>>, foldhash::fast::FixedState>,
    /// In the queue, or parked there, by their places.
    kept: HashMap<(SinkNumber, u64), Taken, foldhash::fast::FixedState>,
    admission: Arc<Admission>,
}

impl Book {
    /// An empty book of a deliverer called `name` for these sinks.
    #[must_use]
    pub fn new(name: &str, sinks: Vec<SinkNumber>, admission: Arc<Admission>) -> Self {
        let (coming, kept) = (HashMap::default(), HashMap::default());
        Self { name: name.to_owned(), sinks, lanes: BTreeMap::new(), coming, kept, admission }
    }

    /// The lanes of a partition.
    pub fn lanes_of(&self, partition: u16) -> impl Iterator<Item = LaneId> {
        self.sinks.iter().map(move |sink| LaneId { partition, sink: *sink })
    }

    /// Takes up a lane, of which a predecessor has written down `stored`; what the stream has may have been delivered. Gives
    /// what is to be read.
    ///
    /// # Errors
    /// What is written down cannot be used.
    pub fn take_up(&mut self, id: LaneId, stored: &Stored, stream: Stream) -> Result<Wanted, ProgressError> {
        let Stored { bytes, revision, again_behind } = stored;
        let written = bytes.as_deref().map(Progress::resume).transpose()?;
        let begins = written.as_ref().map(Progress::begin);
        let mut progress = written.unwrap_or_default().within(stream.made);
        if begins.is_some_and(|begins| begins > progress.begin()) {
            tracing::error!(
                partition = id.partition,
                stream = stream.made,
                "the stream was deleted and made anew: it is read from its begin"
            );
        }
        if let Some(place) = again_behind {
            progress = progress.behind(*place);
        }
        let (next, owed, mark) = (progress.begin(), progress.owed().into(), progress.mark());
        self.lanes.insert(id, Lane { progress, revision: *revision, is_writing: false, may_be_there: stream.last });
        Ok(Wanted { stream: stream.made, next, owed, mark })
    }

    /// A message came out of the stream: gives its record, if that is to go into the queue.
    pub fn came(&mut self, id: LaneId, mark: Mark, body: Bytes, out: &mut Vec<Effect>) -> Option<Entry> {
        let lane = self.lanes.get_mut(&id)?;
        let mut gone = Vec::new();
        let next = lane.progress.came(mark, &mut gone);
        let may_be_there = mark.place <= lane.may_be_there;
        self.tell_gone(id, gone, out);
        if next == Next::Skip {
            out.push(Effect::Room(id));
            return None;
        }
        Some(self.enter(id, mark.place, body, Fate::Go { may_be_there }, false))
    }

    /// All up to this message came from the stream's leader for certain: what is settled of it may be written down.
    pub fn sure(&mut self, id: LaneId, mark: Mark) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.progress.sure(mark);
        }
    }

    /// Whether all that came of a partition is certain.
    #[must_use]
    pub fn is_sure(&self, partition: u16) -> bool {
        self.lanes_of(partition).filter_map(|id| self.lanes.get(&id)).all(|lane| lane.progress.is_sure())
    }

    /// The stream has nothing more of the lane at the moment.
    pub fn caught_up(&mut self, id: LaneId, out: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let mut gone = Vec::new();
        lane.progress.caught_up(&mut gone);
        self.tell_gone(id, gone, out);
    }

    fn tell_gone(&self, id: LaneId, gone: Vec<u64>, out: &mut Vec<Effect>) {
        if !gone.is_empty() {
            out.push(Effect::Gone(id, gone));
        }
    }

    /// A record that the cluster knows as parked: gives it for the queue, where it is parked too.
    pub fn came_parked(&mut self, id: LaneId, body: Bytes, parking: &Parking) -> Entry {
        let fate = Fate::Park { reason: parking.reason.clone(), code: parking.code };
        self.enter(id, parking.place, body, fate, true)
    }

    fn enter(&mut self, lane: LaneId, place: u64, body: Bytes, fate: Fate, is_parked: bool) -> Entry {
        let body = fitting(body);
        let (id, call) = names_of(place, &body);
        self.coming.entry((lane.sink, id)).or_default().push_back(Some(Taken { lane, place, id, is_parked }));
        self.admission.note((lane.sink, id), lane.partition, fate);
        Entry { id, call, sinks: SinkMask::NONE.with(lane.sink), body: body.into() }
    }

    /// Something became of a record in the queue of this process.
    pub fn heard(&mut self, event: Event, now: Timestamp, out: &mut Vec<Effect>) {
        match event {
            Event::Committed { seq, id, sinks, source, .. } => {
                for sink in sinks.iter() {
                    self.committed((sink, seq), id, source);
                }
            }
            Event::Ended { sink, seq, how, .. } => self.ended((sink, seq), how, now, out),
            Event::Discarded { .. } | Event::Lost { .. } => out.push(Effect::Lost),
        }
    }

    fn committed(&mut self, (sink, seq): (SinkNumber, u64), id: RecordId, source: Source) {
        if let Source::Again(was) = source {
            // A parked one that is to be tried again.
            match self.kept.remove(&(sink, was)) {
                Some(taken) => drop(self.kept.insert((sink, seq), taken)),
                None => self.admission.moved((sink, was), (sink, seq)),
            }
            return;
        }
        // What the operator has put into the queue is none of ours.
        let Some(coming) = self.coming.get_mut(&(sink, id)) else { return };
        let taken = coming.pop_front();
        if coming.is_empty() {
            self.coming.remove(&(sink, id));
        }
        match taken.flatten() {
            Some(taken) => drop(self.kept.insert((sink, seq), taken)),
            None => self.admission.withdraw((sink, seq)),
        }
    }

    fn ended(&mut self, at: (SinkNumber, u64), how: How, now: Timestamp, out: &mut Vec<Effect>) {
        self.admission.back(at);
        let Some(taken) = self.kept.get_mut(&at) else { return };
        let Taken { lane, place, id, is_parked } = *taken;
        match how {
            How::Retried { .. } => {}
            How::Parked { reason, code } => {
                taken.is_parked = true;
                let stream = self.lanes.get(&lane).map_or(0, |own| own.progress.stream());
                let (partition, by) = (lane.partition, self.name.clone());
                let parking = Parking { partition, stream, place, code, at: now, by, reason, record: None };
                out.push(Effect::Park { at: (lane, place), id, parking });
            }
            How::Delivered(_) | How::Dropped { .. } | How::Superseded => {
                self.kept.remove(&at);
                self.admission.forget((lane.sink, id));
                if is_parked {
                    out.push(Effect::Unpark(lane, id));
                }
                self.settle(lane, place, out);
            }
        }
    }

    /// That a record is parked is written down: it counts as settled.
    pub fn parked(&mut self, (lane, place): (LaneId, u64), out: &mut Vec<Effect>) {
        self.settle(lane, place, out);
    }

    fn settle(&mut self, id: LaneId, place: u64, out: &mut Vec<Effect>) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            let before = lane.progress.open();
            lane.progress.settle(place);
            out.extend((lane.progress.open() < before).then_some(Effect::Room(id)));
        }
    }

    /// What is to be written down now; [`Book::written`] for each.
    pub fn writes(&mut self) -> Vec<Write> {
        let due = self.lanes.iter_mut().filter(|(_, lane)| lane.progress.is_changed() && !lane.is_writing);
        let write = |(id, lane): (&LaneId, &mut Lane)| {
            lane.is_writing = true;
            lane.progress.writing();
            Write { lane: *id, bytes: lane.progress.to_bytes(), expected: lane.revision }
        };
        due.map(write).collect()
    }

    /// What was to be written down is, under this revision; `None`: it is not.
    pub fn written(&mut self, id: LaneId, revision: Option<u64>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.is_writing = false;
        match revision {
            Some(revision) => lane.revision = revision,
            None => lane.progress.not_written(),
        }
    }

    /// Whether all that is settled in a partition is written down.
    #[must_use]
    pub fn is_written(&self, partition: u16) -> bool {
        self.lanes_of(partition)
            .filter_map(|id| self.lanes.get(&id))
            .all(|lane| !lane.is_writing && !lane.progress.is_changed())
    }

    /// A partition is not ours any more: what the queue has of it is withdrawn.
    pub fn give_up(&mut self, partition: u16) {
        self.admission.free(partition);
        self.lanes.retain(|id, _| id.partition != partition);
        let is_of = |taken: &Taken| taken.lane.partition == partition;
        for taken in self.coming.values_mut().flatten() {
            *taken = taken.filter(|taken| !is_of(taken));
        }
        let admission = &self.admission;
        self.kept.retain(|at, taken| {
            let goes = is_of(taken);
            if goes {
                admission.withdraw(*at);
                admission.forget((taken.lane.sink, taken.id));
            }
            !goes
        });
    }

    /// Messages that are taken and not settled, of all lanes.
    #[must_use]
    pub fn open(&self) -> usize {
        self.lanes.values().map(|lane| lane.progress.open()).sum()
    }

    /// Partitions that are taken up.
    #[must_use]
    pub fn partitions(&self) -> Vec<u16> {
        let mut partitions: Vec<u16> = self.lanes.keys().map(|id| id.partition).collect();
        partitions.dedup();
        partitions
    }
}

impl LaneId {
    /// Key of its progress; `sink` is the sink's name.
    #[must_use]
    pub fn key(self, sink: &str) -> String {
        names::progress(self.partition, sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Instant;
    use crate::ids::{CallHash, Seq};
    use crate::queue::{Lease, Settlement};
    use crate::record::{BODY_BYTES_MAX, Kind, Record, codec};
    use crate::sinks::worker::Gate as _;

    const SINK: SinkNumber = SinkNumber(1);
    const LANE: LaneId = LaneId { partition: 3, sink: SINK };
    const NOW: Timestamp = Timestamp(9);
    const MADE: u64 = 70;

    struct Desk {
        book: Book,
        admission: Arc<Admission>,
        effects: Vec<Effect>,
    }

    /// A deliverer that holds the lease of the partition, and has taken up its lane.
    fn desk(stored: Option<&[u8]>) -> Desk {
        let admission = Arc::new(Admission::new(4));
        let mut book = Book::new("del1", vec![SINK], Arc::clone(&admission));
        let stored = Stored { bytes: stored.map(Bytes::copy_from_slice), revision: 7, again_behind: None };
        book.take_up(LANE, &stored, Stream { made: MADE, last: 0 }).unwrap();
        admission.hold(3, Instant(u64::MAX));
        Desk { book, admission, effects: Vec::new() }
    }

    const fn at(place: u64) -> Mark {
        Mark { place, time: 1_700_000_000_000_000_000 + place }
    }

    fn body(seed: u64) -> Bytes {
        codec::encode(&Record::of_no_call(Kind::Event, Timestamp(1_700_000_000_000_000), u128::from(seed) << 16)).into()
    }

    impl Desk {
        /// A message comes, and its record is committed at `seq`; gives its name.
        fn takes(&mut self, place: u64, seq: u64) -> Option<RecordId> {
            let entry = self.book.came(LANE, at(place), body(place), &mut self.effects)?;
            self.book.sure(LANE, at(place));
            self.hears(committed(seq, &entry, Source::New));
            Some(entry.id)
        }

        fn hears(&mut self, event: Event) {
            self.book.heard(event, NOW, &mut self.effects);
        }

        fn ends(&mut self, seq: u64, how: How) {
            self.hears(Event::Ended { sink: SINK, seq, id: None, attempts: 1, how });
        }

        fn effects(&mut self) -> Vec<Effect> {
            std::mem::take(&mut self.effects)
        }

        /// What becomes of the record when its sink would have it.
        fn asks(&self, seq: u64, id: RecordId) -> Option<Settlement> {
            let (call, appended) = (CallHash(0), Timestamp(5));
            let mut lease =
                Lease { seq: Seq(seq), id, call, attempts: 0, first_tried: None, appended, body: Bytes::new() };
            self.admission.instead(SINK, &mut lease)
        }

        /// What a successor takes up.
        fn written(&mut self) -> Vec<u8> {
            let mut writes = self.book.writes();
            assert_eq!(writes.len(), 1);
            self.book.written(LANE, Some(8));
            writes.remove(0).bytes
        }
    }

    fn committed(seq: u64, entry: &Entry, source: Source) -> Event {
        Event::Committed { seq, id: entry.id, sinks: entry.sinks, body: Bytes::new(), source }
    }

    #[test]
    fn what_has_left_the_queue_is_not_delivered_by_a_successor() {
        let mut desk = desk(None);
        for (place, seq) in [(10, 1), (11, 2), (12, 3), (13, 4)] {
            assert!(desk.takes(place, seq).is_some());
        }
        desk.ends(1, How::Delivered(None));
        desk.ends(2, How::Superseded);
        desk.ends(3, How::Retried { reason: "not now".to_owned() });
        desk.ends(4, How::Dropped { by: "operator".into(), under_way: false });
        assert_eq!(desk.effects(), [Effect::Room(LANE), Effect::Room(LANE), Effect::Room(LANE)]);
        let stored = desk.written();
        let mut next = self::desk(Some(&stored));
        let taken: Vec<u64> = (10..=14).filter(|place| next.takes(*place, *place).is_some()).collect();
        assert_eq!(taken, [12, 14]);
    }

    #[test]
    fn nothing_is_written_twice_and_what_was_not_written_is_written_again() {
        let mut desk = desk(None);
        assert_eq!(desk.book.writes(), []);
        desk.takes(10, 1);
        let writes = desk.book.writes();
        assert_eq!((writes.len(), writes[0].expected), (1, 7));
        desk.ends(1, How::Delivered(None));
        assert_eq!(desk.book.writes(), [], "one is on its way");
        assert!(!desk.book.is_written(3));
        desk.book.written(LANE, None);
        let writes = desk.book.writes();
        assert_eq!((writes.len(), writes[0].expected), (1, 7));
        desk.book.written(LANE, Some(9));
        assert!(desk.book.is_written(3) && desk.book.writes().is_empty());
    }

    #[test]
    fn a_parked_record_is_settled_when_that_is_written_down_and_its_parking_goes_when_it_leaves() {
        let mut desk = desk(None);
        let id = desk.takes(10, 1).unwrap();
        desk.ends(1, How::Parked { reason: "refused".to_owned(), code: 5 });
        let parking = Parking {
            partition: 3,
            stream: MADE,
            place: 10,
            code: 5,
            at: NOW,
            by: "del1".to_owned(),
            reason: "refused".to_owned(),
            record: None,
        };
        assert_eq!(desk.effects(), [Effect::Park { at: (LANE, 10), id, parking }]);
        let before = desk.written();
        assert_eq!(Progress::resume(&before).unwrap().open(), 1, "a successor would deliver it");
        desk.book.parked((LANE, 10), &mut desk.effects);
        assert_eq!(desk.effects(), [Effect::Room(LANE)]);
        let after = desk.written();
        assert_eq!(Progress::resume(&after).unwrap().open(), 0);
        // The operator has it tried again.
        let entry = Entry { id, call: CallHash(0), sinks: SinkMask::NONE.with(SINK), body: Vec::new() };
        desk.hears(committed(2, &entry, Source::Again(1)));
        desk.ends(2, How::Delivered(None));
        assert_eq!(desk.effects(), [Effect::Unpark(LANE, id)]);
    }

    #[test]
    fn a_record_that_a_predecessor_has_parked_is_parked_here_without_being_sent() {
        let mut desk = desk(None);
        let parking = Parking {
            partition: 3,
            stream: MADE,
            place: 10,
            code: 5,
            at: NOW,
            by: "del0".to_owned(),
            reason: "refused".to_owned(),
            record: None,
        };
        let entry = desk.book.came_parked(LANE, body(10), &parking);
        desk.hears(committed(1, &entry, Source::New));
        assert_eq!(desk.asks(1, entry.id), Some(Settlement::Park { reason: "refused".to_owned(), code: 5 }));
        desk.ends(1, How::Parked { reason: "refused".to_owned(), code: 5 });
        desk.ends(1, How::Dropped { by: "operator".into(), under_way: false });
        let effects = desk.effects();
        assert_eq!(effects.last(), Some(&Effect::Unpark(LANE, entry.id)));
    }

    #[test]
    fn of_a_partition_that_was_given_back_the_queue_sends_nothing_whether_committed_or_not() {
        let mut desk = desk(None);
        let id = desk.takes(10, 1).unwrap();
        let coming = desk.book.came(LANE, at(11), body(11), &mut desk.effects).unwrap();
        desk.book.give_up(3);
        assert_eq!(desk.asks(1, id), Some(Settlement::Withdrawn));
        assert!(matches!(desk.asks(2, coming.id), Some(Settlement::Defer { .. })), "it is not known yet where it is");
        desk.hears(committed(2, &coming, Source::New));
        assert_eq!(desk.asks(2, coming.id), Some(Settlement::Withdrawn));
        desk.ends(1, How::Superseded);
        assert_eq!(desk.effects(), []);
        assert_eq!(desk.book.writes(), []);
    }

    #[test]
    fn a_partition_that_comes_back_is_delivered_once_by_its_new_copies() {
        let mut desk = desk(None);
        let id = desk.takes(10, 1).unwrap();
        desk.book.give_up(3);
        let stored = Stored { revision: 9, ..Stored::default() };
        desk.book.take_up(LANE, &stored, Stream { made: MADE, last: 10 }).unwrap();
        desk.admission.hold(3, Instant(u64::MAX));
        assert_eq!(desk.takes(10, 2), Some(id));
        assert_eq!(desk.asks(1, id), Some(Settlement::Withdrawn));
        assert_eq!(desk.asks(2, id), None);
    }

    #[test]
    fn a_parked_record_of_a_partition_that_was_given_back_is_withdrawn_when_it_is_tried_again() {
        let mut desk = desk(None);
        let id = desk.takes(10, 1).unwrap();
        desk.ends(1, How::Parked { reason: "refused".to_owned(), code: 5 });
        desk.book.give_up(3);
        let entry = Entry { id, call: CallHash(0), sinks: SinkMask::NONE.with(SINK), body: Vec::new() };
        desk.hears(committed(2, &entry, Source::Again(1)));
        assert_eq!(desk.asks(2, id), Some(Settlement::Withdrawn));
    }

    #[test]
    fn octets_that_are_no_record_are_taken_too_so_that_they_are_parked() {
        let mut desk = desk(None);
        let first = desk.book.came(LANE, at(10), Bytes::from_static(b"\x07newer"), &mut desk.effects).unwrap();
        assert_eq!((first.id, first.body.as_slice()), (RecordId(10), &b"\x07newer"[..]));
        let long = desk.book.came(LANE, at(11), vec![7; BODY_BYTES_MAX + 1].into(), &mut desk.effects).unwrap();
        assert_eq!((long.id, long.body.len()), (RecordId(11), BODY_BYTES_MAX), "the queue would not take it");
    }
}
