//! The queue, wherever it is: behind the socket of the running service, or in the files of a stopped one.

#![allow(unsafe_code, reason = "the system calls umask, geteuid, setgroups, setgid and setuid")]

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::{Failure, load_quietly, misread};
use crate::accounting::Engine;
use crate::admin::call_json;
use crate::admin::client::{Client, ClientError};
use crate::admin::request::{Asker, Request, RequestError, on_queue};
use crate::clock;
use crate::config::{self, Plan};
use crate::ledger;
use crate::mirror::mirrored;
use crate::queue::{self, OpenError, Queue};

/// Where the running service is looked for.
#[derive(Clone, Debug)]
pub struct Seek {
    /// The configuration file, which may have mistakes.
    pub config: PathBuf,
    /// The socket of the commands, instead of the one that the file names.
    pub socket: Option<PathBuf>,
}

impl Seek {
    /// The socket; `None`: there is none.
    fn path(&self) -> Result<Option<PathBuf>, Failure> {
        match &self.socket {
            Some(socket) => Ok(Some(socket.clone())),
            None => config::socket(&self.config).map_err(|mistakes| misread(&mistakes)),
        }
    }

    /// The running service, if there is one.
    ///
    /// # Errors
    /// The socket is there but cannot be used, or the file that would name it cannot be read.
    pub fn connect(&self) -> Result<Option<Client>, Failure> {
        self.path()?.map_or(Ok(None), |socket| Client::connect(&socket).map_err(of_client))
    }

    /// The running service.
    ///
    /// # Errors
    /// It does not run, or its socket cannot be used.
    pub fn service(&self) -> Result<Client, Failure> {
        let Some(client) = self.connect()? else { return Err(self.nobody()) };
        Ok(client)
    }

    /// The configuration, as the process has it that is looked for: a gateway, or a deliverer where the file has nothing for
    /// a gateway, or `--socket` is that of `[deliver]`.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn plan(&self) -> Result<Plan, Failure> {
        let mut plan = load_quietly(&self.config)?;
        let is_same = |own: &PathBuf, other: &PathBuf| match (own.canonicalize(), other.canonicalize()) {
            (Ok(own), Ok(other)) => own == other,
            _ => own == other,
        };
        let given = self.socket.as_ref().zip(plan.deliver.socket.as_ref());
        let is_of_deliverer = match given {
            Some((given, deliver)) => is_same(given, deliver),
            None => plan.is_of_deliverer,
        };
        if is_of_deliverer {
            plan.become_deliverer();
        }
        Ok(plan)
    }

    /// That nobody serves the socket.
    fn nobody(&self) -> Failure {
        match self.path() {
            Ok(Some(socket)) => anyhow!("the service does not run: nobody answers at {}", socket.display()).into(),
            Ok(None) => anyhow!("`admin.socket` is empty: the service takes no commands").into(),
            Err(failure) => failure,
        }
    }
}

/// Where requests go.
pub enum Desk {
    /// To the running service.
    Running(Client),
    /// To the files; the service cannot start meanwhile.
    Stopped(Box<Stopped>),
}

/// An open queue and the calls in it.
pub struct Stopped {
    offline: queue::Offline,
    calls: Vec<(Vec<u8>, Vec<u8>)>,
    plan: Plan,
    /// The thread that writes down what becomes of records.
    ledger: Option<JoinHandle<()>>,
}

impl Desk {
    /// Finds the queue of a configuration.
    ///
    /// # Errors
    /// The configuration is wrong, the service does not answer, or its files cannot be opened.
    pub fn open(seek: &Seek) -> Result<Self, Failure> {
        if let Some(client) = seek.connect()? {
            return Ok(Self::Running(client));
        }
        if seek.socket.is_some() {
            return Err(seek.nobody());
        }
        let plan = seek.plan()?;
        if plan.is_of_deliverer {
            let Failure::Failed(nobody) = seek.nobody() else { return Err(seek.nobody()) };
            return Err(anyhow!("{nobody}; what a deliverer had in hand is in the stream").into());
        }
        let path = &plan.queue.path;
        if !path.exists() {
            return Err(anyhow::anyhow!("the service does not run, and there is no queue in {}", path.display()).into());
        }
        become_owner(path)?;
        let opened = Queue::open(plan.queue.clone(), &plan.sink_names(), clock::now, &mut || ());
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(error @ OpenError::Locked { .. }) => {
                let socket = plan.admin.socket.as_ref().map_or_else(
                    || "`admin.socket` is empty".to_owned(),
                    |socket| format!("nobody answers at {}", socket.display()),
                );
                return Err(anyhow::Error::new(error).context(format!("the service runs, but {socket}")).into());
            }
            Err(error) => return Err(anyhow::Error::new(error).context("the queue does not open").into()),
        };
        for notice in opened.queue.notices() {
            eprintln!("queue: {notice}");
        }
        let ledger = ledger(&plan, &mut opened);
        let offline = queue::Offline { queue: opened.queue, clock: clock::now };
        Ok(Self::Stopped(Box::new(Stopped { offline, calls: opened.calls, plan, ledger })))
    }

    /// Does one request.
    ///
    /// # Errors
    /// It asks for something that is not there, or it failed.
    pub fn ask(&mut self, request: &Request) -> Result<Value, Failure> {
        match self {
            Self::Running(client) => client.ask(request).map_err(of_client),
            Self::Stopped(stopped) => stopped.ask(request).map_err(|error| match error {
                RequestError::Usage(text) => Failure::Usage(text),
                other => Failure::Failed(other.into()),
            }),
        }
    }

    /// Asks the running service over a new connection: it closes one that is silent for long, as while somebody thinks.
    ///
    /// # Errors
    /// It does not run any more, or its socket cannot be used.
    pub fn renew(&mut self, seek: &Seek) -> Result<(), Failure> {
        if let Self::Running(client) = self {
            *client = seek.service()?;
        }
        Ok(())
    }

    /// Ends the work; what it did to files is on disk then.
    ///
    /// # Errors
    /// The files could not be written.
    pub fn close(self) -> Result<(), Failure> {
        match self {
            Self::Running(_) => Ok(()),
            Self::Stopped(stopped) => {
                let Stopped { offline, ledger, .. } = *stopped;
                let closed = offline.queue.close(clock::now).context("the queue does not close");
                if ledger.is_some_and(|ledger| ledger.join().is_err()) {
                    eprintln!("warning: the ledger could not be written");
                }
                Ok(closed?)
            }
        }
    }
}

/// The ledger of a stopped service, which hears what is done to its records.
fn ledger(plan: &Plan, opened: &mut queue::Opened) -> Option<JoinHandle<()>> {
    if !plan.ledger.is_kept {
        return None;
    }
    let mut start = || -> anyhow::Result<Option<JoinHandle<()>>> {
        let mut ledger = ledger::Opened::open(plan.ledger.clone())?;
        let witness = ledger.witness(&opened.queue.secret()?);
        let standing = opened.queue.witnessed_by(witness, opened.report.clean);
        Ok(ledger.start(standing, Box::new(Vec::new), None)?.map(|(_, thread)| thread))
    };
    start().unwrap_or_else(|error| {
        eprintln!("warning: what is done is not written into the ledger: {error:#}");
        None
    })
}

/// What a failure of the client means for the exit code.
pub fn of_client(error: ClientError) -> Failure {
    match error {
        ClientError::Usage(text) => Failure::Usage(text),
        other => Failure::Failed(other.into()),
    }
}

/// Whether Ctrl-C was not pressed yet: what it would leave half done goes on to the end of its batch.
fn is_uninterrupted() -> impl Fn() -> bool {
    let (wanted, own) = (Arc::new(AtomicBool::new(true)), OnceLock::new());
    move || {
        own.get_or_init(|| watch_for_interrupt(&wanted));
        wanted.load(Ordering::Relaxed)
    }
}

fn watch_for_interrupt(wanted: &Arc<AtomicBool>) {
    let wanted = Arc::clone(wanted);
    let watch = move || -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(tokio::signal::ctrl_c())?;
        wanted.store(false, Ordering::Relaxed);
        Ok(())
    };
    // Where it cannot be done Ctrl-C ends the process, and what is on disk stays.
    drop(std::thread::Builder::new().name("interrupt".to_owned()).spawn(watch));
}

/// Root works on a stopped queue as the user whose it is, and makes files for that user alone: with files of root's the
/// service would not start again.
fn become_owner(queue: &Path) -> Result<(), Failure> {
    // SAFETY: these calls only change and tell what the process is.
    let user = unsafe {
        libc::umask(0o077);
        libc::geteuid()
    };
    let data = std::fs::metadata(queue).with_context(|| format!("cannot look at {}", queue.display()))?;
    if data.uid() == user {
        return Ok(());
    }
    if user != 0 {
        let owner = data.uid();
        return Err(anyhow!("{} belongs to user {owner}: do this as that user or as root", queue.display()).into());
    }
    // SAFETY: as above; no other thread runs yet, and no group is given.
    let done = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0 && libc::setgid(data.gid()) == 0 && libc::setuid(data.uid()) == 0
    };
    if !done {
        let error = std::io::Error::last_os_error();
        return Err(anyhow!(error).context(format!("cannot become the owner of {}", queue.display())).into());
    }
    Ok(())
}

impl Stopped {
    fn ask(&mut self, request: &Request) -> Result<Value, RequestError> {
        match request {
            Request::Calls { max } => Ok(self.calls(*max)),
            other => {
                let is_there = is_uninterrupted();
                let asker = Asker { by: "the operator", is_there: &is_there };
                on_queue(other, &mut self.offline, &asker).unwrap_or(Err(RequestError::NotRunning))
            }
        }
    }

    /// The calls that the next start will take up.
    fn calls(&self, max: usize) -> Value {
        let now = clock::now();
        let mut engine = Engine::new(self.plan.accounting.clone(), 0);
        // Those that a mirror follows never pass the gateway.
        for (key, value) in self.calls.iter().filter(|(key, _)| mirrored(key).is_none()) {
            if let Err(error) = engine.restore(now, key, value) {
                eprintln!("warning: a stored call cannot be read: {error}");
            }
        }
        let calls: Vec<_> = engine.views().take(max).map(|call| call_json(&call)).collect();
        json!({ "total": engine.calls(), "calls": calls })
    }
}
