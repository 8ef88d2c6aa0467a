//! The journal of a database: what was committed since the database was flushed last, in a file beside it.
//!
//! A flush of sled writes two buffers, each with an fdatasync, and wakes all its threads: 0.9 ms of CPU. The journal takes
//! a commit with one write and one fdatasync. So a commit goes to the journal, durably, and sled gets it when the journal
//! is full, less what is gone by then. After a crash, what the journal has is known again from it, in order; it changes
//! nothing where sled has it.
//!
//! ```text
//! frame: magic "TGj1", crc32c u32 over the tag and all that follows it, number u64, length u32, the octets of a batch
//! ```
//!
//! Numbers rise by one from frame to frame and are big-endian. A flush makes the frames needless, and the next one is
//! written over the first; the database holds the number from which on frames count, and the tag. The tag is 16 secret
//! octets, so that nothing in the body of a record can be taken for a frame.
//!
//! A file in which a write or a sync failed is given up: nobody knows what of it the disk has. The database is flushed, which
//! makes all frames needless, and the next commit makes a new file.
//!
//! sled takes damage near the end of its log for a torn end and drops what follows. It is then as if it had been flushed
//! earlier, and the journal gives back what it still has: all since the last flush but one, at most.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::disk::{MODE, free_bytes, sync_directory};
use super::frame::Reader;
use super::repair::read_what_can_be;

/// Its name, in the directory of the database.
pub const JOURNAL: &str = "journal";

/// The name of one in which a commit was damaged: kept for the salvage of records.
pub const DAMAGED: &str = "journal.damaged";

/// The name of one in which nothing is this database's: no salvage reads it.
pub const STRANGE: &str = "journal.strange";

/// A journal that takes commits.
#[derive(Debug)]
pub struct Journal {
    file: File,
    directory: PathBuf,
    /// Where the next frame goes.
    at: u64,
    /// Octets of the file; they are written already, so that a frame changes nothing but data.
    length: u64,
    frame: Vec<u8>,
    /// Whether a write or a sync failed.
    has_failed: bool,
}

/// From which frame on a journal counts, and what its frames are signed with; the database holds it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// Number of the first frame that the database may not have.
    pub from: u64,
    /// What the checksums begin with.
    pub tag: [u8; 16],
}

impl Mark {
    /// As the database holds it.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.from.to_be_bytes());
        bytes[8..].copy_from_slice(&self.tag);
        bytes
    }

    /// What the database holds; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let mark = Self { from: from.u64().ok()?, tag: from.array().ok()? };
        from.0.is_empty().then_some(mark)
    }

    fn sum(&self, checked: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.tag), checked)
    }
}

impl Journal {
    /// Makes the file, durably, in place of one that is not needed any more.
    ///
    /// # Errors
    /// When the directory does not take it; nothing is there then.
    pub fn create(directory: &Path) -> io::Result<Self> {
        has_room(directory, GROWTH_BYTES)?;
        let path = path(directory);
        // Never the same file again: one that failed may keep pages that the disk does not have.
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let file = File::options().write(true).create_new(true).mode(MODE).open(path)?;
        let mut journal = Self::of(file, directory, 0);
        journal.grow(GROWTH_BYTES)?;
        sync_directory(directory)?;
        Ok(journal)
    }

    /// Goes on behind what was found.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(directory: &Path, found: &Found) -> io::Result<Self> {
        let file = File::options().write(true).open(path(directory))?;
        let length = file.metadata()?.len();
        let at = found.commits.last().map_or(0, |last| last.end as u64);
        Ok(Self { at, ..Self::of(file, directory, length) })
    }

    fn of(file: File, directory: &Path, length: u64) -> Self {
        Self { file, directory: directory.to_owned(), at: 0, length, frame: Vec::new(), has_failed: false }
    }

    /// Whether the database should be flushed before so many octets come, with so many in the journal at the most.
    pub fn is_full_for(&self, octets: usize, max: u64) -> bool {
        self.at > 0 && self.at + (HEAD_BYTES + octets) as u64 > max
    }

    /// Whether a write or a sync failed, so that it must not take commits any more.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Writes a commit, durably.
    ///
    /// # Errors
    /// When that fails. The frame may be there all the same: the database has to state that it does not count.
    pub fn append(&mut self, mark: &Mark, number: u64, octets: &[u8]) -> io::Result<()> {
        let end = self.at + (HEAD_BYTES + octets.len()) as u64;
        if end > self.length {
            self.grow(end.max(GROWTH_BYTES).max((self.length * 2).min(BYTES_MAX)))?;
        }
        let frame = &mut self.frame;
        frame.clear();
        frame.extend_from_slice(MAGIC);
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&number.to_be_bytes());
        let length = u32::try_from(octets.len()).map_err(io::Error::other)?;
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(octets);
        let sum = mark.sum(&frame[8..]);
        frame[4..8].copy_from_slice(&sum.to_be_bytes());
        let written = self.file.write_all_at(frame, self.at).and_then(|()| self.file.sync_data());
        self.has_failed |= written.is_err();
        written?;
        self.at = end;
        if frame.capacity() > FRAME_KEPT_BYTES {
            *frame = Vec::new();
        }
        Ok(())
    }

    /// States that the database has all: the next frame is written over the first. A file that a long commit made longer
    /// gets its length back.
    pub fn rewind(&mut self) {
        self.at = 0;
        if self.length > BYTES_MAX && self.file.set_len(BYTES_MAX).is_ok() {
            self.length = BYTES_MAX;
        }
    }

    /// Makes the file longer, durably with the next commit: its sync takes the length too, and a slow disk is waited for
    /// once. Zeros are written, for a hole would have to be filled by each commit.
    fn grow(&mut self, length: u64) -> io::Result<()> {
        const ZEROS: &[u8] = &[0; 64 << 10];
        has_room(&self.directory, length - self.length)?;
        // Until it is there.
        self.has_failed = true;
        let mut at = self.length;
        while at < length {
            let some = usize::try_from(length - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.file.write_all_at(&ZEROS[..some], at)?;
            at += some as u64;
        }
        self.has_failed = false;
        self.length = length;
        Ok(())
    }
}

/// Whether a journal may grow by so many octets, so that the database has room for what is in it.
fn has_room(directory: &Path, octets: u64) -> io::Result<()> {
    let is_left = free_bytes(directory) >= octets + ROOM_BYTES;
    if is_left { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

/// What a journal holds that its database may not have.
#[derive(Debug, Default)]
pub struct Found {
    octets: Vec<u8>,
    /// Where the commits lie, in order.
    commits: Vec<std::ops::Range<usize>>,
    /// Number of the next commit.
    pub next: u64,
    /// Commits that ought to be between these.
    pub missing: u64,
    /// Where the first of them would begin.
    pub missing_at: u64,
    /// Whether there are commits of which none is this database's: another's, or damaged beyond use.
    pub is_strange: bool,
}

impl Found {
    /// Reads the journal in `directory`; `None` when there is none.
    ///
    /// What comes after the last whole frame was never acknowledged. A frame that is missing before others was damaged.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn read(directory: &Path, mark: &Mark) -> io::Result<Option<Self>> {
        let file = match File::open(path(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut octets = vec![0; usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?];
        read_what_can_be(&file, &mut octets, 0);
        let mut found = Self { next: mark.from, ..Self::default() };
        let finder = memchr::memmem::Finder::new(MAGIC);
        let (mut at, mut sound) = (0, 0);
        while let Some(begin) = finder.find(&octets[at..]) {
            at += begin;
            let Some((number, content)) = frame(&octets, at, mark) else {
                at += 1;
                continue;
            };
            if number >= found.next {
                if number > found.next && found.missing == 0 {
                    found.missing_at = sound as u64;
                }
                found.missing += number - found.next;
                found.next = number + 1;
                found.commits.push(content.clone());
            }
            (at, sound) = (content.end, content.end);
        }
        // A commit is written when the one before is on disk: of a power cut at the first one no second one is left.
        found.is_strange = sound == 0 && second_head(&octets).is_some();
        found.octets = octets;
        Ok(Some(found))
    }

    /// The octets of each batch, in order.
    pub fn batches(&self) -> impl Iterator<Item = &[u8]> {
        self.commits.iter().map(|range| &self.octets[range.clone()])
    }
}

/// The number of the frame that begins at `at`, and where its batch lies; `None` when there is no whole, sound one.
fn frame(octets: &[u8], at: usize, mark: &Mark) -> Option<(u64, std::ops::Range<usize>)> {
    let mut from = Reader(&octets[at..]);
    from.array::<4>().ok()?;
    let sum = from.u32().ok()?;
    let number = from.u64().ok()?;
    let length = from.u32().ok()? as usize;
    let begin = at + HEAD_BYTES;
    from.slice(length).ok()?;
    (mark.sum(&octets[at + 8..begin + length]) == sum).then_some((number, begin..begin + length))
}

/// Where the second commit begins, by the heads of both, whosever they are.
fn second_head(octets: &[u8]) -> Option<usize> {
    let head = |at: usize| {
        let mut from = Reader(octets.get(at..)?);
        let magic = from.array::<4>().ok()?;
        let (_sum, number, length) = (from.u32().ok()?, from.u64().ok()?, from.u32().ok()?);
        (&magic == MAGIC).then_some((number, at + HEAD_BYTES + length as usize))
    };
    let (first, end) = head(0)?;
    let (second, _) = head(end)?;
    (first.checked_add(1) == Some(second)).then_some(end)
}

/// The journal's path.
pub fn path(directory: &Path) -> PathBuf {
    directory.join(JOURNAL)
}

const MAGIC: &[u8; 4] = b"TGj1";

/// Octets before those of the batch.
const HEAD_BYTES: usize = 20;

/// Octets of the file at which the database is flushed, so that the journal begins again: some seconds at 1,000 calls a
/// second. A single commit may be longer.
pub const BYTES_MAX: u64 = 8 << 20;

/// Octets of a new file.
const GROWTH_BYTES: u64 = 256 << 10;

/// Free octets that growing leaves. With less a commit that does not fit is flushed.
const ROOM_BYTES: u64 = 32 << 20;

/// The longest buffer that is kept from one commit to the next.
const FRAME_KEPT_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { from: 7, tag: [9; 16] };

    /// A journal with the frames 7, 8 and 9, which hold `one`, `two` and `three`.
    fn three(directory: &Path) -> Journal {
        let mut journal = Journal::create(directory).unwrap();
        for (number, text) in (7..).zip(["one", "two", "three"]) {
            journal.append(&MARK, number, text.as_bytes()).unwrap();
        }
        journal
    }

    fn read(directory: &Path, mark: &Mark) -> (Vec<String>, u64, u64) {
        let found = Found::read(directory, mark).unwrap().unwrap();
        let texts = found.batches().map(|octets| String::from_utf8_lossy(octets).into_owned());
        (texts.collect(), found.next, found.missing)
    }

    fn change(directory: &Path, act: impl FnOnce(&mut Vec<u8>)) {
        let mut octets = fs::read(path(directory)).unwrap();
        act(&mut octets);
        fs::write(path(directory), octets).unwrap();
    }

    /// Where frame 8 begins, and where frame 9 does.
    const SECOND: usize = HEAD_BYTES + 3;
    const THIRD: usize = 2 * SECOND;

    #[test]
    fn what_was_appended_is_read_and_what_is_damaged_is_missed() {
        /// What happens to the octets, what is read, the next number and how many are missing.
        type Row = (&'static str, fn(&mut Vec<u8>), &'static [&'static str], (u64, u64));
        let table: [Row; 9] = [
            ("nothing happened to it", |_| {}, &["one", "two", "three"], (10, 0)),
            ("the last frame is torn", |octets| octets[THIRD + HEAD_BYTES] ^= 1, &["one", "two"], (9, 0)),
            ("the end is cut off", |octets| octets.truncate(THIRD + 5), &["one", "two"], (9, 0)),
            ("a batch in the middle is damaged", |octets| octets[SECOND + HEAD_BYTES] ^= 1, &["one", "three"], (10, 1)),
            ("a length in the middle is damaged", |octets| octets[SECOND + 16] ^= 1, &["one", "three"], (10, 1)),
            ("a number in the middle is damaged", |octets| octets[SECOND + 15] ^= 4, &["one", "three"], (10, 1)),
            ("a magic in the middle is damaged", |octets| octets[SECOND] ^= 1, &["one", "three"], (10, 1)),
            ("the first frame is damaged", |octets| octets[5] ^= 1, &["two", "three"], (10, 1)),
            ("all is zero", |octets| octets.fill(0), &[], (7, 0)),
        ];
        for (name, damage, texts, (next, missing)) in table {
            let directory = tempfile::tempdir().unwrap();
            three(directory.path());
            change(directory.path(), damage);
            assert_eq!(
                read(directory.path(), &MARK),
                (texts.iter().map(ToString::to_string).collect(), next, missing),
                "{name}"
            );
        }
    }

    #[test]
    fn wherever_the_file_is_torn_the_whole_frames_before_are_read() {
        const ENDS: [usize; 3] = [SECOND, THIRD, THIRD + HEAD_BYTES + 5];
        type Tear = fn(&mut Vec<u8>, usize);
        let table: [(&str, Tear); 3] = [
            ("cut off", |octets, at| octets.truncate(at)),
            ("zeros, as in a file that was made longer", |octets, at| octets[at..].fill(0)),
            ("zeros, and the file is longer by a page in part", |octets, at| {
                octets[at..].fill(0);
                octets.resize(octets.len() + 1000, 0);
            }),
        ];
        for (name, tear) in table {
            for at in SECOND..ENDS[2] {
                let directory = tempfile::tempdir().unwrap();
                three(directory.path());
                change(directory.path(), |octets| tear(octets, at));
                let whole = ENDS.iter().filter(|end| **end <= at).count();
                let want =
                    (["one", "two", "three"][..whole].iter().map(ToString::to_string).collect(), 7 + whole as u64, 0);
                assert_eq!(read(directory.path(), &MARK), want, "{name} from {at} on");
            }
        }
    }

    #[test]
    fn each_bit_that_turns_costs_its_frame_alone() {
        let directory = tempfile::tempdir().unwrap();
        three(directory.path());
        for bit in 0..8 * (THIRD + HEAD_BYTES + 5) {
            change(directory.path(), |octets| octets[bit / 8] ^= 1 << (bit % 8));
            let hit = usize::from(bit / 8 >= SECOND) + usize::from(bit / 8 >= THIRD);
            let found = Found::read(directory.path(), &MARK).unwrap().unwrap();
            let want: Vec<&str> = ["one", "two", "three"]
                .into_iter()
                .enumerate()
                .filter(|(n, _)| *n != hit)
                .map(|(_, text)| text)
                .collect();
            assert_eq!(
                found.batches().collect::<Vec<_>>(),
                want.iter().map(|text| text.as_bytes()).collect::<Vec<_>>(),
                "bit {bit}"
            );
            let missing = if hit == 2 { (0, 0) } else { (1, hit as u64 * SECOND as u64) };
            assert_eq!((found.missing, found.missing_at, found.is_strange), (missing.0, missing.1, false), "bit {bit}");
            change(directory.path(), |octets| octets[bit / 8] ^= 1 << (bit % 8));
        }
    }

    #[test]
    fn what_has_no_commit_of_this_database_is_told_from_what_has_none_at_all() {
        let mut random = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        })
        .take(300 << 10)
        .collect();
        let other = Mark { tag: [8; 16], ..MARK };
        type Row<'a> = (&'a str, &'a Mark, &'a dyn Fn(&mut Vec<u8>), bool);
        let table: [Row<'_>; 7] = [
            ("it is another's", &other, &|_| {}, true),
            ("it is another's, and its end is torn", &other, &|octets| octets.truncate(THIRD + 3), true),
            (
                "all frames of it are damaged",
                &MARK,
                &|octets| (0..3).for_each(|n| octets[n * SECOND + HEAD_BYTES] ^= 1),
                true,
            ),
            ("the first commit is torn", &MARK, &|octets| octets[SECOND - 1..].fill(0), false),
            ("it is of zeros", &MARK, &|octets| octets.fill(0), false),
            ("it is noise", &MARK, &|octets| octets.clone_from(&noise), false),
            ("it is empty", &MARK, &Vec::clear, false),
        ];
        for (name, mark, damage, is_strange) in table {
            let directory = tempfile::tempdir().unwrap();
            let mut journal = Journal::create(directory.path()).unwrap();
            for (number, text) in (7..).zip(["one", "two", "three"]) {
                journal.append(mark, number, text.as_bytes()).unwrap();
            }
            change(directory.path(), damage);
            let found = Found::read(directory.path(), &MARK).unwrap().unwrap();
            assert_eq!((found.is_strange, found.batches().count(), found.missing), (is_strange, 0, 0), "{name}");
        }
        // All frames are older than the database: it has them.
        let directory = tempfile::tempdir().unwrap();
        three(directory.path());
        assert!(!Found::read(directory.path(), &Mark { from: 10, ..MARK }).unwrap().unwrap().is_strange);
    }

    #[test]
    fn frames_that_the_database_has_do_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = three(directory.path());
        journal.rewind();
        let flushed = Mark { from: 10, ..MARK };
        assert_eq!(read(directory.path(), &flushed), (vec![], 10, 0), "all of them");
        journal.append(&flushed, 10, b"four, which is long enough to leave the rest of an old frame").unwrap();
        assert_eq!(read(directory.path(), &flushed).0.len(), 1, "all before the one that was written over them");
        assert_eq!(read(directory.path(), &Mark { from: 9, ..MARK }).2, 1, "a database that is behind misses one");
    }

    #[test]
    fn a_body_that_looks_like_a_frame_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let foreign = Mark { from: 8, tag: [0; 16] };
        Journal::create(other.path()).unwrap().append(&foreign, 8, b"forged").unwrap();
        let forged = fs::read(path(other.path())).unwrap()[..HEAD_BYTES + 6].to_vec();
        let mut journal = Journal::create(directory.path()).unwrap();
        journal.append(&MARK, 7, &forged).unwrap();
        assert_eq!(read(directory.path(), &MARK), (vec![String::from_utf8_lossy(&forged).into_owned()], 8, 0));
        // The reading goes through the body of a frame that is damaged before it.
        change(directory.path(), |octets| octets[15] ^= 1);
        assert_eq!(read(directory.path(), &MARK), (vec![], 7, 0));
        assert_eq!(read(directory.path(), &foreign).0, ["forged"], "with its tag it would be one");
    }

    #[test]
    fn the_file_grows_with_a_commit_that_needs_it_and_goes_on_after_it_was_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = three(directory.path());
        let long = vec![b'x'; 300 << 10];
        journal.append(&MARK, 10, &long).unwrap();
        assert!(!journal.is_full_for(7 << 20, BYTES_MAX) && journal.is_full_for(8 << 20, BYTES_MAX));
        assert_eq!(read(directory.path(), &MARK).1, 11);
        let found = |from| Found::read(directory.path(), &Mark { from, ..MARK }).unwrap().unwrap();
        let at = |from| Journal::open(directory.path(), &found(from)).unwrap().at as usize;
        assert_eq!(
            [at(7), at(10), at(11)],
            [3 * HEAD_BYTES + 11 + HEAD_BYTES + long.len(), 3 * HEAD_BYTES + 11 + HEAD_BYTES + long.len(), 0]
        );
        let mut again = Journal::open(directory.path(), &found(11)).unwrap();
        assert!(!again.is_full_for(1 << 30, BYTES_MAX), "an empty one takes a commit of any length");
        again.append(&MARK, 11, &vec![b'y'; 9 << 20]).unwrap();
        let length = || fs::metadata(path(directory.path())).unwrap().len();
        assert!(length() > 9 << 20);
        let found = found(11);
        assert_eq!((found.next, found.batches().count()), (12, 1));
        again.rewind();
        assert_eq!(length(), 8 << 20);
        again.append(&MARK, 12, b"short").unwrap();
        assert_eq!(read(directory.path(), &Mark { from: 12, ..MARK }).0, ["short"]);
        fs::remove_file(path(directory.path())).unwrap();
        assert!(Found::read(directory.path(), &MARK).unwrap().is_none());
    }
}
