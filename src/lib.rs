//! Tollgate, an accounting gateway for SIP.
//!
//! It stands in the SIP path as a transaction-stateful, record-routing proxy, turns what passes into accounting
//! records, commits each record to a durable queue before the response leaves, and delivers it from there.
//!
//! # The life of a call
//!
//! 1. A datagram comes to a socket of a shard's thread ([`front::driver`]), or a message out of a connection to the thread
//!    that holds them all ([`front::stream`]). The hash of the Call-ID says which shard owns the call; the others post it
//!    there ([`front::mailbox`]). So no two threads ever touch the same call, and nothing is locked.
//! 2. [`sip::message`] parses it in place. [`shard::Shard`], which has no socket and no clock of its own, feeds it to the
//!    SIP machine, [`sip::stack::Stack`]: transactions by RFC 3261 §17 ([`sip::transaction`]), who may ask and where
//!    the request stands (`sip::stack::standing`), signed Record-Route values ([`sip::dialog`]), routing ([`sip::proxy`]).
//! 3. For a new request the machine asks how to treat it. The shard's [`policy::Policy`] decides, by the routes as a rule
//!    (`src/shard/tests/policy.rs` is an example of another one): targets, and which sinks are told of what. When a round of branches has failed it is asked again. A target that is a name is asked of the resolver ([`front::resolver`]), a thread of its own.
//! 4. What happens to the transaction, a [`sip::stack::Event`], goes to [`accounting::Engine`], which keeps the calls and makes the records.
//!    Which response to which BYE ends a call is one table, `accounting::finding`.
//! 5. A [`record::Record`] is a fact in values. It is encoded by [`record::codec`] and handed over with the changes to the
//!    calls in progress as one [`record::Commit`], to the only thread that touches the disk ([`queue::thread`]).
//!    **The final response waits** in `shard::held` until the receipt says that its record is on disk; when the disk takes
//!    longer than `queue.commit_wait_max_ms` it leaves all the same, counted; longer than
//!    `queue.refuse_after_ms`, new calls are refused.
//! 6. The queue lends the record to each sink that wants it, in order within a session, until the sink settles it
//!    ([`queue::Queue`]). `sinks::worker` is the loop of a sink on the delivery thread: lease, render, send, settle.
//! 7. A sink renders the record ([`sinks::mapping`] has what all of them do alike) and gives it to its protocol machine:
//!    [`radius::client`] with windows, fail-over and back-off, or [`diameter::route`] over [`diameter::peer`]. A response
//!    counts only if it is authentic: `radius::client::signing` checks it, `radius::authenticator` computes it; what a
//!    forged one means is said in `radius::client::receiving` for datagrams, in `radius::client::streams` for connections.
//!
//! Threads: the shards, by default one for each core but one; one that owns the queue, one that delivers, one that
//! resolves names, one that holds the connections of SIP when there are any, one that writes the ledger and one that sends
//! spans where they are wanted, and one for each sink that writes files. All between them is bounded.
//!
//! # Where things are
//!
//! Modules import from layers below their own, and beside themselves only what a table permits; `tests/sources/tidy.rs` holds the table, and which modules of one layer
//! know nothing of each other. Machines have no sockets, threads or clocks: they take inputs with the time and give
//! outputs, so that tests run them in virtual time.
//!
//! | to add | look at |
//! |---|---|
//! | a backend that takes batches | [`sinks::attempt`]: an `Attempt` and what makes an item of a record; then as a kind of sink |
//! | a kind of sink | a folder in [`sinks`], its settings a [`sinks::kind::Kind`]; a folder in [`config::kinds`], and a line in the list there; both folders' `mod` lines; its part of `etc/tollgate.toml` |
//! | a type of an SQL column | a variant of `sinks::sql::catalogue::Type`; each database's names for it in `sinks::sql::database` (`mysql`, `postgres`, `sqlite`); how a value is made to fit it, `sinks::sql::fit` |
//! | a variable of routes and fields | [`vars`] |
//! | another way to decide, such as a routing script | [`policy::Policy`], and the [`policy::Recipe`] that every shard builds its own from; `src/shard/tests/policy.rs` is a whole one, and [`policy::Routes`] the one of the configuration |
//! | an option | [`config::schema`], its check in `config::check`, its effect on reload in [`config::reload`], `etc/tollgate.toml` |
//! | a command | [`cli`]; over the socket of a running service, [`admin`] |
//! | a value of records | [`record`], its octets in [`record::codec`] (old ones must stay readable), `sinks::mapping` |
//! | a timer, a random number, a back-off, a limit to a rate | [`timers`] |
//! | what gateways know of each other | [`cluster`] |
//! | a socket, a connection, TLS of either end | [`net`] |

#![deny(missing_docs, unsafe_code)]
// What is written here is for those who read the sources: `cargo doc --document-private-items` shows all that it links to.
#![allow(rustdoc::private_intra_doc_links)]

// Layer 0: what everything else is built of.
pub mod causes;
pub mod clock;
pub mod ids;
pub mod metric;
pub mod names;
pub(crate) mod timers;
pub(crate) mod units;

// Layer 1: what a record is, and its bytes on disk.
pub mod record;

// Layer 2: parse and print (and `sip::message`); sockets and TLS without policy.
pub mod dictionary;
pub mod net;

// Layer 3: sled behind append, lease and settle.
pub mod queue;

// Layer 4: protocol machines without sockets.
pub mod diameter;
pub mod hep;
pub mod radius;
pub mod sip;

// Layer 5: what is to be recorded, and one shard's whole logic.
pub mod accounting;
pub mod mirror;
pub mod policy;
pub mod shard;
pub mod vars;

// Layer 6: shells with sockets, logs and metrics.
pub mod admin;
pub(crate) mod front;
pub mod ledger;
pub mod sinks;
pub mod telemetry;

// Layer 7: more than one machine.
pub mod cluster;

// Layer 8: the service and its commands.
pub mod cli;
pub mod config;
pub mod import;
pub(crate) mod service;
