//! Administration over real sockets, with a real queue behind it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tokio::sync::oneshot;

use super::client::{Client, ClientError};
use super::doors::Door;
use super::remote::{Also, Arrived, Remote};
use super::request::{Filter, Request, Standing, Verb};
use super::socket::Bound;
use super::{Admin, Answers, Gateway, Health, HttpTls, OptionView, Phase, Reloaded, Renewal, Settings, metrics};
use crate::accounting::{CallView, Closing, Parties};
use crate::clock::Timestamp;
use crate::ids::{CallHash, RecordId, SinkMask, SinkNumber};
use crate::queue::{self, Desk, Handle, Stats};
use crate::record::{Commit, Entry, Fields, Kind, Record, Times, codec};
use crate::shard::ladder::{Ladder, Step, Traced, Way};
use crate::sinks::secret::Secret;
use crate::sip::stack::{Listener, Transport};

/// Calls in progress, as many as one answer may have.
pub(super) const CALLS: usize = 10_000;

/// A gateway that is nothing but its queue, and the empty folder of a ledger.
struct OnlyQueue {
    handle: Handle,
    folder: PathBuf,
}

impl Gateway for OnlyQueue {
    fn health(&self) -> Health {
        Health {
            phase: Phase::Running,
            hanging: Vec::new(),
            accepts_calls: true,
            calls: CALLS,
            shards: 1,
            turned_away: (3, 0),
            answers: Answers { by_class: [5, 0, 4, 1, 0], refused: 1 },
            started: Timestamp(0),
        }
    }

    /// Asked of the queue's thread: its own snapshot may be a moment older than the receipts.
    fn queue(&self) -> Stats {
        self.handle.clone().status().expect("the queue answers")
    }

    fn desk(&self) -> Box<dyn Desk + Send> {
        Box::new(self.handle.clone())
    }

    fn end_calls(&self, closing: &Closing) -> Vec<CallView> {
        if closing.name == "a@b" { self.calls(1) } else { Vec::new() }
    }

    fn reload(&self) -> Option<Reloaded> {
        let restart = vec![("`sip.shards`".to_owned(), "tollgate.toml:7:1".to_owned())];
        Some(Reloaded::Done { warnings: vec!["warning".to_owned()], restart })
    }

    fn ledger(&self) -> Option<PathBuf> {
        Some(self.folder.clone())
    }

    fn configuration(&self) -> Vec<OptionView> {
        let (option, value) = ("admin.api".to_owned(), "true".to_owned());
        vec![OptionView { option, value, place: "tollgate.toml:3:7".to_owned(), effect: "restart" }]
    }

    fn ladder(&self, call_id: &[u8]) -> Option<Ladder> {
        let local = Some(Listener { transport: Transport::Udp, local: "127.0.0.1:5060".parse().expect("an address") });
        let step = |way, code, text: &str| Step {
            at: Timestamp(1_700_000_000_000_000),
            way,
            peer: "192.0.2.7:5062".parse().expect("an address"),
            local,
            code,
            method: b"INVITE".to_vec(),
            text: text.as_bytes().to_vec(),
            cseq: 1,
        };
        let steps = vec![step(Way::In, 0, "sip:b@x"), step(Way::Out, 486, "Busy Here")];
        let ladder = Ladder { call_id: b"a@b".to_vec(), from: b"<sip:a@x>".to_vec(), steps, left_out: 0 };
        (call_id == b"a@b").then_some(ladder)
    }

    fn traced(&self, max: usize) -> Vec<Traced> {
        let (begun, last) = (Timestamp(1_700_000_000_000_000), Timestamp(1_700_000_005_000_000));
        let (call_id, from, uri) = (b"a@b".to_vec(), b"<sip:a@x>".to_vec(), b"sip:b@x".to_vec());
        vec![Traced { call_id, from, uri, begun, last, code: Some(486), messages: 2 }; max.min(1)]
    }

    fn calls(&self, max: usize) -> Vec<CallView> {
        let call = CallView {
            session: "5".repeat(32),
            call_id: b"a@b".to_vec(),
            from_tag: b"1".to_vec(),
            to_tag: b"\xff".to_vec(),
            parties: Parties { from: b"sip:a@x".to_vec(), ..Parties::default() },
            created: Timestamp(0),
            answered: None,
            is_ending: false,
        };
        vec![call; CALLS.min(max)]
    }
}

fn record(id: u128) -> Record {
    Record {
        id: RecordId(id),
        kind: Kind::Stop,
        method: b"BYE".to_vec(),
        from_tag: b"a".to_vec(),
        to_tag: b"b".to_vec(),
        call_id: format!("call-{id}@example").into_bytes(),
        cseq: 2,
        code: 200,
        reason: b"OK".to_vec(),
        in_dialog: true,
        session: "0".repeat(32),
        multi_session: "1".repeat(32),
        times: Times::default(),
        end: None,
        fields: Fields::new(),
        legs: Vec::new(),
        table: None,
        number: None,
        shortened: false,
        facts: crate::record::Facts::new(),
    }
}

/// Administration that runs on a thread of its own.
pub(super) struct Running {
    dir: tempfile::TempDir,
    http: SocketAddr,
    /// Brings other TLS to it.
    pub(super) renewal: Renewal,
    /// What messages of a cluster are answered by.
    remote: Remote,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// With a queue that holds `records` records for the sink `billing`.
    fn start(records: u64) -> Self {
        Self::start_with(records, true)
    }

    fn start_with(records: u64, api: bool) -> Self {
        Self::start_as(records, api, None)
    }

    /// The same, with the token that `/api` asks for.
    pub(super) fn start_as(records: u64, api: bool, token: Option<&str>) -> Self {
        Self::start_by(records, api, token, None)
    }

    /// The same, with TLS.
    pub(super) fn start_by(records: u64, api: bool, token: Option<&str>, tls: Option<HttpTls>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = queue::Settings {
            path: dir.path().join("queue"),
            free_min: 0,
            reserve_bytes: 0,
            ..queue::Settings::default()
        };
        let started = queue::spawn(settings, &["billing".to_owned()], &mut || ()).expect("the queue opens");
        fill(&started.handle, records);
        let settings = Settings {
            section: "admin",
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            hosts: vec!["gw.example".to_owned()],
            api,
            token: token.map(|token| Secret::new(token.to_owned())),
            socket: Some(dir.path().join("admin.sock")),
            status_socket: Some(dir.path().join("status.sock")),
            socket_mode: 0o660,
        };
        let admin = Admin::bind(&settings, tls).expect("bound");
        let (http, renewal) = (admin.http_address().expect("HTTP is served"), admin.renewal());
        std::fs::create_dir(dir.path().join("ledger")).expect("made");
        let (stop, stopped) = oneshot::channel();
        let gateway = Arc::new(OnlyQueue { handle: started.handle.clone(), folder: dir.path().join("ledger") });
        let (give, remote) = mpsc::channel();
        let serving = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let metrics = PrometheusBuilder::new().build_recorder().handle();
            let also: Also = Box::new(move |remote| {
                let _gone = give.send(remote);
                Box::pin(std::future::pending())
            });
            runtime.block_on(admin.serve(gateway, metrics, Some(also), async {
                let _dropped = stopped.await;
            }));
        });
        let queue = std::thread::spawn(move || started.join.join().expect("no panic").expect("closed"));
        let remote = remote.recv().expect("it serves");
        Self { dir, http, renewal, remote, handle: started.handle, stop: Some(stop), threads: vec![serving, queue] }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    fn status_socket(&self) -> PathBuf {
        self.dir.path().join("status.sock")
    }

    /// Where HTTP is served.
    pub(super) const fn http(&self) -> SocketAddr {
        self.http
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket()).expect("no error").expect("somebody serves it")
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"))
    }

    pub(super) fn ask(&self, request: &str) -> (u16, String) {
        self.ask_at(Door::Http, request)
    }

    /// The code and the body of an answer to an HTTP request that comes in there.
    pub(super) fn ask_at(&self, door: Door, request: &str) -> (u16, String) {
        let mut answer = String::new();
        let mut exchange = |stream: &mut dyn ReadWrite| {
            stream.write_all(request.as_bytes()).expect("written");
            stream.read_to_string(&mut answer).expect("read");
        };
        let unix = |path: PathBuf| {
            let stream = UnixStream::connect(path).expect("connected");
            stream.set_read_timeout(Some(ANSWER_MAX)).expect("set");
            stream
        };
        match door {
            Door::Cluster(_) => return self.ask_by_message(door, request),
            Door::Http => {
                let mut stream = TcpStream::connect(self.http).expect("connected");
                stream.set_read_timeout(Some(ANSWER_MAX)).expect("set");
                exchange(&mut stream);
            }
            Door::Commands => exchange(&mut unix(self.socket())),
            Door::Questions => exchange(&mut unix(self.status_socket())),
        }
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (code, body.to_owned())
    }

    /// The same request as a message of a cluster.
    fn ask_by_message(&self, door: Door, request: &str) -> (u16, String) {
        let Door::Cluster(rights) = door else { panic!("{door:?}") };
        let (head, body) = request.split_once("\r\n\r\n").expect("a head");
        let mut words = head.split(' ').map(str::to_owned);
        let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
        let body = (!body.is_empty()).then(|| serde_json::from_str(body).expect("JSON"));
        self.asked_by_message(Arrived { by: "alice".to_owned(), rights, method, target, body })
    }

    /// The code and the body of the answer to a message of a cluster.
    pub(super) fn asked_by_message(&self, arrived: Arrived) -> (u16, String) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (code, body) = runtime.block_on(self.remote.answer(arrived));
        (code.as_u16(), String::from_utf8(body.to_vec()).expect("text"))
    }
}

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.handle.stop();
        for thread in self.threads.drain(..) {
            // A panic there has failed the test already.
            let _ended = thread.join();
        }
    }
}

fn fill(handle: &Handle, records: u64) {
    let (sender, receiver) = mpsc::channel();
    let mut producer = handle.producer(Arc::new(move || {
        let _gone = sender.send(());
    }));
    let entry = |id: u64| Entry {
        id: RecordId(id.into()),
        call: CallHash(id),
        sinks: SinkMask::NONE.with(SinkNumber(0)),
        body: codec::encode(&record(id.into())),
    };
    let commit = Commit { entries: (1..=records).map(entry).collect(), calls: Vec::new() };
    producer.append(1, commit).expect("room");
    receiver.recv().expect("a receipt");
    let mut receipts = Vec::new();
    producer.receipts(&mut receipts);
    assert!(matches!(receipts[..], [(1, Ok(()))]), "{receipts:?}");
}

fn list(client: &mut Client, state: Standing) -> Vec<String> {
    let mut ids = Vec::new();
    let mut from = None;
    loop {
        let filter = Filter { state: Some(state), ..Filter::default() };
        let page = client.ask(&Request::QueueList { filter, from, max: 2 }).expect("a page");
        let items = page["items"].as_array().expect("a list");
        ids.extend(items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()));
        from = page["next"].as_str().map(str::to_owned);
        if from.is_none() {
            return ids;
        }
    }
}

fn act(client: &mut Client, action: Verb, filter: Filter) -> u64 {
    let answer = client.ask(&Request::QueueAct { action, filter, reason: None }).expect("done");
    answer["records"].as_u64().expect("a number")
}

#[test]
fn records_are_listed_parked_retried_and_dropped_over_the_socket() {
    let running = Running::start(5);
    let mut client = running.client();
    let ids: Vec<_> = (1..=5).map(|id| RecordId(id).to_string()).collect();
    assert_eq!(list(&mut client, Standing::Waiting), ids);

    let one = |record: &str| Filter { record: Some(record.to_owned()), ..Filter::default() };
    assert_eq!(act(&mut client, Verb::Park, one(&ids[1])), 1);
    assert_eq!(list(&mut client, Standing::Parked), [ids[1].clone()]);
    let page = client.ask(&Request::QueueList { filter: one(&ids[1]), from: None, max: 9 }).expect("a page");
    let item = &page["items"][0];
    assert_eq!(item["sinks"][0]["reason"], "parked by the operator");
    assert_eq!(item["record"]["call_id"], "call-2@example");

    assert_eq!(act(&mut client, Verb::Retry, one(&ids[1])), 1);
    assert_eq!(list(&mut client, Standing::Parked), [""; 0]);
    assert_eq!(act(&mut client, Verb::Drop, one(&ids[0])), 1);
    assert_eq!(list(&mut client, Standing::Waiting).len(), 4);
    let all = Filter { sink: Some("billing".to_owned()), ..Filter::default() };
    assert_eq!(act(&mut client, Verb::Drop, all), 4);

    let status = client.ask(&Request::QueueStatus {}).expect("a status");
    assert_eq!((&status["balanced"], &status["waiting"], &status["dropped"]), (&true.into(), &0.into(), &5.into()));
}

#[test]
fn the_service_tells_how_it_is() {
    let running = Running::start(1);
    let mut client = running.client();
    let status = client.ask(&Request::Status {}).expect("a status");
    assert_eq!((&status["phase"], &status["queue"]["waiting"]), (&"running".into(), &1.into()));
    let calls = client.ask(&Request::Calls { max: 1 }).expect("calls");
    assert_eq!((&calls["total"], calls["calls"].as_array().map(Vec::len)), (&CALLS.into(), Some(1)));
    assert_eq!(calls["calls"][0]["to_tag"], "\u{fffd}");
    assert_eq!((&calls["calls"][0]["from"], &calls["calls"][0]["to"]), (&"sip:a@x".into(), &Value::Null));
}

#[test]
fn a_call_is_ended_by_its_name_and_with_a_reason_that_fits() {
    let running = Running::start(1);
    let mut client = running.client();
    let mut end = |call: &str, reason: Option<String>| {
        client.ask(&Request::CallsEnd { call: call.to_owned(), bye: false, reason })
    };
    let ended = end("a@b", Some("fraud".to_owned())).expect("ended");
    assert_eq!(ended["ended"][0]["call_id"], "a@b");
    let limit = "a reason has at most 255 octets and no control characters";
    for (name, call, reason, want) in [
        ("no such call", "x@y", None, "no answered call has the Call-ID or the session `x@y`"),
        ("too long", "a@b", Some("r".repeat(256)), limit),
        ("a line end", "a@b", Some("a\r\nb".to_owned()), limit),
    ] {
        match end(call, reason) {
            Err(ClientError::Usage(text)) => assert_eq!(text, want, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_wrong_request_is_refused_and_the_connection_goes_on() {
    let running = Running::start(1);
    let mut client = running.client();
    let filter = Filter { sink: Some("biling".to_owned()), ..Filter::default() };
    match client.ask(&Request::QueueList { filter, from: None, max: 5 }) {
        Err(ClientError::Usage(text)) => assert_eq!(text, "the queue has no sink `biling`; known are `billing`"),
        other => panic!("{other:?}"),
    }
    client.ask(&Request::QueueStatus {}).expect("the connection goes on");
}

#[test]
fn http_tells_and_changes_nothing() {
    let running = Running::start(3);
    for (path, code, part) in [
        ("/health", 200, "\"phase\":\"running\""),
        ("/ready", 200, "\"ready\":true"),
        ("/api/status", 200, "\"waiting\":3"),
        ("/api/queue", 200, "\"balanced\":true"),
        ("/api/queue/records?max=1", 200, "\"call_id\":\"call-1@example\""),
        ("/api/queue/records?state=parked", 200, "\"items\":[]"),
        ("/api/queue/records?sink=x", 400, "no sink `x`"),
        ("/api/queue/records?record=x", 400, "neither the place nor the id"),
        ("/api/calls?max=1", 200, "\"total\":10000"),
        ("/metrics", 200, ""),
        ("/nothing", 404, "{\"error\":\"there is no `/nothing`; "),
        ("/health/x", 404, "{\"error\":\"there is no `/health/x`; "),
        ("/apis", 404, "{\"error\":\"there is no `/apis`; "),
        ("/api", 404, "{\"error\":\"there is no `"),
        ("/api/calls?max=x", 400, "`max` is `x`; it takes a whole number up to 10000"),
        ("/api/calls/traced?max=x", 400, "`max` is `x`; it takes a whole number up to 1000"),
        ("/api/calls/ladder", 400, "`call` is missing; it takes a Call-ID"),
        ("/api/calls/story?day=today", 400, "`call` is missing; it takes a Call-ID"),
        ("/api/records?max=-5", 400, "`max` is `-5`; it takes a whole number up to 64"),
        ("/api/records?state=lost", 400, "`state` is `lost`; it takes `waiting` or `parked`"),
        ("/api/records?whole=1", 400, "`whole` is `1`; it takes `true` or `false`"),
        ("/api/records?until_seq=1&until_micros=x", 400, "`until_micros` is `x`; it takes microseconds since 1970"),
        ("/api/records?until_seq=1", 400, "`until_seq` and `until_micros` go together"),
        ("/api/records?from=x", 400, "`from` is `x`; it takes the `next` of an earlier answer"),
        ("/api/records?max=1&max=2", 400, "`max` is there twice"),
        ("/api/script/trace?mxa=1", 400, "there is no parameter `mxa` here; known are `call`, `number`, `max`"),
        ("/api/audit?tz=x", 400, "there is no parameter `tz` here; known are `day`, `zone`"),
    ] {
        let (got, body) = running.get(path);
        assert_eq!(got, code, "{path}: {body}");
        assert!(body.contains(part), "{path}: {body}");
    }
    let post = "POST /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let by_get = "{\"error\":\"`/health` is not asked by POST, but by GET\"}";
    assert_eq!(running.ask(post), (405, by_get.to_owned()));
    let (code, body) = running.ask("GET /\x01 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert!(code == 400 && body.starts_with("{\"error\":\"the head of the request "), "{code}: {body}");
}

#[test]
fn metrics_show_the_balance_of_each_sink() {
    let running = Running::start(3);
    let recorder = PrometheusBuilder::new().build_recorder();
    let gateway = OnlyQueue { handle: running.handle.clone(), folder: running.dir.path().join("ledger") };
    ::metrics::with_local_recorder(&recorder, || metrics::record(&gateway.health(), &gateway.queue(), None));
    let text = recorder.handle().render();
    for line in [
        "tollgate_queue_waiting_records{sink=\"billing\"} 3",
        "tollgate_queue_in_records_total{sink=\"billing\"} 3",
        "tollgate_queue_out_records_total{sink=\"billing\",how=\"delivered\"} 0",
        "tollgate_queue_trouble{reason=\"disk\"} 0",
        "tollgate_ready 1",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_socket_has_its_permissions_and_replaces_a_dead_one() {
    let running = Running::start(1);
    let path = running.socket();
    assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o660);
    let error = Bound::new(&path, 0o600).expect_err("it is served");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);

    let dir = tempfile::tempdir().expect("a folder");
    let dead = dir.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).expect("bound"));
    let bound = Bound::new(&dead, 0o600).expect("replaced");
    assert_eq!(dead.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    drop(bound);
    assert!(!dead.exists(), "removed with its server");

    let file = dir.path().join("file");
    std::fs::write(&file, "kept").expect("written");
    Bound::new(&file, 0o600).expect_err("no socket is there");
    assert_eq!(std::fs::read_to_string(&file).expect("kept"), "kept");
    assert!(Client::connect(&dir.path().join("none")).expect("no error").is_none());
}

#[test]
fn http_answers_to_its_own_names_only() {
    let running = Running::start_with(1, false);
    let port = running.http.port();
    for (what, request, want) in [
        ("an address", "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(), 200),
        ("with its port", format!("GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"), 200),
        ("any address: it leads nowhere else", "GET /health HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n".to_owned(), 200),
        ("localhost", format!("GET /health HTTP/1.1\r\nHost: LocalHost:{port}\r\n"), 200),
        ("a configured name", "GET /health HTTP/1.1\r\nHost: GW.example.:9\r\n".to_owned(), 200),
        ("a name of somebody else", "GET /health HTTP/1.1\r\nHost: evil.example\r\n".to_owned(), 421),
        ("that looks like an address", "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n".to_owned(), 421),
        ("an own name inside", "GET /health HTTP/1.1\r\nHost: gw.example.evil.example\r\n".to_owned(), 421),
        ("an absolute target", "GET http://127.0.0.1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(), 200),
        ("of another case", "GET http://GW.example/health HTTP/1.1\r\nHost: gw.EXAMPLE:80\r\n".to_owned(), 200),
        ("of https", "GET https://gw.example:443/health HTTP/1.1\r\nHost: gw.example\r\n".to_owned(), 200),
        ("as HTTP/1.0 may have it", "GET http://gw.example/health HTTP/1.0\r\n".to_owned(), 200),
        ("not with another Host", "GET http://evil.example/health HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(), 400),
        ("nor the other way", "GET http://127.0.0.1/health HTTP/1.1\r\nHost: evil.example\r\n".to_owned(), 400),
        ("nor of two own names", "GET http://gw.example/health HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(), 400),
        ("nor of another port", "GET http://gw.example:81/health HTTP/1.1\r\nHost: gw.example\r\n".to_owned(), 400),
        ("nor without Host", "GET http://127.0.0.1/health HTTP/1.1\r\n".to_owned(), 400),
        ("nor of a stranger", "GET http://evil.example/health HTTP/1.1\r\nHost: evil.example\r\n".to_owned(), 421),
        ("nor of another scheme", "GET ftp://127.0.0.1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(), 400),
        ("a user in it", "GET http://a@127.0.0.1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(), 400),
        ("in both", "GET http://a:b@127.0.0.1/health HTTP/1.1\r\nHost: a:b@127.0.0.1\r\n".to_owned(), 400),
        ("a user in Host", "GET /health HTTP/1.1\r\nHost: evil.example@127.0.0.1\r\n".to_owned(), 400),
        ("the last port", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:65535\r\n".to_owned(), 200),
        ("an empty port", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:\r\n".to_owned(), 200),
        ("a port that is none", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:65536\r\n".to_owned(), 400),
        ("nor is this", "GET /health HTTP/1.1\r\nHost: [::1]:99999\r\n".to_owned(), 400),
        ("nor letters", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:http\r\n".to_owned(), 400),
        ("nor a sign", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:+80\r\n".to_owned(), 400),
        (
            "nor in the target",
            "GET http://127.0.0.1:70000/health HTTP/1.1\r\nHost: 127.0.0.1:70000\r\n".to_owned(),
            400,
        ),
        ("a tunnel", "CONNECT evil.example:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(), 400),
        ("two", "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n".to_owned(), 400),
        ("none", "GET /health HTTP/1.1\r\n".to_owned(), 400),
        ("none, as HTTP/1.0 may", "GET /health HTTP/1.0\r\n".to_owned(), 200),
        ("no name at all", "GET /health HTTP/1.1\r\nHost: a b\r\n".to_owned(), 400),
        ("the API is off", "GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(), 403),
        ("whatever its path", "GET /api/none HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(), 403),
        ("and so is its page", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(), 403),
    ] {
        let (code, body) = running.ask(&format!("{request}Connection: close\r\n\r\n"));
        assert_eq!(code, want, "{what}: {body}");
        let error: Value = serde_json::from_str(&body).expect(what);
        assert_eq!(error["error"].is_string(), want != 200, "{what}: {body}");
    }
    let (_, body) = running.get("/api/calls");
    assert!(body.contains("admin.api = true"), "{body}");
}

#[test]
fn silent_connections_keep_nobody_out() {
    let running = Running::start(1);
    let http: Vec<_> = (0..200).map(|_| TcpStream::connect(running.http).expect("connected")).collect();
    for mut slow in http.iter().take(20) {
        slow.write_all(b"GET /health HTTP/1.1\r\nHo").expect("written");
    }
    assert_eq!(running.get("/health").0, 200);
    let silent: Vec<_> = (0..40).map(|_| UnixStream::connect(running.socket()).expect("connected")).collect();
    let mut client = running.client();
    client.ask(&Request::QueueStatus {}).expect("a status");
    // The oldest of them has given its place up.
    assert_eq!((&silent[0]).read(&mut [0; 8]).expect("closed"), 0);
    // Without a new one a head has its time too.
    let mut last = TcpStream::connect(running.http).expect("connected");
    last.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    last.write_all(b"GET /health HTTP/1.1\r\nHo").expect("written");
    let mut rest = Vec::new();
    last.read_to_end(&mut rest).expect("closed after the time of a head");
    drop((http, silent));
}

#[test]
fn the_socket_of_questions_does_nothing_else() {
    let running = Running::start(2);
    let path = running.status_socket();
    assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o660);
    let mut client = Client::connect(&path).expect("no error").expect("somebody serves it");
    for request in [Request::Status {}, Request::Calls { max: 1 }, Request::QueueStatus {}] {
        client.ask(&request).unwrap_or_else(|error| panic!("{request:?}: {error}"));
    }
    let act = Request::QueueAct { action: Verb::Drop, filter: Filter::default(), reason: None };
    for request in [act, Request::Reload {}] {
        match client.ask(&request) {
            Err(ClientError::Usage(text)) => assert!(text.contains("questions only"), "{text}"),
            other => panic!("{request:?}: {other:?}"),
        }
    }
    assert_eq!(list(&mut running.client(), Standing::Waiting).len(), 2);
}
