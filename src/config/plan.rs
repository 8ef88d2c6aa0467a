//! What configuration comes to: the settings of every module, checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::Mistake;
use super::reload::Options;
use super::schema::LogTarget;
use crate::accounting;
use crate::admin;
use crate::clock;
use crate::cluster;
use crate::front::{dns, stream};
use crate::ids::{SINKS_MAX, SinkNumber};
use crate::ledger;
use crate::mirror::{self, Own};
use crate::policy::script::{self, Outside, Script};
use crate::policy::{Marks, Recipe, Route, Routes};
use crate::queue;
use crate::shard;
use crate::sinks::kind::Kind;
use crate::sinks::secret::Secret;
use crate::sip::stack::{self, Network, Transport};
use crate::telemetry;

/// A whole configuration, free of errors.
#[derive(Debug)]
pub struct Plan {
    /// The file it came from.
    pub path: PathBuf,
    /// The options it gives, for a comparison with another one.
    pub options: Options,
    /// Sockets, threads and limits of the proxy.
    pub sip: SipPlan,
    /// What each shard gets of it, the same for all.
    pub shard: shard::Settings,
    /// Where requests go. Sinks stand in the marks by their place in [`Plan::sinks`]; see [`Plan::routes`].
    pub route: Vec<Route>,
    /// The script that is asked before them. Its sinks stand in the order of [`Plan::sinks`]; see [`Plan::recipe`].
    pub script: Option<script::Settings>,
    /// Proxies whose calls are accounted by copies of their messages.
    pub mirrors: Vec<MirrorPlan>,
    /// Marks of requests inside a dialog, and of those that no route matches; sinks by place.
    pub marks: Marks,
    /// What is recorded. Sinks stand in it by place; see [`Plan::accounting`]. Its `boot_id` is empty.
    pub accounting: accounting::Settings,
    /// Where records wait, how many, and when that is trouble.
    pub queue: queue::Settings,
    /// What is kept of every record, and for how long.
    pub ledger: ledger::Settings,
    /// Where spans go, if they are wanted.
    pub telemetry: Option<telemetry::Settings>,
    /// The backends, in the order of kind and name.
    pub sinks: Vec<SinkPlan>,
    /// Names of the sinks that get an Accounting-On at a start that has lost calls in progress.
    pub accounting_on: Vec<String>,
    /// The servers that take the records of all sinks, if this is one gateway of many.
    pub cluster: Option<cluster::Settings>,
    /// What `tollgate deliver` has for itself.
    pub deliver: DeliverPlan,
    /// Whether the file is for `tollgate deliver` alone: nothing in it makes records.
    pub is_of_deliverer: bool,
    /// Sockets of commands and of HTTP, and who may use them.
    pub admin: admin::Settings,
    /// TLS of HTTP; `None`: it goes without.
    pub admin_tls: Option<admin::HttpTls>,
    /// Where the log goes, and what of it.
    pub log: LogPlan,
    /// Watchdog and the time a stop may take.
    pub service: ServicePlan,
    /// Files of certificates in use, own ones and those of authorities.
    pub certificates: Vec<PathBuf>,
    /// What the operator should know.
    pub warnings: Vec<Mistake>,
}

/// `[deliver]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeliverPlan {
    /// Folder of what a deliverer has in hand, emptied at each start, and of its ledger. Default
    /// `/var/lib/tollgate/deliver`.
    pub directory: PathBuf,
    /// Unix socket of its commands; `None`: none. Default `/run/tollgate/deliver.sock`.
    pub socket: Option<PathBuf>,
    /// HTTP; `None`: none. Default: none.
    pub listen: Option<SocketAddr>,
}

impl Default for DeliverPlan {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/var/lib/tollgate/deliver"),
            socket: Some(PathBuf::from("/run/tollgate/deliver.sock")),
            listen: None,
        }
    }
}

impl DeliverPlan {
    /// Folder of what a deliverer has in hand.
    #[must_use]
    pub fn queue(&self) -> PathBuf {
        self.directory.join("queue")
    }
}

/// `[sip]`
#[derive(Clone, Debug)]
pub struct SipPlan {
    /// The SIP machine. Its `key` is still zero: the queue keeps one, [`queue::Started::secret`].
    pub stack: stack::Settings,
    /// What each listener binds, in the order of `stack.listeners`, which hold what is advertised.
    pub binds: Vec<SocketAddr>,
    /// Threads, at least 1.
    pub shards: usize,
    /// How long a key signs Record-Route values.
    pub route_key_age: Duration,
    /// Memory of the process, in octets, beyond which new calls get 503; 0: no limit.
    pub memory_max: u64,
    /// How names are looked up.
    pub dns: dns::Settings,
    /// How many connections there may be, and how long each may be silent.
    pub streams: stream::Settings,
    /// Certificates, keys and authorities of each TLS listener and of connections outward.
    pub credentials: stream::Credentials,
}

/// `[[mirror]]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MirrorPlan {
    /// Its name, unique among mirrors. Default `mirror`.
    pub name: String,
    /// Where packets are taken: UDP or TCP.
    pub listen: (Transport, SocketAddr),
    /// Who may send them. Default [`Self::LOOPBACK`].
    pub allow: Vec<Network>,
    /// What they have to show. Default: nothing.
    pub key: Option<Secret>,
    /// Addresses of the proxy. Default: none, and the hop where a request is seen first counts.
    pub proxy: Vec<Own>,
    /// Its marks; sinks by place.
    pub marks: Marks,
    /// By how much copies overtake each other. Default [`mirror::Settings::REORDER`].
    pub reorder: Duration,
    /// Requests that are followed at once. Default [`mirror::Settings::REQUESTS_MAX`].
    pub requests_max: usize,
}

impl MirrorPlan {
    /// Who may send packets, unless it is set: this machine.
    pub const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

    /// Settings of the machine, with those of accounting as the shards have them, and the numbers of the sinks.
    #[must_use]
    pub fn settings(&self, accounting: &accounting::Settings, numbers: &[SinkNumber]) -> mirror::Settings {
        mirror::Settings {
            name: self.name.clone(),
            proxy: self.proxy.clone(),
            marks: self.marks.renumbered(numbers),
            accounting: accounting.clone(),
            reorder: self.reorder,
            requests_max: self.requests_max,
        }
    }
}

/// `[sinks.KIND.NAME]`
#[derive(Debug)]
pub struct SinkPlan {
    /// Its name, unique over all kinds; the queue keeps records under it.
    pub name: String,
    /// What it is, with its settings.
    pub kind: Arc<dyn Kind>,
}

/// `[log]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogPlan {
    /// Where to. Default: standard error.
    pub target: LogTarget,
    /// Least level, or a list such as `info,tollgate::sinks=debug`. Default `info`.
    pub level: String,
}

impl Default for LogPlan {
    fn default() -> Self {
        Self { target: LogTarget::default(), level: "info".to_owned() }
    }
}

/// `[service]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServicePlan {
    /// Longest wait for transactions to end when the service stops. Default 30 s.
    pub stop_timeout: Duration,
    /// Whether systemd's watchdog is fed. Default: yes, when systemd asks for it.
    pub watchdog: Watchdog,
    /// Whether memory comes in huge pages. Default: no.
    pub huge_pages: HugePages,
}

/// Whether memory comes in huge pages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HugePages {
    /// Never.
    Off,
    /// When the kernel has some.
    On,
}

/// Whether systemd's watchdog is fed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Watchdog {
    /// When systemd asks for it.
    Fed,
    /// Never; systemd must not expect a beat then.
    Off,
}

impl Default for ServicePlan {
    fn default() -> Self {
        Self { stop_timeout: Duration::from_secs(30), watchdog: Watchdog::Fed, huge_pages: HugePages::Off }
    }
}

impl Plan {
    /// What `[deliver]` says in the place of what a gateway of the same file has.
    pub fn become_deliverer(&mut self) {
        self.is_of_deliverer = true;
        self.queue.path = self.deliver.queue();
        self.ledger.path = self.deliver.directory.join("ledger");
        self.admin.section = "deliver";
        self.admin.socket.clone_from(&self.deliver.socket);
        self.admin.listen = self.deliver.listen;
        self.admin.status_socket = None;
    }

    /// The routes with the numbers the queue gave to the sinks; `numbers` is in the order of [`Plan::sinks`].
    #[must_use]
    pub fn routes(&self, numbers: &[SinkNumber]) -> Routes {
        let routes = self.route.iter().map(|route| {
            let mut route = route.clone();
            route.marks = route.marks.renumbered(numbers);
            route
        });
        Routes::new(routes.collect(), self.marks.renumbered(numbers))
    }

    /// What the shards build their policies from: the script, or the routes alone.
    #[must_use]
    pub fn recipe(&self, numbers: &[SinkNumber], outside: Outside) -> Arc<dyn Recipe> {
        let routes = Arc::new(self.routes(numbers));
        outside.traces.serve(self.script.as_ref().map(|settings| settings.trace_turns));
        let Some(settings) = &self.script else { return routes };
        let told = Arc::clone(&outside.witness);
        match Script::new(settings, numbers, Arc::clone(&routes), outside, clock::mono, clock::now()) {
            Ok(script) => Arc::new(script),
            Err(error) => {
                // It has passed the check: memory is short, or its own lines have chance in them.
                told.failed("load", &error.to_string(), false);
                routes
            }
        }
    }

    /// Settings of the engine with the numbers the queue gave to the sinks, in the order of [`Plan::sinks`].
    #[must_use]
    pub fn accounting(&self, numbers: &[SinkNumber]) -> accounting::Settings {
        let mut modes = vec![accounting::SinkMode::default(); SINKS_MAX];
        for (number, mode) in numbers.iter().zip(&self.accounting.sinks) {
            if let Some(place) = modes.get_mut(usize::from(number.0)) {
                *place = *mode;
            }
        }
        accounting::Settings { sinks: modes, ..self.accounting.clone() }
    }

    /// The names of the sinks, in their order.
    #[must_use]
    pub fn sink_names(&self) -> Vec<String> {
        self.sinks.iter().map(|sink| sink.name.clone()).collect()
    }
}
