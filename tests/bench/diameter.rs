//! Delivery of Accounting-Requests from one thread: against a trivial responder on loopback, and against freeDiameter.
//!
//!   cargo bench --bench diameter
//!
//! Prints requests per second with a window of 256, and the time from a record's submission to its outcome at 1,000
//! records a second. Nothing here fails because a machine is slow.

#![allow(clippy::disallowed_methods, reason = "a bench is alone in its process")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate::clock::{self, Timestamp};
use tollgate::diameter::avp::Writer;
use tollgate::diameter::header::{self, Header};
use tollgate::diameter::{code, result};
use tollgate::ids::{CallHash, RecordId, Seq};
use tollgate::queue::{Lease, Settlement};
use tollgate::record::{Kind, Record, Times};
use tollgate::sinks::Sink as _;
use tollgate::sinks::diameter::DiameterSink;
use tollgate::sinks::diameter::settings::{PeerSettings, Settings};

const RECORDS: u64 = 200_000;
const PACED: u64 = 5_000;
const PACE: Duration = Duration::from_millis(1);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let port = responder();
    runtime.block_on(async {
        let mut sink = sink(port);
        rate("trivial responder", &mut sink, RECORDS).await;
        latency("trivial responder", &mut sink).await;
    });
    let folder = tempfile::tempdir().expect("a folder");
    let Some((mut server, port)) = free_diameter(folder.path()) else {
        return println!("freeDiameter is not installed: left out");
    };
    runtime.block_on(async {
        let mut sink = sink(port);
        rate("freeDiameter", &mut sink, RECORDS / 4).await;
        latency("freeDiameter", &mut sink).await;
    });
    drop(server.kill());
    drop(server.wait());
}

fn sink(port: u16) -> DiameterSink {
    let mut settings = Settings::new("gw.test.example", "test.example", "test.example");
    let host = "127.0.0.1".to_owned();
    let peer = PeerSettings { host, port, identity: None, priority: 0, weight: 1, realms: Vec::new() };
    settings.peers.push(peer);
    DiameterSink::new("bench", &settings, 1, Seq(0)).expect("the settings are good")
}

/// As many as the window takes, until all are acknowledged.
async fn rate(name: &str, sink: &mut DiameterSink, count: u64) {
    let record = record();
    let (mut next, mut done, mut out) = (1, 0, Vec::new());
    while sink.capacity() == 0 {
        sink.progress(&mut out).await;
    }
    let (begin, cpu) = (Instant::now(), cpu());
    while done < count {
        for _ in 0..sink.capacity() {
            if next > count {
                break;
            }
            sink.submit(&lease(next), &record);
            next += 1;
        }
        sink.progress(&mut out).await;
        done += delivered(&mut out);
    }
    let secs = begin.elapsed().as_secs_f64();
    let (rate, cpu) = (count as f64 / secs, (cpu_after(cpu)).as_secs_f64() * 1e6 / count as f64);
    println!("{name}: {count} records, window 256: {rate:.0} ACR/s, {cpu:.1} µs CPU each on the delivery thread");
}

/// One record a millisecond.
async fn latency(name: &str, sink: &mut DiameterSink) {
    let record = record();
    let mut ticks = tokio::time::interval(PACE);
    let (mut out, mut times, mut sent) = (Vec::new(), Vec::new(), std::collections::HashMap::new());
    for number in 0..PACED {
        loop {
            tokio::select! {
                _ = ticks.tick() => break,
                () = sink.progress(&mut out) => {
                    for outcome in out.drain(..) {
                        let begin: Instant = sent.remove(&outcome.seq).expect("submitted");
                        times.push(begin.elapsed());
                    }
                }
            }
        }
        let seq = 10_000_000 + number;
        sent.insert(Seq(seq), Instant::now());
        sink.submit(&lease(seq), &record);
    }
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 1000];
    println!("{name}: 1000 records/s: p50 {:?}, p99 {:?}, p99.9 {:?}", at(500), at(990), at(999));
}

fn delivered(out: &mut Vec<tollgate::sinks::Outcome>) -> u64 {
    let count = out.len() as u64;
    for outcome in out.drain(..) {
        assert_eq!(outcome.settlement, Settlement::Delivered);
    }
    count
}

/// CPU time of this thread so far.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn cpu_after(before: Duration) -> Duration {
    cpu().saturating_sub(before)
}

fn lease(seq: u64) -> Lease {
    Lease {
        seq: Seq(seq),
        id: RecordId(u128::from(seq)),
        call: CallHash(seq),
        attempts: 0,
        first_tried: None,
        appended: clock::wall(),
        body: Bytes::new(),
    }
}

fn record() -> Record {
    let at = Timestamp(1_700_000_000_000_000);
    Record {
        id: RecordId(1 << 70 | 7),
        kind: Kind::Start,
        method: b"INVITE".to_vec(),
        from_tag: b"9fxced76sl".to_vec(),
        to_tag: b"8321234356".to_vec(),
        call_id: b"3848276298220188511@atlanta.example.com".to_vec(),
        cseq: 1,
        code: 200,
        reason: b"OK".to_vec(),
        in_dialog: false,
        session: format!("{:032x}", 7),
        multi_session: format!("{:032x}", 8),
        times: Times { event: at, created: at, answered: Some(at), ..Times::default() },
        end: None,
        fields: vec![("user".into(), tollgate::record::Value::Text(b"alice@example.com".to_vec()))],
        legs: Vec::new(),
        table: None,
        number: None,
        shortened: false,
        facts: tollgate::record::Facts::new(),
    }
}

/// A server on a thread of its own that answers everything with 2001 and reads nothing of it.
fn responder() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(respond(stream)));
        }
    });
    port
}

fn respond(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output, mut chunk) = (Vec::new(), Vec::new(), vec![0; 65_536]);
    loop {
        let octets = stream.read(&mut chunk)?;
        if octets == 0 {
            return Ok(());
        }
        input.extend_from_slice(&chunk[..octets]);
        let mut start = 0;
        while let Ok(Some(octets)) = header::frame(&input[start..], 65_536) {
            let asked = Header::read(&input[start..]).map_err(std::io::Error::other)?;
            start += octets;
            if asked.is_request() {
                let answer = |avps: &mut Writer<'_>| {
                    avps.u32(code::RESULT_CODE, 0, 0x40, result::SUCCESS);
                    avps.avp(code::ORIGIN_HOST, 0, 0x40, b"acct.test.example");
                    avps.avp(code::ORIGIN_REALM, 0, 0x40, b"test.example");
                    avps.u32(code::ACCT_APPLICATION_ID, 0, 0x40, 3);
                };
                header::message(&mut output, &asked.answer(), answer).map_err(std::io::Error::other)?;
            }
        }
        input.drain(..start);
        stream.write_all(&output)?;
        output.clear();
    }
}

/// A real one that records nothing.
fn free_diameter(folder: &Path) -> Option<(Child, u16)> {
    if !Path::new("/usr/bin/freeDiameterd").exists() || !Path::new("/usr/include/freeDiameter/extension.h").exists() {
        return None;
    }
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).ok()?.port();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freediameter/run.sh");
    let mut command = Command::new(script);
    command.arg(port.to_string()).arg(folder).env("DUMP", "0x1111").env("ACCT_SINK_QUIET", "1");
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Some((child, port))
}
