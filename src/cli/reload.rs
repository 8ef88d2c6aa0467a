//! `tollgate reload`: the running service reads its configuration again, and says what became of it.

use anyhow::anyhow;
use serde_json::Value;

use super::Failure;
use super::desk::{Seek, of_client};
use super::output::{self, Format};
use crate::admin::request::Request;

/// Asks for it.
///
/// # Errors
/// The service does not run, refuses the configuration, or needs a restart for a part of it.
pub fn run(seek: &Seek, format: &Format) -> Result<(), Failure> {
    let mut client = seek.service()?;
    let outcome = client.ask(&Request::Reload {}).map_err(of_client)?;
    if format.is_json() {
        output::print_json(&outcome)?;
    }
    let list = |key: &str| outcome[key].as_array().cloned().unwrap_or_default();
    if outcome["reloaded"] != true {
        let mistakes: Vec<_> = list("mistakes").iter().map(output::cell).collect();
        eprintln!("{}", mistakes.join("\n\n"));
        return Err(Failure::Failed(anyhow!("the service refuses the configuration; the running one stays")));
    }
    for warning in list("warnings") {
        eprintln!("{}\n", output::cell(&warning));
    }
    let restart = list("restart");
    if !restart.is_empty() {
        return Err(Failure::Restart(restart.iter().map(pending).collect::<Vec<_>>().join("\n")));
    }
    if !format.is_json() {
        output::print("reloaded")?;
    }
    Ok(())
}

fn pending(value: &Value) -> String {
    match value["place"].as_str() {
        Some(place) if !place.is_empty() => format!("  {} ({place})", output::cell(&value["what"])),
        _ => format!("  {}", output::cell(&value["what"])),
    }
}
