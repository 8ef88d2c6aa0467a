//! Reads what a system wrote, from its golden file or from the gateway, as items: a line, a row, a packet or an event each,
//! with its values in order.

use std::sync::LazyLock;

use regex::Regex;

/// A line, a row, a packet or an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// Where it came out: `syslog`, `json`, `radius`, `events`, or `sql` and the table.
    pub part: String,
    /// What stands before the values, and the values, by name.
    pub pairs: Vec<(String, String)>,
}

/// Name of what stands before the values of a line or an event.
pub const HEAD: &str = "text";

impl Item {
    fn new(part: &str) -> Self {
        Self { part: part.to_owned(), pairs: Vec::new() }
    }

    fn push(&mut self, name: &str, value: &str) {
        self.pairs.push((name.to_owned(), value.to_owned()));
    }

    /// The first value of one of these names.
    pub fn value(&self, names: &[&str]) -> Option<&str> {
        let found = self.pairs.iter().find(|(name, _)| names.contains(&name.as_str()));
        found.map(|(_, value)| value.as_str())
    }

    /// What it states, in a few words.
    pub fn title(&self) -> String {
        let head = self.value(&[HEAD]).map(|head| head.rsplit_once(": ACC: ").map_or(head, |(_, text)| text));
        let method = self.value(METHODS);
        let method = NUMBERED.iter().find(|(number, _)| method == Some(number)).map(|(_, name)| *name).or(method);
        let words = [head, method, self.value(CODES)];
        let words = words.into_iter().flatten().map(|word| word.trim_matches('"'));
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        format!("{} {}", self.part, words.join(" "))
    }
}

/// Names of the method, the code and the Call-ID in all parts; of RADIUS the numbers of all profiles.
pub const METHODS: &[&str] = &["method", "sip_method", "101", "204"];
pub const CODES: &[&str] = &["code", "sip_code", "sip_status", "102", "205"];
pub const TAGS: &[&str] = &["to_tag", "totag", "104", "207"];
pub const CALLS: &[&str] = &["call_id", "callid", "sip_callid", "44"];

/// Names of attributes, for the list of differences; those of the SIP proxies have several numbers.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("1", "User-Name"),
    ("4", "NAS-IP-Address"),
    ("5", "NAS-Port"),
    ("30", "Called-Station-Id"),
    ("31", "Calling-Station-Id"),
    ("40", "Acct-Status-Type"),
    ("41", "Acct-Delay-Time"),
    ("44", "Acct-Session-Id"),
    ("46", "Acct-Session-Time"),
    ("49", "Acct-Terminate-Cause"),
    ("50", "Acct-Multi-Session-Id"),
    ("55", "Event-Timestamp"),
    ("61", "NAS-Port-Type"),
    ("101", "Sip-Method"),
    ("102", "Sip-Response-Code"),
    ("103", "Sip-CSeq"),
    ("104", "Sip-To-Tag"),
    ("105", "Sip-From-Tag"),
    ("107", "Sip-Translated-Request-URI"),
    ("204", "Sip-Method"),
    ("205", "Sip-Response-Code"),
    ("206", "Sip-From-Tag"),
    ("207", "Sip-To-Tag"),
    ("227", "Sip-Call-Duration"),
    ("228", "Sip-Call-Setuptime"),
    ("229", "Sip-Call-Created"),
    ("230", "Sip-Call-MSDuration"),
    ("241", "X-Extra-1"),
    ("242", "X-Extra-2"),
    ("243", "X-Extra-3"),
    ("244", "X-Extra-4"),
    ("245", "X-Extra-5"),
    ("250", "first field of a leg"),
    ("251", "second field of a leg"),
];

/// The name of a value: of an attribute that has one, else as it stands.
pub fn name_of(name: &str) -> &str {
    ATTRIBUTES.iter().find(|(number, _)| *number == name).map_or(name, |(_, name)| name)
}

/// Methods by their numbers in RADIUS.
const NUMBERED: &[(&str, &str)] =
    &[("1", "INVITE"), ("2", "CANCEL"), ("4", "ACK"), ("8", "BYE"), ("16", "INFO"), ("256", "MESSAGE")];

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of ours")
}

/// A golden file.
#[derive(Debug, Default)]
pub struct Golden {
    /// Its sections that are compared, in their order.
    pub parts: Vec<String>,
    /// What is in them.
    pub items: Vec<Item>,
}

/// Reads a golden file. What the system logged about its own errors is no accounting and left out, and so are the
/// statements, for its rows say the same.
pub fn golden(text: &str) -> Golden {
    let mut golden = Golden::default();
    for section in text.split("== ").skip(1) {
        let (name, body) = section.split_once('\n').unwrap_or((section, ""));
        let lines = || body.lines().filter(|line| !line.is_empty() && *line != "(nothing)");
        match name {
            "syslog" => golden.items.extend(lines().filter_map(line)),
            "radius" => golden.items.extend(packets(lines())),
            "sql" => {
                let (tables, rows) = tables(lines());
                golden.parts.extend(tables);
                golden.items.extend(rows);
            }
            "events" => golden.items.extend(events(body)),
            _ => continue,
        }
        if name != "sql" {
            golden.parts.push(name.to_owned());
        }
    }
    golden
}

/// A line of syslog, if it is accounting: severity, identity and text before the first value, then the values.
pub fn line(line: &str) -> Option<Item> {
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"(?s)^<(\d+)>(?:<DATE>|\w{3} [ \d]\d \d\d:\d\d:\d\d) ([^\[ ]+)\[(?:<pid>|\d+)\]: (.*?)\n?$")
    });
    static FIRST: LazyLock<Regex> = LazyLock::new(|| regex(r"[a-z_]+="));
    let found = LINE.captures(line)?;
    let (priority, identity, text) = (&found[1], &found[2], &found[3]);
    if identity == "json_acc" {
        return json("json", &format!("<{priority}> {identity}"), text);
    }
    if !text.contains("ACC: ") && !text.contains("log_write_cdr(): ") {
        return None;
    }
    let first = FIRST.find(text)?;
    let (head, values) = text.split_at(first.start());
    // The lines of SER, and of whole calls in Kamailio, are set out otherwise.
    let between = match values {
        values if values.starts_with("start_time=") => "; ",
        values if values.starts_with("method=") => ", ",
        _ => ";",
    };
    let mut item = Item::new("syslog");
    item.push(HEAD, &format!("<{priority}> {identity}: {}", head.trim_end()));
    for piece in values.split(between) {
        match (piece.split_once('='), item.pairs.last_mut()) {
            (Some((name, value)), _) if !name.contains(' ') => item.push(name, value),
            // A value with the separator in it.
            (_, Some((_, value))) => value.push_str(&format!("{between}{piece}")),
            (_, None) => {}
        }
    }
    Some(item)
}

/// The numbers of attributes whose values are numbers although they may look like texts.
const INSTANTS: &[u8] = &[55, 228, 229];

/// An Accounting-Request as it came.
pub fn packet(octets: &[u8]) -> Item {
    let mut item = Item::new("radius");
    let mut rest = octets.get(20..).unwrap_or_default();
    while let [number, length, ..] = *rest {
        let Some(value) = rest.get(2..usize::from(length)) else { break };
        let is_text = value.iter().all(|octet| matches!(octet, b' '..=b'~' | 0x80..));
        let text = match (number, <[u8; 4]>::try_from(value)) {
            (4, Ok(octets)) => std::net::Ipv4Addr::from(octets).to_string(),
            (number, Ok(octets)) if !is_text || INSTANTS.contains(&number) => u32::from_be_bytes(octets).to_string(),
            _ => String::from_utf8_lossy(value).into_owned(),
        };
        item.push(&number.to_string(), &text);
        rest = &rest[usize::from(length)..];
    }
    item
}

fn packets<'t>(lines: impl Iterator<Item = &'t str>) -> Vec<Item> {
    static ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| regex(r"^ *(\d+) \S+ +len \d+ +(.*)$"));
    static NAMED: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\d+) \([^)]*\)$"));
    let mut items = Vec::new();
    for line in lines {
        if line.starts_with("-- ") {
            items.push(Item::new("radius"));
        } else if let (Some(found), Some(item)) = (ATTRIBUTE.captures(line), items.last_mut()) {
            let value = &found[2];
            let text = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let value = text.map_or_else(|| NAMED.replace(value, "$1").into_owned(), str::to_owned);
            item.push(&found[1], &value);
        }
    }
    items
}

/// What stands for no value in a row.
pub const NULL: &str = "NULL";

fn tables<'t>(lines: impl Iterator<Item = &'t str>) -> (Vec<String>, Vec<Item>) {
    static TABLE: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\w+): \d+ rows?"));
    static COLUMN: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:^| )([a-z_]\w*)=(?:'|NULL|[\d<])"));
    static CLASS: LazyLock<Regex> = LazyLock::new(|| regex(r"/(?:text|integer|real|null)$"));
    let (mut parts, mut items) = (Vec::new(), Vec::new());
    for line in lines {
        if let Some(found) = TABLE.captures(line) {
            parts.push(format!("sql {}", &found[1]));
            continue;
        }
        let row = line.trim_start();
        let mut item = Item::new(parts.last().map_or("sql", String::as_str));
        let columns: Vec<_> =
            COLUMN.captures_iter(row).map(|found| found.get(1).expect("it is there").range()).collect();
        for (at, name) in columns.iter().enumerate() {
            let end = columns.get(at + 1).map_or(row.len(), |next| next.start - 1);
            let value = &row[name.end + 1..end];
            let is_sqlite = CLASS.is_match(value);
            let value = CLASS.replace(value, "").into_owned();
            let text = value.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
            let value = match text {
                None => value,
                Some(text) if is_sqlite => text.replace("''", "'"),
                Some(text) => text.replace("\\\\", "\\"),
            };
            item.push(&row[name.clone()], &value);
        }
        items.push(item);
    }
    (parts, items)
}

/// A row of the gateway's; columns of the test's own that are NULL are left out, as in the golden files.
pub fn row(table: &str, columns: Vec<(String, Option<String>)>) -> Item {
    static ADDED: LazyLock<Regex> = LazyLock::new(|| regex(r"^(x\d+|src|dst|time_(attr|exten))$"));
    let mut item = Item::new(&format!("sql {table}"));
    let own = ["id", "record_id", "leg"];
    for (name, value) in columns {
        match value {
            _ if own.contains(&name.as_str()) => {}
            None if ADDED.is_match(&name) => {}
            value => item.push(&name, value.as_deref().unwrap_or(NULL)),
        }
    }
    item
}

fn events(body: &str) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for line in body.lines().filter(|line| *line != "(nothing)") {
        if line.starts_with('{') {
            items.extend(event(line));
        } else if line.starts_with("E_ACC_") {
            let mut item = Item::new("events");
            item.push(HEAD, line);
            items.push(item);
        } else if let (Some((name, value)), Some(item)) = (line.split_once("::"), items.last_mut()) {
            item.push(name, value);
        }
    }
    items
}

/// An event of JSON-RPC.
pub fn event(line: &str) -> Option<Item> {
    let method = line.split_once("\"method\":\"")?.1.split_once('"')?.0;
    json("events", method, line.split_once("\"params\":")?.1.strip_suffix('}')?)
}

/// An object without objects in it, its names in their order; placeholders without quotes are values too.
fn json(part: &str, head: &str, text: &str) -> Option<Item> {
    static PAIR: LazyLock<Regex> = LazyLock::new(|| regex(r#""(\w+)": ?("(?:[^"\\]|\\.)*"|[^,}]+)"#));
    let mut item = Item::new(part);
    item.push(HEAD, head);
    for found in PAIR.captures_iter(text) {
        let value = &found[2];
        // A text keeps its quotes, so that it is told from a number.
        let text =
            value.starts_with('"').then(|| serde_json::from_str::<String>(value).map(|text| format!("\"{text}\"")));
        item.push(&found[1], &text.transpose().ok()?.unwrap_or_else(|| value.trim().to_owned()));
    }
    Some(item)
}

#[test]
fn golden_files_are_read_whole() {
    static TABLE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^(\w+): (\d+) rows?"));
    static PACKET: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^-- Accounting-Request, (\d+) bytes"));
    let mut count = 0;
    for (place, text) in super::golden_files() {
        let golden = golden(&text);
        let of = |part: &str| golden.items.iter().filter(|item| item.part == part).collect::<Vec<_>>();
        for found in TABLE.captures_iter(&text) {
            assert_eq!(of(&format!("sql {}", &found[1])).len().to_string(), found[2], "{place}: {}", &found[0]);
        }
        let packets = of("radius");
        assert_eq!(packets.len(), PACKET.captures_iter(&text).count(), "{place}");
        for (packet, found) in packets.iter().zip(PACKET.captures_iter(&text)) {
            let length = |(number, value): &(String, String)| match value.as_str() {
                "<T>" => 6,
                value if number == "4" || (value.parse::<u32>().is_ok() && number != "103") => 6,
                value => 2 + value.len(),
            };
            let octets = 20 + packet.pairs.iter().map(length).sum::<usize>();
            assert_eq!(octets.to_string(), found[1], "{place}: {packet:?}");
        }
        let lines =
            text.lines().filter(|line| line.starts_with('<') && (line.contains("ACC: ") || line.contains("json_acc")));
        assert!(lines.count() <= of("syslog").len() + of("json").len(), "{place}");
        count += golden.items.len();
    }
    assert!(count > 1000, "{count} items");
}
