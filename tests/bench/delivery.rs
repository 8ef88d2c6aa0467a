//! Delivery from the queue to a RADIUS server by one thread: `cargo bench --bench delivery -- [options]`.
//!
//! ```text
//! --records N        records that wait when the delivery begins; default 200000
//! --live N           records of new calls a second meanwhile; default 200
//! --server ADDRESS   a real server with the secret `testing123`, such as one of tests/freeradius/run.sh;
//!                    default: a thread that answers whatever comes
//! --resident         fills the queue in this process, so that nothing has to be read through first
//! --outage SECONDS   two responders instead of one, both killed when a tenth of the records has come, and started again
//!                    at their addresses after this long; they note what they answer, and the summary says how many
//!                    records never came and how many came more than once. How long 20000 records take from the first
//!                    answer on is said too
//! --offload          with segmentation offload
//! ```
//!
//! Prints a line a second and a summary: records a second, CPU of the delivery thread, memory, and how long records of
//! new calls took from their commit to their settlement. The queue is filled by another process, which then ends, so
//! that the memory is that of a gateway started on a backlog. `TOLLGATE_BENCH_DIR` names the directory for its files.

#![allow(clippy::disallowed_methods, reason = "a bench is alone in its process")]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tollgate::clock::{self, Timestamp};
use tollgate::ids::{CallHash, RecordId, RecordIds, Seq, SinkMask, SinkNumber};
use tollgate::names::VENDOR_NUMBER;
use tollgate::queue::{self, Consumer, Handle, Lease, Queue, Settlement};
use tollgate::radius::client::{MessageAuthenticator, ServerSettings, ServerStatus};
use tollgate::radius::packet::{self, Code};
use tollgate::radius::{Secret, authenticator};
use tollgate::record::{Cause, Commit, End, Entry, Kind, Party, Record, Times, Value, codec};
use tollgate::sinks::radius::{Board, RadiusSink, Settings};
use tollgate::sinks::worker::Bell;
use tollgate::sinks::{Leases, Worker};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECRET: &str = "testing123";
const SINK: SinkNumber = SinkNumber(0);
/// Age of the backlog, by which its records are told from the live ones.
const BACKLOG_AGE: Duration = Duration::from_secs(3600);
/// Record of one commit while the queue is filled.
const FILL: u64 = 4096;
/// Records after an outage whose time is told.
const MANY: u64 = 20_000;
/// Longest wait for the last records before they are counted as lost.
const LAST_WAIT: Duration = Duration::from_secs(60);

struct Options {
    records: u64,
    live: u64,
    server: Option<SocketAddr>,
    resident: bool,
    outage: Option<Duration>,
    offload: bool,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Self {
        let mut options =
            Self { records: 200_000, live: 200, server: None, resident: false, outage: None, offload: false };
        while let Some(word) = words.next() {
            let mut number = || words.next().and_then(|text| text.parse().ok()).expect("a number");
            match word.as_str() {
                "--records" => options.records = number(),
                "--live" => options.live = number(),
                "--server" => {
                    options.server = Some(words.next().and_then(|text| text.parse().ok()).expect("an address"));
                }
                "--resident" => options.resident = true,
                "--offload" => options.offload = true,
                "--outage" => options.outage = Some(Duration::from_secs(number())),
                // Cargo says it.
                "--bench" => {}
                other => panic!("what is {other}?"),
            }
        }
        options
    }
}

fn record(id: RecordId, number: u64, kind: Kind) -> Record {
    let at = |millis: i64| Timestamp(1_700_000_000_000_000 + millis * 1000);
    let is_end = kind == Kind::Stop;
    Record {
        id,
        kind,
        method: if is_end { b"BYE".to_vec() } else { b"INVITE".to_vec() },
        from_tag: b"a73kszlfl".to_vec(),
        to_tag: b"1928301774".to_vec(),
        call_id: format!("{number:08x}-7dec-11d0-a765-00a0c91e6bf6@192.0.2.4").into_bytes(),
        cseq: 2,
        code: 200,
        reason: b"OK".to_vec(),
        in_dialog: is_end,
        session: format!("{number:032x}"),
        multi_session: "fedcba9876543210fedcba9876543210".to_owned(),
        times: Times {
            event: at(65_500),
            created: at(0),
            answered: Some(at(4_000)),
            acknowledged: Some(at(4_100)),
            ended: is_end.then(|| at(65_500)),
            setup: Some(Duration::from_secs(4)),
            duration: is_end.then(|| Duration::from_millis(61_500)),
        },
        end: is_end.then_some(End { by: Party::Caller, cause: Cause::Bye }),
        fields: ["src_ip", "caller", "callee", "ua"]
            .map(|name| (name.to_owned(), Value::Text(b"sip:alice@atlanta.example.com".to_vec())))
            .to_vec(),
        legs: Vec::new(),
        table: None,
        number: None,
        shortened: false,
        facts: tollgate::record::Facts::new(),
    }
}

/// Half of the records are Starts, the other half their Stops.
fn entry(ids: &mut RecordIds, wall_ms: u64, number: u64, first_call: u64) -> Entry {
    let id = ids.next(wall_ms);
    let kind = if number.is_multiple_of(2) { Kind::Start } else { Kind::Stop };
    let call = first_call + number / 2;
    let body = codec::encode(&record(id, call, kind));
    Entry { id, call: CallHash::of(&call.to_be_bytes()), sinks: SinkMask::NONE.with(SINK), body }
}

fn wall_ms() -> u64 {
    u64::try_from(clock::wall().0 / 1000).expect("it is after 1970")
}

fn settings(path: &Path) -> queue::Settings {
    queue::Settings { path: path.to_owned(), reserve_bytes: 0, free_min: 0, ..queue::Settings::default() }
}

fn fill(path: &Path, records: u64) {
    let opened = Queue::open(settings(path), &["radius".to_owned()], clock::now, &mut || {}).expect("it opens");
    let mut queue = opened.queue;
    let (mut ids, made) = (RecordIds::new(1), wall_ms() - BACKLOG_AGE.as_millis() as u64);
    for begin in (0..records).step_by(FILL as usize) {
        let entries = (begin..records.min(begin + FILL)).map(|number| entry(&mut ids, made, number, 0)).collect();
        queue.add(Commit { entries, calls: Vec::new() }).expect("the bench stays under the limits");
        queue.finish(clock::now).expect("the disk takes it");
        queue.tick(clock::now());
    }
    queue.close(clock::now).expect("the disk takes the rest");
}

/// Record ids that responders answered, and how often; only noted for an outage, for it takes memory.
type Came = Option<Arc<Mutex<HashMap<Box<[u8]>, u32>>>>;

/// A thread that answers whatever comes, until it is killed.
struct Responder {
    address: SocketAddr,
    killed: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Responder {
    /// On a port of its own, or where one was killed.
    fn start(address: Option<SocketAddr>, came: &Came) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
        socket.set_recv_buffer_size(4 << 20).expect("a buffer");
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a time");
        let address = address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        socket.bind(&address.into()).expect("loopback has the port");
        let socket = UdpSocket::from(socket);
        let address = socket.local_addr().expect("it is bound");
        let (killed, came) = (Arc::new(AtomicBool::new(false)), came.clone());
        let end = Arc::clone(&killed);
        let serve = move || {
            let (secret, mut buffer, mut reply) = (Secret::new(SECRET), [0; 4096], Vec::new());
            // Killed, it leaves unanswered what its socket holds.
            while !end.load(Ordering::Relaxed) {
                let Ok((octets, from)) = socket.recv_from(&mut buffer) else { continue };
                if let (Some(came), Some(id)) = (&came, record_id(&buffer[..octets])) {
                    *came.lock().expect("no panic").entry(id.into()).or_default() += 1;
                }
                packet::begin(&mut reply, Code::ACCOUNTING_RESPONSE, buffer[1]);
                packet::finish(&mut reply).expect("20 octets fit");
                let request: [u8; 16] = buffer[4..20].try_into().expect("16 octets");
                authenticator::sign_response(&mut reply, &request, &secret);
                let _sent = socket.send_to(&reply, from);
            }
        };
        let thread = thread::Builder::new().name("responder".into()).spawn(serve).expect("a thread");
        Self { address, killed, thread }
    }

    /// Its socket is closed when this returns; gives its address.
    fn kill(self) -> SocketAddr {
        self.killed.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic");
        self.address
    }
}

/// The Tollgate-Record-Id of an Accounting-Request; a probe has none.
fn record_id(datagram: &[u8]) -> Option<&[u8]> {
    let mut head = VENDOR_NUMBER.to_be_bytes().to_vec();
    head.push(1);
    let mut attributes = packet::Attributes::of(datagram.get(packet::HEADER_OCTETS..)?);
    attributes.find_map(|attribute| {
        let rest = attribute.value.strip_prefix(&*head).filter(|_| attribute.number == 26)?;
        rest.get(1..)
    })
}

/// Kills both responders when `at` records are settled, and starts them again after `outage`; gives what is to be said.
fn outage(mut responders: Vec<Responder>, came: &Came, settled: &AtomicU64, at: u64, outage: Duration) {
    while settled.load(Ordering::Relaxed) < at {
        thread::park_timeout(Duration::from_millis(1));
    }
    let addresses: Vec<_> = responders.drain(..).map(Responder::kill).collect();
    let (down, begin) = (settled.load(Ordering::Relaxed), Instant::now());
    println!("both servers are down after {down} records");
    while begin.elapsed() < outage {
        thread::park_timeout(outage - begin.elapsed().min(outage));
    }
    let meanwhile = settled.load(Ordering::Relaxed) - down;
    println!("both servers are up again, {meanwhile} records settled meanwhile");
    let again: Vec<_> = addresses.into_iter().map(|address| Responder::start(Some(address), came)).collect();
    let up = Instant::now();
    let before = settled.load(Ordering::Relaxed);
    while settled.load(Ordering::Relaxed) == before {
        thread::park_timeout(Duration::from_millis(1));
    }
    println!("the first record settled {:.2} s after they were up", up.elapsed().as_secs_f64());
    let first = Instant::now();
    while settled.load(Ordering::Relaxed) < before + MANY {
        thread::park_timeout(Duration::from_millis(1));
    }
    println!("{MANY} records settled {:.2} s after that", first.elapsed().as_secs_f64());
    drop(again);
}

/// The queue's consumer, with a watch on the live records.
struct Watched {
    consumer: Consumer,
    young: HashMap<Seq, Timestamp>,
    waits: Arc<Mutex<Vec<Duration>>>,
    settled: Arc<AtomicU64>,
}

impl Leases for Watched {
    fn leased(&mut self, out: &mut Vec<Lease>) {
        let before = out.len();
        self.consumer.leased(out);
        let now = clock::wall();
        for lease in &out[before..] {
            if now.since(lease.appended) < BACKLOG_AGE / 2 {
                self.young.insert(lease.seq, lease.appended);
            }
        }
    }

    fn tell(&mut self, settled: &mut Vec<(Seq, Settlement)>, room: Option<usize>) {
        for (seq, _) in settled.iter().filter(|(_, settlement)| *settlement == Settlement::Delivered) {
            self.settled.fetch_add(1, Ordering::Relaxed);
            if let Some(since) = self.young.remove(seq) {
                self.waits.lock().expect("no panic").push(clock::wall().since(since));
            }
        }
        self.consumer.tell(settled, room);
    }
}

/// Appends records of new calls evenly until told to end; gives how many.
fn live(handle: &Handle, per_second: u64, end: &AtomicBool) -> u64 {
    let mut producer = handle.producer(Arc::new(|| {}));
    let (mut ids, begin, mut sent, mut receipts) = (RecordIds::new(2), Instant::now(), 0, Vec::new());
    while !end.load(Ordering::Relaxed) {
        let due = begin.elapsed().as_micros() as u64 * per_second / 1_000_000;
        while sent < due {
            // Starts only: each is the first record of its call.
            let mut entry = entry(&mut ids, wall_ms(), 0, 1 << 40 | sent);
            entry.call = CallHash::of(&entry.id.to_bytes());
            producer.append(sent, Commit { entries: vec![entry], calls: Vec::new() }).expect("there is room");
            sent += 1;
        }
        producer.receipts(&mut receipts);
        receipts.clear();
        thread::park_timeout(Duration::from_millis(2));
    }
    sent
}

/// Resident memory in MiB: now and at most.
fn memory() -> [f64; 2] {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    ["VmRSS:", "VmHWM:"].map(|key| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    })
}

/// Memory in small pages, as the gateway has it unless `service.huge_pages` says otherwise: the allocator takes it in pieces
/// of some MiB, which would all count.
fn small_pages() {
    let (off, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: it changes a flag of this process.
    let done = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, off, none, none, none) };
    assert_eq!(done, 0, "the kernel has that switch");
}

/// CPU seconds of the threads so far, by name.
fn cpu() -> HashMap<String, f64> {
    let mut sums = HashMap::new();
    for task in std::fs::read_dir("/proc/self/task").expect("Linux tells its threads").flatten() {
        let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let nanos: f64 = read("schedstat").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        *sums.entry(read("comm").trim().to_owned()).or_default() += nanos / 1e9;
    }
    sums
}

fn sink_settings(options: &Options, servers: impl Iterator<Item = SocketAddr>) -> Settings {
    let mut settings = Settings { segmentation_offload: options.offload, ..Settings::default() };
    let server = |address| ServerSettings {
        address,
        secret: Secret::new(SECRET),
        message_authenticator: MessageAuthenticator::Omit,
    };
    settings.client.servers = servers.map(server).collect();
    settings
}

fn deliver(leases: Watched, bell: Bell, settings: Settings, end: &Arc<tokio::sync::Notify>) -> Board {
    let end = Arc::clone(end);
    let (tell, told) = std::sync::mpsc::channel();
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let sink = RadiusSink::new("bench", &settings).expect("the settings are good");
            tell.send(sink.board()).expect("it is waited for");
            Worker::new("bench", sink, leases, bell).run(end.notified()).await;
        });
    };
    thread::Builder::new().name("delivery".into()).spawn(body).expect("a thread");
    told.recv().expect("the sink stands")
}

/// What the client makes of its servers, for a line.
fn state(board: &Board) -> String {
    let one = |status: &ServerStatus| {
        let round_trip = status.round_trip.unwrap_or_default().as_secs_f64() * 1e3;
        let (window, again, health) = (status.window, status.counters.retransmissions, status.health.name());
        format!("{health}, window {window:>3}, round trip {round_trip:>5.1} ms, {again} sent again")
    };
    board.servers().iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Whether each of all records came, and how often.
fn tally(came: &HashMap<Box<[u8]>, u32>, all: u64, handle: &Handle) -> String {
    let doubled = came.values().filter(|times| **times > 1).count();
    let lost = all.saturating_sub(came.len() as u64);
    let balance = &handle.stats().sinks[0].balance;
    let (delivered, parked) = (balance.delivered, balance.parked);
    format!("{all} records: {lost} lost, {doubled} doubled, {delivered} delivered, {parked} parked")
}

fn main() {
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if_eq("fill").is_some() {
        let path = PathBuf::from(words.next().expect("a path"));
        return fill(&path, words.next().and_then(|text| text.parse().ok()).expect("a number"));
    }
    let options = Options::read(words);
    small_pages();
    let parent = std::env::var_os("TOLLGATE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent).expect("the directory for the bench is writable");
    let path = directory.path().join("queue");
    if options.resident {
        fill(&path, options.records);
    } else {
        let own = std::env::current_exe().expect("this program has a path");
        let filled = Command::new(own).arg("fill").arg(&path).arg(options.records.to_string()).status();
        assert!(filled.expect("it starts").success(), "the queue is filled");
    }
    let came = options.outage.map(|_| Arc::default());
    let count = if options.outage.is_some() { 2 } else { 1 };
    let count = if options.server.is_some() { 0 } else { count };
    let responders: Vec<_> = (0..count).map(|_| Responder::start(None, &came)).collect();
    let opening = Instant::now();
    let started = queue::spawn(settings(&path), &["radius".to_owned()], &mut || {}).expect("the queue opens");
    println!("{} records wait, opened in {:.1} s", started.report.waiting, opening.elapsed().as_secs_f64());
    run(&options, responders, &came, &started.handle);
    started.handle.stop();
    started.join.join().expect("the thread does not panic").expect("the disk takes the rest");
}

fn run(options: &Options, responders: Vec<Responder>, came: &Came, handle: &Handle) {
    let servers = responders.iter().map(|responder| responder.address).chain(options.server);
    let settings = sink_settings(options, servers);
    let bell = Bell::default();
    let consumer = handle.consumer(SINK, bell.wake());
    let (waits, settled) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
    let leases = Watched { consumer, young: HashMap::new(), waits: Arc::clone(&waits), settled: Arc::clone(&settled) };
    let (end_delivery, end_live) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicBool::new(false)));
    let (begin, cpu_before) = (Instant::now(), cpu());
    let board = deliver(leases, bell, settings, &end_delivery);
    let producer = {
        let (handle, end, per_second) = (handle.clone(), Arc::clone(&end_live), options.live);
        thread::spawn(move || live(&handle, per_second, &end))
    };
    if let Some(span) = options.outage {
        let (came, settled, at) = (came.clone(), Arc::clone(&settled), options.records / 10);
        thread::spawn(move || outage(responders, &came, &settled, at, span));
    }
    let (mut before, mut seconds) = (0, 0);
    let drained = |settled: u64, elapsed: Duration| settled >= options.records + elapsed.as_secs() * options.live;
    while !drained(settled.load(Ordering::Relaxed), begin.elapsed()) && seconds < 600 {
        thread::park_timeout(Duration::from_millis(50));
        if begin.elapsed().as_secs() > seconds {
            seconds += 1;
            let now = settled.load(Ordering::Relaxed);
            println!("{seconds:>4} s {:>7} records/s, {:>5.0} MiB, {}", now - before, memory()[0], state(&board));
            before = now;
        }
    }
    let (took, total) = (begin.elapsed().as_secs_f64(), settled.load(Ordering::Relaxed) as f64);
    let cpu_after = cpu();
    end_live.store(true, Ordering::Relaxed);
    let sent = producer.join().expect("no panic");
    let all = options.records + sent;
    let patience = Instant::now();
    while settled.load(Ordering::Relaxed) < all && patience.elapsed() < LAST_WAIT {
        thread::park_timeout(Duration::from_millis(10));
    }
    end_delivery.notify_one();
    let mut names: Vec<_> =
        cpu_after.iter().map(|(name, secs)| (name, secs - cpu_before.get(name).unwrap_or(&0.0))).collect();
    names.sort_by(|a, b| b.1.total_cmp(&a.1));
    let cpu: Vec<_> = names.iter().map(|(name, secs)| format!("{name} {:.1}", secs * 1e6 / total)).collect();
    let mut waits = std::mem::take(&mut *waits.lock().expect("no panic"));
    waits.sort_unstable();
    let at = |share: usize| waits.get(waits.len() * share / 100).or(waits.last()).map_or(0, Duration::as_millis);
    println!(
        "{:.0} records/s over {took:.1} s; CPU µs a record: {}; memory at most {:.0} MiB; balanced {}",
        total / took,
        cpu.join(", "),
        memory()[1],
        handle.stats().balanced(),
    );
    println!("{}", state(&board));
    if let Some(came) = came {
        println!("{}", tally(&came.lock().expect("no panic"), all, handle));
    }
    let late = waits.iter().filter(|wait| **wait > Duration::from_secs(1)).count();
    let (p50, p99, longest) = (at(50), at(99), at(100));
    println!(
        "live: {sent} records, {} settled; p50 {p50} ms, p99 {p99} ms, longest {longest} ms; {late} took over 1 s",
        waits.len(),
    );
}
