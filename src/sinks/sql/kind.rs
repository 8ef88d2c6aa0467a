//! SQL as a kind of sink.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Settings, SqlSink, connection, render, schema};
use crate::sinks::Sink as _;
use crate::sinks::attempt::{Attempt as _, Attempts, trial};
use crate::sinks::kind::{self, Ended, Ground, Kind, SetupError, Started, Tables, Tried};
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

    fn tables(&self) -> Option<&dyn Tables> {
        Some(self)
    }

    fn ask<'a>(&'a self, name: &'a str, wait: Duration) -> Tried<'a, Vec<Reached>> {
        Box::pin(async move { Ok(trial::ask(connection(name, self).map_err(setup)?, wait).await) })
    }
}

impl Tables for Settings {
    fn statements(&self) -> String {
        schema(self)
    }

    fn missing<'a>(&'a self, name: &'a str, wait: Duration) -> Tried<'a, String> {
        Box::pin(async move {
            let mut connection = connection(name, self).map_err(setup)?;
            let missing = timeout(wait, connection.missing()).await;
            let missing = missing.map_err(|_| setup(format!("no answer within {} s", wait.as_secs())))?;
            connection.close().await;
            missing.map_err(|failure| setup(failure.reason))
        })
    }
}

const fn setup(why: String) -> TrialError {
    TrialError::Setup { why }
}

fn make(settings: &Settings, ground: &Ground, earlier: Option<&SqlSink>) -> Result<SqlSink, SetupError> {
    let connection = connection(&ground.name, settings)?;
    Ok(Attempts::on(ground, settings.delivery.clone(), render(settings), connection, earlier))
}
