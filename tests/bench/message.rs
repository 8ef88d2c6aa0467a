//! What a message costs: index, check and forward an INVITE and its response, in time and in allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tollgate::sip::message::{Message, RequestEdits, call_id_of, forward_request, forward_response, response};

/// Counts allocations, reallocations included.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const INVITE: &str = "INVITE sip:+40211234567@gw.example.net:5060;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-524287-1---f3a1b2c4d5e6f708;rport\r\n\
    From: \"Alice Example\" <sip:alice@example.net>;tag=9fxced76sl\r\n\
    To: <sip:+40211234567@gw.example.net;user=phone>\r\n\
    Call-ID: 3848276298220188511@client.example.net\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:alice@192.0.2.10:5060;transport=udp>\r\n\
    Max-Forwards: 70\r\n\
    Route: <sip:192.0.2.1;lr>\r\n\
    User-Agent: Example Softphone 4.2.1 (Linux x86_64)\r\n\
    Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK\r\n\
    Supported: timer, 100rel, replaces\r\n\
    Session-Expires: 1800\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 162\r\n\
    \r\n\
    v=0\r\n\
    o=alice 2890844526 2890844526 IN IP4 192.0.2.10\r\n\
    s=-\r\n\
    c=IN IP4 192.0.2.10\r\n\
    t=0 0\r\n\
    m=audio 49170 RTP/AVP 8 0 101\r\n\
    a=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:0 PCMU/8000\r\n";

const OUR_VIA: &str = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK00000a1b0000002c7f3e9d10";

fn source() -> SocketAddr {
    "192.0.2.10:5060".parse().expect("an address")
}

fn edits() -> RequestEdits<'static> {
    RequestEdits {
        request_uri: Some(b"sip:+40211234567@10.0.0.5:5060;user=phone"),
        via: OUR_VIA.as_bytes(),
        source: Some(source()),
        max_forwards: 69,
        routes_popped: 1,
        record_route: &[b"<sip:192.0.2.1:5060;lr;tg=00000a1b7f3e9d10>"],
        ..RequestEdits::default()
    }
}

fn read(datagram: &[u8]) -> Message {
    Message::parse(datagram.to_vec()).expect("a message")
}

/// The INVITE's 200 as it arrives from the callee: with our Via on top.
fn answer() -> Vec<u8> {
    let mut forwarded = Vec::new();
    forward_request(&read(INVITE.as_bytes()), &edits(), &mut forwarded);
    let forwarded = String::from_utf8(forwarded).expect("ASCII");
    let (_, rest) = forwarded.split_once("\r\n").expect("a request line");
    format!("SIP/2.0 200 OK\r\n{rest}").into_bytes()
}

/// One step, timed. Its allocations are printed once, and the best of many short runs: what it costs when nothing else
/// uses the processor, which the averages of a busy machine do not tell.
fn step(c: &mut Criterion, name: &str, octets: usize, mut work: impl FnMut()) {
    const ROUNDS: u64 = 100;
    const RUNS: u64 = 2_000;
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let begin = Instant::now();
        (0..ROUNDS).for_each(|_| work());
        best = best.min(begin.elapsed());
    }
    let allocations = (ALLOCATIONS.load(Ordering::Relaxed) - before) / (ROUNDS * RUNS);
    let best_ns = best.as_nanos() as u64 / ROUNDS;
    println!("{name}: {octets} octets, {allocations} allocations, best {best_ns} ns");
    let mut group = c.benchmark_group("message");
    group.throughput(Throughput::Bytes(octets as u64));
    group.bench_function(name, |bencher| bencher.iter(&mut work));
    group.finish();
}

fn messages(c: &mut Criterion) {
    let (invite, answer) = (INVITE.as_bytes(), answer());
    let read_invite = read(invite);
    let read_answer = read(&answer);
    read_invite.check().expect("a good request");
    read_answer.check().expect("a good response");
    println!("held for the INVITE: {} bytes", read_invite.memory());
    step(c, "call_id_of", invite.len(), || {
        black_box(call_id_of(black_box(invite)));
    });
    step(c, "index an INVITE", invite.len(), || {
        black_box(read(black_box(invite)));
    });
    step(c, "check an INVITE", invite.len(), || {
        black_box(black_box(&read_invite).check()).expect("a good request");
    });
    step(c, "forward an INVITE", invite.len(), || {
        let mut out = Vec::new();
        forward_request(black_box(&read_invite), &edits(), &mut out);
        black_box(out);
    });
    step(c, "index, check and forward an INVITE", invite.len(), || {
        let message = read(black_box(invite));
        message.check().expect("a good request");
        let mut out = Vec::new();
        forward_request(&message, &edits(), &mut out);
        black_box((message, out));
    });
    step(c, "index, check and forward a 200", answer.len(), || {
        let message = read(black_box(&answer));
        message.check().expect("a good response");
        let mut out = Vec::new();
        forward_response(&message, &mut out);
        black_box((message, out));
    });
    step(c, "make a 100", invite.len(), || {
        let mut out = Vec::new();
        response(black_box(&read_invite), 100, "Trying", None, &[], source(), &mut out);
        black_box(out);
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50).measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500));
    targets = messages
}
criterion_main!(benches);
