//! What the typical route of a script costs, about an INVITE and the BYE of the same call: with and without the turns that are
//! kept for `tollgate script trace`, how long the slowest runs of its handler take, and how long those that find the caches
//! used by others. But for these its code is in the caches here, as on a busy core of its own; `tests/bench/load --script`
//! and the trace tell of one that it shares with others.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate::clock::{self, Now};
use tollgate::ids::SinkNumber;
use tollgate::policy::script::{Limits, NamedSink, OnError, Outside, Script, Settings, trace};
use tollgate::policy::{Asked, Marks, Policy, Recipe, Routes};
use tollgate::sip::message::Message;
use tollgate::sip::stack::{Listener, ListenerId, Peer, RequestView, ServerId, Transport};

const INVITE: &str = "INVITE sip:+40211234567@gw.example.net:5060;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bK-524287-1---f3a1b2c4d5e6f708;rport\r\n\
    From: \"Alice Example\" <sip:alice@example.net>;tag=9fxced76sl\r\n\
    To: <sip:+40211234567@gw.example.net;user=phone>\r\n\
    Call-ID: 3848276298220188511@alice-phone.example.net\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
    Contact: <sip:alice@127.0.0.1:5062>\r\nContent-Length: 0\r\n\r\n";

fn policy(trace_turns: usize) -> Box<dyn Policy> {
    let local = "127.0.0.1:5060".parse().expect("an address");
    let named = |name: &str, words| NamedSink { name: name.to_owned(), words, is_cdr: false };
    let settings = Settings {
        name: "typical.lua".to_owned(),
        text: include_str!("typical.lua").replace("UAS", "5070").into(),
        folder: Default::default(),
        limits: Limits::default(),
        on_error: OnError::Routes,
        sinks: vec![named("billing", &["aaa", "rad"])],
        flags: Vec::new(),
        listeners: vec![("udp:127.0.0.1:5060".to_owned(), Listener { transport: Transport::Udp, local })],
        names: Vec::new(),
        tables: Default::default(),
        trace_turns,
    };
    let routes = Arc::new(Routes::new(Vec::new(), Marks::NONE));
    let outside = Outside::default();
    outside.traces.serve(Some(trace_turns));
    let script = Script::new(&settings, &[SinkNumber(0)], routes, outside, clock::mono, clock::now());
    Arc::new(script.expect("a script")).build()
}

fn view(text: &str) -> RequestView {
    let message = Message::parse(text.as_bytes().to_vec()).unwrap_or_else(|_| panic!("no message: {text}"));
    let peer = Peer { listener: ListenerId(0), addr: "127.0.0.1:5062".parse().expect("an address") };
    RequestView::of(Rc::new(message), peer, clock::now())
}

/// One call: what the script is asked of it.
fn call(policy: &mut dyn Policy, (invite, bye): (&RequestView, &RequestView), now: Now, number: &mut u64) {
    for view in [invite, bye] {
        *number += 1;
        let transaction = ServerId::made_up(*number);
        black_box(policy.request(Asked { now, transaction, view }));
        policy.ended(transaction);
        policy.rest();
    }
}

/// Runs of which the slowest are told.
const RUNS: usize = 200_000;

/// Prints how long the handler takes: half, 99 and 99.9 of a hundred runs take at most so long.
fn slowest(_criterion: &mut Criterion) {
    let bye = INVITE.replace("INVITE", "BYE").replace("user=phone>", "user=phone>;tag=8321234356");
    let (mut policy, now) = (policy(trace::TURNS_USUAL), clock::now());
    let views = [("INVITE", view(INVITE)), ("BYE", view(&bye))];
    let mut taken = views.each_ref().map(|_| Vec::with_capacity(RUNS));
    for number in 0..RUNS {
        for (place, (_, view)) in views.iter().enumerate() {
            let transaction = ServerId::made_up((number * views.len() + place) as u64);
            let begun = std::time::Instant::now();
            black_box(policy.request(Asked { now, transaction, view }));
            taken[place].push(begun.elapsed());
            policy.ended(transaction);
            policy.rest();
        }
    }
    for ((name, _), mut taken) in views.iter().zip(taken) {
        taken.sort_unstable();
        let of = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize];
        println!("{name}: median {:?}, p99 {:?}, p99.9 {:?}", of(0.5), of(0.99), of(0.999));
    }
}

/// Octets that are read between two runs: as much as the nearer caches hold.
const OTHERS_BYTES: usize = 4 << 20;
/// Runs with caches that others have used.
const COLD_RUNS: usize = 3_000;

/// Prints how long a handler takes that finds the caches used by others, with and without a trace, in turn.
fn cold(_criterion: &mut Criterion) {
    let bye = INVITE.replace("INVITE", "BYE").replace("user=phone>", "user=phone>;tag=8321234356");
    let views = [("INVITE", view(INVITE)), ("BYE", view(&bye))];
    let others = vec![1_u8; OTHERS_BYTES];
    let now = clock::now();
    let turns = [("without a trace", 0), ("with a trace", trace::TURNS_USUAL)];
    let mut policies = turns.map(|(_, turns)| policy(turns));
    let mut taken = [(); 4].map(|()| Vec::with_capacity(COLD_RUNS));
    for number in 0..COLD_RUNS {
        for (of, policy) in policies.iter_mut().enumerate() {
            for (place, (_, view)) in views.iter().enumerate() {
                let transaction = ServerId::made_up((number * views.len() + place) as u64);
                let read: u64 = black_box(&others).iter().step_by(64).map(|octet| u64::from(*octet)).sum();
                black_box(read);
                let begun = std::time::Instant::now();
                black_box(policy.request(Asked { now, transaction, view }));
                policy.ended(transaction);
                policy.rest();
                taken[of * views.len() + place].push(begun.elapsed());
            }
        }
    }
    for (number, mut taken) in taken.into_iter().enumerate() {
        taken.sort_unstable();
        let ((trace, _), (name, _)) = (turns[number / views.len()], &views[number % views.len()]);
        println!("used caches, {trace}: {name}: median {:?}", taken[taken.len() / 2]);
    }
}

fn script(criterion: &mut Criterion) {
    let bye = INVITE.replace("INVITE", "BYE").replace("user=phone>", "user=phone>;tag=8321234356");
    let (invite, bye, now) = (view(INVITE), view(&bye), clock::now());
    let mut group = criterion.benchmark_group("typical route, one call");
    // In turn, for a machine that others use too.
    for round in 1..=3 {
        for (name, turns) in [("without a trace", 0), ("with a trace", trace::TURNS_USUAL)] {
            let (mut policy, mut number) = (policy(turns), 0);
            group.bench_function(format!("{name} {round}"), |bencher| {
                bencher.iter(|| call(&mut *policy, (&invite, &bye), now, &mut number));
            });
        }
    }
}

criterion_group!(benches, slowest, cold, script);
criterion_main!(benches);
