//! Whether a process could do its work with the cluster, asked before it starts. Nothing is made, and nothing is stored.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Event;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context, ErrorCode};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::bucket::ANSWER_WAIT;
use super::link;
use super::names::{self, Role};
use super::{Settings, objects};
use crate::causes::chain_text;
use crate::sinks::trial::Reached;

/// What the servers have said that is no answer.
type Complaints = Arc<Mutex<Vec<String>>>;

/// Where a process publishes, and what for.
struct Subject {
    what: String,
    subject: String,
    stream: String,
}

/// The connection, the stream and the buckets first; then, when those are good, what a process of this role publishes to.
/// `sinks` are the names of its sinks.
pub async fn ask(settings: &Settings, role: Role, sinks: &[&str], wait: Duration) -> Vec<Reached> {
    let complaints = Complaints::default();
    let late = |_| {
        // They give no answer to what a login may not do.
        let said = complaints.lock().unwrap_or_else(PoisonError::into_inner).join(", ");
        let said = if said.is_empty() { said } else { format!("; the servers say: {said}") };
        Err(format!("no answer within {} s{said}", wait.as_secs()))
    };
    let looked = timeout(wait, look(settings, &complaints)).await.unwrap_or_else(late);
    let what = format!("cluster {} {}", settings.access.servers.join(" "), settings.stream);
    let (context, warnings) = match looked {
        Ok(found) => found,
        Err(why) => return vec![(what, Err(why))],
    };
    let published = subjects(settings, role, sinks).into_iter().map(async |own| {
        let told = publish(&context, &own, &complaints).await;
        (format!("{} {}", own.what, own.subject), told)
    });
    let published = join_all(published).await;
    std::iter::once((what, Ok(warnings))).chain(published).collect()
}

async fn look(settings: &Settings, complaints: &Complaints) -> Result<(Context, Vec<String>), String> {
    let own = Arc::clone(complaints);
    let with = |options: async_nats::ConnectOptions| {
        options.event_callback(move |event| {
            if let Event::ServerError(error) = &event {
                own.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
            }
            std::future::ready(())
        })
    };
    let context = link::connect_as(settings, "check", with).await.map_err(|error| chain_text(&error))?;
    let report = objects::check(&context, settings).await.map_err(|error| chain_text(&error))?;
    Ok((context, report.warnings))
}

/// What a process publishes to streams: one subject for each that may be forbidden by itself.
fn subjects(settings: &Settings, role: Role, sinks: &[&str]) -> Vec<Subject> {
    let bucket = |bucket: names::Bucket, what: &str, key: &str| Subject {
        what: what.to_owned(),
        subject: bucket.subject(key),
        stream: bucket.stream(),
    };
    let sink = |name: &&str| Subject {
        what: format!("sink {name}, for the deliverers:"),
        subject: names::records(&settings.prefix, name, 0),
        stream: settings.stream.clone(),
    };
    match role {
        Role::Gateway => {
            let key = names::lease_of_gateway(&settings.name);
            let state = bucket(settings.state(), "cluster, its name:", &key);
            let calls = bucket(settings.calls(), "cluster, calls in progress:", &names::call(&[0; 24]));
            sinks.iter().map(sink).chain([state, calls]).collect()
        }
        Role::Deliverer => {
            let lease = bucket(settings.state(), "cluster, partitions:", "lease.partition.000");
            let progress =
                sinks.iter().map(|name| bucket(settings.state(), "cluster, progress:", &names::progress(0, name)));
            std::iter::once(lease).chain(progress).collect()
        }
    }
}

/// Whether a message would be stored: one is sent under a condition that never holds, and the refusal says that it came.
async fn publish(context: &Context, own: &Subject, complaints: &Complaints) -> Result<Vec<String>, String> {
    let message = PublishMessage::build().expected_last_subject_sequence(NEVER).expected_stream(&own.stream);
    let asked = async { context.send_publish(own.subject.clone(), message).await?.await };
    match timeout(ANSWER_WAIT, asked).await {
        // No stream has had so many.
        Ok(Ok(_)) => Ok(Vec::new()),
        Ok(Err(error)) if error.kind() != PublishErrorKind::TimedOut => verdict(&error, &own.stream),
        Ok(Err(_)) | Err(_) => {
            let complaints = complaints.lock().unwrap_or_else(PoisonError::into_inner);
            let forbidden = complaints.iter().find(|text| text.contains(&own.subject));
            Err(match forbidden {
                Some(text) => format!("the servers do not let this login publish there: {text}"),
                None => format!("no answer within {} s", ANSWER_WAIT.as_secs()),
            })
        }
    }
}

/// The place of the last message of a subject, by a condition that never holds.
const NEVER: u64 = i64::MAX as u64;

/// What the refusal of such a message says.
fn verdict(error: &PublishError, stream: &str) -> Result<Vec<String>, String> {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    match (error.kind(), source.map(jetstream::Error::error_code)) {
        (PublishErrorKind::WrongLastSequence, _) | (_, Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE)) => Ok(Vec::new()),
        (PublishErrorKind::StreamNotFound, _) => {
            Ok(vec![format!("not tried: the stream `{stream}` is not there yet, or has no leader")])
        }
        _ => Err(chain_text(error)),
    }
}
