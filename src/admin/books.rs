//! What the ledger tells over HTTP: the audit of a day, and the story of one call.
//!
//! Files of a day may hold a million calls: they are read on a thread that may block, one request after the other, so that
//! neither SIP nor other questions wait for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::Gateway;
use super::request::RequestError;
use crate::clock::{self, Timestamp};
use crate::ledger::audit::{Audit, Range, STANDINGS_MAX, Standings, Tally, story, zone};

/// Reads of the ledger at once.
const READS_MAX: usize = 1;
/// How far back the story of a call is looked for, unless a day is named.
const STORY_SPAN: Duration = Duration::from_secs(2 * 86_400);
/// Records of one story.
const RECORDS_MAX: usize = 1_000;

/// The reads of one server.
#[derive(Clone, Debug)]
pub(super) struct Books {
    places: Arc<Semaphore>,
}

/// What is asked of the ledger.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// Whether every record of a day is where it belongs.
    Audit { day: String, zone: Option<String> },
    /// What became of each record of a time, from an instant to another.
    Standings { from: Timestamp, to: Timestamp },
    /// What became of the records of a call; of a day, or of the last two.
    Story { call: String, day: Option<String>, zone: Option<String> },
}

impl Default for Books {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(READS_MAX)) }
    }
}

impl Books {
    /// The answer, when it is this one's turn. Who goes away before that asks for nothing.
    ///
    /// # Errors
    /// There is no ledger, it cannot be read, or the day is none.
    pub async fn ask(&self, gateway: Arc<dyn Gateway>, question: Question) -> Result<Value, RequestError> {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return Err(RequestError::Stopping) };
        let read = move || {
            let answer = answer(&*gateway, &question);
            drop(place);
            answer
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(RequestError::Stopping))
    }
}

fn answer(gateway: &dyn Gateway, question: &Question) -> Result<Value, RequestError> {
    let (folder, unwritten) = folder(gateway)?;
    let usage = |error: crate::ledger::audit::BadRange| RequestError::Usage(error.to_string());
    let now = clock::wall();
    let day = |day: &str, name: Option<&str>| zone(name).and_then(|zone| Range::day(day, &zone, now)).map_err(usage);
    match question {
        Question::Audit { day: text, zone } => {
            let range = day(text, zone.as_deref())?;
            let tally = Tally::read(&folder, &range)?;
            Ok(Audit { unwritten, ..Audit::of(range, &tally, None) }.json())
        }
        Question::Standings { from, to } => {
            let range = Range { from: *from, to: *to, title: format!("{from} to {to}") };
            Ok(Standings::read(&folder, &range, STANDINGS_MAX)?.json(&range, unwritten))
        }
        Question::Story { call, day: text, zone } => {
            let range = match text {
                Some(text) => day(text, zone.as_deref())?,
                None => lately(now),
            };
            let told = story(&folder, &range, call)?;
            let records: Vec<_> = told.iter().take(RECORDS_MAX).map(crate::ledger::audit::Told::json).collect();
            let total = told.len();
            Ok(json!({
                "call_id": call, "range": range.title, "records": records, "total": total, "unwritten": unwritten,
            }))
        }
    }
}

/// Where the ledger is, with all in it that is known by now; or why it lacks some of that.
fn folder(gateway: &dyn Gateway) -> Result<(PathBuf, Option<String>), RequestError> {
    let Some(folder) = gateway.ledger() else {
        return Err(RequestError::Usage("there is no ledger: `ledger.enabled` is false".to_owned()));
    };
    // Of a ledger that cannot be written there is what it has.
    let unwritten = (!gateway.flush_ledger()).then(|| "it cannot be written; `tollgate status` says why".to_owned());
    Ok((folder, unwritten))
}

fn lately(now: Timestamp) -> Range {
    let span = i64::try_from(STORY_SPAN.as_micros()).unwrap_or(i64::MAX);
    Range {
        from: Timestamp(now.0.saturating_sub(span)),
        to: Timestamp(i64::MAX),
        title: "the last 48 hours".to_owned(),
    }
}
