//! Sinks and their numbers: kept with the queue, so that a bitmap means the same sink after a restart.

use crate::ids::{SINKS_MAX, SinkNumber};

use super::bitmap::Since;
use super::chain::Chain;
use super::error::OpenError;
use super::frame::Reader;
use super::parked::ParkedStore;
use super::sinks::Sinks;

/// The sinks that the queue knows.
pub(super) fn known(chain: &Chain) -> Sinks {
    let mut sinks = Sinks::new();
    for (name, since) in read_sinks(chain.metas().get(b"sinks").unwrap_or_default()) {
        sinks.add(name, since, chain.settings());
    }
    sinks
}

/// Gives each configured sink its number, keeping those it had; a new one wants records from `next` on.
pub(super) fn register(
    sinks: &mut Sinks,
    chain: &mut Chain,
    parked: &ParkedStore,
    (names, next): (&[String], u64),
) -> Result<Vec<(String, SinkNumber)>, OpenError> {
    let mut changed = false;
    let mut numbers = Vec::new();
    for name in names {
        let known = sinks.iter().position(|sink| sink.name() == name);
        let index = match known {
            Some(index) => index,
            None => {
                let sink = free_number(sinks, chain, parked, names).ok_or(OpenError::TooManySinks)?;
                changed = true;
                sinks.add(name.clone(), Since { sink, seq: next }, chain.settings())
            }
        };
        sinks[index].configure(chain.settings());
        numbers.push((name.clone(), sinks[index].number()));
    }
    if changed {
        chain.metas_mut().share(b"sinks", write_sinks(sinks));
    }
    Ok(numbers)
}

/// A number no sink has, or one of a sink that is neither configured nor waited for.
fn free_number(sinks: &Sinks, chain: &Chain, parked: &ParkedStore, names: &[String]) -> Option<SinkNumber> {
    let all = || (0..SINKS_MAX).filter_map(|number| u8::try_from(number).ok()).map(SinkNumber);
    let idle = |number: &SinkNumber| {
        sinks.by_number(*number).is_some_and(|sink| {
            let is_named = names.iter().any(|name| name == sink.name());
            !is_named && chain.waiting(sink.since()) == 0 && parked.parked(*number) == 0
        })
    };
    let unused = all().find(|number| sinks.by_number(*number).is_none() && parked.parked(*number) == 0);
    unused.or_else(|| all().find(idle))
}

/// Sinks as a named value: number, first place, length of the name, name.
pub(super) fn write_sinks(sinks: &Sinks) -> Vec<u8> {
    let mut out = Vec::new();
    for sink in sinks.iter() {
        let name = &sink.name().as_bytes()[..sink.name().len().min(SINK_NAME_BYTES_MAX)];
        out.push(sink.number().0);
        out.extend_from_slice(&sink.since().seq.to_be_bytes());
        out.push(u8::try_from(name.len()).unwrap_or(0));
        out.extend_from_slice(name);
    }
    out
}

/// Reads what [`write_sinks`] wrote; what is damaged ends it.
pub(super) fn read_sinks(table: &[u8]) -> Vec<(String, Since)> {
    let mut from = Reader(table);
    let mut one = || {
        let (sink, seq) = (SinkNumber(from.u8().ok()? & 63), from.u64().ok()?);
        let length = from.u8().ok()?;
        let name = from.slice(usize::from(length)).ok()?;
        Some((String::from_utf8_lossy(name).into_owned(), Since { sink, seq }))
    };
    std::iter::from_fn(&mut one).collect()
}

/// 64 names of this length fit into one value.
const SINK_NAME_BYTES_MAX: usize = 100;
