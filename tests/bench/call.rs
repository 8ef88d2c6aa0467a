//! What a call costs its shard: INVITE 100 180 200 ACK BYE 200 with Start and Stop, without sockets, threads and disk, in
//! time and in allocations.
//!
//! `cargo bench --bench call -- --calls 2000` plays so many calls once and prints one line; `--trace 1000` has the shard keep
//! the messages of its last 1000 calls, as `[trace] calls` says. Instructions, of the shard's work
//! alone:
//! `valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*turn*' target/release/deps/call-* --calls 500`,
//! divided by the number of calls.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tollgate::accounting::{self, Engine};
use tollgate::clock::{Instant, Now, Timestamp};
use tollgate::ids::{SinkMask, SinkNumber};
use tollgate::policy::routes::{Action, Condition};
use tollgate::policy::target::{Destination, Terms};
use tollgate::policy::{Marks, Recipe, Route, Routes, Targets};
use tollgate::shard::{self, Input, Output, Shard, Ticket};
use tollgate::sip::message::Message;
use tollgate::sip::stack::{self, Listener, ListenerId, Peer, Redirects, Stack, Transport};

/// Counts allocations, reallocations included, while the shard works.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static OCTETS: AtomicU64 = AtomicU64::new(0);
static COUNTS: AtomicBool = AtomicBool::new(false);

fn count(octets: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        OCTETS.fetch_add(octets as u64, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const GATEWAY: &str = "127.0.0.1:5060";
const CALLER: &str = "127.0.0.1:5062";
const CALLEE: &str = "127.0.0.1:5064";

/// The messages of `tests/bench/sipp`, so that the figures are those of `tests/bench/load`.
const INVITE: &str = "INVITE sip:1234@127.0.0.1:5060 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bK-4711-NUMBER-0\r\n\
    From: \"Bench Caller\" <sip:alice@example.net>;tag=4711xNUMBER\r\n\
    To: <sip:1234@example.net>\r\n\
    Call-ID: NUMBER-4711@127.0.0.1\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:alice@127.0.0.1:5062;transport=UDP>\r\n\
    Max-Forwards: 70\r\n\
    User-Agent: bench-uac/1.0\r\n\
    Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 193\r\n\r\n\
    v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 16384 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\n";
/// What follows the head of the 200.
const ANSWER: &str = "v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 16386 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

fn peer(text: &str) -> Peer {
    Peer { listener: ListenerId(0), addr: text.parse::<SocketAddr>().expect("an address") }
}

fn shard(trace_calls: usize) -> Shard {
    let trace = shard::trace::Tracing { calls: trace_calls, ..Default::default() };
    let accounted = SinkMask::NONE.with(SinkNumber(0));
    let route = Route {
        name: "0".to_owned(),
        condition: Condition::default(),
        script: None,
        action: Action::Forward {
            groups: vec![vec![Destination::parse(&format!("sip:{CALLEE}")).expect("a target")]],
            terms: Terms::default(),
            redirects: Redirects::Pass,
        },
        targets: Targets::Alternatives,
        marks: Marks { accounting: accounted, missed: accounted, failed: accounted },
        fields: None,
        avps: Vec::new(),
        forwarding_legs: None,
    };
    let recipe: Arc<dyn Recipe> = Arc::new(Routes::new(vec![route], Marks { accounting: accounted, ..Marks::NONE }));
    let listener = Listener { transport: Transport::Udp, local: GATEWAY.parse().expect("an address") };
    let settings = accounting::Settings { listeners: vec![listener], ..accounting::Settings::default() };
    let stack = Stack::new(stack::Settings { listeners: vec![listener], ..stack::Settings::default() });
    Shard::new(shard::Settings { trace, ..shard::Settings::default() }, stack, Engine::new(settings, 0x5eed), recipe)
}

/// A shard with its clock and disk, and what it sent last.
struct Play {
    shard: Shard,
    now: Now,
    out: Vec<Output>,
    sent: Vec<(SocketAddr, String)>,
    commits: u64,
    worked: Duration,
}

impl Play {
    fn new(trace_calls: usize) -> Self {
        let now = Now { mono: Instant(1_000_000), wall: Timestamp(1_700_000_000_000_000) };
        Self { shard: shard(trace_calls), now, out: Vec::new(), sent: Vec::new(), commits: 0, worked: Duration::ZERO }
    }

    /// What the shard's thread does with one datagram or receipt; only this is measured.
    #[inline(never)]
    fn turn(&mut self, received: Option<(Peer, &[u8])>, committed: Option<Ticket>) {
        if let Some((peer, datagram)) = received {
            let message = Message::parse(datagram.to_vec());
            self.shard.handle(self.now, Input::Received { peer, message }, &mut self.out);
        }
        if let Some(ticket) = committed {
            self.shard.handle(self.now, Input::Committed(ticket), &mut self.out);
        }
        if self.shard.deadline().is_some_and(|due| due <= self.now.mono) {
            self.shard.tick(self.now, &mut self.out);
        }
        self.shard.flush(self.now, &mut self.out);
    }

    fn step(&mut self, received: Option<(Peer, &[u8])>, committed: Option<Ticket>) {
        let begin = std::time::Instant::now();
        COUNTS.store(true, Ordering::Relaxed);
        self.turn(received, committed);
        COUNTS.store(false, Ordering::Relaxed);
        self.worked += begin.elapsed();
        let (mut ticket, mut outputs) = (None, std::mem::take(&mut self.out));
        for output in outputs.drain(..) {
            match output {
                Output::Send { peer, bytes, .. } => {
                    self.sent.push((peer.addr, String::from_utf8(bytes.to_vec()).expect("text")));
                }
                Output::Append { ticket: new, commit } => {
                    self.commits += 1;
                    ticket = Some(new);
                    black_box(commit);
                }
                Output::Resolve { .. } | Output::Turned { .. } | Output::Notice(_) | Output::Count(_) => {}
                Output::Adopt { .. } | Output::Unreadable(_) => {}
            }
        }
        self.out = outputs;
        self.now = self.now.after(Duration::from_micros(100));
        if ticket.is_some() {
            self.step(None, ticket);
        }
    }

    fn receive(&mut self, from: &str, text: &str) {
        self.step(Some((peer(from), text.as_bytes())), None);
    }

    /// The last message that went to somebody.
    fn got(&mut self, who: &str) -> String {
        let place = self.sent.iter().rposition(|(addr, _)| *addr == peer(who).addr).expect("a message");
        self.sent.swap_remove(place).1
    }

    /// One whole call.
    fn call(&mut self, number: u64) {
        let invite = INVITE.replace("NUMBER", &number.to_string());
        self.receive(CALLER, &invite);
        let forwarded = self.got(CALLEE);
        self.receive(CALLEE, &answer(&forwarded, "180 Ringing", number, ""));
        assert!(self.got(CALLER).starts_with("SIP/2.0 180"));
        self.receive(CALLEE, &answer(&forwarded, "200 OK", number, ANSWER));
        let ok = self.got(CALLER);
        assert!(ok.starts_with("SIP/2.0 200"));
        self.receive(CALLER, &inside("ACK", 1, &ok, number));
        assert!(self.got(CALLEE).starts_with("ACK"));
        self.receive(CALLER, &inside("BYE", 2, &ok, number));
        let bye = self.got(CALLEE);
        self.receive(CALLEE, &answer(&bye, "200 OK", number, ""));
        assert!(self.got(CALLER).starts_with("SIP/2.0 200"));
        self.sent.clear();
    }
}

/// Whole lines of a message by their names.
fn lines<'a>(text: &'a str, names: &'a [&str]) -> impl Iterator<Item = &'a str> {
    text.split_inclusive("\r\n").filter(move |line| line.split(':').next().is_some_and(|name| names.contains(&name)))
}

/// A response of the callee.
fn answer(request: &str, status: &str, number: u64, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    let kept: &[&str] = if request.starts_with("BYE") {
        &["Via", "From", "To", "Call-ID", "CSeq"]
    } else {
        &["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"]
    };
    for line in lines(request, kept) {
        let end = line.len() - 2;
        text.push_str(&line[..end]);
        if line.starts_with("To:") && !line.contains("tag=") {
            text.push_str(&format!(";tag=815u{number}"));
        }
        text.push_str("\r\n");
    }
    text.push_str("Contact: <sip:127.0.0.1:5064;transport=UDP>\r\n");
    if !body.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

/// A request of the caller inside the dialog.
fn inside(method: &str, cseq: u32, ok: &str, number: u64) -> String {
    let mut text = format!(
        "{method} sip:127.0.0.1:5064;transport=UDP SIP/2.0\r\n\
         Via: SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bK-4711-{number}-{method}\r\n"
    );
    for line in lines(ok, &["Record-Route"]) {
        text.push_str(&line.replace("Record-Route", "Route"));
    }
    text.extend(lines(ok, &["From", "To", "Call-ID"]));
    text + &format!(
        "CSeq: {cseq} {method}\r\nContact: <sip:alice@127.0.0.1:5062;transport=UDP>\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let given = |name: &str| {
        let value = arguments.iter().position(|word| word == name).and_then(|at| arguments.get(at + 1));
        value.map(|number| number.parse::<u64>().expect("a number of calls"))
    };
    let calls = given("--calls");
    let mut play = Play::new(given("--trace").map_or(0, |calls| usize::try_from(calls).expect("not too many")));
    // The best of many short runs: what it costs when nothing else uses the processor.
    let (runs, each) = calls.map_or((200, 100), |calls| (1, calls));
    let mut best = Duration::MAX;
    for run in 0..runs {
        play.worked = Duration::ZERO;
        (0..each).for_each(|number| play.call(run * each + number));
        best = best.min(play.worked);
    }
    let all = runs * each;
    assert_eq!(play.commits, 2 * all, "Start and Stop of each call");
    println!(
        "a call: best {} ns, {:.1} allocations of {:.0} octets",
        best.as_nanos() as u64 / each,
        ALLOCATIONS.load(Ordering::Relaxed) as f64 / all as f64,
        OCTETS.load(Ordering::Relaxed) as f64 / all as f64,
    );
}
