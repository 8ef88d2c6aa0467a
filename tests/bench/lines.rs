//! Records a second through the sinks that write lines, from one delivery thread: `cargo bench --bench lines -- [records]`.
//!
//! The whole sink works, from the encoded record to its settlement; leases come from memory. Files lie in
//! `TOLLGATE_BENCH_DIR`, else in a temporary folder; receivers of syslog are threads that throw away what they read.

#![allow(clippy::disallowed_methods, reason = "a bench is alone in its process")]

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tollgate::clock::Timestamp;
use tollgate::ids::{RecordId, Seq};
use tollgate::queue::{Lease, Settlement};
use tollgate::record::{Cause, End, Kind, LegOrder, Party, Record, Times, Value, codec};
use tollgate::sinks::attempt::{self, Attempts};
use tollgate::sinks::file::line::{Column, Format, Layout as Table};
use tollgate::sinks::file::writer::{self, Sync};
use tollgate::sinks::file::{self, FileAttempt};
use tollgate::sinks::mapping::{Round, Source};
use tollgate::sinks::profile::{Clock, From, Profile};
use tollgate::sinks::syslog::frame::{Format as Header5424, Header};
use tollgate::sinks::syslog::line::{Escape, Layout};
use tollgate::sinks::syslog::link::{Link, Receiver};
use tollgate::sinks::syslog::{self, OCTETS_MAX};
use tollgate::sinks::worker::Bell;
use tollgate::sinks::{Leases, Sink, Worker};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FIELDS: [&str; 5] = ["account", "caller", "callee", "src_ip", "user_agent"];

fn record(number: u64) -> Record {
    let at = |millis: i64| Timestamp(1_700_000_000_000_000 + millis * 1000);
    let texts = ["alice@atlanta.example.com", "alice", "bob", "192.0.2.17", "Deskphone/4.2 (rev. 7, \"b\")"];
    let value = |(name, text): (&str, &str)| (name.to_owned(), Value::Text(text.into()));
    Record {
        id: RecordId(0x018b_cfe5_6800_0000_0000_0000_0000_0000 + u128::from(number)),
        kind: Kind::Cdr,
        method: b"INVITE".to_vec(),
        from_tag: b"a73kszlfl".to_vec(),
        to_tag: b"1928301774".to_vec(),
        call_id: format!("{number:08x}-7dec-11d0-a765-00a0c91e6bf6@192.0.2.4").into_bytes(),
        cseq: 2,
        code: 200,
        reason: b"OK".to_vec(),
        in_dialog: true,
        session: format!("{number:032x}"),
        multi_session: format!("{number:032x}"),
        number: None,
        times: Times {
            event: at(65_500),
            created: at(0),
            answered: Some(at(4_000)),
            acknowledged: Some(at(4_100)),
            ended: Some(at(65_500)),
            setup: Some(Duration::from_secs(4)),
            duration: Some(Duration::from_millis(61_500)),
        },
        end: Some(End { by: Party::Caller, cause: Cause::Bye }),
        fields: FIELDS.into_iter().zip(texts).map(value).collect(),
        legs: vec![vec![value(("src", "sip:alice@atlanta.example.com")), value(("dst", "sip:bob@192.0.2.9"))]],
        table: None,
        shortened: false,
        facts: tollgate::record::Facts::new(),
    }
}

/// Lends so many records, and says when all are settled.
struct Feed {
    bodies: Vec<(RecordId, Bytes)>,
    wake: Arc<dyn Fn() + Send + std::marker::Sync>,
    done: Arc<Notify>,
    room: usize,
    lent: u64,
    settled: u64,
    records: u64,
}

impl Leases for Feed {
    fn leased(&mut self, out: &mut Vec<Lease>) {
        let count = (self.room as u64).min(self.records - self.lent);
        for _ in 0..count {
            let (id, body) = &self.bodies[self.lent as usize % self.bodies.len()];
            self.lent += 1;
            out.push(Lease {
                seq: Seq(self.lent),
                id: *id,
                call: tollgate::ids::CallHash::of(&self.lent.to_be_bytes()),
                body: body.clone(),
                attempts: 0,
                first_tried: None,
                appended: Timestamp(1_700_000_000_000_000),
            });
        }
        self.room -= count as usize;
    }

    fn tell(&mut self, settled: &mut Vec<(Seq, Settlement)>, room: Option<usize>) {
        for (_, settlement) in settled.drain(..) {
            assert_eq!(settlement, Settlement::Delivered);
            self.settled += 1;
        }
        if self.settled == self.records {
            self.done.notify_one();
        }
        if let Some(room) = room {
            self.room = room;
            (self.wake)();
        }
    }
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn run<S: Sink + 'static>(name: &str, records: u64, sink: impl FnOnce() -> S) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it can be built");
    let bodies = (0..4096).map(|number| (record(number).id, codec::encode(&record(number)).into())).collect();
    let (bell, done) = (Bell::default(), Arc::new(Notify::new()));
    let feed = Feed { bodies, wake: bell.wake(), done: Arc::clone(&done), room: 0, lent: 0, settled: 0, records };
    let (begin, used) = (Instant::now(), cpu());
    let worker = async { Worker::new(name, sink(), feed, bell).run(async move { done.notified().await }).await };
    runtime.block_on(worker);
    let (took, used) = (begin.elapsed().as_secs_f64(), (cpu() - used).as_secs_f64());
    let count = records as f64;
    println!("{name:<40} {:>9.0} records/s {:>6.2} µs of CPU a record", count / took, used * 1e6 / count);
}

fn files(dir: &Path, format: Format, sync: Sync) -> Attempts<FileAttempt> {
    let column = |name: &str, source: Source| Column { name: name.to_owned(), source: Some(source) };
    let named = |name: &str| column(name, Source::named(name, &FIELDS, &["src", "dst"]).expect("it is known"));
    let names = ["record_id", "event", "call_id", "code", "duration_s", "cause", "leg.src", "leg.dst"];
    let columns = names.iter().chain(&FIELDS).map(|name| named(name)).collect();
    let layout = Table { format, columns, ..Table::default() };
    let header = Some(layout.header());
    let file = writer::Settings { sync, header, ..writer::Settings::new(dir.join(format!("{format:?}-{sync:?}"))) };
    let settings = file::Settings { layout, file, batch_max: 500 };
    let attempt = FileAttempt::new("bench", &settings).expect("a thread can be made");
    Attempts::new("bench", settings.attempts(), settings.render(), attempt, Seq(0))
}

fn lines(receiver: Receiver) -> Attempts<Link> {
    let same = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect();
    let layout = Layout {
        profile: Profile::Kamailio,
        escape: Escape::None,
        level: 5,
        fields: same(&FIELDS),
        leg_fields: same(&["src", "dst"]),
        leg_order: LegOrder::NewestFirst,
        round: Round::Up,
        id_label: Some("id".to_owned()),
        rows: Profile::Kamailio.system().lines.rows(0),
        time: 0,
        clock: Clock::new(jiff::tz::TimeZone::UTC),
        cdr_start: From::Answered,
    };
    let format = if receiver.is_stream() { Header5424::Rfc5424 } else { Header5424::Rfc3164 };
    let header = Header { priority: 29, identity: "kamailio".to_owned(), host: String::new() };
    let link = Link::new(receiver.clone());
    let settings = syslog::Settings { receiver, format, header, layout, octets_max: OCTETS_MAX };
    Attempts::new("bench", attempt::Settings::default(), settings.render(), link, Seq(0))
}

fn main() {
    let records = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(200_000);
    let own = tempfile::tempdir().expect("a folder can be made");
    let dir = std::env::var_os("TOLLGATE_BENCH_DIR").map_or_else(|| own.path().to_owned(), PathBuf::from);
    run("file, CSV, on the disk", records, || files(&dir, Format::Csv, Sync::Batch));
    run("file, CSV, not forced to the disk", records, || files(&dir, Format::Csv, Sync::Never));
    run("file, JSON, on the disk", records, || files(&dir, Format::Json, Sync::Batch));
    let socket = own.path().join("log");
    let taken = UnixDatagram::bind(&socket).expect("a socket can be made");
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while taken.recv(&mut buffer).is_ok() {}
    });
    run("syslog, local socket", records, || lines(Receiver::Local(socket.clone())));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        let (mut stream, mut buffer) = (listener.accept().expect("one comes").0, [0; 65_536]);
        while stream.read(&mut buffer).is_ok_and(|octets| octets > 0) {}
    });
    run("syslog, TCP", records, || lines(Receiver::Tcp("127.0.0.1".to_owned(), port)));
}
