//! Records kept in a file before they are dropped, and put back from it.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use super::Failure;
use super::desk::{Desk, Seek};
use crate::admin::request::{Filter, Kept, Request, Until};
use crate::clock;

/// The end of what is in the queue now.
///
/// # Errors
/// The queue does not answer.
pub fn until_now(desk: &mut Desk) -> Result<Until, Failure> {
    let seq = desk.ask(&Request::QueueStatus {})?["disk"]["head"].as_u64().unwrap_or(0);
    Ok(Until { seq, micros: clock::wall().0 })
}

/// Where a file belongs whose name is not given.
fn folder(seek: &Seek) -> Result<PathBuf, Failure> {
    let plan = seek.plan().inspect_err(|_| eprintln!("hint: with `--save FILE` no configuration is needed"))?;
    // The queue of a deliverer is emptied at each start.
    Ok(if plan.is_of_deliverer { plan.deliver.directory } else { plan.queue.path })
}

/// Writes the selected records to a new file of their owner alone. `None` when there are none.
///
/// # Errors
/// The records cannot be read or the file not be written; nothing was dropped then.
pub fn save(desk: &mut Desk, seek: &Seek, filter: &Filter, path: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    let folder = match path {
        Some(_) => None,
        None => Some(folder(seek)?),
    };
    let path = path.unwrap_or_else(|| {
        let name = format!("dropped-{}-{}.jsonl", clock::wall(), std::process::id()).replace(':', "");
        folder.clone().unwrap_or_default().join(name)
    });
    let hint =
        || format!("nothing was dropped: {} cannot be written (`--save FILE` names another file)", path.display());
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).with_context(hint)?;
    let mut records = 0_u64;
    let written = write(desk, &Filter { whole: true, ..filter.clone() }, &file, &mut records).and_then(|()| {
        file.sync_all().with_context(hint)?;
        if let Some(folder) = &folder {
            // Root's file beside those of the service would be in its way.
            let owner = std::fs::metadata(folder).with_context(hint)?;
            if file.metadata().with_context(hint)?.uid() != owner.uid() {
                let _not_root = fchown(&file, Some(owner.uid()), Some(owner.gid()));
            }
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).with_context(hint)?;
        Ok(())
    });
    if written.is_err() || records == 0 {
        let _left = std::fs::remove_file(&path);
    }
    written?;
    Ok((records > 0).then_some(path))
}

fn write(desk: &mut Desk, filter: &Filter, file: &File, records: &mut u64) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(file);
    super::queue::pages(desk, filter, usize::MAX, |item| {
        *records += 1;
        writeln!(out, "{item}")
    })?;
    out.flush().context("nothing was dropped: the records cannot be kept")?;
    Ok(())
}

/// What became of the lines of a file.
#[derive(Debug, Default)]
pub struct Imported {
    /// Records put back, once for each sink.
    pub records: u64,
    /// Those passed over because they are in the queue.
    pub skipped: u64,
    /// Lines that could not be used.
    pub bad: u64,
}

/// Puts the records of a file back; says on standard error which lines cannot be used.
///
/// # Errors
/// The file cannot be read, or the queue failed.
pub fn import(desk: &mut Desk, path: &Path) -> Result<Imported, Failure> {
    let status = desk.ask(&Request::QueueStatus {})?;
    let sinks: Vec<_> = status["sinks"].as_array().into_iter().flatten().collect();
    let sinks: Vec<_> =
        sinks.iter().filter(|sink| sink["configured"] == true).filter_map(|s| s["sink"].as_str()).collect();
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut batch, mut seen) = (Batch::default(), HashSet::new());
    for (index, line) in BufReader::new(file).split(b'\n').enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let (id, mut kept) = match read(&line, &sinks) {
            Ok(read) => read,
            Err(why) => {
                eprintln!("{}:{}: {why}: not put back", path.display(), index + 1);
                batch.done.bad += 1;
                continue;
            }
        };
        let before = kept.sinks.len();
        kept.sinks.retain(|sink| seen.insert((id.clone(), sink.clone())));
        batch.done.skipped += (before - kept.sinks.len()) as u64;
        batch.put(desk, kept)?;
    }
    batch.end(desk)
}

/// A line's id and what to put back, or why it cannot be used.
fn read(line: &[u8], sinks: &[&str]) -> Result<(String, Kept), String> {
    let item: Value = serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
    let body = item["body"].as_str().ok_or("it has no `body`")?.to_owned();
    let named = item["sinks"].as_array().ok_or("it has no `sinks`")?.iter();
    let named: Option<Vec<_>> = named.map(|sink| sink["sink"].as_str().map(str::to_owned)).collect();
    let kept = Kept { sinks: named.ok_or("a sink in it has no name")?, body };
    if let Some(unknown) = kept.sinks.iter().find(|name| !sinks.contains(&name.as_str())) {
        return Err(format!("sink `{unknown}` is not configured"));
    }
    let (record, _) = kept.read()?;
    // Through text, as the line came: numbers are read the same way.
    let shown: Value = serde_json::from_str(&record.to_json().to_string()).map_err(|error| error.to_string())?;
    if shown != item["record"] || item["id"] != shown["id"] {
        return Err("its `body` and its `record` or `id` say different things: it is damaged or was changed".to_owned());
    }
    Ok((record.id.to_string(), kept))
}

/// Records that are put into the queue, some at a time.
#[derive(Default)]
pub struct Batch {
    records: Vec<Kept>,
    octets: usize,
    done: Imported,
}

impl Batch {
    /// Puts a record into the queue, with the next ones.
    ///
    /// # Errors
    /// The queue failed.
    pub fn put(&mut self, desk: &mut Desk, kept: Kept) -> Result<(), Failure> {
        if self.octets + kept.body.len() > BATCH_OCTETS_MAX || self.records.len() == BATCH_RECORDS_MAX {
            self.flush(desk)?;
        }
        self.octets += kept.body.len();
        self.records.push(kept);
        Ok(())
    }

    /// Puts the last ones there; what became of all.
    ///
    /// # Errors
    /// The queue failed.
    pub fn end(mut self, desk: &mut Desk) -> Result<Imported, Failure> {
        self.flush(desk)?;
        Ok(self.done)
    }

    fn flush(&mut self, desk: &mut Desk) -> Result<(), Failure> {
        let (done, records) = (&mut self.done, std::mem::take(&mut self.records));
        self.octets = 0;
        if records.is_empty() {
            return Ok(());
        }
        let answer = desk.ask(&Request::QueueImport { records }).map_err(|failure| match failure {
            Failure::Failed(error) => {
                Failure::Failed(anyhow!(error).context(format!("{} were put back before this failed", done.records)))
            }
            other => other,
        })?;
        done.records += answer["records"].as_u64().unwrap_or(0);
        done.skipped += answer["skipped"].as_u64().unwrap_or(0);
        Ok(())
    }
}

/// Hexadecimal digits of one request: with the longest record it stays below what the service takes.
const BATCH_OCTETS_MAX: usize = 100 << 10;

/// Records of one request.
const BATCH_RECORDS_MAX: usize = 256;
