//! On paper: what 1 000, 50 000 and 1 000 000 calls a second take. There is no code here.
//!
//! What was *measured* stands in `tests/README.md` or in the manual; what is *assumed* nobody has tried. A call is two records (Start,
//! Stop) for one sink and lasts 180 s; each further sink adds its messages.
//!
//! # What goes in
//!
//! | | | |
//! |---|---|---|
//! | a gateway, by tables or script | 170 to 190 µs of CPU a call | measured |
//! | the queue's thread in it, the narrowest place | 22 to 25 µs a call: 40 000 calls/s | measured |
//! | publishing | 7 µs a message, 65 000 messages/s into one server | measured, one copy |
//! | a stream with three copies | 20 000 messages/s | assumed: a third |
//! | a record in the stream | 500 octets and 150 around it | record measured, the rest counted |
//! | a call in the bucket | 1 KiB, three writes a call | call measured at 1.1 KiB in memory, writes counted |
//! | a deliverer | 10 µs a record in its queue, 10 µs to send it by RADIUS, one thread each: 20 000 records/s | measured apart |
//! | FreeRADIUS | 78 µs a record | measured |
//! | a lease | a renewal a second for each partition and process (`lease_ms` 4 000) | counted |
//!
//! # What comes out
//!
//! | | 1 000 calls/s | 50 000 | 1 000 000 |
//! |---|---|---|---|
//! | calls in progress | 180 000 | 9 000 000 | 180 000 000 |
//! | messages a second, records and calls | 5 000 | 250 000 | 5 000 000 |
//! | cells: a stream, two buckets, three servers | 1 | 16 of 3 125 calls/s | 320 |
//! | gateways of four cores, two a cell so that one may fail, a quarter busy | 2 | 32 | 640 |
//! | deliverers | 2 | 32, two a cell | 640 |
//! | partitions of a cell | 16 | 16 | 16 |
//! | records on disk, each copy | 1.3 MB/s, 112 GB a day | 65 MB/s, 5.6 TB a day | 1.3 GB/s, 112 TB a day |
//! | calls on disk, each copy | 180 MB | 9 GB | 180 GB |
//! | writes on the disk of one server of a cell, both | 4.4 MB/s | 14 MB/s | 14 MB/s |
//! | cores of FreeRADIUS, busy | 0.2 | 8 | 160 |
//! | seconds until a dead gateway's or deliverer's part goes on | `lease_ms` and a quarter, 5 | 5 | 5 |
//! | the same for a leader of NATS | 4 to 8, then a lease | the same, of one cell | the same, of one cell |
//!
//! A *cell* is `[cluster]` as it is: one `prefix`, one stream. A stream has one leader, and that is the end of a cell, at some 5 000 calls/s by the
//! figures above. More calls are more cells: a gateway belongs to one, and requests inside a call have to come back to a gateway of the same cell,
//! by an address of the cell in Record-Route. Nothing is shared between cells, so that nothing grows with their number but the list of them.
//! `max_age_days` is what the disks decide: 30 days of 1 000 calls/s are 3.4 TB a copy; two days are enough where an outage of a backend is
//! mended in one.
//!
//! Backends are where it ends first: one SQL database takes some 10 000 rows a second, so that above 5 000 calls/s the rows are divided, by cell.
//! A report over all of them is asked of copies, not of these.
//!
//! # What the loss of a region costs
//!
//! With all three servers of a cell in one region: the stream's records that were not delivered, which is what was on its way (a second of records) while
//! backends answer, and everything since they stopped otherwise; and the calls in progress of that region, of which no Stop is ever written. The gateways'
//! own disks have what the stream had not acknowledged. With the servers of a cell in three regions nothing is lost with one of them, and each record waits
//! for the second-nearest region's answer, 10 to 40 ms, in the gateway's queue and in no call: SIP does not wait for it. The 4 to 8 s of an election are the
//! same. A mirror of the stream in another region (JetStream copies it without waiting) loses its delay, a second or less while the lines are good, and
//! takes over by hand: `tollgate deliver` with its name as `stream`, and the progress of the lost bucket has to be rebuilt from what backends have (`tollgate audit
//! --against`), for a mirror of the bucket may be older than that of the stream.
