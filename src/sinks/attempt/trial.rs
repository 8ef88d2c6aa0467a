//! One test record to the backend of a sink, outside of the queue.

use std::time::Duration;

use tokio::time::timeout;

use super::{Answer, Attempt, Entry, Fate, Render};
use crate::clock;
use crate::ids::Seq;
use crate::record::Value;
use crate::sinks::trial::{self, Exchange, Message, Reached, Trial, TrialError, Verdict, Wanted, record};

/// Sends one test record as the sink would; the values asked for are those of fields.
///
/// # Errors
/// When no item can be made of the record.
pub async fn send<A: Attempt>(
    mut render: Render<A::Item>,
    mut attempt: A,
    wanted: &Wanted,
) -> Result<Trial, TrialError> {
    let mut record = record(wanted.kind);
    let fields = wanted.attributes.iter().map(|(name, value)| (name.clone(), Value::Text(value.clone().into_bytes())));
    record.fields.extend(fields);
    let item = render(&record).map_err(|why| TrialError::Setup { why })?;
    let item = item.ok_or_else(|| TrialError::Usage { what: "the sink takes no record of that kind".to_owned() })?;
    let request = A::describe(&item);
    let entry = Entry {
        octets: 0,
        item,
        id: record.id,
        may_be_there: false,
        seq: Seq(1),
        session: None,
        attempts: 0,
        since: record.times.event,
        breaks: 0,
    };
    let begin = clock::mono();
    let answer = timeout(wanted.wait, attempt.rehearse(&[entry])).await.ok();
    let after = clock::mono().since(begin);
    let _in_time = timeout(super::CLOSE_TIME_MAX, attempt.close()).await;
    let verdict = verdict(answer, wanted.wait);
    let worth = Some(attempt.worth()).filter(|worth| !worth.is_empty());
    let title = verdict.reason().or(worth).unwrap_or(verdict.name()).to_owned();
    let answer = trial::Answer { message: Message { title, ..Message::default() }, after };
    let answers = if matches!(verdict, Verdict::Undecided { .. }) { Vec::new() } else { vec![answer] };
    let exchange = Exchange { server: attempt.backend(), request, transmissions: 1, answers };
    Ok(Trial { exchanges: vec![exchange], verdict, warning: None })
}

/// Whether the backend is there, asked for `wait` at most.
pub async fn ask<A: Attempt>(mut attempt: A, wait: Duration) -> Vec<Reached> {
    let late = |_| Err(format!("no answer within {} s", wait.as_secs()));
    let reached = timeout(wait, attempt.reach()).await.unwrap_or_else(late);
    vec![(attempt.backend(), reached.map(|()| attempt.warnings()))]
}

/// What would have become of the record; `None` without an answer in time.
fn verdict(answer: Option<Answer>, wait: Duration) -> Verdict {
    let undecided = || Verdict::Undecided { reason: format!("no answer within {} s", wait.as_secs()) };
    match answer {
        None => undecided(),
        Some(Answer::Delivered) => Verdict::Delivered,
        Some(Answer::Each(fates)) => match fates.into_iter().next() {
            None => undecided(),
            Some(Fate::Delivered) => Verdict::Delivered,
            Some(Fate::Retry { reason } | Fate::Unknown { reason } | Fate::Unsent { reason }) => {
                Verdict::Retry { reason }
            }
            Some(Fate::Refused { reason, .. }) => Verdict::Parked { reason },
        },
        Some(Answer::Refused { reason, .. }) => Verdict::Parked { reason },
        Some(Answer::Down { reason, .. } | Answer::Misfit { reason } | Answer::Unknown { reason }) => {
            Verdict::Retry { reason }
        }
    }
}
