//! Messages a second into real brokers by one worker, as a sink delivers: `cargo bench --bench events -- [options]`.
//!
//! ```text
//! --records N     records for each figure, default 200000
//! --broker B      nats, amqp or kafka alone; default: all that are installed
//! ```
//!
//! Starts a nats-server with a stream on the disk, a RabbitMQ with a durable queue and, in a build with `--features kafka`, a
//! noida-db with a topic, each in a folder of its own, and prints for each window the messages a second and the CPU of the
//! delivery thread a message: decoding, rendering and the client, and not the broker's own, nor that of the threads that
//! Kafka's client has. `TOLLGATE_BENCH_DIR` names the directory for their files.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a bench is alone in its process")]

mod backlog;
#[path = "../support/mod.rs"]
mod support;

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use tollgate::ids::{RecordIds, Seq};
use tollgate::sinks::attempt::Attempts;
use tollgate::sinks::event::{Body, Envelope};

use backlog::{deliver, leases};
use support::nats::{self, Nats};
use support::rabbit::Rabbit;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages that wait for their acknowledgement.
const WINDOWS: [usize; 3] = [1, 50, 256];

/// Records for a figure: less where each waits for the one before.
const fn share(most: u64, window: usize) -> u64 {
    if window == 1 { most / 20 } else { most }
}

fn body() -> Body {
    let field = |name: &str| (name.to_owned(), name.to_owned());
    Body { fields: vec![field("caller"), field("callee")], leg_fields: Vec::new(), ..nats::body(Envelope::CloudEvents) }
}

fn told(broker: &str, window: usize, (rate, cpu): (f64, f64)) {
    println!("{broker:<5} window {window:>3}: {rate:>7.0} messages/s, {cpu:>5.1} µs of CPU a message");
}

fn main() {
    let (mut most, mut only) = (200_000, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value");
        match word.as_str() {
            "--records" => most = value().parse().expect("a number"),
            "--broker" => only = Some(value()),
            // Cargo says it.
            "--bench" => {}
            other => panic!("what is {other}?"),
        }
    }
    let is_wanted = |broker: &str| only.as_ref().is_none_or(|only| only == broker);
    let parent = std::env::var_os("TOLLGATE_BENCH_DIR").map_or_else(std::env::temp_dir, std::path::PathBuf::from);
    let mut ids = RecordIds::new(7);
    let dir = tempfile::tempdir_in(&parent).unwrap();
    if is_wanted("nats")
        && let Some(server) = Nats::start(dir.path(), "", async_nats::ConnectOptions::new)
    {
        for window in WINDOWS {
            let stream = format!("ACC{window}");
            server.stream(nats::config(&stream, &[&format!("acc{window}.*")]));
            let mut settings = server.settings(&stream, &format!("acc{window}.{{kind}}"));
            settings.body = body();
            settings.delivery.batch_max = window;
            let make = || {
                let link = settings.link("bench");
                Attempts::new("bench", settings.delivery.clone(), settings.render(), link, Seq(0))
            };
            let count = share(most, window);
            told("nats", window, deliver(make, leases(&mut ids, count)));
            assert_eq!(server.count(&stream), count);
            server.with(async |context| assert!(context.delete_stream(&stream).await.unwrap().success));
        }
    }
    if is_wanted("amqp")
        && let Some(broker) = Rabbit::start(dir.path(), "")
    {
        for window in WINDOWS {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            broker.with(async |channel| {
                channel.queue_declare("acc".into(), options, FieldTable::default()).await.unwrap();
            });
            let mut settings = broker.settings("", "acc");
            settings.body = body();
            settings.delivery.batch_max = window;
            let make = || {
                let link = settings.link("bench");
                Attempts::new("bench", settings.delivery.clone(), settings.render(), link, Seq(0))
            };
            let count = share(most, window);
            told("amqp", window, deliver(make, leases(&mut ids, count)));
            broker.with(async |channel| {
                let kept = channel.queue_delete("acc".into(), QueueDeleteOptions::default()).await.unwrap();
                assert_eq!(u64::from(kept), count);
            });
        }
    }
    #[cfg(feature = "kafka")]
    if is_wanted("kafka") {
        kafka(dir.path(), most, &mut ids);
    }
}

#[cfg(feature = "kafka")]
fn kafka(dir: &std::path::Path, most: u64, ids: &mut RecordIds) {
    use support::kafka::{Broker, settings};
    let Some(broker) = Broker::noida(dir) else { return };
    for window in WINDOWS {
        let topic = format!("acc{window}");
        broker.make(&topic, 1, &[]);
        let mut settings = settings(&broker.address(), &topic);
        settings.body = body();
        settings.timeout = std::time::Duration::from_secs(30);
        settings.delivery.batch_max = window;
        let make = || {
            let link = settings.link("bench");
            Attempts::new("bench", settings.delivery.clone(), settings.render(), link, Seq(0))
        };
        let count = share(most, window);
        told("kafka", window, deliver(make, leases(ids, count)));
        assert!(broker.read(&topic).len() as u64 >= count);
    }
}
