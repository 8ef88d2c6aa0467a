//! Queue, worker and RADIUS sink without the SIP side: records go in, a real server gets them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tollgate::clock::{self, Timestamp};
use tollgate::ids::{CallHash, RecordId, RecordIds, SinkMask, SinkNumber};
use tollgate::queue::{self, Query, SinkStats, Started};
use tollgate::radius::Secret;
use tollgate::radius::client::{MessageAuthenticator, ServerSettings};
use tollgate::record::{Cause, Commit, End, Entry, Fields, Kind, Party, Record, Times, Value, codec};
use tollgate::sinks::radius::{Board, FieldMapping, RadiusSink, Settings};
use tollgate::sinks::worker::Bell;
use tollgate::sinks::{Sink, Worker};

use crate::support::{try_wait_for, wait_for};

/// Queue, worker and sink in a folder of their own; `B` shows the sink's servers.
pub struct Line<B = Board> {
    _folder: TempDir,
    /// The queue.
    pub queue: Started,
    sink: SinkNumber,
    /// The states of the sink's servers.
    pub board: B,
    ids: RecordIds,
    end: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Settings of an impatient sink, with these ports of 127.0.0.1 as its servers.
pub fn settings(ports: &[u16]) -> Settings {
    let server = |port: &u16| ServerSettings {
        address: SocketAddr::from(([127, 0, 0, 1], *port)),
        secret: Secret::new("testing123"),
        message_authenticator: MessageAuthenticator::Omit,
    };
    let mut settings = Settings::default();
    settings.client.servers = ports.iter().map(server).collect();
    settings.client.initial_timeout = Duration::from_millis(400);
    settings.client.max_timeout = Duration::from_millis(800);
    settings.client.transmissions = 2;
    settings.client.response_window = Duration::from_secs(2);
    settings.client.probe_interval = Duration::from_millis(100);
    settings.client.retry_first = Duration::from_millis(50);
    settings.client.retry_max = Duration::from_millis(200);
    settings.client.attempts_max = 3;
    settings.client.park_age_min = Duration::from_millis(500);
    settings.client.last_answer_wait = Duration::from_secs(1);
    settings.nas_address = Some([192, 0, 2, 1].into());
    settings.fields = vec![FieldMapping::new("user", "User-Name"), FieldMapping::new("callee", "Called-Station-Id")];
    settings
}

impl Line {
    /// Starts all three, with a RADIUS sink.
    pub fn start(settings: Settings) -> Self {
        Self::of(move || {
            let sink = RadiusSink::new("test", &settings).unwrap();
            let board = sink.board();
            (sink, board)
        })
    }
}

impl<B: Send + 'static> Line<B> {
    /// Starts all three, with the sink that is made on the thread of the worker; it is called `test`.
    pub fn of<S: Sink + 'static>(make: impl FnOnce() -> (S, B) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plan = queue::Settings {
            path: folder.path().join("queue"),
            free_min: 0,
            reserve_bytes: 0,
            collapsing: vec!["test".into()],
            ..queue::Settings::default()
        };
        let queue = queue::spawn(plan, &["test".into()], &mut || {}).unwrap();
        let sink = queue.sinks[0].1;
        let (end, ended) = watch::channel(false);
        let (tell, told) = std::sync::mpsc::channel();
        let handle = queue.handle.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (made, board) = make();
                tell.send(board).unwrap();
                let bell = Bell::default();
                let consumer = handle.consumer(sink, bell.wake());
                let mut ended = ended;
                let stop = async move { drop(ended.wait_for(|ended| *ended).await) };
                Worker::new("test", made, consumer, bell).run(stop).await;
            });
        });
        let board = told.recv().unwrap();
        Self { _folder: folder, queue, sink, board, ids: RecordIds::new(7), end, thread: Some(thread) }
    }

    /// Appends records together, each a call of its own unless `call` says otherwise.
    pub fn append(&mut self, records: Vec<(Record, CallHash)>) -> Vec<RecordId> {
        self.append_at(u64::try_from(clock::wall().0 / 1000).unwrap(), records)
    }

    /// The same with ids that follow from `seed` and the time.
    pub fn append_as(&mut self, seed: u128, now: u64, records: Vec<(Record, CallHash)>) -> Vec<RecordId> {
        self.ids = RecordIds::new(seed);
        self.append_at(now, records)
    }

    fn append_at(&mut self, now: u64, records: Vec<(Record, CallHash)>) -> Vec<RecordId> {
        let mut ids = Vec::new();
        let entries = records
            .into_iter()
            .map(|(record, call)| {
                let record = Record { id: self.ids.next(now), ..record };
                ids.push(record.id);
                Entry { id: record.id, call, sinks: SinkMask::NONE.with(self.sink), body: codec::encode(&record) }
            })
            .collect();
        let mut producer = self.queue.handle.producer(Arc::new(|| ()));
        producer.append(1, Commit { entries, calls: Vec::new() }).unwrap();
        wait_for("the commit", || {
            let mut receipts = Vec::new();
            producer.receipts(&mut receipts);
            receipts.pop().map(|(_, receipt)| receipt.unwrap())
        });
        ids
    }

    /// Appends a record of a call of its own.
    pub fn append_one(&mut self, record: Record) -> RecordId {
        let call = CallHash::of(&record.call_id);
        self.append(vec![(record, call)])[0]
    }

    /// How the sink's records stand.
    pub fn stats(&self) -> SinkStats {
        let stats = self.queue.handle.stats();
        assert!(stats.balanced(), "{:?}", stats.sinks);
        stats.sinks[0].clone()
    }

    /// Waits until so many were delivered.
    pub fn delivered(&self, count: u64) {
        let done = try_wait_for(|| (self.stats().balance.delivered >= count).then_some(()));
        assert!(done.is_some(), "{count} deliveries: {:?}", self.stats());
    }

    /// Waits until so many are parked, in the numbers too, which the queue tells later; their ids with reasons.
    pub fn parked(&mut self, count: usize) -> Vec<(RecordId, String)> {
        wait_for("the number of parked records", || (self.stats().parked_now >= count as u64).then_some(()));
        let handle = &mut self.queue.handle;
        wait_for("parked records", || {
            let select = queue::Select { state: Some(queue::State::Parked), ..queue::Select::default() };
            let query = Query { select, from: queue::Position::Parked(None), max: 100, action: None };
            let page = queue::Desk::slice(handle, query).unwrap();
            let parked = page.items.iter().filter_map(|item| Some((item.id, item.parked.as_ref()?.reason.clone())));
            let parked: Vec<_> = parked.collect();
            (parked.len() >= count).then_some(parked)
        })
    }
}

impl<B> Drop for Line<B> {
    fn drop(&mut self) {
        let _gone = self.end.send(true);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
        self.queue.handle.stop();
    }
}

/// A text value.
pub fn text(value: impl Into<Vec<u8>>) -> Value {
    Value::Text(value.into())
}

/// A field with a text value.
pub fn field(name: &str, value: impl Into<Vec<u8>>) -> (String, Value) {
    (name.to_owned(), text(value))
}

/// A record of the call `number`; its id comes when it is appended.
pub fn record(kind: Kind, number: u64, fields: Fields) -> Record {
    let at = |secs: i64| Timestamp((1_700_000_000 + secs) * 1_000_000);
    let is_end = kind == Kind::Stop;
    Record {
        id: RecordId(0),
        kind,
        method: if is_end { b"BYE".to_vec() } else { b"INVITE".to_vec() },
        from_tag: b"alice".to_vec(),
        to_tag: b"bob".to_vec(),
        call_id: format!("call-{number}@example.com").into_bytes(),
        cseq: 1,
        code: 200,
        reason: b"OK".to_vec(),
        in_dialog: is_end,
        session: format!("{number:032x}"),
        multi_session: String::new(),
        times: Times {
            event: at(if is_end { 65 } else { 4 }),
            created: at(0),
            answered: Some(at(4)),
            ended: is_end.then(|| at(65)),
            setup: Some(Duration::from_secs(4)),
            duration: is_end.then(|| Duration::from_secs(61)),
            acknowledged: None,
        },
        end: is_end.then_some(End { by: Party::Caller, cause: Cause::Bye }),
        fields,
        legs: Vec::new(),
        table: None,
        number: None,
        shortened: false,
        facts: tollgate::record::Facts::new(),
    }
}

/// The Stop of a call of which nothing else is known: no times, no end, no fields.
pub fn bare_stop() -> Record {
    Record {
        from_tag: b"a".to_vec(),
        to_tag: b"b".to_vec(),
        cseq: 2,
        session: "0".repeat(32),
        multi_session: "1".repeat(32),
        times: Times::default(),
        end: None,
        ..record(Kind::Stop, 0, Fields::new())
    }
}

/// A record with a user.
pub fn of_user(kind: Kind, number: u64, user: &str) -> Record {
    record(kind, number, vec![field("user", user)])
}
