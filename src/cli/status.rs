//! `tollgate status`: how the running gateway is.

use std::path::Path;

use anyhow::anyhow;
use serde_json::Value;

use super::desk::{connect, of_client};
use super::output::{self, Format};
use super::{Failure, load_quietly};
use crate::admin::request::Request;

/// Shows it.
///
/// # Errors
/// The service does not run or does not answer.
pub fn run(config: &Path, format: &Format) -> Result<(), Failure> {
    let plan = load_quietly(config)?;
    let Some(mut client) = connect(&plan)? else {
        return Err(Failure::Failed(anyhow!("the service does not run")));
    };
    let status = client.ask(&Request::Status {}).map_err(of_client)?;
    if format.is_json() {
        output::print_json(&status)?;
    } else {
        output::print(&text(&status))?;
    }
    Ok(())
}

fn text(status: &Value) -> String {
    let list = |value: &Value| {
        let words: Vec<_> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    };
    let queue = &status["queue"];
    let lines = [
        ("version", output::cell(&status["version"])),
        ("phase", output::cell(&status["phase"])),
        ("started", output::cell(&status["started"])),
        ("new calls", if status["accepts_calls"] == true { "served".into() } else { "refused".into() }),
        ("calls", output::cell(&status["calls"])),
        ("shards", output::cell(&status["shards"])),
        ("hanging", list(&status["hanging"])),
        ("troubles", list(&queue["troubles"])),
        ("waiting", output::cell(&queue["waiting"])),
        ("parked", output::cell(&queue["parked"])),
    ];
    lines.iter().map(|(name, value)| format!("{name:<10} {}\n", output::shown(value))).collect()
}
