//! Messages of AMQP with a real RabbitMQ: what its queues get, and what becomes of records without a queue, without an
//! exchange, with a full queue, and when the broker dies.

use std::collections::HashSet;
use std::ops::Range;

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use tollgate::ids::CallHash;
use tollgate::record::{Kind, Record};
use tollgate::sinks::amqp::Settings;
use tollgate::sinks::attempt::Board;
use tollgate::sinks::secret::Secret;
use tollgate::sinks::view::Board as _;

use crate::support::rabbit::{Got, Rabbit, line};
use crate::support::radius::{Line, field, record};
use crate::support::try_wait_for;

fn stops(numbers: Range<u64>) -> Vec<(Record, CallHash)> {
    let stop = |number| record(Kind::Stop, number, vec![field("tenant", "acme")]);
    numbers.map(stop).map(|record| (CallHash::of(&record.call_id), record)).map(|(call, own)| (own, call)).collect()
}

fn wait_note(line: &Line<Board>, state: &str, part: &str) {
    let mut last = None;
    let found = try_wait_for(|| {
        let view = line.board.views().remove(0);
        last = Some((view.state, view.note.unwrap_or_default()));
        last.as_ref().is_some_and(|(own, note)| *own == state && note.contains(part)).then_some(())
    });
    assert!(found.is_some(), "no `{state}` with `{part}`, but {last:?}");
}

/// Makes a durable queue with these arguments.
fn queue(rabbit: &Rabbit, name: &str, arguments: &[(&str, AMQPValue)]) {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    rabbit.with(async |channel| {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), options, table).await.unwrap();
    });
}

fn ids(got: &[Got]) -> HashSet<String> {
    got.iter().map(|own| own.properties.message_id().as_ref().unwrap().to_string()).collect()
}

#[test]
fn a_broker_confirms_returns_refuses_and_dies_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut rabbit) = Rabbit::start(dir.path()) else { return };

    // By the default exchange, without a queue at first.
    let mut line_of = line(&rabbit.settings("", "cdr.{tenant}"));
    let id = line_of.append(stops(1..2))[0];
    wait_note(&line_of, "up", "there is no queue `cdr.acme`: NO_ROUTE");
    queue(&rabbit, "cdr.acme", &[]);
    line_of.delivered(1);
    let got = rabbit.take("cdr.acme");
    let [own] = &got[..] else { panic!("{got:?}") };
    let properties = &own.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    assert_eq!(text(properties.message_id()), id.to_string());
    assert_eq!((text(properties.kind()), text(properties.content_type())), ("stop".into(), "application/json".into()));
    assert_eq!((properties.delivery_mode(), properties.timestamp()), (&Some(2), &Some(1_700_000_065)));
    let mut want = stops(1..2).remove(0).0.to_json();
    want["id"] = id.to_string().into();
    assert_eq!(own.body, want);
    drop(line_of);

    // An exchange that is missing costs the channel; then it is there.
    let mut line_of = line(&rabbit.settings("acc", "acc.{kind}"));
    let sent = line_of.append(stops(10..60));
    wait_note(&line_of, "misfit", "no exchange 'acc' in vhost '/'");
    rabbit.with(async |channel| {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare("acc".into(), ExchangeKind::Topic, options, FieldTable::default()).await.unwrap();
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare("acc".into(), options, FieldTable::default()).await.unwrap();
        let bind = QueueBindOptions::default();
        channel.queue_bind("acc".into(), "acc".into(), "acc.stop".into(), bind, FieldTable::default()).await.unwrap();
    });
    line_of.delivered(50);
    let got = rabbit.take("acc");
    assert_eq!(ids(&got), sent.iter().map(ToString::to_string).collect());
    assert!(got.iter().all(|own| own.routing_key == "acc.stop"));
    // A key for which no queue is bound holds up no other.
    line_of.append(vec![(record(Kind::Missed, 9, Vec::new()), CallHash::of(b"9"))]);
    line_of.append(stops(100..150));
    line_of.delivered(100);
    wait_note(&line_of, "up", "no queue is bound to the exchange `acc` for the routing key `acc.missed`: NO_ROUTE");

    // Killed in mid-run: at least once.
    let mut sent: HashSet<String> = ids(&rabbit.take("acc"));
    assert_eq!(sent.len(), 50);
    sent.clear();
    for round in 0_u64..2 {
        sent.extend(
            line_of.append(stops(1_000 * (round + 1)..1_000 * (round + 1) + 800)).iter().map(ToString::to_string),
        );
        rabbit.kill();
        rabbit.start_again();
    }
    line_of.delivered(1_700);
    let got = rabbit.take("acc");
    // A broker that is killed forgets acknowledgements too, so that there may be more.
    assert!(sent.is_subset(&ids(&got)), "{} of {} messages", got.len(), sent.len());
    drop(line_of);

    // A full queue that refuses makes records wait.
    let refuses =
        [("x-max-length", AMQPValue::LongInt(5)), ("x-overflow", AMQPValue::LongString("reject-publish".into()))];
    queue(&rabbit, "small", &refuses);
    let mut line_of = line(&rabbit.settings("", "small"));
    let mut sent: HashSet<String> = line_of.append(stops(0..20)).iter().map(ToString::to_string).collect();
    wait_note(&line_of, "down", "a queue for the routing key `small` is full");
    while !sent.is_empty() {
        let got = ids(&rabbit.take("small"));
        assert!(got.is_subset(&sent), "each once: the broker has not kept what it refused");
        sent.retain(|own| !got.contains(own));
    }
    line_of.delivered(20);
    drop(line_of);

    // Who is not known is not let in, and no password is told.
    for settings in [
        Settings { password: Secret::new("wr0ng".to_owned()), ..rabbit.settings("", "small") },
        Settings { vhost: "nowhere".to_owned(), ..rabbit.settings("", "small") },
    ] {
        let mut line_of = line(&settings);
        line_of.append(stops(0..1));
        wait_note(&line_of, "misfit", "the broker does not let us in");
        let note = line_of.board.views().remove(0).note.unwrap_or_default();
        assert!(!note.contains("wr0ng"), "{note}");
    }
}
