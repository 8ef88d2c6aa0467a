//! Whole lives of transactions, timer by timer. A line reads: milliseconds since the start, and what came out.

use super::*;
use crate::timers::Wheel;
use crate::timers::slab::{Key, Slab};

/// Feeds `inputs` (milliseconds since the start, word) and lets the timers run to the end, or to the last input if no
/// timer runs then.
fn timeline(mut rig: Rig, inputs: &[(u64, &str)]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut note = |now: Instant, outputs: String| {
        if !outputs.is_empty() {
            lines.push(format!("{} {outputs}", now.since(START).as_millis()));
        }
    };
    note(START, words(&rig.first));
    let mut inputs = inputs.iter().copied().peekable();
    loop {
        let at = inputs.peek().map(|(ms, _)| START + Duration::from_millis(*ms));
        match (at, rig.deadline()) {
            (Some(at), deadline) if deadline.is_none_or(|deadline| at < deadline) => {
                rig.now = at;
                let word = inputs.next().map_or("", |(_, word)| word);
                note(rig.now, rig.feed(word));
            }
            (_, Some(deadline)) => {
                rig.now = deadline;
                note(rig.now, rig.tick());
            }
            (_, None) => return lines,
        }
    }
}

fn check(name: &str, rig: Rig, inputs: &[(u64, &str)], want: &[&str]) {
    assert_eq!(timeline(rig, inputs), want, "{name}");
}

const INVITE_UNANSWERED: &[&str] = &[
    "0 send request",
    "500 send request",
    "1500 send request",
    "3500 send request",
    "7500 send request",
    "15500 send request",
    "31500 send request",
    "32000 timeout B, terminated",
];

#[test]
fn timers_a_and_b() {
    check("A doubles without end, B ends at 64 × T1 (§17.1.1.2)", Rig::udp("INVITE client"), &[], INVITE_UNANSWERED);
    check(
        "a reliable transport knows no A",
        Rig::tcp("INVITE client"),
        &[],
        &["0 send request", "32000 timeout B, terminated"],
    );
    check(
        "a provisional answer stops A and B; Timer C is the proxy's",
        Rig::udp("INVITE client"),
        &[(700, "1xx"), (100_000, "1xx")],
        &["0 send request", "500 send request", "700 deliver", "100000 deliver"],
    );
}

#[test]
fn timer_d() {
    check(
        "each repeated refusal gets the ACK until D ends, 32 s after the first (§17.1.1.2)",
        Rig::udp("INVITE client"),
        &[(100, "3xx"), (101, "ack"), (600, "3xx"), (1600, "3xx"), (32_099, "3xx"), (32_101, "3xx")],
        &[
            "0 send request",
            "100 deliver, acknowledge",
            "101 send ack",
            "600 send ack",
            "1600 send ack",
            "32099 send ack",
            "32100 terminated",
            "32101 nothing",
        ],
    );
    let mut rig = Rig::tcp("INVITE client");
    assert_eq!(rig.feed("3xx"), "deliver, acknowledge");
    assert_eq!(rig.feed("ack"), "send ack", "over a reliable transport the ACK still leaves");
    assert_eq!(rig.tick(), "terminated", "and D is 0");
}

#[test]
fn timer_m() {
    check(
        "2xx answers of a fork pass for 64 × T1 after the first (RFC 6026 §7.2)",
        Rig::udp("INVITE client"),
        &[(200, "1xx"), (1000, "2xx"), (1500, "2xx"), (32_999, "2xx"), (33_001, "2xx")],
        &[
            "0 send request",
            "200 deliver",
            "1000 deliver",
            "1500 deliver",
            "32999 deliver",
            "33000 terminated",
            "33001 nothing",
        ],
    );
    check(
        "and so over a reliable transport",
        Rig::tcp("INVITE client"),
        &[(0, "2xx")],
        &["0 send request", "0 deliver", "32000 terminated"],
    );
}

#[test]
fn timers_e_and_f() {
    let mut want = vec!["0 send request", "500 send request", "1500 send request", "3500 send request"];
    want.extend(["7500 send request", "11500 send request", "15500 send request", "19500 send request"]);
    want.extend(["23500 send request", "27500 send request", "31500 send request", "32000 timeout F, terminated"]);
    check("E doubles up to T2, F ends at 64 × T1 (§17.1.2.2)", Rig::udp("non-INVITE client"), &[], &want);
    check(
        "after a provisional answer E goes by T2, and F runs on (§17.1.2.2)",
        Rig::udp("non-INVITE client"),
        &[(100, "1xx")],
        &[
            "0 send request",
            "100 deliver",
            "500 send request",
            "4500 send request",
            "8500 send request",
            "12500 send request",
            "16500 send request",
            "20500 send request",
            "24500 send request",
            "28500 send request",
            "32000 timeout F, terminated",
        ],
    );
    check(
        "a reliable transport knows no E",
        Rig::tcp("non-INVITE client"),
        &[(100, "1xx")],
        &["0 send request", "100 deliver", "32000 timeout F, terminated"],
    );
}

#[test]
fn timer_k() {
    check(
        "repeated answers are absorbed for T4 (§17.1.2.2)",
        Rig::udp("non-INVITE client"),
        &[(600, "2xx"), (1000, "2xx")],
        &["0 send request", "500 send request", "600 deliver", "1000 nothing", "5600 terminated"],
    );
    check(
        "not over a reliable transport",
        Rig::tcp("non-INVITE client"),
        &[(600, "2xx")],
        &["0 send request", "600 deliver, terminated"],
    );
}

#[test]
fn the_100_is_due_after_200_ms() {
    check(
        "an answer in time makes it needless (§17.2.1)",
        Rig::udp("INVITE server"),
        &[(199, "1xx"), (5000, "again")],
        &["199 send 1xx", "5000 send 1xx"],
    );
    check(
        "else it is asked for once",
        Rig::udp("INVITE server"),
        &[(100, "again"), (201, "1xx"), (500, "again")],
        &["100 nothing", "200 trying", "201 send 1xx", "500 send 1xx"],
    );
}

#[test]
fn timers_g_and_h() {
    let mut want = vec!["0 send 3xx", "500 send 3xx", "1500 send 3xx", "3500 send 3xx", "7500 send 3xx"];
    want.extend(["11500 send 3xx", "15500 send 3xx", "19500 send 3xx", "23500 send 3xx", "27500 send 3xx"]);
    want.extend(["31500 send 3xx", "32000 timeout H, terminated"]);
    check("G doubles up to T2, H ends at 64 × T1 (§17.2.1)", Rig::udp("INVITE server"), &[(0, "3xx")], &want);
    check(
        "a reliable transport knows no G, but H",
        Rig::tcp("INVITE server"),
        &[(0, "3xx")],
        &["0 send 3xx", "32000 timeout H, terminated"],
    );
}

#[test]
fn timer_i() {
    check(
        "the ACK stops G and H; further ones are absorbed for T4 (§17.2.1)",
        Rig::udp("INVITE server"),
        &[(100, "3xx"), (700, "ack"), (800, "ack"), (900, "again")],
        &["100 send 3xx", "600 send 3xx", "800 nothing", "900 nothing", "5700 terminated"],
    );
    check(
        "not over a reliable transport",
        Rig::tcp("INVITE server"),
        &[(100, "3xx"), (700, "ack")],
        &["100 send 3xx", "700 terminated"],
    );
}

#[test]
fn timer_j() {
    check(
        "a repeated request gets its answer for 64 × T1 (§17.2.2)",
        Rig::udp("non-INVITE server"),
        &[(50, "again"), (100, "2xx"), (600, "again"), (32_099, "again"), (32_101, "again")],
        &["50 nothing", "100 send 2xx", "600 send 2xx", "32099 send 2xx", "32100 terminated", "32101 nothing"],
    );
    check(
        "not over a reliable transport",
        Rig::tcp("non-INVITE server"),
        &[(100, "2xx")],
        &["100 send 2xx, terminated"],
    );
}

#[test]
fn timer_l() {
    check(
        "a repeated INVITE is absorbed and further 2xx leave, for 64 × T1 after the first (RFC 6026 §7.1)",
        Rig::udp("INVITE server"),
        &[(100, "2xx"), (500, "again"), (600, "2xx"), (700, "ack"), (32_099, "2xx"), (32_101, "2xx")],
        &[
            "100 send 2xx",
            "500 nothing",
            "600 send 2xx",
            "700 deliver",
            "32099 send 2xx",
            "32100 terminated",
            "32101 nothing",
        ],
    );
}

#[test]
fn a_standstill_is_not_made_up_for() {
    let mut rig = Rig::udp("INVITE client");
    rig.now = START + Duration::from_secs(20);
    assert_eq!(rig.tick(), "send request", "one, where five were due");
    assert_eq!(rig.tick(), "");
    assert_eq!(rig.deadline(), Some(START + Duration::from_secs(21)), "A doubled from now on");
    rig.now = START + Duration::from_secs(60);
    assert_eq!(rig.tick(), "timeout B, terminated", "B beats A");
}

#[test]
fn settings_move_every_timer() {
    let settings = Settings {
        t1: Duration::from_millis(100),
        t2: Duration::from_millis(300),
        t4: Duration::from_secs(1),
        timer_d: Duration::from_secs(40),
        trying_after: Duration::from_millis(50),
    };
    let rig = |kind| Rig::new(kind, Reliability::Unreliable, settings);
    let early = |rig: Rig, inputs: &[(u64, &str)]| timeline(rig, inputs).into_iter().take(5).collect::<Vec<_>>();
    let end = |rig: Rig, inputs: &[(u64, &str)]| timeline(rig, inputs).pop().unwrap_or_default();
    assert_eq!(
        early(rig("non-INVITE client"), &[]),
        ["0 send request", "100 send request", "300 send request", "600 send request", "900 send request"],
        "E starts at T1 and stops growing at T2"
    );
    assert_eq!(end(rig("non-INVITE client"), &[]), "6400 timeout F, terminated", "64 × T1");
    assert_eq!(end(rig("non-INVITE client"), &[(0, "2xx")]), "1000 terminated", "K is T4");
    assert_eq!(end(rig("INVITE client"), &[(0, "3xx")]), "40000 terminated", "D");
    assert_eq!(end(rig("INVITE server"), &[]), "50 trying", "time for the 100");
    assert_eq!(end(rig("INVITE server"), &[(0, "3xx"), (10, "ack")]), "1010 terminated", "I is T4");
    assert_eq!(end(rig("INVITE server"), &[(0, "2xx")]), "6400 terminated", "L is 64 × T1");
}

/// As a stack does it: transactions in a slab, one wheel entry each, and nothing left in the end.
#[test]
fn many_transactions_live_on_one_wheel() {
    let (mut slab, mut wheel, mut due) = (Slab::new(), Wheel::<Key>::new(), Vec::new());
    let mut sent = 0_usize;
    let settings = Settings::default();
    for number in 0..1000_u64 {
        let mut out = Vec::new();
        let now = START + Duration::from_micros(number * 777);
        let request = Bytes::from_static(b"OPTIONS");
        let client = NonInviteClient::start(now, request, Reliability::Unreliable, &settings, &mut out);
        sent += out.len();
        let key = slab.insert((client, None));
        let Some((client, alarm)) = slab.get_mut(key) else { panic!("just put in") };
        wheel.set(alarm, client.core().deadline(), key);
    }
    let mut turns = 0;
    while let Some(now) = wheel.deadline() {
        turns += 1;
        wheel.expire(now, &mut due);
        for key in due.drain(..) {
            let Some((client, alarm)) = slab.get_mut(key) else { panic!("a timer outlived its transaction") };
            assert!(client.core().deadline().is_some_and(|deadline| deadline <= now), "early");
            assert!(client.core().deadline().is_some_and(|deadline| now.since(deadline) < crate::timers::TICK), "late");
            let mut out = Vec::new();
            client.tick(now, &settings, &mut out);
            wheel.set(alarm, client.core().deadline(), key);
            sent += out.iter().filter(|output| matches!(output, Output::Send(_))).count();
            if out.contains(&Output::Terminated) {
                slab.remove(key);
            }
        }
    }
    assert_eq!((slab.len(), wheel.len()), (0, 0));
    assert_eq!(sent, 11 * 1000, "each request and its ten retransmissions");
    assert!(turns < 1200, "{turns} turns of the wheel for some 900 ticks with work");
}

#[test]
fn an_absorbing_transaction_costs_little() {
    // Slot of the slab with the machine and its handle, and the node of the wheel with the key of the slot.
    let slot = size_of::<(u32, Option<(Client, Option<crate::timers::Handle>)>)>();
    let node = size_of::<(u32, Option<(u64, u32, u32, (u8, Key))>)>();
    assert!(slot + node <= 150, "{slot} + {node}");
}
