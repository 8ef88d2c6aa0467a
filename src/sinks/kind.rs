//! A kind of sink as the running program sees it: service and command line reach every sink through [`Kind`], and know no
//! kind by name.
//!
//! The settings of each kind implement it, in `kind.rs` of the kind's folder. Its other half reads and checks the tables of
//! the configuration, which is a layer above the sinks; it lies in a folder of `config::kinds`, where all kinds are listed.
//!
//! What is chosen by the kind is chosen once for each sink: [`start`] makes a worker that knows its sink's type, so that no
//! record pays for the choice.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Sink;
use super::trial::{Reached, Trial, TrialError, Wanted};
use super::view::Board;
use super::worker::{Bell, Gate, Successor, Worker};
use crate::accounting::Key;
use crate::dictionary::AnyDictionary;
use crate::ids::{Seq, SinkNumber};
use crate::queue;

/// Checked settings of a sink, of whatever kind.
pub trait Kind: Any + fmt::Debug + Send + Sync {
    /// The kind as it stands in the section's name, such as `radius`.
    fn name(&self) -> &'static str;

    /// Whether `other` is of the same kind, and says the same.
    fn is_same(&self, other: &dyn Kind) -> bool;

    /// Whether a sink can be made of these settings; makes none.
    ///
    /// # Errors
    /// What is wrong with them.
    fn check(&self) -> Result<(), SetupError>;

    /// Makes the sink and its worker; [`start`] does what is the same for every kind.
    ///
    /// # Errors
    /// As [`Kind::check`].
    fn start(&self, ground: Ground, ended: Ended) -> Result<Started, SetupError>;

    /// The settings with one server alone; `name` is the sink's.
    ///
    /// # Errors
    /// When they have no such server.
    fn only(&self, name: &str, server: SocketAddr) -> Result<Arc<dyn Kind>, TrialError>;

    /// Sends a test record as the sink called `name` would.
    fn send<'a>(&'a self, name: &'a str, wanted: &'a Wanted) -> Tried<'a, Trial>;

    /// Asks every server of the sink called `name` whether it is there, waiting for each as long as `wait`.
    fn ask<'a>(&'a self, name: &'a str, wait: Duration) -> Tried<'a, Vec<Reached>>;

    /// The names of its attributes, where it has a dictionary.
    fn dictionary(&self) -> Option<AnyDictionary<'_>> {
        None
    }

    /// The tables it needs, where its backend has some.
    fn tables(&self) -> Option<&dyn Tables> {
        None
    }
}

/// Tables that a sink needs at its backend. It makes none by itself.
pub trait Tables {
    /// The statements that make them all.
    fn statements(&self) -> String;

    /// Those that the backend of the sink called `name` lacks, asked for as long as `wait`.
    fn missing<'a>(&'a self, name: &'a str, wait: Duration) -> Tried<'a, String>;
}

/// Why a sink cannot be set up.
pub type SetupError = Box<dyn Error + Send + Sync>;

/// What becomes of a question to the servers of a sink.
pub type Tried<'a, T> = Pin<Box<dyn Future<Output = Result<T, TrialError>> + 'a>>;

impl dyn Kind {
    /// The settings, if they are of that kind.
    #[must_use]
    pub fn of<K: Kind>(&self) -> Option<&K> {
        (self as &dyn Any).downcast_ref()
    }
}

/// Told how often a server wants the interim records of a session; zero: none.
pub type Interims = Arc<dyn Fn(Key, Duration) + Send + Sync>;

/// Keeps over a restart what a server wants repeated in the later records of a session: the session, and its octets;
/// `None` when they are needed no more.
pub type Keeper = Box<dyn FnMut(u64, Option<&[u8]>) + Send>;

/// What a sink is started with.
pub struct Ground {
    /// The sink's name, under which the queue keeps its records.
    pub name: Arc<str>,
    /// Its number in the queue.
    pub number: SinkNumber,
    /// Where its records are leased and settled.
    pub queue: queue::Handle,
    /// The queue's own random octets, the same in every process of this installation.
    pub secret: [u8; 16],
    /// Records up to here may have been sent by an earlier process.
    pub waited_until: Seq,
    /// Gives what an earlier process kept by [`Ground::keeper`], once.
    pub kept: Box<dyn Fn() -> Vec<(u64, Vec<u8>)>>,
    /// Gives a keeper to the sink that keeps from here on.
    pub keeper: Box<dyn Fn() -> Keeper>,
    /// Says which records go to the sink; `None`: all.
    pub gate: Option<Arc<dyn Gate>>,
    /// Takes how often interim records are wanted.
    pub interims: Interims,
    /// Takes where the servers of the sink that was made last can be looked at.
    pub show: Box<dyn Fn(Arc<dyn Board>)>,
}

/// Done when the service ends.
pub type Ended = Pin<Box<dyn Future<Output = ()>>>;

/// A sink that was started.
pub struct Started {
    /// The loop that delivers, to be polled on the delivery thread; it ends with the service.
    pub work: Pin<Box<dyn Future<Output = ()>>>,
    /// Where it takes newer settings.
    pub door: Box<dyn Door>,
}

/// Where a running sink takes newer settings.
pub trait Door {
    /// Whether as many wait there as may.
    fn is_full(&self) -> bool;

    /// Hands over settings of the same kind. A worker that does not take them has ended, which its runtime notices.
    fn renew(&self, settings: Arc<dyn Kind>);
}

/// Makes the sink of some settings, and shows it; the first one, or one that takes the place of an earlier sink.
pub type Make<K, S> = fn(&K, &Ground, Option<&S>) -> Result<S, SetupError>;

/// Starts the worker of a sink, in which sinks of newer settings take their turns.
///
/// # Errors
/// When the first sink cannot be made.
pub fn start<K: Kind, S: Sink + 'static>(
    settings: &K,
    ground: Ground,
    ended: Ended,
    make: Make<K, S>,
) -> Result<Started, SetupError> {
    let sink = make(settings, &ground, None)?;
    let (successors, next) = mpsc::channel(SUCCESSORS_MAX);
    let bell = Bell::default();
    let consumer = ground.queue.consumer(ground.number, bell.wake());
    let gate = ground.gate.clone().map(|gate| (ground.number, gate));
    let worker = Worker::new(&ground.name, sink, consumer, bell).succeeded_by(next).behind(gate);
    let door = Successors { successors, ground: Rc::new(ground), make };
    Ok(Started { work: Box::pin(worker.run(ended)), door: Box::new(door) })
}

/// New settings of one sink that wait for it to take them at most.
const SUCCESSORS_MAX: usize = 8;

struct Successors<K, S> {
    successors: mpsc::Sender<Successor<S>>,
    ground: Rc<Ground>,
    make: Make<K, S>,
}

impl<K: Kind, S: Sink + 'static> Door for Successors<K, S> {
    fn is_full(&self) -> bool {
        self.successors.capacity() == 0
    }

    fn renew(&self, settings: Arc<dyn Kind>) {
        let (ground, make) = (Rc::clone(&self.ground), self.make);
        let successor: Successor<S> = Box::new(move |earlier| match settings.of::<K>() {
            Some(settings) => make(settings, &ground, earlier),
            None => Err("its settings are of another kind".into()),
        });
        drop(self.successors.try_send(successor));
    }
}
