//! The end of the queue's thread, and of records that no disk took until then: they are kept as JSON lines beside the
//! socket of the commands, which lies on another file system as a rule. `tollgate queue import` puts them back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crate::admin::whole_json;
use crate::clock;
use crate::queue::{Handle, Item, Page, Stats, StoreError};

/// The thread of the queue.
pub(super) struct Store {
    thread: JoinHandle<Result<(), StoreError>>,
    /// Where commands come in.
    socket: Option<PathBuf>,
}

impl Store {
    pub(super) fn new(thread: JoinHandle<Result<(), StoreError>>, socket: Option<PathBuf>) -> Self {
        Self { thread, socket }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Has the queue write what it holds, and ends it.
    pub(super) fn stop(self, queue: &Handle) {
        announce(queue);
        queue.stop();
        match self.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the queue did not close cleanly"),
            Err(_) => tracing::error!("the queue's thread panicked while it stopped"),
        }
        super::supervisor::log_notices(queue);
        keep(queue, self.socket.as_deref());
    }
}

/// Says that the stop may take a while.
fn announce(queue: &Handle) {
    let records = queue.stats().unwritten;
    if records > 0 {
        tracing::warn!(records, "the disk takes nothing: the stop goes on trying to write the records in memory");
    }
}

/// Keeps what the stop of the queue could not write, and says where.
fn keep(queue: &Handle, socket: Option<&Path>) {
    let items = queue.take_unwritten();
    if items.is_empty() {
        return;
    }
    let records = items.len();
    let Some(folder) = folder(socket) else {
        tracing::error!(
            records,
            "records the disk did not take are lost: `admin.socket` is not set, so there is nowhere else to save them"
        );
        return;
    };
    let file = folder.join(format!("{PREFIX}{}-{}.jsonl", clock::wall(), std::process::id()).replace(':', ""));
    match write(&file, items, &queue.stats()) {
        Ok(()) => tracing::error!(
            records,
            file = %file.display(),
            "records the disk did not take are kept in a file: move it to a safe place, `tollgate queue import` puts \
             them back"
        ),
        Err(error) => {
            tracing::error!(records, file = %file.display(), %error, "records the disk did not take are lost");
            let _incomplete = fs::remove_file(&file);
        }
    }
}

/// Says that such files are there: at a start, when the disk may have room again.
pub(super) fn remind(socket: Option<&Path>) {
    let Some(entries) = folder(socket).and_then(|folder| fs::read_dir(folder).ok()) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let file = entry.path();
        tracing::warn!(
            file = %file.display(),
            "records an earlier process could not write: `tollgate queue import` puts them back, then remove the file"
        );
    }
}

/// The folder of the socket.
fn folder(socket: Option<&Path>) -> Option<PathBuf> {
    socket.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_owned)
}

/// Writes lines as `queue drop` keeps them, for their owner alone.
fn write(file: &Path, items: Vec<Item>, stats: &Stats) -> io::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    let mut out = BufWriter::new(&opened);
    let page = Page { items, ..Page::default() };
    let lines = whole_json(&page, stats, None);
    for line in lines["items"].as_array().into_iter().flatten() {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    opened.sync_all()?;
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Begin of the files' names.
const PREFIX: &str = "unwritten-";
