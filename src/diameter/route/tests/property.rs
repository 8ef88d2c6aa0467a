//! Whatever peers do, every record ends once, nothing grows without bound, and T tells the truth.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Submit,
    Answer { at: usize, result: u32 },
    Duplicate { at: usize },
    Cut { at: usize, octets: usize },
    Lose { peer: usize },
    Garbage { peer: usize },
    Wake { peer: usize, alive: bool },
    Wait { millis: u64 },
    Dismiss { peer: usize, cause: u32 },
}

fn act() -> impl Strategy<Value = Act> {
    let code = prop_oneof![
        8 => Just(2001_u32), 1 => Just(3002), 1 => Just(3004), 1 => Just(4002), 1 => Just(5012), 1 => Just(5001),
        1 => Just(3006), 1 => any::<u32>(),
    ];
    prop_oneof![
        8 => Just(Act::Submit),
        8 => (0..64_usize, code).prop_map(|(at, result)| Act::Answer { at, result }),
        1 => (0..64_usize).prop_map(|at| Act::Duplicate { at }),
        1 => (0..64_usize, 0..40_usize).prop_map(|(at, octets)| Act::Cut { at, octets }),
        1 => (0..3_usize).prop_map(|peer| Act::Lose { peer }),
        1 => (0..3_usize).prop_map(|peer| Act::Garbage { peer }),
        1 => (0..3_usize, any::<bool>()).prop_map(|(peer, alive)| Act::Wake { peer, alive }),
        4 => (0..40_000_u64).prop_map(|millis| Act::Wait { millis }),
        1 => (0..3_usize, 0..3_u32).prop_map(|(peer, cause)| Act::Dismiss { peer, cause }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_record_ends_once(acts in prop::collection::vec(act(), 1..300)) {
        let mut bench = Bench::with(&[("a.test", 0), ("b.test", 0), ("c.test", 1)], |settings| settings.window = 16);
        let mut next = 1;
        let mut open: HashSet<u64> = HashSet::new();
        let mut waiting: Vec<(u64, u32)> = Vec::new();
        let mut attempts: HashMap<u64, u32> = HashMap::new();
        let mut first_ids: HashMap<u32, u64> = HashMap::new();
        let mut answered: Vec<Sent> = Vec::new();
        for act in acts {
            match act {
                Act::Submit => {
                    let (key, tries) = waiting.pop().unwrap_or_else(|| { next += 1; (next, 0) });
                    if bench.capacity() == 0 && tries > 0 { waiting.push((key, tries)); continue; }
                    prop_assert!(open.insert(key));
                    bench.submit_with(key, |record| record.attempts = tries);
                }
                Act::Answer { at, result } if !bench.wire.is_empty() => {
                    let sent = bench.wire.remove(at % bench.wire.len());
                    answered.push(sent);
                    bench.answer_to(&sent, result);
                }
                Act::Duplicate { at } if !answered.is_empty() => {
                    let sent = answered[at % answered.len()];
                    bench.answer_to(&sent, 2001);
                }
                Act::Cut { at, octets } if !bench.wire.is_empty() => {
                    let sent = bench.wire[at % bench.wire.len()];
                    let mut message = build(&sent.header.answer(), |avps| {
                        avps.u32(code::RESULT_CODE, 0, M, 2001);
                        avps.avp(code::ORIGIN_HOST, 0, M, b"x");
                    });
                    message.truncate(message.len().saturating_sub(octets));
                    bench.put(Input::Received { peer: number(sent.peer), message: &message });
                }
                Act::Lose { peer } => bench.lose(peer),
                Act::Garbage { peer } => bench.put(Input::Garbage { peer: number(peer) }),
                Act::Wake { peer, alive } => bench.alive[peer] = alive,
                Act::Wait { millis } => bench.pass(Duration::from_millis(millis)),
                Act::Dismiss { peer, cause } => {
                    let header = Header { flags: flag::REQUEST, command: command::DISCONNECT_PEER, ..Header::default() };
                    let message = build(&header, |avps| avps.u32(code::DISCONNECT_CAUSE, 0, M, cause));
                    bench.put(Input::Received { peer: number(peer), message: &message });
                }
                _ => {}
            }
            for sent in &bench.wire {
                let owner = first_ids.entry(sent.header.end_to_end).or_insert(u64::from(sent.header.end_to_end));
                prop_assert_eq!(*owner, u64::from(sent.header.end_to_end));
            }
            for end in std::mem::take(&mut bench.ends) {
                let (key, back) = match end {
                    Output::Delivered { key, .. } | Output::Park { key, .. } => (key.0, false),
                    Output::Retry { key, .. } => (key.0, true),
                    _ => continue,
                };
                prop_assert!(open.remove(&key), "{} ended twice", key);
                if back {
                    let tries = attempts.entry(key).or_default();
                    *tries += 1;
                    waiting.push((key, *tries));
                }
            }
            prop_assert_eq!(bench.client.in_flight(), open.len());
            let status = bench.client.status(bench.now.mono);
            let outstanding: usize = status.peers.iter().map(|peer| peer.outstanding).sum();
            prop_assert!(outstanding <= open.len(), "{} outstanding for {} records", outstanding, open.len());
        }
    }
}
