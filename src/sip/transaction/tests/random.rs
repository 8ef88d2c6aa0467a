//! Random inputs at random times: no machine panics, hangs, keeps octets too long, or ends twice.

use proptest::prelude::*;

use super::*;

const KINDS: [&str; 4] = ["INVITE client", "non-INVITE client", "INVITE server", "non-INVITE server"];

/// What must hold of a machine at any time.
fn sound(rig: &Rig) -> Result<(), TestCaseError> {
    let state = rig.state();
    let must_end = !matches!(state, State::Proceeding | State::Terminated) && !is_undecided(rig);
    prop_assert!(!must_end || rig.deadline().is_some(), "{state:?} has no timer");
    if matches!(state, State::Accepted | State::Confirmed | State::Terminated) {
        prop_assert_eq!(rig.kept_bytes(), 0, "{:?} keeps octets", state);
    }
    if state == State::Terminated {
        prop_assert_eq!(rig.deadline(), None);
    }
    Ok(())
}

/// A server transaction without a final response waits for its transaction user.
fn is_undecided(rig: &Rig) -> bool {
    matches!((&rig.machine, rig.state()), (Machine::Server(_), State::Trying | State::Proceeding))
}

proptest! {
    #[test]
    fn any_inputs_at_any_time_end_well(
        kind in 0..4_usize,
        reliable: bool,
        steps in proptest::collection::vec((0..40_000_u64, 0..8_usize), 0..40),
    ) {
        let mut rig = if reliable { Rig::tcp(KINDS[kind]) } else { Rig::udp(KINDS[kind]) };
        let inputs: &[&str] = if kind < 2 { &CLIENT_WORDS } else { &SERVER_WORDS };
        let mut ends = 0;
        for (wait_ms, choice) in steps {
            rig.now = rig.now + Duration::from_millis(wait_ms);
            let said = match inputs.get(choice) {
                Some(word) => rig.feed(word),
                None => rig.tick(),
            };
            ends += said.matches("terminated").count();
            sound(&rig)?;
        }
        // The other side or the transaction user ends what only they can end; then timers must do the rest.
        if rig.state() == State::Proceeding || is_undecided(&rig) {
            ends += rig.feed("3xx").matches("terminated").count();
        }
        let limit = rig.now + Duration::from_secs(33);
        let mut turns = 0;
        while let Some(deadline) = rig.deadline() {
            prop_assert!(deadline <= limit, "{:?} waits too long", rig.state());
            turns += 1;
            prop_assert!(turns < 20, "{:?} does not end", rig.state());
            rig.now = rig.now.max(deadline);
            ends += rig.tick().matches("terminated").count();
            sound(&rig)?;
        }
        prop_assert_eq!(rig.state(), State::Terminated);
        prop_assert_eq!(ends, 1, "ended once");
    }

    #[test]
    fn odd_settings_neither_panic_nor_hang(
        t1_us in prop_oneof![Just(0), 0..5_000_000_u64, Just(u64::MAX)],
        t2_us in prop_oneof![Just(0), 0..9_000_000_u64, Just(u64::MAX)],
        kind in 0..4_usize,
    ) {
        let settings = Settings {
            t1: Duration::from_micros(t1_us),
            t2: Duration::from_micros(t2_us),
            ..Settings::default()
        };
        let mut rig = Rig::new(KINDS[kind], Reliability::Unreliable, settings);
        if kind > 1 {
            rig.feed("3xx");
        }
        for _ in 0..200 {
            let Some(deadline) = rig.deadline() else { break };
            prop_assert!(deadline >= rig.now || deadline.0 == START.0, "time goes on");
            rig.now = rig.now.max(deadline);
            rig.tick();
        }
    }
}
