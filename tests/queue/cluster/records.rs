//! Calls and what is recorded of them, as far as the cluster cares.

use tollgate::cluster::calls::CallKey;

/// What a record says.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum What {
    Start,
    Interim,
    Stop,
}

/// A record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Fact {
    /// Number of the call.
    pub(crate) call: usize,
    pub(crate) what: What,
    /// Number of the record among all that were ever made.
    pub(crate) number: u64,
    /// Who made it.
    pub(crate) by: usize,
}

impl Fact {
    /// The message id: that of a Stop follows from its session.
    pub(crate) fn id(&self) -> u128 {
        match self.what {
            What::Stop => (1 << 100) | self.call as u128,
            _ => u128::from(self.number),
        }
    }
}

/// The name of a gateway.
pub(crate) fn gateway(who: usize) -> String {
    format!("gw{who}")
}

/// The engine's key of a call.
pub(crate) fn key(call: usize) -> CallKey {
    let mut octets = [0; 24];
    octets[..8].copy_from_slice(&(call as u64).to_be_bytes());
    CallKey(octets)
}

/// The number of a call.
pub(crate) fn call(key: CallKey) -> usize {
    let number = key.0.first_chunk::<8>().expect("it has 24 octets");
    usize::try_from(u64::from_be_bytes(*number)).expect("it was a number of ours")
}

/// A call as it was dialled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    /// Its Start was committed: somebody saw the answer.
    pub(crate) is_answered: bool,
    /// Its ends have hung up, and when.
    pub(crate) is_over: bool,
    pub(crate) over_at: u64,
    /// It was lost with a disk before the bucket had it.
    pub(crate) is_unmirrored: bool,
}
