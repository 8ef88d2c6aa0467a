//! The sinks of a gateway in a cluster: what is meant for their backends goes to the cluster's stream.

use std::sync::Arc;

use crate::cluster::forward::{Cluster, Forward};
use crate::config::plan::SinkPlan;

/// The sinks as they run: without a cluster as they are.
pub(super) fn forwarded(sinks: Vec<SinkPlan>, cluster: Option<&Arc<Cluster>>) -> impl Iterator<Item = SinkPlan> {
    sinks.into_iter().map(move |sink| match cluster {
        None => sink,
        Some(cluster) => SinkPlan { kind: Forward::kind(sink.kind, cluster), ..sink },
    })
}
