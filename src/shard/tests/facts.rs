//! Records as sentences, and what no flow may record.

use std::collections::HashMap;
use std::fmt::Write;

use crate::record::{Kind, Record, Value};

pub fn line(record: &Record) -> String {
    let mut text = format!("{} {}", record.kind.name(), record.code);
    if !record.to_tag.is_empty() {
        // The gateway's own tag is a hash of the call.
        let is_own = record.to_tag.len() == 16 && record.to_tag.iter().all(u8::is_ascii_hexdigit);
        let tag = String::from_utf8_lossy(&record.to_tag);
        let _ = write!(text, " {}", if is_own { "own" } else { &*tag });
    }
    if let Some(end) = record.end {
        let _ = write!(text, " {} {}", end.by.name(), end.cause.name());
    }
    if record.kind == Kind::Stop
        && let Some(duration) = record.times.duration
    {
        let _ = write!(text, " {}s", duration.as_secs());
    }
    if record.legs.len() > 1 {
        let of_leg = |leg: &crate::record::Fields| match leg.iter().next() {
            Some((_, Value::Text(text))) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        };
        let _ = write!(text, " [{}]", record.legs.iter().map(of_leg).collect::<Vec<_>>().join(", "));
    }
    text
}

/// Whatever happened: no id twice, no fact twice, and a Stop carries the name of its Start.
pub fn check_facts(records: &[Record]) -> Result<(), String> {
    let mut ids = std::collections::HashSet::new();
    let mut facts = std::collections::HashSet::new();
    let mut sessions = HashMap::new();
    for record in records {
        let dialog = (record.call_id.clone(), record.from_tag.clone(), record.to_tag.clone());
        if !ids.insert(record.id) {
            return Err(format!("an id twice: {record:?}"));
        }
        let is_once = match record.kind {
            Kind::Start | Kind::Stop => facts.insert((record.kind, dialog.clone(), 0)),
            Kind::Failed => facts.insert((record.kind, dialog.clone(), record.cseq)),
            Kind::Missed | Kind::Interim | Kind::Event | Kind::Cdr | Kind::On | Kind::Off => true,
        };
        if !is_once {
            return Err(format!("a fact twice: {record:?}"));
        }
        if record.kind == Kind::Start {
            sessions.insert(dialog, record.session.clone());
        } else if record.kind == Kind::Stop && sessions.get(&dialog).is_some_and(|name| *name != record.session) {
            return Err(format!("a Stop of another session: {record:?}"));
        }
    }
    Ok(())
}
