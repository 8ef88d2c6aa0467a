//! What the brokers say of topics: for `tollgate check --deep`, and for a client that takes one for missing. It waits for
//! their answers, on a thread that may.

use std::collections::HashSet;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;

use super::Settings;
use super::producer::{Producer, config};
use super::verdict;

/// A topic that is there.
pub(super) struct Topic {
    /// What it is.
    pub found: String,
    /// What an operator should know of it.
    pub warnings: Vec<String>,
}

/// Longest wait for each of the two answers; who asked may not wait that long.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Has the client ask for topics, of which it takes notice of the answers.
pub(super) fn refresh(producer: &Producer, topics: &HashSet<String>, wait: Duration) {
    let Some(client) = producer.asks() else { return };
    let asked = topics.iter().try_for_each(|topic| client.fetch_metadata(Some(topic), WAIT_MAX.min(wait)).map(drop));
    // Nobody answers: nobody takes a message either.
    drop(asked);
}

/// Asks for the topic, where it is the same for all records; else whether a broker answers.
pub(super) fn look(producer: &Producer, sink: &str, settings: &Settings) -> Result<Option<Topic>, String> {
    let Some(client) = producer.asks() else { return Ok(None) };
    let name = settings.topic.constant();
    let wait = WAIT_MAX.min(settings.timeout);
    let metadata = client.fetch_metadata(name.as_deref(), wait);
    let metadata = metadata.map_err(|error| {
        let news = producer.news().borrow().clone();
        match (news.barred, news.trouble) {
            (Some(reason), _) => format!("the brokers do not let us in: {reason}"),
            (None, Some(reason)) => reason,
            // What the client says then is no more than that.
            (None, None) if error.rdkafka_error_code() == Some(Code::BrokerTransportFailure) => {
                format!("no broker has answered within {} s", wait.as_secs_f64())
            }
            (None, None) => error.to_string(),
        }
    })?;
    let Some(name) = name else { return Ok(None) };
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Ok(None) };
    if let Some(error) = topic.error().filter(IsError::is_error) {
        let code = Code::from(error);
        if settings.makes_topics && code == Code::UnknownTopicOrPartition {
            return Ok(Some(Topic { found: format!("topic `{name}` is not there yet"), warnings: Vec::new() }));
        }
        return Err(verdict::of(code, &name, None, 0.0).reason().to_owned());
    }
    Ok(Some(judge(topic, min_insync(sink, settings, &name))))
}

/// What is said of a topic; `min_insync` is its `min.insync.replicas`, if the brokers tell us.
fn judge(topic: &MetadataTopic, min_insync: Option<u32>) -> Topic {
    let partitions = topic.partitions();
    let replicas = partitions.iter().map(|own| own.replicas().len()).min().unwrap_or(0);
    let least = min_insync.map_or_else(|| "not told".to_owned(), |own| own.to_string());
    let (name, count) = (topic.name(), partitions.len());
    let found = format!("topic `{name}`: partitions {count}, replicas {replicas}, min.insync.replicas {least}");
    let mut warnings = Vec::new();
    let leaderless: Vec<_> = partitions.iter().filter(|own| own.leader() < 0).map(|own| own.id().to_string()).collect();
    if !leaderless.is_empty() {
        warnings.push(format!("no leader has the partitions {}: their records wait", leaderless.join(", ")));
    }
    let short: Vec<_> = partitions
        .iter()
        .filter(|own| min_insync.is_some_and(|least| own.isr().len() < least as usize))
        .map(|own| own.id().to_string())
        .collect();
    if !short.is_empty() {
        warnings.push(format!(
            "fewer replicas than min.insync.replicas have the partitions {}: their records wait",
            short.join(", ")
        ));
    }
    match min_insync {
        None => warnings.push(
            "the brokers do not say how many replicas a record needs (DescribeConfigs): is min.insync.replicas 2 or more?"
                .to_owned(),
        ),
        Some(least) if least < 2 => warnings.push(format!(
            "a record that one broker alone has is acknowledged (min.insync.replicas {least}): when that one is lost, so is \
             the record"
        )),
        Some(_) => {}
    }
    Topic { found, warnings }
}

/// The topic's `min.insync.replicas`.
fn min_insync(sink: &str, settings: &Settings, name: &str) -> Option<u32> {
    let admin: AdminClient<DefaultClientContext> = config(sink, settings).create().ok()?;
    let options = AdminOptions::new().request_timeout(Some(WAIT_MAX.min(settings.timeout)));
    let asked = [ResourceSpecifier::Topic(name)];
    // Its own thread wakes this; no timer or socket of ours is needed.
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let configs = runtime.block_on(admin.describe_configs(&asked, &options)).ok()?;
    let config = configs.into_iter().next()?.ok()?;
    config.get("min.insync.replicas")?.value.as_ref()?.parse().ok()
}
