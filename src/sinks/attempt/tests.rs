//! A backend of rows in memory behind the sink, and a queue that lends again what comes back; in virtual time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant as Virtual, timeout, timeout_at};

use super::*;
use crate::clock;
use crate::queue::{Lease, Settlement};
use crate::record::Kind;
use crate::sinks::tests::record;
use crate::sinks::view::Board as _;
use crate::sinks::{Outcome, Sink as _};

/// A table with rows by the number of the record.
#[derive(Default)]
struct Table {
    rows: Vec<u64>,
    /// What came, with the mark of each record.
    batches: Vec<Vec<(u64, bool)>>,
    /// Answers to the next attempts, ahead of what follows.
    script: Vec<Turn>,
    /// Records that are refused, and the batch with them.
    refused: BTreeSet<u64>,
    /// Records on which the connection breaks, with nothing stored.
    deadly: BTreeSet<u64>,
    /// Records whose turn has not come, with how often that is said.
    locked: BTreeMap<u64, u32>,
    /// Attempts that were abandoned.
    abandoned: u32,
    closed: u32,
}

/// What happens instead of an answer.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Nobody is there.
    Down,
    /// As the backend said, for 90 s.
    Busy,
    Misfit,
    /// No answer comes.
    Hang,
    /// All is stored, then the connection breaks.
    StoreAndBreak,
    /// Nothing is stored, and the connection breaks.
    Break,
    /// All is stored, half of it is acknowledged, then the connection breaks.
    BreakHalfway,
    /// Half of it is stored and acknowledged, and the rest not sent: nobody is there any more.
    GoHalfway,
    /// The batch is refused, whatever is in it.
    Refuse,
}

impl Table {
    /// The answer to a batch, if one comes.
    fn answer(&mut self, batch: &[Entry<u64>]) -> Option<Answer> {
        self.batches.push(batch.iter().map(|entry| (entry.item, entry.may_be_there)).collect());
        let turn = if self.script.is_empty() { None } else { Some(self.script.remove(0)) };
        let unknown = || Answer::Unknown { reason: "broken".to_owned() };
        match turn {
            Some(Turn::Down) => return Some(Answer::Down { reason: "nobody listens".to_owned(), after: None }),
            Some(Turn::Busy) => {
                return Some(Answer::Down { reason: "too busy".to_owned(), after: Some(Duration::from_secs(90)) });
            }
            Some(Turn::Misfit) => return Some(Answer::Misfit { reason: "no such table".to_owned() }),
            Some(Turn::Hang) => return None,
            Some(Turn::Break) => return Some(unknown()),
            Some(Turn::Refuse) => return Some(Answer::Refused { reason: "no".to_owned(), code: 7 }),
            Some(Turn::StoreAndBreak | Turn::BreakHalfway | Turn::GoHalfway) | None => {}
        }
        if batch.iter().any(|entry| self.deadly.contains(&entry.item)) {
            return Some(unknown());
        }
        if batch.iter().any(|entry| self.refused.contains(&entry.item)) {
            return Some(Answer::Refused { reason: "bad value".to_owned(), code: 1366 });
        }
        let mut fates = Vec::new();
        for (number, entry) in batch.iter().enumerate() {
            if matches!(turn, Some(Turn::GoHalfway)) && number >= batch.len() / 2 {
                fates.push(Fate::Unsent { reason: "nobody is there".to_owned() });
                continue;
            }
            if let Some(times) = self.locked.get_mut(&entry.item).filter(|times| **times > 0) {
                *times -= 1;
                fates.push(Fate::Retry { reason: "locked".to_owned() });
                continue;
            }
            if !(entry.may_be_there && self.rows.contains(&entry.item)) {
                self.rows.push(entry.item);
            }
            fates.push(Fate::Delivered);
        }
        Some(match turn {
            Some(Turn::BreakHalfway) => {
                let broken = |fate: &mut Fate| *fate = Fate::Unknown { reason: "broken".to_owned() };
                fates[batch.len() / 2..].iter_mut().for_each(broken);
                Answer::Each(fates)
            }
            Some(Turn::GoHalfway) => Answer::Each(fates),
            Some(_) => unknown(),
            None if fates.iter().all(|fate| *fate == Fate::Delivered) => Answer::Delivered,
            None => Answer::Each(fates),
        })
    }
}

type Shared = Rc<RefCell<Table>>;

/// A connection to the table, with a guard against what is there already if it may be.
struct Connection(Shared);

/// An answer takes that long.
const LATENCY: Duration = Duration::from_millis(5);

impl Attempt for Connection {
    const KIND: &'static str = "table";
    type Item = u64;

    fn backend(&self) -> String {
        "table".to_owned()
    }

    fn octets(_item: &u64) -> usize {
        10
    }

    fn describe(item: &u64) -> Message {
        Message { title: format!("row {item}"), ..Message::default() }
    }

    async fn attempt(&mut self, batch: &[Entry<u64>]) -> Answer {
        let _passed = timeout(LATENCY, pending::<()>()).await;
        let answer = self.0.borrow_mut().answer(batch);
        match answer {
            Some(answer) => answer,
            None => pending().await,
        }
    }

    fn abandon(&mut self) {
        self.0.borrow_mut().abandoned += 1;
    }

    async fn close(&mut self) {
        self.0.borrow_mut().closed += 1;
    }

    async fn rehearse(&mut self, batch: &[Entry<u64>]) -> Answer {
        let answer = self.attempt(batch).await;
        self.0.borrow_mut().rows.clear();
        answer
    }

    async fn reach(&mut self) -> Result<(), String> {
        if self.0.borrow().script.is_empty() { Ok(()) } else { Err("nobody listens".to_owned()) }
    }
}

/// The item of a record is the number in its CSeq; 0 cannot be written, and Event is not wanted.
fn render(record: &Record) -> Result<Option<u64>, String> {
    match (record.cseq, record.kind) {
        (0, _) => Err("there is no row 0".to_owned()),
        (_, Kind::Event) => Ok(None),
        (number, _) => Ok(Some(number.into())),
    }
}

/// The sink, its table, and what is lent.
struct Bench {
    sink: Attempts<Connection>,
    table: Shared,
    due: Vec<(Virtual, Lease, Record)>,
    out: BTreeMap<u64, (Lease, Record)>,
    ended: BTreeMap<u64, Settlement>,
    /// Reasons for which records came back.
    reasons: Vec<(u64, String)>,
    begin: Virtual,
}

fn settings() -> Settings {
    Settings { batch_max: 8, ..Settings::default() }
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let table = Shared::default();
        let sink = Attempts::new("test", settings, Box::new(render), Connection(Rc::clone(&table)), Seq(0));
        Self {
            sink,
            table,
            due: Vec::new(),
            out: BTreeMap::new(),
            ended: BTreeMap::new(),
            reasons: Vec::new(),
            begin: Virtual::now(),
        }
    }

    fn table(&self) -> std::cell::RefMut<'_, Table> {
        self.table.borrow_mut()
    }

    /// A record of a session of its own.
    fn append(&mut self, number: u32) {
        self.append_of(number, Kind::Start, &format!("session {number}"));
    }

    fn append_of(&mut self, number: u32, kind: Kind, session: &str) {
        self.append_aged(number, kind, session, Duration::ZERO);
    }

    fn append_aged(&mut self, number: u32, kind: Kind, session: &str, age: Duration) {
        let record = Record { cseq: number, session: session.to_owned(), ..record(kind) };
        let mut appended = clock::wall();
        appended.0 -= i64::try_from(age.as_micros()).expect("it fits");
        let lease = Lease {
            seq: Seq(u64::from(number) + 100),
            id: record.id,
            call: CallHash(1),
            attempts: 0,
            first_tried: None,
            appended,
            body: Bytes::new(),
        };
        self.due.push((Virtual::now(), lease, record));
    }

    /// Lends what is due, in order, as far as there is room.
    fn lend(&mut self) {
        let now = Virtual::now();
        self.due.sort_by_key(|(_, lease, _)| lease.seq);
        let mut room = self.sink.capacity();
        let mut later = Vec::new();
        for (at, mut lease, record) in std::mem::take(&mut self.due) {
            if at > now || room == 0 {
                later.push((at, lease, record));
                continue;
            }
            room -= 1;
            self.sink.submit(&lease, &record);
            lease.first_tried = Some(lease.appended);
            self.out.insert(lease.seq.0, (lease, record));
        }
        self.due = later;
    }

    /// One turn: until the sink has news, or something is due.
    async fn turn(&mut self) {
        self.lend();
        let now = Virtual::now();
        let mut outcomes = Vec::new();
        match self.due.iter().map(|(at, ..)| *at).filter(|at| *at > now).min() {
            Some(at) => drop(timeout_at(at, self.sink.progress(&mut outcomes)).await),
            None => self.sink.progress(&mut outcomes).await,
        }
        for outcome in outcomes {
            self.settle(outcome);
        }
    }

    fn settle(&mut self, Outcome { seq, settlement }: Outcome) {
        let (mut lease, record) = self.out.remove(&seq.0).expect("only what was submitted ends, and once");
        let number = seq.0 - 100;
        match settlement {
            Settlement::Delivered | Settlement::DeliveredBy(_) | Settlement::Park { .. } => {
                self.ended.insert(number, settlement);
            }
            Settlement::Withdrawn => panic!("a sink withdraws nothing"),
            Settlement::Retry { after, reason } => {
                lease.attempts += 1;
                self.reasons.push((number, reason));
                self.due.push((Virtual::now() + after, lease, record));
            }
            Settlement::Defer { after, reason } => {
                self.reasons.push((number, reason));
                self.due.push((Virtual::now() + after, lease, record));
            }
        }
    }

    /// Runs until all has ended; gives the seconds it took.
    async fn run(&mut self) -> u64 {
        let all = async {
            while !self.due.is_empty() || !self.out.is_empty() {
                self.turn().await;
            }
        };
        timeout(Duration::from_secs(86_400), all).await.expect("all end within a day");
        self.begin.elapsed().as_secs()
    }

    /// The numbers of the parked, with reasons and codes.
    fn parked(&self) -> Vec<(u64, String, u32)> {
        let parked = |(number, how): (&u64, &Settlement)| match how {
            Settlement::Park { reason, code } => Some((*number, reason.clone(), *code)),
            _ => None,
        };
        self.ended.iter().filter_map(parked).collect()
    }

    /// Every record but the parked ones has one row.
    fn assert_rows(&self, name: &str) {
        let mut rows = self.table.borrow().rows.clone();
        rows.sort_unstable();
        let delivered = self.ended.iter().filter(|(_, how)| **how == Settlement::Delivered);
        let want: Vec<u64> = delivered.map(|(number, _)| *number).collect();
        assert_eq!(rows, want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_each_record_has_one_row_or_is_parked() {
    use Turn::{Break, BreakHalfway, Busy, Down, GoHalfway, Hang, Misfit, Refuse, StoreAndBreak};
    for (name, script, refused, deadly, parked, secs) in [
        ("nothing happens", vec![], vec![], vec![], vec![], 0..1),
        ("nobody is there for three attempts", vec![Down; 3], vec![], vec![], vec![], 6..9),
        ("a backend says when it has time", vec![Busy], vec![], vec![], vec![], 90..91),
        ("a table is missing", vec![Misfit; 2], vec![], vec![], vec![], 108..133),
        ("an answer is lost", vec![StoreAndBreak], vec![], vec![], vec![], 0..2),
        ("some are acknowledged before the connection breaks", vec![BreakHalfway; 3], vec![], vec![], vec![], 2..4),
        ("it goes away in the middle of a batch", vec![GoHalfway; 3], vec![], vec![], vec![], 2..6),
        ("a batch is lost", vec![Break], vec![], vec![], vec![], 0..2),
        ("an answer is lost, and that to the repeat", vec![StoreAndBreak; 2], vec![], vec![], vec![], 2..4),
        ("the backend hangs", vec![Hang, Hang], vec![], vec![], vec![], 22..24),
        ("it breaks and stays away for a while", vec![StoreAndBreak, Down, Down, Down], vec![], vec![], vec![], 13..18),
        ("one is refused", vec![], vec![5], vec![], vec![5], 0..1),
        ("the first and the last are refused", vec![], vec![1, 20], vec![], vec![1, 20], 0..1),
        ("neighbours are refused", vec![], vec![3, 4, 5], vec![], vec![3, 4, 5], 0..1),
        ("a batch is refused once for no reason", vec![Refuse], vec![], vec![], vec![], 0..1),
        ("one is refused while the backend comes and goes", vec![Refuse, Down, Hang], vec![6], vec![], vec![6], 12..15),
        ("the connection breaks on one", vec![], vec![], vec![11], vec![11], 5..30),
        ("the connection breaks on the first", vec![], vec![], vec![1], vec![1], 5..30),
        ("the connection breaks on two", vec![], vec![], vec![4, 17], vec![4, 17], 5..60),
        ("one is refused, and the connection breaks on another", vec![], vec![2], vec![3], vec![2, 3], 5..30),
    ] {
        let mut bench = Bench::new(settings());
        (bench.table().script, bench.table().refused) = (script, refused.into_iter().collect());
        bench.table().deadly = deadly.into_iter().collect();
        // Enough that others are delivered between two breaks to the end.
        (1..=60).for_each(|number| bench.append(number));
        let took = bench.run().await;
        assert_eq!(bench.parked().iter().map(|(number, ..)| *number).collect::<Vec<_>>(), parked, "{name}");
        bench.assert_rows(name);
        assert!(secs.contains(&took), "{name}: {took} s");
    }
}

#[tokio::test(start_paused = true)]
async fn reasons_of_the_parked_say_what_the_backend_said() {
    let mut bench = Bench::new(settings());
    (bench.table().refused, bench.table().deadly) = ([2].into(), [5].into());
    (0..=40).for_each(|number| bench.append(number));
    bench.run().await;
    let want = [
        (0, "there is no row 0".to_owned(), 0),
        (2, "bad value".to_owned(), 1366),
        (5, "broken, 3 times behind this record alone".to_owned(), 0),
    ];
    assert_eq!(bench.parked(), want);
}

#[tokio::test(start_paused = true)]
async fn batches_are_as_large_as_they_may_be_and_in_order() {
    for (name, settings, want) in [
        ("by records", settings(), vec![8, 8, 4]),
        ("by octets", Settings { batch_octets_max: 70, ..settings() }, vec![7, 7, 6]),
        ("one that is too large goes alone", Settings { batch_octets_max: 9, ..settings() }, vec![1; 20]),
    ] {
        let mut bench = Bench::new(settings);
        (1..=20).for_each(|number| bench.append(number));
        // Lent at once, so that no turn cuts a batch.
        bench.lend();
        bench.lend();
        bench.run().await;
        let sizes: Vec<_> = bench.table().batches.iter().map(Vec::len).collect();
        assert_eq!(sizes, want, "{name}");
        assert_eq!(bench.table().rows, (1..=20).collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn records_of_a_session_keep_their_order_whatever_happens() {
    use Turn::{Break, Down, Hang, StoreAndBreak};
    for (name, script, locked, deadly) in [
        ("nothing happens", vec![], vec![], vec![]),
        ("the first is locked twice", vec![], vec![(1, 2)], vec![]),
        ("the second is locked", vec![], vec![(2, 3)], vec![]),
        ("an outage", vec![Down, Down], vec![], vec![]),
        ("the connection breaks and the backend hangs", vec![StoreAndBreak, Hang, Break], vec![(1, 1)], vec![]),
        ("one of another session is deadly", vec![], vec![(2, 1)], vec![10]),
    ] {
        let mut bench = Bench::new(settings());
        bench.table().script = script;
        (bench.table().locked, bench.table().deadly) = (locked.into_iter().collect(), deadly.into_iter().collect());
        for (number, kind) in [(1, Kind::Start), (2, Kind::Interim), (3, Kind::Interim), (4, Kind::Stop)] {
            bench.append_of(number, kind, "one");
        }
        (10..=50).for_each(|number| bench.append(number));
        bench.run().await;
        let rows: Vec<u64> = bench.table().rows.iter().copied().filter(|row| *row < 10).collect();
        assert_eq!(rows, [1, 2, 3, 4], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn facts_of_their_own_share_a_batch_with_their_session() {
    let mut bench = Bench::new(settings());
    bench.append_of(1, Kind::Start, "one");
    bench.append_of(2, Kind::Missed, "one");
    bench.append_of(3, Kind::Failed, "one");
    bench.append_of(4, Kind::Stop, "one");
    // Not wanted by the backend: it ends without an attempt.
    bench.append_of(5, Kind::Event, "one");
    bench.run().await;
    let batches = bench.table().batches.clone();
    assert_eq!(batches, [vec![(1, false), (2, false), (3, false)], vec![(4, false)]]);
    assert_eq!(bench.ended.get(&5), Some(&Settlement::Delivered));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_told_which_records_may_be_there() {
    let mut bench = Bench::new(settings());
    bench.sink = Attempts::new("test", settings(), Box::new(render), Connection(Rc::clone(&bench.table)), Seq(102));
    bench.table().script = vec![Turn::StoreAndBreak, Turn::Down];
    (1..=4).for_each(|number| bench.append(number));
    bench.run().await;
    let batches = bench.table().batches.clone();
    // The first two lay in the queue when this sink was made; what had no answer may be there, too.
    let first = vec![(1, true), (2, true), (3, false), (4, false)];
    let repeat: Vec<_> = (1..=4).map(|number| (number, true)).collect();
    assert_eq!(batches, [first, repeat.clone(), repeat]);
    bench.assert_rows("the guard holds");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_hours_parks_nothing_and_is_no_storm() {
    for (name, turn) in [("nobody is there", Turn::Down), ("nothing answers", Turn::Hang), ("breaks", Turn::Break)] {
        let mut bench = Bench::new(settings());
        bench.table().script = vec![turn; 120];
        for number in 1..=40 {
            bench.append_aged(number, Kind::Start, &number.to_string(), Duration::from_secs(7_200));
        }
        let took = bench.run().await;
        assert_eq!((bench.parked(), bench.ended.len()), (vec![], 40), "{name}");
        bench.assert_rows(name);
        assert!(took > 6_000, "{name}: 120 attempts took {took} s only");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_never_works_parks_by_attempts_and_age() {
    for (name, age, parks) in [("an old one", 7_200, true), ("a young one", 0, false)] {
        let mut bench = Bench::new(settings());
        bench.table().locked = [(1, 25)].into();
        bench.append_aged(1, Kind::Start, "one", Duration::from_secs(age));
        bench.append(2);
        bench.run().await;
        let tries = bench.table().batches.iter().flatten().filter(|(number, _)| *number == 1).count();
        let want = if parks { vec![(1, "locked, at attempt 10".to_owned(), 0)] } else { vec![] };
        assert_eq!((bench.parked(), tries), (want, if parks { 10 } else { 26 }), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_refuses_everything_is_left_alone() {
    let mut bench = Bench::new(settings());
    bench.table().refused = (1..=200).collect();
    (1..=100).for_each(|number| bench.append(number));
    let until = async {
        loop {
            bench.turn().await;
        }
    };
    let _an_hour = timeout(Duration::from_secs(3_600), until).await;
    assert_eq!(bench.parked().len(), 20, "then no more");
    let attempts = bench.table().batches.len();
    assert!(attempts < 150, "{attempts} attempts in an hour");
    let told = bench.reasons.iter().filter(|(_, reason)| reason.ends_with("so that it is not parked")).count();
    assert!(told > 50, "{told}");
    assert_eq!(bench.sink.board().views()[0].state, "down");
    bench.table().refused.clear();
    bench.run().await;
    bench.assert_rows("the rest is delivered");
}

#[tokio::test(start_paused = true)]
async fn a_future_dropped_at_any_time_loses_nothing() {
    let mut bench = Bench::new(settings());
    (bench.table().script, bench.table().refused) = (vec![Turn::StoreAndBreak, Turn::Down], [3].into());
    (1..=20).for_each(|number| bench.append(number));
    let steps = async {
        while bench.ended.len() < 20 {
            // Now and then dropped in the middle of an attempt, or of a pause.
            let _dropped = timeout(Duration::from_millis(2), bench.turn()).await;
        }
    };
    timeout(Duration::from_secs(3_600), steps).await.expect("it ends");
    bench.assert_rows("dropped");
    assert_eq!((bench.table().abandoned, bench.parked().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_abandoned() {
    let mut bench = Bench::new(settings());
    bench.table().script = vec![Turn::Hang];
    bench.append(1);
    bench.run().await;
    assert_eq!(bench.table().abandoned, 1);
    assert_eq!(bench.table().batches, [[(1, false)], [(1, true)]]);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_the_attempt_under_way_but_not_for_ever() {
    for (name, script, settled) in [("an answer", vec![], 1), ("no answer", vec![Turn::Hang], 0)] {
        let mut bench = Bench::new(settings());
        bench.table().script = script;
        bench.append(1);
        let _begun = timeout(Duration::from_millis(1), bench.turn()).await;
        let mut outcomes = Vec::new();
        timeout(CLOSE_TIME_MAX * 2, bench.sink.close(&mut outcomes)).await.expect("it ends");
        assert_eq!((outcomes.len(), bench.table().closed as usize), (settled, settled), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn status_tells_how_the_backend_is() {
    let mut bench = Bench::new(settings());
    let board = bench.sink.board();
    let state = || board.views().remove(0);
    assert_eq!((state().state, state().window), ("new", 8));
    bench.table().script = vec![Turn::Misfit, Turn::Down];
    bench.append(1);
    bench.turn().await;
    assert_eq!((state().state, state().note.as_deref()), ("misfit", Some("no such table")));
    assert_eq!(bench.sink.capacity(), 0, "while it is left alone");
    bench.turn().await;
    assert_eq!(bench.sink.capacity(), 1, "one that shows whether it is back");
    bench.turn().await;
    assert_eq!((state().state, state().note.as_deref()), ("down", Some("nobody listens")));
    bench.run().await;
    let view = state();
    assert_eq!((view.server.as_str(), view.state, view.note, view.in_flight), ("table", "up", None, 0));
    assert!(view.round_trip.is_some());
    let counts: Vec<_> = view.counts.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counts, [("delivered", 1), ("down", 1), ("misfit", 1)]);
    assert_eq!(bench.sink.capacity(), 16);
}

#[tokio::test(start_paused = true)]
async fn a_test_record_is_tried_and_taken_back() {
    use crate::sinks::trial::Wanted;
    let wanted = |kind| Wanted { kind, attributes: Vec::new(), wait: Duration::from_secs(5) };
    for (name, kind, script, refused, want, answers) in [
        ("stored", Kind::Stop, vec![], vec![], "acknowledged", 1),
        ("refused", Kind::Stop, vec![], vec![1], "parked", 1),
        ("nobody is there", Kind::Stop, vec![Turn::Down], vec![], "retry", 1),
        ("silence", Kind::Stop, vec![Turn::Hang], vec![], "undecided", 0),
    ] {
        let table = Shared::default();
        (table.borrow_mut().script, table.borrow_mut().refused) = (script, refused.into_iter().collect());
        let connection = Connection(Rc::clone(&table));
        let trial = trial::send(Box::new(render), connection, &wanted(kind)).await.expect("it can be sent");
        assert_eq!((trial.verdict.name(), trial.exchanges[0].answers.len()), (want, answers), "{name}");
        assert_eq!((trial.exchanges[0].request.title.as_str(), table.borrow().rows.len()), ("row 1", 0), "{name}");
        assert_eq!(table.borrow().closed, 1, "{name}");
    }
    let table = Shared::default();
    let unwanted = trial::send(Box::new(render), Connection(Rc::clone(&table)), &wanted(Kind::Event)).await;
    assert!(unwanted.is_err() && table.borrow().batches.is_empty());
    assert_eq!(
        trial::ask(Connection(Rc::clone(&table)), Duration::from_secs(1)).await,
        [("table".to_owned(), Ok(vec![]))]
    );
    table.borrow_mut().script = vec![Turn::Down];
    let there = trial::ask(Connection(table), Duration::from_secs(1)).await;
    assert_eq!(there, [("table".to_owned(), Err("nobody listens".to_owned()))]);
}
