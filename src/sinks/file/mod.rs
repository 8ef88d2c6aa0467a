//! Files of records for those who load them with a job of their own: comma-separated values or JSON lines, with columns that
//! are fixed, in files that end by time and size.
//!
//! [`mod@line`] makes the lines, [`writer`] owns the file, on a thread of its own: a disk that hangs holds up no other sink. What
//! an acknowledgement is worth is what [`writer::Sync`] says.

mod kind;
pub mod line;
#[cfg(test)]
mod line_tests;
#[cfg(test)]
mod tests;
pub mod writer;
#[cfg(test)]
mod writer_tests;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use self::line::Layout;
use self::writer::{Told, WriteError, Writer};
use super::attempt::{self, Answer, Attempt, Entry, Render};
use super::trial::Message;
use crate::causes::chain_text;
use crate::clock;
use crate::queue::Worth;

/// Checked settings of a file sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// What a line looks like.
    pub layout: Layout,
    /// Where it is written.
    pub file: writer::Settings,
    /// Records that are written and forced to the disk together at most. Default 500.
    pub batch_max: usize,
}

impl Settings {
    /// How batches are made and repeated.
    #[must_use]
    pub fn attempts(&self) -> attempt::Settings {
        attempt::Settings {
            batch_max: self.batch_max,
            timeout: WRITE_TIME_MAX,
            retry_max: LEFT_ALONE_MAX,
            ..attempt::Settings::default()
        }
    }

    /// Makes lines of records.
    #[must_use]
    pub fn render(&self) -> Render<Vec<u8>> {
        let layout = self.layout.clone();
        Box::new(move |record| Ok(Some(layout.lines(record))))
    }
}

/// Longest wait for a disk before it counts as away.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// Longest wait before a file is tried again that could not be written. To try costs little.
const LEFT_ALONE_MAX: Duration = Duration::from_secs(10);

/// Longest time in which the thread of a file does not look at the clock: somebody may set that.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// One file, and the thread that writes it.
pub struct FileAttempt {
    path: String,
    sync: writer::Sync,
    jobs: Sender<Job>,
    /// What became of the job under way.
    done: Option<Done>,
}

type Done = oneshot::Receiver<Result<(), WriteError>>;

/// Something for the thread to do.
struct Job {
    work: Work,
    done: oneshot::Sender<Result<(), WriteError>>,
}

enum Work {
    /// Lines, and lines that may be there.
    Write(Vec<u8>, Vec<u8>),
    /// The same to a file that is deleted again.
    Rehearse(Vec<u8>),
    /// The file is let go.
    Close,
}

impl FileAttempt {
    /// For the sink called `name`.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub fn new(name: &str, settings: &Settings) -> io::Result<Self> {
        let (jobs, come) = channel();
        let (writer, sink) = (Writer::new(settings.file.clone()), name.to_owned());
        thread::Builder::new().name(format!("file {name}")).spawn(move || work(writer, &come, &sink))?;
        let path = settings.file.path.display().to_string();
        Ok(Self { path, sync: settings.file.sync, jobs, done: None })
    }

    /// Has something done. One thing at a time: what a disk that hangs has under way is awaited first.
    async fn ask(&mut self, work: Work) -> Result<(), WriteError> {
        if let Some(earlier) = &mut self.done {
            let _unknown_to_its_records = earlier.await;
        }
        let (done, ended) = oneshot::channel();
        // A thread that is gone answers nothing.
        let _answered_below = self.jobs.send(Job { work, done });
        let ended = self.done.insert(ended).await;
        self.done = None;
        ended.unwrap_or_else(|_| {
            let source = io::Error::other("its thread has ended");
            Err(WriteError::Unknown { what: "write to", path: self.path.clone().into(), source })
        })
    }
}

impl Attempt for FileAttempt {
    const KIND: &'static str = "file";
    type Item = Vec<u8>;

    fn backend(&self) -> String {
        self.path.clone()
    }

    fn stores(&self) -> Worth {
        match self.sync {
            writer::Sync::Batch => Worth::Stored,
            writer::Sync::Interval | writer::Sync::Never => Worth::Taken,
        }
    }

    fn worth(&self) -> &'static str {
        match self.sync {
            writer::Sync::Batch => "on the disk",
            writer::Sync::Interval => "written, and forced to the disk every so often",
            writer::Sync::Never => "written, and not forced to the disk",
        }
    }

    fn octets(lines: &Vec<u8>) -> usize {
        lines.len()
    }

    fn describe(lines: &Vec<u8>) -> Message {
        let title = String::from_utf8_lossy(lines).trim_end().to_owned();
        Message { title, octets: lines.len(), attributes: Vec::new() }
    }

    async fn attempt(&mut self, batch: &[Entry<Vec<u8>>]) -> Answer {
        let lines = |may_be_there| {
            let own = batch.iter().filter(|entry| entry.may_be_there == may_be_there);
            own.flat_map(|entry| &entry.item).copied().collect()
        };
        answer(self.ask(Work::Write(lines(false), lines(true))).await)
    }

    /// The thread goes on; the next attempt waits for it.
    fn abandon(&mut self) {}

    async fn close(&mut self) {
        if let Err(error) = self.ask(Work::Close).await {
            tracing::error!(error = chain_text(&error), "the last lines may not be on the disk");
        }
    }

    async fn rehearse(&mut self, batch: &[Entry<Vec<u8>>]) -> Answer {
        let lines = batch.iter().flat_map(|entry| &entry.item).copied().collect();
        answer(self.ask(Work::Rehearse(lines)).await)
    }

    async fn reach(&mut self) -> Result<(), String> {
        self.ask(Work::Rehearse(Vec::new())).await.map_err(|error| chain_text(&error))
    }
}

/// What became of the lines.
fn answer(result: Result<(), WriteError>) -> Answer {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, Other, PermissionDenied, ReadOnlyFilesystem};
    let Err(error) = result else { return Answer::Delivered };
    let reason = chain_text(&error);
    match error {
        WriteError::Unknown { .. } => Answer::Unknown { reason },
        WriteError::Nothing { source, .. } => match source.kind() {
            NotFound | NotADirectory | IsADirectory | PermissionDenied | ReadOnlyFilesystem | Other => {
                Answer::Misfit { reason }
            }
            _ => Answer::Down { reason, after: None },
        },
        WriteError::Locked { .. } => Answer::Down { reason, after: None },
    }
}

/// The thread of a file: until nobody has work for it any more.
fn work(mut writer: Writer, jobs: &Receiver<Job>, sink: &str) {
    loop {
        let rest = writer.rest(clock::wall()).unwrap_or(LOOK_MAX).min(LOOK_MAX);
        match jobs.recv_timeout(rest) {
            Ok(Job { work, done }) => {
                let result = match work {
                    Work::Write(lines, doubtful) => writer.write(clock::wall(), &lines, &doubtful),
                    Work::Rehearse(lines) => writer.rehearse(&lines),
                    Work::Close => writer.close(),
                };
                let _nobody_waits_any_more = done.send(result);
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = writer.tick(clock::wall()) {
                    tracing::error!(sink, error = chain_text(&error), "the file cannot be finished now");
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
        for told in writer.told() {
            match told {
                Told::Finished(path) => tracing::info!(sink, path = %path.display(), "a file is finished"),
                Told::Cut(octets) => {
                    tracing::warn!(sink, octets, "a torn last line was cut off: its record comes again");
                }
            }
        }
    }
    if let Err(error) = writer.close() {
        tracing::error!(sink, error = chain_text(&error), "the last lines may not be on the disk");
    }
}
