//! How the backend is, for status, metrics and log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::batches::Health;
use super::{Answer, Fate};
use crate::clock::{self, Instant};
use crate::metric::{TRUTH, metrics_of};
use crate::sinks::view::{self, ServerView};

metrics_of! { METRICS:
    /// Attempts on batches, by `sink` and `outcome` (`delivered`, `each`, `refused`, `down`, `misfit`, `unknown`).
    counter SINK_BATCHES_TOTAL = "tollgate_sink_batches_total", "batches";
    /// Time of an attempt that the backend answered, by `sink`.
    histogram SINK_BATCH_SECONDS = "tollgate_sink_batch_seconds", "seconds";
    /// 1 while the backend takes batches, else 0, by `sink`.
    gauge SINK_BACKEND_UP = "tollgate_sink_backend_up", TRUTH;
}

/// How answers are counted; those before [`DOWN`] the backend gave itself.
const OUTCOMES: [&str; 6] = ["delivered", "each", "refused", "down", "misfit", "unknown"];
const DOWN: usize = 3;
const MISFIT: usize = 4;

/// What an attempt has shown.
pub(super) struct News {
    /// How it is counted: [`Answer::outcome`].
    pub outcome: usize,
    /// What is wrong, if something is.
    pub wrong: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// How the backend is.
    pub health: Health,
    /// How long it is left alone.
    pub wait: Option<Duration>,
}

impl Answer {
    /// Its place in the list of outcomes.
    pub(super) const fn outcome(&self) -> usize {
        match self {
            Self::Delivered => 0,
            Self::Each(_) => 1,
            Self::Refused { .. } => 2,
            Self::Down { .. } => DOWN,
            Self::Misfit { .. } => MISFIT,
            Self::Unknown { .. } => 5,
        }
    }

    /// What is wrong, if something is.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Delivered => None,
            Self::Each(fates) => fates.iter().find_map(Fate::reason),
            Self::Refused { reason, .. }
            | Self::Down { reason, .. }
            | Self::Misfit { reason }
            | Self::Unknown { reason } => Some(reason),
        }
    }
}

impl Fate {
    /// What is wrong, if something is.
    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Delivered => None,
            Self::Retry { reason }
            | Self::Refused { reason, .. }
            | Self::Unknown { reason }
            | Self::Unsent { reason } => Some(reason),
        }
    }
}

/// The state of a backend, readable from other threads.
#[derive(Clone, Debug)]
pub struct Board(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    view: ServerView,
    changed: Instant,
    /// Shown while nothing is wrong.
    worth: Option<String>,
    counts: [u64; OUTCOMES.len()],
}

impl Board {
    pub(super) fn new(backend: &str, window: usize, worth: &str) -> Self {
        let worth = Some(worth.to_owned()).filter(|worth| !worth.is_empty());
        let view = ServerView {
            server: backend.to_owned(),
            state: "new",
            since: Duration::ZERO,
            in_flight: 0,
            window,
            connections: 0,
            round_trip: None,
            note: worth.clone(),
            counts: Vec::new(),
        };
        Self(Arc::new(Mutex::new(State { view, changed: clock::mono(), worth, counts: [0; OUTCOMES.len()] })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock holds plain data that is whole at every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt on so many records begins.
    pub(super) fn begins(&self, records: usize) {
        self.lock().view.in_flight = records;
    }
}

impl view::Board for Board {
    fn views(&self) -> Vec<ServerView> {
        let state = self.lock();
        let since = clock::mono().since(state.changed);
        let counts = OUTCOMES.into_iter().zip(state.counts).collect();
        vec![ServerView { since, counts, ..state.view.clone() }]
    }
}

/// Counts, and tells what changes.
pub(super) struct Meters {
    sink: Arc<str>,
    board: Board,
    batches: [Counter; OUTCOMES.len()],
    time: Histogram,
    up: Gauge,
}

impl Meters {
    pub fn new(sink: &Arc<str>, board: Board) -> Self {
        let batches = OUTCOMES
            .map(|outcome| metrics::counter!(SINK_BATCHES_TOTAL, "sink" => Arc::clone(sink), "outcome" => outcome));
        Self {
            sink: Arc::clone(sink),
            board,
            batches,
            time: metrics::histogram!(SINK_BATCH_SECONDS, "sink" => Arc::clone(sink)),
            up: metrics::gauge!(SINK_BACKEND_UP, "sink" => Arc::clone(sink)),
        }
    }

    /// An attempt ended, and this is how the backend is now.
    pub fn tell(&self, news: News) {
        let News { outcome, wrong, took, health, wait } = news;
        let mut state = self.board.lock();
        state.view.in_flight = 0;
        state.counts[outcome] += 1;
        self.batches[outcome].increment(1);
        if outcome < DOWN {
            self.time.record(took);
            let mean = state.view.round_trip.map_or(took, |mean| (7 * mean + took) / 8);
            state.view.round_trip = Some(mean);
        }
        let is_up = health == Health::Up;
        let name = match outcome {
            _ if is_up => "up",
            MISFIT => "misfit",
            _ => "down",
        };
        self.up.set(f64::from(u8::from(is_up)));
        state.view.connections = usize::from(is_up);
        let was = std::mem::replace(&mut state.view.state, name);
        let (sink, backend) = (&self.sink, &state.view.server);
        let error = wrong.as_deref().unwrap_or_default();
        let wait_secs = wait.map(|wait| wait.as_secs_f64());
        match name {
            _ if was == name => {}
            "up" if was == "new" => {}
            "up" => tracing::info!(%sink, backend, "the backend takes records again"),
            "misfit" => tracing::error!(%sink, backend, error, wait_secs, "the backend does not fit the configuration"),
            _ => tracing::warn!(%sink, backend, error, wait_secs, "the backend is not used"),
        }
        if was != name {
            state.changed = clock::mono();
        }
        state.view.note = wrong.or_else(|| state.worth.clone());
    }
}

/// A sink that is used no more has no backend; if it goes on under other settings, these say so soon.
impl Drop for Meters {
    fn drop(&mut self) {
        self.up.set(0.0);
    }
}
