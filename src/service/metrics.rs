//! All that a gateway counts.

use crate::metric::Metric;
use crate::{admin, front, sinks, telemetry};

/// Each metric, by the part that counts it.
pub fn all() -> impl Iterator<Item = &'static Metric> + Clone {
    let own = [
        admin::metrics::METRICS,
        front::metrics::METRICS,
        front::stream::metrics::METRICS,
        front::mirror::METRICS,
        super::cluster::metrics::METRICS,
        super::script::METRICS,
        telemetry::METRICS,
    ];
    own.into_iter().chain(sinks::METRICS_OF_ALL.iter().copied()).flatten()
}
