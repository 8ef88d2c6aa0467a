//! Rows a second into real databases by one worker, as a sink delivers: `cargo bench --bench sql -- [options]`.
//!
//! ```text
//! --records N     records for each figure; default 50000 at batches of 500, less at smaller ones
//! --database D    mysql, postgres or sqlite alone; default: all that are installed
//! ```
//!
//! Starts each database in a folder of its own, with the disk waited for, and prints for batches of 1, 50 and 500 rows and
//! each guard the rows a second and the CPU of the delivery thread a row: decoding, rendering, fitting and the client, and
//! not the database's own. `TOLLGATE_BENCH_DIR` names the directory for its files.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a bench is alone in its process")]

mod backlog;
#[path = "../support/mod.rs"]
mod support;

use tollgate::ids::{RecordIds, Seq};
use tollgate::sinks::attempt::Attempts;
use tollgate::sinks::sql::{self, Dialect, Guard, Mapping, Profile, Settings};

use backlog::{deliver, leases};
use support::sql::Database;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let (mut most, mut only) = (50_000, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value");
        match word.as_str() {
            "--records" => most = value().parse().expect("a number"),
            "--database" => only = Some(value()),
            // Cargo says it.
            "--bench" => {}
            other => panic!("what is {other}?"),
        }
    }
    let parent = std::env::var_os("TOLLGATE_BENCH_DIR").map_or_else(std::env::temp_dir, std::path::PathBuf::from);
    let mut ids = RecordIds::new(7);
    for dialect in Dialect::ALL {
        if only.as_ref().is_some_and(|only| only != dialect.name()) {
            continue;
        }
        let dir = tempfile::tempdir_in(&parent).unwrap();
        let Some(database) = Database::start(dir.path(), dialect) else { continue };
        for (guard, name) in [(Guard::Column, "record_id"), (Guard::SideTable, "side table"), (Guard::None, "no guard")]
        {
            let mut settings = Settings::new(&database.url(), Profile::Opensips);
            settings.guard = guard;
            settings.tables.acc = format!("acc_{}", guard as u8);
            let mapping = |field: &str| Mapping { field: field.to_owned(), column: field.to_owned() };
            settings.fields = vec![mapping("caller"), mapping("callee")];
            database.make(&settings);
            for batch in [1, 50, 500] {
                settings.delivery.batch_max = batch;
                let count = u64::try_from(most * batch.min(100) / 100).unwrap().max(500);
                let make = || {
                    let connection = sql::connection("bench", &settings).unwrap();
                    Attempts::new("bench", settings.delivery.clone(), sql::render(&settings), connection, Seq(0))
                };
                let (rate, cpu) = deliver(make, leases(&mut ids, count));
                println!("{:<8} {name:<10} batch {batch:>3}: {rate:>7.0} rows/s, {cpu:>5.1} µs a row", dialect.name());
            }
        }
    }
}
