//! librdkafka's producer: what it is told, and what it tells.
//!
//! Its threads connect, send, and call back; nothing of it waits on ours. To make one reads the files of TLS, and to end one
//! waits for its threads: both are done elsewhere.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use tokio::sync::{oneshot, watch};

use super::link::Message;
use super::verdict::is_barred;
use super::{Login, Mechanism, Settings};
use crate::net::tls::{NameCheck, Roots};

/// What becomes of a message, when it is known.
pub(super) type Delivery = oneshot::Receiver<Result<(), Code>>;

/// What the client has told of the brokers since one took a message.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    /// Why they do not let us in.
    pub barred: Option<String>,
    /// What was wrong last.
    pub trouble: Option<String>,
}

/// Takes what the client tells.
pub(super) struct Context(watch::Sender<News>);

impl ClientContext for Context {
    // Each error of weight comes as one, too.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        self.0.send_modify(|news| match code {
            _ if is_barred(code) => news.barred = Some(reason.to_owned()),
            // It says less than what came before it, and only how many there are.
            Code::AllBrokersDown => drop(news.trouble.get_or_insert_with(|| "no broker has answered".to_owned())),
            _ => news.trouble = Some(reason.to_owned()),
        });
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), Code>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, told: Self::DeliveryOpaque) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        if result.is_ok() {
            self.0.send_if_modified(|news| std::mem::take(news).trouble.is_some());
        }
        // Nobody waits for what was given up.
        let _unwanted = told.send(result);
    }
}

/// A producer; cheap to clone.
#[derive(Clone)]
pub(super) struct Producer {
    /// `None` only while it ends.
    client: Option<Arc<ThreadedProducer<Context>>>,
    news: watch::Receiver<News>,
}

impl Producer {
    /// Makes one, and reads the files of TLS.
    pub fn new(sink: &str, settings: &Settings) -> KafkaResult<Self> {
        let (tell, news) = watch::channel(News::default());
        let client: ThreadedProducer<Context> = config(sink, settings).create_with_context(Context(tell))?;
        Ok(Self { client: Some(Arc::new(client)), news })
    }

    /// Hands a message over.
    pub fn send(&self, message: &Message, content_type: &str) -> Result<Delivery, Code> {
        let (tell, told) = oneshot::channel();
        let headers = OwnedHeaders::new()
            .insert(Header { key: "id", value: Some(message.id.as_str()) })
            .insert(Header { key: "content-type", value: Some(content_type) });
        let mut record = BaseRecord::with_opaque_to(&message.topic, Box::new(tell))
            .payload(message.body.as_slice())
            .headers(headers);
        if let Some(key) = &message.key {
            record = record.key(key.as_slice());
        }
        let Some(client) = &self.client else { return Err(Code::DestroyBroker) };
        let sent = client.send::<[u8], [u8]>(record);
        sent.map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::Unknown))?;
        Ok(told)
    }

    /// Gives up all that has no outcome yet; each is told so.
    pub fn purge(&self) {
        if let Some(client) = &self.client {
            client.purge(PurgeConfig::default().queue().inflight());
        }
    }

    /// What was told last.
    pub fn news(&self) -> watch::Receiver<News> {
        self.news.clone()
    }

    /// Why it can be used no more, if that is so.
    pub fn fatal(&self) -> Option<(Code, String)> {
        self.client.as_ref()?.client().fatal_error()
    }

    /// What asks the brokers; it waits for their answers.
    pub fn asks(&self) -> Option<&rdkafka::client::Client<Context>> {
        self.client.as_ref().map(|client| client.client())
    }
}

/// The last of its clones waits for its threads, on a thread of its own.
impl Drop for Producer {
    fn drop(&mut self) {
        let Some(client) = self.client.take().and_then(Arc::into_inner) else { return };
        // Without a thread for it, it ends here.
        let _ended_elsewhere = std::thread::Builder::new().name("kafka-end".to_owned()).spawn(move || drop(client));
    }
}

/// Octets of a message at most; the client takes no larger one, whatever its topic would.
const MESSAGE_OCTETS_MAX: usize = 8 << 20;

/// First and longest wait of the client before it sends again or connects again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Longest time for which a topic may be unknown before it counts as missing: a new one takes a while to be known everywhere.
const UNKNOWN_MAX: Duration = Duration::from_secs(5);

/// What the client is told.
pub(super) fn config(sink: &str, settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    let mut set = |name: &str, value: String| {
        config.set(name, value);
    };
    let millis = |span: Duration| span.as_millis().to_string();
    set("bootstrap.servers", settings.brokers.join(","));
    set("client.id", format!("{}-{sink}", crate::names::PRODUCT));
    // With it come acks=all, and the order of what is on its way.
    set("enable.idempotence", "true".to_owned());
    set("acks", "all".to_owned());
    set("message.timeout.ms", millis(settings.timeout));
    set("request.timeout.ms", millis(settings.timeout));
    set("socket.timeout.ms", millis(settings.timeout.max(Duration::from_secs(1))));
    set("retries", retries(settings.timeout).to_string());
    set("retry.backoff.ms", millis(BACK_OFF.0));
    set("retry.backoff.max.ms", millis(BACK_OFF.1));
    set("reconnect.backoff.ms", millis(BACK_OFF.0));
    set("reconnect.backoff.max.ms", millis(BACK_OFF.1));
    set("topic.metadata.propagation.max.ms", millis(UNKNOWN_MAX.min(settings.timeout / 2)));
    set("allow.auto.create.topics", settings.makes_topics.to_string());
    set("message.max.bytes", MESSAGE_OCTETS_MAX.to_string());
    // As the Java client chooses, so that others who write by the same key meet the same partition.
    set("partitioner", "murmur2_random".to_owned());
    // A batch is handed over at once: there is nothing to wait for behind it.
    set("linger.ms", "1".to_owned());
    let security = match (&settings.login, &settings.tls) {
        (None, None) => "plaintext",
        (None, Some(_)) => "ssl",
        (Some(_), None) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    set("security.protocol", security.to_owned());
    if let Some(Login { mechanism, user, password }) = &settings.login {
        let mechanism = match mechanism {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        set("sasl.mechanism", mechanism.to_owned());
        set("sasl.username", user.clone());
        set("sasl.password", password.text().to_owned());
    }
    if let Some((files, _)) = &settings.tls {
        if let Roots::File(path) = &files.roots {
            set("ssl.ca.location", path.display().to_string());
        }
        if let Some(own) = &files.own {
            set("ssl.certificate.location", own.certificate.display().to_string());
            set("ssl.key.location", own.key.display().to_string());
        }
        let compares = if files.name_check == NameCheck::On { "https" } else { "none" };
        set("ssl.endpoint.identification.algorithm", compares.to_owned());
    }
    config
}

/// How often the client sends again what a broker cannot take now: its waits fill two thirds of the time, so that the reason
/// comes before the time is up, which would hide it.
fn retries(timeout: Duration) -> u32 {
    let (mut count, mut wait, mut spent) = (1, BACK_OFF.0, BACK_OFF.0);
    while spent + wait < timeout * 2 / 3 {
        wait = (wait * 2).min(BACK_OFF.1);
        spent += wait;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_brokers_that_are_down_hides_no_reason() {
        let (tell, news) = watch::channel(News::default());
        let context = Context(tell);
        for (code, reason, want) in [
            (Code::AllBrokersDown, "1/1 brokers are down", "no broker has answered"),
            (Code::BrokerTransportFailure, "Connection refused", "Connection refused"),
            (Code::AllBrokersDown, "1/1 brokers are down", "Connection refused"),
        ] {
            context.error(KafkaError::Global(code), reason);
            assert_eq!(news.borrow().trouble.as_deref(), Some(want), "{code}");
        }
    }
}
