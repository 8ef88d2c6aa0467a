//! Where the keywords of a client file stand, for what is found wrong with them when the file has been read: files that
//! are not there, addresses of other hosts, AVPs that no dictionary has.

use std::path::PathBuf;

use super::error::Place;

/// The keywords of one client file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Keywords {
    file: PathBuf,
    /// Keyword, one of its words or the whole value, and where that stands; in the order of the file.
    found: Vec<(&'static str, String, Place)>,
}

impl Keywords {
    /// None yet, of that file.
    #[must_use]
    pub(super) const fn new(file: PathBuf) -> Self {
        Self { file, found: Vec::new() }
    }

    /// Notes one.
    pub(super) fn note(&mut self, keyword: &'static str, word: &str, place: Place) {
        self.found.push((keyword, word.to_owned(), place));
    }

    /// The place of a keyword's value: of several the last one, which counts; the file as a whole when it has none.
    #[must_use]
    pub fn place(&self, keyword: &str) -> Place {
        self.places(|(own, _, _)| *own == keyword).last().unwrap_or_else(|| Place::Whole(self.file.clone()))
    }

    /// The place of a word behind one of these keywords.
    #[must_use]
    pub fn place_of(&self, keywords: &[&str], word: &str) -> Option<Place> {
        self.places(|(own, other, _)| keywords.contains(own) && other.eq_ignore_ascii_case(word)).next()
    }

    /// The places of a keyword's words, in the order of the file.
    #[must_use]
    pub fn all(&self, keyword: &str) -> Vec<Place> {
        self.places(|(own, _, _)| *own == keyword).collect()
    }

    fn places(&self, is_it: impl Fn(&(&'static str, String, Place)) -> bool) -> impl Iterator<Item = Place> {
        self.found.iter().filter(move |found| is_it(found)).map(|(_, _, place)| place.clone())
    }
}
