//! A batch becomes one statement for each table, in one transaction if there are several.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;

use super::database::{Keep, Link, Target};
use super::failure::{Class, Failure, Phase};
use super::fit::Tailor;
use super::layout::{Layouts, Set};
use super::plan::{self, Line, Plan};
use super::row::Rows;
use super::settings::{Dialect, Guard, Settings};
use super::{schema, side};
use crate::accounting::SinkMode;
use crate::clock::{self, Instant};
use crate::metric::metrics_of;
use crate::sinks::attempt::{Answer, Attempt, Entry};
use crate::sinks::trial::Message;

metrics_of! { METRICS:
    /// Values that were changed to fit their columns, by `sink`.
    counter SQL_CHANGED_VALUES_TOTAL = "tollgate_sql_changed_values_total", "values";
}

/// How often a batch is tried again at once when another transaction was in its way.
const AGAIN_MAX: u32 = 2;

/// A connection that was idle for longer is asked whether it is still there, so that one that was closed meanwhile says
/// nothing about a batch.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// The connection of a sink.
pub struct Connection {
    settings: Arc<Settings>,
    layouts: Layouts,
    tailor: Tailor,
    target: Target,
    link: Option<Link>,
    /// When the connection was last of use.
    used: Instant,
    /// How rows go into the tables, as far as these were looked at.
    plans: HashMap<Key, Plan>,
    /// What an operator should know of tables that fit.
    warnings: Vec<String>,
    changed: Counter,
    /// Ids that came into the side table since old ones were removed.
    noted: u32,
}

/// A table and which columns go into it.
type Key = (String, Set);

/// Rows for one table.
struct Group {
    key: Key,
    /// Whether a call has named the table.
    is_named: bool,
    entries: Vec<usize>,
}

/// What ends a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Commit,
    Rollback,
}

fn tailor(settings: &Settings) -> Tailor {
    // The proxies write whole seconds, and PostgreSQL's TIMESTAMP keeps what it is given.
    let digits = if settings.profile.is_classic() { settings.profile.system().columns.digits } else { 6 };
    Tailor { empty: settings.empty, zone: settings.zone.rules.clone(), digits }
}

impl Connection {
    /// None yet; an error if the URL cannot be read.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(name: &str, settings: &Arc<Settings>) -> Result<Self, sqlx::Error> {
        let target = Target::new(&settings.url, settings.password.as_ref())?;
        Ok(Self {
            layouts: Layouts::new(settings),
            tailor: tailor(settings),
            target,
            link: None,
            used: Instant::default(),
            plans: HashMap::new(),
            warnings: Vec::new(),
            changed: metrics::counter!(SQL_CHANGED_VALUES_TOTAL, "sink" => name.to_owned()),
            // The first batch removes what is old.
            noted: side::PRUNED_MAX,
            settings: Arc::clone(settings),
        })
    }

    fn failure(&self, phase: Phase, error: &sqlx::Error) -> Failure {
        Failure::new(self.settings.dialect(), phase, error)
    }

    /// The connection, a new one if need be.
    async fn connect(&mut self) -> Result<(), Failure> {
        if let Some(link) = &mut self.link
            && clock::mono().since(self.used) > IDLE_MAX
            && link.ping().await.is_err()
        {
            self.drop_link();
        }
        if self.link.is_none() {
            let link = self.target.connect().await.map_err(|error| self.failure(Phase::Connecting, &error))?;
            self.link = Some(link);
        }
        self.used = clock::mono();
        Ok(())
    }

    fn drop_link(&mut self) {
        self.link = None;
        // Another server may answer next.
        self.plans.clear();
    }

    fn link(&mut self) -> Result<&mut Link, Failure> {
        let gone = || Failure { class: Class::Away, reason: "there is no connection".to_owned(), code: 0 };
        self.link.as_mut().ok_or_else(gone)
    }

    /// Runs a statement that is the same always.
    async fn run(&mut self, statement: &'static str) -> Result<(), Failure> {
        let dialect = self.settings.dialect();
        self.link()?.run(statement).await.map_err(|error| Failure::new(dialect, Phase::Connected, &error))
    }

    /// How rows go into a table; looked up in the database's catalogue unless that was done.
    async fn plan(&mut self, key: &Key) -> Result<(), Failure> {
        if self.plans.contains_key(key) {
            return Ok(());
        }
        let dialect = self.settings.dialect();
        let (name, set) = key;
        let table = self.link()?.table(name).await;
        let table = table.map_err(|error| Failure::new(dialect, Phase::Connected, &error))?;
        let missing = || Failure::misfit(format!("there is no table `{name}`, or this user may not see it"));
        let table = table.ok_or_else(missing)?;
        let plan = Plan::new(&self.settings, name, self.layouts.of(*set), &table)?;
        if let Some(column) = table.ending() {
            tracing::warn!(table = name, column = column.name, number = table.number, "its numbers come to their end");
        }
        self.plans.insert(key.clone(), plan);
        Ok(())
    }

    fn groups(&self, batch: &[Entry<Rows>]) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (at, entry) in batch.iter().enumerate() {
            let rows = &entry.item;
            let name = rows.table.as_deref().unwrap_or(self.table(rows.set));
            match groups.iter_mut().find(|group| group.key.0 == name && group.key.1 == rows.set) {
                Some(group) => group.entries.push(at),
                None => groups.push(Group {
                    key: (name.to_owned(), rows.set),
                    is_named: rows.table.is_some(),
                    entries: vec![at],
                }),
            }
        }
        groups
    }

    /// The sink's own table for a set of columns.
    fn table(&self, set: Set) -> &str {
        let tables = &self.settings.tables;
        match set {
            Set::Acc => &tables.acc,
            Set::Missed => &tables.missed,
            Set::Cdr => &tables.cdr,
        }
    }

    /// Delivers a batch once.
    async fn deliver(&mut self, batch: &[Entry<Rows>], end: End) -> Result<(), Failure> {
        self.connect().await?;
        let groups = self.groups(batch);
        for group in &groups {
            // A table that a call has named is not the sink's: the record is to blame.
            let blamed = |failure: Failure| match failure.class {
                Class::Misfit if group.is_named => Failure { class: Class::Record, ..failure },
                _ => failure,
            };
            self.plan(&group.key).await.map_err(blamed)?;
        }
        let is_bare = end == End::Commit && self.settings.guard != Guard::SideTable;
        // A single statement is a transaction of its own; see Link::bracket for PostgreSQL.
        if is_bare && self.settings.dialect() == Dialect::Mysql {
            let statements = self.statements(batch, &groups, None);
            if statements.len() == 1 {
                return self.send(&groups, statements).await;
            }
        }
        let begin = if self.settings.dialect() == Dialect::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        self.run(begin).await?;
        let done = self.fill(batch, &groups).await;
        match (&done, end) {
            (Ok(()), End::Commit) => self.run("COMMIT").await,
            (Ok(()), End::Rollback) => self.run("ROLLBACK").await,
            (Err(failure), _) => {
                // One that cannot be rolled back is of no use any more, and neither is a broken one.
                if failure.class != Class::Lost && self.run("ROLLBACK").await.is_err() {
                    self.drop_link();
                }
                done
            }
        }
    }

    /// What stands in a transaction.
    async fn fill(&mut self, batch: &[Entry<Rows>], groups: &[Group]) -> Result<(), Failure> {
        let new = match self.settings.guard {
            Guard::SideTable => {
                let settings = Arc::clone(&self.settings);
                let ids: Vec<_> = batch.iter().map(|entry| entry.id).collect();
                Some(side::new_ones(self.link()?, &settings, &ids).await?)
            }
            Guard::Column | Guard::None => None,
        };
        let statements = self.statements(batch, groups, new.as_deref());
        self.send(groups, statements).await
    }

    /// The rows of each statement with the place of its group, of those entries that are `new` if that is known.
    fn statements(&self, batch: &[Entry<Rows>], groups: &[Group], new: Option<&[bool]>) -> Vec<(usize, Vec<Line>)> {
        let octets_max = self.link.as_ref().map_or(usize::MAX, Link::octets_max);
        let (mut statements, mut changed) = (Vec::new(), 0);
        for (place, group) in groups.iter().enumerate() {
            let plan = &self.plans[&group.key];
            let (mut lines, mut octets) = (Vec::new(), 0);
            for at in group.entries.iter().filter(|at| new.is_none_or(|new| new[**at])) {
                for cells in &batch[*at].item.lines {
                    let (line, count) = plan.line(&self.tailor, cells);
                    changed += count;
                    let own = plan::octets(&line);
                    if lines.len() >= plan.rows_max() || (!lines.is_empty() && octets + own > octets_max) {
                        statements.push((place, std::mem::take(&mut lines)));
                        octets = 0;
                    }
                    octets += own;
                    lines.push(line);
                }
            }
            if !lines.is_empty() {
                statements.push((place, lines));
            }
        }
        self.changed.increment(u64::try_from(changed).unwrap_or(u64::MAX));
        statements
    }

    /// Sends statements, one after the other.
    async fn send(&mut self, groups: &[Group], statements: Vec<(usize, Vec<Line>)>) -> Result<(), Failure> {
        let dialect = self.settings.dialect();
        for (place, lines) in statements {
            let plan = &self.plans[&groups[place].key];
            let Some(link) = self.link.as_mut() else { continue };
            let sent = send(link, plan, &lines).await;
            sent.map_err(|error| Failure::new(dialect, Phase::Connected, &error))?;
        }
        Ok(())
    }

    /// Delivers a batch, again if that is of use at once.
    async fn tried(&mut self, batch: &[Entry<Rows>], end: End) -> Answer {
        let (mut again, mut is_reread) = (0, false);
        loop {
            let Err(failure) = self.deliver(batch, end).await else {
                if self.settings.guard == Guard::SideTable && end == End::Commit {
                    self.prune(batch.len()).await;
                }
                return Answer::Delivered;
            };
            match failure.class {
                Class::Again if again < AGAIN_MAX => again += 1,
                Class::Record | Class::Misfit if !is_reread && self.has_changed().await => is_reread = true,
                _ => return self.give_up(failure),
            }
        }
    }

    /// Keeps the side table from growing: twice as many ids may go as came.
    async fn prune(&mut self, came: usize) {
        self.noted = self.noted.saturating_add(u32::try_from(came).unwrap_or(u32::MAX));
        let Some(link) = self.link.as_mut().filter(|_| self.noted >= side::PRUNED_MAX / 2) else { return };
        self.noted = 0;
        if let Err(error) = side::prune(link, &self.settings, clock::wall()).await {
            let reason = Failure::new(self.settings.dialect(), Phase::Connected, &error).reason;
            tracing::warn!(table = self.settings.side_table, error = reason, "old ids cannot be removed");
            self.drop_link();
        }
    }

    /// The answer that follows from a failure, and what it means for the connection.
    fn give_up(&mut self, failure: Failure) -> Answer {
        match failure.class {
            // The server hangs up after a packet that was too large.
            Class::Record if failure.code == PACKET_TOO_LARGE => self.drop_link(),
            Class::Record => {}
            Class::Again | Class::Away | Class::Misfit | Class::Lost => self.drop_link(),
        }
        failure.answer()
    }

    /// Whether a table is not any more what it was when it was looked up.
    async fn has_changed(&mut self) -> bool {
        let old = std::mem::take(&mut self.plans);
        for (key, plan) in old {
            if self.plan(&key).await.is_err() || self.plans.get(&key) != Some(&plan) {
                return true;
            }
        }
        false
    }

    /// The sets of columns that records of the sink have.
    fn sets(&self) -> &'static [Set] {
        match self.settings.records {
            SinkMode::Cdr => &Set::ALL,
            SinkMode::Sessions | SinkMode::Transactions => &[Set::Acc, Set::Missed],
        }
    }

    /// Whether all tables fit.
    async fn fits(&mut self) -> Result<(), Failure> {
        self.connect().await?;
        for set in self.sets() {
            let key = (self.table(*set).to_owned(), *set);
            self.plan(&key).await?;
        }
        if self.settings.guard == Guard::SideTable {
            let settings = Arc::clone(&self.settings);
            side::fits(self.link()?, &settings).await?;
        }
        Ok(())
    }

    /// The statements that give the database what it lacks; what no statement mends is a comment among them.
    pub(super) async fn missing(&mut self) -> Result<String, Failure> {
        self.connect().await?;
        let settings = Arc::clone(&self.settings);
        let dialect = settings.dialect();
        let told = |error: sqlx::Error| Failure::new(dialect, Phase::Connected, &error);
        let (mut text, mut created) = (String::new(), Vec::new());
        for set in self.sets() {
            let name = self.table(*set).to_owned();
            let table = self.link()?.table(&name).await.map_err(told)?;
            let places = self.layouts.of(*set);
            match table {
                None if created.contains(&name) => {}
                None => {
                    text += &schema::creation(&settings, &name, places);
                    created.push(name);
                }
                Some(table) => {
                    let own = schema::alterations(&settings, &name, places, &table);
                    if let (true, Err(failure)) = (own.is_empty(), Plan::new(&settings, &name, places, &table)) {
                        text += &format!("-- {}\n", failure.reason);
                    }
                    text += &own;
                    if let Some(column) = table.ending() {
                        let (column, number) = (&column.name, table.number.unwrap_or_default());
                        text +=
                            &format!("-- `{column}` of `{name}` is at {number}, near the end of its type: widen it\n");
                    }
                }
            }
        }
        if settings.guard == Guard::SideTable && self.link()?.table(&settings.side_table).await.map_err(told)?.is_none()
        {
            text += &schema::side_creation(&settings);
        }
        Ok(text)
    }
}

/// MySQL's number for it.
const PACKET_TOO_LARGE: u32 = 1153;

/// One statement.
async fn send(link: &mut Link, plan: &Plan, rows: &[Line]) -> Result<(), sqlx::Error> {
    let statement = plan.statement(rows.len());
    if matches!(link, Link::Postgres(_)) {
        let width = rows.first().map_or(0, Vec::len);
        let array = |column: usize| rows.iter().map(|row| row[column].as_deref()).collect::<Vec<_>>();
        return link.execute_arrays(statement, (0..width).map(array).collect()).await;
    }
    let texts: Vec<_> = rows.iter().flatten().map(Option::as_deref).collect();
    link.execute(statement, &texts, Keep::Prepared).await
}

impl Attempt for Connection {
    const KIND: &'static str = "sql";
    type Item = Rows;

    fn backend(&self) -> String {
        let url = self.settings.url.split('?').next().unwrap_or_default();
        match self.settings.guard {
            Guard::Column => url.to_owned(),
            Guard::SideTable => format!("{url} (guarded by {})", self.settings.side_table),
            Guard::None => format!("{url} (no guard: at least once)"),
        }
    }

    fn octets(item: &Rows) -> usize {
        item.octets()
    }

    fn describe(item: &Rows) -> Message {
        let title = match item.lines.len() {
            1 => "1 row".to_owned(),
            count => format!("{count} rows"),
        };
        Message { title, octets: item.octets(), attributes: item.described() }
    }

    async fn attempt(&mut self, batch: &[Entry<Rows>]) -> Answer {
        self.tried(batch, End::Commit).await
    }

    fn abandon(&mut self) {
        self.drop_link();
    }

    async fn close(&mut self) {
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }

    async fn rehearse(&mut self, batch: &[Entry<Rows>]) -> Answer {
        self.tried(batch, End::Rollback).await
    }

    async fn reach(&mut self) -> Result<(), String> {
        let fits = self.fits().await;
        self.warnings = self.plans.iter().filter_map(|((name, _), plan)| lacking(name, plan)).collect();
        self.close().await;
        fits.map_err(|failure| failure.reason)
    }

    fn warnings(&mut self) -> Vec<String> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.sort();
        warnings.dedup();
        warnings
    }
}

/// That a table has no place for some values.
fn lacking(name: &str, plan: &Plan) -> Option<String> {
    let (first, count) = (plan.lacks().first()?, plan.lacks().len());
    Some(format!(
        "the table `{name}` has no column for {count} values of the profile, such as `{first}`: they are left out; \
         `tollgate sql migrate` prints the statements that add them"
    ))
}
