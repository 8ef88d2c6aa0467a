//! Asks DNS where a name leads (RFC 3263 §4): NAPTR, then SRV, then A and AAAA, as far as each step gives a reason for the
//! next. [`locate`] says what is asked; this only asks. The caller keeps the answers.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::task::JoinSet;

use crate::sip::proxy::locate::{self, ADDRESSES_MAX, Found, HOSTS_MAX, Host, Naptr, SERVICES_MAX, Service};
use crate::sip::stack::{Listener, Transport, Ways};

/// Octets of a host name (RFC 1035 §2.3.4).
pub const NAME_BYTES_MAX: usize = 253;
/// Aliases of SRV records that are followed one after the other.
const ALIASES_MAX: u32 = 4;
/// NAPTR records of one name that are looked at.
const NAPTR_MAX: usize = 64;
/// Answers that the asking itself keeps, so that names which share a host ask once.
const ANSWERS_MAX: u64 = 10_000;
/// How long a failure to get an answer is kept (RFC 2308 §7 allows five minutes).
const FAILURE_KEEP: Duration = Duration::from_secs(5);
/// How long an answer from `/etc/hosts` is kept.
const HOSTS_KEEP: Duration = Duration::from_secs(5);
/// Rounds over the servers for one question; within a round datagrams are repeated.
const TRIES: u32 = 2;
/// Steps that may each wait for an answer: NAPTR, SRV, addresses.
const STEPS: u32 = 3;
/// The files that the system is configured by.
const SYSTEM_FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// How names are asked for: `[sip.dns]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The servers. Default: none, which means those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Longest wait for one question, its repetition included. Default 2 s.
    pub timeout: Duration,
    /// Shortest time an answer is kept. Default 1 s.
    pub ttl_min: Duration,
    /// Longest time an answer is kept. Default 1 h.
    pub ttl_max: Duration,
    /// Longest time is kept that there is none (RFC 2308 §5). Default 300 s.
    pub negative_ttl_max: Duration,
    /// Whether NAPTR is asked. Default: yes.
    pub naptr: NaptrUse,
    /// What the gateway speaks.
    pub served: Vec<Transport>,
    /// Whether it speaks IPv4 and IPv6: the family that is preferred first.
    pub families: Vec<Family>,
}

/// Whether NAPTR records are asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NaptrUse {
    /// They are.
    #[default]
    Asked,
    /// They are not: SRV comes first.
    Skipped,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            ttl_min: Duration::from_secs(1),
            ttl_max: Duration::from_secs(3600),
            negative_ttl_max: Duration::from_secs(300),
            naptr: NaptrUse::Asked,
            served: vec![Transport::Udp],
            families: vec![Family::V4],
        }
    }
}

impl Settings {
    /// The same for what the listeners speak, the family of the first one preferred.
    #[must_use]
    pub fn with_listeners(mut self, listeners: &[Listener]) -> Self {
        self.served.clear();
        self.families.clear();
        for listener in listeners {
            let family = if listener.local.is_ipv4() { Family::V4 } else { Family::V6 };
            if !self.families.contains(&family) {
                self.families.push(family);
            }
            if !self.served.contains(&listener.transport) {
                self.served.push(listener.transport);
            }
        }
        self
    }

    /// Longest time until [`Asker::find`] answers.
    #[must_use]
    pub fn wait_max(&self) -> Duration {
        self.timeout * STEPS
    }
}

/// A name with what decides how it is asked for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Asked {
    /// The name, in lower case.
    pub host: String,
    /// The port of the URI.
    pub port: Option<u16>,
    /// By which transports.
    pub ways: Ways,
}

/// What was found out about a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The hosts of its services.
    pub found: Found,
    /// How long this holds.
    pub keep: Duration,
    /// Whether every question had an answer.
    pub outcome: Outcome,
}

/// Whether every question had an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Yes; that there are no records is one.
    Answered,
    /// No: a server was silent or refused.
    Failed,
}

/// Asks the servers.
pub struct Asker {
    settings: Settings,
    resolver: Option<TokioResolver>,
    hosts: Hosts,
    files: [Option<SystemTime>; 2],
}

/// Whether a question ended at the name it was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Here,
    /// There are no records at another name, which this one led to.
    Elsewhere,
}

/// What one question led to.
struct Reply {
    end: End,
    records: Vec<RData>,
    keep: Duration,
    outcome: Outcome,
}

impl Asker {
    /// Reads `/etc/hosts` and, unless servers are given, `/etc/resolv.conf`.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let files = stamps();
        let hosts = Hosts::from_system().unwrap_or_default();
        let resolver = resolver(&settings);
        if let Err(error) = &resolver {
            tracing::warn!(%error, "no DNS server is known, so names that are not in `/etc/hosts` cannot be resolved; set `sip.dns.servers`");
        }
        Self { settings, resolver: resolver.ok(), hosts, files }
    }

    /// Whether the files it has read are the present ones.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.files == stamps()
    }

    /// Finds out where a name leads, within [`Settings::wait_max`].
    pub async fn find(self: Arc<Self>, asked: Asked) -> Answer {
        let longest = self.settings.wait_max();
        let failed = Answer { found: Found::new(), keep: FAILURE_KEEP, outcome: Outcome::Failed };
        tokio::time::timeout(longest, self.search(asked)).await.unwrap_or(failed)
    }

    async fn search(self: Arc<Self>, asked: Asked) -> Answer {
        let Asked { host, port, ways } = asked;
        let mut gathered = Answer { found: Found::new(), keep: self.settings.ttl_max, outcome: Outcome::Answered };
        if let Some(addresses) = self.in_hosts(&host) {
            gathered.found.push(vec![locate::itself(port, ways, addresses)]);
            gathered.keep = HOSTS_KEEP;
            return gathered;
        }
        let served = &self.settings.served;
        let mut services = Vec::new();
        if self.settings.naptr == NaptrUse::Asked && locate::asks_naptr(port, ways) {
            let reply = self.ask(absolute(&host), RecordType::NAPTR).await;
            let records = gathered.take(reply).into_iter().filter_map(naptr).take(NAPTR_MAX).collect();
            services = locate::services_of(records, ways, served);
        }
        if services.is_empty() {
            services = locate::usual_services(&host, port, ways, served);
        }
        let is_without_service = !self.ask_services(services, ways, &mut gathered).await;
        if is_without_service {
            let addresses = self.clone().addresses(host, &mut gathered).await;
            gathered.found.push(vec![locate::itself(port, ways, addresses)]);
        }
        gathered.finished(&self.settings)
    }

    /// Asks for the hosts of services and their addresses; `false` when there is no SRV record at all.
    async fn ask_services(self: &Arc<Self>, services: Vec<Service>, ways: Ways, gathered: &mut Answer) -> bool {
        let asking = services.iter().take(SERVICES_MAX).map(|service| {
            let (own, name) = (self.clone(), absolute(&service.name));
            async move { own.ask(name, RecordType::SRV).await }
        });
        let replies = all(asking.collect()).await;
        let (mut is_any, mut names) = (false, Vec::new());
        for (service, reply) in services.iter().zip(replies) {
            let Some(reply) = reply else { continue };
            let mut hosts = Vec::new();
            for record in gathered.take(reply).into_iter().take(HOSTS_MAX) {
                let RData::SRV(srv) = record else { continue };
                is_any = true;
                // RFC 2782: a target of `.` says that there is no such service.
                if srv.target.is_root() {
                    continue;
                }
                let transport = locate::spoken(service.transport, ways);
                let (priority, weight, port) = (srv.priority, srv.weight, srv.port);
                hosts.push(Host { priority, weight, port, transport, addresses: Vec::new() });
                names.push(srv.target.to_ascii());
            }
            gathered.found.push(hosts);
        }
        let asking = names.into_iter().map(|name| {
            let own = self.clone();
            async move {
                let mut part = Answer { found: Found::new(), keep: own.settings.ttl_max, outcome: Outcome::Answered };
                let addresses = own.addresses(name, &mut part).await;
                (addresses, part)
            }
        });
        let addresses = all(asking.collect()).await;
        for (host, answer) in gathered.found.iter_mut().flatten().zip(addresses) {
            let Some((addresses, part)) = answer else { continue };
            host.addresses = addresses;
            gathered.keep = gathered.keep.min(part.keep);
            if part.outcome == Outcome::Failed {
                gathered.outcome = Outcome::Failed;
            }
        }
        is_any
    }

    /// The addresses of a host, the preferred family first.
    async fn addresses(self: Arc<Self>, host: String, gathered: &mut Answer) -> Vec<IpAddr> {
        if let Some(addresses) = self.in_hosts(&host) {
            gathered.keep = gathered.keep.min(HOSTS_KEEP);
            return addresses;
        }
        let asking = self.settings.families.iter().map(|family| {
            let (own, host) = (self.clone(), host.clone());
            let kind = record_type(*family);
            async move { own.ask(Name::from_ascii(host).ok(), kind).await }
        });
        let replies = all(asking.collect()).await;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for reply in replies.into_iter().flatten() {
            addresses.extend(gathered.take(reply).iter().filter_map(RData::ip_addr));
        }
        addresses.truncate(ADDRESSES_MAX);
        addresses
    }

    /// The addresses of a name that `/etc/hosts` lists: it is not asked for then.
    fn in_hosts(&self, host: &str) -> Option<Vec<IpAddr>> {
        let name = Name::from_ascii(host).ok()?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for family in &self.settings.families {
            let lookup = self.hosts.lookup_static_host(&Query::query(name.clone(), record_type(*family)));
            addresses.extend(lookup.iter().flat_map(Lookup::answers).filter_map(|record| record.data.ip_addr()));
        }
        (!addresses.is_empty()).then_some(addresses)
    }

    /// The records of a name or of what it is an alias of (RFC 1034 §3.6.2). The resolver follows aliases, but where they
    /// lead to SRV records it goes on to the hosts of these, and finds no service there.
    async fn ask(&self, name: Option<Name>, kind: RecordType) -> Reply {
        // What is no name has no records.
        let Some(mut name) = name else {
            return Reply { end: End::Here, records: Vec::new(), keep: FAILURE_KEEP, outcome: Outcome::Answered };
        };
        let mut keep = self.settings.ttl_max;
        for _ in 0..ALIASES_MAX {
            let reply = self.ask_once(&name, kind).await;
            if kind != RecordType::SRV || reply.end == End::Here {
                return Reply { keep: reply.keep.min(keep), ..reply };
            }
            let alias = self.ask_once(&name, RecordType::CNAME).await;
            keep = keep.min(alias.keep);
            let Some(RData::CNAME(of)) = alias.records.into_iter().next() else {
                return Reply { keep: reply.keep.min(keep), ..reply };
            };
            name = of.0;
        }
        Reply { end: End::Elsewhere, records: Vec::new(), keep: FAILURE_KEEP, outcome: Outcome::Answered }
    }

    /// One question.
    async fn ask_once(&self, name: &Name, kind: RecordType) -> Reply {
        let failed = Reply { end: End::Here, records: Vec::new(), keep: FAILURE_KEEP, outcome: Outcome::Failed };
        let Some(resolver) = &self.resolver else { return failed };
        match tokio::time::timeout(self.settings.timeout, resolver.lookup(name.clone(), kind)).await {
            Ok(Ok(lookup)) => {
                let keep = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
                let records = lookup.answers().iter().filter(|record| record.record_type() == kind);
                let records = records.map(|record| record.data.clone()).collect();
                Reply { end: End::Here, records, keep: Duration::from_secs(keep.into()), outcome: Outcome::Answered }
            }
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => {
                let keep = Duration::from_secs(none.negative_ttl.unwrap_or(0).into());
                let keep = keep.min(self.settings.negative_ttl_max);
                let end = if none.query.name() == name { End::Here } else { End::Elsewhere };
                Reply { end, records: Vec::new(), keep, outcome: Outcome::Answered }
            }
            Ok(Err(error)) => {
                tracing::warn!(%name, %kind, %error, "name not resolved");
                failed
            }
            Err(_) => {
                tracing::warn!(%name, %kind, "no DNS server answers");
                failed
            }
        }
    }
}

impl Answer {
    /// Notes how long a reply holds; its records.
    fn take(&mut self, reply: Reply) -> Vec<RData> {
        self.keep = self.keep.min(reply.keep);
        if reply.outcome == Outcome::Failed {
            self.outcome = Outcome::Failed;
        }
        reply.records
    }

    /// Whether it leads anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.iter().flatten().all(|host| host.addresses.is_empty())
    }

    fn finished(mut self, settings: &Settings) -> Self {
        let most = if self.is_empty() { settings.negative_ttl_max } else { settings.ttl_max };
        self.keep = self.keep.min(most).max(settings.ttl_min);
        self
    }
}

/// The system's configuration, or the servers given.
fn resolver(settings: &Settings) -> Result<TokioResolver, NetError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder(provider)?
    } else {
        let servers = settings.servers.iter().map(|server| {
            let mut own = NameServerConfig::udp_and_tcp(server.ip());
            own.connections.iter_mut().for_each(|connection| connection.port = server.port());
            own
        });
        TokioResolver::builder_with_config(ResolverConfig::from_parts(None, Vec::new(), servers.collect()), provider)
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = settings.timeout / TRIES;
    options.attempts = TRIES as usize - 1;
    options.cache_size = ANSWERS_MAX;
    // They are read here, and before anything is asked.
    options.use_hosts_file = ResolveHosts::Never;
    options.positive_min_ttl = Some(settings.ttl_min);
    options.positive_max_ttl = Some(settings.ttl_max.max(settings.ttl_min));
    options.negative_min_ttl = Some(settings.ttl_min);
    options.negative_max_ttl = Some(settings.negative_ttl_max.max(settings.ttl_min));
    builder.build()
}

/// When the system's files were last written.
fn stamps() -> [Option<SystemTime>; 2] {
    SYSTEM_FILES.map(|file| std::fs::metadata(file).and_then(|about| about.modified()).ok())
}

/// A name that the search list of the system does not apply to: one with a dot in it.
fn absolute(host: &str) -> Option<Name> {
    let mut name = Name::from_ascii(host).ok()?;
    if host.contains('.') {
        name.set_fqdn(true);
    }
    Some(name)
}

fn record_type(family: Family) -> RecordType {
    match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    }
}

fn naptr(data: RData) -> Option<Naptr> {
    let RData::NAPTR(own) = data else { return None };
    let replacement = own.replacement.to_ascii();
    Some(Naptr { order: own.order, preference: own.preference, flags: own.flags, services: own.services, replacement })
}

/// Runs all at once; their results in their order, `None` for one that panicked.
async fn all<T: Send + 'static>(futures: Vec<impl Future<Output = T> + Send + 'static>) -> Vec<Option<T>> {
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    let mut running = JoinSet::new();
    for (place, future) in futures.into_iter().enumerate() {
        running.spawn(async move { (place, future.await) });
    }
    while let Some(done) = running.join_next().await {
        if let Ok((place, result)) = done {
            results[place] = Some(result);
        }
    }
    results
}
