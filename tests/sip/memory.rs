//! Memory of the SIP machine: what a call being set up, an absorbing transaction and an empty stack hold.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use tollgate::clock::Now;
use tollgate::sip::message::Message;
use tollgate::sip::stack::{
    Hop, Input, Listener, ListenerId, Network, NextOn, Output, Peer, Plan, Settings, Stack, Target, Transport,
    Treatment,
};

/// Calls at once.
const CALLS: usize = 2_000;
/// Most a call may hold from its INVITE to its answer, in octets.
const SETUP_BYTES_MAX: usize = 6 * 1024;
/// Most it may hold while its two transactions absorb what comes again, in octets.
const ABSORBING_BYTES_MAX: usize = 1_024;

struct Counting;

thread_local! {
    // By thread, for other tests may run beside this one. What a thread frees for another wraps around below zero.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add(layout.size()));
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CALLER: &str = "192.0.2.10:5060";
const CALLEE: &str = "192.0.2.20:5060";

/// About 850 octets, as measured calls have.
fn invite(call: usize) -> String {
    let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\n\
                a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";
    format!(
        "INVITE sip:bob@gateway.example SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK-524287-1---{call:016};rport\r\n\
         Max-Forwards: 70\r\nContact: <sip:alice@{CALLER}>\r\nTo: <sip:bob@gateway.example>\r\n\
         From: \"Alice\" <sip:alice@gateway.example>;tag={call:08x}\r\nCall-ID: {call:032x}@{CALLER}\r\nCSeq: 1 INVITE\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, NOTIFY, REFER, MESSAGE, OPTIONS, INFO, SUBSCRIBE\r\n\
         Content-Type: application/sdp\r\nUser-Agent: telephone 4.2.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The callee's answer to a forwarded INVITE.
fn response(request: &Bytes, code: &str) -> String {
    let text = String::from_utf8_lossy(request);
    let kept = text.split("\r\n").filter(|line| {
        ["Via:", "Record-Route:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
    });
    let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
    format!("SIP/2.0 {code} Yes\r\n{kept}To: <sip:bob@gateway.example>;tag=b\r\nContent-Length: 0\r\n\r\n")
}

struct Bench {
    stack: Stack,
    now: Now,
    /// What went to the callee.
    sent: Vec<Bytes>,
    target: Target,
}

impl Bench {
    fn receive(&mut self, from: &str, text: String) {
        let peer = Peer { listener: ListenerId(0), addr: from.parse().expect("an address") };
        self.handle(Input::Received { peer, message: Message::parse(text.into_bytes()) });
    }

    fn handle(&mut self, input: Input) {
        let mut out = Vec::new();
        self.stack.handle(self.now, input, &(), &mut out);
        for output in out {
            match output {
                Output::Send { peer, bytes, .. } if peer.addr.to_string() == CALLEE => self.sent.push(bytes),
                Output::Request { transaction } => {
                    let plan = Plan { groups: vec![vec![self.target.clone()]], ..Plan::default() };
                    self.handle(Input::Decide { transaction, treatment: Treatment::Forward(plan) });
                }
                Output::Event { held: Some((transaction, response)), .. } => {
                    self.handle(Input::Release { transaction, response });
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_call_holds_little_and_leaves_nothing() {
    let settings = Settings {
        listeners: vec![Listener { transport: Transport::Udp, local: "192.0.2.1:5060".parse().expect("an address") }],
        allow: vec![Network::new("192.0.2.0".parse().expect("an address"), 24)],
        ..Settings::default()
    };
    let hop = Hop::Addr(CALLEE.parse().expect("an address"));
    let uri = Bytes::from_static(b"sip:bob@192.0.2.20");
    let target = Target { uri, hop, transport: None, ring_timeout: None, next_on: NextOn::default(), edits: None };
    let mut bench = Bench { stack: Stack::new(settings), now: Now::default(), sent: Vec::with_capacity(CALLS), target };
    let empty = HELD.get();
    // A thread may hold less than nothing, so the difference is taken before its sign is.
    let per_call = || usize::try_from(HELD.get().wrapping_sub(empty).cast_signed()).unwrap_or(0) / CALLS;

    for call in 0..CALLS {
        bench.receive(CALLER, invite(call));
    }
    let invites: Vec<String> = bench.sent.iter().map(|sent| response(sent, "180")).collect();
    assert_eq!(invites.len(), CALLS);
    let answers: Vec<String> = bench.sent.iter().map(|sent| response(sent, "200")).collect();
    let own: usize = invites.iter().chain(&answers).map(String::capacity).sum::<usize>() / CALLS;
    bench.sent.clear();
    let own = own + 2 * size_of::<String>();
    let calling = per_call() - own;

    invites.into_iter().for_each(|text| bench.receive(CALLEE, text));
    let ringing = per_call() - answers.iter().map(|text| text.capacity() + size_of::<String>()).sum::<usize>() / CALLS;

    answers.into_iter().for_each(|text| bench.receive(CALLEE, text));
    let absorbing = per_call();

    for _ in 0..40 {
        bench.now = bench.now.after(Duration::from_secs(1));
        bench.stack.tick(bench.now, &mut Vec::new());
    }
    let left = per_call();
    println!("octets a call: calling {calling}, ringing {ringing}, absorbing {absorbing}, ended {left}");
    assert!(calling <= SETUP_BYTES_MAX && ringing <= SETUP_BYTES_MAX, "{calling} {ringing}");
    assert!(absorbing <= ABSORBING_BYTES_MAX, "{absorbing}");
    assert!(left <= 64, "{left}");
}
