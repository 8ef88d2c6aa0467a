//! How far a lane is delivered: the messages of one sink in one partition.
//!
//! A lane is read in the order of the stream. What was read and is not settled is *open*; all else up to the last message
//! that was read is settled. So the state of a lane is two numbers and the open ones between them, and whoever takes the lane over
//! reads again from the first open message on, passes over what is not open, and delivers nothing twice that its
//! predecessor has written down. It writes that down some times a second; what was settled since is repeated under the
//! same record id.
//!
//! Places are those of the server that leads the stream. Servers may come to differ in what they have under a place: after
//! a cut, a follower of nats-server 2.9.10 was seen with other messages than the leader, and it may lead later. So only what
//! was read while its server led ([`Progress::sure`]) is written down, each message with the time when the stream took it,
//! by which it is known again.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::bytes::{Reader, Unreadable, put_number};

/// Messages of a lane that may be open at once: beyond, no more are read. Also bounds the value that is written down.
pub const OPEN_MAX: usize = 1_024;

/// First octet of every value that is written; what was written under a lower one stays readable. 1 does not name the
/// stream, 2 has no times.
const VERSION: u8 = 3;

/// What is written down of a lane cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProgressError {
    /// Written by a newer release.
    #[error("it was written by a newer release (version {found}, this one reads up to {VERSION})")]
    Newer {
        /// First octet of the value.
        found: u8,
    },
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// What is to be done with a message that comes out of the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// It is delivered.
    Deliver,
    /// It was settled before.
    Skip,
}

/// A message of the stream.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mark {
    /// Its place.
    pub place: u64,
    /// When the stream took it, in nanoseconds since 1970; the same at each server. 0: not known.
    pub time: u64,
}

/// State of a lane. Messages are named by their places in the stream, which begin with 1.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// When its stream was made, in nanoseconds since 1970: one that is made later under the same name counts from 1 again.
    /// 0: not known.
    stream: u64,
    /// The last message that was read, now or by a predecessor.
    read: u64,
    /// The last message that was read from the stream's leader for certain; what came after it is not written down.
    sure: Mark,
    /// Read and not settled, with their times.
    open: BTreeMap<u64, u64>,
    /// Those of them that a predecessor has read and we have not.
    owed: BTreeSet<u64>,
    /// Whether it differs from what was written down last.
    is_changed: bool,
}

impl Progress {
    /// Nothing of a stream was read.
    #[must_use]
    pub fn of(stream: u64) -> Self {
        Self { stream, ..Self::default() }
    }

    /// That in a stream: this one, or one of which nothing was read, for what is written down is of an earlier stream.
    #[must_use]
    pub fn within(self, stream: u64) -> Self {
        if self.stream == 0 || self.stream == stream { Self { stream, ..self } } else { Self::of(stream) }
    }

    /// When its stream was made; 0: not known.
    #[must_use]
    pub const fn stream(&self) -> u64 {
        self.stream
    }

    /// Takes up what a predecessor has written down.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn resume(bytes: &[u8]) -> Result<Self, ProgressError> {
        let mut reader = Reader::new(bytes);
        let version = reader.octet("version")?;
        let stream = match version {
            2 | VERSION => reader.number("stream")?,
            1 => 0,
            0 => return Err(Unreadable { what: "version", at: 0 }.into()),
            found => return Err(ProgressError::Newer { found }),
        };
        let has_times = version == VERSION;
        let read: u64 = reader.number("last message")?;
        let time = if has_times { reader.number("time of the last message")? } else { 0 };
        let count: usize = reader.number("number of open messages")?;
        let mut open = BTreeMap::new();
        let mut place: u64 = 0;
        for _ in 0..count {
            let unreadable = reader.unreadable("open message");
            let step: u64 = reader.number("open message")?;
            place = place.checked_add(step).filter(|place| step > 0 && *place <= read).ok_or(unreadable)?;
            let before: u64 = if has_times { reader.number("time of an open message")? } else { time };
            open.insert(place, time.wrapping_sub(before));
        }
        if reader.left() > 0 {
            return Err(reader.unreadable("end of the value").into());
        }
        let owed = open.keys().copied().collect();
        Ok(Self { stream, read, sure: Mark { place: read, time }, owed, open, is_changed: false })
    }

    /// What is to be written down.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Mark { place: read, time } = self.sure;
        let open = self.open.range(..=read);
        let mut out = vec![VERSION];
        put_number(self.stream, &mut out);
        put_number(read, &mut out);
        put_number(time, &mut out);
        put_number(open.clone().count() as u64, &mut out);
        let mut before = 0;
        for (place, taken) in open {
            put_number(place - before, &mut out);
            put_number(time.wrapping_sub(*taken), &mut out);
            before = *place;
        }
        out
    }

    /// Where reading begins: the first message that is open, or the one behind the last that was read.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.open.keys().next().copied().unwrap_or(self.read + 1)
    }

    /// What a predecessor has left open and has not come.
    #[must_use]
    pub fn owed(&self) -> Vec<Mark> {
        self.owed.iter().filter_map(|place| Some(Mark { place: *place, time: *self.open.get(place)? })).collect()
    }

    /// The last message that was read from the stream's leader for certain; place 0: there is none.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        self.sure
    }

    /// Since when what is open, or was read last, is in the stream, in nanoseconds since 1970; `None`: not known.
    #[must_use]
    pub fn since(&self) -> Option<u64> {
        self.open.values().copied().chain([self.sure.time]).filter(|time| *time > 0).min()
    }

    /// All that was read came from the stream's leader for certain.
    #[must_use]
    pub const fn is_sure(&self) -> bool {
        self.sure.place == self.read
    }

    /// Messages up to this one were read while their server led the stream.
    pub fn sure(&mut self, mark: Mark) {
        if mark.place > self.sure.place && mark.place <= self.read {
            self.sure = mark;
            self.is_changed = true;
        }
    }

    /// Reading begins behind a place, whatever was read before under other places.
    #[must_use]
    pub fn behind(self, place: u64) -> Self {
        Self { read: place, sure: Mark { place, time: 0 }, ..Self::of(self.stream) }
    }

    /// A message came out of the stream. Open messages before it that a predecessor had read and that did not come are not in
    /// the stream any more: they go to `gone`, and are open no more.
    pub fn came(&mut self, Mark { place, time }: Mark, gone: &mut Vec<u64>) -> Next {
        self.miss_before(place, gone);
        self.owed.remove(&place);
        if place > self.read {
            self.read = place;
            self.open.insert(place, time);
            return Next::Deliver;
        }
        if self.open.contains_key(&place) { Next::Deliver } else { Next::Skip }
    }

    /// All that a predecessor has left open has come, if the stream still has it: what did not come is gone.
    pub fn caught_up(&mut self, gone: &mut Vec<u64>) {
        self.miss_before(u64::MAX, gone);
    }

    fn miss_before(&mut self, place: u64, gone: &mut Vec<u64>) {
        while let Some(missing) = self.owed.first().copied().filter(|missing| *missing < place) {
            self.owed.remove(&missing);
            self.settle(missing);
            gone.push(missing);
        }
    }

    /// A message is settled; nothing happens when it was.
    pub fn settle(&mut self, place: u64) {
        self.is_changed |= self.open.remove(&place).is_some();
    }

    /// Whether another message may be read.
    #[must_use]
    pub fn has_room(&self) -> bool {
        // What a predecessor has left is read whatever it is.
        self.open.len() < OPEN_MAX || !self.owed.is_empty()
    }

    /// Messages that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The last message that was read.
    #[must_use]
    pub const fn read(&self) -> u64 {
        self.read
    }

    /// Whether there is something to be written down.
    #[must_use]
    pub const fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// It is being written down as it is now; where that fails, [`Progress::not_written`].
    pub const fn writing(&mut self) {
        self.is_changed = false;
    }

    /// What was to be written down was not.
    pub const fn not_written(&mut self) {
        self.is_changed = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(place: u64) -> Mark {
        Mark { place, time: 1_700_000_000_000_000_000 + place }
    }

    /// Reads messages from the leader, and gives those that are to be delivered.
    fn read(progress: &mut Progress, places: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut gone = Vec::new();
        let taken = places.into_iter().filter(|place| progress.came(at(*place), &mut gone) == Next::Deliver).collect();
        progress.sure(at(progress.read()));
        assert_eq!(gone, Vec::<u64>::new());
        taken
    }

    fn next_owner(progress: &Progress) -> Progress {
        Progress::resume(&progress.to_bytes()).unwrap()
    }

    #[test]
    fn a_new_owner_delivers_what_is_open_and_then_what_nobody_has_read() {
        let mut first = Progress::default();
        assert_eq!(first.begin(), 1);
        assert_eq!(read(&mut first, [3, 5, 8, 9]), [3, 5, 8, 9]);
        for settled in [3, 8] {
            first.settle(settled);
        }
        let mut second = next_owner(&first);
        assert_eq!((second.begin(), second.open()), (5, 2));
        assert_eq!(read(&mut second, [5, 8, 9, 12]), [5, 9, 12]);
    }

    #[test]
    fn a_lane_in_which_all_is_settled_goes_on_behind_its_last_message() {
        let mut first = Progress::default();
        read(&mut first, [3, 5]);
        first.settle(5);
        first.settle(3);
        assert_eq!(next_owner(&first).begin(), 6);
    }

    #[test]
    fn open_messages_that_the_stream_has_no_more_are_told_as_gone() {
        let mut first = Progress::default();
        read(&mut first, [3, 5, 8, 9]);
        let mut second = next_owner(&first);
        let mut gone = Vec::new();
        assert_eq!(second.came(at(8), &mut gone), Next::Deliver);
        assert_eq!(gone, [3, 5]);
        second.caught_up(&mut gone);
        assert_eq!(gone, [3, 5, 9]);
        assert_eq!((second.open(), second.begin()), (1, 8));
    }

    #[test]
    fn a_full_lane_reads_no_more_but_what_a_predecessor_has_left() {
        let mut first = Progress::default();
        read(&mut first, 1..=OPEN_MAX as u64);
        assert!(!first.has_room());
        let mut second = next_owner(&first);
        assert!(second.has_room());
        read(&mut second, 1..=OPEN_MAX as u64);
        assert!(!second.has_room());
        second.settle(7);
        assert!(second.has_room());
    }

    #[test]
    fn only_what_changed_is_written_down() {
        let mut progress = Progress::default();
        assert!(!progress.is_changed());
        read(&mut progress, [1, 2]);
        progress.writing();
        progress.settle(9);
        assert!(!progress.is_changed());
        progress.settle(2);
        assert!(progress.is_changed());
        progress.writing();
        progress.not_written();
        assert!(progress.is_changed());
    }

    #[test]
    fn what_a_newer_release_has_written_is_left_alone() {
        assert_eq!(Progress::resume(&[4, 7, 0]), Err(ProgressError::Newer { found: 4 }));
        assert_eq!(
            Progress::resume(&[4, 7, 0]).unwrap_err().to_string(),
            "it was written by a newer release (version 4, this one reads up to 3)"
        );
    }

    #[test]
    fn what_is_written_down_of_a_stream_says_nothing_of_one_that_was_made_later() {
        let mut first = Progress::of(70);
        read(&mut first, [3, 5]);
        first.settle(3);
        assert_eq!(next_owner(&first).within(70).begin(), 5);
        assert_eq!(next_owner(&first).within(71), Progress::of(71));
        let nameless = Progress::resume(&[1, 5, 1, 5]).unwrap();
        assert_eq!((nameless.begin(), nameless.since()), (5, None));
        let nameless = nameless.within(70);
        assert_eq!(nameless, Progress::resume(&[2, 70, 5, 1, 5]).unwrap());
        assert_eq!((nameless.owed(), nameless.mark()), (vec![Mark { place: 5, time: 0 }], Mark { place: 5, time: 0 }));
    }

    #[test]
    fn what_was_not_read_from_the_leader_for_certain_is_read_again_by_a_new_owner() {
        let mut first = Progress::default();
        read(&mut first, [3, 5]);
        let mut gone = Vec::new();
        for place in [8, 9] {
            first.came(at(place), &mut gone);
            first.settle(place);
        }
        first.settle(3);
        assert!(!first.is_sure());
        let second = next_owner(&first);
        assert_eq!((second.owed(), second.read(), second.mark()), (vec![at(5)], 5, at(5)));
        first.sure(at(8));
        first.sure(at(7));
        assert_eq!((next_owner(&first).mark(), first.is_sure()), (at(8), false));
        first.sure(at(10));
        assert_eq!(first.mark(), at(8), "it has not come");
        assert_eq!(first.since(), Some(at(5).time));
        assert_eq!(first.behind(2), Progress { read: 2, sure: Mark { place: 2, time: 0 }, ..Progress::default() });
    }

    proptest! {
        #[test]
        fn octets_that_mean_nothing_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(progress) = Progress::resume(&bytes) {
                prop_assert_eq!(Progress::resume(&progress.to_bytes()).unwrap(), progress);
            }
        }

        /// Whenever owners change and whatever was settled by then: each message is delivered until it was written down as
        /// settled, in the order of the stream, and none is passed over that is open.
        #[test]
        fn no_message_is_passed_over_whenever_owners_change(
            steps in prop::collection::vec((0_usize..8, 0_usize..64, any::<bool>()), 1..60),
        ) {
            const LAST: u64 = 80;
            let mut stored = Progress::default().to_bytes();
            let mut settled_for_good = BTreeSet::new();
            let mut seen = BTreeSet::new();
            for (reads, settles, is_written) in steps {
                let mut own = Progress::resume(&stored).unwrap();
                let (begin, mut gone) = (own.begin(), Vec::new());
                let mut held = Vec::new();
                for place in (begin..=LAST).take(reads) {
                    if own.came(at(place), &mut gone) == Next::Deliver {
                        prop_assert!(!settled_for_good.contains(&place));
                        held.push(place);
                        seen.insert(place);
                    }
                }
                prop_assert!(gone.is_empty());
                own.sure(at(own.read()));
                let settled: Vec<u64> = held.iter().copied().filter(|place| (settles as u64 >> (place % 6)) & 1 == 1).collect();
                settled.iter().for_each(|place| own.settle(*place));
                if is_written {
                    stored = own.to_bytes();
                    settled_for_good.extend(settled);
                }
            }
            let mut last = Progress::resume(&stored).unwrap();
            let mut gone = Vec::new();
            let rest: BTreeSet<u64> =
                (last.begin()..=LAST).filter(|place| last.came(at(*place), &mut gone) == Next::Deliver).collect();
            let all: BTreeSet<u64> = rest.union(&settled_for_good).copied().collect();
            prop_assert_eq!(all, (1..=LAST).collect::<BTreeSet<u64>>());
            prop_assert!(rest.is_disjoint(&settled_for_good));
        }
    }
}
