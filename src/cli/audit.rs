//! `tollgate audit`: whether every record of a time is where it belongs, from the ledger.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::desk::{Seek, of_client};
use super::members::{self, audit::Wish};
use super::{Failure, output};
use crate::admin::request::Request;
use crate::clock;
use crate::ledger::audit::against::{Key, Side};
use crate::ledger::audit::{
    Audit, BadRange, OpenRecord, Range, Tally, Told, UNWRITTEN, local, open, story, theirs, zone,
};
use crate::sinks::secret::Secret;

/// Arguments of `tollgate audit`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The day: `yesterday`, `today` or a date such as 2026-11-20, in the time zone
    #[arg(long, value_name = "DAY", conflicts_with_all = ["from", "to"])]
    day: Option<String>,
    /// From this time on: a date, 2026-11-20T13:00, or with an offset
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Up to this time, without it; now, if it is left out
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
    /// Time zone, such as Europe/Berlin; otherwise that of the machine
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Only this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// List the records that are not where they belong, with their calls
    #[arg(long, conflicts_with = "call")]
    calls: bool,
    /// Tell the whole story of one call; of all days that are kept, if no time is given
    #[arg(long, value_name = "CALL-ID")]
    call: Option<String>,
    /// Compare ids and durations of one sink with what is there: a file of comma-separated values, or the URL of a database
    ///
    /// FILE.csv has heads; `record_id`, and `duration_ms` or `duration_s` if there are any. Of a database the table `acc`
    /// is read, or those of --table; `radacct`, by the session, with --table radacct.
    #[arg(long, value_name = "FILE|URL", conflicts_with_all = ["calls", "call", "csv"])]
    against: Option<String>,
    /// Table of that database; again for each further one
    #[arg(long, value_name = "NAME", requires = "against", default_value = "acc")]
    table: Vec<String>,
    /// File with the password for that database
    #[arg(long, value_name = "FILE", requires = "against")]
    password_file: Option<PathBuf>,
    /// Hold the ledgers of all gateways and deliverers of `[cluster]` against each other; exit code 2 if one does not answer
    #[arg(long, conflicts_with_all = ["call", "against", "csv"])]
    cluster: bool,
    /// The most records to list
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    max: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// Tells it.
///
/// # Errors
/// Something is not where it belongs, a time cannot be read, or the ledger cannot.
pub fn run(seek: &Seek, arguments: &Arguments) -> Result<(), Failure> {
    let zone = zone(arguments.zone.as_deref()).map_err(usage)?;
    let range = range(arguments, &zone)?;
    if arguments.cluster {
        let Arguments { sink, calls, max, json, .. } = arguments;
        let wish = Wish { range, sink: sink.clone(), lists: *calls, max: *max, json: *json };
        return members::audit::audit(seek, &wish);
    }
    let plan = seek.plan()?;
    let folder = &plan.ledger.path;
    if !folder.is_dir() {
        let hint = if plan.ledger.is_kept { "it has not run yet" } else { "`ledger.enabled` is false" };
        return Err(anyhow!("there is no ledger in {}: {hint}", folder.display()).into());
    }
    if let Some(name) = &arguments.sink {
        super::sink(&plan, name)?;
    }
    // Of a service that does not answer there is what it has written.
    let unwritten = unwritten(seek);
    if let Some(why) = &unwritten {
        eprintln!("warning: {UNWRITTEN}: {why}");
    }
    let written = if unwritten.is_none() { Ok(()) } else { Err(Failure::Incomplete) };
    if let Some(call_id) = &arguments.call {
        return tell(folder, (&range, unwritten.as_deref()), call_id, arguments, &zone).and(written);
    }
    let tally = Tally::read(folder, &range)?;
    let only = arguments.sink.as_deref();
    let audit = Audit { unwritten, ..Audit::of(range.clone(), &tally, only) };
    let unwritten = audit.unwritten.as_deref();
    if let Some(against) = &arguments.against {
        let Some(sink) = only.or_else(|| (audit.sinks.len() == 1).then(|| audit.sinks[0].sink.as_str())) else {
            return Err(Failure::Usage("`--against` compares one sink: `--sink NAME` says which".to_owned()));
        };
        return compare(folder, (&range, unwritten), (&tally, sink), (against, arguments)).and(written);
    }
    if arguments.calls {
        let (found, count) = open(folder, &range, (&tally, only), arguments.max)?;
        list((&found, unwritten), count, arguments, &zone)?;
    } else if arguments.json {
        output::print_json(&audit.json())?;
    } else if arguments.csv {
        output::print(&csv(&Audit::HEADS.map(|head| head.replace(' ', "_")), &audit.rows()))?;
    } else {
        output::print(&text(&audit))?;
    }
    if audit.is_complete() { Ok(()) } else { Err(Failure::Incomplete) }
}

/// Has the running service write what it has not written yet; or why that is not in the ledger.
fn unwritten(seek: &Seek) -> Option<String> {
    let told = |failure| match failure {
        Failure::Failed(error) => format!("{error:#}"),
        Failure::Usage(text) => text,
        _ => "the running gateway cannot be asked for it".to_owned(),
    };
    let mut client = match seek.connect() {
        Ok(client) => client?,
        Err(failure) => return Some(told(failure)),
    };
    match client.ask(&Request::LedgerFlush {}) {
        Ok(answer) if answer["written"] == true => None,
        Ok(_) => Some("the gateway runs without one, or cannot write it; `tollgate status` says why".to_owned()),
        Err(error) => Some(told(of_client(error))),
    }
}

/// JSON, with why it lacks what is not written, if it does.
fn with_unwritten(mut json: Value, unwritten: Option<&str>) -> Value {
    if let Some(why) = unwritten {
        json["unwritten"] = why.into();
    }
    json
}

/// Compares a sink with what others have.
fn compare(
    folder: &Path,
    (range, unwritten): (&Range, Option<&str>),
    (tally, sink): (&Tally, &str),
    (against, arguments): (&str, &Arguments),
) -> Result<(), Failure> {
    let is_database = theirs::is_database(against);
    let sessions = arguments.table.iter().filter(|table| is_session_table(table)).count();
    let key = if is_database && sessions > 0 { Key::Session } else { Key::Record };
    if is_database && sessions > 0 && sessions < arguments.table.len() {
        return Err(Failure::Usage("`--table radacct` is compared by sessions, other tables by records".to_owned()));
    }
    let mut side = Side::read(folder, range, (tally, sink), (key, arguments.max))?;
    if is_database {
        let secret = arguments.password_file.as_ref().map(|file| {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            anyhow::Ok(Secret::new(text.trim_end().to_owned()))
        });
        let secret = secret.transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let span = range.from.secs()..range.to.secs();
        let asked = theirs::tables(against, secret.as_ref(), &arguments.table, (&mut side, key, span));
        runtime.block_on(asked)?;
    } else {
        let file = File::open(against).with_context(|| format!("cannot open {against}"))?;
        theirs::csv(BufReader::new(file), &mut side, key).with_context(|| against.to_owned())?;
    }
    let found = side.compare()?;
    if arguments.json {
        output::print_json(&with_unwritten(found.json(), unwritten))?;
    } else {
        let rows = found.differences.iter();
        let rows: Vec<Vec<String>> =
            rows.map(|own| [own.what, &own.key, &own.call_id, &own.detail].map(output::shown).to_vec()).collect();
        let mut text = format!("{}: `{sink}` should have {}, there are {}\n", range.title, found.ours, found.theirs);
        if found.count() == 0 {
            text.push_str("they agree\n");
        } else {
            let counts: Vec<String> = found.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
            let table = output::table(&["WHAT", "KEY", "CALL-ID", "DETAIL"], &rows);
            let _infallible = write!(text, "{}\n\n{table}", counts.join(", "));
        }
        output::print(&text)?;
        let more = found.count() - found.differences.len() as u64;
        if more > 0 {
            eprintln!("{more} more: `--max` lists them");
        }
    }
    if found.count() == 0 { Ok(()) } else { Err(Failure::Incomplete) }
}

/// Whether a table is that of FreeRADIUS, with a row for each session.
fn is_session_table(table: &str) -> bool {
    table.rsplit('.').next().is_some_and(|name| name.eq_ignore_ascii_case("radacct"))
}

fn usage(error: BadRange) -> Failure {
    Failure::Usage(error.to_string())
}

fn range(arguments: &Arguments, zone: &TimeZone) -> Result<Range, Failure> {
    let now = clock::wall();
    match (&arguments.day, &arguments.from) {
        (_, Some(from)) => Range::between(from, arguments.to.as_deref(), zone, now),
        (Some(day), None) => Range::day(day, zone, now),
        (None, None) if arguments.call.is_some() => return Ok(Range::all()),
        (None, None) => Range::day("yesterday", zone, now),
    }
    .map_err(usage)
}

fn text(audit: &Audit) -> String {
    let mut text = format!("{}: {} calls, {} records\n", audit.range.title, audit.calls, audit.records);
    if !audit.sinks.is_empty() {
        let heads = Audit::HEADS.map(str::to_uppercase);
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        let _infallible = write!(text, "\n{}", output::table(&heads, &audit.rows()));
    }
    text.push('\n');
    for sink in &audit.sinks {
        for (who, count) in &sink.dropped_by {
            let _infallible = writeln!(text, "dropped of `{}`: {count} by {}", sink.sink, output::shown(who));
        }
        let numbers = sink.numbers.iter().map(|(day, last)| format!("{day} 1 to {last}")).collect::<Vec<_>>();
        let _infallible = writeln!(text, "running numbers of `{}`, days in UTC: {}", sink.sink, numbers.join(", "));
    }
    let counts = |counts: &[(String, u64)]| {
        let sum: u64 = counts.iter().map(|(_, count)| count).sum();
        let each = counts.iter().map(|(why, count)| format!("{why} {count}")).collect::<Vec<_>>().join(", ");
        if each.is_empty() { sum.to_string() } else { format!("{sum} ({each})") }
    };
    let _infallible = writeln!(text, "refused calls: {}", counts(&audit.refused));
    let _infallible = writeln!(text, "answers let go before commit: {}", audit.answers_unsafe);
    if audit.unclean > 0 {
        let _infallible = writeln!(text, "starts after a process that was killed: {}", audit.unclean);
    }
    let wanting = audit.wanting();
    text.push_str(if wanting.is_empty() { "complete\n" } else { "incomplete:\n" });
    for one in wanting {
        let _infallible = writeln!(text, "  {}", output::shown(&one));
    }
    text
}

const LIST_HEADS: [&str; 11] =
    ["made", "kind", "caller", "callee", "call_id", "sink", "state", "since", "reason", "record", "session"];

fn list(
    (found, unwritten): (&[OpenRecord], Option<&str>),
    count: u64,
    arguments: &Arguments,
    zone: &TimeZone,
) -> Result<(), Failure> {
    if arguments.json {
        let records: Vec<Value> = found.iter().map(OpenRecord::json).collect();
        let json = json!({ "total": count, "records": records });
        return Ok(output::print_json(&with_unwritten(json, unwritten))?);
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|own| {
            vec![
                local(own.made, zone),
                own.kind.to_owned(),
                own.caller.clone(),
                own.callee.clone(),
                own.call_id.clone(),
                own.sink.clone(),
                own.fate.name().to_owned(),
                own.since.map_or_else(String::new, |since| local(since, zone)),
                own.reason.clone(),
                own.id.to_string(),
                own.session.clone(),
            ]
        })
        .collect();
    if arguments.csv {
        output::print(&csv(&LIST_HEADS.map(str::to_owned), &rows))?;
    } else {
        let shown: Vec<Vec<String>> =
            rows.iter().map(|row| row[..9].iter().map(|cell| output::shown(cell)).collect()).collect();
        let heads = LIST_HEADS.map(|head| head.to_uppercase().replace('_', "-"));
        let heads: Vec<&str> = heads[..9].iter().map(String::as_str).collect();
        output::print(&output::table(&heads, &shown))?;
    }
    let more = count - found.len() as u64;
    if more > 0 {
        eprintln!("{more} more: `--max` lists them");
    }
    Ok(())
}

fn tell(
    folder: &Path,
    (range, unwritten): (&Range, Option<&str>),
    call_id: &str,
    arguments: &Arguments,
    zone: &TimeZone,
) -> Result<(), Failure> {
    let told = story(folder, range, call_id)?;
    if told.is_empty() {
        return Err(anyhow!("the ledger has no record of a call `{call_id}` of {}", range.title).into());
    }
    if arguments.json {
        let records: Vec<Value> = told.iter().map(Told::json).collect();
        let json = json!({ "call_id": call_id, "records": records });
        return Ok(output::print_json(&with_unwritten(json, unwritten))?);
    }
    let heads = ["time", "record", "what", "sink", "attempt", "by", "reason"];
    let rows: Vec<Vec<String>> = told.iter().flat_map(|own| lines(own, zone)).collect();
    if arguments.csv {
        return Ok(output::print(&csv(&heads.map(str::to_owned), &rows))?);
    }
    let parties = told.iter().find(|own| !own.caller.is_empty() || !own.callee.is_empty());
    let parties = parties.map_or_else(String::new, |own| format!(", from {} to {}", own.caller, own.callee));
    let shown: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| output::shown(cell)).collect()).collect();
    let heads = heads.map(str::to_uppercase);
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let head = format!("call {}{}\n\n", output::shown(call_id), output::shown(&parties));
    Ok(output::print(&format!("{head}{}", output::table(&heads, &shown)))?)
}

/// A record's own line, and one for everything that happened to it.
fn lines(own: &Told, zone: &TimeZone) -> Vec<Vec<String>> {
    let mut what = own.kind.to_owned();
    if own.code > 0 {
        let _infallible = write!(what, " {}", own.code);
    }
    if let Some((by, cause)) = own.end {
        let _infallible = write!(what, ", ended by {by}: {cause}");
    }
    if let Some(millis) = own.duration_ms {
        let _infallible = write!(what, ", {}", output::span(millis as f64 / 1000.0));
    }
    if own.legs > 0 {
        let _infallible = write!(what, ", {} legs", own.legs);
    }
    let id = own.id.to_string();
    let none = String::new;
    let first = vec![local(own.event, zone), id.clone(), what, own.sinks.join(" "), none(), none(), none()];
    let rest = own.happened.iter().map(|one| {
        let attempt = if one.attempts > 0 { one.attempts.to_string() } else { none() };
        let code = if one.code > 0 { format!(" ({})", one.code) } else { none() };
        let reason = format!("{}{code}", one.reason);
        let what = format!("  {}", one.fate.name());
        vec![local(one.at, zone), id.clone(), what, one.sink.clone(), attempt, one.who.clone(), reason]
    });
    std::iter::once(first).chain(rest).collect()
}

/// Lines of comma-separated values (RFC 4180), with heads.
fn csv(heads: &[String], rows: &[Vec<String>]) -> String {
    let cell = |cell: &String| {
        if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() }
    };
    let line = |row: &[String]| row.iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
    std::iter::once(line(heads)).chain(rows.iter().map(|row| line(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_commas_quotes_and_line_ends_stay_one_cell() {
        let rows = [vec!["a,b".to_owned(), "say \"x\"".to_owned(), "one\r\ntwo".to_owned(), "plain".to_owned()]];
        let heads = ["p", "q", "r", "s"].map(str::to_owned);
        assert_eq!(csv(&heads, &rows), "p,q,r,s\n\"a,b\",\"say \"\"x\"\"\",\"one\r\ntwo\",plain\n");
    }
}
