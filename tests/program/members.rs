//! `tollgate … --cluster` with real nats-servers: what all gateways and deliverers say, and what they do.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use async_nats::jetstream::Context;
use async_nats::jetstream::message::PublishMessage;
use futures_util::StreamExt as _;
use serde_json::{Value as Json, json};
use tollgate::cluster::names;
use tollgate::ids::{CallHash, RecordId};
use tollgate::record::{Kind, codec};

use crate::support::nats_cluster::Servers;
use crate::support::radius::{field, record};
use crate::support::start::Start as _;
use crate::support::{Gateway, Running, free_ports, sipp, wait_for};

const PARTITIONS: u16 = 4;

/// Octets of a long field.
const FIELD_OCTETS: usize = 4_000;

/// It takes commands.
const OPEN: &str = "commands = true\n";

/// Two gateways and two deliverers, whose only sink writes lines into a folder that is not there.
struct Lab {
    dir: PathBuf,
    servers: Servers,
    gateways: Vec<Gateway>,
    deliverers: Vec<Running>,
}

/// What a command has come to.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}: {}", self.out, self.err))
    }
}

/// Runs a command with the configuration of a folder.
fn ask(folder: &Path, words: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = command.args(words).arg("--config").arg(folder.join("tollgate.toml")).finish().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// Lines of `[cluster]`.
fn cluster(servers: &Servers, name: &str, more: &str) -> String {
    let urls = servers.list();
    format!(
        "[cluster]\nnats = {urls}\nname = \"{name}\"\nreplicas = 1\npartitions = {PARTITIONS}\nlease_ms = 2000\n{more}"
    )
}

/// A folder with this configuration.
fn folder(dir: &Path, name: &str, toml: &str) -> PathBuf {
    let folder = dir.join(name);
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("tollgate.toml");
    fs::write(&file, toml).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

/// A deliverer with the configuration of a folder.
fn deliver(folder: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["deliver", "--config"]).arg(folder.join("tollgate.toml"));
    Running::start(&mut command, folder.join("out"))
}

impl Lab {
    /// `None` when nats-server is not installed. `more` is what the servers are configured with, `own` are lines of
    /// `[cluster]` by name.
    fn start(dir: &Path, more: &str, own: impl Fn(&str) -> String) -> Option<Self> {
        Self::start_to(dir, 9, more, own)
    }

    /// The same, with the port to which calls go.
    fn start_to(dir: &Path, callee: u16, more: &str, own: impl Fn(&str) -> String) -> Option<Self> {
        Some(Self::on(dir, Servers::start(dir, 1, more)?, callee, own))
    }

    /// The same, on these servers.
    fn on(dir: &Path, servers: Servers, callee: u16, own: impl Fn(&str) -> String) -> Self {
        let mut lab = Self { dir: dir.to_owned(), servers, gateways: Vec::new(), deliverers: Vec::new() };
        // One of each kind has the same name.
        for name in ["one", "gw2"] {
            let [port] = free_ports();
            let (shown, cluster) = (dir.join(name).display().to_string(), cluster(&lab.servers, name, &own(name)));
            fs::create_dir_all(dir.join(name)).unwrap();
            let toml = format!(
                "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
                 [accounting]\non = [\"lines\"]\n[queue]\npath = \"{shown}/queue\"\nfree_min_mib = 0\n\
                 [admin]\nsocket = \"{shown}/admin.sock\"\n[sinks.file.lines]\npath = \"{shown}/lines.json\"\n{cluster}"
            );
            lab.gateways.push(Gateway::start_on(&dir.join(name), port, &toml, 9));
        }
        for name in ["one", "two"] {
            let cluster = cluster(&lab.servers, name, &own(name));
            let shown = dir.join(format!("deliver-{name}")).display().to_string();
            let toml = format!(
                "{cluster}[deliver]\ndirectory = \"{shown}/hand\"\nsocket = \"{shown}/deliver.sock\"\n\
                 [queue]\nfree_min_mib = 0\nreserve_mib = 0\n\
                 [sinks.file.lines]\npath = \"{}/there/{name}.json\"\nformat = \"json\"\nrotate_s = 0\nsync = \"never\"\n",
                dir.display()
            );
            lab.deliverers.push(deliver(&folder(dir, &format!("deliver-{name}"), &toml)));
        }
        lab
    }

    /// The folder of an operator, whose configuration has nothing but the cluster.
    fn operator(&self, more: &str) -> PathBuf {
        folder(&self.dir, "operator", &cluster(&self.servers, "operator", more))
    }

    /// Waits until all of them answer and each deliverer has two partitions.
    fn wait_whole(&self, operator: &Path) -> Json {
        wait_for("all answer", || {
            let said = ask(operator, &["status", "--cluster", "--json"]);
            let status: Json = serde_json::from_str(&said.out).ok()?;
            let has = |member: &Json| member["answer"]["deliverer"]["own"].as_array().is_some_and(|own| own.len() == 2);
            let having = status["members"].as_array()?.iter().filter(|member| has(member)).count();
            (said.code == 0 && having == 2).then_some(status)
        })
    }

    /// Publishes Starts with so many long fields as a gateway does.
    fn publish(&self, options: ConnectOptions, numbers: std::ops::Range<u64>, fields: usize) {
        self.publish_for("lines", options, numbers, fields);
    }

    /// The same for a sink of this name.
    fn publish_for(&self, sink: &str, options: ConnectOptions, numbers: std::ops::Range<u64>, fields: usize) {
        let work = async |context: Context| {
            for number in numbers {
                let fields = (0..fields).map(|number| field(&format!("f{number}"), "x".repeat(FIELD_OCTETS)));
                let mut own = record(Kind::Start, number, fields.collect());
                own.id = RecordId(u128::from(number) << 8);
                let partition = names::partition(CallHash::of(&own.call_id), PARTITIONS);
                let message = PublishMessage::build().payload(codec::encode(&own).into());
                let message = message.message_id(names::message_id(&own, sink));
                let subject = names::records("tollgate", sink, partition);
                context.send_publish(subject, message).await.unwrap().await.unwrap();
            }
        };
        self.servers.with_options(options, work);
    }

    /// Of which sessions the deliverers have written something. A record that was on its way when it was parked may be there
    /// twice.
    fn written(&self) -> BTreeSet<String> {
        let files = fs::read_dir(self.dir.join("there")).into_iter().flatten().flatten();
        let text: String = files.map(|entry| fs::read_to_string(entry.path()).unwrap_or_default()).collect();
        let session = |line: &str| Some(serde_json::from_str::<Json>(line).ok()?["session"].as_str()?.to_owned());
        text.lines().filter_map(session).collect()
    }
}

/// The states of all that are known, as `role name`.
fn states(answer: &Json) -> Vec<(String, String)> {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let member = |own: &Json| (format!("{} {}", text(&own["role"]), text(&own["name"])), text(&own["state"]));
    answer["members"].as_array().unwrap().iter().map(member).collect()
}

fn state<'s>(states: &'s [(String, String)], who: &str) -> &'s str {
    states.iter().find(|(own, _)| own == who).map_or("unknown", |(_, state)| state)
}

#[test]
fn the_status_of_all_has_everybody_and_names_who_does_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut lab) = Lab::start(dir.path(), "", |_| String::new()) else { return };
    let operator = lab.operator("");
    let status = lab.wait_whole(&operator);
    assert_eq!((&status["partitions"], &status["partitions_with_nobody"]), (&json!(4), &json!([])));
    let all = ["gateway gw2", "gateway one", "deliverer one", "deliverer two"];
    let answering = all.map(|who| (who.to_owned(), "answers".to_owned()));
    assert_eq!(states(&status), answering);
    let said = ask(&lab.dir.join("gw2"), &["status", "--cluster"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.contains("2 gateways, 2 deliverers answer"), "{}", said.out);
    assert!(said.out.contains("4, each with a deliverer"), "{}", said.out);

    // One that hangs holds nobody up.
    lab.gateways[1].process.freeze();
    let begin = Instant::now();
    let said = ask(&operator, &["queue", "status", "--cluster", "--json"]);
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    let seen = states(&said.json());
    assert_eq!((said.code, state(&seen, "gateway gw2"), state(&seen, "gateway one")), (2, "silent", "answers"));
    assert!(said.err.contains("gateway `gw2`: it has not answered within 5 s"), "{}", said.err);
    lab.gateways[1].process.signal(libc::SIGCONT);
    wait_for("it goes on", || (ask(&operator, &["calls", "--cluster"]).code == 0).then_some(()));

    // One that is dead is told at once; its lease stays. One that has ended in order is missed by nobody.
    lab.gateways[1].process.kill();
    lab.deliverers[1].signal(libc::SIGTERM);
    assert!(lab.deliverers[1].wait("the deliverer").success());
    let said = ask(&operator, &["status", "--cluster"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("gateway `gw2`: nobody answers by this name"), "{}", said.err);
    assert!(said.out.contains("1 of 2 gateways") && said.out.contains("has ended in order"), "{}", said.out);
    assert!(said.out.contains("DOES NOT ANSWER"), "{}", said.out);
    wait_for("its name is taken over", || {
        let said = ask(&operator, &["status", "--cluster", "--json"]);
        let json = said.json();
        let gateway = json["members"].as_array()?.iter().find(|member| member["name"] == "gw2")?.clone();
        (gateway["taken_over_by"] == "one" && gateway["state"] == "silent").then_some(())
    });
    let forget = |role: &str, name: &str| ask(&operator, &["cluster", "forget", role, name]);
    let said = forget("gateway", "one");
    assert!(said.code == 1 && said.err.contains("gateway `one` answers: it is not gone"), "{}", said.err);
    let said = forget("deliverer", "gw2");
    assert!(said.code == 64 && said.err.contains("known are gateway `gw2`, gateway `one`"), "{}", said.err);
    wait_for("it is forgotten", || (forget("gateway", "gw2").code == 0).then_some(()));
    let status = ask(&operator, &["status", "--cluster", "--json"]).json();
    assert_eq!(states(&status).len(), 3, "{status}");
    assert_eq!(status["complete"], true, "{status}");
    let said = ask(&operator, &["status", "--cluster", "--socket", "/nowhere"]);
    assert!(said.code == 64 && said.err.contains("give one of the two"), "{}", said.err);
}

#[test]
fn while_the_bucket_does_not_answer_those_are_asked_that_answer_a_call_to_all() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 3, "") else { return };
    let lab = Lab::on(dir.path(), servers, 9, |_| String::new());
    let operator = lab.operator("");
    lab.wait_whole(&operator);
    // The only server that has it.
    let leader = lab.servers.leader("KV_TOLLGATE_STATE");
    lab.servers.tell(&format!("kill {leader}"));
    let said = wait_for("all answer the call", || {
        let said = ask(&operator, &["status", "--cluster", "--json"]);
        let json: Json = serde_json::from_str(&said.out).ok()?;
        let all = states(&json);
        (all.len() == 4 && all.iter().all(|(_, state)| state == "answers")).then_some(said)
    });
    assert_eq!((said.code, &said.json()["complete"]), (2, &json!(false)), "{}", said.err);
    assert!(said.err.contains("who does not answer now is not known"), "{}", said.err);
    lab.servers.tell(&format!("start {leader}"));
    lab.wait_whole(&operator);
}

#[test]
fn parked_records_are_shown_and_tried_again_wherever_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let own = |name: &str| if name == "two" { String::new() } else { OPEN.to_owned() };
    let Some(mut lab) = Lab::start(dir.path(), "", own) else { return };
    let operator = lab.operator("");
    lab.wait_whole(&operator);
    lab.publish(ConnectOptions::new(), 0..40, 0);
    let waiting = |name: &str| {
        let socket = lab.dir.join(format!("deliver-{name}/deliver.sock"));
        let said = ask(&operator, &["queue", "status", "--json", "--socket", socket.to_str().unwrap()]);
        said.json()["waiting"].as_u64().unwrap_or(0)
    };
    wait_for("both have taken what is theirs", || (waiting("one") + waiting("two") == 40).then_some(()));
    let (one, two) = (waiting("one"), waiting("two"));
    assert!(one > 0 && two > 0, "{one} and {two}");

    // Who does not let commands in is named, and the others do it.
    let said = ask(&operator, &["queue", "park", "--all", "--state", "waiting", "--cluster", "--json"]);
    let told = said.json();
    assert_eq!((said.code, &told["records"], &told["complete"]), (2, &json!(one), &json!(false)), "{}", said.err);
    assert!(said.err.contains("deliverer `two`: this process takes no commands"), "{}", said.err);
    let socket = lab.dir.join("deliver-two/deliver.sock");
    let said = ask(&operator, &["queue", "park", "--all", "--socket", socket.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{}", said.err);

    let said = ask(&operator, &["queue", "parked", "--cluster", "--json", "--max", "30"]);
    let told = said.json();
    let items = told["records"].as_array().unwrap();
    assert_eq!((said.code, items.len(), &told["more"]), (0, 30, &json!(10)), "{}", said.err);
    let holders: BTreeSet<_> = items.iter().filter_map(|item| item["member"]["name"].as_str()).collect();
    assert_eq!(holders, BTreeSet::from(["one", "two"]));
    let of = |name: &str| {
        items.iter().find(|item| item["member"]["name"] == name).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (here, there) = (of("one"), of("two"));
    let item = items.iter().find(|item| item["id"] == here.as_str()).unwrap();
    let session = item["record"]["session"].as_str().unwrap().to_owned();

    // Their backend is there again.
    fs::create_dir(lab.dir.join("there")).unwrap();
    let said = ask(&lab.dir.join("gw2"), &["queue", "retry", &here, "--cluster"]);
    assert_eq!((said.code, said.err.is_empty()), (2, false), "{}", said.out);
    assert!(said.out.starts_with("1 to be tried again\n  1 at deliverer `one`\n"), "{}", said.out);
    wait_for("it is delivered", || lab.written().contains(&session).then_some(()));
    let said = ask(&operator, &["queue", "retry", &there, "--cluster"]);
    assert!(said.code == 2 && said.out.starts_with("0 to be"), "{}: {}", said.out, said.err);
    let said = ask(&operator, &["queue", "retry", "17", "--cluster"]);
    assert!(said.code == 64 && said.err.contains("of one queue alone"), "{}", said.err);
    let said = ask(&operator, &["queue", "retry", "--all", "--sink", "nowhere", "--cluster"]);
    assert_eq!(said.code, 64, "{}", said.err);

    // Records of a dead deliverer are shown as nobody's until another has its partitions, and then are its.
    lab.deliverers[1].kill();
    let said = ask(&operator, &["queue", "parked", "--cluster", "--json", "--max", "100"]);
    let told = said.json();
    assert_eq!((said.code, told["records"].as_array().unwrap().len()), (2, 39), "{}", said.err);
    wait_for("the other has them", || {
        let told = ask(&operator, &["queue", "parked", "--cluster", "--json", "--max", "100"]).json();
        let items = told["records"].as_array()?.clone();
        (items.len() == 39 && items.iter().all(|item| item["member"]["name"] == "one")).then_some(())
    });
    let said = ask(&operator, &["queue", "retry", "--all", "--state", "parked", "--cluster"]);
    assert!(said.out.starts_with("39 to be tried again"), "{}: {}", said.out, said.err);
    wait_for("all are delivered", || (lab.written().len() == 40).then_some(()));
    let log = fs::read_to_string(lab.dir.join("deliver-one/out")).unwrap();
    assert!(log.contains("over the cluster"), "the log says who: {log}");
}

#[test]
fn the_audit_of_all_follows_each_record_from_its_gateway_to_its_backend() {
    const CALLS: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let Some(mut lab) = Lab::start_to(dir.path(), callee, "", |_| OPEN.to_owned()) else { return };
    let operator = lab.operator("");
    lab.wait_whole(&operator);
    for gateway in &lab.gateways {
        let (to, count, id) = (gateway.address().to_string(), CALLS.to_string(), format!("{}-%u-%p@%s", gateway.port));
        let more = [&to, "-m", &count, "-r", "50", "-d", "20", "-cid_str", &id];
        let mut calls = sipp(dir.path(), "uac.xml", caller, &more).unwrap();
        assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    }
    // Start and Stop of each.
    let all = json!(2 * 2 * CALLS);
    let audit = |more: &[&str]| ask(&operator, &[&["audit", "--from", "2020-01-01", "--cluster"], more].concat());
    let sink = |said: &Said| said.json()["sinks"][0].clone();
    wait_for("all wait at the deliverers", || {
        let said = audit(&["--json"]);
        let sink = sink(&said);
        (said.code == 2 && sink["with_deliverer"] == all && sink["records"] == all).then_some(())
    });
    let listed = audit(&["--json", "--calls", "--max", "3"]).json();
    assert_eq!((&listed["total"], listed["records"].as_array().map(Vec::len)), (&all, Some(3)), "{listed}");
    let words: BTreeSet<_> = listed["records"][0]["told_by"]
        .as_array()
        .unwrap()
        .iter()
        .map(|own| own["word"].clone())
        .map(|own| own.to_string())
        .collect();
    assert_eq!(words, ["\"handed over\"".to_owned(), "\"waiting\"".to_owned()].into());
    assert!(listed["records"][0]["call_id"].as_str().is_some_and(|id| id.contains('@')), "{listed}");

    fs::create_dir(lab.dir.join("there")).unwrap();
    wait_for("all are where they belong", || {
        ask(&operator, &["queue", "retry", "--all", "--cluster"]);
        let said = audit(&["--json"]);
        (said.code == 0 && said.json()["complete"] == true && sink(&said)["records"] == all).then_some(())
    });
    let said = audit(&[]);
    assert!(said.code == 0 && said.out.ends_with("\ncomplete\n"), "{}: {}", said.out, said.err);
    assert_eq!(audit(&["--sink", "lines"]).code, 0);
    let nothing = ask(&operator, &["audit", "--day", "2020-01-01", "--cluster"]);
    assert!(nothing.code == 2 && nothing.out.contains("no ledger has a file of that time"), "{}", nothing.out);

    // By a file that has nothing for a gateway a command is for the deliverer.
    let two = lab.dir.join("deliver-two");
    let own = ask(&two, &["audit", "--from", "2020-01-01", "--json"]);
    assert!(own.code == 0 && own.json()["records"].as_u64() > Some(0), "{}: {}", own.out, own.err);
    let own = ask(&two, &["status"]);
    assert!(own.code == 0 && own.out.contains("\npartitions 2 of 4 here"), "{}: {}", own.out, own.err);
    let own = ask(&two, &["check", "--deep"]);
    assert!(own.code == 0 && own.out.contains("\nok      deliver.directory "), "{}: {}", own.out, own.err);
    assert!(!own.out.contains("udp:") && !own.out.contains("listener"), "{}", own.out);

    // Without the ledger of one deliverer nobody knows of what it has delivered.
    lab.deliverers[1].kill();
    let own = ask(&two, &["queue", "status"]);
    assert!(own.code == 1 && own.err.contains("what a deliverer had in hand is in the stream"), "{}", own.err);
    let said = audit(&[]);
    assert!(said.out.contains("\n  deliverer `two` does not answer: "), "{}", said.out);
    let said = audit(&["--json"]);
    let told = sink(&said);
    let known = |key: &str| told[key].as_u64().unwrap();
    assert_eq!((said.code, known("delivered") + known("handed_over") + known("in_stream")), (2, 4 * CALLS), "{told}");
    assert!(known("in_stream") > 0 && said.err.contains("deliverer `two`"), "{told}: {}", said.err);
    lab.deliverers[1] = deliver(&lab.dir.join("deliver-two"));
    wait_for("it tells again", || (audit(&[]).code == 0).then_some(()));
    // One gateway's records are whole by the others' word, but it does not answer.
    lab.gateways[1].process.kill();
    let said = audit(&[]);
    assert!(said.code == 2 && said.err.contains("gateway `gw2`"), "{}: {}", said.out, said.err);
}

/// What the manual says that a login needs which asks what waits in the stream, and does no more.
const COUNTER: &str = "authorization { users: [ { user: gw, password: secret }, \
    { user: counter, password: secret, permissions: { \
      publish: [\"tollgate.ask.>\", \"$JS.API.STREAM.INFO.KV_TOLLGATE_STATE\", \
        \"$JS.API.STREAM.MSG.GET.KV_TOLLGATE_STATE\", \"$JS.API.STREAM.INFO.TOLLGATE_RECORDS\", \
        \"$JS.API.STREAM.MSG.GET.TOLLGATE_RECORDS\", \"$JS.API.CONSUMER.CREATE.TOLLGATE_RECORDS\", \
        \"$JS.API.CONSUMER.DELETE.TOLLGATE_RECORDS.>\"], \
      subscribe: [\"tollgate.answer.>\"] } } ] }\n";

#[test]
fn what_waits_in_the_stream_is_told_by_sink_whoever_has_died() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    fs::write(&password, "secret\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let login = |user: &str| format!("user = \"{user}\"\npassword_file = \"{}\"\n", password.display());
    let Some(mut lab) = Lab::start(dir.path(), COUNTER, |_| login("gw")) else { return };
    let operator = lab.operator(&login("counter"));
    let options = || ConnectOptions::with_user_and_password("gw".to_owned(), "secret".to_owned());
    let status = lab.wait_whole(&operator);
    assert_eq!((&status["stream"]["known"], &status["stream"]["waiting"]), (&json!(true), &json!(0)), "{status}");
    lab.publish(options(), 0..40, 0);
    lab.publish_for("nowhere", options(), 0..5, 0);
    let stream = |command: &[&str]| {
        let said = ask(&operator, &[command, &["--cluster", "--json"]].concat());
        said.json()["stream"].clone()
    };
    let counts = |stream: &Json| {
        let of = |name: &str| {
            let sink = stream["sinks"].as_array()?.iter().find(|own| own["sink"] == name)?;
            let count = |key: &str| sink[key].as_u64();
            Some([count("records")?, count("waiting")?, count("taken")?, count("parked")?, count("deliverers")?])
        };
        Some([of("lines")?, of("nowhere")?])
    };
    wait_for("all that somebody wants is taken", || {
        let stream = stream(&["status"]);
        (counts(&stream)? == [[40, 0, 40, 0, 2], [5, 5, 0, 0, 0]]).then_some(())
    });
    let said = ask(&operator, &["status", "--cluster"]);
    assert!(said.out.contains("45 records, 5 of them wait for a deliverer, the oldest for "), "{}", said.out);
    let line = said.out.lines().find(|line| line.starts_with("nowhere")).unwrap();
    assert!(line.ends_with("NONE"), "{}", said.out);

    // Three are parked at a deliverer that dies, and then nobody takes what comes.
    let socket = lab.dir.join("deliver-one/deliver.sock");
    let said = ask(&operator, &["queue", "park", "--all", "--socket", socket.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{}", said.err);
    let parked = said.out.split(' ').next().unwrap().parse::<u64>().unwrap();
    wait_for("that is written down", || {
        (counts(&stream(&["status"]))? == [[40, 0, 40 - parked, parked, 2], [5, 5, 0, 0, 0]]).then_some(())
    });
    lab.deliverers.iter_mut().for_each(Running::kill);
    lab.publish(options(), 40..60, 0);
    let told = stream(&["status"]);
    assert_eq!(counts(&told), Some([[60, 20, 40 - parked, parked, 0], [5, 5, 0, 0, 0]]), "{told}");
    assert!(told["oldest_s"].as_f64().is_some_and(|oldest| oldest > 0.0), "{told}");
    let told = stream(&["queue", "status"]);
    assert_eq!(counts(&told), Some([[60, 20, 40 - parked, parked, 0], [5, 5, 0, 0, 0]]), "{told}");
    let said = ask(&operator, &["queue", "status", "--cluster"]);
    assert!(said.out.contains("in the stream: 65 records, 25 of them wait for a deliverer"), "{}", said.out);
    lab.deliverers[1] = deliver(&lab.dir.join("deliver-two"));
    wait_for("it takes them", || {
        let [[records, waiting, taken, still, deliverers], nowhere] = counts(&stream(&["status"]))?;
        // Each of the others is parked again when its turn comes.
        let is_so = [records, waiting, taken, deliverers] == [60, 0, 60 - parked, 1] && still <= parked;
        (is_so && nowhere == [5, 5, 0, 0, 0]).then_some(())
    });
}

/// Logins of the servers: members may do everything, the watcher asks and lists the bucket of the members, and no more.
const LOGINS: &str = "max_payload: 65536\nauthorization { users: [ { user: gw, password: secret }, \
    { user: watcher, password: secret, permissions: { \
      publish: [\"tollgate.ask.>\", \"$JS.API.STREAM.INFO.KV_TOLLGATE_STATE\"], \
      subscribe: [\"tollgate.answer.>\"] } } ] }\n";

#[test]
fn logins_long_answers_and_octets_of_any_kind() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    fs::write(&password, "secret\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let login = |user: &str| format!("user = \"{user}\"\npassword_file = \"{}\"\n", password.display());
    let Some(lab) = Lab::start(dir.path(), LOGINS, |_| format!("{OPEN}{}", login("gw"))) else { return };
    let watcher = lab.operator(&login("watcher"));
    let status = lab.wait_whole(&watcher);
    assert_eq!(status["stream"]["known"], false, "{status}");
    let why = status["stream"]["why"].as_str().unwrap();
    assert!(why.contains("do not let this login ask") && why.contains("$JS.API."), "{why}");
    let said = ask(&lab.dir.join("gw2"), &["status", "--cluster", "--json"]);
    assert_eq!((said.code, &said.json()["stream"]["known"]), (0, &json!(true)), "{}", said.err);

    // By its permissions it asks, and acts nowhere.
    let said = ask(&watcher, &["queue", "retry", "--all", "--cluster"]);
    assert_eq!(said.code, 1, "{}: {}", said.out, said.err);
    assert!(said.err.contains("do not let this login ask") && said.err.contains("tollgate.command."), "{}", said.err);
    assert_eq!(said.err.matches("do not let this login ask").count(), 4, "each is told why: {}", said.err);
    let said = ask(&watcher, &["cluster", "init", "--wait", "3"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("the servers say: nats: Permissions Violation for Publish"), "{}", said.err);
    let said = ask(&watcher, &["check", "--deep"]);
    assert!(said.code == 1 && said.out.contains("the servers say: nats: Permissions Violation"), "{}", said.out);
    let wrong = dir.path().join("wrong");
    fs::write(&wrong, "wr0ng\n").unwrap();
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let login = format!("user = \"gw\"\npassword_file = \"{}\"\n", wrong.display());
    let stranger = folder(dir.path(), "stranger", &cluster(&lab.servers, "stranger", &login));
    let said = ask(&stranger, &["status", "--cluster"]);
    assert!(said.code == 1 && said.err.contains("does not let us in") && !said.err.contains("wr0ng"), "{}", said.err);

    // Pages that no server takes in one message.
    let options = || ConnectOptions::with_user_and_password("gw".to_owned(), "secret".to_owned());
    lab.publish(options(), 0..80, 10);
    let gateway = lab.dir.join("gw2");
    wait_for("all are parked", || {
        ask(&gateway, &["queue", "park", "--all", "--state", "waiting", "--cluster"]);
        let said = ask(&watcher, &["queue", "parked", "--cluster", "--json", "--max", "100"]);
        let items = said.json()["records"].as_array()?.clone();
        let whole = |item: &Json| item["record"]["fields"]["f9"].as_str().is_some_and(|own| own.len() == FIELD_OCTETS);
        (said.code == 0 && items.len() == 80 && items.iter().all(whole)).then_some(())
    });

    // What is no request gets an answer that says so, and what would be answered elsewhere gets none.
    lab.servers.with_options(options(), async |context| {
        let client = context.client();
        let mut elsewhere = client.subscribe("tollgate.records.lines.>").await.unwrap();
        let deep = "[".repeat(60_000);
        let later = r#"{"v":7}"#;
        for (octets, want) in [
            (&b""[..], "cannot be read"),
            (b"\x00\xff{", "cannot be read"),
            (deep.as_bytes(), "cannot be read"),
            (later.as_bytes(), "of version 7"),
            (br#"{"v":1,"method":"GET","target":"/metrics","by":"x"}"#, "does not begin with"),
        ] {
            for subject in ["tollgate.ask.gateway.gw2", "tollgate.command.deliver.two"] {
                client.publish_with_reply(subject, "tollgate.records.lines.000", octets.to_vec().into()).await.unwrap();
                let inbox = format!("tollgate.answer.{}", client.new_inbox());
                let mut heard = client.subscribe(inbox.clone()).await.unwrap();
                client.publish_with_reply(subject, inbox, octets.to_vec().into()).await.unwrap();
                let answer = tokio::time::timeout(Duration::from_secs(30), heard.next()).await.unwrap().unwrap();
                let status = answer.headers.as_ref().unwrap().get("Tollgate-Status").unwrap().as_str().to_owned();
                let text = String::from_utf8(answer.payload.to_vec()).unwrap();
                assert!(status == "400" && text.contains(want), "{subject}: {status} {text}");
            }
        }
        let none = tokio::time::timeout(Duration::from_millis(300), elsewhere.next()).await;
        // What we have published there as a reply subject was never answered.
        assert!(none.is_err(), "{none:?}");
    });
    lab.wait_whole(&watcher);
}
