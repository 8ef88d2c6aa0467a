//! Scripts through SIP machine, accounting and the disk: marks that come and go, records by hand, values and legs, headers.

use std::collections::HashMap;
use std::sync::Arc;

use super::bench::{Bench, Setup};
use crate::clock::{Instant, Now, Timestamp};
use crate::ids::SinkNumber;
use crate::policy::routes::{Action, Condition};
use crate::policy::script::{Counters, Flag, FlagDoes, Limits, NamedSink, OnError, Outside, Script, Settings};
use crate::policy::{Marks, Route, Routes, Targets};
use crate::sip::stack::{Listener, Transport};
use crate::vars::Template;

/// Nothing in these flows takes time of its own.
fn still() -> Instant {
    Instant::default()
}

thread_local! {
    static COUNTERS: Arc<Counters> = Arc::default();
}

/// The counters of a test.
fn counters() -> Arc<Counters> {
    COUNTERS.with(Arc::clone)
}

/// Sink 0 is SQL, sink 1 syslog; flags 1 and 2 are those of syslog.
fn script(text: &str) -> Arc<Script> {
    script_by(text, Routes::new(Vec::new(), Marks::NONE))
}

fn script_by(text: &str, routes: Routes) -> Arc<Script> {
    let named = |name: &str, words| NamedSink { name: name.to_owned(), words, is_cdr: false };
    let flag = |name: &str, does| Flag { name: name.to_owned(), does, word: "log" };
    let local = "192.0.2.1:5060".parse().expect("an address");
    let settings = Settings {
        name: "route.lua".to_owned(),
        text: text.into(),
        folder: Default::default(),
        limits: Limits::default(),
        on_error: OnError::Routes,
        sinks: vec![named("rows", &["db"]), named("lines", &["log"])],
        flags: vec![flag("1", FlagDoes::Account), flag("2", FlagDoes::Missed), flag("3", FlagDoes::Failed)],
        listeners: vec![("udp:192.0.2.1:5060".to_owned(), Listener { transport: Transport::Udp, local })],
        names: Vec::new(),
        tables: HashMap::new(),
        trace_turns: 100,
    };
    let routes = Arc::new(routes);
    let now = Now { mono: Instant::default(), wall: Timestamp(0) };
    let numbers = [SinkNumber(0), SinkNumber(1)];
    let outside = Outside { counters: counters(), ..Outside::default() };
    Arc::new(Script::new(&settings, &numbers, routes, outside, still, now).expect("a script"))
}

/// The same, asked by the route of all calls alone, as its function `gold`.
fn named(text: &str) -> Arc<Script> {
    let routes = Routes::new(
        vec![Route {
            name: "all".to_owned(),
            condition: Condition::default(),
            script: Some("gold".into()),
            action: Action::Script,
            targets: Targets::Alternatives,
            marks: Marks::NONE,
            fields: None,
            avps: Vec::new(),
            forwarding_legs: None,
        }],
        Marks::NONE,
    );
    script_by(text, routes)
}

fn play(name: &str, text: &str, flow: &str) {
    Bench::new(name, Setup { recipe: Some(script(text)), ..Setup::new() }).run(flow);
}

/// The sequences A and B of the acc module: every target that is tried sets the mark of missed calls again.
const SERIAL: &str = "
    function request_route(req)
      if req.has_totag then return relay() end
      setflag(1) setflag(2)
      on_failure('next')
      relay('sip:bob@192.0.2.20')
    end
    function failure_route.next(req, reply)
      if reply.code == 486 or reply.code == 408 then
        setflag(2)
        relay('sip:carol@192.0.2.30')
      end
    end";

#[test]
fn a_busy_target_is_missed_and_the_next_one_answers() {
    play(
        "sequence A",
        SERIAL,
        "alice sends INVITE to anybody
         bob gets INVITE
         bob sends 486
         bob gets ACK
         recorded missed 486 bob callee busy for 1
         carol gets INVITE
         carol sends 200
         recorded start 200 carol [sip:bob@192.0.2.20, sip:carol@192.0.2.30] for 1
         disk writes
         alice gets 200
         alice sends ACK
         carol gets ACK
         after 3 s
         alice sends BYE
         carol gets BYE
         carol sends 200
         recorded stop 200 carol caller bye 3s [sip:bob@192.0.2.20, sip:carol@192.0.2.30] for 1
         disk writes
         alice gets 200",
    );
}

#[test]
fn an_attempt_is_missed_once_and_only_where_it_was_marked_again() {
    play(
        "the second target fails too, and nothing is left to be marked",
        SERIAL,
        "alice sends INVITE to anybody
         bob gets INVITE
         bob sends 486
         bob gets ACK
         recorded missed 486 bob callee busy for 1
         carol gets INVITE
         carol sends 603
         carol gets ACK
         recorded missed 603 carol callee refused [sip:bob@192.0.2.20, sip:carol@192.0.2.30] for 1
         disk writes
         alice gets 603
         alice sends ACK hop",
    );
    play(
        "what is not marked again is not missed",
        &SERIAL.replace("setflag(2)\n        relay", "relay"),
        "alice sends INVITE to anybody
         bob gets INVITE
         bob sends 486
         bob gets ACK
         recorded missed 486 bob callee busy for 1
         disk writes
         carol gets INVITE
         carol sends 603
         carol gets ACK
         disk writes
         alice gets 603
         alice sends ACK hop",
    );
}

#[test]
fn a_record_by_hand_is_on_disk_before_the_response_leaves_and_a_repeat_makes_no_other() {
    play(
        "403",
        "function request_route(req) acc_log_request('403 Destination not allowed') reply(403, 'Destination not allowed') end",
        "alice sends INVITE to free
         recorded event 403 for 1
         alice repeats INVITE
         alice gets nothing
         disk writes
         alice gets 403
         alice sends ACK hop
         alice gets nothing",
    );
}

#[test]
fn marks_may_come_late_and_go_again() {
    let text = "
        function request_route(req)
          if req.has_totag then return relay() end
          on_reply('answers')
          relay('sip:bob@192.0.2.20')
        end
        function reply_route.answers(req, reply)
          if reply.code == 180 then setflag(1) end
        end";
    let call = |recorded: &str| {
        format!(
            "alice sends INVITE to free
             bob gets INVITE
             bob sends 180
             alice gets 180
             bob sends 200
             {recorded}
             disk writes
             alice gets 200
             alice sends ACK
             bob gets ACK"
        )
    };
    play("marked when it rings", text, &call("recorded start 200 bob for 1"));
    play("never marked", &text.replace("setflag(1)", "setflag(9)"), &call("disk writes"));
}

#[test]
fn headers_are_added_and_removed_and_a_proxy_may_step_aside() {
    let text = "
        function request_route(req)
          if req.has_totag then return relay() end
          append_hf('X-Customer', '42\\r\\nEvil: yes')
          remove_hf('subject')
          on_branch('each')
          relay('sip:bob@192.0.2.20')
        end
        function branch_route.each(req) append_hf('X-Branch', req.user) end";
    play(
        "headers",
        text,
        "alice sends INVITE to free
         bob gets INVITE containing X-Customer: 42 Evil: yes
         bob sends 486
         bob gets ACK
         disk writes
         alice gets 486
         alice sends ACK hop",
    );
    play("of a branch", text, "alice sends INVITE to free\n bob gets INVITE containing X-Branch: bob");
    play(
        "with a Record-Route",
        text,
        "alice sends INVITE to free\n bob gets INVITE containing Record-Route: <sip:192.0.2.1",
    );
    let aside = text.replace("on_branch", "record_route(false) on_branch");
    play(
        "aside",
        &aside,
        "alice sends INVITE to free
         bob gets INVITE without Record-Route
         bob sends 200
         alice gets 200 without Record-Route",
    );
}

#[test]
fn a_failure_route_responds_in_place_of_the_best_response() {
    let text = "
        function request_route(req)
          do_accounting('log', 'failed')
          on_failure('last')
          relay('sip:bob@192.0.2.20')
        end
        function failure_route.last(req, reply) reply(480, 'Try later') end";
    play(
        "480 for 486",
        text,
        "alice sends INVITE to anybody
         bob gets INVITE
         bob sends 486
         bob gets ACK
         recorded failed 480 own gateway offline for 1
         disk writes
         alice gets 480
         alice sends ACK hop",
    );
    play(
        "but not for a 6xx",
        text,
        "alice sends INVITE to anybody
         bob gets INVITE
         bob sends 603
         bob gets ACK
         recorded failed 603 bob callee refused for 1
         disk writes
         alice gets 603
         alice sends ACK hop",
    );
}

#[test]
fn values_fields_legs_and_the_table_of_a_script_are_in_the_records() {
    let text = "
        function request_route(req)
          if req.has_totag then return relay() end
          do_accounting('db', nil, 'acc_2026')
          acc_extra.customer = 42
          avp.src = 'alice' avp.dst = 'bob'
          avp.src = 'bob' avp.dst = 'carol'
          relay('sip:bob@192.0.2.20')
        end";
    let leg = |name: &str| (name.to_owned(), Template::parse(&format!("$avp({name})")).expect("a template"));
    let mut setup = Setup { recipe: Some(script(text)), ..Setup::new() };
    setup.engine.leg_fields = vec![leg("src"), leg("dst")];
    let mut bench = Bench::new("values", setup);
    bench.play("alice sends INVITE to anybody\n bob gets INVITE\n bob sends 200");
    let record = bench.last_record();
    let text = |name: &str, fields: &crate::record::Fields| {
        let value = fields.iter().find(|field| field.0 == name).map(|field| field.1.clone());
        value.and_then(|value| value.text().map(|text| String::from_utf8_lossy(&text).into_owned())).unwrap_or_default()
    };
    assert_eq!(record.table.as_deref(), Some("acc_2026"));
    assert_eq!(text("customer", &record.fields), "42");
    let legs: Vec<String> =
        record.legs.iter().map(|leg| format!("{} {}", text("src", leg), text("dst", leg))).collect();
    assert_eq!(legs, ["alice bob", "bob carol"]);
    bench.play("disk writes\n alice gets 200\n alice sends ACK\n bob gets ACK\n alice sends BYE\n bob gets BYE\n bob sends 200");
    let stop = bench.last_record();
    assert_eq!((stop.table.as_deref(), text("customer", &stop.fields)), (Some("acc_2026"), "42".to_owned()));
    assert_eq!(stop.legs.len(), 2, "the legs of the call");
}

/// What `multi_leg_bye_info` was for: values that the BYE has for the legs of its call.
#[test]
fn a_bye_has_values_of_its_own_for_the_legs_of_the_call() {
    let of = |body: &str| {
        format!(
            "function request_route(req)
               if is_method('BYE') then {body} return relay() end
               if req.has_totag then return relay() end
               do_accounting('db')
               avp.src = 'alice' avp.src = 'bob'
               relay('sip:bob@192.0.2.20')
             end"
        )
    };
    let fields = |list: &[(&str, &str)]| -> Vec<(String, Template)> {
        list.iter().map(|(name, text)| ((*name).to_owned(), Template::parse(text).expect("a template"))).collect()
    };
    let (by_value, by_text) = ([("why", "$avp(why)"), ("how", "$rm")], [("why", "$rm")]);
    for (name, body, of_bye, want) in [
        ("one for each leg", "avp.why = 'old' avp.why = 'new'", &by_value[..], "alice old BYE, bob new BYE"),
        ("the newest belongs to the newest leg", "avp.why = 'new'", &by_value, "alice  , bob new BYE"),
        ("none", "", &by_value, "alice  , bob  "),
        ("more than there are legs", "for i = 1, 3 do avp.why = i end", &by_value, " 1 BYE, alice 2 BYE, bob 3 BYE"),
        (
            "legs of the call's kind are added to them",
            "avp.src = 'carol' avp.why = 'x'",
            &by_value,
            "alice  , bob  , carol x BYE",
        ),
        ("what reads none makes a leg of its own", "avp.why = 'new'", &by_text, "alice  , bob  ,  BYE "),
    ] {
        let mut setup = Setup { recipe: Some(script(&of(body))), ..Setup::new() };
        setup.engine.leg_fields = fields(&[("src", "$avp(src)")]);
        setup.engine.bye_leg_fields = fields(of_bye);
        let mut bench = Bench::new(name, setup);
        bench.play("alice sends INVITE to anybody\n bob gets INVITE\n bob sends 200\n disk writes\n alice gets 200\n alice sends ACK");
        bench.play("bob gets ACK\n alice sends BYE\n bob gets BYE\n bob sends 200");
        let stop = bench.last_record();
        let word = |leg: &crate::record::Fields, name: &str| {
            let value = leg.iter().find(|field| field.0 == name).and_then(|field| field.1.text());
            value.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
        };
        let legs = stop.legs.iter().map(|leg| ["src", "why", "how"].map(|name| word(leg, name)).join(" "));
        assert_eq!(legs.collect::<Vec<_>>().join(", "), want, "{name}");
    }
}

#[test]
fn a_script_that_fails_in_every_call_loses_no_record() {
    let text =
        "function request_route(req) do_accounting('log', 'failed') acc_log_request('200 seen') error('always') end";
    play(
        "no route matches",
        text,
        "alice sends INVITE to anybody
         recorded event 200 for 1; failed 404 own gateway refused for 1
         disk writes
         alice gets 404
         alice sends ACK hop",
    );
}

#[test]
fn calls_are_counted_by_key_until_they_end_over_a_restart_and_refused_beyond_the_limit() {
    let text = "
        function request_route(req)
          if req.has_totag then return relay() end
          do_accounting('log')
          if not count_call('trunk ' .. req.from_user, 1) then return reply(486, 'All lines busy') end
          assert(calls('trunk ' .. req.from_user) == 1)
          relay('sip:bob@192.0.2.20')
        end";
    let mut bench = Bench::new("counted", Setup { recipe: Some(script(text)), ..Setup::new() });
    let call = "alice sends INVITE to free
        bob gets INVITE
        bob sends 200
        recorded start 200 bob for 1
        disk writes
        alice gets 200
        alice sends ACK
        bob gets ACK";
    let refused = "alice sends INVITE to free\n alice gets 486\n alice sends ACK hop";
    bench.play(call);
    assert_eq!(counters().count("trunk alice"), 1);
    bench.play(refused);
    // What is counted again from the calls that are in progress.
    counters().forget();
    bench.play("restart");
    assert_eq!(counters().count("trunk alice"), 1, "after a restart");
    bench.play(refused);
    bench.play(
        "alice sends BYE
         bob gets BYE
         bob sends 200
         recorded stop 200 bob caller bye 0s for 1
         disk writes
         alice gets 200",
    );
    assert_eq!(counters().count("trunk alice"), 0, "the call has ended");
    // A refused call counts until it is over.
    bench.play(
        "alice sends INVITE to free
         bob gets INVITE
         bob sends 404
         bob gets ACK
         disk writes
         alice gets 404
         alice sends ACK hop
         after 40 s",
    );
    assert_eq!(counters().count("trunk alice"), 0, "a refused call");
    bench.play(call);
    assert_eq!(counters().count("trunk alice"), 1);
}

/// `gold` sees all requests of its calls; a header shows which.
const GOLD: &str = "
    function route.gold(req)
      do_accounting('log')
      append_hf('X-By', 'gold')
      if req.has_totag then return relay() end
      relay('sip:bob@192.0.2.20')
    end";

#[test]
fn the_function_that_a_route_names_sees_a_call_to_its_end_over_a_restart() {
    let setup = Setup { recipe: Some(named(GOLD)), ..Setup::new() };
    Bench::new("a named function", setup).run(
        "alice sends INVITE to anybody
         bob gets INVITE containing X-By: gold
         bob sends 200
         recorded start 200 bob for 1
         disk writes
         alice gets 200
         alice sends ACK
         bob gets ACK
         bob sends INFO
         alice gets INFO containing X-By: gold
         restart
         alice sends BYE
         bob gets BYE containing X-By: gold",
    );
}
