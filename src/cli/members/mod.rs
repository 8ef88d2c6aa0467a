//! `--cluster`: what is asked of all processes of a cluster at once, and the one answer that is made of theirs.
//!
//! Who does not answer is named on standard error and in the answer itself, and the exit code is 2: an answer that lacks
//! somebody never looks like a whole one. A deliverer that has ended in order is not missed.

pub mod audit;
mod calls;
pub mod queue;
mod status;
mod stream;

use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

pub use calls::calls;
pub use status::status;

use super::desk::Seek;
use super::{Failure, load_quietly, output};
use crate::admin::request::Request;
use crate::causes::chain_text;
use crate::cluster::ask::{AskError, Asker, Member, Members, Question, Standing};
use crate::cluster::names::{Role, of_machine};
use crate::config::kinds::host_name;

/// Who is asked.
#[derive(Args, Clone, Copy, Debug)]
pub struct Scope {
    /// Ask all gateways and deliverers of `[cluster]`; exit code 2 if one does not answer
    #[arg(long)]
    pub cluster: bool,
}

/// How long the servers may take to let us in.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A cluster whose processes are known.
pub struct Cluster {
    runtime: Runtime,
    asker: Asker,
    members: Members,
}

/// What one of them says.
#[derive(Clone, Debug)]
pub struct Told {
    /// Who.
    pub member: Member,
    /// What the cluster knows of it.
    pub standing: Standing,
    /// Its answer.
    pub answer: Result<Value, AskError>,
}

/// What all of them say.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The gateways first, each kind by name.
    pub all: Vec<Told>,
    /// Why others may be missing.
    pub trouble: Option<String>,
}

impl Cluster {
    /// Connects as the configuration says, and learns who belongs to the cluster.
    ///
    /// # Errors
    /// There is no `[cluster]`, no server lets us in, or nobody belongs to it.
    pub fn reach(seek: &Seek) -> Result<Self, Failure> {
        if seek.socket.is_some() {
            let text = "`--cluster` asks all processes of the cluster and `--socket` one: give one of the two";
            return Err(Failure::Usage(text.to_owned()));
        }
        let plan = load_quietly(&seek.config)?;
        let Some(settings) = &plan.cluster else {
            return Err(Failure::Usage(format!("there is no `[cluster]` in {}", plan.path.display())));
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (asker, members) = runtime.block_on(async {
            let late = || anyhow!("no server lets us in within {} s", CONNECT_MAX.as_secs());
            let asker = tokio::time::timeout(CONNECT_MAX, Asker::connect(settings, operator())).await;
            let asker = asker.map_err(|_| late())?.map_err(|error| anyhow!(chain_text(&error)))?;
            let members = asker.members().await;
            anyhow::Ok((asker, members))
        })?;
        if members.all.is_empty() {
            let why = members.trouble.unwrap_or_else(|| "none has ever joined it".to_owned());
            let text = format!("no gateway and no deliverer of the cluster `{}` is known", settings.prefix);
            return Err(anyhow!(why).context(text).into());
        }
        Ok(Self { runtime, asker, members })
    }

    /// Takes a process that is gone for good out of the list.
    ///
    /// # Errors
    /// It is not known, answers, or its calls are not taken over yet.
    pub fn forget(&self, member: &Member) -> Result<(), Failure> {
        let title = member.to_string();
        if !self.members.all.contains_key(member) {
            let known: Vec<String> = self.members.all.keys().map(ToString::to_string).collect();
            return Err(Failure::Usage(format!("the cluster knows no {title}; known are {}", known.join(", "))));
        }
        let question = (&Request::QueueStatus {}).into();
        match self.runtime.block_on(self.asker.ask(member, &question)) {
            Err(AskError::Nobody) => {}
            Err(error) => return Err(anyhow!("whether {title} is gone is not certain: {error}").into()),
            Ok(_) => return Err(anyhow!("{title} answers: it is not gone").into()),
        }
        Ok(self.runtime.block_on(self.asker.forget(member)).map_err(|error| anyhow!(error).context(title))?)
    }

    /// Asks all of them the same.
    pub fn ask(&self, question: &Question) -> Answers {
        let members = self.members.all.keys().cloned();
        self.answers(self.runtime.block_on(self.asker.ask_all(members, question)))
    }

    /// What they have answered, beside what the cluster knows of them.
    fn answers(&self, all: Vec<(Member, Result<Value, AskError>)>) -> Answers {
        let told = |(member, answer): (Member, _)| {
            let standing = self.members.all.get(&member).cloned().unwrap_or(Standing::Unknown);
            Told { member, standing, answer }
        };
        Answers { all: all.into_iter().map(told).collect(), trouble: self.members.trouble.clone() }
    }
}

/// Who asks, by the names of the user and the machine.
fn operator() -> String {
    let user = ["SUDO_USER", "LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok());
    format!("{}@{}", user.unwrap_or_else(|| "somebody".to_owned()), of_machine(&host_name()))
}

impl Told {
    /// Whether it has ended in order, and nobody expects an answer.
    fn has_ended(&self) -> bool {
        self.standing == Standing::Ended && self.answer == Err(AskError::Nobody)
    }

    /// Why its answer is missing, if so.
    fn missing(&self) -> Option<String> {
        let error = self.answer.as_ref().err().filter(|_| !self.has_ended())?;
        Some(match &self.standing {
            Standing::TakenOver(other) => format!("{error}; gateway `{other}` has taken over its calls"),
            Standing::Own | Standing::Ended | Standing::Unknown => error.to_string(),
        })
    }

    /// In a word.
    fn state(&self) -> &'static str {
        match &self.answer {
            Ok(_) => "answers",
            Err(_) if self.has_ended() => "ended",
            Err(AskError::Nobody | AskError::Silent | AskError::Cut | AskError::Forbidden(_)) => "silent",
            Err(_) => "failed",
        }
    }

    /// Its role and its name.
    pub fn title(&self) -> String {
        self.member.to_string()
    }

    /// In a column of a table.
    pub fn cell(&self) -> String {
        output::shown(&self.member.name)
    }

    /// As JSON, without its answer.
    fn json(&self) -> Map<String, Value> {
        let taken_over_by = match &self.standing {
            Standing::TakenOver(other) => Some(other),
            _ => None,
        };
        let json = json!({
            "role": self.member.role.name(), "name": self.member.name, "state": self.state(),
            "taken_over_by": taken_over_by, "error": self.missing(),
        });
        match json {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

impl Answers {
    /// Those that have answered, with what they say.
    pub fn good(&self) -> impl Iterator<Item = (&Told, &Value)> {
        self.all.iter().filter_map(|told| Some((told, told.answer.as_ref().ok()?)))
    }

    /// Those of one role.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Told> {
        self.all.iter().filter(move |told| told.member.role == role)
    }

    /// Whether nobody is missing.
    pub fn is_complete(&self) -> bool {
        self.trouble.is_none() && self.all.iter().all(|told| told.missing().is_none())
    }

    /// All of them as JSON, with their answers or without.
    pub fn json(&self, with_answers: bool) -> Vec<Value> {
        let one = |told: &Told| {
            let mut map = told.json();
            if let Some(answer) = told.answer.as_ref().ok().filter(|_| with_answers) {
                map.insert("answer".to_owned(), answer.clone());
            }
            Value::Object(map)
        };
        self.all.iter().map(one).collect()
    }

    /// Refuses to go on when all that answered say that this cannot be asked, in the words of the first.
    ///
    /// # Errors
    /// That.
    pub fn usable(&self) -> Result<(), Failure> {
        let usage = |told: &Told| match &told.answer {
            Err(AskError::Usage(text)) => Some(text.clone()),
            _ => None,
        };
        match self.all.iter().find_map(usage) {
            Some(text) if self.good().next().is_none() => Err(Failure::Usage(text)),
            _ => Ok(()),
        }
    }

    /// Names those that are missing on standard error; the failure that says so.
    ///
    /// # Errors
    /// Somebody is missing.
    pub fn end(&self) -> Result<(), Failure> {
        for told in &self.all {
            if let Some(why) = told.missing() {
                eprintln!("warning: {}: {}", told.title(), output::shown(&why));
            }
        }
        if let Some(trouble) = &self.trouble {
            eprintln!("warning: {}", output::shown(trouble));
        }
        let refused = |told: &Told| match &told.answer {
            Err(AskError::Refused(text)) => Some(text.clone()),
            _ => None,
        };
        match (self.is_complete(), self.good().next()) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(Failure::Incomplete),
            (false, None) => match self.all.iter().find_map(refused) {
                Some(text) => Err(anyhow!("nobody has done it: {text}").into()),
                None => Err(anyhow!("nobody answers").into()),
            },
        }
    }
}
