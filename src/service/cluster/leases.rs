//! The leases by which gateways hold their names: our own, and those of gateways that have fallen silent, whose calls are
//! adopted by whoever gets the lease.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Instant;
use crate::cluster::lease::{self, Answer, Holder, Lease, Owner, Timing};

/// Gateways that are looked at, at most; further names are passed over.
const GATEWAYS_MAX: usize = 1_024;

/// What follows from what happened to a lease.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    /// Write the lease of this gateway if its revision is still the expected one.
    Update { name: String, turn: u64, expected: u64, value: Vec<u8> },
    /// Read it at the leader.
    Read { name: String },
    /// Our own name is ours.
    Own { epoch: u64 },
    /// It is not, or may not be.
    Lost(lease::End),
    /// Another process lives under our name.
    Twin,
    /// The calls of that gateway are to be adopted.
    Inherit { from: String },
    /// They are not any more.
    Disinherit { from: String },
    /// Tell the gateway that has our lease that we live.
    Claim { from: String },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Leases {
    me: Arc<Owner>,
    timing: Timing,
    all: BTreeMap<String, Lease>,
    /// Gateways that have said that they live, and until when they are to have taken their leases.
    awaited: BTreeMap<String, Instant>,
    /// Reused.
    out: Vec<lease::Output>,
}

impl Leases {
    /// Wants the lease of our own name from now on. `turn` is above those of all earlier lives of `me`.
    pub fn new(me: Owner, timing: Timing, turn: u64) -> Self {
        let me = Arc::new(me);
        let own = Lease::since(Arc::clone(&me), timing, turn);
        let all = BTreeMap::from([(me.name.clone(), own)]);
        Self { me, timing, all, awaited: BTreeMap::new(), out: Vec::new() }
    }

    /// Begins.
    pub fn start(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let name = self.me.name.clone();
        self.handle(now, &name, lease::Input::Want, out);
    }

    /// Number of our tenure of our own name, if it is ours.
    pub fn own(&self, now: Instant) -> Option<u64> {
        self.all.get(&self.me.name)?.held(now)
    }

    /// Gateways that live, as far as is known here, ourselves among them.
    pub fn living(&self, now: Instant) -> Vec<String> {
        let lives = |(name, lease): &(&String, &Lease)| match lease.holder(now) {
            Holder::By { owner, lives, .. } => lives && owner.name == **name,
            Holder::Unknown | Holder::Free | Holder::Foreign => false,
        };
        self.all.iter().filter(lives).map(|(name, _)| name.clone()).collect()
    }

    /// A scan has read all leases of gateways: name, revision, value.
    pub fn scanned(&mut self, now: Instant, found: &[(String, u64, Vec<u8>)], out: &mut Vec<Effect>) {
        let own = self.me.name.clone();
        if !found.iter().any(|(name, ..)| *name == own) {
            self.handle(now, &own, lease::Input::Seen { revision: 0, value: None }, out);
        }
        for (name, revision, value) in found {
            self.seen(now, name, *revision, Some(value), out);
        }
        if let Some(Holder::By { owner, lives: true, .. }) = self.all.get(&own).map(|lease| lease.holder(now))
            && owner.name != own
        {
            out.push(Effect::Claim { from: owner.name.clone() });
        }
        let late: Vec<String> =
            self.awaited.iter().filter(|(_, until)| **until <= now).map(|(name, _)| name.clone()).collect();
        for name in late {
            self.awaited.remove(&name);
            if self.all.get(&name).is_some_and(|lease| matches!(lease.holder(now), Holder::Free)) {
                self.handle(now, &name, lease::Input::Want, out);
            }
        }
    }

    /// A gateway whose lease we have says that it lives: what calls of it are not ours yet stay its own. If it does not
    /// take its lease after all, we do.
    pub fn lives(&mut self, now: Instant, name: &str, out: &mut Vec<Effect>) {
        if name != self.me.name && self.all.get(name).is_some_and(Lease::is_wanted) {
            out.push(Effect::Disinherit { from: name.to_owned() });
            self.awaited.insert(name.to_owned(), now + 4 * self.timing.lease);
            self.handle(now, name, lease::Input::Yield, out);
        }
    }

    /// A lease was read.
    pub fn seen(&mut self, now: Instant, name: &str, revision: u64, value: Option<&[u8]>, out: &mut Vec<Effect>) {
        if !self.all.contains_key(name) {
            if self.all.len() >= GATEWAYS_MAX {
                return;
            }
            self.all.insert(name.to_owned(), Lease::new(Arc::clone(&self.me), self.timing));
        }
        self.handle(now, name, lease::Input::Seen { revision, value }, out);
    }

    /// A read gave nothing.
    pub fn unread(&mut self, now: Instant, name: &str, out: &mut Vec<Effect>) {
        self.handle(now, name, lease::Input::Unread, out);
    }

    /// An update was answered.
    pub fn answered(&mut self, now: Instant, name: &str, turn: u64, answer: Answer, out: &mut Vec<Effect>) {
        self.handle(now, name, lease::Input::Answered { turn, answer }, out);
    }

    /// The calls of that gateway are ours: whoever has the name may have its lease.
    pub fn give_back(&mut self, now: Instant, name: &str, out: &mut Vec<Effect>) {
        if name != self.me.name {
            self.handle(now, name, lease::Input::Yield, out);
        }
    }

    /// When [`Leases::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.all.values().filter_map(Lease::deadline).min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let due: Vec<String> = self
            .all
            .iter()
            .filter(|(_, own)| own.deadline().is_some_and(|at| at <= now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            if let Some(lease) = self.all.get_mut(&name) {
                lease.tick(now, &mut self.out);
            }
            self.follow(now, &name, out);
        }
    }

    fn handle(&mut self, now: Instant, name: &str, input: lease::Input<'_>, out: &mut Vec<Effect>) {
        if let Some(lease) = self.all.get_mut(name) {
            lease.handle(now, input, &mut self.out);
            self.follow(now, name, out);
        }
    }

    /// What follows; and the lease of a gateway that has fallen silent is wanted.
    fn follow(&mut self, now: Instant, name: &str, out: &mut Vec<Effect>) {
        let is_own = name == self.me.name;
        for output in std::mem::take(&mut self.out) {
            let (of, name) = (name.to_owned(), name.to_owned());
            match output {
                lease::Output::Update { turn, expected, value } => {
                    out.push(Effect::Update { name, turn, expected, value });
                }
                lease::Output::Read => out.push(Effect::Read { name }),
                lease::Output::Acquired { epoch } if is_own => out.push(Effect::Own { epoch }),
                lease::Output::Acquired { .. } => out.push(Effect::Inherit { from: of }),
                lease::Output::Ended(end) if is_own => out.push(Effect::Lost(end)),
                lease::Output::Ended(_) => {
                    out.push(Effect::Disinherit { from: of });
                    // Wanted again when it is free for long enough.
                    if let Some(lease) = self.all.get_mut(&name) {
                        lease.handle(now, lease::Input::Yield, &mut self.out);
                    }
                }
                lease::Output::Twin => out.push(Effect::Twin),
                lease::Output::Released => {}
            }
        }
        if !self.out.is_empty() {
            return self.follow(now, name, out);
        }
        let Some(lease) = self.all.get_mut(name).filter(|_| !is_own) else { return };
        let wish = match lease.holder(now) {
            Holder::By { owner, lives, .. } if *owner != *self.me => match (lives, lease.is_wanted()) {
                (false, false) => lease::Input::Want,
                // Another was faster, and does all that there is to do.
                (true, true) => lease::Input::Yield,
                _ => return,
            },
            Holder::By { .. } | Holder::Unknown | Holder::Free | Holder::Foreign => return,
        };
        lease.handle(now, wish, &mut self.out);
        self.follow(now, name, out);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LEASE: Duration = Duration::from_secs(4);

    /// Gateways over one bucket that answers at once.
    #[derive(Default)]
    struct World {
        now: Instant,
        bucket: BTreeMap<String, (u64, Vec<u8>)>,
        revision: u64,
        gateways: BTreeMap<&'static str, Leases>,
        told: Vec<String>,
    }

    impl World {
        fn start(&mut self, name: &'static str, nonce: u128) {
            let me = Owner { name: name.to_owned(), nonce };
            let mut own = Leases::new(me, Timing { lease: LEASE }, self.now.0);
            let mut out = Vec::new();
            own.start(self.now, &mut out);
            self.gateways.insert(name, own);
            self.perform(name, out);
        }

        fn act(&mut self, name: &'static str, act: impl FnOnce(&mut Leases, Instant, &mut Vec<Effect>)) {
            let mut out = Vec::new();
            if let Some(own) = self.gateways.get_mut(name) {
                act(own, self.now, &mut out);
            }
            self.perform(name, out);
        }

        fn perform(&mut self, own: &'static str, effects: Vec<Effect>) {
            for effect in effects {
                match effect {
                    Effect::Update { name, turn, expected, value } => {
                        let is_expected = self.bucket.get(&name).map_or(0, |(revision, _)| *revision) == expected;
                        if is_expected {
                            self.revision += 1;
                            self.bucket.insert(name.clone(), (self.revision, value));
                        }
                        let answer = if is_expected { Answer::Stored(self.revision) } else { Answer::Conflict };
                        self.act(own, |leases, now, out| leases.answered(now, &name, turn, answer, out));
                    }
                    Effect::Read { name } => {
                        let found = self.bucket.get(&name).cloned();
                        let (revision, value) = found.map_or((0, None), |(revision, value)| (revision, Some(value)));
                        self.act(own, |leases, now, out| leases.seen(now, &name, revision, value.as_deref(), out));
                    }
                    Effect::Claim { from } => {
                        let from = *self.gateways.keys().find(|name| **name == from).expect("a gateway");
                        self.act(from, |leases, now, out| leases.lives(now, own, out));
                    }
                    Effect::Own { .. } => self.told.push(format!("{own} is in")),
                    Effect::Lost(end) => self.told.push(format!("{own} lost: {end:?}")),
                    Effect::Twin => self.told.push(format!("{own} has a twin")),
                    Effect::Inherit { from } => self.told.push(format!("{own} inherits {from}")),
                    Effect::Disinherit { from } => self.told.push(format!("{own} leaves {from}")),
                }
            }
        }

        /// Time passes, with a scan each half a second.
        fn pass(&mut self, seconds: u64) {
            for _ in 0..seconds * 2 {
                self.now = self.now + Duration::from_millis(500);
                let found: Vec<_> = self
                    .bucket
                    .iter()
                    .map(|(name, (revision, value))| (name.clone(), *revision, value.clone()))
                    .collect();
                for name in self.gateways.keys().copied().collect::<Vec<_>>() {
                    self.act(name, |leases, now, out| leases.scanned(now, &found, out));
                    self.act(name, Leases::tick);
                }
            }
        }

        fn told(&mut self) -> String {
            std::mem::take(&mut self.told).join(", ")
        }
    }

    #[test]
    fn one_of_those_that_live_inherits_who_has_fallen_silent() {
        let mut world = World::default();
        for (name, nonce) in [("a", 1), ("b", 2), ("c", 3)] {
            world.start(name, nonce);
        }
        assert_eq!(world.told(), "a is in, b is in, c is in");
        world.pass(60);
        assert_eq!(world.told(), "", "nothing happens while all live");
        world.gateways.remove("a");
        world.pass(4);
        assert_eq!(world.told(), "");
        world.pass(2);
        let told = world.told();
        assert!(told == "b inherits a" || told == "c inherits a", "{told}");
        world.pass(60);
        assert_eq!(world.told(), "", "it has them");
        let heir = if told.starts_with('b') { "b" } else { "c" };
        world.act(heir, |leases, now, out| leases.give_back(now, "a", out));
        world.pass(60);
        assert_eq!(world.told(), "", "all of it is done");
    }

    #[test]
    fn who_comes_back_with_its_disk_is_in_at_once_and_others_leave_its_calls_to_it() {
        let mut world = World::default();
        world.start("a", 1);
        world.start("b", 2);
        world.told();
        world.pass(3);
        world.start("a", 1);
        assert_eq!(world.told(), "a is in", "no other process has the disk");
        world.gateways.remove("a");
        world.pass(6);
        assert_eq!(world.told(), "b inherits a");
        world.start("a", 1);
        world.pass(1);
        assert_eq!(world.told(), "b leaves a, a is in");
        world.pass(60);
        assert_eq!(world.told(), "");
    }

    #[test]
    fn who_says_that_it_lives_and_dies_is_inherited_all_the_same() {
        let mut world = World::default();
        world.start("a", 1);
        world.start("b", 2);
        world.gateways.remove("a");
        world.pass(6);
        world.told();
        world.act("b", |leases, now, out| leases.lives(now, "a", out));
        world.pass(12);
        assert_eq!(world.told(), "b leaves a");
        world.pass(6);
        assert_eq!(world.told(), "b inherits a");
    }

    #[test]
    fn two_of_one_name_and_two_disks_are_told_apart() {
        let mut world = World::default();
        world.start("a", 1);
        world.pass(3);
        let first = world.gateways.remove("a").expect("it is there");
        world.told();
        // The second one starts, while the first goes on under the hood.
        world.start("a", 7);
        world.gateways.insert("first", first);
        world.pass(12);
        assert_eq!(world.told(), "a has a twin");
    }
}
