//! Lanes read out of a real nats-server's stream: what a predecessor has left, and messages that stand where others stood.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{Context, stream};
use futures_util::TryStreamExt as _;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tollgate::clock::mono;
use tollgate::cluster::deliver::book::{LaneId, Wanted};
use tollgate::cluster::deliver::leading::{Led, before, leader, nanos};
use tollgate::cluster::deliver::reader::{Came, Reader, Source, Wires};
use tollgate::cluster::progress::Mark;
use tollgate::ids::SinkNumber;

use crate::deliver::nats;
use crate::support::PATIENCE;
use crate::support::nats_cluster::Servers;

const STREAM: &str = "S";
/// Longest time in which nothing may come.
const NOTHING_COMES: Duration = Duration::from_secs(2);

/// The stream of a test, with this many copies.
async fn make(context: &Context, copies: usize) -> u64 {
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["lane".to_owned()],
        num_replicas: copies,
        ..stream::Config::default()
    };
    let created = context.create_stream(config).await.unwrap().cached_info().created;
    nanos(created)
}

async fn publish(context: &Context, count: usize) {
    for _ in 0..count {
        context.publish("lane", "record".into()).await.unwrap().await.unwrap();
    }
}

/// The message at a place.
async fn mark(context: &Context, place: u64) -> Mark {
    let stream = context.get_stream(STREAM).await.unwrap();
    Mark { place, time: nanos(stream.get_raw_message(place).await.unwrap().time) }
}

/// A lane that is read, and what comes of it.
struct Lane {
    coming: mpsc::Receiver<(LaneId, Came)>,
    led: watch::Sender<Led>,
    ending: watch::Sender<bool>,
}

/// What came, for a look at it.
#[derive(Debug, Eq, PartialEq)]
enum Saw {
    At(u64),
    Sure(u64),
    CaughtUp,
    Moved,
    Ended,
}

impl Lane {
    fn new(context: &Context, wanted: Wanted) -> (Self, Reader) {
        let (out, coming) = mpsc::channel(16);
        let (led, ending) = (watch::Sender::default(), watch::Sender::new(false));
        let source = Source {
            context: context.clone(),
            stream: STREAM.to_owned(),
            subject: "lane".to_owned(),
            lane: LaneId { partition: 0, sink: SinkNumber(0) },
        };
        let wires = Wires { room: Arc::new(Semaphore::new(16)), out, led: led.subscribe(), ending: ending.subscribe() };
        (Self { coming, led, ending }, Reader::new(source, wanted, wires))
    }

    async fn next(&mut self) -> Saw {
        match timeout(PATIENCE, self.coming.recv()).await.expect("something comes") {
            Some((_, Came::Message { mark, .. })) => Saw::At(mark.place),
            Some((_, Came::Sure(mark))) => Saw::Sure(mark.place),
            Some((_, Came::CaughtUp)) => Saw::CaughtUp,
            Some((_, Came::Moved)) => Saw::Moved,
            Some((_, Came::Anew)) => panic!("it is the stream"),
            None => Saw::Ended,
        }
    }

    async fn see<const N: usize>(&mut self) -> [Saw; N] {
        let mut saw = [const { Saw::Ended }; N];
        for saw in &mut saw {
            *saw = self.next().await;
        }
        saw
    }

    /// Tells who leads until something is certain by that.
    async fn sure(&mut self, context: &Context) -> Saw {
        loop {
            self.tell(context).await;
            if let Ok(saw) = timeout(NOTHING_COMES / 8, self.next()).await {
                return saw;
            }
        }
    }

    /// Tells who leads at the moment.
    async fn tell(&self, context: &Context) {
        let asked = mono();
        let stream = context.get_stream(STREAM).await.unwrap();
        self.led.send_replace(Led { by: leader(stream.cached_info()).unwrap(), asked });
    }
}

/// What is wanted of a lane of which this was read, and of which these are open.
fn wanted(stream: u64, mark: Mark, open: &[Mark]) -> Wanted {
    let next = open.first().map_or(mark.place + 1, |first| first.place);
    Wanted { stream, next, owed: open.iter().copied().collect(), mark }
}

const NOT_KNOWN: Mark = Mark { place: 0, time: 0 };

/// Reads what is wanted, while `looks` looks at it.
async fn reads(context: &Context, wanted: Wanted, looks: impl AsyncFnOnce(Lane)) {
    let (lane, reader) = Lane::new(context, wanted);
    tokio::join!(reader.run(), looks(lane));
}

#[test]
fn what_a_predecessor_has_left_open_is_waited_for_until_the_leader_knows_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    nats.with(async |context| {
        let made = make(&context, 1).await;
        publish(&context, 3).await;
        let owed = [Mark { place: 2, time: 0 }, Mark { place: 5, time: 0 }];
        reads(&context, wanted(made, Mark { place: 5, time: 0 }, &owed), async |mut lane| {
            assert_eq!(lane.see().await, [Saw::At(2), Saw::At(3)]);
            // Servers that lag, or did: the fourth message and the fifth are not there yet.
            assert!(timeout(NOTHING_COMES, lane.next()).await.is_err(), "the end is not known");
            publish(&context, 2).await;
            assert_eq!(lane.see().await, [Saw::At(4), Saw::At(5)]);
            lane.ending.send_replace(true);
        })
        .await;
    });
}

#[test]
fn what_came_before_it_was_asked_who_leads_is_certain_and_a_lane_that_ends_waits_for_that() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    nats.with(async |context| {
        let made = make(&context, 1).await;
        publish(&context, 2).await;
        reads(&context, wanted(made, NOT_KNOWN, &[]), async |mut lane| {
            assert_eq!(lane.see().await, [Saw::At(1), Saw::At(2)]);
            assert_eq!(lane.sure(&context).await, Saw::Sure(2));
            publish(&context, 1).await;
            assert_eq!(lane.next().await, Saw::At(3));
            lane.ending.send_replace(true);
            publish(&context, 1).await;
            lane.tell(&context).await;
            assert_eq!(lane.see().await, [Saw::Sure(3), Saw::Sure(3), Saw::Ended]);
        })
        .await;
    });
}

#[test]
fn a_lane_whose_messages_are_others_now_is_not_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    nats.with(async |context| {
        let made = make(&context, 1).await;
        publish(&context, 6).await;
        let at = async |place| mark(&context, place).await;
        let other = async |place| Mark { time: at(place).await.time - 1, place };
        let beyond = Mark { place: 9, time: at(6).await.time };
        context.get_stream(STREAM).await.unwrap().delete_message(5).await.unwrap();
        let rows = [
            ("the last one that was read is another one", wanted(made, other(4).await, &[]), 0),
            ("the last one that was read is not there", wanted(made, Mark { place: 5, ..other(4).await }, &[]), 0),
            ("the stream ends before the last one that was read", wanted(made, beyond, &[]), 0),
            ("an open one is another one", wanted(made, at(4).await, &[at(2).await, other(3).await]), 1),
            ("an open one is not there", wanted(made, at(6).await, &[at(4).await, Mark { place: 5, time: 7 }]), 1),
        ];
        for (what, wanted, come) in rows {
            reads(&context, wanted, async |mut lane| {
                for _ in 0..come {
                    assert!(matches!(lane.next().await, Saw::At(_)), "{what}");
                }
                assert_eq!(lane.see().await, [Saw::Moved, Saw::Ended], "{what}");
            })
            .await;
        }
    });
}

#[test]
fn what_the_stream_has_let_go_for_its_age_says_nothing_against_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    nats.with(async |context| {
        let made = make(&context, 1).await;
        publish(&context, 5).await;
        let open = [mark(&context, 2).await, mark(&context, 5).await];
        let last = mark(&context, 5).await;
        let stream = context.get_stream(STREAM).await.unwrap();
        stream.purge().sequence(5).await.unwrap();
        reads(&context, wanted(made, last, &open), async |mut lane| {
            assert_eq!(lane.see().await, [Saw::At(5), Saw::CaughtUp]);
            stream.purge().await.unwrap();
            publish(&context, 1).await;
            assert_eq!(lane.next().await, Saw::At(6));
            lane.ending.send_replace(true);
        })
        .await;
        reads(&context, wanted(made, last, &[]), async |mut lane| {
            assert_eq!(lane.next().await, Saw::At(6));
            lane.ending.send_replace(true);
        })
        .await;
    });
}

#[test]
fn the_first_message_of_a_time_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    nats.with(async |context| {
        make(&context, 1).await;
        let found = async |time| {
            let stream = context.get_stream(STREAM).await.unwrap();
            before(&stream, time).await.unwrap()
        };
        assert_eq!(found(1).await, 0);
        publish(&context, 9).await;
        let at = async |place| mark(&context, place).await.time;
        let times = [(1, 0), (at(1).await, 0), (at(1).await + 1, 1), (at(7).await, 6), (at(9).await, 8), (u64::MAX, 9)];
        for (time, want) in times {
            assert_eq!(found(time).await, want);
        }
    });
}

#[test]
fn a_lane_is_read_from_the_server_that_leads_whoever_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 3, "") else { return };
    servers.with(async |context| {
        let made = make(&context, 3).await;
        publish(&context, 3).await;
        let first = context.get_stream(STREAM).await.unwrap().cached_info().cluster.clone().unwrap().leader;
        reads(&context, wanted(made, NOT_KNOWN, &[]), async |mut lane| {
            assert_eq!(lane.see().await, [Saw::At(1), Saw::At(2), Saw::At(3)]);
            all_at(&context, first.as_deref()).await;
            assert_eq!(lane.sure(&context).await, Saw::Sure(3));
            publish(&context, 1).await;
            assert_eq!(lane.next().await, Saw::At(4));
            let second = step_down(&context, &first).await;
            publish(&context, 1).await;
            lane.tell(&context).await;
            // The fourth was not certain yet, and comes again without being told again.
            assert_eq!(lane.next().await, Saw::At(5));
            assert_eq!(lane.sure(&context).await, Saw::Sure(5));
            all_at(&context, second.as_deref()).await;
            lane.ending.send_replace(true);
        })
        .await;
    });
}

/// Waits until all consumers of the stream are at a server: those that were drawn elsewhere are removed.
async fn all_at(context: &Context, server: Option<&str>) {
    let look = async || {
        let stream = context.get_stream(STREAM).await.ok()?;
        let consumers: Vec<_> = stream.consumers().try_collect().await.ok()?;
        let mut at = consumers.iter().map(|consumer| consumer.cluster.as_ref()?.leader.as_deref());
        (!consumers.is_empty() && at.all(|at| at == server)).then_some(())
    };
    let looks = async { while look().await.is_none() {} };
    timeout(PATIENCE, looks).await.expect("the lane is read from the leader");
}

/// Has another server lead; gives its name.
async fn step_down(context: &Context, before: &Option<String>) -> Option<String> {
    let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{STREAM}");
    context.client().request(subject, "".into()).await.unwrap();
    loop {
        if let Ok(stream) = context.get_stream(STREAM).await {
            let leader = stream.cached_info().cluster.clone().and_then(|cluster| cluster.leader);
            if leader.as_deref().is_some_and(|leader| !leader.is_empty()) && leader != *before {
                return leader;
            }
        }
        tokio::task::yield_now().await;
    }
}
