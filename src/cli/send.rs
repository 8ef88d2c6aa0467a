//! `tollgate send`: one test record to the servers of a sink, and the exchange decoded.
//!
//! It sends by itself, from the configuration, whether the service runs or not; the queue has no part in it. Each kind of
//! sink brings a function for it, and this file only chooses and prints. Secrets do not come here.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::json;

use super::output::{Format, shown};
use super::{Failure, load_quietly, sink};
use crate::config::plan::SinkPlan;
use crate::record::Kind;
use crate::sinks::trial::{Message, Trial, TrialError, Verdict, Wanted, millis};

/// Arguments of `tollgate send`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Sink of the configuration
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// Only to this one of its servers, an address with its port
    #[arg(long, value_name = "ADDRESS")]
    server: Option<SocketAddr>,
    /// Kind of the record; a stop of no length opens no session at the server
    #[arg(long, value_name = "KIND", default_value = "stop", value_parser = kind)]
    kind: Kind,
    /// Longest wait for the answer, in seconds, 1 to 600
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    wait: u64,
    /// Attributes of the request, each in place of what the record has under that name
    #[arg(value_name = "ATTRIBUTE=VALUE", value_parser = assignment)]
    attributes: Vec<(String, String)>,
    #[command(flatten)]
    format: Format,
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("a record is one of {}", names.join(", "))
    })
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("an attribute is given as `Name=value`".to_owned()),
    }
}

/// Sends and prints.
///
/// # Errors
/// There is no such sink, server or attribute, or the record was not acknowledged.
pub fn run(config: &Path, arguments: Arguments) -> Result<(), Failure> {
    let plan = load_quietly(config)?;
    let sink = sink(&plan, &arguments.sink)?;
    let wanted =
        Wanted { kind: arguments.kind, attributes: arguments.attributes, wait: Duration::from_secs(arguments.wait) };
    let kind = sink.kind.name();
    let trial = send(sink, arguments.server, &wanted)?;
    let mut value = trial.json();
    value["sink"] = json!(sink.name);
    value["kind"] = json!(kind);
    arguments.format.print(&value, || text(&sink.name, kind, &trial))?;
    if let Some(warning) = trial.warning {
        eprintln!("warning: {warning}");
    }
    match trial.verdict {
        Verdict::Delivered => Ok(()),
        Verdict::Retry { reason } | Verdict::Parked { reason } | Verdict::Undecided { reason } => {
            Err(Failure::Failed(anyhow!(reason)))
        }
    }
}

/// Sends as the sink does, to the server asked for if there is one.
fn send(sink: &SinkPlan, only: Option<SocketAddr>, wanted: &Wanted) -> Result<Trial, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
    let kind = only.map_or_else(|| Ok(Arc::clone(&sink.kind)), |only| sink.kind.only(&sink.name, only));
    let trial = kind.and_then(|kind| runtime.block_on(kind.send(&sink.name, wanted)));
    trial.map_err(|error| match error {
        TrialError::Usage { what } => Failure::Usage(what),
        other @ TrialError::Setup { .. } => Failure::Failed(other.into()),
    })
}

fn text(sink: &str, kind: &str, trial: &Trial) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        let _infallible = writeln!(text, "{}", format!("{key:<10} {value}").trim_end());
    };
    line("sink", format!("{sink} ({kind})"));
    for exchange in &trial.exchanges {
        line("server", exchange.server.clone());
        let times = match exchange.transmissions {
            1 => String::new(),
            times => format!(", sent {times} times"),
        };
        line("request", format!("{}{times}", headline(&exchange.request)));
        attributes(&exchange.request, &mut line);
        for answer in &exchange.answers {
            line("answer", format!("{}, after {} ms", headline(&answer.message), millis(answer.after)));
            attributes(&answer.message, &mut line);
        }
        if exchange.answers.is_empty() {
            line("answer", "none".to_owned());
        }
    }
    line("verdict", trial.verdict.name().to_owned());
    text
}

fn headline(message: &Message) -> String {
    format!("{}, {} octets", shown(&message.title), message.octets)
}

fn attributes(message: &Message, line: &mut impl FnMut(&str, String)) {
    for (name, value) in &message.attributes {
        line("", format!("{} = {}", shown(name), shown(value)));
    }
}
