//! Which of several servers is tried, and when one is left for another.
//!
//! A server that is cut off from the others lets clients in all the same: it stores nothing and does not say so, and the
//! client, which is connected, sees no reason to look for another.

use std::time::Duration;

use async_nats::ConnectOptions;

use super::Access;
use crate::clock::Instant;

/// How long a server may be of no use before another one is tried: longer than a cluster takes to have a leader again.
const FRUITLESS_MAX: Duration = Duration::from_secs(10);

/// Patience with the server in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patience {
    /// Since when it has been of no use.
    fruitless: Option<Instant>,
    /// How many servers were left for that.
    left: usize,
}

impl Patience {
    /// The server has done what it was asked for.
    pub fn renew(&mut self) {
        self.fruitless = None;
    }

    /// It has not, in all the time since `begin`. Whether it is to be left: then the next one gets the same patience.
    pub fn has_ended(&mut self, begin: Instant, now: Instant) -> bool {
        let has_ended = now.since(*self.fruitless.get_or_insert(begin)) >= FRUITLESS_MAX;
        if has_ended {
            self.leave();
        }
        has_ended
    }

    /// The server is left.
    pub fn leave(&mut self) {
        (self.fruitless, self.left) = (None, self.left + 1);
    }

    /// The servers in the order in which they are tried: whichever lets us in, as long as none was left; then one after the
    /// other.
    pub fn order(&self, access: &Access, options: ConnectOptions) -> (Vec<String>, ConnectOptions) {
        let mut servers = access.servers.clone();
        servers.rotate_left(self.left % access.servers.len().max(1));
        (servers, if self.left == 0 { options } else { options.retain_servers_order() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Login, TIMEOUT, Tls};
    use super::*;

    #[test]
    fn a_server_of_no_use_is_left_for_the_next_one_in_the_list() {
        let servers = ["nats://a", "nats://b", "nats://c"].map(str::to_owned).to_vec();
        let access = Access { servers, login: Login::None, tls: Tls::default(), timeout: TIMEOUT };
        let first = |own: &Patience| own.order(&access, ConnectOptions::new()).0[0].clone();
        let at = |secs: u64| Instant(secs * 1_000_000);
        let mut own = Patience::default();
        assert!(!own.has_ended(at(0), at(2)));
        own.renew();
        for (name, now, want, server) in [
            ("a use in between counts anew", 3, false, "nats://a"),
            ("until the limit", 12, false, "nats://a"),
            ("then it is left", 13, true, "nats://b"),
            ("the next one has as long", 14, false, "nats://b"),
            ("and no longer", 24, true, "nats://c"),
        ] {
            assert_eq!((own.has_ended(at(now), at(now)), first(&own).as_str()), (want, server), "{name}");
        }
        own.leave();
        assert_eq!(first(&own), "nats://a", "the first one again");
    }
}
