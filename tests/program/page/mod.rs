//! The web page in Debian's Chromium: what it shows of a running gateway, its keys, and whom it believes.

mod browser;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use self::browser::Browser;
use crate::support::{Agent, Gateway, Side, Wire, free_ports, wait_for};

const TOKEN: &str = "token-of-these-tests";

/// A gateway whose calls go to an agent of the test's own, and a browser that looks at it.
struct Stage {
    gateway: Gateway,
    callee: Agent,
    caller: Agent,
    http: u16,
    browser: Browser,
}

impl Stage {
    /// `None`: there is no browser. `more` goes on behind `[trace]`.
    fn set(dir: &Path, more: &str) -> Option<Self> {
        let browser = Browser::open(dir)?;
        let [http] = free_ports();
        let agent = |host: u8| Agent::bind(SocketAddr::from(([127, 0, 0, host], 0)));
        let (caller, callee) = (agent(1), agent(2));
        let token = dir.join("token");
        fs::write(&token, format!("{TOKEN}\n")).expect("written");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("set");
        let admin = format!(
            "listen = \"127.0.0.1:{http}\"\napi = true\ntoken_file = \"{}\"\n\n[trace]\ncalls = 77\n{more}",
            token.display()
        );
        let gateway = Gateway::start(dir, &[format!("sip:{}", callee.address)], 9, &admin);
        Some(Self { gateway, callee, caller, http, browser })
    }

    /// Opens a view with the token in place.
    fn look(&mut self, view: &str) {
        let site = format!("http://127.0.0.1:{}", self.http);
        self.browser.go(&format!("{site}/page.css"));
        self.browser.wait("the site", "location.pathname === '/page.css' && document.readyState === 'complete'");
        self.browser.value(&format!("sessionStorage.setItem('token', '{TOKEN}')"));
        self.browser.go(&format!("{site}/#/{view}"));
        self.browser.wait("the page", "document.querySelectorAll('#views a').length > 2");
    }

    /// One request to the API.
    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).expect("connected");
        let length = body.len();
        let request = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON")
    }

    /// Sends an INVITE, and gives it as it came to the callee.
    fn invite(&mut self, call_id: &str, from: &str) -> (Wire, Wire) {
        let (at, mark) = (self.caller.address, mark(call_id));
        let text = format!(
            "INVITE sip:bob@{} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{mark}\r\nMax-Forwards: 70\r\n\
             From: {from};tag=f{mark}\r\nTo: <sip:bob@example.com>\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:alice@{at}>\r\nContent-Length: 0\r\n\r\n",
            self.gateway.address()
        );
        self.caller.send(text.as_bytes(), self.gateway.address());
        (Wire::read(text.as_bytes()), self.callee.wait("the INVITE"))
    }

    fn answer(&mut self, request: &Wire, status: &[u8]) -> Wire {
        let contact = format!("Contact: <sip:bob@{}>", self.callee.address).into_bytes();
        let answer = request.answer(status, "callee", &[contact], b"");
        self.callee.send(&answer.octets(), self.gateway.address());
        self.caller.wait("the answer")
    }

    /// A call that is answered and ended.
    fn call(&mut self, call_id: &str, from: &str) {
        let (sent, came) = self.invite(call_id, from);
        let answer = self.answer(&came, b"200 OK");
        let side = Side::caller(&sent, &answer);
        for (method, cseq) in [("ACK", 1), ("BYE", 2)] {
            let via = format!("SIP/2.0/UDP {};branch=z9hG4bK{}{method}", self.caller.address, mark(call_id));
            self.caller.send(&side.request(method, cseq, &via).octets(), self.gateway.address());
            let came = self.callee.wait(method);
            if method == "BYE" {
                self.answer(&came, b"200 OK");
            }
        }
    }

    fn has_no_troubles(&mut self) {
        self.browser.value("1");
        assert_eq!(self.browser.troubles, [""; 0], "{}", self.gateway.log());
    }
}

/// What of a Call-ID may stand in a branch.
fn mark(call_id: &str) -> String {
    call_id.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// The text of an element.
fn text(selector: &str) -> String {
    format!("document.querySelector({selector:?}).textContent")
}

#[test]
fn the_page_asks_for_the_token_and_shows_the_running_gateway() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(mut stage) = Stage::set(dir.path(), "") else { return };
    stage.call("shown@example", "<sip:alice@example.com>");
    stage.browser.go(&format!("http://127.0.0.1:{}/", stage.http));
    stage.browser.wait("it asks", "document.getElementById('ask').open");
    for (token, wrong) in [("not-the-token-at-all", "does not take this token"), (TOKEN, "")] {
        stage.browser.write(token);
        stage.browser.press("Enter");
        if wrong.is_empty() {
            stage.browser.wait("it is taken", "!document.getElementById('ask').open");
        } else {
            stage.browser.wait(
                "it is refused",
                &format!("document.getElementById('ask').open && {}.includes('{wrong}')", text("#ask-wrong")),
            );
        }
    }
    let view = text("main");
    stage.browser.wait("the gateway", &format!("{view}.includes('running') && {view}.includes('are taken')"));
    let answers = "[...document.querySelectorAll('[aria-label=\"Answers by class\"] tbody tr')].map((line) => line.children[1].textContent)";
    stage.browser.wait("the answer is counted", &format!("{answers}[0] === '1'"));
    let balance = stage.ask("GET", "/queue", "");
    let waiting = balance["sinks"][0]["waiting"].as_u64().expect("a number");
    let sinks = "document.querySelector('[aria-label=Sinks] tbody tr').children";
    stage
        .browser
        .wait("records wait", &format!("{sinks}[0].textContent === 'test' && {sinks}[1].textContent === '{waiting}'"));
    stage
        .browser
        .wait("its server", "document.querySelector('[aria-label=Servers]').textContent.includes('127.0.0.1:9')");
    assert_eq!(stage.browser.value("localStorage.length"), 0, "the token is in this tab alone");
    stage.browser.picture("overview");
    stage.has_no_troubles();
}

#[test]
fn the_page_is_the_same_over_tls() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = rcgen::generate_simple_self_signed(["gw.example".to_owned()]).expect("a certificate");
    for (name, text) in [("gw.pem", own.cert.pem()), ("gw.key", own.signing_key.serialize_pem())] {
        fs::write(dir.path().join(name), text).expect("written");
    }
    let tls = "[admin.tls]\ncertificate = \"../gw.pem\"\nkey = \"../gw.key\"\nclient_certificate = \"optional\"\n\
               client_ca = \"../gw.pem\"\n";
    let Some(mut stage) = Stage::set(dir.path(), tls) else { return };
    stage.browser.go(&format!("https://127.0.0.1:{}/", stage.http));
    stage.browser.wait("it asks", "document.getElementById('ask').open");
    stage.browser.write(TOKEN);
    stage.browser.press("Enter");
    let view = text("main");
    stage.browser.wait("the gateway", &format!("{view}.includes('running') && {view}.includes('are taken')"));
    let retry = "fetch('/api/v1/records/retry', { method: 'POST', body: '{\"all\":true}', headers: { 'Content-Type': \
                 'application/json', Authorization: `Bearer ${sessionStorage.getItem('token')}` } }).then((r) => r.status)";
    assert_eq!(stage.browser.value(retry), 200, "it may change something");
    stage.has_no_troubles();
}

#[test]
fn a_call_is_drawn_with_all_its_messages_and_a_hostile_header_is_text() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(mut stage) = Stage::set(dir.path(), "") else { return };
    let hostile = "\"<script>document.title='mine'</script><img src=x onerror=alert(1)>\" <sip:alice@example.com>";
    stage.call("hostile%2F/<b>@example", hostile);
    let (_, came) = stage.invite("busy@example", "<sip:alice@example.com>");
    stage.answer(&came, b"486 Busy Here");
    stage.look("calls");
    let last = "[...document.querySelectorAll('[aria-label=\"Last calls\"] tbody tr[aria-rowindex]')]";
    stage.browser.wait("both calls", &format!("{last}.length === 2"));
    assert_eq!(stage.browser.value(&format!("{last}.map((line) => line.children[1].textContent).join()")), "486,200");
    stage.browser.wait("its From as it came", &format!("{last}[1].children[3].textContent.startsWith('\"<script>')"));
    stage.browser.picture("calls");
    // By the keys: the table, its last row, all of that.
    stage.browser.value("document.querySelector('[aria-label=\"Last calls\"]').focus()");
    stage.browser.press("End");
    stage.browser.press("Enter");
    stage
        .browser
        .wait("the call", "location.hash.startsWith('#/call/') && document.querySelectorAll('svg path').length > 9");
    let ladder = stage.ask("GET", "/calls/ladder?call=hostile%252F/%3Cb%3E@example", "");
    let want: Vec<String> = ladder["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|one| {
            let part = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            match one["code"].as_u64() {
                Some(code) => format!("{code} {} ({})", part("text"), part("method")),
                None => format!("{} {}", part("method"), part("text")),
            }
        })
        .collect();
    let drawn = stage.browser.value("[...document.querySelectorAll('svg title')].map((title) => title.textContent)");
    assert_eq!(drawn, serde_json::json!(want));
    // The gateway's own 100 comes where the answer takes its time.
    let words = want.iter().map(|one| one.split(' ').next().unwrap_or(one)).filter(|word| *word != "100");
    let flow = ["INVITE", "INVITE", "200", "200", "ACK", "ACK", "BYE", "BYE", "200", "200"];
    assert_eq!(words.collect::<Vec<_>>(), flow, "{want:?}");
    let lanes = "[...document.querySelectorAll('svg text.lane')].map((lane) => lane.textContent)";
    let (caller, callee) = (format!("udp:{}", stage.caller.address), format!("udp:{}", stage.callee.address));
    assert_eq!(stage.browser.value(lanes), serde_json::json!([caller, "Tollgate", callee]));
    assert_eq!(stage.browser.value("document.querySelectorAll('main script, main img').length"), 0);
    assert_ne!(stage.browser.value("document.title"), "mine");
    stage.browser.picture("call");
    // The same for a terminal.
    let shown = stage.gateway.command(&["trace", "hostile%2F/<b>@example"]);
    assert!(shown.contains("|------- INVITE 1 ------->|") && shown.contains(&callee), "{shown}");
    assert!(stage.gateway.command(&["trace"]).contains("busy@example"));
    stage.has_no_troubles();
}

#[test]
fn a_parked_record_is_tried_again_by_the_page_and_by_nobody_without_the_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(mut stage) = Stage::set(dir.path(), "") else { return };
    stage.call("parked@example", "<sip:alice@example.com>");
    wait_for("the record", || (!stage.ask("GET", "/records", "")["items"].as_array()?.is_empty()).then_some(()));
    let parked = stage.ask("POST", "/records/park", "{\"all\": true, \"reason\": \"<i>wrong</i> tariff\"}");
    assert!(parked["records"].as_u64() > Some(0), "{parked}");
    stage.look("queue");
    let lines = "[...document.querySelectorAll('[aria-label=Records] tbody tr[aria-rowindex]')]";
    stage.browser.wait("the record", &format!("{lines}.length > 0"));
    let before = stage.browser.value(&format!("{lines}.length")).as_u64().expect("a number");
    assert_eq!(stage.browser.value(&format!("{lines}[0].children[10].textContent")), "<i>wrong</i> tariff");
    stage.browser.value("document.querySelector('[aria-label=Records]').focus()");
    stage.browser.press("ArrowDown");
    stage.browser.picture("queue");
    stage.browser.click_twice(&format!("{lines}[0]"));
    stage.browser.wait("all of it", "document.querySelector('main pre').textContent.includes('parked@example')");
    let retry = "[...document.querySelectorAll('main button')].find((own) => own.textContent === 'Try it again')";
    // Whoever has no token is asked for it, and nothing happens.
    stage.browser.value(&format!("sessionStorage.clear(); {retry}.click()"));
    stage.browser.wait("it asks", "document.getElementById('ask').open");
    let count = |stage: &Stage| stage.ask("GET", "/records?state=parked", "")["items"].as_array().map(Vec::len);
    assert_eq!(count(&stage).map(|own| own as u64), Some(before));
    stage.browser.write(TOKEN);
    stage.browser.press("Enter");
    stage.browser.wait("the records again", &format!("!document.getElementById('ask').open && {lines}.length > 0"));
    stage.browser.value("document.querySelector('[aria-label=Records]').focus()");
    stage.browser.press("j");
    stage.browser.value(&format!("{retry}.click()"));
    stage.browser.wait("it is parked no more", &format!("{lines}.length === {}", before - 1));
    assert_eq!(count(&stage).map(|own| own as u64), Some(before - 1));
    assert!(!stage.browser.value(&text("main")).as_str().unwrap_or_default().contains("Drop it"));
    stage.has_no_troubles();
}

#[test]
fn everything_is_reached_by_keys_and_ten_thousand_rows_do_not_stall() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(mut stage) = Stage::set(dir.path(), "") else { return };
    stage.look("overview");
    for (key, view) in
        [("2", "Calls"), ("3", "Queue"), ("4", "Servers"), ("5", "Audit"), ("6", "Configuration"), ("1", "Overview")]
    {
        stage.browser.press(key);
        stage.browser.wait(view, &format!("{}.startsWith('{view}')", text("main h2")));
        assert_eq!(stage.browser.value("document.activeElement.id"), "main", "the focus is where the view begins");
    }
    // Tab goes through links, the token, and then the tables; what has the focus is seen.
    stage.browser.value("document.activeElement.blur()");
    let mut stations = Vec::new();
    for _ in 0..12 {
        stage.browser.press("Tab");
        let at =
            "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).slice(0, 40)";
        stations.push(stage.browser.value(at).as_str().unwrap_or_default().to_owned());
        // Behind the last station comes the first one again, by way of none.
        let is_seen = "document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== 'none'";
        assert_eq!(stage.browser.value(is_seen), true, "{stations:?}");
    }
    for want in ["1 Overview", "4 Servers", "Token", "Answers by class", "Sinks", "Servers"] {
        assert!(stations.iter().any(|own| own == want), "{want}: {stations:?}");
    }
    // Of more calls than a gateway of the tests can have: the page is told them.
    let many = "ask = async (path) => (path.startsWith('/calls?') ? { total: 10000, calls: Array.from({ length: 10000 }, (_, place) => \
        ({ session: `s${place}`, call_id: `call-${place}@x`, from: 'sip:a@x', to: null, target: null, from_tag: 'f', to_tag: 't', \
        created: '2026-01-02T03:04:05Z', answered: null, ending: false, duration_s: null })) } : { calls: [] })";
    stage.browser.value(&format!("{many}; location.hash = '#/calls'"));
    let lines = "document.querySelectorAll('[aria-label=\"Calls in progress\"] tbody tr[aria-rowindex]')";
    stage.browser.wait("the rows", &format!("{lines}.length > 5"));
    let table = "document.querySelector('[aria-label=\"Calls in progress\"]')";
    stage.browser.value(&format!("{table}.focus()"));
    stage.browser.press("End");
    stage.browser.wait("the last row", &format!("{lines}[{lines}.length - 1].textContent.includes('call-9999@x')"));
    assert_eq!(stage.browser.value(&format!("{table}.getAttribute('aria-rowcount')")), "10001");
    let drawn = stage.browser.value(&format!("{lines}.length")).as_u64().expect("a number");
    assert!(drawn < 200, "{drawn} rows are drawn of 10 000");
    let took = stage.browser.value(
        "(async () => { const begun = performance.now(); await current.refresh(); const filled = performance.now(); \
         const box = document.querySelector('.grid'); \
         for (let place = 0; place < 100; place += 1) { box.scrollTop = place * 2800; \
         await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn))); } \
         return `filled in ${(filled - begun).toFixed(1)} ms, scrolled by ${((performance.now() - filled) / 100).toFixed(1)} ms a picture`; })()",
    );
    eprintln!("10 000 rows: {took}");
    stage.browser.press("/");
    stage.browser.write("call-77@");
    stage
        .browser
        .wait("what is found", &format!("{lines}.length === 1 && {lines}[0].textContent.includes('call-77@x')"));
    stage.browser.picture("found");
    stage.has_no_troubles();
}

#[test]
fn a_day_is_audited_a_call_told_and_the_configuration_shown_without_secrets() {
    let dir = tempfile::tempdir().expect("a folder");
    let gateway = dir.path().join("gateway");
    fs::create_dir_all(&gateway).expect("a folder");
    fs::write(gateway.join("route.lua"), "function request_route(req)\n  avp.kind = \"<b>gold\"\nend\n")
        .expect("written");
    let more =
        "\n[script]\nfile = \"route.lua\"\n\n[sinks.webhook.hook]\nurl = \"http://127.0.0.1:9/take?key=hidden-key\"\n";
    let Some(mut stage) = Stage::set(dir.path(), more) else { return };
    stage.call("told@example", "<sip:alice@example.com>");
    let story = wait_for("the records", || {
        let story = stage.ask("GET", "/calls/story?call=told@example", "");
        (story["total"] == 2).then_some(story)
    });
    let document: Value = serde_json::from_str(tollgate::admin::api::DOCUMENT).expect("JSON");
    let fits = |name: &str, value: &Value| {
        let mut schema = document["components"]["schemas"][name].clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let wrong: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}\n{value}");
    };
    fits("Story", &story);
    for (path, name) in [
        ("/audit?day=today&zone=UTC", "Audit"),
        ("/configuration", "Configuration"),
        ("/calls/traced", "TracedCalls"),
        ("/calls/ladder?call=told@example", "Ladder"),
    ] {
        fits(name, &stage.ask("GET", path, ""));
    }
    for (what, path, want) in [
        ("no day", "/audit?day=tomorrow", "`tomorrow` is no day"),
        ("no zone", "/audit?zone=Mars/Olympus", "is no time zone"),
        ("no call", "/calls/ladder?call=nobody", "no message of the Call-ID `nobody` is kept"),
    ] {
        let told = stage.ask("GET", path, "");
        assert!(told["error"].as_str().is_some_and(|text| text.contains(want)), "{what}: {told}");
    }
    stage.look("call/told%40example");
    let fates = "document.querySelector('[aria-label=\"Records\"]').textContent";
    stage
        .browser
        .wait("its records", &format!("{fates}.includes('start 200') && {fates}.includes('ended by caller: bye')"));
    let steps = "document.querySelector('[aria-label=\"What the script has decided\"]').textContent";
    stage.browser.wait(
        "what the script did",
        &format!("{steps}.includes('avp.kind = \"<b>gold\"') && {steps}.includes('→ routes')"),
    );
    stage.browser.picture("story");
    stage.browser.press("5");
    stage.browser.wait(
        "the day",
        &format!("{}.includes('incomplete') && document.querySelectorAll('svg.chart rect').length > 1", text("main")),
    );
    let bars = "[...document.querySelectorAll('svg.chart rect title')].map((title) => title.textContent)";
    assert_eq!(stage.browser.value(&format!("{bars}.includes('test: 2 waiting')")), true);
    let hour = "/^from [0-9]{2}:00, calls: 1, not complete: 1$/";
    assert_eq!(stage.browser.value(&format!("{bars}.filter((text) => {hour}.test(text)).length")), 1);
    let rows = "document.querySelector('[aria-label=\"Hours of the day\"]').getAttribute('aria-rowcount')";
    let rows = stage.browser.value(rows);
    assert!(["24", "25", "26"].iter().any(|count| rows == *count), "a head, and a row for each hour: {rows}");
    stage.browser.picture("audit");
    stage.browser.press("6");
    stage.browser.wait("an option", &format!("{}.includes('trace.calls')", text("main")));
    let shown = stage.browser.value(&text("main")).as_str().unwrap_or_default().to_owned();
    assert!(
        shown.contains("http://127.0.0.1:9/take?...") && !shown.contains("hidden-key") && !shown.contains(TOKEN),
        "{shown}"
    );
    stage.browser.picture("configuration");
    // The same in the dark.
    let dark = serde_json::json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    stage.browser.call("Emulation.setEmulatedMedia", dark);
    assert_eq!(stage.browser.value("getComputedStyle(document.body).backgroundColor"), "rgb(20, 23, 27)");
    stage.browser.picture("dark");
    stage.has_no_troubles();
}
