//! What is kept of the runs of handlers.

use super::super::trace::{
    ARGUMENTS_BYTES_MAX, Find, Found, NAME_BYTES_MAX, Outcome, RING_BYTES_MAX, STEPS_MAX, Shown, Traces,
};
use super::*;

/// A call whose target is busy, so that a failure route marks again and relays to the next.
const SERIAL: &str = "\
function request_route(req)
  if req.has_totag then return relay() end
  setflag(2)
  do_accounting('log|db', 'missed')
  avp.caller = req.from_user
  acc_extra.customer = 42
  on_branch('each')
  on_failure('next')
  if not count_call('trunk', 0) then append_branch('sip:192.0.2.21') end
  return relay{ 'sip:192.0.2.20', { 'sip:192.0.2.22' }, ring_timeout_s = 20 }
end

function branch_route.each(req)
  append_hf('X-A', 'b')
end

function failure_route.next(req, reply)
  if reply.code == 486 then
    do_accounting('db', 'missed')
    acc_leg.dst = 'second'
    acc_new_leg()
    acc_legs[-1].dst = 'third'
    relay('sip:192.0.2.30')
  end
end
";

/// Everything of a call.
fn find(traces: &Traces, call: &str) -> Found {
    traces.find(&Find { call: Some(call.to_owned()), number: None, max: 100 })
}

/// `handler outcome: line step; line step`.
fn line_of(turn: &Shown) -> String {
    let step = |step: &super::super::trace::ShownStep| {
        let result = if step.result == Some(false) { " is false" } else { "" };
        format!("{} {}{result}", step.line, step.text)
    };
    let steps: Vec<String> = turn.steps.iter().map(step).collect();
    format!("{} {:?}: {}", turn.handler, turn.outcome, steps.join("; "))
}

fn lines_of(found: &Found) -> Vec<String> {
    found.turns.iter().map(line_of).collect()
}

#[test]
fn a_trace_names_the_lines_that_decided_for_a_call() {
    let mut stage = stage(SERIAL);
    stage.invite();
    stage.fails(486);
    assert_eq!(stage.failures(), "");
    let found = find(&stage.traces, "call-1");
    let branch = "branch_route.each Nothing: 14 append_hf(\"X-A\", \"b\")";
    let want = [
        "request_route Relay: 3 setflag(2); 4 do_accounting(\"log|db\", \"missed\"); 5 .caller = \"alice\"",
        branch,
        branch,
        "failure_route.next Relay: 19 do_accounting(\"db\", \"missed\"); 20 acc_leg.dst = \"second\"; 21 acc_new_leg(); \
         22 acc_legs[1].dst = \"third\"; 23 relay(\"sip:192.0.2.30\")",
        branch,
    ];
    let lines = lines_of(&found);
    assert_eq!(lines.len(), want.len(), "{lines:#?}");
    assert_eq!(lines[1..], want[1..], "{lines:#?}");
    let first = "request_route Relay: 3 setflag(2); 4 do_accounting(\"log|db\", \"missed\"); 5 avp.caller = \"alice\"; \
         6 acc_extra.customer = 42; 7 on_branch(\"each\"); 8 on_failure(\"next\"); \
         9 count_call(\"trunk\", 0) is false; 9 append_branch(\"sip:192.0.2.21\"); 10 relay({ \"sip:192.0.2.20\", { ... }, \
         ring_timeout_s = 20 })";
    assert_eq!(lines[0], first);
    let (request, failure) = (&found.turns[0], &found.turns[3]);
    let parties = (request.from.as_str(), request.uri.as_str(), request.method.as_str(), request.code);
    assert_eq!(parties, ("sip:alice@atlanta.example.com", "sip:bob@example.com", "INVITE", None));
    assert_eq!((failure.code, failure.method.as_str(), failure.uri.as_str()), (Some(486), "INVITE", ""));
    assert_eq!((request.at, request.loaded, found.total), (now().wall, now().wall, 5));
}

#[test]
fn a_trace_says_what_came_of_a_handler() {
    for (name, body, outcome, steps, error) in [
        ("it relays", "relay('sip:192.0.2.20')", Outcome::Relay, 1, ""),
        ("it responds", "reply(403, 'No')", Outcome::Reply(403), 1, ""),
        ("it redirects", "redirect('sip:a@b')", Outcome::Reply(302), 1, ""),
        ("it drops", "drop()", Outcome::Drop, 1, ""),
        ("it leaves the request to the routes", "local x = req.user", Outcome::Tables, 0, ""),
        ("it fails", "setflag(1)\nreq.nothing()", Outcome::Tables, 1, "route.lua:3: `req.nothing`: no such field"),
        ("a call that fails is no step", "pcall(relay, {})\npcall(reply, 99)", Outcome::Relay, 1, ""),
        ("nor is such an assignment", "pcall(function() req.uri = 'x y' end)", Outcome::Tables, 0, ""),
        ("which leaves nothing behind", "pcall(function() req.uri = 'x y' end) drop()", Outcome::Drop, 1, ""),
        ("it takes too long", "while true do end", Outcome::Tables, 0, "route.lua:2: the handler was ended: it used"),
    ] {
        let mut stage = stage(&format!("function request_route(req)\n{body}\nend"));
        stage.invite();
        let found = find(&stage.traces, "call-1");
        let turn = &found.turns[0];
        assert_eq!((turn.outcome, turn.steps.len()), (outcome, steps), "{name}: {turn:?}");
        assert!(turn.steps.iter().all(|step| !step.text.contains("x y")), "{name}: {turn:?}");
        assert!(turn.error.starts_with(error) && turn.error.is_empty() == error.is_empty(), "{name}: {turn:?}");
    }
    // A line within a protected call is that of the script.
    let mut stage = stage("function request_route(req)\npcall(function()\nsetflag(1)\nend)\npcall(setflag, 2)\nend");
    stage.invite();
    assert_eq!(lines_of(&find(&stage.traces, "call-1")), ["request_route Tables: 3 setflag(1); 5 setflag(2)"]);
}

#[test]
fn a_call_is_found_by_its_call_id_the_beginning_of_that_or_a_number() {
    let mut stage = stage("function request_route(req) relay('sip:192.0.2.20') end");
    for (call, from, to) in [("a-1", "43", "1"), ("a-2", "44", "2"), ("b-1", "45", "43")] {
        let text = INVITE.replace("call-1", call).replace("alice@", &format!("{from}@"));
        stage.request(&view(&text.replace("sip:bob@example.com SIP", &format!("sip:{to}@example.com SIP"))));
    }
    for (name, call, number, max, want) in [
        ("a Call-ID", Some("a-2"), None, 9, "a-2"),
        ("its beginning", Some("a-*"), None, 9, "a-1 a-2"),
        ("which is another without the sign for that", Some("a-"), None, 9, ""),
        ("all of them", None, None, 9, "a-1 a-2 b-1"),
        ("the newest of them", None, None, 2, "a-2 b-1"),
        ("a number that calls, or is called", None, Some("43"), 9, "a-1 b-1"),
        ("a part of a number is another", None, Some("4"), 9, ""),
        ("nobody", Some("A-2"), None, 9, ""),
        ("any sign", Some("\u{1b}[2J*"), None, 9, ""),
    ] {
        let find = Find { call: call.map(str::to_owned), number: number.map(str::to_owned), max };
        let found = stage.traces.find(&find);
        let calls: Vec<&str> = found.turns.iter().map(|turn| turn.call_id.as_str()).collect();
        assert_eq!(calls.join(" "), want, "{name}");
    }
    assert_eq!(stage.traces.find(&Find { max: 1, ..Find::default() }).total, 3, "what is left out counts");
}

#[test]
fn what_is_kept_is_bounded() {
    let text = "function request_route(req)
        for i = 1, 500 do setflag('a' .. i % 40) end
        acc_extra.long = string.rep('x', 100000)
        reply(403, string.rep('y', 500))
    end";
    let long = "function request_route(req)
        for i = 1, 60 do acc_extra['f' .. i] = string.rep('x', 200) end
        error(string.rep('e', 2000))
    end";
    let bounded = Settings { trace_turns: 3, ..settings(text) };
    let mut stage = load(&bounded).expect("a script");
    for number in 0..10 {
        stage.request(&view(&INVITE.replace("call-1", &format!("call-{number}"))));
    }
    let found = stage.traces.find(&Find { max: 100, ..Find::default() });
    let calls: Vec<&str> = found.turns.iter().map(|turn| turn.call_id.as_str()).collect();
    assert_eq!((calls.as_slice(), found.total, found.keeps), (&["call-7", "call-8", "call-9"][..], 3, 3));
    let turn = &found.turns[0];
    let last = turn.steps.last().expect("a step");
    assert_eq!((turn.steps.len(), turn.left_out), (STEPS_MAX, 502 - 64), "{turn:?}");
    assert!(last.text.starts_with("reply(403, \"yyy") && last.line == 4, "the last is kept: {last:?}");

    // In octets: each of these turns takes the most that one can.
    let mut stage = load(&Settings { trace_turns: 100_000, ..settings(long) }).expect("a script");
    let huge = INVITE.replace("call-1", &"c".repeat(1_000));
    for _ in 0..500 {
        stage.request(&view(&huge));
    }
    let found = stage.traces.find(&Find { max: 100_000, ..Find::default() });
    let turn = &found.turns[0];
    let longest = turn.steps.iter().map(|step| step.text.len()).max().expect("steps");
    assert_eq!((turn.call_id.len(), longest), (NAME_BYTES_MAX, "acc_extra".len() + ARGUMENTS_BYTES_MAX + "...".len()));
    assert!(turn.error.len() < 1_000, "{}", turn.error.len());
    assert!(found.total < RING_BYTES_MAX / (60 * ARGUMENTS_BYTES_MAX), "{}", found.total);
    assert!(found.total > 300, "{}", found.total);
    assert_eq!(find(&stage.traces, &"c".repeat(1_000)).total, found.total, "by its whole Call-ID");
}

#[test]
fn turns_are_kept_over_reloads_and_given_up_when_nobody_wants_them() {
    let traces = Arc::new(Traces::new(2));
    let build = |text: &str, trace_turns: usize| {
        let settings = Settings { trace_turns, ..settings(text) };
        let outside = Outside { traces: Arc::clone(&traces), ..Outside::default() };
        traces.serve(Some(trace_turns));
        let routes = Arc::new(Routes::new(Vec::new(), Marks::NONE));
        let numbers: Vec<SinkNumber> = (0..5).map(SinkNumber).collect();
        let script = Arc::new(Script::new(&settings, &numbers, routes, outside, still, now()).expect("a script"));
        // One for each of two shards.
        [Arc::clone(&script).build(), script.build()]
    };
    let count = || traces.find(&Find { max: 100, ..Find::default() }).total;
    assert_eq!(traces.keeps(), None, "there is no script yet");
    for [mut one, mut other] in
        [build("function request_route() reply(403) end", 3), build("function request_route() drop() end", 3)]
    {
        for _ in 0..2 {
            one.request(asked(&view(INVITE)));
            other.request(asked(&view(INVITE)));
        }
    }
    let outcomes: Vec<Outcome> = find(&traces, "call-1").turns.iter().map(|turn| turn.outcome).collect();
    let (old, new) = (Outcome::Reply(403), Outcome::Drop);
    assert_eq!(outcomes, [old, old, new, new, new, new], "each shard keeps its last three");
    let [mut one, _] = build("function request_route() drop() end", 0);
    one.request(asked(&view(INVITE)));
    assert_eq!((count(), traces.keeps()), (0, Some(0)));
    traces.serve(None);
    assert_eq!(traces.keeps(), None);
}
