//! Answers that come when their visit is over.

use std::collections::VecDeque;

use super::doubt::Line;
use super::*;

/// A server of one thread, each record takes it `work`. What is in its queue already is not taken twice, what was
/// answered is, as FreeRADIUS does.
struct Slow {
    work: Duration,
    free_at: Instant,
    queue: VecDeque<(Instant, Sent)>,
    records: usize,
}

impl Slow {
    fn come(&mut self, now: Instant, sent: Sent) {
        if self.queue.iter().any(|(_, queued)| queued.datagram == sent.datagram) {
            return;
        }
        self.free_at = self.free_at.max(now);
        if sent.datagram[0] != Code::STATUS_SERVER.0 {
            self.free_at = self.free_at + self.work;
            self.records += 1;
        }
        self.queue.push_back((self.free_at, sent));
    }

    /// Lets both sides work until all of the line is delivered; the time that took.
    fn serve(&mut self, world: &mut World, line: &mut Line, count: usize) -> Duration {
        let begin = world.now.mono;
        while line.delivered.len() < count {
            assert!(world.now.mono.since(begin) < Duration::from_secs(3600), "{:?}", line.delivered);
            line.turn(world);
            let sent: Vec<Sent> = world.sent.drain(..).chain(world.probes.drain(..)).collect();
            sent.into_iter().for_each(|sent| self.come(world.now.mono, sent));
            while let Some((_, sent)) = self.queue.pop_front_if(|(at, _)| *at <= world.now.mono) {
                world.receive(&sent, &sent.stored());
            }
            world.pass(Duration::from_millis(50));
        }
        world.now.mono.since(begin)
    }
}

fn slow(work: Duration) -> Slow {
    Slow { work, free_at: Instant(0), queue: VecDeque::new(), records: 0 }
}

#[test]
fn a_server_slower_than_the_visit_gets_its_work_done_once() {
    let schedule = |settings: Settings| settings.with_radiusclient_schedule(Duration::from_secs(5), 2);
    let mut world = World::new(schedule(settings(1, |_| {})));
    let mut line = Line::of(&world, 1..=20);
    let mut server = slow(Duration::from_secs(3));
    let took = server.serve(&mut world, &mut line, 20).as_secs();
    line.delivered.sort_unstable();
    assert_eq!(line.delivered, (1..=20).collect::<Vec<_>>(), "each once");
    assert_eq!(line.parked, []);
    let counters = world.server(0).counters;
    assert!(
        took <= 75 && server.records <= 25,
        "{took} s for 20 records of 3 s, {} requests: {counters:?}",
        server.records
    );
    assert!(counters.stored_late > 0 && world.server(0).window <= 2, "{:?}", world.server(0));
    assert!(world.server(0).round_trip.unwrap() >= Duration::from_secs(3), "{:?}", world.server(0));
}

#[test]
fn the_window_grows_again_when_the_server_is_quick_again() {
    let mut world = World::new(settings(1, |_| {}).with_radiusclient_schedule(Duration::from_secs(1), 1));
    let mut line = Line::of(&world, 1..=20);
    slow(Duration::from_secs(3)).serve(&mut world, &mut line, 20);
    assert!(world.server(0).window <= 2, "{:?}", world.server(0));
    let mut more = Line::of(&world, 100..=3000);
    slow(Duration::from_millis(1)).serve(&mut world, &mut more, 2901);
    assert!(world.server(0).window > WINDOW_MIN, "{:?}", world.server(0));
}

#[test]
fn a_late_answer_ends_the_record_wherever_it_is() {
    let seconds = Duration::from_secs;
    for (name, servers, resubmit, after) in [
        ("while it waits in the queue", 1, false, 20),
        ("while its next visit is under way", 1, true, 20),
        ("while it is at the next server", 2, false, 10),
        ("after its identifier has rested, while nothing else uses it", 1, false, 100),
    ] {
        let mut world = World::with(servers, |settings| {
            settings.transmissions = 2;
            settings.probing = Probing::Never;
            settings.response_window = seconds(1000);
        });
        world.submit(1);
        let first = world.sent[0].clone();
        world.pass(seconds(after));
        if resubmit {
            world.ended();
            world.submit(1);
        }
        world.told.clear();
        world.receive(&first, &first.stored());
        assert_eq!((world.ended(), world.client.in_flight()), (vec![(1, "delivered")], 0), "{name}");
        world.receive(&first, &first.stored());
        for sent in std::mem::take(&mut world.sent) {
            world.receive(&sent, &sent.stored());
        }
        assert_eq!(world.ended(), [], "{name}: once");
        assert_eq!(world.server(0).counters.stored_late, 1, "{name}");
        world.pass_secs(100);
        assert_eq!((world.ended(), world.server(0).outstanding), (vec![], 0), "{name}");
    }
}

#[test]
fn only_an_authentic_acknowledgement_of_that_very_request_counts_late() {
    let overload = 505_u32.to_be_bytes();
    for (name, change) in [
        (
            "a forged one",
            (|sent: &Sent| {
                let mut forged = sent.stored();
                forged[9] ^= 1;
                forged
            }) as fn(&Sent) -> Vec<u8>,
        ),
        ("a refusal", |sent| sent.answer(52, &[])),
        ("an answer of another code", |sent| sent.answer(3, &[])),
    ] {
        let mut world = World::with(1, |settings| settings.transmissions = 1);
        world.submit(1);
        let first = world.sent[0].clone();
        world.pass_secs(5);
        assert_eq!(world.ended(), [(1, "retry")], "{name}");
        world.receive(&first, &change(&first));
        assert_eq!(world.ended(), [], "{name}");
    }
    // The second leg of a record is not acknowledged by a late answer to its first.
    let mut world = World::with(1, |settings| settings.transmissions = 1);
    let attributes = [number::ACCT_STATUS_TYPE, 6, 0, 0, 0, 1];
    let leg = |part| Submission {
        key: Seq(1),
        part,
        attributes: &attributes,
        since: Timestamp(0),
        attempts: 0,
        call: CallHash(1),
    };
    world.handle(Input::Submit(leg(1)));
    let first = world.sent.remove(0);
    world.pass_secs(5);
    world.handle(Input::Submit(leg(1)));
    world.answer_all();
    world.handle(Input::Submit(leg(2)));
    world.pass_secs(5);
    world.ended();
    world.receive(&first, &first.answer(5, &[(101, &overload)]));
    world.receive(&first, &first.stored());
    assert_eq!(world.ended(), []);
}

#[test]
fn a_record_about_to_be_parked_waits_for_its_last_answer() {
    for (name, answers, want) in [("it comes", true, "delivered"), ("it does not", false, "parked")] {
        let mut world = World::with(1, |settings| {
            settings.transmissions = 1;
            settings.attempts_max = 1;
            settings.park_age_min = Duration::ZERO;
        });
        world.submit(1);
        world.submit(2);
        let first = world.sent.remove(0);
        world.pass_secs(1);
        world.answer_all();
        world.pass_secs(10);
        assert_eq!((world.ended(), world.client.in_flight()), (vec![(2, "delivered")], 1), "{name}");
        if answers {
            world.receive(&first, &first.stored());
        }
        world.pass_secs(25);
        assert_eq!((world.ended(), world.client.in_flight()), (vec![(1, want)], 0), "{name}");
    }
}
