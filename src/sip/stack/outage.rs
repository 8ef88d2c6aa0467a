//! Destinations that are down: no response came from them several times in a row. While one is down, others of the same
//! request are tried first or instead (RFC 3263 §4.3), and OPTIONS ask whether it is back. Any response from it, to a probe
//! or to a call, says so.
//!
//! A place is unknown (no failure since its last response), failing (fewer than the limit), or down.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::tables::Origin;
use super::types::{Condition, Destination, Hop, ListenerId, Output, Peer, Plan, Transport};
use super::{Key, Stack};
use crate::clock::{Instant, Now};
use crate::ids::CallHash;
use crate::sip::message::Message;
use crate::timers::random::Random;

/// Time from when a place went down to the first OPTIONS.
const PROBE_FIRST: Duration = Duration::from_secs(2);
/// Longest time between two OPTIONS; it doubles up to here.
const PROBE_LONGEST: Duration = Duration::from_secs(60);
/// A place that no request was meant for in this time is forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// Peers remembered as unreachable between two ticks; further ones are left to their timers.
const UNREACHED_MAX: usize = 64;
/// Places remembered at most; further ones never count as down.
const PLACES_MAX: usize = 1024;

/// A place that is down, for the operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outage {
    /// How it is spoken to.
    pub transport: Transport,
    /// Where it is.
    pub addr: SocketAddr,
    /// Since when it is down.
    pub since: Instant,
    /// OPTIONS sent to it since then.
    pub probes: u32,
}

/// All places with failures. See the module.
#[derive(Debug)]
pub(super) struct Outages {
    failures_max: u32,
    places: HashMap<Peer, Place, foldhash::fast::RandomState>,
    /// When the next probe is due.
    next: Option<Instant>,
    /// Peers that datagrams came back from, once each; looked at by the next tick.
    unreached: Vec<Peer>,
    random: Random,
}

#[derive(Debug)]
struct Place {
    failures: u32,
    /// The name that its certificate must be valid for.
    name: Option<Arc<str>>,
    /// When a request was last meant for it.
    wanted: Instant,
    down: Option<Down>,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    probe_at: Instant,
    wait: Duration,
    probes: u32,
}

impl Outages {
    /// None yet; with a limit of 0 there never are.
    pub(super) fn new(failures_max: u32, secret: &[u8; 16]) -> Self {
        Self {
            failures_max,
            places: HashMap::default(),
            next: None,
            unreached: Vec::new(),
            random: Random::keyed(secret),
        }
    }

    /// Goes on with another limit; what is down by the old one stays so until it answers.
    pub(super) fn configure(&mut self, failures_max: u32) {
        self.failures_max = failures_max;
    }

    pub(super) fn len(&self) -> usize {
        self.places.values().filter(|place| place.down.is_some()).count()
    }

    pub(super) fn is_down(&self, peer: Peer) -> bool {
        self.places.get(&peer).is_some_and(|place| place.down.is_some())
    }

    /// The name that was asked for when the place failed.
    pub(super) fn name_of(&self, peer: Peer) -> Option<Arc<str>> {
        self.places.get(&peer)?.name.clone()
    }

    /// When the next probe is due; at once while it is to be looked at what could not be reached.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.unreached.is_empty() { self.next } else { Some(Instant(0)) }
    }

    /// A datagram to there came back.
    pub(super) fn unreached(&mut self, peer: Peer) {
        if !self.unreached.contains(&peer) && self.unreached.len() < UNREACHED_MAX {
            self.unreached.push(peer);
        }
    }

    /// Where datagrams came back from since the last call.
    pub(super) fn take_unreached(&mut self) -> Vec<Peer> {
        std::mem::take(&mut self.unreached)
    }

    /// A random number.
    fn random(&mut self) -> u64 {
        self.random.next()
    }

    /// A request is meant for this place.
    pub(super) fn want(&mut self, now: Instant, peer: Peer) {
        if let Some(place) = self.places.get_mut(&peer) {
            place.wanted = now;
        }
    }

    /// No response came from there; whether it is down by that.
    pub(super) fn fail(&mut self, now: Instant, peer: Peer, name: Option<Arc<str>>) -> bool {
        if self.failures_max == 0 {
            return false;
        }
        if self.places.len() >= PLACES_MAX && !self.places.contains_key(&peer) {
            self.places.retain(|_, place| place.down.is_some());
            if self.places.len() >= PLACES_MAX {
                return false;
            }
        }
        let place = self.places.entry(peer).or_insert(Place { failures: 0, name: None, wanted: now, down: None });
        place.failures = place.failures.saturating_add(1);
        place.name = name.or_else(|| place.name.take());
        if place.down.is_some() || place.failures < self.failures_max {
            return false;
        }
        place.down = Some(Down { since: now, probe_at: now, wait: PROBE_FIRST, probes: 0 });
        let probe_at = now + self.jitter(PROBE_FIRST);
        if let Some(down) = self.places.get_mut(&peer).and_then(|place| place.down.as_mut()) {
            down.probe_at = probe_at;
        }
        self.set_next();
        true
    }

    /// A response came from there; whether it was down until then.
    pub(super) fn answered(&mut self, peer: Peer) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let was_down = self.places.remove(&peer).is_some_and(|place| place.down.is_some());
        if was_down {
            self.set_next();
        }
        was_down
    }

    /// The places to be asked now. Those nobody wanted for long are forgotten.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Peer> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.places.retain(|_, place| now.since(place.wanted) < FORGET);
        let is_due = |place: &Place| place.down.as_ref().is_some_and(|down| down.probe_at <= now);
        let due: Vec<Peer> = self.places.iter().filter(|(_, place)| is_due(place)).map(|(peer, _)| *peer).collect();
        for peer in &due {
            let wait =
                self.places.get(peer).and_then(|place| place.down.as_ref()).map_or(PROBE_FIRST, |down| down.wait);
            let wait = (wait * 2).min(PROBE_LONGEST);
            let probe_at = now + self.jitter(wait);
            if let Some(down) = self.places.get_mut(peer).and_then(|place| place.down.as_mut()) {
                (down.wait, down.probe_at, down.probes) = (wait, probe_at, down.probes.saturating_add(1));
            }
        }
        self.set_next();
        due
    }

    fn views(&self) -> impl Iterator<Item = (Peer, Instant, u32)> {
        let down = self.places.iter().filter_map(|(peer, place)| Some((peer, place.down.as_ref()?)));
        down.map(|(peer, down)| (*peer, down.since, down.probes))
    }

    fn set_next(&mut self) {
        self.next = self.places.values().filter_map(|place| place.down.as_ref()).map(|down| down.probe_at).min();
    }

    /// A span shorter by up to a tenth, so that gateways which lost a peer together do not ask it together.
    fn jitter(&mut self, span: Duration) -> Duration {
        self.random.shorten(span, 10)
    }
}

impl Stack {
    /// The places that are down.
    pub fn outages(&self) -> impl Iterator<Item = Outage> {
        self.outages.views().map(|(peer, since, probes)| {
            let own = self.settings.listeners.get(usize::from(peer.listener.0));
            let transport = own.map_or_else(Transport::default, |own| own.transport);
            Outage { transport, addr: peer.addr, since, probes }
        })
    }

    /// The same destinations, those that are down behind the others.
    pub(super) fn up_first(
        &mut self,
        now: Now,
        destinations: Vec<Destination>,
        came_by: ListenerId,
    ) -> VecDeque<Destination> {
        let (mut first, mut last) = (VecDeque::new(), Vec::new());
        for destination in destinations {
            if self.leads_down(now, destination, came_by) {
                last.push(destination);
            } else {
                first.push_back(destination);
            }
        }
        first.extend(last);
        first
    }

    /// Leaves the targets out that are down, unless all are: then all are tried. Names are not looked up for it.
    pub(super) fn leave_out_down(&mut self, now: Now, id: Key, plan: &mut Plan, by_route: Option<Transport>) {
        // A probe is not a request that somebody wants delivered.
        let Some(server) = self.tables.server(id).filter(|own| own.origin != Origin::Probe) else { return };
        let came_by = server.view.as_deref().map(|view| view.peer.listener);
        let mut down = Vec::new();
        for target in plan.groups.iter().flatten() {
            let is_down = match target.hop {
                Hop::Addr(addr) => {
                    let transport = self.ways_to(id, target, by_route).transport();
                    self.leads_down(now, Destination { addr, transport }, came_by.unwrap_or_default())
                }
                Hop::Name { .. } => false,
            };
            down.push(is_down);
        }
        if down.iter().any(|is_down| *is_down) && !down.iter().all(|is_down| *is_down) {
            let mut down = down.into_iter();
            plan.groups.iter_mut().for_each(|group| group.retain(|_| down.next() == Some(false)));
        }
    }

    fn leads_down(&mut self, now: Now, destination: Destination, came_by: ListenerId) -> bool {
        let Some(peer) = self.wire.usual_peer(destination, came_by) else { return false };
        self.outages.want(now.mono, peer);
        self.outages.is_down(peer)
    }

    /// The branch has had no response from where it was sent.
    pub(super) fn note_failure(&mut self, now: Now, key: Key, out: &mut Vec<Output>) {
        let Some(client) = self.tables.client(key) else { return };
        let name = client.progress.as_deref().and_then(|progress| progress.authority.clone());
        if let Some(peer) = client.peer
            && self.outages.fail(now.mono, peer, name)
        {
            out.push(Output::Turned { peer, condition: Condition::Down });
        }
    }

    /// A response came from where a branch was sent.
    pub(super) fn note_response(&mut self, peer: Option<Peer>, out: &mut Vec<Output>) {
        if let Some(peer) = peer
            && self.outages.answered(peer)
        {
            out.push(Output::Turned { peer, condition: Condition::Up });
        }
    }

    /// Asks the places that are down whether they are back.
    pub(super) fn probe(&mut self, now: Now, out: &mut Vec<Output>) {
        for peer in self.outages.take_due(now.mono) {
            let Some(request) = self.probe_for(peer) else { continue };
            self.originate_as(now, peer.listener, request, Origin::Probe, out);
        }
    }

    /// An OPTIONS that goes no further than the place itself.
    fn probe_for(&mut self, peer: Peer) -> Option<Message> {
        let own = *self.settings.listeners.get(usize::from(peer.listener.0))?;
        let (token, parameter, local, addr) =
            (own.transport.via_token(), own.transport.uri_parameter(), own.local, peer.addr);
        // The response comes to the shard that its Call-ID names.
        let (number, shards) = self.settings.shard;
        let (id, tag) = loop {
            let tag = self.outages.random();
            let id = format!("{tag:016x}@{}", local.ip());
            if CallHash::of(id.as_bytes()).shard(&self.settings.key, shards.max(1)) == number {
                break (id, tag);
            }
        };
        let text = format!(
            "OPTIONS sip:{addr}{parameter} SIP/2.0\r\nVia: SIP/2.0/{token} {local};branch=z9hG4bKprobe{tag:x}\r\n\
             Max-Forwards: 1\r\nFrom: <sip:{local}>;tag={tag:x}\r\nTo: <sip:{addr}>\r\nCall-ID: {id}\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.into_bytes()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Peer {
        Peer { listener: ListenerId(0), addr: SocketAddr::from(([192, 0, 2, 1], port)) }
    }

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000)
    }

    #[test]
    fn failures_in_a_row_make_a_place_down_and_any_answer_makes_it_up() {
        use Event::{Answer, Fail};
        enum Event {
            Answer,
            Fail,
        }
        for (what, limit, events, is_down) in [
            ("one failure is none", 2, &[Fail][..], false),
            ("two are", 2, &[Fail, Fail], true),
            ("an answer between them forgives", 2, &[Fail, Answer, Fail], false),
            ("an answer ends it", 2, &[Fail, Fail, Answer], false),
            ("and it begins anew", 2, &[Fail, Fail, Answer, Fail], false),
            ("a limit of one", 1, &[Fail], true),
            ("no limit", 0, &[Fail, Fail, Fail], false),
        ] {
            let mut outages = Outages::new(limit, &[1; 16]);
            for event in events {
                match event {
                    Fail => _ = outages.fail(at(1), peer(1), None),
                    Answer => _ = outages.answered(peer(1)),
                }
            }
            assert_eq!((outages.is_down(peer(1)), outages.deadline().is_some()), (is_down, is_down), "{what}");
            assert!(!outages.is_down(peer(2)), "{what}: another place");
        }
    }

    #[test]
    fn probes_come_ever_more_rarely_until_nobody_wants_the_place() {
        let mut outages = Outages::new(1, &[1; 16]);
        let begin = at(100);
        outages.fail(begin, peer(1), None);
        let (mut now, mut waits) = (begin, Vec::new());
        while let Some(next) = outages.deadline() {
            waits.push(next.since(now).as_millis());
            now = next;
            if outages.take_due(now).is_empty() {
                break;
            }
        }
        for (number, (wait, want)) in waits.iter().zip([2, 4, 8, 16, 32, 60, 60, 60]).enumerate() {
            assert!((want * 900..=want * 1000).contains(wait), "probe {number} after {wait} ms, not {want} s");
        }
        assert!(now.since(begin) >= FORGET && now.since(begin) < FORGET + PROBE_LONGEST, "forgotten after {now:?}");
        assert!(!outages.is_down(peer(1)));
        assert_eq!(outages.deadline(), None);
    }

    #[test]
    fn places_are_limited_and_those_that_are_down_stay() {
        let mut outages = Outages::new(2, &[1; 16]);
        outages.fail(at(1), peer(1), None);
        outages.fail(at(1), peer(1), None);
        for port in 2..3 * PLACES_MAX as u16 {
            outages.fail(at(1), peer(port), None);
            assert!(outages.places.len() <= PLACES_MAX);
        }
        assert!(outages.is_down(peer(1)));
        assert_eq!(outages.len(), 1);
    }
}
