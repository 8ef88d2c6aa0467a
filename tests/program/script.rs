//! Scripts in the real gateway: what their calls record, what is refused, and that a reload under calls loses nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::start::Start as _;
use crate::support::{Agent, Gateway, free_ports, sipp, wait_for};

/// A gateway on `port` with this script, whose records go to a file of JSON lines.
fn configuration(dir: &Path, port: u16, script: &str, more: &str) -> String {
    fs::write(dir.join("route.lua"), script).unwrap();
    format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\n[script]\nfile = \"route.lua\"\n{more}\n\
         [queue]\npath = \"queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"admin.sock\"\n\
         [accounting.fields]\ncustomer = \"$avp(customer)\"\n[accounting.leg_fields]\nsrc = \"$avp(src)\"\ndst = \"$avp(dst)\"\n\
         [sinks.file.cdrs]\npath = \"records.json\"\nformat = \"json\"\n"
    )
}

fn tollgate(dir: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = command.args(words).arg("--config").arg(dir.join("tollgate.toml")).finish().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

/// The records of the file, as `kind code customer leg.src/leg.dst`.
fn records(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("records.json")).unwrap_or_default();
    let line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let word = |name: &str| value.get(name).map(|value| value.to_string().replace('"', "")).unwrap_or_default();
        format!("{} {} {} {} {}", word("kind"), word("code"), word("customer"), word("leg.src"), word("leg.dst"))
    };
    text.lines().map(line).collect()
}

/// Two targets one after the other, the legs of each attempt by hand, a field, a record by hand.
const SERIAL: &str = "
function request_route(req)
  if req.has_totag then return relay() end
  do_accounting('cdrs', 'missed')
  acc_extra.customer = req.from_user
  avp.src = req.from_user avp.dst = 'first'
  on_failure('next')
  relay('sip:127.0.0.1:FIRST')
end
function failure_route.next(req, reply)
  if reply.code ~= 486 then return end
  do_accounting('cdrs', 'missed')
  avp.src = 'first' avp.dst = 'second'
  relay('sip:127.0.0.1:SECOND')
end
event_route['dialog:end'] = function(call) log.info('ended', call.customer, call.cause) end
";

#[test]
fn a_call_by_a_script_records_what_the_script_says() {
    let dir = tempfile::tempdir().unwrap();
    let [port, first, second, caller] = free_ports();
    let script = SERIAL.replace("FIRST", &first.to_string()).replace("SECOND", &second.to_string());
    let toml = configuration(dir.path(), port, &script, "");
    let gateway = Gateway::start_on(dir.path(), port, &toml, 9);
    let Some(_busy) = sipp(dir.path(), "uas_busy.xml", first, &[]) else { return };
    let _answers = sipp(dir.path(), "uas.xml", second, &[]);
    let to = format!("127.0.0.1:{port}");
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "3", "-r", "20", "-s", "anybody"]).unwrap();
    wait_for("the calls end", || {
        calls.child.try_wait().unwrap().map(|status| assert!(status.success(), "{}", gateway.log()))
    });
    let found = wait_for("their records", || Some(records(dir.path())).filter(|found| found.len() >= 9));
    for (kind, legs) in [
        ("missed 486", "alice first"),
        ("start 200", "alice, first first, second"),
        ("stop 200", "alice, first first, second"),
    ] {
        let of_kind: Vec<_> = found.iter().filter(|line| line.starts_with(kind)).collect();
        assert_eq!(of_kind.len(), 3, "{kind}: {found:#?}\n{}", gateway.log());
        for line in of_kind {
            let plain = line.replace(['[', ']'], "").replace(',', ", ");
            assert_eq!(plain, format!("{kind} alice {legs}"), "{found:#?}");
        }
    }
    assert_eq!(found.len(), 9);
    wait_for("the end is told", || gateway.log().contains("script: ended alice bye").then_some(()));
}

#[test]
fn a_broken_script_is_refused_and_the_old_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let [port, there, caller] = free_ports();
    let good = format!("function request_route(req) do_accounting('cdrs') relay('sip:127.0.0.1:{there}') end");
    let toml = configuration(dir.path(), port, &good, "");
    let gateway = Gateway::start_on(dir.path(), port, &toml, 9);
    assert_eq!(tollgate(dir.path(), &["check"]).0, Some(0), "{}", tollgate(dir.path(), &["check"]).1);
    for (broken, place, want) in [
        ("function request_route(req)\n  relay(\nend", "route.lua:3:", "unexpected symbol near 'end'"),
        ("do_accounting('log')", "route.lua:1:", "do_accounting: cannot be called from the file itself"),
        ("request_route = 5", "route.lua: ", "`request_route` is a integer, not a function"),
        ("while true do end", "route.lua:1:", "it used "),
        ("\u{e9}\u{0}\u{ff}", "route.lua:1:", "error: "),
    ] {
        fs::write(dir.path().join("route.lua"), broken).unwrap();
        for command in ["check", "reload"] {
            let (code, told) = tollgate(dir.path(), &[command]);
            assert!(
                code != Some(0) && told.contains(place) && told.contains(want),
                "{command} of {broken:?}: {code:?} {told}"
            );
        }
    }
    fs::remove_file(dir.path().join("route.lua")).unwrap();
    assert!(tollgate(dir.path(), &["check"]).1.contains("cannot read"));
    let Some(_answers) = sipp(dir.path(), "uas.xml", there, &[]) else { return };
    let to = format!("127.0.0.1:{port}");
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "1", "-s", "anybody"]).unwrap();
    wait_for("the call ends", || {
        calls.child.try_wait().unwrap().map(|status| assert!(status.success(), "{}", gateway.log()))
    });
    wait_for("its records", || (records(dir.path()).len() == 2).then_some(()));
}

#[test]
fn a_reload_of_the_script_under_calls_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [port, there, caller] = free_ports();
    let text = |number: u32| {
        format!(
            "function request_route(req) do_accounting('cdrs') acc_extra.customer = {number} \
             relay{{ 'sip:127.0.0.1:{there}' }} end"
        )
        .replace("relay{ ", "if req.has_totag then return relay() end relay{ ")
    };
    let toml = configuration(dir.path(), port, &text(0), "");
    let gateway = Gateway::start_on(dir.path(), port, &toml, 9);
    let Some(_answers) = sipp(dir.path(), "uas.xml", there, &[]) else { return };
    let to = format!("127.0.0.1:{port}");
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "400", "-r", "100", "-s", "anybody"]).unwrap();
    let mut number = 0;
    let status = wait_for("the calls end", || {
        number += 1;
        fs::write(dir.path().join("route.lua"), text(number)).unwrap();
        let (code, told) = tollgate(dir.path(), &["reload"]);
        assert_eq!(code, Some(0), "{told}");
        calls.child.try_wait().unwrap()
    });
    assert!(status.success(), "{}", gateway.log());
    let found = wait_for("their records", || Some(records(dir.path())).filter(|found| found.len() >= 800));
    assert_eq!(found.len(), 800);
    let values: std::collections::BTreeSet<_> =
        found.iter().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect();
    assert!(values.len() > 1, "several scripts were at work: {values:?}");
}

#[test]
fn a_script_that_fails_under_load_is_told_once_a_second_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let [port, there, caller] = free_ports();
    let script = "function request_route(req)\n  do_accounting('cdrs', 'failed')\n  req.nothing()\nend";
    let mut toml = configuration(dir.path(), port, script, "");
    toml.push_str(&format!("[[route]]\nto = \"sip:127.0.0.1:{there}\"\n"));
    let gateway = Gateway::start_on(dir.path(), port, &toml, 9);
    let Some(_answers) = sipp(dir.path(), "uas.xml", there, &[]) else { return };
    let to = format!("127.0.0.1:{port}");
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "100", "-r", "200", "-s", "anybody"]).unwrap();
    wait_for("the calls end", || {
        calls.child.try_wait().unwrap().map(|status| assert!(status.success(), "{}", gateway.log()))
    });
    wait_for("the routes took them, and the script's marks hold", || (records(dir.path()).len() == 200).then_some(()));
    let log = gateway.log();
    let told = log.lines().filter(|line| line.contains("the script failed: route.lua:3: `req.nothing`: no such field"));
    let count = told.count();
    assert!((1..20).contains(&count), "{count} lines: {log}");
}

#[test]
fn the_manual_of_scripts_is_a_script_that_passes_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/route.lua")).unwrap();
    fs::write(dir.path().join("tollgate.toml"), configuration(dir.path(), port, &manual, "")).unwrap();
    let (code, told) = tollgate(dir.path(), &["check"]);
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn a_script_brings_its_tests_along() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let script = "
        function request_route(req)
          if req.method ~= 'INVITE' then return reply(405) end
          if is_in(req.src_ip, '10.0.0.0/8') then acc_request('403 Not from there') return reply(403, 'Not from there') end
          do_accounting('cdrs', 'missed')
          on_reply('rings') on_failure('next')
          relay('sip:192.0.2.20')
        end
        function failure_route.next(req, reply) if reply.code == 486 then relay('sip:192.0.2.30') end end
        function reply_route.rings(req, reply) if reply.code == 180 then setflag('RANG') end end
        local function is(a, b) if a ~= b then error(tostring(a) .. ' is not ' .. tostring(b), 2) end end
        function test_a_call_goes_to_the_first_target()
          local made = play(messages.invite)
          is(made.decision, 'relay') is(made.targets[1], 'sip:bob@192.0.2.20') is(made.accounting, 'cdrs') is(made.missed, 'cdrs')
          is(replies(180).accounting, 'cdrs')
          is(fails(486).targets[1], 'sip:bob@192.0.2.30') is(fails(486).decision, 'best')
        end
        function test_strangers_get_403()
          local made = play(messages.invite, '10.1.2.3:5060')
          is(made.decision, 'reply') is(made.code, 403) is(made.reason, 'Not from there') is(#made.records, 0)
        end
        function test_that_is_wrong() is(play(messages.invite).code, 486) end";
    fs::write(dir.path().join("tollgate.toml"), configuration(dir.path(), port, script, "")).unwrap();
    let invite = "INVITE sip:bob@example.com SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1\n\
        From: <sip:alice@example.com>;tag=a\nTo: <sip:bob@example.com>\nCall-ID: c\nCSeq: 1 INVITE\n";
    fs::write(dir.path().join("invite.sip"), invite).unwrap();
    let (code, told) = tollgate(dir.path(), &["script", "test"]);
    assert_eq!(code, Some(1), "{told}");
    for want in [
        "passed test_a_call_goes_to_the_first_target\n",
        "passed test_strangers_get_403\n",
        "FAILED test_that_is_wrong: route.lua:22: nil is not 486\n",
        "error: 1 of 3 tests failed\n",
    ] {
        assert!(told.contains(want), "{want}: {told}");
    }
    fs::write(dir.path().join("route.lua"), script.split("function test_that").next().unwrap()).unwrap();
    assert_eq!(tollgate(dir.path(), &["script", "test"]).0, Some(0));
    let mut there = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let there = there.current_dir(dir.path()).args(["script", "test", "--config", "tollgate.toml"]).finish().unwrap();
    assert_eq!(there.status.code(), Some(0), "{}", String::from_utf8_lossy(&there.stderr));
    fs::write(dir.path().join("route.lua"), "").unwrap();
    assert!(tollgate(dir.path(), &["script", "test"]).1.contains("no function whose name begins with `test_`"));
}

#[test]
fn a_route_has_a_function_of_the_script_decide_its_calls_to_their_end() {
    let dir = tempfile::tempdir().unwrap();
    let [port, there, first, second] = free_ports();
    let script = "
function route.gold(req)
  if req.has_totag then log.info('gold sees', req.method) return relay() end
  acc_extra.customer = 'gold'
  relay('sip:127.0.0.1:THERE')
end"
    .replace("THERE", &there.to_string());
    let mut toml = configuration(dir.path(), port, &script, "");
    toml.push_str(&format!(
        "[accounting]\non = [\"cdrs\"]\n[[route]]\nname = \"to gold\"\nmatch.prefix = \"1\"\nscript = \"gold\"\n\
         [[route]]\nto = \"sip:127.0.0.1:{there}\"\n"
    ));
    let gateway = Gateway::start_on(dir.path(), port, &toml, 9);
    let Some(_answers) = sipp(dir.path(), "uas.xml", there, &[]) else { return };
    let to = format!("127.0.0.1:{port}");
    for (caller, user) in [(first, "100"), (second, "anybody")] {
        let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "2", "-s", user]).unwrap();
        wait_for("the calls end", || {
            calls.child.try_wait().unwrap().map(|status| assert!(status.success(), "{}", gateway.log()))
        });
    }
    let mut found = wait_for("their records", || Some(records(dir.path())).filter(|found| found.len() >= 8));
    found.sort();
    let of = |customer: &str| found.iter().filter(|line| line.split(' ').nth(2) == Some(customer)).count();
    assert_eq!((of("gold"), of(""), of("null")), (4, 0, 4), "{found:#?}");
    let seen = |method: &str| gateway.log().matches(&format!("script: gold sees {method}")).count();
    assert_eq!(seen("BYE"), 2, "{}", gateway.log());

    // A script that lacks the function is refused as a whole.
    fs::write(dir.path().join("route.lua"), script.replace("route.gold", "route.golden")).unwrap();
    for command in ["check", "reload"] {
        let (code, told) = tollgate(dir.path(), &[command]);
        let want = "route.lua has no function `route.gold`";
        assert!(code != Some(0) && told.contains(want), "{command}: {code:?} {told}");
        assert!(told.contains("tollgate.toml:"), "{command}: {told}");
    }
    let mut calls = sipp(dir.path(), "uac.xml", first, &[&to, "-m", "1", "-s", "100"]).unwrap();
    wait_for("the old script goes on", || {
        calls.child.try_wait().unwrap().map(|status| assert!(status.success(), "{}", gateway.log()))
    });
    wait_for("to the end of its call", || (seen("BYE") == 3).then_some(()));
}

/// What `tollgate script trace` prints, and that no sign of it could act on a terminal.
fn trace(dir: &Path, words: &[&str]) -> (Option<i32>, String) {
    let (code, told) = tollgate(dir, &[&["script", "trace"], words].concat());
    assert!(told.chars().all(|sign| sign == '\n' || !sign.is_control()), "{words:?}: {told:?}");
    (code, told)
}

#[test]
fn a_trace_shows_which_lines_have_decided_for_a_call() {
    let dir = tempfile::tempdir().unwrap();
    let [port, first, second, caller] = free_ports();
    let script = SERIAL.replace("FIRST", &first.to_string()).replace("SECOND", &second.to_string());
    let toml = configuration(dir.path(), port, &script, "trace_turns = 50");
    let gateway = Gateway::start_on(dir.path(), port, &toml, 9);
    let Some(_busy) = sipp(dir.path(), "uas_busy.xml", first, &[]) else { return };
    let _answers = sipp(dir.path(), "uas.xml", second, &[]);
    let to = format!("127.0.0.1:{port}");
    let play = || {
        let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "1", "-s", "anybody"]).unwrap();
        wait_for("the call ends", || {
            calls.child.try_wait().unwrap().map(|status| assert!(status.success(), "{}", gateway.log()))
        });
    };
    let turns = |call: &str| {
        let told = trace(dir.path(), &[call, "--json"]).1;
        let json: serde_json::Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"));
        json["turns"].as_array().unwrap().clone()
    };
    let word = |turn: &serde_json::Value, key: &str| turn[key].as_str().unwrap_or_default().to_owned();
    play();
    let all = wait_for("the end is seen", || Some(turns("*")).filter(|turns| turns.len() >= 4));
    let call = word(&all[0], "call_id");

    // As a person reads it.
    let (code, told) = trace(dir.path(), &[&call]);
    assert_eq!(code, Some(0), "{told}");
    let mut rest = told.as_str();
    for want in [
        &format!("{call} request_route for INVITE from "),
        "\n  line 4     do_accounting(\"cdrs\", \"missed\")\n  line 5     acc_extra.customer = ",
        "\n  line 7     on_failure(\"next\")\n",
        &format!("  line 8     relay(\"sip:127.0.0.1:{first}\")\n  relayed, "),
        &format!("{call} failure_route.next for INVITE, response 486\n  line 12    do_accounting("),
        &format!("  line 14    relay(\"sip:127.0.0.1:{second}\")\n  relayed, "),
        &format!("{call} request_route for BYE from "),
        "\n  line 3     relay()\n  relayed, ",
        &format!("{call} event_route.dialog:end\n  done, "),
    ] {
        let at = rest.find(want).unwrap_or_else(|| panic!("{want:?} is not in {rest}\nof {told}"));
        rest = &rest[at..];
    }
    let by_number = trace(dir.path(), &["--number", "anybody"]).1;
    assert_eq!(by_number, told, "the same by the number that was called");

    // Of the script as it is after a reload, with other lines.
    fs::write(dir.path().join("route.lua"), format!("\n\n{script}")).unwrap();
    assert_eq!(tollgate(dir.path(), &["reload"]).0, Some(0));
    play();
    let all = wait_for("both calls", || Some(turns("*")).filter(|turns| turns.len() >= 8));
    let of_request =
        |turn: &&serde_json::Value| word(turn, "handler") == "request_route" && word(turn, "method") == "INVITE";
    let requests: Vec<_> = all.iter().filter(of_request).collect();
    let line = |turn: &serde_json::Value| turn["steps"][0]["line"].as_u64();
    assert_eq!((line(requests[0]), line(requests[1])), (Some(4), Some(6)), "{all:#?}");
    assert!(word(requests[0], "loaded") < word(requests[1], "loaded"), "{all:#?}");

    // Who asks for what is not there is told so, in words fit for a terminal.
    let hostile = format!("\u{1b}[2J\u{7}{}", "c".repeat(10_000));
    for (name, words, want) in [
        ("a call that is not kept", &["nobody"][..], "no handler that is kept has run for the Call-ID `nobody`"),
        (
            "a number",
            &["--number", "4711"],
            "for calls from or to `4711`: each thread keeps its last 50, the oldest is of 2",
        ),
        ("a Call-ID that means harm", &[&hostile], "for the Call-ID `\\u{1b}[2J\\u{7}ccc"),
    ] {
        let (code, told) = trace(dir.path(), words);
        assert!(code == Some(64) && told.contains(want) && told.len() < 400, "{name}: {code:?} {told}");
    }
    for (name, old, new, want) in [
        ("nothing is kept", "trace_turns = 50", "trace_turns = 0", "`[script] trace_turns` is 0"),
        ("there is no script", "file = \"route.lua\"", "file = \"\"", "the gateway has no script"),
    ] {
        fs::write(dir.path().join("tollgate.toml"), toml.replace(old, new)).unwrap();
        let (code, told) = tollgate(dir.path(), &["reload"]);
        assert_eq!(code, Some(0), "{name}: {told}");
        let (code, told) = trace(dir.path(), &[&call]);
        assert!(code == Some(64) && told.contains(want), "{name}: {code:?} {told}");
    }
}

#[test]
fn what_means_harm_to_a_terminal_is_shown_and_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let script = "function request_route(req) acc_extra.id = req.call_id reply(403, req.call_id) end";
    let toml = configuration(dir.path(), port, script, "");
    let gateway = Gateway::start_on(dir.path(), port, &toml, 9);
    let mut agent = Agent::bind("127.0.0.1:0".parse().unwrap());
    let here = agent.address;
    for call in ["plain".to_owned(), format!("c\u{1b}[2J\u{7}\u{9b}31m{}", "d".repeat(10_000))] {
        let invite = format!(
            "INVITE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@example.net>;tag=a\r\nTo: <sip:bob@example.org>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
             Content-Length: 0\r\n\r\n",
            call.len()
        );
        agent.send(invite.as_bytes(), gateway.address());
        wait_for("a response", || agent.take().filter(|wire| wire.code() >= 200));
    }
    let (code, told) = trace(dir.path(), &[]);
    assert!(code == Some(0) && told.contains(" plain request_route for INVITE"), "{told}");
    assert!(told.len() < 4_000, "{} octets", told.len());
    assert!(told.contains("c\\x1b[2J\\x07\\x9b31mdddd"), "it was taken: {told}");
}

#[test]
fn tests_of_a_script_play_what_a_route_names_to_the_end_of_a_call() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let script = "
        function route.gold(req)
          if req.has_totag then do_accounting('cdrs', 'failed') return relay() end
          relay('sip:192.0.2.41')
        end
        function test_gold_sees_both()
          local made = play(messages.invite)
          assert(made.targets[1] == 'sip:bob@192.0.2.41' and made.route == 'to gold' and made.failed == '', made.route)
          made = play(messages.bye)
          assert(made.decision == 'relay' and made.failed == 'cdrs', made.failed)
        end";
    let mut toml = configuration(dir.path(), port, script, "");
    toml.push_str("[[route]]\nname = \"to gold\"\nscript = \"gold\"\n");
    fs::write(dir.path().join("tollgate.toml"), toml).unwrap();
    let request = |method: &str, tag: &str| {
        format!(
            "{method} sip:bob@example.com SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1\n\
             From: <sip:alice@example.com>;tag=a\nTo: <sip:bob@example.com>{tag}\nCall-ID: c\nCSeq: 1 {method}\n"
        )
    };
    fs::write(dir.path().join("invite.sip"), request("INVITE", "")).unwrap();
    fs::write(dir.path().join("bye.sip"), request("BYE", ";tag=b")).unwrap();
    let (code, told) = tollgate(dir.path(), &["script", "test"]);
    assert_eq!((code, told.as_str()), (Some(0), "passed test_gold_sees_both\n"));
}
