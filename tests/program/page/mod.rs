//! The web page in Debian's Chromium: what it shows of a running gateway, its keys, and whom it believes.

mod browser;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use self::browser::Browser;
use crate::support::{Agent, Gateway, Side, Wire, free_ports};

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
    /// `None`: there is no browser. `more` goes on behind `[admin]`.
    fn set(dir: &Path, more: &str) -> Option<Self> {
        let browser = Browser::open(dir)?;
        let [http] = free_ports();
        let agent = |host: u8| Agent::bind(SocketAddr::from(([127, 0, 0, host], 0)));
        let (caller, callee) = (agent(1), agent(2));
        let token = dir.join("token");
        fs::write(&token, format!("{TOKEN}\n")).expect("written");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("set");
        let admin = format!("listen = \"127.0.0.1:{http}\"\napi = true\ntoken_file = \"{}\"\n{more}", token.display());
        let gateway = Gateway::start(dir, &[format!("sip:{}", callee.address)], 9, &admin);
        Some(Self { gateway, callee, caller, http, browser })
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
