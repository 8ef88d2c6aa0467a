//! What an operator asks of the queue: list, show, export, retry, park, drop, import. The same for the running service and for
//! the files of a stopped one.
//!
//! Long answers come in slices, so that commits go on between them: [`ask`] puts slices together for any [`Desk`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Now, Timestamp};
use crate::ids::{CallHash, RecordId, Seq, SinkMask, SinkNumber};
use crate::record::{Entry, Kind};

use super::balance::Stats;
use super::building::{After, Fresh, Origin};
use super::collapse::fact;
use super::error::StoreError;
use super::order::Order;
use super::parked::Parked;
use super::parking::overtaken_text;
use super::sinks::Sink;
use super::spool::{StoredRecord, read_records};
use super::store::{Gone, Queue};
use super::witness::{Event, How};

/// One record by its place or its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pick {
    /// By place; a parked record keeps the place it had.
    Seq(Seq),
    /// By name.
    Id(RecordId),
}

/// In which state a record is for a sink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Waits for its delivery, or is being delivered.
    Waiting,
    /// Set aside.
    Parked,
}

/// Which records a command is about; what is not named does not matter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Select {
    /// Only for this sink.
    pub sink: Option<SinkNumber>,
    /// Only this record.
    pub pick: Option<Pick>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only what had its place, and if parked was parked, by then: so that no record goes that nobody has seen.
    pub until: Option<(Seq, Timestamp)>,
}

impl Select {
    /// Whether it is about a record at this place and of this name.
    fn picks(&self, seq: u64, id: RecordId) -> bool {
        match self.pick {
            Some(Pick::Seq(picked)) => picked.0 == seq,
            Some(Pick::Id(picked)) => picked == id,
            None => true,
        }
    }
}

/// What to do with the selected records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Parked ones wait again under their old name; waiting ones are tried at once.
    Retry,
    /// Waiting ones are set aside.
    Park {
        /// Why; shortened to 255 octets.
        reason: String,
    },
    /// They are given up: never delivered.
    Drop {
        /// By whom and why, for the ledger.
        by: Arc<str>,
    },
}

/// A command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Up to `max` records from a position on: list, show and export.
    List {
        /// Which ones.
        select: Select,
        /// Where an earlier answer ended; `None` for the beginning.
        from: Option<Position>,
        /// The most records of the answer, at most [`LIST_MAX`].
        max: usize,
    },
    /// Does something with all selected records.
    Act {
        /// What.
        action: Action,
        /// With which.
        select: Select,
    },
    /// Puts records back that were dropped. One that waits or is parked for a sink is passed over there.
    Import(Vec<Entry>),
}

/// What a command gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Records.
    Page(Page),
    /// Records something was done with, counted once for each sink.
    Done {
        /// How many.
        records: u64,
        /// How many were passed over, and why.
        skipped: Skipped,
        /// How many of them were given up while their sink had them: it may have stored them.
        under_way: u64,
        /// Their names, the first [`NAMED_MAX`].
        named: Vec<RecordId>,
        /// Whether nobody wanted the rest any more: it is left as it is.
        is_cut: bool,
    },
}

/// Records an action passed over.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Skipped {
    /// How many.
    pub records: u64,
    /// Each reason once, in words.
    pub reasons: Vec<String>,
}

impl Skipped {
    fn add(&mut self, reason: String) {
        self.append(Self { records: 1, reasons: vec![reason] });
    }

    fn append(&mut self, more: Self) {
        self.records += more.records;
        for reason in more.reasons {
            if self.reasons.len() < REASONS_MAX && !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
    }
}

/// Where a slice begins: waiting records come first, in order of place, then parked ones, by sink and name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Position {
    /// At this place.
    Waiting(Seq),
    /// Behind this parked record; `None` before the first.
    Parked(Option<(SinkNumber, RecordId)>),
}

/// One slice of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Query {
    /// Which records.
    pub select: Select,
    /// From where on.
    pub from: Position,
    /// The most records of the answer.
    pub max: usize,
    /// What to do with them; the answer then holds their number, not the records.
    pub action: Option<Action>,
}

/// Some records and where the next ones begin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Records.
    pub items: Vec<Item>,
    /// Records something was done with.
    pub acted: u64,
    /// Records the action passed over.
    pub skipped: Skipped,
    /// Records that were given up while their sink had them: it may have stored them.
    pub under_way: u64,
    /// Names of the records something was done with, the first [`NAMED_MAX`].
    pub named: Vec<RecordId>,
    /// Where to go on; `None` at the end. There may be more although this slice found nothing.
    pub next: Option<Position>,
}

/// A record as the operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its place; for a parked one that at its parking.
    pub seq: Seq,
    /// Its name.
    pub id: RecordId,
    /// Hash of its Call-ID.
    pub call: CallHash,
    /// When it was made, to the millisecond.
    pub appended: Timestamp,
    /// Sinks it waits for; empty for a parked one.
    pub waiting: Vec<Waiting>,
    /// How it was parked.
    pub parked: Option<ParkedState>,
    /// The encoded record.
    pub body: Bytes,
}

impl From<Entry> for Item {
    /// A record that has no place yet.
    fn from(Entry { id, call, sinks, body }: Entry) -> Self {
        let waiting = |sink| Waiting { sink, leased: false, attempts: 0, reason: String::new(), due_in: None };
        let appended = super::window::made(id);
        let waiting = sinks.iter().map(waiting).collect();
        Self { seq: Seq(0), id, call, appended, waiting, parked: None, body: body.into() }
    }
}

/// How a record stands with one sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// Which sink.
    pub sink: SinkNumber,
    /// Whether it is lent to it now.
    pub leased: bool,
    /// Deliveries tried since the start of the process.
    pub attempts: u32,
    /// Why the last one failed; empty for none.
    pub reason: String,
    /// Time until the next one, when it waits for that.
    pub due_in: Option<Duration>,
}

/// How a record was parked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParkedState {
    /// For which sink.
    pub sink: SinkNumber,
    /// Why.
    pub reason: String,
    /// Result code of the backend, 0 for none.
    pub code: u32,
    /// Deliveries tried.
    pub attempts: u32,
    /// When it was tried first.
    pub first_tried: Option<Timestamp>,
    /// When it was parked.
    pub when: Timestamp,
}

/// A command could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The queue could not read or write.
    #[error("the queue failed")]
    Store(#[from] StoreError),
    /// The queue's thread did not answer in time, or has ended.
    #[error("the queue does not answer")]
    NoAnswer,
}

/// Who does commands: the running queue's handle, or the queue itself.
pub trait Desk {
    /// The state of the queue.
    ///
    /// # Errors
    /// When the queue does not answer.
    fn status(&mut self) -> Result<Stats, CommandError>;

    /// One slice; what it did is durable afterwards.
    ///
    /// # Errors
    /// When the queue does not answer, read or write.
    fn slice(&mut self, query: Query) -> Result<Page, CommandError>;

    /// Appends records; they are durable afterwards.
    ///
    /// # Errors
    /// When the queue does not answer or write.
    fn import(&mut self, entries: Vec<Entry>) -> Result<(), CommandError>;
}

/// Does a command, slice by slice.
///
/// # Errors
/// When a slice fails; earlier slices of [`Command::Act`] are done then.
pub fn ask(desk: &mut dyn Desk, command: Command) -> Result<Outcome, CommandError> {
    ask_while(&|| true, desk, command)
}

/// The same; [`Command::Act`] goes on to the next slice only while somebody wants it.
///
/// # Errors
/// As [`ask`].
pub fn ask_while(is_wanted: &dyn Fn() -> bool, desk: &mut dyn Desk, command: Command) -> Result<Outcome, CommandError> {
    match command {
        Command::List { select, from, max } => {
            let max = max.min(LIST_MAX);
            let mut all = Page { next: Some(from.unwrap_or(Position::Waiting(Seq(0)))), ..Page::default() };
            while let Some(from) = all.next
                && all.items.len() < max
            {
                let page = desk.slice(Query { select, from, max: max - all.items.len(), action: None })?;
                all.items.extend(page.items);
                all.next = page.next;
            }
            Ok(Outcome::Page(all))
        }
        Command::Act { action, select } => {
            let (mut records, mut skipped) = (0, Skipped::default());
            let (mut under_way, mut named) = (0, Vec::new());
            let mut next = Some(Position::Waiting(Seq(0)));
            // What an action appends is behind `head` and is not acted on again.
            let head = desk.status()?.head;
            while let Some(from) = next
                && is_wanted()
            {
                let page = desk.slice(Query { select, from, max: SLICE_RECORDS, action: Some(action.clone()) })?;
                records += page.acted;
                skipped.append(page.skipped);
                under_way += page.under_way;
                named.extend(page.named);
                named.truncate(NAMED_MAX);
                next = match page.next {
                    Some(Position::Waiting(seq)) if seq.0 > head => Some(Position::Parked(None)),
                    next => next,
                };
            }
            Ok(Outcome::Done { records, skipped, under_way, named, is_cut: next.is_some() })
        }
        Command::Import(entries) => import(desk, entries),
    }
}

fn import(desk: &mut dyn Desk, mut entries: Vec<Entry>) -> Result<Outcome, CommandError> {
    let mut skipped = Skipped::default();
    let mut next = Some(Position::Waiting(Seq(0)));
    while let Some(from) = next {
        let page = desk.slice(Query { select: Select::default(), from, max: SLICE_RECORDS, action: None })?;
        for item in page.items {
            let parked = item.parked.iter().map(|parked| parked.sink);
            let there = item.waiting.iter().map(|waiting| waiting.sink).chain(parked);
            let there = there.fold(SinkMask::NONE, SinkMask::with);
            for entry in entries.iter_mut().filter(|entry| entry.id == item.id) {
                for sink in entry.sinks.and(there).iter() {
                    entry.sinks = entry.sinks.without(sink);
                    skipped.add("in the queue already".to_owned());
                }
            }
        }
        next = page.next;
    }
    entries.retain(|entry| !entry.sinks.is_empty());
    let named: Vec<_> = entries.iter().map(|entry| entry.id).collect();
    let records = entries.iter().map(|entry| entry.sinks.iter().count() as u64).sum();
    if !entries.is_empty() {
        desk.import(entries)?;
    }
    Ok(Outcome::Done { records, skipped, under_way: 0, named, is_cut: false })
}

impl Queue {
    /// Does one slice of a command. What it appended and settled is durable after the next [`Queue::finish`].
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn slice(&mut self, query: &Query, now: Now) -> Result<Page, StoreError> {
        match query.from {
            Position::Waiting(from) => match query.select.state {
                Some(State::Parked) => Ok(Page { next: Some(Position::Parked(None)), ..Page::default() }),
                Some(State::Waiting) | None => self.slice_waiting(query, from.0, now),
            },
            Position::Parked(_) if query.select.state == Some(State::Waiting) => Ok(Page::default()),
            Position::Parked(after) => self.slice_parked(query, after, now),
        }
    }

    fn slice_waiting(&mut self, query: &Query, from: u64, now: Now) -> Result<Page, StoreError> {
        let end = Page { next: Some(Position::Parked(None)), ..Page::default() };
        let from = match query.select.pick {
            Some(Pick::Seq(seq)) if seq.0 < from => return Ok(end),
            Some(Pick::Seq(seq)) => seq.0,
            Some(Pick::Id(_)) | None => from,
        };
        let Some(index) = self.chain.index_from(from) else { return Ok(end) };
        let spool = self.chain.spool(index);
        let last = spool.bits.next();
        let open = self.sinks.iter().filter_map(|sink| spool.bits.next_open(sink.since(), from)).min();
        let Some(from) = open.filter(|_| !spool.is_set_aside()) else {
            return Ok(Page { next: Some(Position::Waiting(Seq(last))), ..Page::default() });
        };
        let single = matches!(query.select.pick, Some(Pick::Seq(_)));
        let count = if single { 1 } else { query.max.clamp(1, SLICE_RECORDS) };
        let batch = read_records(self.chain.database(index)?, from, last, count);
        let mut page = Page { next: Some(Position::Waiting(Seq(batch.next))), ..Page::default() };
        for record in batch.records {
            let wanted = query.select.picks(record.seq, record.id)
                && query.select.until.is_none_or(|(last, _)| record.seq <= last.0);
            let sinks = self.waiting_for(&record, query.select.sink);
            if !wanted || sinks.is_empty() {
                continue;
            }
            match &query.action {
                Some(action) => {
                    let lent = sinks.iter().filter(|sink| self.is_lent(*sink, record.seq)).count() as u64;
                    let acted = self.act_waiting(action, &record, sinks, now);
                    page.acted += acted;
                    page.under_way += if matches!(action, Action::Drop { .. }) { lent } else { 0 };
                    if acted > 0 {
                        page.named.push(record.id);
                    }
                }
                None => page.items.push(self.item(record, sinks, now)),
            }
            // A name is there once.
            if query.select.pick.is_some() {
                page.next = Some(Position::Parked(None));
                break;
            }
        }
        if single {
            page.next = Some(Position::Parked(None));
        }
        // Parked at once, so that no window reads a record in between.
        self.flush_parking(now);
        Ok(page)
    }

    fn is_lent(&self, sink: SinkNumber, seq: u64) -> bool {
        self.sinks.by_number(sink).is_some_and(|sink| sink.window().is_out(seq))
    }

    fn waiting_for(&self, record: &StoredRecord, only: Option<SinkNumber>) -> SinkMask {
        let Some(index) = self.chain.index_of(record.seq) else { return SinkMask::NONE };
        let all = self.sinks.waiting_for(record, &self.chain.spool(index).bits);
        only.map_or(all, |only| all.and(SinkMask::NONE.with(only)))
    }

    fn item(&self, record: StoredRecord, sinks: SinkMask, now: Now) -> Item {
        let state = |sink: SinkNumber| {
            let window = self.sinks.by_number(sink).map(Sink::window);
            let slot = window.and_then(|window| window.slot(record.seq));
            Waiting {
                sink,
                leased: window.is_some_and(|window| window.is_out(record.seq)),
                attempts: slot.map_or(0, |slot| slot.attempts),
                reason: slot.map_or_else(String::new, |slot| slot.reason.clone()),
                due_in: slot.and_then(|slot| slot.due).map(|due| due.since(now.mono)),
            }
        };
        Item {
            seq: Seq(record.seq),
            id: record.id,
            call: record.call,
            appended: super::window::made(record.id),
            waiting: sinks.iter().map(state).collect(),
            parked: None,
            body: record.body,
        }
    }

    fn act_waiting(&mut self, action: &Action, record: &StoredRecord, sinks: SinkMask, now: Now) -> u64 {
        let mut acted = 0;
        for sink in sinks.iter() {
            let Some(index) = self.sinks.index_of(sink) else { continue };
            let seq = record.seq;
            let done = match action {
                Action::Retry => self.sinks[index].window_mut().hurry(seq),
                Action::Drop { by } => {
                    let how = How::Dropped { by: Arc::clone(by), under_way: self.is_lent(sink, seq) };
                    let gone = Gone { seq, id: Some(record.id), bytes: record.body.len() };
                    self.leave(index, gone, now.mono, how)
                }
                Action::Park { reason } => {
                    let what = (record.id, record.call, record.body.clone());
                    self.park(index, seq, what, (reason, 0), now);
                    true
                }
            };
            acted += u64::from(done);
        }
        acted
    }

    fn slice_parked(
        &mut self,
        query: &Query,
        after: Option<(SinkNumber, RecordId)>,
        now: Now,
    ) -> Result<Page, StoreError> {
        self.flush_parking(now);
        if query.action.is_some() {
            self.flush_overtaken(now);
        }
        let max = query.max.clamp(1, SLICE_RECORDS);
        let found = self.parking.store().page(after, max)?;
        let next = found.last().filter(|_| found.len() == max).map(|last| Position::Parked(Some((last.sink, last.id))));
        let mut page = Page { next, ..Page::default() };
        let mut dropped = Vec::new();
        for parked in found {
            let wanted = query.select.sink.is_none_or(|sink| sink == parked.sink)
                && query.select.until.is_none_or(|(last, by)| parked.seq <= last.0 && parked.parked <= by)
                && query.select.picks(parked.seq, parked.id);
            match &query.action {
                _ if !wanted => {}
                None => page.items.push(parked_item(parked)),
                Some(Action::Drop { .. }) => dropped.push((parked.sink, parked.id)),
                Some(Action::Retry) if self.sinks.known().has(parked.sink) => match self.retry_refused(&parked) {
                    Some(reason) => page.skipped.add(reason),
                    None => {
                        let Parked { sink, id, seq, call, body, .. } = parked;
                        let (sinks, origin) = (SinkMask::NONE.with(sink), Origin::Again { was: seq });
                        self.building.push(Fresh { id, call, sinks, body, origin });
                        self.building.then(After::Unparked { sink, id });
                        page.acted += 1;
                        page.named.push(id);
                    }
                },
                Some(Action::Retry) => page.skipped.add("its sink is not known any more".to_owned()),
                Some(Action::Park { .. }) => {}
            }
        }
        for (sink, id, seq) in self.parking.store().remove(&dropped)? {
            page.acted += 1;
            page.named.push(id);
            self.sinks.count(sink, |balance| balance.dropped += 1);
            if let Some(Action::Drop { by }) = &query.action {
                let how = How::Dropped { by: Arc::clone(by), under_way: false };
                self.witness.note(|| Event::Ended { sink, seq, id: Some(id), attempts: 0, how });
            }
        }
        Ok(page)
    }

    /// Why a parked record must not go to its sink any more, or not now; `None` when it may.
    fn retry_refused(&self, parked: &Parked) -> Option<String> {
        if let Some(since) = parked.overtaken {
            return Some(overtaken_text(since));
        }
        let (kind, ..) = fact(parked.id, &parked.body)?;
        let window = self.sinks.by_number(parked.sink)?.window();
        let is_behind = window.may_be_unread(Order::of(parked.call, &parked.body), parked.call);
        // A Stop may go behind all that waits.
        (kind != Kind::Stop && is_behind)
            .then(|| "later records of its session wait in the backlog: try again when they have left".to_owned())
    }
}

fn parked_item(parked: Parked) -> Item {
    Item {
        seq: Seq(parked.seq),
        id: parked.id,
        call: parked.call,
        appended: super::window::made(parked.id),
        waiting: Vec::new(),
        parked: Some(ParkedState {
            sink: parked.sink,
            reason: parked.reason,
            code: parked.code,
            attempts: parked.attempts,
            first_tried: parked.first_tried,
            when: parked.parked,
        }),
        body: parked.body,
    }
}

/// Names that one answer gives of the records something was done with.
pub const NAMED_MAX: usize = 1_000;

/// Reasons for passing records over that one answer names.
const REASONS_MAX: usize = 16;

/// Records of one slice: about 1 ms between two commits.
const SLICE_RECORDS: usize = 256;

/// The most records of one answer.
pub const LIST_MAX: usize = 10_000;
