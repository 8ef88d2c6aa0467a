//! The ledger of a day of 1,000,000 calls: octets for a record on disk, what a record costs the thread that writes it, and
//! an audit of it with its memory. `cargo bench --bench ledger`; `TOLLGATE_BENCH_CALLS` is another number of calls.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a bench, of one process")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use tollgate::clock::Timestamp;
use tollgate::ids::{CallHash, RecordId, SinkMask, SinkNumber};
use tollgate::ledger::audit::{Audit, Range, Tally};
use tollgate::ledger::{Day, Keeper, OnTrouble, Settings};
use tollgate::queue::witness::{Event, How, Source, Turn};
use tollgate::queue::{Acknowledger, Worth};
use tollgate::record::facts::Fact;
use tollgate::record::{Cause, End, Kind, Party, Record, codec};

const SINKS: [&str; 3] = ["billing", "cdf", "rows"];

/// 2026-11-28T00:00:00Z.
const BEGIN: Timestamp = Timestamp(1_795_824_000_000_000);

/// Calls of a turn of the queue.
const TURN: u64 = 20;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let Some(folder) = words.iter().position(|word| word == "audit").and_then(|place| words.get(place + 1)) {
        return audit(Path::new(folder));
    }
    let calls: u64 = std::env::var("TOLLGATE_BENCH_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let settings = Settings { is_kept: true, path: path.clone(), days: 40, on_trouble: OnTrouble::Gap };
    let mut keeper = Keeper::open(settings).unwrap();
    let names = SINKS.map(Arc::<str>::from);
    keeper.begin(1, names.iter().zip((0..).map(SinkNumber)));
    let mut spent = std::time::Duration::ZERO;
    let step = 86_000_000_000 / i64::try_from(calls).unwrap();
    for first in (0..calls).step_by(usize::try_from(TURN).unwrap()) {
        let turns = turns(first, (first + TURN).min(calls), step);
        let begun = Instant::now();
        for turn in &turns {
            keeper.take(turn);
        }
        if first % 2000 == 0 {
            assert!(keeper.write(turns[1].at));
        }
        spent += begun.elapsed();
    }
    let end = Timestamp(BEGIN.0 + 86_399_000_000);
    assert!(keeper.write(end));
    keeper.sync(end);
    let records = calls * 2;
    let octets = || std::fs::metadata(Day::of(BEGIN).path_in(&path)).unwrap().len();
    println!("{calls} calls, {records} records, {} sinks", SINKS.len());
    println!(
        "a record costs its thread {} ns, its fates at all sinks included",
        spent.as_nanos() / u128::from(records)
    );
    println!("open day: {:.1} octets a record", octets() as f64 / records as f64);
    let begun = Instant::now();
    while keeper.tend(Timestamp(end.0 + 10_800_000_000)) {}
    println!(
        "closed day: {:.1} octets a record, packed in {:.1} s",
        octets() as f64 / records as f64,
        begun.elapsed().as_secs_f64()
    );
    drop(keeper);
    let status = Command::new(std::env::current_exe().unwrap()).arg("audit").arg(&path).status().unwrap();
    assert!(status.success());
}

fn audit(path: &Path) {
    let begun = Instant::now();
    let day = Day::of(BEGIN);
    let range = Range { from: day.begin(), to: day.end(), title: day.to_string() };
    let tally = Tally::read(path, &range).unwrap();
    let audit = Audit::of(range, &tally, None);
    assert!(audit.is_complete(), "{:?}", audit.wanting());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    println!("audit of {} calls: {:.2} s, {peak}", audit.calls, begun.elapsed().as_secs_f64());
}

/// The commit of some calls, a Start and a Stop each, and their delivery at all sinks.
fn turns(first: u64, end: u64, step: i64) -> [Turn; 2] {
    let (mut committed, mut ended) = (Vec::new(), Vec::new());
    let at = Timestamp(BEGIN.0 + i64::try_from(first).unwrap() * step);
    let servers = ["192.0.2.1:1813", "cdf.example:3868", "mysql://tollgate@db/acc"];
    let servers = servers.map(|server| Arc::new(Acknowledger { server: server.to_owned(), worth: Worth::Stored }));
    for call in first..end {
        for (kind, number) in [(Kind::Start, 0), (Kind::Stop, 1)] {
            let seq = call * 2 + number;
            // A Stop is of a call that began long before, in another block.
            let of = if kind == Kind::Stop { call.saturating_sub(5000) } else { call };
            let random = |salt: u64| u128::from(CallHash::of(&[of.to_le_bytes(), salt.to_le_bytes()].concat()).0);
            let random = |salt: u64| random(salt) << 64 | random(salt + 1);
            let made = Timestamp(at.0 + i64::try_from(call - first).unwrap() * step);
            let random_id = random(10 + number * 2) & ((1 << 80) - 1);
            let id = RecordId(u128::try_from(made.0 / 1000).unwrap() << 80 | random_id);
            let mut record = Record::of_no_call(kind, made, 1);
            record.call_id = format!("{:x}@192.0.2.{}", random(20) >> 32, of % 250).into_bytes();
            record.session = format!("{:032x}", random(30));
            (record.code, record.method) = (200, b"INVITE".to_vec());
            let _room =
                record.facts.put_text(Fact::Dialled, format!("+4930{:07}", call * 7919 % 10_000_000).as_bytes());
            let _room =
                record.facts.put_text(Fact::Caller, format!("+4021{:07}", call * 104_729 % 10_000_000).as_bytes());
            if kind == Kind::Stop {
                record.times.duration = Some(std::time::Duration::from_millis(call % 400_000));
                record.end = Some(End { by: Party::Caller, cause: Cause::Bye });
            }
            let body = codec::encode(&record).into();
            committed.push(Event::Committed { seq, id, sinks: SinkMask(7), body, source: Source::New });
            for (sink, server) in (0..).map(SinkNumber).zip(&servers) {
                let how = How::Delivered(Some(Arc::clone(server)));
                ended.push(Event::Ended { sink, seq, id: Some(id), attempts: 1, how });
            }
        }
    }
    let later = Timestamp(at.0 + 30_000);
    [(at, committed), (later, ended)].map(|(at, events)| Turn { at, events, missed: (0, 0), written: None })
}
