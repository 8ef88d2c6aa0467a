//! What differs between what a system wrote and what came out here, in words that are the same for the same difference in
//! every flow.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::setup::GOLDEN_HOST;
use super::text::{CALLS, Golden, HEAD, Item, METHODS, NULL, TAGS, name_of};

/// What a play has made of the placeholders.
pub struct Play {
    /// Its address, for which 127.0.0.1 stands.
    pub host: String,
    /// Its first and last second since 1970.
    pub seconds: std::ops::RangeInclusive<i64>,
    /// To tags that the gateway has given.
    pub proxy_tags: Vec<String>,
}

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of ours")
}

static EPOCH: LazyLock<Regex> = LazyLock::new(|| regex(r"\b\d{10}\b(\.\d+)?"));
static DATETIME: LazyLock<Regex> = LazyLock::new(|| regex(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?"));

/// Names of the URI that a request went to.
const TARGETS: &[&str] = &["o-uri"];

/// Names of spans, in seconds or milliseconds, which are as measured; the numbers are those of RADIUS.
const SPANS: &[&str] = &["duration", "ms_duration", "setuptime", "227", "228", "230"];

impl Play {
    /// The items of the play with its address as in the golden files.
    pub fn normal(&self, mut items: Vec<Item>) -> Vec<Item> {
        for (_, value) in items.iter_mut().flat_map(|item| &mut item.pairs) {
            *value = value.replace(&self.host, GOLDEN_HOST);
        }
        items
    }

    /// A value with what differs from run to run, and from flow to flow, masked.
    fn masked(&self, name: &str, value: &str) -> String {
        static NUMBER: LazyLock<Regex> = LazyLock::new(|| regex(r"^\d{1,7}(\.\d+)?$"));
        static JULIAN: LazyLock<Regex> = LazyLock::new(|| regex(r"^\d\.\d+e\+06$"));
        static FLOW: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(ft|acc)-[0-9-]+"));
        static BRANCH: LazyLock<Regex> = LazyLock::new(|| regex(r"z9hG4bK-alice-\S*?-(\d+)$"));
        let instant = |found: &regex::Captures<'_>| {
            let is_now = found[0].split('.').next().and_then(|secs| secs.parse().ok());
            let is_now = is_now.is_some_and(|secs: i64| self.seconds.contains(&secs));
            match (is_now, found.get(1)) {
                (false, _) => found[0].to_owned(),
                (true, None) => "<T>".to_owned(),
                (true, Some(_)) => "<T.frac>".to_owned(),
            }
        };
        if JULIAN.is_match(value) {
            return "<Julian day>".to_owned();
        }
        let mut text = EPOCH.replace_all(value, instant).into_owned();
        if !text.starts_with("1970") {
            text = DATETIME.replace_all(&text, "<DATETIME>").into_owned();
        }
        for tag in &self.proxy_tags {
            text = text.replace(tag, "<proxy-tag>");
        }
        text = FLOW.replace_all(&text, "$1-NN").into_owned();
        text = BRANCH.replace(&text, "<alice-branch-$1>").into_owned();
        if SPANS.contains(&name) && NUMBER.is_match(&text) {
            text = if text.contains('.') { "<n.frac>".to_owned() } else { "<n>".to_owned() };
        }
        match text.char_indices().nth(80) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    }

    /// Whether a value is what the golden file has.
    fn same(&self, name: &str, want: &str, have: &str) -> bool {
        if want == have {
            return true;
        }
        if SPANS.contains(&name)
            && let (Ok(want), Ok(have)) = (want.parse::<f64>(), have.parse::<f64>())
        {
            return is_near(name, want, have);
        }
        want.contains('<') && self.pattern(want, have)
    }

    /// Whether a value fits placeholders.
    fn pattern(&self, want: &str, have: &str) -> bool {
        static PLACEHOLDER: LazyLock<Regex> =
            LazyLock::new(|| regex(r"<(T|T\.frac|DATETIME|usec|proxy-tag|proxy-branch|alice-branch-\d+|x\d+)>"));
        let mut text = String::from("(?s)^");
        let mut end = 0;
        for found in PLACEHOLDER.captures_iter(want) {
            let whole = found.get(0).expect("it is there");
            text.push_str(&regex::escape(&want[end..whole.start()]));
            end = whole.end();
            text.push_str(&match &found[1] {
                "T" => r"\d{10}".to_owned(),
                "T.frac" => r"\d{10}\.\d+".to_owned(),
                "DATETIME" => r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d".to_owned(),
                "usec" => r"\d{1,6}".to_owned(),
                "proxy-tag" => match &self.proxy_tags[..] {
                    [] => return false,
                    tags => format!("(?:{})", tags.iter().map(|tag| regex::escape(tag)).collect::<Vec<_>>().join("|")),
                },
                branch if branch.starts_with("alice-branch-") => {
                    format!(r"z9hG4bK-alice-[0-9-]+-{}", branch.trim_start_matches("alice-branch-"))
                }
                _ => r"\S+".to_owned(),
            });
        }
        text.push_str(&regex::escape(&want[end..]));
        text.push('$');
        let is_now = |found: regex::Match<'_>| {
            found
                .as_str()
                .split('.')
                .next()
                .and_then(|secs| secs.parse().ok())
                .is_some_and(|secs: i64| self.seconds.contains(&secs))
        };
        regex(&text).is_match(have) && (!want.contains("<T") || EPOCH.find_iter(have).any(is_now))
    }

    /// The differences of all parts; `writes` says of which parts there are sinks.
    pub fn differences(&self, golden: &Golden, have: &[Item], writes: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let parts: BTreeSet<_> = golden
            .parts
            .iter()
            .chain(golden.items.iter().map(|item| &item.part))
            .chain(have.iter().map(|item| &item.part))
            .collect();
        for part in parts {
            let of = |items: &[Item]| items.iter().filter(|item| item.part == *part).cloned().collect::<Vec<_>>();
            let (want, have) = (of(&golden.items), of(have));
            if want.is_empty() || writes(part) {
                self.part(&want, &have, &mut found);
            } else {
                found.insert(format!("{part}: there is no such sink"));
            }
        }
        found
    }

    fn part(&self, golden: &[Item], have: &[Item], found: &mut BTreeSet<String>) {
        let mut left: Vec<usize> = (0..have.len()).collect();
        let mut matched: Vec<Option<usize>> = vec![None; golden.len()];
        // What fits best finds its like first.
        for likeness in [3, 2, 1] {
            for (place, want) in golden.iter().enumerate() {
                if matched[place].is_some() {
                    continue;
                }
                let likes = left.iter().filter(|other| key(&have[**other], likeness) == key(want, likeness));
                let best = likes.min_by_key(|other| self.pairs(want, &have[**other]).len()).copied();
                if let Some(best) = best {
                    left.retain(|other| *other != best);
                    matched[place] = Some(best);
                }
            }
        }
        for (want, other) in golden.iter().zip(&matched) {
            match other {
                None => {
                    found.insert(format!("{}: is missing", want.title()));
                }
                Some(other) => found
                    .extend(self.pairs(want, &have[*other]).into_iter().map(|text| format!("{} {text}", want.part))),
            }
        }
        found.extend(left.iter().map(|other| format!("{}: is more", have[*other].title())));
        self.order(golden, &matched, found);
    }

    /// Items that stand in another order; neighbours of different records may swap, as with the workers of the originals.
    fn order(&self, golden: &[Item], matched: &[Option<usize>], found: &mut BTreeSet<String>) {
        // Lines of old systems have no To tag; two dialogs of a fork differ by their targets.
        let record = |item: &Item| (key(item, 3), item.value(TAGS).or_else(|| item.value(TARGETS)).map(str::to_owned));
        for (place, one) in matched.iter().enumerate() {
            for (other, later) in matched.iter().enumerate().skip(place + 1) {
                let (first, second) = (&golden[place], &golden[other]);
                if !matches!((one, later), (Some(one), Some(later)) if one > later) || first == second {
                    continue;
                }
                let both = [record(first), record(second)];
                if both[0] == both[1] {
                    found.insert(format!("{}: legs in another order", first.part));
                } else if !golden[place..=other].iter().all(|item| both.contains(&record(item))) {
                    found.insert(format!("{}: after {}", first.title(), second.title()));
                }
            }
        }
    }

    /// What differs between the values of two items.
    fn pairs(&self, want: &Item, have: &Item) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest: Vec<&(String, String)> = have.pairs.iter().collect();
        let mut places: Vec<(&str, usize)> = Vec::new();
        for (name, value) in &want.pairs {
            let of = |is_same: bool| {
                rest.iter().position(|(own, other)| own == name && (!is_same || self.same(name, value, other)))
            };
            let Some(at) = of(true).or_else(|| of(false)) else {
                found.push(format!("{}: is missing", name_of(name)));
                continue;
            };
            let other = rest.remove(at);
            places.push((name.as_str(), have.pairs.iter().position(|own| std::ptr::eq(own, other)).unwrap_or(0)));
            if !self.same(name, value, &other.1) && !is_by_chance(name, want) {
                found.push(format!(
                    "{}: {}, here {}",
                    name_of(name),
                    self.shown(name, value),
                    self.shown(name, &other.1)
                ));
            }
        }
        found.extend(rest.iter().map(|(name, _)| format!("{}: is more", name_of(name))));
        // Columns stand in a row as the table has them.
        if !want.part.starts_with("sql") && !places.is_sorted_by_key(|(_, place)| *place) {
            let here = places.iter().enumerate().map(|(there, (name, here))| (*here, there, *name));
            let mut here: Vec<_> = here.collect();
            here.sort_unstable();
            let swapped = here.windows(2).find(|two| two[0].1 > two[1].1).expect("they are not in order");
            found.push(format!("{} before {}", name_of(swapped[0].2), name_of(swapped[1].2)));
        }
        found
    }

    fn shown(&self, name: &str, value: &str) -> String {
        match value {
            "" => "empty".to_owned(),
            NULL => NULL.to_owned(),
            value => self.masked(name, value),
        }
    }
}

/// What says which record it is: its method, its call, its text and code, as far as it is to be alike.
fn key(item: &Item, likeness: u8) -> [Option<String>; 4] {
    let own = |names: &[&str], least| item.value(names).filter(|_| likeness >= least).map(str::to_owned);
    let code = own(super::text::CODES, 3).map(|code| code.chars().filter(char::is_ascii_digit).collect());
    [own(METHODS, 1), own(CALLS, 2), own(&[HEAD], 3), code]
}

/// How far a measured span may be from the golden file's: machines of tests are slow at times.
fn is_near(name: &str, want: f64, have: f64) -> bool {
    let (before, after) = match name {
        "ms_duration" | "230" => (300.0, 5000.0),
        // Whole seconds may begin elsewhere.
        _ if want.fract() == 0.0 => (1.0, 5.0),
        _ => (0.3, 5.0),
    };
    (want - before..=want + after).contains(&have)
}

/// What differs between two runs of the originals: the code in packets of whole calls of OpenSIPS.
fn is_by_chance(name: &str, want: &Item) -> bool {
    matches!(name, "102" | "205") && want.value(&["227"]).is_some()
}
