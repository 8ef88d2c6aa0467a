//! JetStream as a kind of sink.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use super::link::Link;
use crate::sinks::attempt::{Attempt as _, Attempts, trial};
use crate::sinks::jetstream::Access;
use crate::sinks::kind::{self, Ended, Ground, Kind, SetupError, Started, Tried};
use crate::sinks::trial::{Reached, Trial, TrialError, Wanted};

impl Kind for Settings {
    fn name(&self) -> &'static str {
        Link::KIND
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
        let is_it = |url: &&String| url.rsplit("//").next() == Some(server.to_string().as_str());
        match self.access.servers.iter().find(is_it) {
            Some(url) => {
                let access = Access { servers: vec![url.clone()], ..self.access.clone() };
                Ok(Arc::new(Self { access, ..self.clone() }))
            }
            None => {
                let servers = self.access.servers.join(", ");
                Err(TrialError::Usage { what: format!("the sink `{name}` has no server `{server}`; it has {servers}") })
            }
        }
    }

    fn send<'a>(&'a self, name: &'a str, wanted: &'a Wanted) -> Tried<'a, Trial> {
        Box::pin(trial::send(self.render(), self.link(name), wanted))
    }

    fn ask<'a>(&'a self, name: &'a str, wait: Duration) -> Tried<'a, Vec<Reached>> {
        Box::pin(async move { Ok(trial::ask(self.link(name), wait).await) })
    }
}

fn make(settings: &Settings, ground: &Ground, earlier: Option<&Attempts<Link>>) -> Result<Attempts<Link>, SetupError> {
    let link = settings.link(&ground.name);
    Ok(Attempts::on(ground, settings.delivery.clone(), settings.render(), link, earlier))
}
