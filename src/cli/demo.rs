//! `tollgate demo`: the main job on loopback with nothing installed.
//!
//! A whole gateway starts in this process, with an embedded RADIUS and an embedded Diameter collector behind it, an SQLite
//! database, a socket for lines of syslog, a caller and two callees. Three calls are placed: one that is answered, one
//! whose first target is busy and whose second answers (two legs), and one that is missed. A summary of 15 lines shows the
//! calls, what became of their records, and the balance of the queue; the rows and lines follow, and with `--verbose` every
//! record as both collectors decoded it.

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;

use super::Failure;
use super::demo_agents::{Callee, Caller, Temper};
use super::demo_sinks::{Database, Log, Row};
use super::output::print;
use crate::admin;
use crate::config;
use crate::dictionary::{self, Dictionary};
use crate::queue::{Desk as _, SinkStats};
use crate::radius::Secret;
use crate::service::Service;
use crate::sinks::kind::Tables;
use crate::sinks::{diameter, radius};

/// How long the answered calls last.
const TALK: Duration = Duration::from_millis(1_200);
/// Longest wait for one record at the collector.
const RECORD_WAIT: Duration = Duration::from_secs(10);
/// How often the queue is asked whether all is settled, and how long at most.
const BALANCE_LOOK: Duration = Duration::from_millis(20);
const BALANCE_LOOKS_MAX: u32 = 250;
/// Any free port of loopback.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Shared secret of gateway and collector.
const SECRET: &str = "demo-secret-on-loopback";

/// The calls: the user that is called, what is to be seen, and how many records it makes.
const CALLS: [(&str, &str, usize); 3] = [
    ("100", "answered", 2),
    ("200", "first target busy, second answers: two legs", 3),
    ("300", "busy and nobody else: missed", 2),
];

/// `tollgate demo`
#[derive(Args, Debug)]
pub struct Arguments {
    /// Print every record as the RADIUS and the Diameter collector decoded it
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the demo.
///
/// # Errors
/// When loopback cannot be used, or when the gateway does not do its job.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = tempfile::tempdir().context("cannot make a folder for the queue")?;
    let (collector, records) = start_collector("collector", collect_radius)?;
    let (cdf, requests) = start_collector("cdf", collect_diameter)?;
    let log = Log::bind(folder.path(), RECORD_WAIT).context("cannot make a socket for syslog")?;
    let (answering, busy) = (Callee::start(Temper::Answers)?, Callee::start(Temper::Busy)?);
    let listen = free_address()?;
    let text = configuration(folder.path(), listen, [collector, cdf], &log.path, answering.address, busy.address)?;
    let plan = config::parse(&folder.path().join("tollgate.toml"), &text, ::config::Map::new())
        .map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
    let statements =
        plan.sinks.iter().filter_map(|sink| sink.kind.tables()).map(Tables::statements).collect::<String>();
    let database = Database::create(&folder.path().join("acc.sqlite"), &statements)?;
    let metrics =
        admin::metrics::install(crate::service::metrics::all()).context("cannot install the metrics recorder")?;
    let service = Service::start(plan, metrics, &mut || {}).map_err(anyhow::Error::from)?;
    let mut sides = Sides { collected: [records, requests], database, log };
    let begun = format!(
        "gateway on {listen}; behind it a RADIUS and a Diameter collector, SQLite and syslog; three calls, some seconds\n\n"
    );
    let shown = print(&begun).map_err(Into::into).and_then(|()| place_calls(listen, &mut sides));
    let result = shown.and_then(|calls| {
        balance(&service)?;
        calls.iter().try_for_each(|call| call.print(arguments.verbose))?;
        if !arguments.verbose {
            print("\n--verbose prints each record as both collectors decoded it.")?;
        }
        Ok(())
    });
    service.drain();
    service.stop();
    Ok(result?)
}

/// Where records arrive.
struct Sides {
    collected: [Receiver<Shown>; 2],
    database: Database,
    log: Log,
}

/// What arrived of a call.
struct Seen {
    title: String,
    packets: Vec<String>,
    rows: Vec<Row>,
    lines: Vec<String>,
}

impl Seen {
    /// All of it; packets where they are wanted.
    fn print(&self, with_packets: bool) -> io::Result<()> {
        let packets = self.packets.iter().filter(|_| with_packets).map(String::as_str);
        let rows = self.rows.iter().map(|row| row.text.as_str());
        let all = packets.chain(rows).chain(self.lines.iter().map(String::as_str));
        let text: String = all.map(|line| format!("  {line}\n")).collect();
        print(&format!("\n{}\n{text}", self.title))
    }
}

/// Places the calls and tells of each, on a line, when all its records are there.
fn place_calls(gateway: SocketAddr, sides: &mut Sides) -> anyhow::Result<Vec<Seen>> {
    let caller = Caller::new(gateway)?;
    let mut calls = Vec::new();
    print(&format!("{:<54} {:<13} legs records seconds  delivered to", "call", "response"))?;
    for (number, (user, what, count)) in CALLS.into_iter().enumerate() {
        let answered = caller.call(user, TALK)?;
        let mut packets = Vec::new();
        for records in &sides.collected {
            for _ in 0..count {
                let record = records.recv_timeout(RECORD_WAIT).context("a record did not reach its collector")?;
                ensure!(!record.is_repeat, "a record came twice");
                packets.extend(record.lines);
            }
        }
        let rows = sides.database.wait(&answered.call_id, count, RECORD_WAIT)?;
        let lines = (0..count).map(|_| sides.log.next()).collect::<Result<Vec<_>, _>>();
        let lines = lines.context("a line did not reach its socket")?;
        let foreign = lines.iter().find(|line| !line.contains(&answered.call_id));
        ensure!(foreign.is_none(), "a line is of another call: {}", foreign.map_or("", String::as_str));
        let legs = rows.iter().map(|row| row.leg).max().unwrap_or_default();
        let millis = rows.iter().filter_map(|row| row.duration_ms).max();
        let seconds = millis.map_or("-".to_owned(), |millis| format!("{}.{}", millis / 1000, millis % 1000 / 100));
        let title = format!("{} to {user}: {what}", number + 1);
        print(&format!(
            "{title:<54} {:<13} {legs:>4} {count:>7} {seconds:>7}  RADIUS, Diameter, SQLite, syslog",
            answered.status
        ))?;
        ensure!(
            answered.ended == (seconds != "-"),
            "an answered call has a duration in its rows, and no other has one"
        );
        calls.push(Seen { title: format!("call {title}"), packets, rows, lines });
    }
    Ok(calls)
}

/// Prints the balance once everything is settled.
fn balance(service: &Service) -> anyhow::Result<()> {
    let mut queue = service.queue().clone();
    let mut looks = 0;
    let sinks = loop {
        let stats = queue.status().context("the queue does not answer")?;
        looks += 1;
        if stats.sinks.iter().all(|sink| sink.balance.waiting == 0) || looks >= BALANCE_LOOKS_MAX {
            break stats.sinks;
        }
        std::thread::park_timeout(BALANCE_LOOK);
    };
    print(&format!("\n{:<12} appended = delivered + parked + waiting", "sink"))?;
    for SinkStats { name, balance, .. } in sinks {
        print(&format!(
            "{name:<12} {:>8} {:>11} {:>8} {:>9}",
            balance.appended, balance.delivered, balance.parked, balance.waiting
        ))?;
        let wanted: usize = CALLS.iter().map(|(_, _, count)| count).sum();
        ensure!(balance.holds(), "the balance does not hold");
        ensure!(balance.delivered == wanted as u64, "{} records delivered, {wanted} expected", balance.delivered);
    }
    Ok(())
}

/// A record as a collector decoded it.
struct Shown {
    is_repeat: bool,
    lines: Vec<String>,
}

/// A collector on a thread of its own, which tells its address and what it gets; it ends with the process.
fn start_collector(
    name: &'static str,
    collect: impl AsyncFnOnce(Sender<SocketAddr>, Sender<Shown>) -> io::Result<()> + Send + 'static,
) -> anyhow::Result<(SocketAddr, Receiver<Shown>)> {
    let (found, records) = channel();
    let (bound, address) = channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Err(error) = runtime.and_then(|runtime| runtime.block_on(collect(bound, found))) {
            eprintln!("the collector {name} failed: {error}");
        }
    })?;
    Ok((address.recv().with_context(|| format!("the collector {name} did not start"))?, records))
}

async fn collect_radius(bound: Sender<SocketAddr>, found: Sender<Shown>) -> io::Result<()> {
    let dictionary = Arc::new(Dictionary::builtin());
    let mut collector = radius::Collector::bind(ANY, Secret::new(SECRET), dictionary).await?;
    let _waited_for = bound.send(collector.address()?);
    loop {
        let record = collector.next().await?;
        let attributes = record.attributes.iter().map(|attribute| format!("  {attribute}"));
        let lines = std::iter::once("Accounting-Request".to_owned()).chain(attributes).collect();
        if found.send(Shown { is_repeat: record.is_repeat, lines }).is_err() {
            return Ok(());
        }
    }
}

async fn collect_diameter(bound: Sender<SocketAddr>, found: Sender<Shown>) -> io::Result<()> {
    let dictionary = Arc::new(dictionary::diameter::Dictionary::builtin());
    let mut collector = diameter::Collector::bind(ANY, "cdf.demo.invalid", "demo.invalid", dictionary).await?;
    let _waited_for = bound.send(collector.address());
    while let Some(request) = collector.next().await {
        let lines =
            std::iter::once(request.title).chain(request.lines.iter().map(|line| format!("  {line}"))).collect();
        if found.send(Shown { is_repeat: request.is_repeat, lines }).is_err() {
            break;
        }
    }
    Ok(())
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).context("loopback has no free port")
}

/// Writes the radiusclient files and gives the text of `tollgate.toml`.
fn configuration(
    folder: &Path,
    listen: SocketAddr,
    [collector, cdf]: [SocketAddr; 2],
    log: &Path,
    answering: SocketAddr,
    busy: SocketAddr,
) -> anyhow::Result<String> {
    let client = format!(
        "acctserver {}:{}\nservers {}\nradius_timeout 2\nradius_retries 3\nnas-identifier demo\nnas-ip 127.0.0.1\n",
        collector.ip(),
        collector.port(),
        folder.join("servers").display()
    );
    write(&folder.join("radiusclient.conf"), &client)?;
    let diameter = format!(
        "identity gw.demo.invalid\nrealm demo.invalid\nacctserver cdf.demo.invalid={}:{}\n",
        cdf.ip(),
        cdf.port()
    );
    write(&folder.join("diameterclient.conf"), &diameter)?;
    write(&folder.join("servers"), &format!("{} {SECRET}\n", collector.ip()))?;
    Ok(toml(folder, listen, log, answering, busy))
}

/// The text of `tollgate.toml`.
fn toml(folder: &Path, listen: SocketAddr, log: &Path, answering: SocketAddr, busy: SocketAddr) -> String {
    format!(
        r#"
[sip]
listen = ["udp:{listen}"]
allow = ["127.0.0.0/8"]
[[route]]
name = "answered"
match = {{ user = "100" }}
to = ["sip:100@{answering}"]
[[route]]
name = "forwarded"
match = {{ user = "200" }}
to = ["sip:bob@{busy}", "sip:carol@{answering}"]
targets = "forward"
[[route]]
name = "missed"
match = {{ user = "300" }}
to = ["sip:300@{busy}"]
[accounting]
on = ["radius", "diameter", "sql", "syslog"]
flags = ["missed", "failed"]
[accounting.fields]
ua = "$ua"
[accounting.leg_fields]
src = "$avp(src)"
dst = "$avp(dst)"
[queue]
path = "queue"
free_min_mib = 0
[sinks.radius.collector]
config = "radiusclient.conf"
[sinks.diameter.cdf]
config = "diameterclient.conf"
[sinks.sql.acc]
url = "sqlite:{}"
leg_fields = {{ src = "src", dst = "dst" }}
[sinks.syslog.log]
to = "{}"
profile = "openser"
records = "transactions"
leg_fields = {{ src = "src", dst = "dst" }}
[admin]
socket = ""
[log]
level = "warn"
"#,
        folder.join("acc.sqlite").display(),
        log.display()
    )
}

/// Writes a file only its owner can read.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let written = fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}
