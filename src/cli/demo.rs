//! `tollgate demo`: the main job on loopback with nothing installed.
//!
//! A whole gateway starts in this process, with an embedded RADIUS and an embedded Diameter collector behind it, a caller
//! and two callees. Three calls are placed: one that is answered, one whose first target is busy and whose second answers
//! (two legs), and one that is missed. Every record is printed as both collectors decoded it, then the balance of the
//! queue.

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Failure;
use super::demo_agents::{Callee, Caller, Temper};
use crate::admin;
use crate::config;
use crate::dictionary::{self, Dictionary};
use crate::queue::{Desk as _, SinkStats};
use crate::radius::Secret;
use crate::service::Service;
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

/// Runs the demo.
///
/// # Errors
/// When loopback cannot be used, or when the gateway does not do its job.
pub fn run() -> Result<(), Failure> {
    let folder = tempfile::tempdir().context("cannot make a folder for the queue")?;
    let (collector, records) = start_collector("collector", collect_radius)?;
    let (cdf, requests) = start_collector("cdf", collect_diameter)?;
    let (answering, busy) = (Callee::start(Temper::Answers)?, Callee::start(Temper::Busy)?);
    let listen = free_address()?;
    let text = configuration(folder.path(), listen, [collector, cdf], answering.address, busy.address)?;
    let plan = config::parse(&folder.path().join("tollgate.toml"), &text, ::config::Map::new())
        .map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
    let metrics = admin::metrics::install().context("cannot install the metrics recorder")?;
    let service = Service::start(plan, metrics, &mut || {}).map_err(anyhow::Error::from)?;
    println!(
        "gateway on {listen}, RADIUS collector on {collector}, Diameter collector on {cdf}, callees on {} and {}",
        answering.address, busy.address
    );
    let result = place_calls(listen, &[records, requests]).and_then(|()| balance(&service));
    service.drain();
    service.stop();
    Ok(result?)
}

fn place_calls(gateway: SocketAddr, collected: &[Receiver<Shown>]) -> anyhow::Result<()> {
    let caller = Caller::new(gateway)?;
    for (number, (user, what, count)) in CALLS.into_iter().enumerate() {
        println!("\ncall {} to {user} ({what})", number + 1);
        let answered = caller.call(user, TALK)?;
        println!("  SIP: INVITE {}{}", answered.status, if answered.ended { ", BYE 200 OK" } else { "" });
        for records in collected {
            for _ in 0..count {
                let record = records.recv_timeout(RECORD_WAIT).context("a record did not reach its collector")?;
                ensure!(!record.is_repeat, "a record came twice");
                record.lines.iter().for_each(|line| println!("  {line}"));
            }
        }
    }
    Ok(())
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
    println!();
    for SinkStats { name, balance, .. } in sinks {
        println!(
            "{name}: appended {} = delivered {} + parked {} + waiting {}",
            balance.appended, balance.delivered, balance.parked, balance.waiting
        );
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
    Ok(format!(
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
on = ["radius", "diameter"]
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
[admin]
socket = ""
[log]
level = "warn"
"#
    ))
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
