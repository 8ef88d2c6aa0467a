//! Answers the shards' questions where names lead, at the side: they never wait for DNS. A thread of its own does that, so
//! that no call to a named target waits for a sink's turn either. Answers are kept for as long as their records say,
//! questions that are under way are not asked again, and an answer that cannot be had anew is used on (RFC 8767).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};

use super::dns::{Answer, Asked, Asker, NAME_BYTES_MAX, Outcome, Settings};
use super::driver::Question;
use super::mailbox::{Mail, Mailbox};
use crate::clock::{self, Instant};
use crate::sip::proxy::locate;
use crate::sip::stack::{Destination, QueryId};
use crate::timers::random::{Random, seed};

/// Questions that wait for the resolver at most; beyond it they lead nowhere, at once.
pub const QUESTIONS_MAX: usize = 4096;
/// Look-ups that run at the same time; further ones wait for one of them to end.
const LOOKUPS_MAX: usize = 64;
/// Names kept at most.
const NAMES_MAX: usize = 10_000;
/// Longest time an answer is used beyond its end while no server gives a new one (RFC 8767 §5).
const STALE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often it leaves a beat for the watchdog.
const BEAT: Duration = Duration::from_secs(1);

/// The running thread.
#[derive(Debug)]
pub struct Resolver {
    settings: watch::Sender<Settings>,
    beat: Arc<AtomicU64>,
    thread: JoinHandle<io::Result<()>>,
}

impl Resolver {
    /// Starts the thread, which ends with this handle, or with all that ask.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(questions: mpsc::Receiver<Question>, shards: Vec<Mailbox>, settings: Settings) -> io::Result<Self> {
        let (settings, own) = watch::channel(settings);
        let beat = Arc::new(AtomicU64::new(clock::mono().0));
        let own_beat = beat.clone();
        let thread = std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(resolve(questions, shards, own, &own_beat));
            Ok(())
        })?;
        Ok(Self { settings, beat, thread })
    }

    /// Has names asked for by these settings. What the listeners speak stays as long as they do.
    pub fn ask_by(&self, settings: &Settings) {
        self.settings.send_modify(|own| {
            let (served, families) = (own.served.clone(), own.families.clone());
            *own = Settings { served, families, ..settings.clone() };
        });
    }

    /// When it last turned, for the watchdog.
    pub fn beat(&self) -> impl Fn() -> Instant + Send + use<> {
        let beat = self.beat.clone();
        move || Instant(beat.load(Ordering::Relaxed))
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it; questions that are under way get no answer.
    pub fn stop(self) {
        drop(self.settings);
        match self.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the resolver failed"),
            Err(_) => tracing::error!("the resolver panicked"),
        }
    }
}

async fn resolve(
    mut questions: mpsc::Receiver<Question>,
    shards: Vec<Mailbox>,
    mut settings: watch::Receiver<Settings>,
    beat: &AtomicU64,
) {
    let mut desk = Desk::new(shards, settings.borrow_and_update().clone());
    let mut turning = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            changed = settings.changed() => match changed {
                Ok(()) => desk.renew(settings.borrow_and_update().clone()),
                // Who gives new ones has ended.
                Err(_) => return,
            },
            question = questions.recv() => match question {
                Some(question) => desk.take(question),
                None => return,
            },
            Some(done) = desk.running.join_next_with_id() => desk.finish(done),
            _ = turning.tick() => beat.store(clock::mono().0, Ordering::Relaxed),
        }
    }
}

/// What is known, and what is being asked.
struct Desk {
    shards: Vec<Mailbox>,
    settings: Settings,
    asker: Arc<Asker>,
    known: HashMap<Asked, Known>,
    /// Who waits for which name.
    waiting: HashMap<Asked, Vec<(usize, QueryId)>>,
    /// How many these are.
    waiters: usize,
    running: JoinSet<Answer>,
    /// The names of the look-ups that run.
    names: HashMap<Id, Asked>,
    /// Look-ups that began under earlier settings.
    earlier: HashSet<Id>,
    /// Names whose look-up waits for others to end.
    queued: VecDeque<Asked>,
    random: Random,
}

/// What was found out about a name.
struct Known {
    answer: Answer,
    /// When it was asked for.
    asked: Instant,
    until: Instant,
}

/// A number from 0 to `most`.
fn up_to(most: u32, random: &mut Random) -> u32 {
    u32::try_from(random.below(u64::from(most) + 1)).unwrap_or(most)
}

impl Desk {
    fn new(shards: Vec<Mailbox>, settings: Settings) -> Self {
        Self {
            shards,
            asker: Arc::new(Asker::new(settings.clone())),
            settings,
            known: HashMap::new(),
            waiting: HashMap::new(),
            waiters: 0,
            running: JoinSet::new(),
            names: HashMap::new(),
            earlier: HashSet::new(),
            queued: VecDeque::new(),
            random: Random::new(seed()),
        }
    }

    /// Asks by other settings from here on. What is known is asked again, and stands in only while no server answers.
    fn renew(&mut self, settings: Settings) {
        if settings == self.settings {
            return;
        }
        self.asker = Arc::new(Asker::new(settings.clone()));
        self.settings = settings;
        self.earlier.extend(self.names.keys());
        let now = clock::mono();
        self.known.values_mut().for_each(|known| known.until = known.until.min(now));
    }

    /// Answers a question with what is known, or has the name looked up.
    fn take(&mut self, question: Question) {
        let Question { shard, query, mut host, port, ways } = question;
        host.make_ascii_lowercase();
        let asked = Asked { host, port, ways };
        if let Some(known) = self.known.get(&asked).filter(|known| known.until > clock::mono()) {
            let destinations = locate::destinations(&known.answer.found, &mut |most| up_to(most, &mut self.random));
            return self.answer(shard, query, destinations);
        }
        if self.waiters >= QUESTIONS_MAX || asked.host.len() > NAME_BYTES_MAX {
            return self.answer(shard, query, Vec::new());
        }
        self.waiters += 1;
        match self.waiting.entry(asked.clone()) {
            Entry::Occupied(mut others) => others.get_mut().push((shard, query)),
            Entry::Vacant(first) => {
                first.insert(vec![(shard, query)]);
                self.queued.push_back(asked);
                self.look_up();
            }
        }
    }

    /// Starts look-ups while there is room for them.
    fn look_up(&mut self) {
        if !self.queued.is_empty() && !self.asker.is_current() {
            self.asker = Arc::new(Asker::new(self.settings.clone()));
        }
        while self.running.len() < LOOKUPS_MAX
            && let Some(asked) = self.queued.pop_front()
        {
            let task = self.running.spawn(self.asker.clone().find(asked.clone()));
            self.names.insert(task.id(), asked);
        }
    }

    /// A look-up has ended: whoever waits for it gets its answer.
    fn finish(&mut self, done: Result<(Id, Answer), JoinError>) {
        let (id, answer) = match done {
            Ok((id, answer)) => (id, Some(answer)),
            Err(error) => {
                tracing::error!(%error, "a look-up failed");
                (error.id(), None)
            }
        };
        let Some(asked) = self.names.remove(&id) else { return };
        let is_earlier = self.earlier.remove(&id);
        if let Some(answer) = answer {
            self.keep(asked.clone(), answer);
        }
        if let Some(known) = self.known.get_mut(&asked).filter(|_| is_earlier) {
            // Who waits for it gets it; the next question is put anew.
            known.until = known.asked;
        }
        for (shard, query) in self.waiting.remove(&asked).unwrap_or_default() {
            self.waiters -= 1;
            let found = self.known.get(&asked).map(|known| &known.answer.found);
            let list = found.map(|found| locate::destinations(found, &mut |most| up_to(most, &mut self.random)));
            self.answer(shard, query, list.unwrap_or_default());
        }
        self.look_up();
    }

    fn keep(&mut self, asked: Asked, answer: Answer) {
        let now = clock::mono();
        let until = now + answer.keep;
        if answer.outcome == Outcome::Failed
            && let Some(old) = self.known.get_mut(&asked)
            && !old.answer.is_empty()
            && now.since(old.asked) < STALE_MAX
        {
            old.until = until;
            return;
        }
        if self.known.len() >= NAMES_MAX && !self.known.contains_key(&asked) {
            self.known.retain(|_, known| known.until > now);
            if self.known.len() >= NAMES_MAX {
                self.known.clear();
            }
        }
        self.known.insert(asked, Known { answer, asked: now, until });
    }

    fn answer(&self, shard: usize, query: QueryId, destinations: Vec<Destination>) {
        if let Some(shard) = self.shards.get(shard) {
            let _full = shard.put(Mail::Resolved { query, destinations });
        }
    }
}
