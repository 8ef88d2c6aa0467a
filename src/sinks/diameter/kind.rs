//! Diameter as a kind of sink.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::settings::Settings;
use super::{DiameterSink, trial};
use crate::dictionary::AnyDictionary;
use crate::ids::Seq;
use crate::sinks::Sink as _;
use crate::sinks::kind::{self, Ended, Ground, Kind, SetupError, Started, Tried};
use crate::sinks::trial::{Reached, Trial, TrialError, Wanted};

impl Kind for Settings {
    fn name(&self) -> &'static str {
        DiameterSink::KIND
    }

    fn is_same(&self, other: &dyn Kind) -> bool {
        other.of() == Some(self)
    }

    fn check(&self) -> Result<(), SetupError> {
        Ok(DiameterSink::check(self)?)
    }

    fn start(&self, ground: Ground, ended: Ended) -> Result<Started, SetupError> {
        kind::start(self, ground, ended, make)
    }

    fn only(&self, name: &str, server: SocketAddr) -> Result<Arc<dyn Kind>, TrialError> {
        let mut settings = self.clone();
        settings.peers.retain(|peer| peer.port == server.port() && peer.host.parse() == Ok(server.ip()));
        if settings.peers.is_empty() {
            let known: Vec<_> = self.peers.iter().map(|peer| format!("`{}:{}`", peer.host, peer.port)).collect();
            let what = format!("the sink `{name}` has no peer `{server}`; known are {}", known.join(", "));
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
        Some(AnyDictionary::Diameter(&self.accounting.dictionary))
    }
}

/// A sink that follows one of this process: all that is in the queue by then may have been sent, and the Class values are
/// those of the other sink.
fn make(settings: &Settings, ground: &Ground, earlier: Option<&DiameterSink>) -> Result<DiameterSink, SetupError> {
    let (waited_until, classes) = match earlier {
        Some(earlier) => (Seq(ground.queue.stats().head), earlier.classes()),
        None => (ground.waited_until, (ground.kept)()),
    };
    let salt = salt(&ground.secret, &ground.name);
    let sink = DiameterSink::new(&ground.name, settings, salt, waited_until)?;
    (ground.show)(Arc::new(sink.board()));
    let interims = Arc::clone(&ground.interims);
    let sink = sink.with_interims(Box::new(move |key, every| interims(key, every)));
    Ok(sink.with_classes(classes, (ground.keeper)()))
}

/// Where the End-to-End ids of a sink begin: the same in every process of this installation.
fn salt(secret: &[u8; 16], name: &str) -> u32 {
    let hash = siphasher::sip::SipHasher13::new_with_key(secret).hash(format!("end-to-end {name}").as_bytes());
    (hash >> 32) as u32
}
