//! `tollgate queue`: what waits, what is parked, and what to do about it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::Failure;
use super::desk::{Desk, Seek};
use super::kept;
use super::members::{self, Scope};
use super::output::{self, Format};
use crate::admin::request::{Filter, PAGE_MAX, Request, Standing, Verb};

/// `tollgate queue …`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the balance of every sink
    Status {
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        format: Format,
    },
    /// List records
    List {
        #[command(flatten)]
        which: Which,
        /// The most records to show
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        max: usize,
        #[command(flatten)]
        format: Format,
    },
    /// List the parked records: why, since when, how often they were tried
    Parked {
        /// Only those of this sink
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
        /// The most records to show
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        max: usize,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        format: Format,
    },
    /// Show one record with all its values
    Show {
        /// Its place or its id
        record: String,
        #[command(flatten)]
        format: Format,
    },
    /// Queue parked records again, and try waiting ones at once
    ///
    /// With --cluster wherever they are, at all that `[cluster] commands` of their configuration lets do it.
    Retry {
        #[command(flatten)]
        which: Chosen,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        format: Format,
    },
    /// Set waiting records aside
    Park {
        #[command(flatten)]
        which: Chosen,
        /// Why, for whoever looks later
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        format: Format,
    },
    /// Give records up: they are kept in a file first, and never delivered unless they are imported
    Drop {
        #[command(flatten)]
        which: Chosen,
        /// Drop more than one record without asking
        #[arg(long)]
        yes: bool,
        /// Keep the records in this new file, instead of `dropped-TIME-PID.jsonl` in the queue's folder
        #[arg(long, value_name = "FILE", conflicts_with = "no_save")]
        save: Option<PathBuf>,
        /// Keep no copy of the records
        #[arg(long)]
        no_save: bool,
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Write records to standard output, one JSON object a line
    Export {
        #[command(flatten)]
        which: Which,
    },
    /// Put dropped records back from the file that kept them; those that wait or are parked are passed over
    Import {
        /// The file, one JSON object a line: from `drop` or `export`
        file: PathBuf,
        #[command(flatten)]
        format: Format,
    },
}

/// Which records are looked at.
#[derive(Args, Debug)]
pub struct Which {
    /// Only those of this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Only those in this state
    #[arg(long, value_name = "STATE")]
    state: Option<State>,
}

/// Which records are acted on: something has to be said.
#[derive(Args, Debug)]
pub struct Chosen {
    /// Place or id of one record
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    record: Option<String>,
    /// All records, of the sink and in the state given
    #[arg(long)]
    all: bool,
    /// Only for this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Only in this state
    #[arg(long, value_name = "STATE")]
    state: Option<State>,
}

/// In which state a record is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum State {
    /// Waits for its delivery
    Waiting,
    /// Set aside
    Parked,
}

impl From<State> for Standing {
    fn from(state: State) -> Self {
        match state {
            State::Waiting => Self::Waiting,
            State::Parked => Self::Parked,
        }
    }
}

impl Which {
    fn filter(self) -> Filter {
        Filter { sink: self.sink, record: None, state: self.state.map(Standing::from), ..Filter::default() }
    }
}

impl Chosen {
    fn filter(self) -> Filter {
        Filter { sink: self.sink, record: self.record, state: self.state.map(Standing::from), ..Filter::default() }
    }
}

/// Does it.
///
/// # Errors
/// There is no such record or sink, or the queue cannot be reached, read or written.
pub fn run(seek: &Seek, command: Command) -> Result<(), Failure> {
    match command {
        Command::Status { scope, format } if scope.cluster => return members::queue::status(seek, &format),
        Command::Parked { sink, max, scope, format } if scope.cluster => {
            return members::queue::parked(seek, sink, max, &format);
        }
        Command::Retry { which, scope, format } if scope.cluster => {
            return members::queue::act(seek, Verb::Retry, (which.filter(), None), &format);
        }
        Command::Park { which, reason, scope, format } if scope.cluster => {
            return members::queue::act(seek, Verb::Park, (which.filter(), reason), &format);
        }
        _ => {}
    }
    let mut desk = Desk::open(seek)?;
    let done = perform(&mut desk, seek, command);
    // What was done to files has to be on disk, also when the output was cut off.
    let closed = desk.close();
    done.and(closed)
}

fn perform(desk: &mut Desk, seek: &Seek, command: Command) -> Result<(), Failure> {
    match command {
        Command::Status { format, .. } => status(desk, &format),
        Command::List { which, max, format } => list(desk, which.filter(), max, &format),
        Command::Parked { sink, max, format, .. } => parked(desk, sink, max, &format),
        Command::Show { record, format } => show(desk, record, &format),
        Command::Retry { which, format, .. } => act(desk, Verb::Retry, which.filter(), (None, None), &format),
        Command::Park { which, reason, format, .. } => act(desk, Verb::Park, which.filter(), (reason, None), &format),
        Command::Drop { which, yes, save, no_save, reason, format } => {
            // What comes from here on has not been counted, nor kept.
            let asks = which.all && !yes;
            let filter = Filter { until: Some(kept::until_now(desk)?), ..which.filter() };
            if asks {
                ask_for_count(desk, &filter)?;
                desk.renew(seek)?;
            }
            let kept = if no_save { None } else { kept::save(desk, seek, &filter, save)? };
            act(desk, Verb::Drop, filter, (reason, kept), &format)
        }
        Command::Export { which } => {
            let filter = Filter { whole: true, ..which.filter() };
            pages(desk, &filter, usize::MAX, |item| output::print_json(&item))
        }
        Command::Import { file, format } => import(desk, &file, &format),
    }
}

fn status(desk: &mut Desk, format: &Format) -> Result<(), Failure> {
    let status = desk.ask(&Request::QueueStatus {})?;
    if format.is_json() {
        output::print_json(&status)?;
        return Ok(());
    }
    let none = Vec::new();
    let rows: Vec<Vec<String>> = status["sinks"].as_array().unwrap_or(&none).iter().map(balance_row).collect();
    output::print(&output::table(&BALANCE_HEADS, &rows))?;
    let state = state_lines(&status);
    if !state.is_empty() {
        output::print(&format!("\n{}", state.join("\n")))?;
    }
    Ok(())
}

/// Members of a sink's balance.
pub(super) const BALANCE: [&str; 9] =
    ["sink", "carried", "appended", "delivered", "parked", "dropped", "superseded", "lost", "waiting"];

/// Heads of [`balance_row`].
pub(super) const BALANCE_HEADS: [&str; 10] =
    ["SINK", "CARRIED", "APPENDED", "ACKNOWLEDGED", "PARKED", "DROPPED", "SUPERSEDED", "LOST", "WAITING", "OLDEST"];

/// The balance of a sink as a line of a table.
pub(super) fn balance_row(sink: &Value) -> Vec<String> {
    let oldest = output::span(sink["oldest_s"].as_f64().unwrap_or(0.0));
    BALANCE.iter().map(|key| output::cell(&sink[*key])).chain([oldest]).collect()
}

/// What an operator must know beside the balance: why new calls are refused, what waits in memory, what is lost and why.
pub fn state_lines(status: &Value) -> Vec<String> {
    let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    let mut lines: Vec<_> = list("alarm").iter().map(|reason| format!("ALARM: {}", output::cell(reason))).collect();
    let unwritten = status["records"]["unwritten"].as_u64().unwrap_or(0);
    if unwritten > 0 {
        lines.push(format!("UNWRITTEN: {unwritten} records wait in memory for the disk"));
    }
    let lost = list("losses");
    lines.extend(lost.iter().map(|loss| format!("LOST: {} records, {}", loss["records"], output::cell(&loss["text"]))));
    lines
}

fn list(desk: &mut Desk, filter: Filter, max: usize, format: &Format) -> Result<(), Failure> {
    let (items, more) = some(desk, &filter, max)?;
    if format.is_json() {
        output::print_json(&items.into())?;
        return Ok(());
    }
    let rows: Vec<_> = items.iter().map(row).collect();
    output::print(&output::table(&HEADS, &rows))?;
    say_more(&more)
}

/// Up to `max` records, and how many more there are.
fn some(desk: &mut Desk, filter: &Filter, max: usize) -> Result<(Vec<Value>, String), Failure> {
    let (mut items, mut beyond) = (Vec::new(), 0);
    pages(desk, filter, max.saturating_add(COUNTED_MAX), |item| {
        if items.len() < max {
            items.push(item);
        } else {
            beyond += 1;
        }
        Ok(())
    })?;
    let more = match beyond {
        0 => String::new(),
        COUNTED_MAX => format!("{beyond} or more"),
        _ => beyond.to_string(),
    };
    Ok((items, more))
}

fn say_more(more: &str) -> Result<(), Failure> {
    if !more.is_empty() {
        output::print(&format!("{more} more; `--max` shows them"))?;
    }
    Ok(())
}

/// Records behind those shown that are counted.
const COUNTED_MAX: usize = 5_000;

/// Who called, as far as the record's fields tell; else the tag of From, named as such.
fn caller(record: &Value) -> String {
    let named = CALLER_FIELDS.iter().map(|name| &record["fields"][*name]).find(|value| !value.is_null());
    let leg = &record["legs"][0]["src"];
    let known = named.or(Some(leg).filter(|leg| !leg.is_null()));
    known.map_or_else(|| format!("tag={}", output::cell(&record["from_tag"])), output::cell)
}

/// Who was called, likewise; nothing where no field tells.
fn callee(record: &Value) -> String {
    let named = CALLEE_FIELDS.iter().map(|name| &record["fields"][*name]).find(|value| !value.is_null());
    output::cell(named.unwrap_or(&record["legs"][0]["dst"]))
}

/// When the next of its sinks is tried: those that are under way or may be at any time are tried now.
fn next_try(sinks: &[Value]) -> String {
    let due = |sink: &Value| match (&sink["leased"], sink["due_in_s"].as_f64()) {
        (Value::Bool(true), _) => 0.0,
        (_, due) => due.unwrap_or(0.0),
    };
    // A parked record is in no sink's line.
    let waits = sinks.iter().filter(|sink| sink.get("leased").is_some());
    match waits.map(due).min_by(f64::total_cmp) {
        None => "-".to_owned(),
        Some(due) if due < 0.05 => "now".to_owned(),
        Some(due) => format!("in {}", output::span(due)),
    }
}

/// Names under which configurations keep the callee.
const CALLEE_FIELDS: [&str; 6] = ["callee", "to", "to_uri", "to_user", "dst_user", "dst"];

/// Names under which configurations keep the caller.
const CALLER_FIELDS: [&str; 6] = ["caller", "from", "from_uri", "from_user", "src_user", "src"];

/// Heads of [`row`].
pub(super) const HEADS: [&str; 12] =
    ["SEQ", "ID", "STATE", "KIND", "SINKS", "TRIES", "AGE", "NEXT TRY", "CALL-ID", "CALLER", "CALLEE", "REASON"];

/// A record as a line of a table.
pub(super) fn row(item: &Value) -> Vec<String> {
    let none = Vec::new();
    let sinks = item["sinks"].as_array().unwrap_or(&none);
    let names: Vec<_> = sinks.iter().map(|sink| output::cell(&sink["sink"])).collect();
    let tries = sinks.iter().filter_map(|sink| sink["attempts"].as_u64()).max().unwrap_or(0);
    let reason = sinks.iter().map(|sink| output::cell(&sink["reason"])).find(|reason| !reason.is_empty());
    let cells = [
        output::cell(&item["seq"]),
        output::cell(&item["id"]),
        output::cell(&item["state"]),
        output::cell(&item["record"]["kind"]),
        names.join(","),
        tries.to_string(),
        output::span(item["age_s"].as_f64().unwrap_or(0.0)),
        next_try(sinks),
        output::cell(&item["record"]["call_id"]),
        caller(&item["record"]),
        callee(&item["record"]),
        reason.unwrap_or_default(),
    ];
    cells.iter().map(|cell| output::shown(cell)).collect()
}

fn parked(desk: &mut Desk, sink: Option<String>, max: usize, format: &Format) -> Result<(), Failure> {
    let filter = Filter { sink, state: Some(Standing::Parked), ..Filter::default() };
    let (items, more) = some(desk, &filter, max)?;
    if format.is_json() {
        output::print_json(&items.into())?;
        return Ok(());
    }
    if items.is_empty() {
        output::print("no record is parked")?;
        return Ok(());
    }
    let rows: Vec<_> = items.iter().map(parked_row).collect();
    output::print(&output::table(&PARKED_HEADS, &rows))?;
    say_more(&more)
}

/// Heads of [`parked_row`].
pub(super) const PARKED_HEADS: [&str; 8] =
    ["ID", "SINK", "KIND", "CALL-ID", "TRIES", "FIRST TRIED", "PARKED", "REASON"];

/// A parked record as a line of a table.
pub(super) fn parked_row(item: &Value) -> Vec<String> {
    let how = &item["sinks"][0];
    let reason = match (how["reason"].as_str().unwrap_or_default(), how["code"].as_u64().unwrap_or(0)) {
        ("", 0) => "none was given".to_owned(),
        ("", code) => format!("result {code}"),
        (reason, _) => reason.to_owned(),
    };
    let first = if how["first_tried"].is_null() { "never".to_owned() } else { moment(&how["first_tried"]) };
    let cells = [
        output::cell(&item["id"]),
        output::cell(&how["sink"]),
        output::cell(&item["record"]["kind"]),
        output::cell(&item["record"]["call_id"]),
        output::cell(&how["attempts"]),
        first,
        moment(&how["parked"]),
        reason,
    ];
    cells.iter().map(|cell| output::shown(cell)).collect()
}

/// An instant to the second.
fn moment(value: &Value) -> String {
    let text = output::cell(value);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

fn show(desk: &mut Desk, record: String, format: &Format) -> Result<(), Failure> {
    let filter = Filter { record: Some(record.clone()), ..Filter::default() };
    let mut items = Vec::new();
    // One record may wait for some sinks and be parked for others.
    pages(desk, &filter, usize::MAX, |item| {
        items.push(item);
        Ok(())
    })?;
    if items.is_empty() {
        return Err(Failure::Failed(anyhow::anyhow!("no record `{record}` waits or is parked")));
    }
    if format.is_json() {
        output::print_json(&items.into())?;
    } else {
        for item in &items {
            output::print(&output::tree(item))?;
        }
    }
    Ok(())
}

/// Has whoever drops all records type how many there are.
fn ask_for_count(desk: &mut Desk, filter: &Filter) -> Result<(), Failure> {
    use std::io::IsTerminal as _;
    let mut count = 0_u64;
    pages(desk, filter, usize::MAX, |_| {
        count += 1;
        Ok(())
    })?;
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("{count} records would be given up for good: say so with `--yes`")));
    }
    eprintln!("{count} records are given up. Type their number to go on:");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim() == count.to_string() {
        return Ok(());
    }
    Err(Failure::Usage("that is not their number: nothing was dropped".to_owned()))
}

fn import(desk: &mut Desk, file: &Path, format: &Format) -> Result<(), Failure> {
    let kept::Imported { records, skipped, bad } = kept::import(desk, file)?;
    if format.is_json() {
        output::print_json(&json!({ "records": records, "skipped": skipped, "bad_lines": bad }))?;
    } else {
        output::print(&format!("{records} put back"))?;
        if skipped > 0 {
            output::print(&format!("{skipped} passed over: in the queue already"))?;
        }
    }
    if bad > 0 {
        return Err(anyhow::anyhow!("{bad} lines of {} could not be used", file.display()).into());
    }
    Ok(())
}

fn act(
    desk: &mut Desk,
    action: Verb,
    filter: Filter,
    (reason, kept): (Option<String>, Option<PathBuf>),
    format: &Format,
) -> Result<(), Failure> {
    let one = filter.record.clone();
    if let Some(kept) = &kept {
        // Told before: whatever happens next, the operator knows where they are.
        eprintln!("kept in {}; `tollgate queue import` puts them back", kept.display());
    }
    let answer = desk.ask(&Request::QueueAct { action, filter, reason }).inspect_err(|failure| {
        // It was refused before anything was done: the copy would be of records that are all still there.
        if let (Failure::Usage(_), Some(kept)) = (failure, &kept)
            && std::fs::remove_file(kept).is_ok()
        {
            eprintln!("nothing was dropped: {} is removed again", kept.display());
        }
    })?;
    let records = answer["records"].as_u64().unwrap_or(0);
    if format.is_json() {
        output::print_json(&answer)?;
    } else {
        let verb = match action {
            Verb::Retry => "to be tried again",
            Verb::Park => "parked",
            Verb::Drop => "dropped",
        };
        output::print(&format!("{records} {verb}"))?;
        let under_way = answer["under_way"].as_u64().unwrap_or(0);
        if under_way > 0 {
            output::print(&format!("{under_way} of them were on their way to their server and may have been stored"))?;
        }
        let skipped = answer["skipped"].as_u64().unwrap_or(0);
        if skipped > 0 {
            let reasons: Vec<_> = answer["reasons"].as_array().into_iter().flatten().map(output::cell).collect();
            output::print(&format!("{skipped} passed over: {}", reasons.join("; ")))?;
        }
    }
    match one {
        _ if answer["interrupted"] == true => {
            Err(anyhow::anyhow!("interrupted: the others are left as they are").into())
        }
        Some(record) if records == 0 => Err(Failure::Failed(anyhow::anyhow!("nothing was done with `{record}`"))),
        _ => Ok(()),
    }
}

/// Takes records page by page, `max` at most.
pub fn pages(
    desk: &mut Desk,
    filter: &Filter,
    max: usize,
    mut take: impl FnMut(Value) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let mut left = max;
    let mut from = None;
    while left > 0 {
        let request = Request::QueueList { filter: filter.clone(), from, max: left.min(PAGE_MAX) };
        let mut page = desk.ask(&request)?;
        let items = match page["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        left = left.saturating_sub(items.len());
        for item in items {
            take(item)?;
        }
        from = page["next"].as_str().map(str::to_owned);
        if from.is_none() {
            break;
        }
    }
    Ok(())
}
