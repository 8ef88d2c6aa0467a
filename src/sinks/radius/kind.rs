//! RADIUS as a kind of sink.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{Board, RadiusSink, SessionId, Settings, trial};
use crate::clock;
use crate::dictionary::AnyDictionary;
use crate::radius::client::Health;
use crate::sinks::Sink as _;
use crate::sinks::kind::{self, Ended, Ground, Kind, SetupError, Started, Tried};
use crate::sinks::trial::{Reached, Trial, TrialError, Wanted};
use crate::sinks::view::{self, ServerView};

impl Kind for Settings {
    fn name(&self) -> &'static str {
        RadiusSink::KIND
    }

    fn is_same(&self, other: &dyn Kind) -> bool {
        other.of() == Some(self)
    }

    fn check(&self) -> Result<(), SetupError> {
        Ok(RadiusSink::check(self)?)
    }

    fn start(&self, ground: Ground, ended: Ended) -> Result<Started, SetupError> {
        kind::start(self, ground, ended, make)
    }

    fn only(&self, name: &str, server: SocketAddr) -> Result<Arc<dyn Kind>, TrialError> {
        let mut settings = self.clone();
        let servers = &mut settings.client.servers;
        servers.retain(|own| own.address == server);
        if servers.is_empty() {
            let known: Vec<_> = self.client.servers.iter().map(|own| format!("`{}`", own.address)).collect();
            let what = format!("the sink `{name}` has no server `{server}`; known are {}", known.join(", "));
            return Err(TrialError::Usage { what });
        }
        Ok(Arc::new(settings))
    }

    fn send<'a>(&'a self, name: &'a str, wanted: &'a Wanted) -> Tried<'a, Trial> {
        Box::pin(trial::send(name, self, wanted))
    }

    fn ask<'a>(&'a self, name: &'a str, wait: Duration) -> Tried<'a, Vec<Reached>> {
        Box::pin(trial::ask(name, self, wait))
    }

    fn dictionary(&self) -> Option<AnyDictionary<'_>> {
        Some(AnyDictionary::Radius(&self.dictionary))
    }
}

/// While no NAS address is configured, it is that of the first start, for sessions go on.
fn make(settings: &Settings, ground: &Ground, earlier: Option<&RadiusSink>) -> Result<RadiusSink, SetupError> {
    let first = earlier.map(|earlier| earlier.first_address);
    let nas_address = settings.nas_address.or(first);
    let mut sink = RadiusSink::new(&ground.name, &Settings { nas_address, ..settings.clone() })?;
    sink.first_address = first.unwrap_or(sink.first_address);
    if earlier.is_some_and(|earlier| earlier.identity != sink.identity) {
        tracing::warn!(
            sink = %ground.name,
            "calls in progress end under another identity of this gateway: the server may not join their records"
        );
    }
    (ground.show)(Arc::new(sink.board()));
    Ok(sink)
}

/// By what servers join the records of a session, as far as the settings decide it.
pub(super) type Identity = (Option<String>, IpAddr, Option<u32>, SessionId);

pub(super) fn identity(settings: &Settings, nas_address: IpAddr) -> Identity {
    (settings.nas_identifier.clone(), nas_address, settings.nas_port, settings.session_id)
}

impl view::Board for Board {
    fn views(&self) -> Vec<ServerView> {
        let now = clock::mono();
        let names = self.names.iter().map(Option::as_deref).chain(std::iter::repeat(None));
        self.servers().iter().zip(names).map(|(server, name)| super::view(server, name, now)).collect()
    }

    fn has_given_up(&self) -> bool {
        self.servers().iter().any(|server| server.health == Health::Refusing)
    }
}
