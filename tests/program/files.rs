//! Files of records with the real binary: Python reads them, and nothing is lost by kill -9, a full disk or a reload.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tollgate::clock::Timestamp;
use tollgate::ids::RecordId;
use tollgate::record::{Kind, Record, Times, Value};
use tollgate::sinks::file::line::{Column, Format, Layout};
use tollgate::sinks::mapping::Source;

use crate::support::small::Small;
use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, peer, sipp, wait_for};

/// Reads the files of its arguments and prints their rows as JSON: of CSV lists with the header, of JSON objects.
const READER: &str = "\
import csv, json, sys
rows = []
for path in sys.argv[1:]:
    with open(path, newline='', encoding='utf-8', errors='strict') as file:
        if path.endswith('.csv'):
            table = list(csv.reader(file, strict=True))
            assert all(len(row) == len(table[0]) for row in table), path
            rows += [dict(zip(table[0], row)) for row in table[1:]]
        else:
            rows += [json.loads(line) for line in file.read().split('\\n') if line]
json.dump(rows, sys.stdout)
";

/// What Python reads in files; `None` without Python.
fn python(files: &[PathBuf]) -> Option<Vec<HashMap<String, serde_json::Value>>> {
    let output = Command::new(peer("python3")?).arg("-c").arg(READER).args(files).finish().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A text of pieces that could break a line.
    fn text(&mut self) -> Vec<u8> {
        const PIECES: &[&[u8]] = &[
            b"sip:alice@example.net",
            b",",
            b"\"",
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
            b"\xff",
            b"\xe9",
            b"\xf0\x9f",
            "\u{1F600}".as_bytes(),
            "\u{85}\u{2028}".as_bytes(),
            b"\\",
            b"'",
            b"%0A",
            b" ",
            b"=1+1",
            b"\t\x1b\x7f",
            b"",
        ];
        (0..self.next() % 6).flat_map(|_| PIECES[(self.next() % PIECES.len() as u64) as usize]).copied().collect()
    }
}

fn blank(id: u64) -> Record {
    Record {
        id: RecordId(id.into()),
        kind: Kind::Event,
        method: Vec::new(),
        from_tag: Vec::new(),
        to_tag: Vec::new(),
        call_id: Vec::new(),
        cseq: 0,
        code: 0,
        reason: Vec::new(),
        in_dialog: false,
        session: String::new(),
        multi_session: String::new(),
        number: None,
        times: Times { event: Timestamp(1), ..Times::default() },
        end: None,
        fields: Vec::new(),
        legs: Vec::new(),
        table: None,
        shortened: false,
        facts: tollgate::record::Facts::new(),
    }
}

/// What a reader is to find for a text, by the words of the manual: `%` and two digits for what is no UTF-8, and, unless
/// `controls` stay, for control characters.
fn expected(text: &[u8], controls_stay: bool) -> String {
    let mut found = String::new();
    let escape = |octets: &[u8]| octets.iter().map(|octet| format!("%{octet:02X}")).collect::<String>();
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && !controls_stay { found += &escape(c.to_string().as_bytes()) } else { found.push(c) }
        }
        found += &escape(chunk.invalid());
    }
    found
}

#[test]
fn python_reads_every_line_whatever_is_in_the_record() {
    let dir = tempfile::tempdir().unwrap();
    for (name, format) in [("lines.csv", Format::Csv), ("lines.jsonl", Format::Json)] {
        let column = |name: &str, source| Column { name: name.to_owned(), source: Some(source) };
        let field = |name: &str| column(name, Source::Field(name.to_owned()));
        let id = column("id", Source::named("record_id", &[], &[]).unwrap());
        let columns = vec![field("a"), id, field("b,\"b\""), column("leg", Source::Leg("src".to_owned()))];
        let layout = Layout { format, columns, ..Layout::default() };
        let (mut dice, mut lines, mut records) = (Dice(7), layout.header(), Vec::new());
        for number in 0..3000 {
            let mut record = blank(number);
            for name in ["a", "b,\"b\""] {
                record.fields.push((name.to_owned(), Value::Text(dice.text())));
            }
            record.legs = vec![vec![("src".to_owned(), Value::Text(dice.text()))]];
            lines.extend(layout.lines(&record));
            records.push(record);
        }
        let path = dir.path().join(name);
        fs::write(&path, &lines).unwrap();
        let Some(rows) = python(&[path]) else { return };
        assert_eq!(rows.len(), records.len(), "{name}");
        for (row, record) in rows.iter().zip(&records) {
            let stays = format == Format::Json;
            let wanted = |value: &Value| match value {
                Value::Text(text) => expected(text, stays),
                other => panic!("{other:?}"),
            };
            for (field, value) in &record.fields {
                assert_eq!(row[field], wanted(value), "{name} {}", record.id);
            }
            let leg = wanted(&record.legs[0][0].1);
            let leg = if stays { serde_json::json!([leg]) } else { leg.into() };
            assert_eq!((&row["leg"], &row["id"]), (&leg, &record.id.to_string().into()), "{name}");
        }
    }
}

/// A gateway whose only sink writes into `cdr` below its folder; `sink` is further lines of that sink.
fn gateway(dir: &Path, callee: u16, sink: &str) -> Gateway {
    let ([port], dir) = (free_ports(), dir.join("gateway"));
    let cdr = dir.join("cdr");
    fs::create_dir_all(&cdr).unwrap();
    Gateway::start_on(&dir, port, &configuration(&dir, port, callee, sink), 9)
}

fn configuration(dir: &Path, port: u16, callee: u16, sink: &str) -> String {
    let folder = dir.display();
    format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\n\
         [[route]]\nto = [\"sip:127.0.0.1:{callee}\"]\n\n[accounting]\non = [\"file\"]\nfields = {{ caller = \"$fn\" }}\n\n\
         [queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n\n[admin]\nsocket = \"{folder}/admin.sock\"\n\n\
         [sinks.file.cdr]\npath = \"cdr/calls.csv\"\n{sink}\n"
    )
}

/// The files below `cdr`, by name.
fn files(gateway: &Gateway) -> Vec<PathBuf> {
    let entries = fs::read_dir(gateway.dir.join("cdr")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "csv")).collect();
    files.sort();
    files
}

/// Lines in all files, without the headers.
fn lines(gateway: &Gateway) -> usize {
    let text = |path: &PathBuf| fs::read(path).unwrap_or_default();
    files(gateway)
        .iter()
        .map(text)
        .map(|text| text.iter().filter(|octet| **octet == b'\n').count().saturating_sub(1))
        .sum()
}

/// Runs so many calls.
fn calls(dir: &Path, gateway: &Gateway, count: u32) {
    let [caller] = free_ports();
    let (to, count) = (gateway.address().to_string(), count.to_string());
    let mut calls = sipp(dir, "uac.xml", caller, &[&to, "-m", &count, "-r", "50", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
}

#[test]
fn calls_are_lines_and_every_command_knows_the_sink() {
    let dir = tempfile::tempdir().unwrap();
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = gateway(dir.path(), callee, "mode = \"0600\"");
    calls(dir.path(), &gateway, 3);
    wait_for("six lines", || (lines(&gateway) == 6).then_some(()));
    let Some(rows) = python(&files(&gateway)) else { return };
    let mut kinds: Vec<_> = rows.iter().map(|row| row["kind"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, ["start", "start", "start", "stop", "stop", "stop"]);
    for row in &rows {
        assert_eq!(row["caller"], "Bench Caller", "{row:?}");
        assert_eq!(row["record_id"].as_str().map(str::len), Some(26), "{row:?}");
        let duration = row["duration_s"].as_str().unwrap();
        assert_eq!(duration.is_empty(), row["kind"] == "start", "{row:?}");
        assert!(duration.is_empty() || (0.05..5.0).contains(&duration.parse::<f64>().unwrap()), "{row:?}");
    }
    let path = gateway.dir.join("cdr/calls.csv");
    let status = gateway.command(&["status", "--json"]);
    assert!(status.contains(&*path.to_string_lossy()) && status.contains("\"up\""), "{status}");
    let balance = gateway.command(&["queue", "status", "--json"]);
    assert!(balance.contains("\"delivered\":6") || balance.contains("\"delivered\": 6"), "{balance}");
    // A test record is tried beside the file.
    let before = fs::read(&path).unwrap();
    let sent = gateway.command(&["send", "--sink", "cdr", "caller=O'Brien, \"Pat\""]);
    assert!(sent.contains("\"O'Brien, \"\"Pat\"\"\"") && sent.contains("verdict    acknowledged"), "{sent}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(files(&gateway), [path]);
}

#[test]
fn a_call_is_lines_with_the_columns_of_the_system_that_the_profile_names() {
    let dir = tempfile::tempdir().unwrap();
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    const CLASSIC: &str = "method,from_tag,to_tag,callid,sip_code,sip_reason,time";
    const OPENSIPS: &str = "setuptime,created,duration,ms_duration";
    for (profile, records, columns, methods) in [
        ("kamailio", "transactions", CLASSIC.to_owned(), &["INVITE", "BYE"][..]),
        ("opensips", "transactions", format!("{CLASSIC},{OPENSIPS}"), &["INVITE", "BYE"]),
        ("opensips", "cdr", format!("{CLASSIC},{OPENSIPS}"), &["INVITE"]),
    ] {
        let dir = dir.path().join(format!("{profile}-{records}"));
        let own = gateway(&dir, callee, &format!("profile = \"{profile}\"\nrecords = \"{records}\""));
        calls(&dir, &own, 1);
        wait_for("its lines", || (lines(&own) == methods.len()).then_some(()));
        let text = fs::read_to_string(&files(&own)[0]).unwrap();
        assert_eq!(text.lines().next(), Some(&*format!("{columns},caller,record_id")), "{profile} {records}");
        let Some(rows) = python(&files(&own)) else { return };
        let told: Vec<_> = rows.iter().map(|row| row["method"].as_str().unwrap()).collect();
        assert_eq!(told, methods, "{profile} {records}");
        for row in &rows {
            let value = |name: &str| row[name].as_str().unwrap();
            assert_eq!((value("sip_code"), value("sip_reason"), value("caller")), ("200", "OK", "Bench Caller"));
            assert!(!value("from_tag").is_empty() && !value("to_tag").is_empty(), "{row:?}");
            assert_eq!(value("callid"), rows[0]["callid"], "both are of the call");
            assert!(value("time").ends_with('Z'), "{row:?}");
            if columns.ends_with(OPENSIPS) {
                let has_ended = records == "cdr" || value("method") == "BYE";
                assert_eq!(value("ms_duration").parse::<u32>().is_ok_and(|span| span >= 50), has_ended, "{row:?}");
            }
        }
    }
}

#[test]
fn kill_9_under_load_loses_no_line_and_tears_none() {
    const KILLS: usize = 4;
    let dir = tempfile::tempdir().unwrap();
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = gateway(dir.path(), callee, "rotate_s = 1");
    let to = gateway.address().to_string();
    let log = dir.path().join("seen.log");
    let words = [&to, "-m", "500", "-r", "100", "-d", "300", "-trace_logs", "-log_file", log.to_str().unwrap()];
    let words = [&words[..], &["-recv_timeout", "20000", "-timeout", "60"]].concat();
    let mut running = sipp(dir.path(), "uac_logged.xml", caller, &words).unwrap();
    for kill in 1..=KILLS {
        wait_for("some lines", || (lines(&gateway) >= kill * 100).then_some(()));
        gateway.start_again();
    }
    running.wait("the caller");
    let seen: HashSet<(String, String)> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(what, call)| (if what == "answered" { "start" } else { "stop" }.to_owned(), call.trim().to_owned()))
        .collect();
    assert!(seen.len() > KILLS * 100, "only {} answers seen", seen.len());
    wait_for("the queue is empty", || {
        gateway.command(&["queue", "status", "--json"]).replace(' ', "").contains("\"waiting\":0").then_some(())
    });
    let Some(rows) = python(&files(&gateway)) else { return };
    let of = |row: &HashMap<String, serde_json::Value>, name: &str| row[name].as_str().unwrap().to_owned();
    let stored: HashSet<_> = rows.iter().map(|row| (of(row, "kind"), of(row, "call_id"))).collect();
    let missing: Vec<_> = seen.difference(&stored).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // One fact, one id; and a repeat is the same to the last octet.
    let mut by_id: BTreeMap<String, Vec<&HashMap<_, _>>> = BTreeMap::new();
    rows.iter().for_each(|row| by_id.entry(of(row, "record_id")).or_default().push(row));
    assert!(by_id.values().all(|rows| rows.iter().all(|row| *row == rows[0])), "a repeat differs");
    let mut facts = HashSet::new();
    for rows in by_id.values().filter(|rows| of(rows[0], "kind") != "failed") {
        assert!(facts.insert((of(rows[0], "kind"), of(rows[0], "session"))), "two ids for one fact: {:?}", rows[0]);
    }
    let repeats = rows.len() - by_id.len();
    println!("{} lines in {} files, {repeats} repeats", rows.len(), files(&gateway).len());
    assert!(files(&gateway).len() > 2, "it rotated under load");
}

#[test]
fn a_full_disk_delays_lines_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&dir.path().join("gateway/cdr"), 1) else { return };
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = gateway(dir.path(), callee, "");
    calls(dir.path(), &gateway, 2);
    wait_for("four lines", || (lines(&gateway) == 4).then_some(()));
    small.fill();
    // More lines than the last page of the file has room for.
    calls(dir.path(), &gateway, 30);
    let status = wait_for("the disk is noticed", || {
        let status = gateway.command(&["status"]);
        status.contains("No space left on device").then_some(status)
    });
    assert!(status.contains("cdr/calls.csv"), "{status}");
    let torn = |path: &PathBuf| fs::read(path).unwrap().last().is_some_and(|octet| *octet != b'\n');
    assert!(!files(&gateway).iter().any(torn), "a line that did not fit is not left in part");
    small.empty();
    wait_for("all lines", || (lines(&gateway) >= 64).then_some(()));
    let Some(rows) = python(&files(&gateway)) else { return };
    let ids: HashSet<_> = rows.iter().map(|row| row["record_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((rows.len(), ids.len()), (64, 64), "each once");
}

#[test]
fn a_reload_begins_a_file_with_the_new_columns() {
    let dir = tempfile::tempdir().unwrap();
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = gateway(dir.path(), callee, "columns = { record_id = \"record_id\", kind = \"kind\" }");
    calls(dir.path(), &gateway, 1);
    wait_for("two lines", || (lines(&gateway) == 2).then_some(()));
    let sink = "columns = { id = \"record_id\", who = \"caller\" }";
    fs::write(gateway.dir.join("tollgate.toml"), configuration(&gateway.dir, gateway.port, callee, sink)).unwrap();
    assert_eq!(gateway.command(&["reload"]), "reloaded\n");
    calls(dir.path(), &gateway, 1);
    wait_for("four lines", || (lines(&gateway) == 4).then_some(()));
    let texts: Vec<_> = files(&gateway).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    let heads: Vec<_> = texts.iter().map(|text| text.lines().next().unwrap()).collect();
    assert_eq!(heads, ["record_id,kind", "id,who"]);
    assert!(texts[1].lines().skip(1).all(|line| line.ends_with(",Bench Caller")), "{texts:?}");
}

#[test]
fn a_folder_that_is_missing_is_told_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = gateway(dir.path(), callee, "");
    let cdr = gateway.dir.join("cdr");
    fs::remove_dir(&cdr).unwrap();
    calls(dir.path(), &gateway, 1);
    let want = format!("cannot open `{}/calls.csv`: No such file or directory", cdr.display());
    wait_for("it is told", || gateway.command(&["status"]).contains(&want).then_some(()));
    assert!(gateway.log().contains("the backend does not fit the configuration"), "{}", gateway.log());
    let deep = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["check", "--config"])
        .arg(gateway.dir.join("tollgate.toml"))
        .finish()
        .unwrap();
    let said = String::from_utf8_lossy(&deep.stderr).into_owned();
    assert!(deep.status.success() && said.contains("warning: there is no folder"), "{said}");
    fs::create_dir(&cdr).unwrap();
    wait_for("two lines", || (lines(&gateway) == 2).then_some(()));
}
