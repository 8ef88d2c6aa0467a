//! A disk that loses power: from the record of what a process did to its files, the states a cut may leave.
//!
//! What was synced is there. Of later writes each 4 KiB page is there or not; names made or changed in a directory after
//! its last sync are there up to some point. Real file systems promise more; code that stands this stands them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::queue::Random;
use super::start::Start as _;

/// What the process did, in order.
pub enum Step {
    Write {
        path: String,
        offset: u64,
        data: Vec<u8>,
    },
    Truncate {
        path: String,
        length: u64,
    },
    SyncData {
        path: String,
    },
    Sync {
        path: String,
    },
    Create {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    MakeDirectory {
        path: String,
    },
    RemoveDirectory {
        path: String,
    },
    /// A sync that failed.
    FailedSync {
        path: String,
    },
    /// What it should have covered is not there, as the process sees from now on.
    Forgotten {
        path: String,
    },
    Line(Vec<u8>),
}

impl Step {
    /// The file or directory that it is about; empty for a line.
    pub fn path(&self) -> &str {
        match self {
            Self::Write { path, .. }
            | Self::Truncate { path, .. }
            | Self::SyncData { path }
            | Self::Sync { path }
            | Self::Create { path }
            | Self::Rename { from: path, .. }
            | Self::Unlink { path }
            | Self::MakeDirectory { path }
            | Self::RemoveDirectory { path }
            | Self::FailedSync { path }
            | Self::Forgotten { path } => path,
            Self::Line(_) => "",
        }
    }
}

/// Which syncs count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Syncs {
    /// All.
    Honest,
    /// `fdatasync` does nothing: a flush of sled without guard G1.
    NoFdatasync,
    /// `fdatasync` of sled's own files does nothing, while that of its journal does.
    NoFdatasyncOfSled,
    /// `fsync` does nothing: a queue without guard G5.
    NoFsync,
}

/// The library that records what a process does to its files, and lets it fail or delays it, compiled into `directory`.
///
/// # Panics
/// Without a C compiler where one is required.
pub fn recorder(directory: &Path) -> Option<PathBuf> {
    let library = directory.join("record.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/powercut/record.c");
    let compiled = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).finish();
    if compiled.as_ref().is_ok_and(|compiled| compiled.status.success()) {
        return Some(library);
    }
    let required = std::env::var("TOLLGATE_PEERS").is_ok_and(|peers| peers == "required");
    assert!(!required, "no C compiler: {compiled:?}");
    println!("skipped: no C compiler `cc`");
    None
}

/// Reads the record of `powercut/record.c`.
pub fn read_trace(path: &Path) -> Vec<Step> {
    let bytes = fs::read(path).expect("the child wrote its record");
    let mut at = 0;
    let mut take = |count: usize| {
        at += count;
        &bytes[at - count..at]
    };
    let mut steps = Vec::new();
    let total = bytes.len();
    let mut read = 0;
    while read < total {
        let kind = take(1)[0];
        let path_length = usize::from(u16::from_ne_bytes(take(2).try_into().expect("2 octets")));
        let path = String::from_utf8_lossy(take(path_length)).into_owned();
        let offset = u64::from_ne_bytes(take(8).try_into().expect("8 octets"));
        let length = u32::from_ne_bytes(take(4).try_into().expect("4 octets")) as usize;
        let data = take(length).to_vec();
        read += 15 + path_length + length;
        steps.push(match kind {
            b'W' => Step::Write { path, offset, data },
            b'T' => Step::Truncate { path, length: offset },
            b'D' => Step::SyncData { path },
            b'F' => Step::Sync { path },
            b'C' => Step::Create { path },
            b'R' => Step::Rename { from: path, to: String::from_utf8_lossy(&data).into_owned() },
            b'U' => Step::Unlink { path },
            b'M' => Step::MakeDirectory { path },
            b'X' => Step::RemoveDirectory { path },
            b'E' => Step::FailedSync { path },
            b'N' => Step::Forgotten { path },
            b'L' => Step::Line(data),
            other => panic!("kind {other} in the record"),
        });
    }
    steps
}

enum Change {
    Write { offset: u64, data: Vec<u8> },
    Truncate(u64),
}

#[derive(Default)]
struct Inode {
    changes: Vec<Change>,
    synced: usize,
    /// Changes of which no later sync says anything: one that covered them failed, and the kernel forgot them.
    doomed: BTreeSet<usize>,
    /// Changes that are not on the disk, nor in the kernel's memory any more.
    gone: BTreeSet<usize>,
}

impl Inode {
    fn is_durable(&self, change: usize) -> bool {
        change < self.synced && !self.doomed.contains(&change)
    }
}

/// A change of names, in the directory that holds the (new) name.
enum Naming {
    File { path: String, inode: usize },
    Directory { path: String },
    Moved { from: String, to: String },
    Gone { path: String },
}

impl Naming {
    fn directory(&self) -> &str {
        let (Self::File { path, .. } | Self::Directory { path } | Self::Moved { to: path, .. } | Self::Gone { path }) =
            self;
        parent(path)
    }
}

/// A disk with a process at work.
pub struct Disk {
    root: String,
    syncs: Syncs,
    inodes: Vec<Inode>,
    /// Names as the process sees them.
    live: BTreeMap<String, usize>,
    namings: Vec<Naming>,
    /// Of each directory, how many of all namings were made when it was synced last.
    durable: BTreeMap<String, usize>,
    /// The file names are counted as durable at once below this directory's parent.
    lines: Vec<u8>,
}

impl Disk {
    /// The disk as it is: everything below `root` is durable.
    pub fn load(root: &Path, syncs: Syncs) -> Self {
        let mut disk = Self {
            root: root.to_string_lossy().into_owned(),
            syncs,
            inodes: Vec::new(),
            live: BTreeMap::new(),
            namings: Vec::new(),
            durable: BTreeMap::new(),
            lines: Vec::new(),
        };
        if root.exists() {
            disk.load_directory(root);
        }
        disk
    }

    fn load_directory(&mut self, directory: &Path) {
        let path = directory.to_string_lossy().into_owned();
        self.namings.push(Naming::Directory { path: path.clone() });
        self.durable.insert(parent(&path).to_owned(), self.namings.len());
        for entry in fs::read_dir(directory).expect("the state was built").flatten() {
            if entry.path().is_dir() {
                self.load_directory(&entry.path());
                continue;
            }
            let data = fs::read(entry.path()).expect("the state was built");
            let inode = self.create(&entry.path().to_string_lossy());
            self.inodes[inode].changes.push(Change::Write { offset: 0, data });
            self.inodes[inode].synced = 1;
        }
        self.durable.insert(path, self.namings.len());
    }

    fn create(&mut self, path: &str) -> usize {
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.live.insert(path.to_owned(), inode);
        self.namings.push(Naming::File { path: path.to_owned(), inode });
        inode
    }

    /// Takes one step of the process.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Line(line) => self.lines.extend_from_slice(line),
            Step::Create { path } => {
                self.create(path);
            }
            Step::Write { path, offset, data } => {
                if let Some(inode) = self.live.get(path) {
                    self.inodes[*inode].changes.push(Change::Write { offset: *offset, data: data.clone() });
                }
            }
            Step::Truncate { path, length } => {
                if let Some(inode) = self.live.get(path) {
                    self.inodes[*inode].changes.push(Change::Truncate(*length));
                }
            }
            Step::SyncData { .. } if self.syncs == Syncs::NoFdatasync => {}
            Step::SyncData { path } if self.syncs == Syncs::NoFdatasyncOfSled && path.ends_with("/db") => {}
            Step::Sync { .. } if self.syncs == Syncs::NoFsync => {}
            Step::FailedSync { path } => {
                if let Some(inode) = self.live.get(path) {
                    let inode = &mut self.inodes[*inode];
                    inode.doomed.extend(inode.synced..inode.changes.len());
                }
            }
            Step::SyncData { path } | Step::Sync { path } => match self.live.get(path) {
                Some(inode) => {
                    let inode = &mut self.inodes[*inode];
                    inode.synced = inode.changes.len();
                }
                None => {
                    self.durable.insert(path.clone(), self.namings.len());
                }
            },
            Step::Forgotten { path } => {
                if let Some(inode) = self.live.get(path) {
                    let inode = &mut self.inodes[*inode];
                    inode.gone.append(&mut inode.doomed);
                }
            }
            Step::MakeDirectory { path } => self.namings.push(Naming::Directory { path: path.clone() }),
            Step::Rename { from, to } => {
                moved(&mut self.live, from, to);
                self.namings.push(Naming::Moved { from: from.clone(), to: to.clone() });
            }
            Step::Unlink { path } | Step::RemoveDirectory { path } => {
                self.live.remove(path);
                self.namings.push(Naming::Gone { path: path.clone() });
            }
        }
    }

    /// What the process printed so far.
    pub fn lines(&self) -> String {
        String::from_utf8_lossy(&self.lines).into_owned()
    }

    /// Whether anything that was written to a file of this name is not on the disk for sure.
    pub fn is_open(&self, name: &str) -> bool {
        let files = self.live.iter().filter(|(path, _)| path.rsplit('/').next() == Some(name));
        files.map(|(_, inode)| &self.inodes[*inode]).any(|inode| inode.synced < inode.changes.len())
    }

    /// Builds in `target` what is left when the process is killed now: all that it did.
    pub fn kill(&self, target: &Path) {
        let mut directories = BTreeSet::from([self.root.clone()]);
        let mut files = BTreeMap::new();
        self.namings.iter().for_each(|naming| apply(naming, &mut files, &mut directories));
        for directory in directories {
            drop(fs::create_dir_all(self.place(&directory, target)));
        }
        for (path, inode) in files {
            let content = self.content(&self.inodes[inode], &mut Random::new(1), 100);
            fs::write(self.place(&path, target), content).expect("the target is writable");
        }
    }

    fn place(&self, path: &str, target: &Path) -> PathBuf {
        target.join(path.strip_prefix(&self.root).unwrap_or("").trim_start_matches('/'))
    }

    /// Builds in `target` a state that a power cut now may leave.
    pub fn cut(&self, random: &mut Random, target: &Path) {
        let mut cuts: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut files, mut directories) = (BTreeMap::new(), BTreeSet::new());
        for (number, naming) in self.namings.iter().enumerate() {
            let directory = naming.directory();
            let durable = self.durable.get(directory).copied().unwrap_or(0);
            // The directory above the queue is not the queue's own; its names count as durable.
            let outside = parent(&self.root) == directory;
            let cut = *cuts.entry(directory).or_insert_with(|| {
                let open = (self.namings.len() - durable) as u64;
                durable + if random.below(3) == 0 { open } else { random.below(open + 1) } as usize
            });
            if number < cut || outside {
                apply(naming, &mut files, &mut directories);
            }
        }
        let place = |path: &str| self.place(path, target);
        for directory in directories {
            drop(fs::create_dir_all(place(&directory)));
        }
        // How much of what was not synced has arrived: nothing, all, or pages by chance.
        let share = [0, 0, 30, 70, 100][random.below(5) as usize];
        for (path, inode) in files {
            let file = place(&path);
            if file.parent().is_some_and(Path::is_dir) {
                fs::write(file, self.content(&self.inodes[inode], random, share)).expect("the target is writable");
            }
        }
    }

    fn content(&self, inode: &Inode, random: &mut Random, share: u64) -> Vec<u8> {
        let mut content = Vec::new();
        for (number, change) in inode.changes.iter().enumerate().filter(|(number, _)| !inode.gone.contains(number)) {
            let synced = inode.is_durable(number);
            match change {
                Change::Truncate(length) if synced || random.below(100) < share => {
                    content.resize(usize::try_from(*length).expect("small files"), 0);
                }
                Change::Truncate(_) => {}
                Change::Write { offset, data } => {
                    let mut at = 0;
                    while at < data.len() {
                        let begin = usize::try_from(*offset).expect("small files") + at;
                        let count = (PAGE - begin % PAGE).min(data.len() - at);
                        if synced || random.below(100) < share {
                            content.resize(content.len().max(begin + count), 0);
                            content[begin..begin + count].copy_from_slice(&data[at..at + count]);
                        }
                        at += count;
                    }
                }
            }
        }
        content
    }
}

fn apply(naming: &Naming, files: &mut BTreeMap<String, usize>, directories: &mut BTreeSet<String>) {
    match naming {
        Naming::File { path, inode } => {
            files.insert(path.clone(), *inode);
        }
        Naming::Directory { path } => {
            directories.insert(path.clone());
        }
        Naming::Moved { from, to } => {
            moved(files, from, to);
            let inside: Vec<String> = directories.iter().filter(|path| is_below(path, from)).cloned().collect();
            for path in inside {
                directories.remove(&path);
                directories.insert(format!("{to}{}", &path[from.len()..]));
            }
        }
        Naming::Gone { path } => {
            files.remove(path);
            directories.remove(path);
        }
    }
}

/// Gives a file, or all in a directory, a new name.
fn moved(files: &mut BTreeMap<String, usize>, from: &str, to: &str) {
    let inside: Vec<String> = files.keys().filter(|path| is_below(path, from)).cloned().collect();
    for path in inside {
        if let Some(inode) = files.remove(&path) {
            files.insert(format!("{to}{}", &path[from.len()..]), inode);
        }
    }
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

const PAGE: usize = 4096;
