//! `tollgate run`: the gateway itself.

use std::path::Path;

use super::{Failure, load};
use crate::service::{self, NameTaken};

/// Runs until it is told to stop.
///
/// # Errors
/// The configuration is wrong, or the gateway cannot start or go on.
pub fn run(path: &Path) -> Result<(), Failure> {
    let plan = load(path)?;
    service::run(plan).map_err(|error| match error.downcast::<NameTaken>() {
        // It would end the same way again: systemd is not to start it.
        Ok(taken) => {
            eprintln!("error: {taken}");
            Failure::Configuration
        }
        Err(error) => Failure::Failed(error),
    })
}
