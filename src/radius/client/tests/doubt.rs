//! Silence: the record's fault, the server's, or that of what is behind it.

use super::*;

/// A record of the test with or without User-Name.
fn submit(world: &mut World, key: u64, since: Timestamp, attempts: u32, name: Option<&str>) {
    let mut attributes = vec![number::ACCT_STATUS_TYPE, 6, 0, 0, 0, 1];
    if let Some(name) = name {
        packet::push(&mut attributes, number::USER_NAME, name.as_bytes());
    }
    let submission =
        Submission { key: Seq(key), part: 0, attributes: &attributes, since, attempts, call: CallHash(key) };
    world.handle(Input::Submit(submission));
}

/// A queue for the client: what comes back is tried again in its time and as far as there is room.
pub(super) struct Line {
    /// When it may go, its key, how often it went.
    pub(super) waiting: Vec<(Instant, u64, u32)>,
    since: Timestamp,
    /// Keys with and without User-Name: these have none.
    nameless: Vec<u64>,
    pub(super) delivered: Vec<u64>,
    pub(super) parked: Vec<(u64, String)>,
    pub(super) reasons: Vec<String>,
    /// Keys of the visits that count as a try.
    pub(super) tried: Vec<u64>,
    /// Transmissions of records.
    sent: usize,
}

impl Line {
    pub(super) fn of(world: &World, keys: std::ops::RangeInclusive<u64>) -> Self {
        Self {
            waiting: keys.map(|key| (world.now.mono, key, 0)).collect(),
            since: world.now.wall,
            nameless: Vec::new(),
            delivered: Vec::new(),
            parked: Vec::new(),
            reasons: Vec::new(),
            tried: Vec::new(),
            sent: 0,
        }
    }

    /// Lets `secs` pass. `answer` says what the network does with a packet; Status-Server is asked about too.
    fn run(&mut self, world: &mut World, secs: u64, answer: impl Fn(&Sent) -> Option<Vec<u8>>) {
        let end = world.now.mono + Duration::from_secs(secs);
        while world.now.mono < end {
            let mut sent = std::mem::take(&mut world.sent);
            self.sent += sent.len();
            sent.append(&mut world.probes);
            for sent in sent {
                if let Some(datagram) = answer(&sent) {
                    world.receive(&sent, &datagram);
                }
            }
            self.turn(world);
            if world.sent.is_empty() {
                world.pass(Duration::from_millis(50));
            }
        }
    }

    /// Takes what ended, hands in what may go.
    pub(super) fn turn(&mut self, world: &mut World) {
        self.collect(world);
        while world.capacity() > 0
            && let Some(place) = self.waiting.iter().position(|(at, ..)| *at <= world.now.mono)
        {
            let (_, key, attempts) = self.waiting.remove(place);
            let name = (!self.nameless.contains(&key)).then(|| format!("user{key}"));
            submit(world, key, self.since, attempts, name.as_deref());
        }
    }

    fn collect(&mut self, world: &mut World) {
        for output in std::mem::take(&mut world.told) {
            match output {
                Output::Delivered { key, .. } => {
                    self.waiting.retain(|(_, waiting, _)| *waiting != key.0);
                    self.delivered.push(key.0);
                }
                Output::Park { key, reason } => self.parked.push((key.0, reason.to_string())),
                Output::Retry { key, after, reason } => {
                    self.reasons.push(reason.to_string());
                    self.tried.extend(reason.is_about_record().then_some(key.0));
                    self.waiting.push((world.now.mono + after, key.0, 1));
                }
                other => world.told.push(other),
            }
        }
    }
}

fn is_probe(sent: &Sent) -> bool {
    sent.datagram[0] == Code::STATUS_SERVER.0
}

pub(super) fn user(sent: &Sent) -> Option<String> {
    let packet = Packet::parse(&sent.datagram).unwrap();
    packet.value(number::USER_NAME).map(|name| String::from_utf8_lossy(name).into_owned())
}

fn impatient(settings: &mut Settings) {
    settings.transmissions = 2;
    settings.attempts_max = 3;
    settings.park_age_min = Duration::from_secs(20);
}

#[test]
fn a_hop_that_answers_status_server_but_no_record_parks_nothing() {
    let mut world = World::with(1, impatient);
    let mut line = Line::of(&world, 1..=6);
    line.run(&mut world, 1800, |sent| is_probe(sent).then(|| sent.stored()));
    assert_eq!(line.parked, [], "the store may be back any time");
    assert!(world.health().contains(&(0, Health::ProbesOnly)));
    assert_eq!(world.server(0).health, Health::ProbesOnly);
    let (hop, other): (Vec<_>, Vec<_>) =
        line.reasons.iter().partition(|reason| reason.contains("answers Status-Server, but no record"));
    assert!(hop.len() > 50 && other.len() <= 6, "the first visits were over before it was asked: {other:?}");
    assert!(line.sent < 1200, "{} transmissions in half an hour", line.sent);
    line.run(&mut world, 90, |sent| Some(sent.stored()));
    line.delivered.sort_unstable();
    assert_eq!(
        (&line.delivered[..], &line.parked[..]),
        (&[1, 2, 3, 4, 5, 6][..], &[][..]),
        "delivered when it is back"
    );
    assert_eq!(world.server(0).health, Health::Alive);
}

#[test]
fn a_proxy_that_acknowledges_by_itself_what_has_no_name_parks_no_record_with_one() {
    let mut world = World::with(1, impatient);
    let mut line = Line::of(&world, 1..=6);
    line.nameless = (7..=1000).collect();
    for key in 7..=306 {
        line.waiting.push((world.now.mono, key, 0));
        // As radsecproxy does while its upstream is frozen.
        line.run(&mut world, 2, |sent| (is_probe(sent) || user(sent).is_none()).then(|| sent.stored()));
    }
    assert_eq!((line.delivered.len(), &line.parked[..]), (300, &[][..]));
    let said = |reason: &&String| reason.contains("acknowledged only records without User-Name");
    assert!(line.reasons.iter().any(|reason| said(&reason)), "{:?}", line.reasons.last());
    line.run(&mut world, 90, |sent| Some(sent.stored()));
    assert_eq!((line.delivered.len(), &line.parked[..]), (306, &[][..]));
}

#[test]
fn a_record_that_is_never_acknowledged_while_others_are_is_parked_with_the_evidence() {
    for (name, window) in
        [("others are acknowledged beside it", 512), ("others are acknowledged between its visits", 1)]
    {
        let mut world = World::with(1, |settings| {
            impatient(settings);
            settings.window = window;
        });
        let mut line = Line::of(&world, 1..=1);
        let mut last = Timestamp(0);
        for round in 0..40 {
            let key = 100 + round;
            line.waiting.push((world.now.mono, key, 0));
            line.run(&mut world, 10, |sent| (user(sent).as_deref() != Some("user1")).then(|| sent.stored()));
            if line.parked.is_empty() {
                last = world.now.wall;
            }
        }
        let [(1, reason)] = &line.parked[..] else { panic!("{name}: {:?}", line.parked) };
        let parts: Vec<&str> = reason.split("the last one ").collect();
        assert!(reason.contains("visit 3") && parts.len() == 2, "{name}: {reason}");
        let day = last.to_string()[..13].to_owned();
        assert!(parts[1].starts_with(&day), "{name}: {reason}");
        assert_eq!(line.delivered.len(), 40, "{name}");
    }
}

#[test]
fn a_record_that_no_server_of_a_pair_answers_is_parked_although_only_the_first_gets_others() {
    let mut world = World::with(2, impatient);
    let mut line = Line::of(&world, 1..=1);
    for key in 100..500 {
        line.waiting.push((world.now.mono, key, 0));
        line.run(&mut world, 1, |sent| (user(sent).as_deref() != Some("user1")).then(|| sent.stored()));
    }
    let [(1, reason)] = &line.parked[..] else { panic!("{:?}", line.parked) };
    assert!(reason.contains("1813 acknowledged other records, the last one "), "{reason}");
    assert_eq!(line.delivered.len(), 400);
}

#[test]
fn a_lone_record_without_answer_holds_no_other() {
    let mut world = World::with(1, |_| {});
    let wall = world.now.wall;
    submit(&mut world, 1, wall, 0, Some("a"));
    let mut answered = 0;
    for _ in 0..200 {
        world.pass(Duration::from_millis(100));
        for probe in std::mem::take(&mut world.probes) {
            world.receive(&probe, &probe.stored());
            answered += 1;
        }
    }
    assert!(answered > 0 && world.server(0).health == Health::ProbesOnly);
    world.sent.clear();
    world.ended();
    assert_eq!(world.capacity(), 1, "one record finds out");
    let wall = world.now.wall;
    submit(&mut world, 2, wall, 0, Some("b"));
    assert_eq!((world.sent.len(), world.capacity()), (1, 0));
    world.answer_all();
    assert_eq!((world.ended(), world.server(0).health), (vec![(2, "delivered")], Health::Alive));
    assert!(world.capacity() > 1);
}

#[test]
fn while_the_store_behind_the_first_server_is_down_records_go_to_the_second() {
    let mut world = World::with(2, |settings| settings.transmissions = 2);
    let mut line = Line::of(&world, 1..=200);
    let (first, second) = (ServerIndex(0), ServerIndex(1));
    line.run(&mut world, 60, |sent| (is_probe(sent) || sent.server == second).then(|| sent.stored()));
    assert_eq!(line.delivered.len(), 200, "by the second");
    let before = world.server(0).counters.requests;
    for key in 1000..1600 {
        line.waiting.push((world.now.mono, key, 0));
        line.run(&mut world, 1, |sent| (is_probe(sent) || sent.server == second).then(|| sent.stored()));
    }
    let tried = world.server(0).counters.requests - before;
    assert!((5..=12).contains(&tried), "one record a minute tries the first: {tried} in 10 min");
    for key in 2000..2100 {
        line.waiting.push((world.now.mono, key, 0));
        line.run(&mut world, 1, |sent| Some(sent.stored()));
    }
    assert_eq!((world.server(0).health, line.delivered.len(), &line.parked[..]), (Health::Alive, 900, &[][..]));
    let wall = world.now.wall;
    submit(&mut world, 9999, wall, 0, None);
    assert_eq!(world.sent.last().unwrap().server, first, "failback");
}

#[test]
fn a_hop_that_falls_silent_too_is_suspected_and_what_answers_after_that_is_back() {
    let mut world = World::with(1, impatient);
    let mut line = Line::of(&world, 1..=3);
    line.run(&mut world, 30, |sent| is_probe(sent).then(|| sent.stored()));
    assert_eq!(world.server(0).health, Health::ProbesOnly);
    line.run(&mut world, 30, |_| None);
    assert_eq!(world.server(0).health, Health::Suspect);
    line.run(&mut world, 60, |_| None);
    assert_eq!(world.server(0).health, Health::Dead);
    line.run(&mut world, 60, |sent| Some(sent.stored()));
    assert_eq!((world.server(0).health, line.delivered.len()), (Health::Alive, 3));
}

#[test]
fn a_server_that_refuses_every_record_for_a_passing_cause_parks_none() {
    let overload = 505_u32.to_be_bytes();
    let mut world = World::with(1, impatient);
    let mut line = Line::of(&world, 1..=6);
    line.run(&mut world, 7200, |sent| Some(sent.answer(52, &[(101, &overload)])));
    assert_eq!((&line.delivered[..], &line.parked[..]), (&[][..], &[][..]));
    let poison = |sent: &Sent| user(sent).as_deref() == Some("user1");
    let mut key = 100;
    while line.parked.is_empty() && key < 4000 {
        line.waiting.push((world.now.mono, key, 0));
        key += 1;
        line.run(&mut world, 1, |sent| {
            Some(if poison(sent) { sent.answer(52, &[(101, &overload)]) } else { sent.stored() })
        });
    }
    let [(1, reason)] = &line.parked[..] else { panic!("{:?}", line.parked) };
    assert!(reason.contains("Error-Cause 505"), "{reason}");
}
