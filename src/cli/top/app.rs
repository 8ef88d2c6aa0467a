//! What `tollgate top` shows: the last sample, and where in it somebody looks.

use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;

use crate::cli::{calls, output, queue, status};
use crate::clock::Instant;

/// What the table shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Tab {
    /// Sinks with their servers
    Servers,
    /// Calls in progress
    Calls,
    /// Records that wait
    Waiting,
    /// Records that are parked
    Parked,
    /// SIP destinations that are down
    Down,
}

impl Tab {
    pub(super) const ALL: [(Self, &str); 5] = [
        (Self::Servers, "Servers"),
        (Self::Calls, "Calls"),
        (Self::Waiting, "Waiting"),
        (Self::Parked, "Parked"),
        (Self::Down, "Down"),
    ];

    pub(super) fn place(self) -> usize {
        Self::ALL.iter().position(|(tab, _)| *tab == self).unwrap_or(0)
    }

    fn beside(self, steps: usize) -> Self {
        Self::ALL[(self.place() + steps) % Self::ALL.len()].0
    }
}

/// One look at the gateway.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// What was asked for beside the status.
    pub(super) tab: Tab,
    pub(super) status: Value,
    /// Calls or records.
    pub(super) items: Vec<Value>,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wish {
    Nothing,
    /// A sample of another tab.
    Look,
    End,
}

/// Something of which all is shown.
#[derive(Clone, Debug)]
pub(super) struct Detail {
    pub(super) title: String,
    pub(super) text: String,
    pub(super) first_line: u16,
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct App {
    tab: Tab,
    sample: Option<Sample>,
    rates: Vec<(&'static str, f64)>,
    trouble: Option<String>,
    selected: usize,
    filter: String,
    is_typing: bool,
    is_frozen: bool,
    detail: Option<Detail>,
    has_help: bool,
}

/// Rows that a page key moves by.
const PAGE_ROWS: usize = 20;

/// Longest filter, in characters.
const FILTER_CHARS_MAX: usize = 80;

/// Keys and what they do.
pub(super) const HELP: &str = "q, Esc    end, or back\n\
    Tab, 1-5  servers, calls, waiting and parked records, destinations that are down\n\
    up, down, PgUp, PgDn, Home, End    move\n\
    Enter     all that is known of the call, record or server\n\
    /         show only lines that have this text; Enter keeps it, Esc ends it\n\
    p         hold the picture, and go on\n\
    ?         these keys";

impl App {
    pub(super) fn new(tab: Tab) -> Self {
        Self {
            tab,
            sample: None,
            rates: Vec::new(),
            trouble: None,
            selected: 0,
            filter: String::new(),
            is_typing: false,
            is_frozen: false,
            detail: None,
            has_help: false,
        }
    }

    pub(super) const fn tab(&self) -> Tab {
        self.tab
    }

    pub(super) fn status(&self) -> &Value {
        self.sample.as_ref().map_or(&Value::Null, |sample| &sample.status)
    }

    /// Events a second between the last two samples, by name.
    pub(super) fn rates(&self) -> &[(&'static str, f64)] {
        &self.rates
    }

    pub(super) fn trouble_text(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub(super) const fn detail(&self) -> Option<&Detail> {
        self.detail.as_ref()
    }

    pub(super) const fn has_help(&self) -> bool {
        self.has_help
    }

    /// Which picture is shown: another one has little in common with it.
    pub(super) const fn picture(&self) -> (Tab, bool, bool) {
        (self.tab, self.detail.is_some(), self.has_help)
    }

    pub(super) const fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    /// The filter, and whether it is being typed.
    pub(super) fn filter(&self) -> (&str, bool) {
        (&self.filter, self.is_typing)
    }

    /// The line that is chosen, of those that are shown.
    pub(super) fn selected(&self) -> usize {
        self.selected.min(self.rows().len().saturating_sub(1))
    }

    /// A new look at the gateway. One of a tab that was left meanwhile has its status only.
    pub(super) fn take(&mut self, sample: Sample) {
        self.trouble = None;
        if self.is_frozen {
            return;
        }
        if let Some(before) = &self.sample {
            self.rates = rates(before, &sample);
        }
        self.sample = Some(sample);
    }

    /// The gateway could not be asked; what was seen last stays.
    pub(super) fn trouble(&mut self, text: String) {
        self.trouble = Some(text);
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Wish::End;
        }
        if self.is_typing {
            self.type_filter(key.code);
            return Wish::Nothing;
        }
        if self.has_help {
            self.has_help = false;
            return Wish::Nothing;
        }
        if self.detail.is_some() {
            self.scroll(key.code);
            return Wish::Nothing;
        }
        let last = self.rows().len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') => return Wish::End,
            KeyCode::Esc if self.filter.is_empty() => return Wish::End,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Tab | KeyCode::Right => return self.turn_to(self.tab.beside(1)),
            KeyCode::BackTab | KeyCode::Left => return self.turn_to(self.tab.beside(Tab::ALL.len() - 1)),
            KeyCode::Char(digit @ '1'..='5') => {
                let place = digit.to_digit(10).map_or(0, |digit| digit as usize - 1);
                return self.turn_to(Tab::ALL[place].0);
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected().saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.selected = (self.selected() + 1).min(last),
            KeyCode::PageUp => self.selected = self.selected().saturating_sub(PAGE_ROWS),
            KeyCode::PageDown => self.selected = (self.selected() + PAGE_ROWS).min(last),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            KeyCode::Enter => self.open(),
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('p') => self.is_frozen = !self.is_frozen,
            KeyCode::Char('?' | 'h') => self.has_help = true,
            _ => {}
        }
        Wish::Nothing
    }

    fn turn_to(&mut self, tab: Tab) -> Wish {
        (self.tab, self.selected) = (tab, 0);
        self.is_frozen = false;
        Wish::Look
    }

    fn type_filter(&mut self, code: KeyCode) {
        self.selected = 0;
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(sign) if self.filter.chars().count() < FILTER_CHARS_MAX => self.filter.push(sign),
            _ => {}
        }
    }

    fn scroll(&mut self, code: KeyCode) {
        let Some(detail) = &mut self.detail else { return };
        let lines = u16::try_from(detail.text.lines().count()).unwrap_or(u16::MAX);
        let (first, last, page) = (detail.first_line, lines.saturating_sub(1), PAGE_ROWS as u16);
        detail.first_line = match code {
            KeyCode::Up | KeyCode::Char('k') => first.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => first.saturating_add(1).min(last),
            KeyCode::PageUp => first.saturating_sub(page),
            KeyCode::PageDown => first.saturating_add(page).min(last),
            KeyCode::Home => 0,
            KeyCode::End => last,
            KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter => return self.detail = None,
            _ => first,
        };
    }

    /// Shows all of the line that is chosen.
    fn open(&mut self) {
        let rows = self.rows();
        let Some((cells, value)) = rows.get(self.selected()) else { return };
        let title = cells.iter().find(|cell| !cell.is_empty()).cloned().unwrap_or_default();
        self.detail = Some(Detail { title, text: output::tree(value), first_line: 0 });
    }

    /// Heads of the table.
    pub(super) fn heads(&self) -> &'static [&'static str] {
        match self.tab {
            Tab::Servers => &status::SERVER_HEADS,
            Tab::Calls => &calls::COLUMNS,
            Tab::Waiting => &queue::HEADS,
            Tab::Parked => &queue::PARKED_HEADS,
            Tab::Down => &status::DOWN_HEADS,
        }
    }

    /// Lines of the table that the filter lets through, each with what it is about.
    pub(super) fn rows(&self) -> Vec<(Vec<String>, Value)> {
        let Some(sample) = &self.sample else { return Vec::new() };
        let listed = |row: fn(&Value) -> Vec<String>| {
            // Those of another tab are on their way out.
            let items = if sample.tab == self.tab { &sample.items[..] } else { &[] };
            items.iter().map(|item| (row(item), item.clone())).collect::<Vec<_>>()
        };
        let mut rows = match self.tab {
            Tab::Servers => status::servers(&sample.status),
            Tab::Down => status::destinations(&sample.status),
            Tab::Calls => listed(calls::row),
            Tab::Waiting => listed(queue::row),
            Tab::Parked => listed(queue::parked_row),
        };
        if !self.filter.is_empty() {
            let wanted = self.filter.to_lowercase();
            rows.retain(|(cells, _)| cells.iter().any(|cell| cell.to_lowercase().contains(&wanted)));
        }
        rows
    }
}

/// What came between two samples, a second.
fn rates(before: &Sample, after: &Sample) -> Vec<(&'static str, f64)> {
    let seconds = after.at.since(before.at).as_secs_f64();
    let count = |sample: &Sample, of: fn(&Value) -> u64| of(&sample.status);
    RATES
        .iter()
        .filter_map(|(name, of)| {
            // A restart begins to count anew.
            let more = count(after, *of).checked_sub(count(before, *of))?;
            (seconds > 0.0).then(|| (*name, more as f64 / seconds))
        })
        .collect()
}

type Count = fn(&Value) -> u64;

/// What is counted, and where it stands in the status.
const RATES: [(&str, Count); 8] = [
    ("2xx", |status| number(&status["answers"]["2xx"])),
    ("3xx", |status| number(&status["answers"]["3xx"])),
    ("4xx", |status| number(&status["answers"]["4xx"])),
    ("5xx", |status| number(&status["answers"]["5xx"])),
    ("6xx", |status| number(&status["answers"]["6xx"])),
    ("refused", |status| number(&status["refused"])),
    ("records", |status| number(&status["queue"]["appended"])),
    ("delivered", |status| number(&status["queue"]["delivered"])),
];

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn sample(tab: Tab, seconds: u64, answered: u64) -> Sample {
        let server = |name: &str, state: &str| json!({ "server": name, "state": state, "since_s": 5.0, "in_flight": 0, "window": 8, "counts": { "stored": 7 } });
        let call = |name: &str, from: &str| json!({ "call_id": name, "from": from, "to": "sip:b@y", "created": "2026-01-02T03:04:05Z", "duration_s": 61 });
        Sample {
            at: Instant(seconds * 1_000_000),
            tab,
            status: json!({
                "version": "1.2.3", "phase": "running", "started": "2026-01-02T03:00:00Z", "accepts_calls": true, "calls": 2,
                "answers": { "2xx": answered, "4xx": 1 }, "refused": 0, "hanging": [],
                "down": [{ "destination": "udp:192.0.2.9:5060", "since_s": 12.0, "probes": 3 }],
                "backends": [{ "sink": "billing", "servers": [server("192.0.2.1:1813", "up"), server("192.0.2.2:1813", "down")] }],
                "queue": { "alarm": [], "waiting": 4, "parked": 1, "appended": 40, "delivered": 35, "losses": [],
                           "sinks": [{ "sink": "billing", "waiting": 4, "oldest_s": 2.0 }] },
            }),
            items: match tab {
                Tab::Calls => vec![call("one@x", "sip:alice@x"), call("two@x", "sip:carol@x")],
                _ => Vec::new(),
            },
        }
    }

    fn press(app: &mut App, keys: &[KeyCode]) -> Wish {
        keys.iter().map(|code| app.key(KeyEvent::from(*code))).last().unwrap_or(Wish::Nothing)
    }

    fn names(app: &App) -> String {
        app.rows().iter().map(|(cells, _)| cells.join(" ")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn rates_are_what_came_between_two_samples_and_none_over_a_restart() {
        let mut app = App::new(Tab::Servers);
        app.take(sample(Tab::Servers, 10, 100));
        assert_eq!(app.rates(), []);
        app.take(sample(Tab::Servers, 12, 150));
        assert_eq!(app.rates()[0], ("2xx", 25.0));
        app.take(sample(Tab::Servers, 13, 3));
        assert_eq!(app.rates()[0].0, "3xx");
    }

    #[test]
    fn a_line_is_chosen_and_opened() {
        let mut app = App::new(Tab::Servers);
        app.take(sample(Tab::Servers, 1, 0));
        assert_eq!(press(&mut app, &[KeyCode::Down, KeyCode::Down, KeyCode::Enter]), Wish::Nothing);
        let detail = app.detail().expect("all of the second server");
        assert!(detail.text.contains("192.0.2.2:1813") && detail.text.contains("stored"), "{}", detail.text);
        press(&mut app, &[KeyCode::Down, KeyCode::End]);
        assert_eq!(
            usize::from(app.detail().expect("it").first_line) + 1,
            app.detail().expect("it").text.lines().count()
        );
        assert_eq!(press(&mut app, &[KeyCode::Esc]), Wish::Nothing);
        assert!(app.detail().is_none());
        assert_eq!(press(&mut app, &[KeyCode::Char('q')]), Wish::End);
    }

    #[test]
    fn another_tab_is_asked_for_and_empty_until_it_comes() {
        let mut app = App::new(Tab::Servers);
        app.take(sample(Tab::Servers, 1, 0));
        assert_eq!(press(&mut app, &[KeyCode::Char('2')]), Wish::Look);
        assert_eq!((app.tab(), names(&app).as_str()), (Tab::Calls, ""));
        // That was on its way when the key came.
        app.take(sample(Tab::Servers, 2, 0));
        assert_eq!(names(&app), "");
        app.take(sample(Tab::Calls, 3, 0));
        assert!(names(&app).contains("sip:alice@x"), "{}", names(&app));
        assert_eq!(press(&mut app, &[KeyCode::BackTab]), Wish::Look);
        assert_eq!(app.tab(), Tab::Servers);
    }

    #[test]
    fn a_filter_leaves_lines_that_have_its_text() {
        let mut app = App::new(Tab::Calls);
        app.take(sample(Tab::Calls, 1, 0));
        press(
            &mut app,
            &[KeyCode::End, KeyCode::Char('/'), KeyCode::Char('C'), KeyCode::Char('a'), KeyCode::Char('r')],
        );
        assert!(names(&app).starts_with("2026") && names(&app).contains("carol") && !names(&app).contains("alice"));
        assert_eq!(app.selected(), 0);
        press(&mut app, &[KeyCode::Char('q'), KeyCode::Enter]);
        assert_eq!(names(&app), "");
        // Nothing is there to be opened or moved to.
        assert_eq!(press(&mut app, &[KeyCode::Down, KeyCode::Enter, KeyCode::PageDown]), Wish::Nothing);
        assert!(app.detail().is_none());
        assert_eq!(press(&mut app, &[KeyCode::Esc]), Wish::Nothing);
        assert_eq!(app.rows().len(), 2);
        assert_eq!(press(&mut app, &[KeyCode::Esc]), Wish::End);
    }

    #[test]
    fn a_held_picture_stays_and_a_trouble_is_told_until_it_is_over() {
        let mut app = App::new(Tab::Servers);
        app.take(sample(Tab::Servers, 1, 0));
        press(&mut app, &[KeyCode::Char('p')]);
        app.take(sample(Tab::Servers, 2, 9));
        assert_eq!(app.status()["answers"]["2xx"], 0);
        app.trouble("the service does not run".to_owned());
        assert_eq!(app.trouble_text(), Some("the service does not run"));
        press(&mut app, &[KeyCode::Char('p')]);
        app.take(sample(Tab::Servers, 3, 9));
        assert_eq!((app.trouble_text(), &app.status()["answers"]["2xx"]), (None, &json!(9)));
    }
}
