//! More than one machine: the records of many gateways in one replicated stream of NATS JetStream, and what its gateways
//! and deliverers know of each other in two buckets beside it.
//!
//! The queue of a gateway stays the first durable place. Each of its sinks is *forwarded*: what the worker of a sink would
//! send to a backend is published to the stream instead, one message for each record and sink, and settled by the stream's
//! acknowledgement. `tollgate deliver` takes it from there. SIP waits for nothing of this.
//!
//! * **Order.** A message's subject ends in its partition, the hash of the Call-ID modulo the number of partitions, so that
//!   all records of a call are in one. A batch has one record of a session at most (`sinks::attempt`), and the next one
//!   goes when that is acknowledged.
//! * **Once.** A message's id is that of its record with the sink's name; a record that ends a session is named by the
//!   session instead, so that two gateways that both end a call store one. The stream knows repeats for
//!   [`Settings::duplicate_window`]. A time-out says "probably stored", a refusal for want of a leader "not stored"; both are
//!   repeated under the same id.
//! * **Objects.** The stream and the buckets are made when a process starts and they are missing ([`objects`]), never later:
//!   a stream that is deleted under a running gateway is an alarm, for records in it were lost. Buckets are streams that are
//!   made as such, without direct gets, whose answers may be stale.
//!
//! [`forward`] publishes, [`names`] has subjects, ids and keys, [`objects`] the stream and the buckets, [`link`] connects;
//! [`lease`] says who may have what, [`roster`] and [`share`] which deliverer has which partition. [`bucket`] reads and
//! writes values by revision, [`progress`] says how far a lane is delivered, [`admission`] which records may go, [`deliver`]
//! is the deliverer; [`ask`] asks all of them, and has them act; [`trial`] says beforehand whether they could;
//! [`backlog`] counts what waits in the stream;
//! [`scale`] is what it takes for more calls than anybody has tried.

pub mod admission;
pub mod ask;
pub mod backlog;
pub mod bucket;
pub mod calls;
pub mod deliver;
pub mod forward;
pub mod lease;
pub mod link;
pub mod names;
pub mod objects;
pub mod progress;
pub mod roster;
mod scale;
mod settings;
pub mod share;
pub mod trial;

pub use settings::Settings;
