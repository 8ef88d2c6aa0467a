//! `tollgate calls`: the calls in progress.

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::desk::{Desk, Seek};
use super::output::{self, Format};
use crate::admin::request::{CALLS_MAX, Request};

/// Arguments of `tollgate calls`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The most calls to show, up to 10000
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    max: usize,
    #[command(flatten)]
    format: Format,
}

/// Lists them; of a stopped service those that the next start takes up.
///
/// # Errors
/// The service does not answer, or its files cannot be read.
pub fn run(seek: &Seek, arguments: &Arguments) -> Result<(), Failure> {
    let mut desk = Desk::open(seek)?;
    let answer = desk.ask(&Request::Calls { max: arguments.max.min(CALLS_MAX) })?;
    desk.close()?;
    if arguments.format.is_json() {
        output::print_json(&answer)?;
        return Ok(());
    }
    let none = Vec::new();
    let calls = answer["calls"].as_array().unwrap_or(&none);
    let rows: Vec<Vec<String>> = calls.iter().map(row).collect();
    output::print(&output::table(&["CREATED", "DURATION", "CALL-ID", "FROM TAG", "TO TAG", "SESSION"], &rows))?;
    let total = answer["total"].as_u64().unwrap_or(0);
    if total > rows.len() as u64 {
        eprintln!("{} of {total} calls; --max shows more", rows.len());
    }
    Ok(())
}

fn row(call: &Value) -> Vec<String> {
    let text = |key: &str| output::shown(&output::cell(&call[key]));
    let lasted = call["duration_s"].as_f64().map_or_else(|| "early".to_owned(), output::span);
    let keys = ["call_id", "from_tag", "to_tag", "session"];
    [text("created"), lasted].into_iter().chain(keys.into_iter().map(text)).collect()
}
