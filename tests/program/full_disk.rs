//! Whatever is full when a call ends, its Stop is kept: with calls up, through the real binary, on a small file system.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::disk::recorder;
use crate::support::small::Small;
use crate::support::start::Start as _;
use crate::support::{Agent, Gateway, Side, Wire, free_ports, wait_for};

/// Calls that are up while the disk gets full.
const CALLS: usize = 30;

/// Nobody answers at this RADIUS port: records wait.
const DEAD: u16 = 9;

/// A gateway and both ends of its calls.
struct World {
    gateway: Gateway,
    caller: Agent,
    callee: Agent,
}

/// An answered call, as the caller sees it.
struct Call {
    id: String,
    side: Side,
}

impl World {
    fn start(dir: &Path, queue: &str) -> Self {
        Self::start_with(dir, queue, &[])
    }

    fn start_with(dir: &Path, queue: &str, environment: &[(&str, &OsStr)]) -> Self {
        let agent = |host| Agent::bind(SocketAddr::from(([127, 0, 0, host], 0)));
        let (caller, callee) = (agent(2), agent(1));
        let ([port], dir) = (free_ports(), dir.join("gateway"));
        std::fs::create_dir_all(&dir).unwrap();
        let (folder, target) = (dir.display(), callee.address);
        let toml = format!(
            "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\nsource_per_second_max = 0\n\n\
             [[route]]\nto = [\"sip:{target}\"]\n\n[accounting]\non = [\"radius\"]\n\
             flags = [\"missed\", \"failed\"]\n\n\
             [queue]\npath = \"{folder}/queue\"\n{queue}\n\n\
             [sinks.radius.test]\nconfig = \"{folder}/radiusclient.conf\"\n\n[admin]\nsocket = \"{folder}/admin.sock\"\n"
        );
        Self { gateway: Gateway::start_in(&dir, port, &toml, DEAD, environment), caller, callee }
    }

    fn via(&self, id: &str, what: &str) -> String {
        format!("SIP/2.0/UDP {};branch=z9hG4bK{id}{what};rport", self.caller.address)
    }

    fn invite(&self, id: &str) -> Wire {
        let (here, via) = (self.caller.address, self.via(id, ""));
        let text = format!(
            "INVITE sip:bob@example.org SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@example.net>;tag=a\r\nTo: <sip:bob@example.org>\r\nCall-ID: {id}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:alice@{here}>\r\nContent-Length: 0\r\n\r\n"
        );
        Wire::read(text.as_bytes())
    }

    /// Sends a request until it has its final answer; the callee gives `status` to what reaches it.
    fn ask(&mut self, request: &Wire, id: &str, status: &[u8]) -> Wire {
        let to = self.gateway.address();
        let mut looks = 0_u32;
        wait_for("a final answer", || {
            if looks.is_multiple_of(25) {
                self.caller.send(&request.octets(), to);
            }
            looks += 1;
            while let Some(wire) = self.callee.take() {
                if wire.method() != "SIP/2.0" && wire.method() != "ACK" {
                    let contact = format!("Contact: <sip:bob@{}>", self.callee.address).into_bytes();
                    self.callee.send(&wire.answer(status, "b", &[contact], b"").octets(), to);
                }
            }
            self.caller.take().filter(|wire| {
                let own = wire.value("call-id") == id.as_bytes() && wire.value("cseq") == request.value("cseq");
                own && wire.code() >= 200
            })
        })
    }

    fn begin(&mut self, id: &str) -> Call {
        let invite = self.invite(id);
        let answer = self.ask(&invite, id, b"200 OK");
        assert_eq!(answer.code(), 200, "{}", answer.text());
        let side = Side::caller(&invite, &answer);
        self.caller.send(&side.request("ACK", 1, &self.via(id, "ack")).octets(), self.gateway.address());
        Call { id: id.to_owned(), side }
    }

    fn end(&mut self, call: &Call) {
        let bye = call.side.request("BYE", 2, &self.via(&call.id, "bye"));
        assert_eq!(self.ask(&bye, &call.id, b"200 OK").code(), 200);
    }

    /// A call that fails; the code its caller gets.
    fn fail(&mut self, id: &str) -> u16 {
        let answer = self.ask(&self.invite(id), id, b"486 Busy Here");
        self.acknowledge(&answer);
        answer.code()
    }

    /// Many calls at once, which all find the callee busy.
    fn fail_many(&mut self, ids: &[String]) {
        let to = self.gateway.address();
        for part in ids.chunks(20) {
            let mut open: HashSet<&[u8]> = part.iter().map(String::as_bytes).collect();
            part.iter().for_each(|id| self.caller.send(&self.invite(id).octets(), to));
            wait_for("all are busy", || {
                while let Some(wire) = self.callee.take() {
                    if wire.method() == "INVITE" {
                        self.callee.send(&wire.answer(b"486 Busy Here", "b", &[], b"").octets(), to);
                    }
                }
                while let Some(answer) = self.caller.take() {
                    assert_eq!(answer.code(), 486, "served, as `on_trouble` says");
                    self.acknowledge(&answer);
                    open.remove(answer.value("call-id"));
                }
                open.is_empty().then_some(())
            });
        }
    }

    fn acknowledge(&self, refusal: &Wire) {
        let lines = ["via", "from", "to", "call-id"].map(|name| refusal.all(name)[0].to_vec());
        let more = [b"CSeq: 1 ACK".to_vec(), b"Content-Length: 0".to_vec()];
        let start = b"ACK sip:bob@example.org SIP/2.0".to_vec();
        let ack = Wire { start, lines: lines.into_iter().chain(more).collect(), body: Vec::new() };
        self.caller.send(&ack.octets(), self.gateway.address());
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.gateway.command(&["queue", "status", "--json"])).unwrap()
    }

    /// Call-IDs of the records of a kind in the queue.
    fn recorded(&self, kind: &str) -> Vec<String> {
        let all = self.gateway.command(&["queue", "export"]);
        let records = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let own = records.filter(|item| item["record"]["kind"] == kind);
        let mut ids: Vec<_> = own.map(|item| item["record"]["call_id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    }

    /// Every call has its Stop, once, and none stands in the queue any more: also after `kill -9`.
    fn check(mut self, calls: &[Call], name: &str) {
        self.gateway.process.kill();
        let mut ids: Vec<_> = calls.iter().map(|call| call.id.clone()).collect();
        ids.sort();
        assert_eq!(self.recorded("stop"), ids, "{name}");
        assert_eq!(self.status()["records"]["lost"], 0, "{name}");
        self.gateway.start_again();
        let left: Value = serde_json::from_str(&self.gateway.command(&["calls", "--json"])).unwrap();
        assert_eq!(left["total"], 0, "{name}: {left}");
    }
}

/// A disk with too little room for a journal beside the queue's databases.
const NO_JOURNAL_MIB: u32 = 24;

#[test]
fn on_a_full_disk_every_answered_bye_has_its_stop() {
    for (name, disk_mib, reserve_mib) in [
        ("the reserve takes them", NO_JOURNAL_MIB, 8),
        ("they wait in memory for the disk", NO_JOURNAL_MIB, 0),
        ("the journal has room for them", 48, 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let Some(small) = Small::mount(&dir.path().join("gateway/queue"), disk_mib) else { return };
        let queue = format!("free_min_mib = 0\nreserve_mib = {reserve_mib}");
        let mut world = World::start(dir.path(), &queue);
        let calls: Vec<_> = (0..CALLS).map(|n| world.begin(&format!("call{n}"))).collect();
        small.fill();
        // Whoever writes to the full disk first may be an end of a call or a call of somebody else.
        calls.iter().for_each(|call| world.end(call));
        let status = world.status();
        assert_eq!(status["records"]["lost"], 0, "{name}: {status}");
        if disk_mib > NO_JOURNAL_MIB {
            assert_eq!(status["records"]["unwritten"], 0, "{name}: {status}");
            // Also what only the journal has comes back, as soon as the database has room for it.
            small.empty();
        } else if reserve_mib == 0 {
            assert_eq!(world.fail("other"), 503, "{name}: new calls are refused");
            let alarm = status["alarm"].to_string();
            assert!(alarm.contains("the disk is full") && alarm.contains("new calls get 503"), "{name}: {alarm}");
            let told = world.gateway.command(&["queue", "status"]);
            assert!(told.contains("UNWRITTEN: ") && told.contains("ALARM: nothing can be written"), "{name}: {told}");
            small.empty();
            wait_for("the disk takes what waited", || (world.status()["records"]["unwritten"] == 0).then_some(()));
        } else {
            wait_for("new calls are refused", || (world.fail("other") == 503).then_some(()));
            let status = world.status();
            assert!(status["alarm"].to_string().contains("reserve"), "{name}: {status}");
        }
        world.check(&calls, name);
    }
}

#[test]
fn while_the_disk_takes_nothing_new_calls_go_by_on_trouble_and_it_comes_right_by_itself() {
    let (eio, enospc, erofs) = (libc::EIO, libc::ENOSPC, libc::EROFS);
    for (name, fault, on_trouble, code, words) in [
        ("read-only", format!("write / 0 1000000 {erofs}"), "refuse", 503, "Read-only file system"),
        ("read-only, calls are served", format!("write / 0 1000000 {erofs}"), "serve", 486, "Read-only file system"),
        ("full", format!("write / 0 1000000 {enospc}"), "refuse", 503, "the disk is full"),
        ("no sync succeeds", format!("sync / 0 1000000 {eio}"), "refuse", 503, "Input/output error"),
        ("sled alone cannot write", format!("write /db 0 1000000 {eio}"), "refuse", 486, ""),
        (
            "the journal alone cannot",
            format!("sync /journal 0 1000000 {eio}"),
            "refuse",
            486,
            "/journal: Input/output error",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let Some(library) = recorder(dir.path()) else { return };
        let (is_bad, root) = (dir.path().join("bad"), dir.path().join("gateway/queue"));
        let environment = [
            ("LD_PRELOAD", library.as_os_str()),
            ("RECORD_ROOT", root.as_os_str()),
            ("RECORD_FAIL", OsStr::new(&fault)),
            ("RECORD_WHILE", is_bad.as_os_str()),
        ];
        let queue = format!("free_min_mib = 0\nreserve_mib = 0\non_trouble = \"{on_trouble}\"");
        let mut world = World::start_with(dir.path(), &queue, &environment);
        let calls: Vec<_> = (0..CALLS / 5).map(|n| world.begin(&format!("call{n}"))).collect();
        std::fs::write(&is_bad, "").unwrap();
        calls.iter().for_each(|call| world.end(call));
        let takes_nothing = || world.status()["records"]["unwritten"].as_u64().unwrap() > 0;
        assert_eq!(takes_nothing(), code == 503 || on_trouble == "serve", "{name}");
        assert_eq!(world.fail("while"), code, "{name}");
        wait_for(&format!("{name}: it is told"), || world.gateway.log().contains(words).then_some(()));
        std::fs::remove_file(&is_bad).unwrap();
        wait_for("the disk takes what waited", || (world.status()["records"]["unwritten"] == 0).then_some(()));
        wait_for("new calls are taken", || (world.fail("after") == 486).then_some(()));
        world.check(&calls, name);
    }
}

/// A fault that all files of the ledger have while a file is there, and that file.
fn ledger_fault(dir: &Path, fault: &str) -> Option<(Vec<(&'static str, OsString)>, PathBuf)> {
    let (library, is_bad) = (recorder(dir)?, dir.join("bad"));
    let environment = vec![
        ("LD_PRELOAD", library.into_os_string()),
        ("RECORD_ROOT", dir.join("gateway/queue-ledger").into_os_string()),
        ("RECORD_FAIL", format!("{fault} 0 1000000 {}", libc::ENOSPC).into()),
        ("RECORD_WHILE", is_bad.clone().into_os_string()),
    ];
    Some((environment, is_bad))
}

/// What `tollgate audit` says of all days of the test.
fn audit(world: &World) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["audit", "--from", "2020-01-01", "--zone", "UTC", "--json", "--config"]);
    let output = command.arg(world.gateway.dir.join("tollgate.toml")).finish().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn while_the_disk_of_the_ledger_is_full_calls_go_by_on_trouble_and_nothing_is_missing_later() {
    for (on_trouble, code) in [("gap", 486), ("refuse", 503)] {
        let dir = tempfile::tempdir().unwrap();
        let Some((environment, is_bad)) = ledger_fault(dir.path(), "write /") else { return };
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
        let more = format!("free_min_mib = 0\n\n[ledger]\non_trouble = \"{on_trouble}\"");
        let mut world = World::start_with(dir.path(), &more, &environment);
        assert_eq!(world.fail("before"), 486, "{on_trouble}");
        std::fs::write(&is_bad, "").unwrap();
        assert_eq!(world.fail("first"), 486, "{on_trouble}: nobody knows yet");
        let ledger = |world: &World| -> Value {
            let status: Value = serde_json::from_str(&world.gateway.command(&["status", "--json"])).unwrap();
            status["ledger"].clone()
        };
        // It was tried again then.
        let fails = |own: Value| own["failing"].is_string() && own["oldest_s"].as_f64().unwrap() > 2.5;
        wait_for("the ledger fails for a while", || fails(ledger(&world)).then_some(()));
        wait_for(&format!("{on_trouble}: a new call gets {code}"), || (world.fail("while") == code).then_some(()));
        let text = world.gateway.command(&["status"]);
        assert!(text.contains("CANNOT BE WRITTEN: No space left on device"), "{on_trouble}: {text}");
        std::fs::remove_file(&is_bad).unwrap();
        wait_for("it comes right by itself", || ledger(&world)["failing"].is_null().then_some(()));
        wait_for("new calls are taken", || (world.fail("after") == 486).then_some(()));
        wait_for("the log says so", || world.gateway.log().contains("and nothing is missing").then_some(()));
        let log = world.gateway.log();
        assert_eq!(log.matches("the ledger cannot be written").count(), 1, "{on_trouble}: {log}");
        let (audit, own) = (audit(&world), ledger(&world));
        assert_eq!(
            (&audit["gaps"], &own["missed_rows"]),
            (&Value::Array(Vec::new()), &0.into()),
            "{on_trouble}: {audit}"
        );
        let records = ["failed", "missed"].map(|kind| world.recorded(kind).len() as u64);
        assert_eq!(audit["records"].as_u64(), Some(records.iter().sum()), "{on_trouble}: {audit}");
    }
}

#[test]
fn what_the_ledger_has_no_room_for_is_a_gap_that_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    // Of a file that cannot even be made no row waits.
    let Some((environment, is_bad)) = ledger_fault(dir.path(), "create .ledger") else { return };
    std::fs::write(&is_bad, "").unwrap();
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
    let mut world = World::start_with(dir.path(), "free_min_mib = 0", &environment);
    for number in 0..3 {
        assert_eq!(world.fail(&format!("missing{number}")), 486);
    }
    let missed = |world: &World| -> u64 {
        let status: Value = serde_json::from_str(&world.gateway.command(&["status", "--json"])).unwrap();
        status["ledger"]["missed_rows"].as_u64().unwrap()
    };
    wait_for("their rows are missed", || (missed(&world) == 6).then_some(()));
    std::fs::remove_file(&is_bad).unwrap();
    wait_for("the log has the gap", || world.gateway.log().contains("the ledger has a gap").then_some(()));
    assert_eq!(world.fail("after"), 486);
    let log = world.gateway.log();
    for words in ["the ledger cannot be written", "the ledger has a gap"] {
        assert_eq!(log.matches(words).count(), 1, "{words}: {log}");
    }
    let audit = audit(&world);
    let gaps = audit["gaps"].as_array().unwrap();
    assert!(gaps.len() == 1 && audit["complete"] == false, "{audit}");
    let why = gaps[0]["why"].as_str().unwrap();
    assert!(why.contains("have no row: it could not be written"), "{why}");
    assert_eq!(audit["records"], 2, "what came later is there, a failed and a missed call: {audit}");
}

#[test]
fn beyond_the_limit_of_records_every_answered_bye_has_its_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::start(dir.path(), "free_min_mib = 0\nrecords_max = 1000\non_trouble = \"serve\"");
    let calls: Vec<_> = (0..CALLS).map(|n| world.begin(&format!("call{n}"))).collect();
    let mut number = 0;
    // 9/8 of the limit.
    while world.status()["waiting"].as_u64().unwrap() <= 1125 {
        let ids: Vec<_> = (number..number + 200).map(|number| format!("busy{number}")).collect();
        number += 200;
        world.fail_many(&ids);
    }
    calls.iter().for_each(|call| world.end(call));
    world.check(&calls, "records_max");
}

#[test]
fn a_stop_on_a_full_disk_waits_for_room_or_keeps_the_records_elsewhere() {
    for (name, gets_room) in [("it gets room while the service stops", true), ("it stays full", false)] {
        let dir = tempfile::tempdir().unwrap();
        let Some(small) = Small::mount(&dir.path().join("gateway/queue"), NO_JOURNAL_MIB) else { return };
        let queue = "free_min_mib = 0\nreserve_mib = 0\n[service]\nstop_timeout_s = 1";
        let mut world = World::start(dir.path(), queue);
        let calls: Vec<_> = (0..CALLS).map(|n| world.begin(&format!("call{n}"))).collect();
        small.fill();
        calls.iter().for_each(|call| world.end(call));
        assert!(world.status()["records"]["unwritten"].as_u64().unwrap() > 0, "{name}");
        world.gateway.process.signal(libc::SIGTERM);
        if gets_room {
            wait_for("the queue stops", || world.gateway.log().contains("the stop goes on trying").then_some(()));
            small.empty();
        }
        world.gateway.process.wait("the service has stopped");
        if !gets_room {
            small.empty();
        }
        let kept = std::fs::read_dir(dir.path().join("gateway")).unwrap().map(|entry| entry.unwrap().path());
        let kept: Vec<_> = kept.filter(|path| path.to_string_lossy().contains("unwritten-")).collect();
        let lost = world.status()["records"]["lost"].as_u64().unwrap();
        world.gateway.start_again();
        if gets_room {
            assert_eq!((kept.len(), lost), (0, 0), "{name}");
        } else {
            let [file] = &kept[..] else { panic!("{name}: {kept:?} {}", world.gateway.log()) };
            assert!(lost > 0, "{name}: they are not in the queue");
            let log = world.gateway.log();
            assert!(log.contains(&format!("{}", file.display())), "{name}: {log}");
            let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600, "{name}");
            let said = world.gateway.command(&["queue", "import", file.to_str().unwrap()]);
            // Of a write that failed a part may be on the disk all the same: that is not put back a second time.
            let counts = said.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
            assert_eq!(counts.sum::<u64>(), lost, "{name}: {said}");
        }
        let mut ids: Vec<_> = calls.iter().map(|call| call.id.clone()).collect();
        ids.sort();
        assert_eq!(world.recorded("stop"), ids, "{name}");
    }
}
