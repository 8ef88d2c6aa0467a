//! Buckets of a cluster one server of which was away and is still behind the others, or that is just being made, with real
//! nats-servers.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::iter;
use tokio::time::timeout;
use tollgate::cluster::bucket::Store;
use tollgate::cluster::{Settings, objects};
use tollgate::sinks::jetstream::{Access, Login, Tls};

use crate::support::PATIENCE;
use crate::support::nats_cluster::Servers;

/// Keys that are there before a server dies, and those that are written meanwhile.
const BEFORE: usize = 2_000;
const ALL: usize = 5_000;
/// Octets of each value: what is written while a server is away takes it some seconds to fetch.
const OCTETS: usize = 8_000;
/// Scans at once after its restart, and how often.
const SCANS: usize = 9;
const ROUNDS: usize = 4;
/// Writes under way at once.
const AT_ONCE: usize = 256;

fn settings(servers: &Servers) -> Settings {
    let timeout = Duration::from_secs(5);
    Settings {
        access: Access { servers: servers.urls.clone(), login: Login::None, tls: Tls::default(), timeout },
        name: "gw1".to_owned(),
        stream: Settings::STREAM.to_owned(),
        prefix: Settings::PREFIX.to_owned(),
        replicas: 3,
        partitions: 4,
        duplicate_window: Duration::from_secs(600),
        max_age: Duration::from_secs(86_400),
        lease: Settings::LEASE,
        commands: false,
    }
}

/// Writes so many keys, each with this value, until every write is acknowledged.
async fn write(store: &Store, count: usize, value: &[u8]) {
    let put = async |number: usize| {
        while store.put(&format!("{number:06}"), value.to_vec()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    iter(0..count).map(put).buffer_unordered(AT_ONCE).for_each(async |()| {}).await;
}

/// How often a bucket is made anew under a process that asks it.
const MADE: usize = 40;

#[test]
fn a_bucket_may_be_asked_while_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 1, "") else { return };
    let settings = Settings { replicas: 1, ..settings(&servers) };
    let bucket = settings.state();
    servers.with(async |context| {
        drop(objects::ensure(&context, &settings).await.unwrap());
        let asking = jetstream::new(async_nats::connect(&servers.urls[0]).await.unwrap());
        let store = Store::new(&asking, &bucket).await.unwrap();
        let (unread, read) = (Cell::new(0), Cell::new(0));
        let asks = async {
            loop {
                let count = match store.get("no.such.key").await {
                    Ok(value) => {
                        assert_eq!(value, None);
                        &read
                    }
                    Err(_) => &unread,
                };
                count.set(count.get() + 1);
            }
        };
        let makes = async {
            for _ in 0..MADE {
                context.delete_stream(bucket.stream()).await.unwrap();
                unread.set(0);
                while unread.get() == 0 {
                    tokio::task::yield_now().await;
                }
                drop(objects::ensure(&context, &settings).await.unwrap());
                read.set(0);
                while read.get() == 0 {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::select! {
            () = asks => {}
            made = timeout(PATIENCE, makes) => made.expect("the server lives"),
        }
    });
}

#[test]
fn a_scan_is_whole_while_a_server_catches_up_with_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 3, "") else { return };
    let settings = settings(&servers);
    let bucket = settings.calls();
    servers.with(async |context| drop(objects::ensure(&context, &settings).await.unwrap()));
    servers.with(async |context| write(&Store::new(&context, &bucket).await.unwrap(), BEFORE, &[b'o'; OCTETS]).await);
    let leader = servers.leader(&bucket.stream());
    let follower = (1..=3).find(|number| *number != leader).unwrap();
    servers.tell(&format!("kill {follower}"));
    servers.with(async |context| write(&Store::new(&context, &bucket).await.unwrap(), ALL, &[b'n'; OCTETS]).await);
    servers.tell(&format!("start {follower}"));
    let want: BTreeSet<String> = (0..ALL).map(|number| format!("{number:06}")).collect();
    servers.with(async |context| {
        let store = Store::new(&context, &bucket).await.unwrap();
        let mut whole = 0;
        for round in 0..ROUNDS {
            // Each is given to a server of its own.
            for found in join_all((0..SCANS).map(|_| store.scan(">"))).await {
                // One that says that it cannot is tried again by whoever asks.
                let found = match found {
                    Ok(found) => found,
                    Err(error) => {
                        eprintln!("round {round}: {error}");
                        continue;
                    }
                };
                let old = found.iter().filter(|(_, value)| value.bytes[0] == b'o').count();
                let keys: BTreeSet<String> = found.into_iter().map(|(key, _)| key).collect();
                let missing = want.difference(&keys).count();
                assert_eq!((missing, old, keys.len()), (0, 0, ALL), "missing, old and found in round {round}");
                whole += 1;
            }
        }
        assert!(whole > 0, "some scan succeeds");
    });
}
