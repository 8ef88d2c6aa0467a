//! The thread that sends spans to the collector.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::otlp::request;
use super::spans::{Span, Spans};
use super::{SPANS_TOTAL, Settings, Tracer};
use crate::causes::chain_text;
use crate::clock::{self, Instant};
use crate::ids::SinkNumber;
use crate::net::tls::{ClientTls, TlsError};

/// Spans that wait for the collector at most; what comes then is lost.
pub const SPANS_MAX: usize = 8_192;
/// Spans of one request at most.
pub const BATCH_MAX: usize = 512;

/// Longest wait for more spans of a request.
const GATHER: Duration = Duration::from_secs(1);
/// Longest wait for the collector's response.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses before a request that has failed is sent again; then its spans are lost.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// Failures are logged once in this time.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Why there are no spans.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The thread does not start.
    #[error("cannot start its thread: {0}")]
    Thread(#[from] io::Error),
    /// The client cannot be made.
    #[error("cannot make its HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Starts the thread that sends spans. It ends when what makes them is gone, and has sent what it could by then.
///
/// # Errors
/// An [`ExportError`].
pub fn start(settings: Settings, sinks: Vec<(SinkNumber, Arc<str>)>) -> Result<(Tracer, JoinHandle<()>), ExportError> {
    let client = Client::builder()
        .tls_backend_preconfigured((*ClientTls::of_nobody()?.config()).clone())
        .no_proxy()
        .redirect(Policy::none())
        .user_agent(crate::names::PRODUCT)
        .timeout(TIMEOUT)
        .build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (out, spans) = mpsc::channel(SPANS_MAX);
    let tracer = Tracer { spans: Spans::new(settings.one_in, sinks), made: Vec::new(), out };
    let export = Export { client, settings, spans, told: None };
    let thread = std::thread::Builder::new().name("telemetry".into()).spawn(move || runtime.block_on(export.run()))?;
    Ok((tracer, thread))
}

/// Counts spans that came to this.
pub(super) fn count(outcome: &'static str, spans: u64) {
    if spans > 0 {
        metrics::counter!(SPANS_TOTAL, "outcome" => outcome).increment(spans);
    }
}

struct Export {
    client: Client,
    settings: Settings,
    spans: mpsc::Receiver<Span>,
    /// When a failure was logged last.
    told: Option<Instant>,
}

impl Export {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.spans.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let more = async {
                loop {
                    let room = BATCH_MAX - batch.len();
                    if room == 0 || self.spans.recv_many(&mut batch, room).await == 0 {
                        return;
                    }
                }
            };
            // When the time is up, what came goes.
            let _elapsed = timeout(GATHER, more).await;
            let lost = self.send(&batch).await;
            let count_of = |spans: usize| u64::try_from(spans).unwrap_or(u64::MAX);
            count("lost", count_of(lost));
            count("sent", count_of(batch.len() - lost));
            batch.clear();
        }
    }

    /// Sends a batch; how many of its spans are lost.
    async fn send(&mut self, batch: &[Span]) -> usize {
        let body = request(batch, &self.settings.instance).to_string();
        for pause in PAUSES.map(Some).into_iter().chain([None]) {
            match self.post(&body).await {
                Ok(refused) => return refused.min(batch.len()),
                Err(Failure { why, may_be_repeated }) => {
                    self.tell(&why);
                    match pause.filter(|_| may_be_repeated && !self.spans.is_closed()) {
                        Some(pause) => sleep(pause).await,
                        None => break,
                    }
                }
            }
        }
        batch.len()
    }

    /// How many spans the collector has refused.
    async fn post(&self, body: &str) -> Result<usize, Failure> {
        let post = self.client.post(self.settings.endpoint.clone()).header("content-type", "application/json");
        let response = post
            .body(body.to_owned())
            .send()
            .await
            .map_err(|error| Failure { why: chain_text(&error.without_url()), may_be_repeated: true })?;
        let status = response.status();
        if !status.is_success() {
            return Err(Failure { why: format!("it answers {status}"), may_be_repeated: REPEATED.contains(&status) });
        }
        // A collector may say nothing.
        let text = response.bytes().await.unwrap_or_default();
        let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
        let refused = &answer["partialSuccess"]["rejectedSpans"];
        let refused = refused.as_u64().or_else(|| refused.as_str()?.parse().ok()).unwrap_or(0);
        Ok(usize::try_from(refused).unwrap_or(usize::MAX))
    }

    fn tell(&mut self, why: &str) {
        let now = clock::mono();
        if self.told.is_none_or(|told| now.since(told) >= TOLD_EVERY) {
            self.told = Some(now);
            let endpoint = self.settings.endpoint.as_str();
            tracing::warn!(
                endpoint,
                why,
                "the collector of spans does not take them: they are tried again twice, and lost then"
            );
        }
    }
}

struct Failure {
    why: String,
    may_be_repeated: bool,
}

/// Responses after which a request goes again, as OTLP has them.
const REPEATED: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];
