//! Files as a kind of sink.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{FileAttempt, Settings};
use crate::sinks::attempt::{Attempt as _, Attempts, trial};
use crate::sinks::kind::{self, Ended, Ground, Kind, SetupError, Started, Tried};
use crate::sinks::trial::{Reached, Trial, TrialError, Wanted};

impl Kind for Settings {
    fn name(&self) -> &'static str {
        FileAttempt::KIND
    }

    fn is_same(&self, other: &dyn Kind) -> bool {
        other.of() == Some(self)
    }

    fn check(&self) -> Result<(), SetupError> {
        Ok(())
    }

    fn start(&self, ground: Ground, ended: Ended) -> Result<Started, SetupError> {
        kind::start(self, ground, ended, make)
    }

    fn only(&self, name: &str, server: SocketAddr) -> Result<Arc<dyn Kind>, TrialError> {
        let what = format!("the sink `{name}` writes `{}` and has no server `{server}`", self.file.path.display());
        Err(TrialError::Usage { what })
    }

    fn send<'a>(&'a self, name: &'a str, wanted: &'a Wanted) -> Tried<'a, Trial> {
        Box::pin(async move { trial::send(self.render(), self.attempt(name)?, wanted).await })
    }

    fn ask<'a>(&'a self, name: &'a str, wait: Duration) -> Tried<'a, Vec<Reached>> {
        Box::pin(async move { Ok(trial::ask(self.attempt(name)?, wait).await) })
    }
}

impl Settings {
    fn attempt(&self, name: &str) -> Result<FileAttempt, TrialError> {
        FileAttempt::new(name, self).map_err(|error| TrialError::Setup { why: error.to_string() })
    }
}

fn make(
    settings: &Settings,
    ground: &Ground,
    earlier: Option<&Attempts<FileAttempt>>,
) -> Result<Attempts<FileAttempt>, SetupError> {
    let attempt = FileAttempt::new(&ground.name, settings)?;
    Ok(Attempts::on(ground, settings.attempts(), settings.render(), attempt, earlier))
}
