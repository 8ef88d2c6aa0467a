//! SQL as a kind of sink.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Settings, SqlSink, connection, render};
use crate::sinks::Sink as _;
use crate::sinks::attempt::{Attempts, trial};
use crate::sinks::kind::{self, Ended, Ground, Kind, SetupError, Started, Tried};
use crate::sinks::trial::{Reached, Trial, TrialError, Wanted};

impl Kind for Settings {
    fn name(&self) -> &'static str {
        SqlSink::KIND
    }

    fn is_same(&self, other: &dyn Kind) -> bool {
        other.of() == Some(self)
    }

    fn check(&self) -> Result<(), SetupError> {
        connection("", self)?;
        Ok(())
    }

    fn start(&self, ground: Ground, ended: Ended) -> Result<Started, SetupError> {
        kind::start(self, ground, ended, make)
    }

    fn only(&self, name: &str, _server: SocketAddr) -> Result<Arc<dyn Kind>, TrialError> {
        let what = format!("the sink `{name}` has one database, which is named by its `url`; leave `--server` out");
        Err(TrialError::Usage { what })
    }

    fn send<'a>(&'a self, name: &'a str, wanted: &'a Wanted) -> Tried<'a, Trial> {
        Box::pin(async move {
            let connection = connection(name, self).map_err(setup)?;
            trial::send(render(self), connection, wanted).await
        })
    }

    fn ask<'a>(&'a self, name: &'a str, wait: Duration) -> Tried<'a, Vec<Reached>> {
        Box::pin(async move { Ok(trial::ask(connection(name, self).map_err(setup)?, wait).await) })
    }
}

const fn setup(why: String) -> TrialError {
    TrialError::Setup { why }
}

fn make(settings: &Settings, ground: &Ground, earlier: Option<&SqlSink>) -> Result<SqlSink, SetupError> {
    let connection = connection(&ground.name, settings)?;
    Ok(Attempts::on(ground, settings.delivery.clone(), render(settings), connection, earlier))
}
