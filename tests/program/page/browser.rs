//! Chromium without a window, driven by the DevTools protocol over two pipes: JSON objects, each with a NUL behind it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::support::start::Start as _;
use crate::support::{PATIENCE, peer, try_wait_for};

/// A browser with one page.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    told: Receiver<Value>,
    next: u64,
    session: Value,
    /// Errors, exceptions and violations of the page's policy so far.
    pub troubles: Vec<String>,
    folder: PathBuf,
}

/// Notes what the browser refuses to load or run.
const WATCH: &str = "document.addEventListener('securitypolicyviolation', (event) => \
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));";

impl Browser {
    /// With an empty page; `None`: it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    pub fn open(dir: &Path) -> Option<Self> {
        let chromium = peer("chromium")?;
        let folder = dir.join("browser");
        fs::create_dir_all(&folder).expect("a folder");
        let mut command = Command::new("sh");
        // The pipes are descriptors 3 and 4 of the browser.
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>\"$HOME/log\""]).arg(chromium);
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--window-size=1200,900"]);
        // No authority of a test is known to it.
        command.arg("--ignore-certificate-errors");
        command.arg("--remote-debugging-pipe").arg(format!("--user-data-dir={}", folder.join("data").display()));
        command.arg("about:blank").env("HOME", &folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.start().expect("sh runs");
        let (commands, answers) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let whole = BufReader::new(answers).split(0).map_while(Result::ok);
            let values = whole.filter_map(|octets| serde_json::from_slice::<Value>(&octets).ok());
            values.take_while(|value| tell.send(value.clone()).is_ok()).for_each(drop);
        });
        let mut browser = Self { child, commands, told, next: 0, session: Value::Null, troubles: Vec::new(), folder };
        browser.attach();
        Some(browser)
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = self.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        self.session = attached["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WATCH }));
    }

    /// Does a command.
    ///
    /// # Panics
    /// When the browser refuses it, or has ended.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let mut command = json!({ "id": self.next, "method": method, "params": params });
        if !self.session.is_null() {
            command["sessionId"] = self.session.clone();
        }
        let mut octets = command.to_string().into_bytes();
        octets.push(0);
        self.commands.write_all(&octets).unwrap_or_else(|error| panic!("{method}: {error}: {}", self.log()));
        loop {
            let told = self.told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{method}: silence: {}", self.log()));
            if told["id"] == self.next {
                assert!(told["error"].is_null(), "{method}: {told}");
                return told["result"].clone();
            }
            self.hear(&told);
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Keeps what should not be; that a request was refused is the page's business.
    fn hear(&mut self, told: &Value) {
        let params = &told["params"];
        let is_bad = match told["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => params["type"] == "error",
            Some("Log.entryAdded") => params["entry"]["level"] == "error" && params["entry"]["source"] != "network",
            // `confirm` is answered with yes.
            Some("Page.javascriptDialogOpening") => {
                let accept = json!({
                    "id": 0, "method": "Page.handleJavaScriptDialog", "params": { "accept": true },
                    "sessionId": self.session,
                });
                let _written = self.commands.write_all(format!("{accept}\0").as_bytes());
                false
            }
            _ => false,
        };
        if is_bad {
            self.troubles.push(params.to_string());
        }
    }

    /// Goes to an address.
    pub fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression.
    ///
    /// # Panics
    /// When it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let given = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", given);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// When it never is; it says what the page shows.
    pub fn wait(&mut self, what: &str, expression: &str) {
        // A page that is just being left has no such thing yet.
        let safe = format!("(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()");
        let found = try_wait_for(|| (self.value(&safe) == true).then_some(()));
        if found.is_none() {
            let shown = self.value("document.body.innerText");
            panic!("{what}: {expression}: the page shows {shown}\n{:?}", self.troubles);
        }
    }

    /// Presses and lets go a key, by the name that the page sees.
    pub fn press(&mut self, key: &str) {
        let mut chars = key.chars();
        let text = chars.next().filter(|_| chars.next().is_none()).map(String::from);
        let text = text.or_else(|| (key == "Enter").then(|| "\r".to_owned()));
        let number = match key {
            "Enter" => 13,
            "Tab" => 9,
            "Escape" => 27,
            "End" => 35,
            "Home" => 36,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            _ => 0,
        };
        let mut event = json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": number });
        if let Some(text) = text {
            event["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Clicks twice on an element, as a hand does.
    ///
    /// # Panics
    /// When there is none.
    pub fn click_twice(&mut self, element: &str) {
        let place = self.value(&format!(
            "(() => {{ const box = {element}.getBoundingClientRect(); return [box.x + 20, box.y + 5]; }})()"
        ));
        for count in [1, 2] {
            for kind in ["mousePressed", "mouseReleased"] {
                let event =
                    json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": count });
                self.call("Input.dispatchMouseEvent", event);
            }
        }
    }

    /// Writes into what has the focus.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Keeps what is seen as a PNG where `TOLLGATE_SCREENSHOTS` says, for a person to look at.
    pub fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("TOLLGATE_SCREENSHOTS") else { return };
        let data = self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        let encoded = data["data"].as_str().unwrap_or_default();
        let octets = data_encoding::BASE64.decode(encoded.as_bytes()).expect("base64");
        fs::write(Path::new(&folder).join(format!("{name}.png")), octets).expect("written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
