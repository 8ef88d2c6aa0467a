//! A backlog that the whole gateway drains: `cargo bench --bench drain -- [--records N] [--database D]`.
//!
//! Fills a queue with N records (default 1 000 000, of half as many sessions), starts a database with the disk waited for
//! (`mysql`, the default, `postgres` or `sqlite`) and the gateway on that queue, and prints each second how many rows are
//! there and how much memory the gateway has; then the rows a second, and whether rows = records.
//! `TOLLGATE_BENCH_DIR` names the directory for the files.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a bench is alone in its process")]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tollgate::clock;
use tollgate::ids::{CallHash, RecordIds, SinkMask};
use tollgate::queue::{self, Queue};
use tollgate::record::{Commit, Entry, Kind, Record, codec};
use tollgate::sinks::sql::{Dialect, Mapping, Profile};

use support::radius::{field, record};
use support::sql::Database;
use support::{Gateway, free_ports};

/// Records of one commit.
const COMMIT: u64 = 1_000;

/// Writes the records of a backlog as the gateway would have.
fn fill(path: &Path, records: u64) {
    let settings = queue::Settings { path: path.to_owned(), free_min: 0, ..queue::Settings::default() };
    let opened = Queue::open(settings, &["acc".to_owned()], clock::now, &mut || ()).unwrap();
    let (mut queue, sink, mut ids) = (opened.queue, opened.sinks[0].1, RecordIds::new(7));
    for begin in (0..records).step_by(COMMIT as usize) {
        let entries = (begin..records.min(begin + COMMIT)).map(|number| {
            let kind = if number % 2 == 0 { Kind::Start } else { Kind::Stop };
            let fields = vec![field("caller", "sip:alice@atlanta.example.com")];
            let record = Record { id: ids.next(1_700_000_000_000), ..record(kind, number / 2, fields) };
            let (id, call) = (record.id, CallHash::of(&record.call_id));
            Entry { id, call, sinks: SinkMask::NONE.with(sink), body: codec::encode(&record) }
        });
        queue.add(Commit { entries: entries.collect(), calls: Vec::new() }).unwrap();
        queue.finish(clock::now).unwrap();
    }
    queue.close(clock::now).unwrap();
}

/// Memory of a process that is its own, in MiB.
fn memory(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
}

fn main() {
    let (mut records, mut dialect) = (1_000_000, Dialect::Mysql);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value");
        match word.as_str() {
            "--records" => records = value().parse().expect("a number"),
            "--database" => {
                let name = value();
                dialect = Dialect::ALL.into_iter().find(|dialect| dialect.name() == name).expect("a database");
            }
            // Cargo says it.
            "--bench" => {}
            other => panic!("what is {other}?"),
        }
    }
    let parent = std::env::var_os("TOLLGATE_BENCH_DIR").map_or_else(std::env::temp_dir, std::path::PathBuf::from);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let database = Database::start(dir.path(), dialect).expect("the database is installed");
    let mut settings = database.settings(Profile::Opensips);
    settings.fields = vec![Mapping { field: "caller".to_owned(), column: "caller".to_owned() }];
    database.make(&settings);
    let (folder, begun) = (dir.path().join("gateway"), Instant::now());
    fs::create_dir_all(&folder).unwrap();
    fill(&folder.join("queue"), records);
    println!("{records} records were written into the queue in {:.1} s", begun.elapsed().as_secs_f64());

    let [port] = free_ports();
    let (place, url) = (folder.display(), database.url());
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = \"sip:127.0.0.1:9\"\n\
         [accounting]\non = [\"sql\"]\nfields = {{ caller = \"$fU\" }}\n\
         [queue]\npath = \"{place}/queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"{place}/admin.sock\"\n\
         [sinks.sql.acc]\nurl = \"{url}\"\nprofile = \"opensips\"\nrecords = \"sessions\"\nfields = {{ caller = \"caller\" }}\n"
    );
    let gateway = Gateway::start_on(&folder, port, &toml, 0);
    let (process, begun, mut least, mut most) = (gateway.process.child.id(), Instant::now(), u64::MAX, 0);
    loop {
        let (rows, own) = (database.count("acc"), memory(process));
        (least, most) = (least.min(own), most.max(own));
        println!("{:>6.1} s {rows:>9} rows {own:>5} MiB", begun.elapsed().as_secs_f64());
        if rows >= records {
            break;
        }
        thread::park_timeout(Duration::from_secs(1));
    }
    let took = begun.elapsed().as_secs_f64();
    println!("{:.0} rows/s, {least} to {most} MiB", records as f64 / took);
    assert_eq!(database.count("acc"), records, "rows = records");
}
