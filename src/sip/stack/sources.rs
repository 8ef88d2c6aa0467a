//! What each source of new requests uses: its rate and its open transactions.
//!
//! Only sources that may send requests are counted, so strangers who know no call cannot fill the table.

use std::collections::HashMap;
use std::net::IpAddr;

use super::settings::{ABSORBING_FOR_EACH, Settings, source_of};
use super::types::Ignored;
use crate::clock::Instant;
use crate::timers::bucket::{Bucket, TokenBucket};

/// Sources counted at once; a further one is served uncounted until one of these is quiet.
const SOURCES_MAX: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub(super) struct Sources {
    table: HashMap<IpAddr, Source, foldhash::fast::RandomState>,
    rate: Option<TokenBucket>,
    /// Open ones outside of calls, and inside.
    open_max: [usize; 2],
    /// Entries at which quiet ones are looked for next.
    sweep_at: usize,
}

#[derive(Debug)]
struct Source {
    /// Its transactions outside of calls that go through the gateway, and inside.
    used: [Used; 2],
    bucket: Option<Bucket>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    /// Without a final response.
    open: usize,
    /// Those that have it and only absorb what is repeated.
    absorbing: usize,
}

impl Source {
    fn is_quiet(&self) -> bool {
        self.used.iter().all(|used| used.open + used.absorbing == 0)
    }
}

/// What a transaction counts as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    /// Outside of calls that go through the gateway.
    New,
    /// Inside one of them.
    Inside,
}

impl Class {
    /// What is counted when a source is over its limit.
    pub(super) const fn limit(self) -> Ignored {
        match self {
            Self::New => Ignored::SourceLimited,
            Self::Inside => Ignored::CallLimited,
        }
    }
}

/// Whether a source may have a further transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    /// It may, and it is counted: [`Sources::closed`] is owed.
    Counted,
    /// It may.
    Uncounted,
    /// It is over its limit.
    Refused,
}

impl Sources {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            table: HashMap::default(),
            rate: settings.source_rate,
            open_max: [settings.transactions_per_source_max, settings.transactions_in_dialog_per_source_max],
            sweep_at: SWEEP_LEAST,
        }
    }

    /// Goes on with other limits. A source with a rate of its own so far begins anew with the other one.
    pub(super) fn configure(&mut self, settings: &Settings) {
        self.open_max = [settings.transactions_per_source_max, settings.transactions_in_dialog_per_source_max];
        if self.rate != settings.source_rate {
            self.rate = settings.source_rate;
            for source in self.table.values_mut() {
                source.bucket = self.rate.map(Bucket::new);
            }
        }
    }

    /// Sources that are counted.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// A source wants a further transaction.
    pub(super) fn open(&mut self, now: Instant, address: IpAddr, class: Class) -> Admission {
        let address = source_of(address);
        if self.table.len() >= self.sweep_at && !self.table.contains_key(&address) {
            self.sweep(now);
            if self.table.len() >= SOURCES_MAX {
                return Admission::Uncounted;
            }
        }
        let (rate, open_max) = (self.rate, self.open_max[class as usize]);
        let source = self
            .table
            .entry(address)
            .or_insert_with(|| Source { used: [Used::default(); 2], bucket: rate.map(Bucket::new) });
        let used = &mut source.used[class as usize];
        let is_full = used.open >= open_max || used.absorbing >= open_max.saturating_mul(ABSORBING_FOR_EACH);
        // The rate is for what is new.
        let bucket = source.bucket.as_mut().filter(|_| class == Class::New);
        if is_full || bucket.is_some_and(|bucket| !bucket.take(now)) {
            return Admission::Refused;
        }
        used.open += 1;
        Admission::Counted
    }

    /// A counted transaction has its final response.
    pub(super) fn answered(&mut self, address: IpAddr, class: Class) {
        if let Some(source) = self.table.get_mut(&source_of(address)) {
            let used = &mut source.used[class as usize];
            used.open = used.open.saturating_sub(1);
            used.absorbing += 1;
        }
    }

    /// A counted transaction has ended, after its final response or without.
    pub(super) fn closed(&mut self, address: IpAddr, class: Class, was_answered: bool) {
        let address = source_of(address);
        let Some(source) = self.table.get_mut(&address) else { return };
        let used = &mut source.used[class as usize];
        let count = if was_answered { &mut used.absorbing } else { &mut used.open };
        *count = count.saturating_sub(1);
        // With a rate it is remembered until its bucket is full again.
        if source.is_quiet() && source.bucket.is_none() {
            self.table.remove(&address);
        }
    }

    /// Forgets the sources that have nothing open and a full bucket.
    fn sweep(&mut self, now: Instant) {
        self.table.retain(|_, source| {
            !source.is_quiet() || source.bucket.as_ref().is_some_and(|bucket| !bucket.is_full(now))
        });
        self.sweep_at = (self.table.len() * 2).clamp(SWEEP_LEAST, SOURCES_MAX);
    }
}

/// Entries below which nothing is looked for.
const SWEEP_LEAST: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_source_has_its_rate_and_its_share() {
        let rate = Some(TokenBucket { per_second: 1, burst: 2 });
        let settings = Settings { source_rate: rate, transactions_per_source_max: 3, ..Settings::default() };
        let mut sources = Sources::new(&settings);
        let start = Instant(1_000_000);
        for (what, number, after_s, want) in [
            ("a first one", 1, 0, Admission::Counted),
            ("a second one, by its reserve", 1, 0, Admission::Counted),
            ("a third one at once", 1, 0, Admission::Refused),
            ("another source", 2, 0, Admission::Counted),
            ("a third one later", 1, 1, Admission::Counted),
            ("a fourth one is over the share, whatever the rate", 1, 60, Admission::Refused),
        ] {
            assert_eq!(sources.open(start + Duration::from_secs(after_s), address(number), Class::New), want, "{what}");
        }
        sources.answered(address(1), Class::New);
        assert_eq!(
            sources.open(start + Duration::from_secs(60), address(1), Class::New),
            Admission::Counted,
            "one is answered"
        );
        for _ in 0..3 * ABSORBING_FOR_EACH {
            sources.answered(address(1), Class::New);
        }
        assert_eq!(
            sources.open(start + Duration::from_secs(99), address(1), Class::New),
            Admission::Refused,
            "many are answered"
        );
        sources.closed(address(1), Class::New, true);
        sources.closed(address(1), Class::New, true);
        assert_eq!(
            sources.open(start + Duration::from_secs(99), address(1), Class::New),
            Admission::Counted,
            "some have ended"
        );
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let mut sources = Sources::new(&Settings { transactions_per_source_max: 2, ..Settings::default() });
        for (address, want) in [
            ("2001:db8:1:2::1", Admission::Counted),
            ("2001:db8:1:2:ffff::9", Admission::Counted),
            ("2001:db8:1:2::3", Admission::Refused),
            ("2001:db8:1:3::1", Admission::Counted),
            ("::ffff:192.0.2.1", Admission::Counted),
            ("192.0.2.1", Admission::Counted),
            ("::ffff:192.0.2.1", Admission::Refused),
            ("192.0.2.2", Admission::Counted),
        ] {
            let got = sources.open(Instant(1), address.parse().expect("an address"), Class::New);
            assert_eq!(got, want, "{address}");
        }
        sources.closed("2001:db8:1:2::77".parse().expect("an address"), Class::New, false);
        assert_eq!(
            sources.open(Instant(1), "2001:db8:1:2::3".parse().expect("an address"), Class::New),
            Admission::Counted
        );
    }

    #[test]
    fn the_table_is_bounded_and_quiet_sources_leave_it() {
        let rate = Some(TokenBucket { per_second: 1, burst: 1 });
        let mut sources = Sources::new(&Settings { source_rate: rate, ..Settings::default() });
        let start = Instant(1_000_000);
        for number in 0..u32::try_from(SOURCES_MAX).expect("it is small") {
            assert_eq!(sources.open(start, address(number), Class::New), Admission::Counted);
        }
        assert_eq!(sources.open(start, address(u32::MAX), Class::New), Admission::Uncounted);
        for number in 0..u32::try_from(SOURCES_MAX).expect("it is small") {
            sources.closed(address(number), Class::New, false);
        }
        assert_eq!(sources.open(start + Duration::from_secs(9), address(u32::MAX), Class::New), Admission::Counted);
        assert_eq!(sources.len(), 1);
    }
}
