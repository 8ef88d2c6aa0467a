//! What a gateway counts of its part in the cluster.

use std::sync::{Arc, Mutex, PoisonError};

use metrics::{counter, gauge};
use serde_json::{Value, json};

use crate::cluster::calls::Calls;
use crate::cluster::lease::Answer;
use crate::metric::{TRUTH, metrics_of};

metrics_of! { METRICS:
    /// Calls whose last change is not in the cluster's bucket: what another gateway would not know of them if this one died
    /// now.
    gauge CALLS_UNMIRRORED = "tollgate_cluster_calls_unmirrored", "calls";
    /// Changes of calls for which there was no room on their way to the bucket; they are fetched again.
    counter CHANGES_MISSED_TOTAL = "tollgate_cluster_changes_missed_total", "changes";
    /// Changes of calls that were written to the bucket, by `outcome` (`stored`, `conflict`, `refused`, `lost`).
    counter CHANGES_WRITTEN_TOTAL = "tollgate_cluster_changes_written_total", "changes";
    /// Calls that were taken over from other gateways, or came back from the bucket.
    counter CALLS_ADOPTED_TOTAL = "tollgate_cluster_calls_adopted_total", "calls";
    /// Calls that other gateways have taken over: forgotten here without a record.
    counter CALLS_LOST_TOTAL = "tollgate_cluster_calls_lost_total", "calls";
    /// Whether this gateway holds the lease of its name (1) or does not (0).
    gauge LEASE_HELD = "tollgate_cluster_lease_held", TRUTH;
    /// Gateways that live, as far as this one knows.
    gauge GATEWAYS = "tollgate_cluster_gateways", "gateways";
    /// Whether the buckets answer (1) or do not (0).
    gauge BUCKETS_REACHED = "tollgate_cluster_buckets_reached", TRUTH;
}

/// What was said last.
/// What a gateway shows of its cluster.
#[derive(Clone, Debug, Default)]
pub(in crate::service) struct View {
    /// Whether it holds the lease of its name.
    pub is_member: bool,
    /// Calls whose last change is not in the bucket.
    pub unmirrored: usize,
    /// Why the cluster does not answer.
    pub trouble: Option<String>,
}

/// The same, where others look at it.
#[derive(Clone, Debug, Default)]
pub(in crate::service) struct Shown(Arc<Mutex<View>>);

impl Shown {
    pub fn show(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// For the status.
    pub fn json(&self) -> Value {
        let View { is_member, unmirrored, trouble } = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({ "member": is_member, "calls_unmirrored": unmirrored, "trouble": trouble })
    }
}

#[derive(Debug, Default)]
pub(super) struct Meters {
    missed: u64,
    reached: Option<bool>,
    shown: Shown,
}

impl Meters {
    /// All of them are there from the start: a rate over what has just come up is none.
    pub fn new(shown: Shown) -> Self {
        for name in [CHANGES_MISSED_TOTAL, CALLS_ADOPTED_TOTAL, CALLS_LOST_TOTAL] {
            counter!(name).increment(0);
        }
        for answer in [Answer::Stored(0), Answer::Conflict, Answer::Refused, Answer::Lost] {
            counter!(CHANGES_WRITTEN_TOTAL, "outcome" => outcome(answer)).increment(0);
        }
        gauge!(BUCKETS_REACHED).set(0.0);
        Self { shown, ..Self::default() }
    }

    #[allow(clippy::unused_self, reason = "as the others")]
    pub fn written(&self, answer: Answer) {
        counter!(CHANGES_WRITTEN_TOTAL, "outcome" => outcome(answer)).increment(1);
    }

    #[allow(clippy::unused_self, reason = "as the others")]
    pub fn adopted(&self) {
        counter!(CALLS_ADOPTED_TOTAL).increment(1);
    }

    #[allow(clippy::unused_self, reason = "as the others")]
    pub fn lost(&self) {
        counter!(CALLS_LOST_TOTAL).increment(1);
    }

    /// Notes whether the buckets answer, or why not; whether that is news.
    pub fn reach(&mut self, trouble: Option<String>) -> bool {
        let is_reached = trouble.is_none();
        self.shown.show(|view| view.trouble = trouble);
        let is_news = self.reached.replace(is_reached) != Some(is_reached);
        gauge!(BUCKETS_REACHED).set(if is_reached { 1.0 } else { 0.0 });
        is_news
    }

    /// Shows the state after a turn.
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    pub fn state(&mut self, calls: &Calls, is_held: bool, living: usize) {
        gauge!(CALLS_UNMIRRORED).set(calls.unmirrored() as f64);
        counter!(CHANGES_MISSED_TOTAL).increment(calls.missed() - std::mem::replace(&mut self.missed, calls.missed()));
        gauge!(LEASE_HELD).set(if is_held { 1.0 } else { 0.0 });
        gauge!(GATEWAYS).set(living as f64);
        self.shown.show(|view| (view.is_member, view.unmirrored) = (is_held, calls.unmirrored()));
    }
}

const fn outcome(answer: Answer) -> &'static str {
    match answer {
        Answer::Stored(_) => "stored",
        Answer::Conflict => "conflict",
        Answer::Refused => "refused",
        Answer::Lost => "lost",
    }
}
