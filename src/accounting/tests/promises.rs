//! Whatever comes in whatever order: every call that started ends exactly once, and nothing is kept for ever.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::{Strategy, proptest};
use proptest::sample::select;
use proptest::{prop_assert, prop_assert_eq};

use super::bench::Bench;
use super::{secs, settings};
use crate::accounting::Settings;
use crate::record::Kind;

const STEPS: &[&str] = &[
    "INVITE",
    "200 b",
    "200 c",
    "200 b se=90",
    "183 b sdp",
    "183 d sdp",
    "486 b",
    "=408",
    "=200",
    "round B 486",
    "round B =408 C *503",
    "round B >302",
    "forward",
    "CANCEL",
    "ACK",
    "ACK callee",
    "BYE caller",
    "BYE callee",
    "BYE caller c",
    "BYE callee b aside",
    "INVITE caller b aside",
    "481 b",
    "401 b",
    "500 b",
    "round B =408; =408",
    "INVITE callee",
    "INVITE caller c",
    "UPDATE caller",
    "INFO caller",
    "1:200 b",
    "1:200 c",
    "1:486 b",
    "2:200 b",
    "1:gone",
    "gone",
    "close",
    "+1",
    "+4",
    "restart",
    "reboot",
];

fn steps() -> impl Strategy<Value = Vec<&'static str>> {
    vec(select(STEPS), 0..24)
}

fn promises(settings: Settings, marks: &str, steps: &[&str]) -> Result<(), proptest::test_runner::TestCaseError> {
    let mut bench = Bench::new(settings, marks);
    // Two requests, so that every step has one to mean.
    bench.play("INVITE; OPTIONS; +0.001");
    for step in steps {
        bench.play(step);
        // No two requests arrive at the same instant.
        bench.play("+0.001");
        if bench.outgoing.len() > 2 {
            bench.leave_unanswered();
        }
    }
    bench.end_all();
    for _ in 0..8 {
        bench.leave_unanswered();
        bench.play("+10");
    }
    bench.play("+200000");
    let mut sessions: HashMap<&str, (usize, usize)> = HashMap::new();
    for made in &bench.made {
        let counts = sessions.entry(&made.record.session).or_default();
        match made.record.kind {
            Kind::Start => {
                prop_assert_eq!(*counts, (0, 0), "a start comes first, and once: {}", bench.records());
                counts.0 += 1;
            }
            Kind::Stop => counts.1 += 1,
            Kind::Interim | Kind::Failed | Kind::Missed | Kind::Event | Kind::Cdr | Kind::On | Kind::Off => {}
        }
        if let Some(duration) = made.record.times.duration {
            prop_assert!(duration < secs(300_000), "a duration is never wild: {}", bench.records());
        }
    }
    for (starts, stops) in sessions.values() {
        prop_assert!(*starts == 0 || *stops == 1, "each start has one stop: {}", bench.records());
    }
    prop_assert_eq!(bench.engine.calls(), 0);
    prop_assert!(bench.stored.is_empty(), "nothing stays stored");
    prop_assert_eq!(bench.engine.deadline(), None);
    Ok(())
}

proptest! {
    #[test]
    fn every_call_that_started_ends_once(steps in steps()) {
        promises(settings(), "a0 a1 a2 m0 f1", &steps)?;
    }

    #[test]
    fn with_early_media_and_timers_too(steps in steps()) {
        let settings = Settings {
            early_media: true,
            report_ack: true,
            report_cancels: true,
            interim_interval: Some(secs(1000)),
            lifetime_max: Some(secs(5000)),
            ..settings()
        };
        promises(settings, "a0 a1 a2 m0 f0", &steps)?;
    }

    #[test]
    fn a_call_that_is_not_accounted_makes_nothing(steps in steps()) {
        let mut bench = Bench::new(settings(), "|a0");
        bench.play("INVITE; 200 b; 200 c; INVITE; OPTIONS");
        for step in steps.iter().filter(|step| !step.starts_with("re") && !step.starts_with('=')) {
            bench.play(step);
        }
        prop_assert_eq!(bench.records(), "");
    }
}
