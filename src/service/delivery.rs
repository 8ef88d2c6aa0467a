//! The delivery runtime: one thread with a worker for each sink, the administration and the resolver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::resolver;
use super::systemd::Loop;
use super::wiring::{StartError, spawn};
use crate::clock::{self, Instant};
use crate::config::plan::{AdminPlan, SinkKind, SinkPlan};
use crate::ids::SinkNumber;
use crate::queue;
use crate::sinks::radius::{Board, RadiusSink};
use crate::sinks::worker::{Bell, Worker};
use crate::sip::transport::driver::Question;
use crate::sip::transport::mailbox::Mailbox;

/// How often the runtime leaves a beat for the watchdog.
const BEAT: Duration = Duration::from_secs(1);

/// The running delivery thread.
pub(super) struct Delivery {
    end: watch::Sender<bool>,
    beat: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}
