//! Which deliverer has which partition: each member works out the same plan from the same view, and does its own part.
//!
//! The plan gives each member a quota, which differs by one at most, and moves as few partitions as reach it: a member
//! keeps what it has up to its quota and gives the rest up; what is free, given up or held by nobody who lives goes to those
//! that have too few. Of members with equal claims the earlier name has it. So a plan that is carried out plans nothing
//! more, whoever looks; and while views differ for a moment, the leases ([`super::lease`]) see to it that a partition
//! has one owner, and the next look mends the rest.

use std::collections::BTreeMap;

/// The most partitions of a cluster.
pub const PARTITIONS_MAX: usize = 256;

/// Who has a partition, as one member sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place<'v> {
    /// Nobody: it can be taken now.
    Free,
    /// The process of this name; its lease has not run out.
    By(&'v str),
    /// Not known, or by what this release cannot read: it is left alone.
    Unknown,
}

/// What a member is to do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Part {
    /// Partitions to take: free, or of a process that lives no more.
    pub take: Vec<usize>,
    /// Partitions to give back.
    pub give: Vec<usize>,
}

/// What the member `me` is to do. `members` are the names of those that live, in any order; where `me` is not among them
/// everything is given back.
///
/// What another member is to give up is not taken before it is [`Place::Free`].
#[must_use]
pub fn part(me: &str, members: &[&str], places: &[Place<'_>]) -> Part {
    let target = plan(members, places);
    let mut part = Part::default();
    for (partition, (place, owner)) in places.iter().zip(&target).enumerate() {
        let is_mine = *owner == Some(me);
        match place {
            Place::By(holder) if *holder == me && !is_mine => part.give.push(partition),
            // A lease says itself when it can be taken; a member's is given up first.
            Place::By(holder) if is_mine && !members.contains(holder) => part.take.push(partition),
            Place::Free if is_mine => part.take.push(partition),
            _ => {}
        }
    }
    part
}

/// Who is to have each partition; `None` for those that are left alone, and for all of them without members.
fn plan<'v>(members: &[&'v str], places: &[Place<'v>]) -> Vec<Option<&'v str>> {
    let mut held: BTreeMap<&str, Vec<usize>> = members.iter().map(|name| (*name, Vec::new())).collect();
    let mut pool = Vec::new();
    for (partition, place) in places.iter().enumerate() {
        match place {
            Place::By(holder) => match held.get_mut(holder) {
                Some(theirs) => theirs.push(partition),
                None => pool.push(partition),
            },
            Place::Free => pool.push(partition),
            Place::Unknown => {}
        }
    }
    let known = pool.len() + held.values().map(Vec::len).sum::<usize>();
    let mut target = vec![None; places.len()];
    let Some(least) = known.checked_div(held.len()) else { return target };
    // Those that have most keep one more, so that nothing moves for the sake of the remainder.
    let mut order: Vec<&str> = held.keys().copied().collect();
    order.sort_by_key(|name| std::cmp::Reverse(held[name].len()));
    let more = known % held.len();
    let quota: BTreeMap<&str, usize> =
        order.iter().enumerate().map(|(rank, name)| (*name, least + usize::from(rank < more))).collect();
    for (name, theirs) in &mut held {
        pool.extend(theirs.drain(quota[name].min(theirs.len())..));
        for partition in theirs {
            target[*partition] = Some(*name);
        }
    }
    pool.sort_unstable_by_key(|partition| (matches!(places[*partition], Place::By(_)), *partition));
    let mut pool = pool.into_iter();
    for (name, theirs) in &held {
        for partition in pool.by_ref().take(quota[name] - theirs.len()) {
            target[partition] = Some(*name);
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `a` to `z` have it; `-` is free, `?` unknown.
    fn places(text: &str) -> Vec<Place<'_>> {
        let place = |(at, sign): (usize, char)| match sign {
            '-' => Place::Free,
            '?' => Place::Unknown,
            _ => Place::By(&text[at..=at]),
        };
        text.char_indices().map(place).collect()
    }

    #[test]
    fn each_member_does_its_part_of_one_plan() {
        for (name, me, members, view, take, give) in [
            ("alone it takes all", "a", "a", "----", &[0, 1, 2, 3][..], &[][..]),
            ("two that start together share", "a", "ab", "----", &[0, 1], &[]),
            ("and the other takes the other half", "b", "ab", "----", &[2, 3], &[]),
            ("who has too much gives up the last", "a", "ab", "aaaa", &[], &[2, 3]),
            ("what is to be given up is not taken before", "b", "ab", "aaaa", &[], &[]),
            ("when it is given up it is taken", "b", "ab", "aaa-", &[3], &[]),
            ("a remainder moves nothing", "a", "ab", "aaabb", &[], &[]),
            ("whoever has it", "a", "ab", "aabbb", &[], &[]),
            ("of two with equal claims the earlier name has it", "a", "ab", "aabb-", &[4], &[]),
            ("and the later one nothing", "b", "ab", "aabb-", &[], &[]),
            ("more members than partitions", "c", "abc", "ab", &[], &[]),
            ("what a dead one has is wanted", "a", "ab", "abcc", &[2], &[]),
            ("by both", "b", "ab", "abcc", &[3], &[]),
            ("what is free goes first to those that have too few", "b", "ab", "aaac-c", &[3, 4, 5], &[]),
            ("what is not known is left alone", "a", "ab", "??--", &[2], &[]),
            ("and counts for nobody", "a", "ab", "a?-b", &[2], &[]),
            ("who is no member gives all back", "a", "bc", "aabc", &[], &[0, 1]),
            ("also when there is none", "a", "", "a-", &[], &[0]),
            ("a third one gets from both", "a", "abc", "aaabbb", &[], &[2]),
            ("and takes what is there", "c", "abc", "aa-bb-", &[2, 5], &[]),
            ("no partitions", "a", "a", "", &[], &[]),
        ] {
            let members: Vec<String> = members.chars().map(String::from).collect();
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            let want = Part { take: take.to_vec(), give: give.to_vec() };
            assert_eq!(part(me, &members, &places(view)), want, "{name}");
        }
    }

    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn it_converges_and_moves_nothing_twice(
            start in prop::collection::vec(0..8_usize, 1..64),
            living in prop::collection::vec(any::<bool>(), 6),
            turns in prop::collection::vec((0..6_usize, 0..4_usize), 400),
        ) {
            let members: Vec<&str> = NAMES.into_iter().zip(living).filter(|(_, lives)| *lives).map(|(name, _)| name).collect();
            prop_assume!(!members.is_empty());
            let mut real: Vec<Place<'_>> = start.iter().map(|at| NAMES.get(*at).map_or(Place::Free, |name| Place::By(name))).collect();
            let mut views = vec![real.clone()];
            let mut moves = vec![0; real.len()];
            let rounds = (0..members.len()).cycle().take(4 * members.len()).map(|who| (who, 0));
            for (who, age) in turns.into_iter().chain(rounds) {
                let me = members[who % members.len()];
                // What it sees is as old as that; the leases decide by what is.
                let view = &views[views.len().saturating_sub(age + 1)];
                let Part { take, give } = part(me, &members, view);
                for partition in give {
                    if real[partition] == Place::By(me) {
                        real[partition] = Place::Free;
                    }
                }
                for partition in take {
                    let is_dead = matches!(real[partition], Place::By(holder) if !members.contains(&holder));
                    if real[partition] == Place::Free || is_dead {
                        real[partition] = Place::By(me);
                        moves[partition] += 1;
                    }
                }
                views.push(real.clone());
            }
            let count = |name: &&str| real.iter().filter(|place| **place == Place::By(name)).count();
            let (least, most) = (members.iter().map(count).min(), members.iter().map(count).max());
            prop_assert!(most.unwrap_or(0) <= least.unwrap_or(0) + 1, "{real:?}");
            prop_assert!(real.iter().all(|place| *place != Place::Free));
            for name in &members {
                prop_assert_eq!(part(name, &members, &real), Part::default());
            }
        }

        #[test]
        fn with_one_view_each_partition_moves_once_at_most(
            start in prop::collection::vec(0..8_usize, 1..64),
            living in prop::collection::vec(any::<bool>(), 6),
        ) {
            let members: Vec<&str> = NAMES.into_iter().zip(living).filter(|(_, lives)| *lives).map(|(name, _)| name).collect();
            let view: Vec<Place<'_>> = start.iter().map(|at| NAMES.get(*at).map_or(Place::Free, |name| Place::By(name))).collect();
            let mut next = view.clone();
            for turn in 0..2 {
                let seen = next.clone();
                for me in &members {
                    let Part { take, give } = part(me, &members, &seen);
                    prop_assert!(turn == 0 || give.is_empty());
                    give.iter().for_each(|partition| next[*partition] = Place::Free);
                    for partition in take {
                        prop_assert!(next[partition] == seen[partition], "taken by two");
                        next[partition] = Place::By(me);
                    }
                }
            }
            for me in &members {
                prop_assert_eq!(part(me, &members, &next), Part::default());
            }
        }
    }
}
