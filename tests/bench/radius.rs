//! What one record costs: rendering, encoding and signing, verifying the answer, and the whole way over loopback.

use std::hint::black_box;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tollgate::clock::{self, Instant, Now, Timestamp};
use tollgate::ids::{CallHash, RecordId, Seq};
use tollgate::queue::Lease;
use tollgate::radius::client::{
    Client, Input, LaneId, MessageAuthenticator, Output, ServerIndex, ServerSettings, Settings as ClientSettings,
    Submission,
};
use tollgate::radius::packet::{self, Code, Packet};
use tollgate::radius::{Secret, authenticator};
use tollgate::record::{Cause, End, Kind, Party, Record, Times, Value, codec};
use tollgate::sinks::Sink;
use tollgate::sinks::radius::{RadiusSink, Renderer, Settings};

const SECRET: &str = "testing123";
/// Records in one round over loopback.
const ROUND: u64 = 64;

fn record() -> Record {
    let at = |millis: i64| Timestamp(1_700_000_000_000_000 + millis * 1000);
    Record {
        id: RecordId(0x018b_cfe5_6800_0000_0000_0000_0000_0001),
        kind: Kind::Stop,
        method: b"BYE".to_vec(),
        from_tag: b"a73kszlfl".to_vec(),
        to_tag: b"1928301774".to_vec(),
        call_id: b"f81d4fae-7dec-11d0-a765-00a0c91e6bf6@192.0.2.4".to_vec(),
        cseq: 2,
        code: 200,
        reason: b"OK".to_vec(),
        in_dialog: true,
        session: "0123456789abcdef0123456789abcdef".to_owned(),
        multi_session: "fedcba9876543210fedcba9876543210".to_owned(),
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

fn client_settings(address: SocketAddr) -> ClientSettings {
    let server =
        ServerSettings { address, secret: Secret::new(SECRET), message_authenticator: MessageAuthenticator::Omit };
    ClientSettings { servers: vec![server], ..ClientSettings::default() }
}

fn answer(request: &[u8], out: &mut Vec<u8>, secret: &Secret) {
    packet::begin(out, Code::ACCOUNTING_RESPONSE, request[1]);
    packet::finish(out).expect("20 octets fit");
    let request = request.first_chunk::<20>().and_then(|head| head.last_chunk::<16>()).expect("a header came");
    authenticator::sign_response(out, request, secret);
}

fn pure(c: &mut Criterion) {
    let record = record();
    let body = codec::encode(&record);
    let mut renderer = Renderer::new(&Settings::default(), [127, 0, 0, 1].into()).expect("the defaults are good");
    let attributes = renderer.render(&record).0.to_vec();
    println!("{} octets of attributes in {} attributes", attributes.len(), packet::Attributes::of(&attributes).count());
    let mut group = c.benchmark_group("radius");
    group.throughput(Throughput::Elements(1));
    group.bench_function("decode the record", |b| b.iter(|| codec::decode(black_box(&body))));
    group.bench_function("render", |b| b.iter(|| renderer.render(black_box(&record)).0.len()));
    let secret = Secret::new(SECRET);
    let mut octets = Vec::new();
    group.bench_function("encode and sign", |b| {
        b.iter(|| {
            packet::begin(&mut octets, Code::ACCOUNTING_REQUEST, 7);
            octets.extend_from_slice(black_box(&attributes));
            packet::finish(&mut octets).expect("it fits");
            authenticator::sign_request(&mut octets, &secret)
        });
    });
    let mut reply = Vec::new();
    answer(&octets, &mut reply, &secret);
    let request = Packet::parse(&octets).expect("it is a packet").authenticator();
    group.bench_function("verify an answer", |b| {
        b.iter(|| {
            let packet = Packet::parse(black_box(&reply)).expect("it is a packet");
            authenticator::is_response_authentic(&packet, &request, &secret)
        });
    });
    group.bench_function("machine: submit, sign, answer, settle", |b| {
        let mut now = Now { mono: Instant(1), wall: Timestamp(1) };
        let mut client = Client::new(now.mono, client_settings(([127, 0, 0, 1], 1).into()), [1, 2]);
        let (mut out, server, lane) = (Vec::new(), ServerIndex(0), LaneId(1));
        client.tick(now, &mut out);
        client.handle(now, Input::LaneOpened { server, lane }, &mut out);
        out.clear();
        b.iter(|| {
            now = now.after(Duration::from_micros(50));
            let submission = Submission {
                key: Seq(1),
                part: 0,
                attributes: &attributes,
                since: now.wall,
                attempts: 0,
                call: CallHash(1),
            };
            client.handle(now, Input::Submit(submission), &mut out);
            let Some(Output::Transmit { datagram, .. }) = out.pop() else { panic!("nothing was sent") };
            answer(&datagram, &mut reply, &secret);
            client.handle(now, Input::Received { server, lane, datagram: &reply }, &mut out);
            out.clear();
        });
    });
    group.finish();
}

/// CPU time this thread has used, in nanoseconds.
fn thread_cpu() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// The delivery thread's CPU time of a record: decode, render, sign, send, receive, verify.
fn loopback(c: &mut Criterion) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
    let address = socket.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (secret, mut buffer, mut reply) = (Secret::new(SECRET), [0; 4096], Vec::new());
        while let Ok((octets, from)) = socket.recv_from(&mut buffer) {
            answer(&buffer[..octets], &mut reply, &secret);
            let _sent = socket.send_to(&reply, from);
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let settings = Settings { client: client_settings(address), ..Settings::default() };
    let mut sink = runtime.block_on(async { RadiusSink::new("bench", &settings) }).expect("the settings are good");
    let body = Bytes::from(codec::encode(&record()));
    let mut deliver = |count: u64| {
        runtime.block_on(async {
            let (mut submitted, mut outcomes, mut ended) = (0, Vec::new(), 0);
            while ended < count {
                let room = (sink.capacity() as u64).min(count - submitted);
                for seq in 0..room {
                    let record = codec::decode(&body).expect("it is whole");
                    sink.submit(&lease(seq, &body), &record);
                }
                submitted += room;
                sink.progress(&mut outcomes).await;
                ended += outcomes.len() as u64;
                outcomes.clear();
            }
        });
    };
    deliver(2000);
    let mut group = c.benchmark_group("radius");
    group.throughput(Throughput::Elements(ROUND));
    group.bench_function("64 records over loopback, CPU of the delivery thread", |b| {
        b.iter_custom(|rounds| {
            let before = thread_cpu();
            (0..rounds).for_each(|_| deliver(ROUND));
            Duration::from_nanos(thread_cpu() - before)
        });
    });
    group.finish();
}

fn lease(seq: u64, body: &Bytes) -> Lease {
    Lease {
        seq: Seq(seq),
        id: RecordId(1),
        call: CallHash(seq),
        attempts: 0,
        first_tried: None,
        appended: clock::wall(),
        body: body.clone(),
    }
}

criterion_group!(benches, pure, loopback);
criterion_main!(benches);
