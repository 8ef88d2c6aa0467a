//! What a Result-Code means for the record, the peer and the route (RFC 6733 §7.1, §8.2).
//!
//! | code | record | peer or route |
//! |---|---|---|
//! | 2xxx | delivered | |
//! | 1xxx, 5xxx | parked; 5012 after some tries | 1xxx, 5003: alarm |
//! | 3001 | elsewhere, then parked | alarm |
//! | 3002, 3005, other 3xxx | elsewhere, then later | 3005: alarm |
//! | 3003, 3007 | elsewhere, later, parked after a time | alarm |
//! | 3004 | elsewhere, then later | the peer rests, its window is halved |
//! | 3006 | to the redirect's host | |
//! | 3008, 3009 | parked | our own fault |
//! | 4xxx | later, with a new End-to-End id | 4002: the route rests |
//!
//! Codes of Experimental-Result go by their class; an unknown class counts as 5xxx (§7.1).

use super::super::message::Outcome;

/// What to do with a record after an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disposition {
    /// The server has it.
    Delivered,
    /// It has it, and will not do all of it (2002).
    Limited,
    /// To another peer now, same End-to-End id; without one see [`Fallback`].
    Elsewhere(Fallback),
    /// To where the answer says (3006).
    Redirect,
    /// The same way later, under a new End-to-End id: a server repeats its first answer for a known one.
    Later,
    /// As [`Disposition::Later`] up to a number of tries, then parked (5012).
    Unable,
    /// To the operator.
    Park,
}

/// What becomes of a record that no peer takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fallback {
    /// It waits in the queue.
    Later,
    /// It waits until it is `retry_config_errors` old, then it is parked.
    Aging,
    /// It is parked.
    Park,
}

/// What an answer tells about the peer or the route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The peer is too busy: half the window, and rest.
    RestPeer,
    /// The server's storage is full: the route rests.
    RestRoute,
    /// An operator should look.
    Alarm,
}

/// The row of the table.
#[must_use]
pub fn judge(outcome: Outcome) -> (Disposition, Effect) {
    let Outcome::Result(code) = outcome else {
        return match outcome {
            // Codes of vendors mean what their class says.
            Outcome::Experimental { code, .. } => by_class(code),
            _ => (Disposition::Unable, Effect::None),
        };
    };
    match code {
        2002 => (Disposition::Limited, Effect::None),
        3001 => (Disposition::Elsewhere(Fallback::Park), Effect::Alarm),
        3003 | 3007 => (Disposition::Elsewhere(Fallback::Aging), Effect::Alarm),
        3004 => (Disposition::Elsewhere(Fallback::Later), Effect::RestPeer),
        3005 => (Disposition::Elsewhere(Fallback::Later), Effect::Alarm),
        3006 => (Disposition::Redirect, Effect::None),
        3008 | 3009 => (Disposition::Park, Effect::Alarm),
        4002 => (Disposition::Later, Effect::RestRoute),
        5003 => (Disposition::Park, Effect::Alarm),
        5012 => (Disposition::Unable, Effect::None),
        _ => by_class(code),
    }
}

fn by_class(code: u32) -> (Disposition, Effect) {
    match code / 1000 {
        1 => (Disposition::Park, Effect::Alarm),
        2 => (Disposition::Delivered, Effect::None),
        3 => (Disposition::Elsewhere(Fallback::Later), Effect::None),
        4 => (Disposition::Later, Effect::None),
        _ => (Disposition::Park, Effect::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_code_has_its_row() {
        use {Disposition as V, Effect as E, Fallback as F};
        for (code, disposition, effect) in [
            (2001, V::Delivered, E::None),
            (2002, V::Limited, E::None),
            (2999, V::Delivered, E::None),
            (1001, V::Park, E::Alarm),
            (3001, V::Elsewhere(F::Park), E::Alarm),
            (3002, V::Elsewhere(F::Later), E::None),
            (3003, V::Elsewhere(F::Aging), E::Alarm),
            (3004, V::Elsewhere(F::Later), E::RestPeer),
            (3005, V::Elsewhere(F::Later), E::Alarm),
            (3006, V::Redirect, E::None),
            (3007, V::Elsewhere(F::Aging), E::Alarm),
            (3008, V::Park, E::Alarm),
            (3009, V::Park, E::Alarm),
            (3010, V::Elsewhere(F::Later), E::None),
            (3999, V::Elsewhere(F::Later), E::None),
            (4001, V::Later, E::None),
            (4002, V::Later, E::RestRoute),
            (4003, V::Later, E::None),
            (4999, V::Later, E::None),
            (5001, V::Park, E::None),
            (5002, V::Park, E::None),
            (5003, V::Park, E::Alarm),
            (5004, V::Park, E::None),
            (5005, V::Park, E::None),
            (5007, V::Park, E::None),
            (5008, V::Park, E::None),
            (5009, V::Park, E::None),
            (5010, V::Park, E::None),
            (5012, V::Unable, E::None),
            (5014, V::Park, E::None),
            (5017, V::Park, E::None),
            (5999, V::Park, E::None),
            (0, V::Park, E::None),
            (6000, V::Park, E::None),
            (u32::MAX, V::Park, E::None),
        ] {
            assert_eq!(judge(Outcome::Result(code)), (disposition, effect), "{code}");
        }
        assert_eq!(judge(Outcome::Missing), (V::Unable, E::None), "an answer without a result counts as 5012");
        for (code, disposition) in
            [(2003, V::Delivered), (4181, V::Later), (5030, V::Park), (3006, V::Elsewhere(F::Later))]
        {
            let outcome = Outcome::Experimental { vendor: 10_415, code };
            assert_eq!(judge(outcome).0, disposition, "experimental {code} goes by its class");
        }
    }
}
