//! `tollgate deliver`: takes records out of the cluster's stream and delivers them; no SIP.

use std::path::Path;

use super::{Failure, load};
use crate::service::{self, DeliverError};

/// Runs until it is told to stop.
///
/// # Errors
/// The configuration is wrong or has no cluster, or the deliverer cannot start or go on.
pub fn run(path: &Path) -> Result<(), Failure> {
    let plan = load(path)?;
    if plan.cluster.is_none() {
        eprintln!(
            "error: `tollgate deliver` takes records out of a cluster, and {} has none\nhint: add `[cluster]` with \
             `nats = [\"nats://HOST:4222\"]`",
            path.display()
        );
        return Err(Failure::Configuration);
    }
    match service::deliver(plan) {
        Ok(()) => Ok(()),
        // It would end the same way again: systemd is not to start it.
        Err(DeliverError::Misfit(why)) => {
            eprintln!("error: {why}");
            Err(Failure::Configuration)
        }
        Err(DeliverError::Failed(error)) => Err(Failure::Failed(error)),
    }
}
