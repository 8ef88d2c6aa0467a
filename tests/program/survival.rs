//! Calls that survive their gateway: two gateways of one cluster over a real nats-server, killed and brought back.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use tollgate::cluster::names;
use tollgate::record::{Cause, Kind, Party, Record, codec};

use crate::support::nats::Nats;
use crate::support::{Agent, Gateway, Side, Wire, free_ports, wait_for};

/// Longest wait for the answer to a BYE of a call whose gateway is dead.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Two gateways, one nats-server, a caller and a callee.
struct Cluster {
    nats: Nats,
    gateways: BTreeMap<&'static str, Gateway>,
    alice: Agent,
    bob: Agent,
    cseq: u32,
}

/// A call that stands, as alice knows it.
struct Call {
    caller: Side,
}

impl Cluster {
    /// `None` when nats-server is not installed. `more` is further lines of `[accounting]`.
    fn start(dir: &Path, more: &str) -> Option<Self> {
        let nats = Nats::start(dir, "", ConnectOptions::new)?;
        let (alice, bob) = (Agent::bind(any()), Agent::bind(any()));
        let ports: [u16; 4] = free_ports();
        let mut own = Self { nats, gateways: BTreeMap::new(), alice, bob, cseq: 0 };
        for (name, ports) in [("a", [ports[0], ports[1]]), ("b", [ports[2], ports[3]])] {
            let gateway = own.gateway(dir, name, ports, more);
            own.gateways.insert(name, gateway);
            // Two that start at once both offer theirs, and a call of these instants is signed by a key of its gateway alone.
            wait_for("the cluster has keys", || own.has_keys().then_some(()));
        }
        Some(own)
    }

    fn gateway(&self, dir: &Path, name: &str, [port, admin]: [u16; 2], more: &str) -> Gateway {
        let folder = dir.join(name);
        fs::create_dir_all(&folder).unwrap();
        let (shown, bob, nats) = (folder.display(), self.bob.address, self.nats.url());
        // The sinks in another order: their numbers differ.
        let sinks = if name == "a" { ["billing", "log"] } else { ["log", "billing"] };
        let sinks = sinks.map(|sink| format!("[sinks.file.{sink}]\npath = \"{shown}/{sink}.json\"\n")).concat();
        let toml = format!(
            "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = \"sip:{bob}\"\n\
             [accounting]\non = [\"billing\"]\n{more}[accounting.fields]\nua = \"$ua\"\n\
             [queue]\npath = \"{shown}/queue\"\nfree_min_mib = 0\n{sinks}\
             [cluster]\nnats = [\"{nats}\"]\nname = \"gw-{name}\"\nreplicas = 1\nlease_ms = 2000\n\
             [admin]\nsocket = \"{shown}/admin.sock\"\nlisten = \"127.0.0.1:{admin}\"\n"
        );
        Gateway::start_on(&folder, port, &toml, 0)
    }

    fn address(&self, gateway: &str) -> SocketAddr {
        self.gateways[gateway].address()
    }

    /// Alice calls bob by a gateway, and the call is in the bucket.
    fn call(&mut self, gateway: &str, call_id: &str) -> Call {
        let to = self.address(gateway);
        self.cseq += 1;
        let (cseq, alice) = (self.cseq, self.alice.address);
        let invite = format!(
            "INVITE sip:bob@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {alice};branch=z9hG4bK-{call_id}\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@x>;tag=alice\r\nTo: <sip:bob@x>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} INVITE\r\n\
             Contact: <sip:alice@{alice}>\r\nUser-Agent: alice's\r\nContent-Length: 0\r\n\r\n"
        );
        self.alice.send(invite.as_bytes(), to);
        let got = self.bob.wait("bob gets the INVITE");
        let contact = format!("Contact: <sip:bob@{}>", self.bob.address).into_bytes();
        let answer = got.answer(b"200 OK", "bob", &[contact, b"Content-Length: 0".to_vec()], b"");
        self.bob.send(&answer.octets(), to);
        let answered = self.alice.wait("alice gets the 200");
        assert_eq!(answered.code(), 200, "{}", answered.text());
        let call = Call { caller: Side::caller(&Wire::read(invite.as_bytes()), &answered) };
        let ack = call.caller.request("ACK", cseq, &format!("SIP/2.0/UDP {alice};branch=z9hG4bK-ack-{call_id}"));
        self.alice.send(&ack.octets(), to);
        assert_eq!(self.bob.wait("bob gets the ACK").method(), "ACK");
        call
    }

    /// Whether the cluster has keys that sign Record-Route values.
    fn has_keys(&self) -> bool {
        let subject = format!("$KV.TOLLGATE_STATE.{}", names::ROUTE_KEYS);
        self.nats.with(async |context| match context.get_stream("KV_TOLLGATE_STATE").await {
            Ok(stream) => stream.get_last_raw_message_by_subject(&subject).await.is_ok(),
            Err(_) => false,
        })
    }

    /// How many calls the bucket has.
    fn mirrored(&self) -> u64 {
        self.nats.with(async |context| match context.get_stream("KV_TOLLGATE_CALLS").await {
            Ok(stream) => stream.cached_info().state.messages,
            Err(_) => 0,
        })
    }

    fn wait_mirrored(&self, calls: u64) {
        wait_for(&format!("{calls} calls in the bucket"), || (self.mirrored() == calls).then_some(()));
    }

    /// Alice sends a BYE to a gateway until bob has it, and gets her answer; gives how long that took.
    fn hang_up(&mut self, call: &Call, gateway: &str) -> Duration {
        self.cseq += 1;
        let (to, began) = (self.address(gateway), Instant::now());
        let via = format!("SIP/2.0/UDP {};branch=z9hG4bK-bye-{}", self.alice.address, self.cseq);
        let bye = call.caller.request("BYE", self.cseq, &via).octets();
        let got = wait_for("bob gets the BYE", || {
            self.alice.send(&bye, to);
            self.bob.take()
        });
        assert_eq!(got.method(), "BYE", "{}", got.text());
        self.bob.send(&got.answer(b"200 OK", "bob", &[b"Content-Length: 0".to_vec()], b"").octets(), to);
        let answer = self.alice.wait("alice gets the answer to her BYE");
        assert_eq!(answer.code(), 200, "{}", answer.text());
        began.elapsed()
    }

    /// All records of the stream for the sink `billing`.
    fn records(&self) -> Vec<Record> {
        self.nats.with(async |context| {
            let stream = context.get_stream("TOLLGATE_RECORDS").await.expect("a stream");
            let state = stream.cached_info().state.clone();
            let mut all = Vec::new();
            for number in state.first_sequence..=state.last_sequence {
                let Ok(message) = stream.get_raw_message(number).await else { continue };
                if message.subject.as_str().contains(".billing.") {
                    all.push(codec::decode(&message.payload).expect("a record"));
                }
            }
            all
        })
    }

    fn of_kind(&self, kind: Kind) -> Vec<Record> {
        self.records().into_iter().filter(|record| record.kind == kind).collect()
    }

    /// The only Stop there is, which has to come.
    fn stop(&self) -> Record {
        let stops = wait_for("a Stop", || Some(self.of_kind(Kind::Stop)).filter(|stops| !stops.is_empty()));
        assert_eq!(stops.len(), 1, "{stops:?}");
        stops[0].clone()
    }

    fn kill(&mut self, gateway: &str) {
        self.gateways.get_mut(gateway).unwrap().process.kill();
    }

    fn start_again(&mut self, gateway: &str) {
        self.gateways.get_mut(gateway).unwrap().start_again();
    }

    /// Waits until the status of a gateway says this of its cluster.
    fn wait_status(&self, gateway: &str, text: &str) {
        let line = format!("\ncluster    {text}");
        wait_for(text, || self.gateways[gateway].command(&["status"]).contains(&line).then_some(()));
    }

    fn log(&self, gateway: &str) -> String {
        self.gateways[gateway].log()
    }

    /// Calls in progress at a gateway.
    fn calls(&self, gateway: &str) -> usize {
        let json = self.gateways[gateway].command(&["calls", "--json"]);
        let calls: serde_json::Value = serde_json::from_str(&json).unwrap();
        calls.as_array().map_or_else(|| calls["calls"].as_array().map_or(0, Vec::len), Vec::len)
    }
}

/// Lets time pass.
fn pass(span: Duration) {
    let began = Instant::now();
    wait_for("time passes", || (began.elapsed() >= span).then_some(()));
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn is_field(record: &Record, name: &str, value: &str) -> bool {
    record.fields.iter().any(|(own, got)| own == name && got.text().as_deref() == Some(value.as_bytes()))
}

#[test]
fn a_call_of_a_gateway_that_is_killed_is_ended_once_by_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Cluster::start(dir.path(), "") else { return };
    let call = cluster.call("a", "killed");
    let began = Instant::now();
    cluster.wait_mirrored(1);
    wait_for("the Start", || (cluster.of_kind(Kind::Start).len() == 1).then_some(()));
    pass(Duration::from_secs(2));
    cluster.kill("a");
    let took = cluster.hang_up(&call, "b");
    assert!(took < ANSWERED_WITHIN, "{took:?}");
    let stop = cluster.stop();
    let start = &cluster.of_kind(Kind::Start)[0];
    assert_eq!(stop.session, start.session);
    assert_eq!(stop.number, Some(1));
    let end = stop.end.unwrap();
    assert_eq!((end.by, end.cause), (Party::Caller, Cause::Bye));
    let lasted = stop.times.duration.unwrap();
    assert!(lasted >= Duration::from_secs(2) && lasted <= began.elapsed() + Duration::from_millis(500), "{lasted:?}");
    assert_eq!((stop.times.created, stop.times.answered), (start.times.created, start.times.answered));
    assert!(is_field(&stop, "ua", "alice's"), "{:?}", stop.fields);

    // Its gateway comes back, with the call in its queue: it leaves that to the other, and says nothing of its own.
    cluster.start_again("a");
    wait_for("it has compared", || cluster.log("a").contains("they are forgotten here").then_some(()));
    assert_eq!((cluster.calls("a"), cluster.calls("b")), (0, 0));
    pass(Duration::from_secs(1));
    cluster.stop();
    assert_eq!(cluster.of_kind(Kind::On).len(), 0, "no Accounting-On");
    // And takes part again.
    let call = cluster.call("a", "again");
    cluster.hang_up(&call, "a");
    wait_for("both Stops", || (cluster.of_kind(Kind::Stop).len() == 2).then_some(()));
}

#[test]
fn a_call_that_its_gateway_had_ended_before_it_died_is_over_at_the_other_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Cluster::start(dir.path(), "") else { return };
    let call = cluster.call("a", "over");
    cluster.wait_mirrored(1);
    wait_for("the Start", || (cluster.of_kind(Kind::Start).len() == 1).then_some(()));
    wait_for("the other takes part", || cluster.log("b").contains("has taken this gateway in").then_some(()));
    // Its Stop is on the disk, and the cluster does not know.
    cluster.nats.kill();
    cluster.hang_up(&call, "a");
    cluster.kill("a");
    cluster.nats.start_again(None);
    wait_for("the call is at the other", || (cluster.calls("b") == 1).then_some(()));
    assert!(cluster.of_kind(Kind::Stop).is_empty(), "it goes on");
    cluster.start_again("a");
    let stop = cluster.stop();
    assert_eq!(stop.end.unwrap().by, Party::Caller);
    wait_for("the other forgets it", || (cluster.calls("b") == 0).then_some(()));
    pass(Duration::from_secs(1));
    cluster.stop();
}

#[test]
fn the_calls_of_a_gateway_that_stays_away_go_on_at_another() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Cluster::start(dir.path(), "lifetime_s = 15\n") else { return };
    for number in 0..3 {
        cluster.call("a", &format!("left-{number}"));
    }
    cluster.wait_mirrored(3);
    let began = Instant::now();
    cluster.kill("a");
    wait_for("the calls are at the other", || (cluster.calls("b") == 3).then_some(()));
    assert!(began.elapsed() < ANSWERED_WITHIN, "{:?}", began.elapsed());
    assert!(cluster.of_kind(Kind::Stop).is_empty(), "they go on");
    // Their time goes on there too: the other ends them, and tells both ends.
    wait_for("their Stops", || (cluster.of_kind(Kind::Stop).len() == 3).then_some(()));
    for stop in cluster.of_kind(Kind::Stop) {
        assert_eq!(stop.end.unwrap().cause, Cause::Lifetime);
        assert_eq!(stop.times.duration.unwrap().as_secs(), 15);
    }
    assert_eq!(cluster.bob.wait("bob is told").method(), "BYE");
    assert_eq!(cluster.calls("b"), 0);
    cluster.start_again("a");
    pass(Duration::from_secs(1));
    assert_eq!((cluster.calls("a"), cluster.of_kind(Kind::Stop).len()), (0, 3));
}

#[test]
fn a_call_that_moves_to_another_gateway_while_its_own_lives_is_ended_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Cluster::start(dir.path(), "") else { return };
    let call = cluster.call("a", "moves");
    cluster.wait_mirrored(1);
    assert_eq!(cluster.calls("a"), 1);
    cluster.hang_up(&call, "b");
    cluster.stop();
    // The one that had it forgets it.
    wait_for("it is forgotten", || (cluster.calls("a") == 0).then_some(()));
    pass(Duration::from_secs(1));
    cluster.stop();
}

#[test]
fn a_bye_that_comes_to_another_gateway_while_nats_is_away_makes_one_stop_of_its_instant() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Cluster::start(dir.path(), "") else { return };
    let call = cluster.call("a", "astray");
    let began = Instant::now();
    cluster.wait_mirrored(1);
    wait_for("the Start", || (cluster.of_kind(Kind::Start).len() == 1).then_some(()));
    pass(Duration::from_secs(2));
    cluster.wait_status("a", "reached\n");
    cluster.nats.kill();
    let hung_up = began.elapsed();
    cluster.hang_up(&call, "b");
    cluster.wait_status("a", "DOES NOT ANSWER: ");
    assert_eq!((cluster.calls("a"), cluster.calls("b")), (1, 0), "its own gateway knows nothing of that");
    // What waits is on disk.
    cluster.kill("b");
    cluster.start_again("b");
    pass(Duration::from_secs(3));
    cluster.nats.start_again(None);
    let stop = cluster.stop();
    let start = &cluster.of_kind(Kind::Start)[0];
    assert_eq!((stop.session.as_str(), stop.number), (start.session.as_str(), Some(1)));
    let end = stop.end.unwrap();
    assert_eq!((end.by, end.cause), (Party::Caller, Cause::Bye));
    let lasted = stop.times.duration.unwrap();
    assert!(lasted >= Duration::from_secs(2) && lasted <= hung_up + Duration::from_secs(1), "{lasted:?}, {hung_up:?}");
    assert!(is_field(&stop, "ua", "alice's"), "{:?}", stop.fields);
    wait_for("it is forgotten", || (cluster.calls("a") == 0).then_some(()));
    cluster.wait_status("a", "reached\n");
    pass(Duration::from_secs(2));
    cluster.stop();
}

#[test]
fn a_second_gateway_of_one_name_ends_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let Some(cluster) = Cluster::start(dir.path(), "") else { return };
    wait_for("the first one has the name", || cluster.log("a").contains("has taken this gateway in").then_some(()));
    let ports: [u16; 2] = free_ports();
    let mut twin = cluster.gateway(&dir.path().join("other"), "a", ports, "");
    let status = twin.process.wait("the second one");
    assert_eq!(status.code(), Some(78), "{}", twin.log());
    assert!(twin.log().contains("give each a `cluster.name` of its own"), "{}", twin.log());
    assert!(cluster.log("a").contains("the cluster has taken this gateway in"));
    assert_eq!(cluster.calls("a"), 0, "the first one goes on");
}
