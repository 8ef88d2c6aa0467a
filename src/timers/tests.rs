//! The wheel against a model, and the slab.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const fn ms(ms: u64) -> Instant {
    Instant(ms * 1000)
}

/// Expires at `now` and returns what fired.
fn fired<K: Copy>(wheel: &mut Wheel<K>, now: Instant) -> Vec<K> {
    let mut out = Vec::new();
    wheel.expire(now, &mut out);
    out
}

#[test]
fn a_timer_fires_at_the_first_tick_from_its_deadline_on() {
    for (name, deadline_us, before_us, at_us) in [
        ("on a tick", 500_000, 499_999, 500_000),
        ("after a tick: the next one", 500_001, 509_999, 510_000),
        ("at once when it has passed", 0, 0, 0),
        ("200 ms, the 100 of an INVITE", 200_000, 199_999, 200_000),
        ("32 s, 64 × T1", 32_000_000, 31_999_999, 32_000_000),
        ("180 s, Timer C", 180_000_000, 179_999_999, 180_000_000),
        ("12 hours, a dialog", 43_200_000_000, 43_199_999_999, 43_200_000_000),
        ("ten years", 315_360_000_000_000, 315_359_999_999_999, 315_360_000_000_000),
    ] {
        let mut wheel = Wheel::new();
        wheel.arm(Instant(deadline_us), name);
        if before_us < at_us {
            assert_eq!(fired(&mut wheel, Instant(before_us)), [""; 0], "{name}: early");
        }
        assert_eq!(fired(&mut wheel, Instant(at_us)), [name], "{name}");
        assert!(wheel.is_empty(), "{name}");
        assert_eq!(wheel.deadline(), None, "{name}");
    }
}

#[test]
fn the_end_of_time_is_a_deadline_like_any_other() {
    let mut wheel = Wheel::new();
    wheel.arm(Instant(u64::MAX), "never");
    wheel.arm(ms(20), "soon");
    assert_eq!(wheel.deadline(), Some(ms(20)));
    assert_eq!(fired(&mut wheel, ms(1_000_000_000_000)), ["soon"]);
    assert!(wheel.deadline().is_some_and(|deadline| deadline > ms(1_000_000_000_000)));
    assert_eq!(fired(&mut wheel, Instant(u64::MAX)), [""; 0], "its tick would end after the last microsecond");
    assert_eq!(wheel.len(), 1);
}

#[test]
fn timers_fire_by_tick_then_as_they_were_armed() {
    let mut wheel = Wheel::new();
    for (key, at) in [(1, 700), (2, 70_000), (3, 20), (4, 700), (5, 695), (6, 70_000)] {
        wheel.arm(ms(at), key);
    }
    fired(&mut wheel, ms(690));
    wheel.arm(ms(700), 7);
    wheel.arm(ms(70_000), 8);
    assert_eq!(fired(&mut wheel, ms(80_000)), [1, 4, 5, 7, 2, 6, 8]);
}

#[test]
fn a_cancelled_timer_never_fires() {
    let mut wheel = Wheel::new();
    let handles: Vec<Handle> = (0..5).map(|key| wheel.arm(ms(100), key)).collect();
    for (name, handle, want) in [
        ("the first of its slot", handles[0], Some(0)),
        ("again", handles[0], None),
        ("one in the middle", handles[2], Some(2)),
        ("the last of its slot", handles[4], Some(4)),
    ] {
        assert_eq!(wheel.cancel(handle), want, "{name}");
        assert!(!wheel.is_armed(handle), "{name}");
    }
    assert_eq!(fired(&mut wheel, ms(100)), [1, 3]);
    assert_eq!(wheel.cancel(handles[1]), None, "it fired");
    let other = wheel.arm(ms(200), 9);
    assert!(handles.iter().all(|handle| wheel.cancel(*handle).is_none()), "an old handle names no new timer");
    assert!(wheel.is_armed(other));
}

#[test]
fn a_wheel_without_its_last_timer_has_no_deadline() {
    let mut wheel = Wheel::new();
    let far = wheel.arm(ms(180_000), 1);
    let near = wheel.arm(ms(200), 2);
    assert_eq!(wheel.deadline(), Some(ms(200)));
    wheel.cancel(near);
    assert!(wheel.deadline().is_some_and(|deadline| deadline > ms(200) && deadline <= ms(180_000)));
    wheel.cancel(far);
    assert_eq!(wheel.deadline(), None);
}

#[test]
fn a_place_holds_one_timer_that_is_set_moved_and_stopped() {
    let mut wheel = Wheel::new();
    let mut place = None;
    wheel.set(&mut place, None, "");
    assert_eq!((place, wheel.len()), (None, 0), "stopping nothing is nothing");
    wheel.set(&mut place, Some(ms(500)), "A");
    let handle = place;
    wheel.set(&mut place, Some(ms(1000)), "A moved");
    assert_eq!((place, wheel.len()), (handle, 1), "moved, not doubled");
    assert_eq!(fired(&mut wheel, ms(999)), [""; 0]);
    wheel.set(&mut place, Some(Instant(999_500)), "same tick, other key");
    assert_eq!(fired(&mut wheel, ms(1000)), ["same tick, other key"]);
    wheel.set(&mut place, Some(ms(2000)), "after it fired");
    assert_eq!(wheel.len(), 1);
    wheel.set(&mut place, None, "");
    assert_eq!((place, wheel.len()), (None, 0));
    assert_eq!(fired(&mut wheel, ms(3000)), [""; 0]);
}

#[test]
fn a_clock_that_goes_back_fires_nothing_and_harms_nothing() {
    let mut wheel = Wheel::new();
    wheel.expire(ms(10_000), &mut Vec::new());
    wheel.arm(ms(10_020), 1);
    assert_eq!(fired(&mut wheel, ms(5000)), [0; 0]);
    assert_eq!(fired(&mut wheel, ms(10_020)), [1]);
}

#[test]
fn a_far_timer_turns_the_wheel_few_times() {
    let mut wheel = Wheel::new();
    wheel.arm(ms(43_200_000), ());
    let mut turns = 0;
    while let Some(now) = wheel.deadline() {
        turns += 1;
        wheel.expire(now, &mut Vec::new());
    }
    assert!(turns <= LEVELS, "{turns} turns for one timer");
}

#[test]
fn memory_comes_back_after_a_burst() {
    let mut wheel = Wheel::new();
    let lasting = wheel.arm(ms(100_000_000), 0);
    let burst: Vec<Handle> = (1..50_000).map(|key| wheel.arm(ms(32_000 + key), key)).collect();
    for handle in burst.iter().step_by(2) {
        wheel.cancel(*handle);
    }
    assert_eq!(fired(&mut wheel, ms(200_000)).len(), 24_999);
    assert!(wheel.is_armed(lasting));
    assert!(wheel.capacity() <= 3 * slab::CHUNK_SLOTS, "{} places for one timer", wheel.capacity());
}

/// What a random run does next.
#[derive(Clone, Debug)]
enum Step {
    Arm {
        after_us: u64,
    },
    Cancel {
        choice: usize,
    },
    Move {
        choice: usize,
        after_us: u64,
    },
    /// Waits and expires.
    Wait {
        us: u64,
    },
    /// Expires at `deadline`, as a driver does.
    Turn,
}

fn span() -> impl Strategy<Value = u64> {
    prop_oneof![0..30_000_u64, 0..1_000_000_u64, 0..40_000_000_u64, 0..30_000_000_000_u64, 0..=u64::MAX / 4]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => span().prop_map(|after_us| Step::Arm { after_us }),
        2 => any::<usize>().prop_map(|choice| Step::Cancel { choice }),
        2 => (any::<usize>(), span()).prop_map(|(choice, after_us)| Step::Move { choice, after_us }),
        2 => span().prop_map(|us| Step::Wait { us: us.min(1 << 45) }),
        3 => Just(Step::Turn),
    ]
}

/// A sorted map that does what the wheel should.
#[derive(Default)]
struct Model {
    now: u64,
    /// By tick, then by the order of arming.
    timers: BTreeMap<(u64, u64), (u64, Handle)>,
    order: u64,
}

impl Model {
    fn add(&mut self, deadline: u64, key: u64, handle: Handle) {
        self.order += 1;
        let tick = deadline.div_ceil(TICK_US).max(self.now / TICK_US);
        self.timers.insert((tick, self.order), (key, handle));
    }

    fn take(&mut self, choice: usize) -> Option<(u64, Handle)> {
        let place = self.timers.keys().nth(choice.checked_rem(self.timers.len())?).copied()?;
        self.timers.remove(&place)
    }

    /// Fires what is due; the ticks of all are checked against `now`.
    fn expire(&mut self) -> Vec<u64> {
        let later = self.timers.split_off(&(self.now / TICK_US + 1, 0));
        std::mem::replace(&mut self.timers, later).into_values().map(|(key, _)| key).collect()
    }
}

proptest! {
    /// Never early, at most one tick late, in order, none lost, none after its cancellation.
    #[test]
    fn a_wheel_is_a_sorted_map(start in 0..=1_u64 << 50, steps in proptest::collection::vec(step(), 0..200)) {
        let (mut wheel, mut model) = (Wheel::new(), Model { now: start, ..Model::default() });
        wheel.expire(Instant(start), &mut Vec::new());
        let mut last_key = 0;
        for step in steps {
            match step {
                Step::Arm { after_us } => {
                    last_key += 1;
                    let deadline = model.now.saturating_add(after_us);
                    let handle = wheel.arm(Instant(deadline), last_key);
                    model.add(deadline, last_key, handle);
                }
                Step::Cancel { choice } => {
                    if let Some((key, handle)) = model.take(choice) {
                        prop_assert_eq!(wheel.cancel(handle), Some(key));
                        prop_assert_eq!(wheel.cancel(handle), None);
                    }
                }
                Step::Move { choice, after_us } => {
                    if let Some((key, handle)) = model.take(choice) {
                        // Moved away and back, so that it is the last of its tick as in the model.
                        let mut place = Some(handle);
                        wheel.set(&mut place, Some(Instant(u64::MAX)), key);
                        let deadline = model.now.saturating_add(after_us);
                        wheel.set(&mut place, Some(Instant(deadline)), key);
                        prop_assert_eq!(place, Some(handle));
                        model.add(deadline, key, handle);
                    }
                }
                Step::Wait { us } => {
                    model.now = model.now.saturating_add(us);
                    prop_assert_eq!(fired(&mut wheel, Instant(model.now)), model.expire());
                }
                Step::Turn => {
                    if let Some(deadline) = wheel.deadline() {
                        model.now = model.now.max(deadline.0);
                        prop_assert_eq!(fired(&mut wheel, Instant(model.now)), model.expire());
                    }
                }
            }
            prop_assert_eq!(wheel.len(), model.timers.len());
            // The deadline is never after the next timer: whoever follows it is late by less than a tick.
            let next = model.timers.keys().next().map(|(tick, _)| *tick);
            prop_assert_eq!(wheel.deadline().is_some(), next.is_some());
            if let (Some(deadline), Some(tick)) = (wheel.deadline(), next) {
                prop_assert!(deadline.0 <= tick.saturating_mul(TICK_US), "{:?} {}", deadline, tick);
            }
        }
    }
}
