//! How `tollgate top` looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table, TableState, Tabs, Wrap};
use serde_json::Value;

use super::app::{App, HELP, Tab};
use crate::cli::output;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    is_coloured: bool,
}

impl Palette {
    /// No colours with `NO_COLOR` in the environment, unless it is empty.
    pub(super) fn of_environment() -> Self {
        Self { is_coloured: output::may_colour() }
    }

    fn style(self, colour: Color) -> Style {
        if self.is_coloured { Style::new().fg(colour) } else { Style::new() }
    }

    fn bad(self) -> Style {
        self.style(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// That of a line, by the words in it.
    fn of_line(self, tab: Tab, cells: &[String]) -> Style {
        let is = |words: &[&str]| cells.iter().any(|cell| words.contains(&cell.as_str()));
        match tab {
            Tab::Servers if is(&["up", "alive", "open"]) => self.style(Color::Green),
            Tab::Servers if is(&["down", "dead", "misfit", "dismissed", "closed"]) => self.style(Color::Red),
            Tab::Servers => self.style(Color::Yellow),
            Tab::Down => self.style(Color::Red),
            Tab::Calls | Tab::Waiting | Tab::Parked => Style::new(),
        }
    }
}

/// Draws the whole screen, however small it is.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, palette: &Palette) {
    let [head, rates, tabs, table, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(app, *palette)), head);
    frame.render_widget(Paragraph::new(rates_line(app)), rates);
    let names = Tab::ALL.iter().enumerate().map(|(place, (_, name))| format!("{} {name}", place + 1));
    let chosen = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Tabs::new(names).select(app.tab().place()).highlight_style(chosen), tabs);
    draw_table(frame, app, *palette, table);
    frame.render_widget(Paragraph::new(foot_line(app, *palette)), foot);
    if let Some(detail) = app.detail() {
        let block = Block::bordered().title(detail.title.as_str());
        let text = Paragraph::new(detail.text.as_str()).scroll((detail.first_line, 0)).block(block);
        over(frame, text, frame.area());
    } else if app.has_help() {
        let text = Paragraph::new(HELP).wrap(Wrap { trim: false }).block(Block::bordered().title("Keys"));
        over(frame, text, frame.area());
    }
}

fn over(frame: &mut Frame<'_>, text: Paragraph<'_>, area: Rect) {
    frame.render_widget(Clear, area);
    frame.render_widget(text, area);
}

fn head_lines(app: &App, palette: Palette) -> Vec<Line<'static>> {
    let status = app.status();
    let word = |value: &Value| output::shown(&output::cell(value));
    let list = |value: &Value| {
        let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        words.map(output::shown).collect::<Vec<_>>().join(", ")
    };
    let queue = &status["queue"];
    let mut first = vec![Span::raw(format!(
        "tollgate {}  {} since {}  calls {}  waiting {}  parked {}",
        word(&status["version"]),
        word(&status["phase"]),
        word(&status["started"]),
        word(&status["calls"]),
        word(&queue["waiting"]),
        word(&queue["parked"]),
    ))];
    if status["accepts_calls"] == false {
        first.push(Span::styled("  NEW CALLS ARE REFUSED", palette.bad()));
    }
    let troubles = [("ALARM", list(&queue["alarm"])), ("HANGING", list(&status["hanging"]))];
    let second: Vec<_> = troubles
        .into_iter()
        .filter(|(_, what)| !what.is_empty())
        .map(|(name, what)| Span::styled(format!("{name}: {what}  "), palette.bad()))
        .chain(lost(queue).map(|records| Span::styled(format!("LOST: {records} records"), palette.bad())))
        .collect();
    vec![Line::from(first), Line::from(second)]
}

fn lost(queue: &Value) -> Option<u64> {
    let losses = queue["losses"].as_array()?;
    let records = losses.iter().filter_map(|loss| loss["records"].as_u64()).sum::<u64>();
    (records > 0).then_some(records)
}

/// Answers, records and deliveries a second.
fn rates_line(app: &App) -> Line<'static> {
    if app.rates().is_empty() {
        return Line::from("a second: ...");
    }
    let kept =
        app.rates().iter().filter(|(name, rate)| *rate > 0.0 || matches!(*name, "2xx" | "records" | "delivered"));
    let rates = kept.map(|(name, rate)| format!("{rate:.1} {name}"));
    Line::from(format!("a second: {}", rates.collect::<Vec<_>>().join("  ")))
}

fn draw_table(frame: &mut Frame<'_>, app: &App, palette: Palette, area: Rect) {
    let (heads, rows) = (app.heads(), app.rows());
    // Only what can be seen is measured: of many thousand lines too.
    let height = usize::from(area.height.saturating_sub(1)).max(1);
    let first = (app.selected() / height) * height;
    let seen: Vec<_> = rows.iter().skip(first).take(height).collect();
    let widths = heads.iter().enumerate().map(|(column, head)| {
        let cells = seen.iter().filter_map(|(cells, _)| cells.get(column)).map(|cell| cell.chars().count());
        let width = cells.chain([head.chars().count()]).max().unwrap_or(0);
        Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX))
    });
    let widths: Vec<_> = widths.collect();
    let lines = seen.iter().map(|(cells, _)| Row::new(cells.clone()).style(palette.of_line(app.tab(), cells)));
    let header = Row::new(heads.to_vec()).style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(lines, widths)
        .header(header)
        .column_spacing(2)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default();
    state.select((!seen.is_empty()).then(|| app.selected() - first));
    frame.render_stateful_widget(table, area, &mut state);
}

fn foot_line(app: &App, palette: Palette) -> Line<'static> {
    if let Some(trouble) = app.trouble_text() {
        return Line::from(Span::styled(output::shown(trouble), palette.bad()));
    }
    let (filter, is_typing) = app.filter();
    let mut parts = vec![format!("{} lines", app.rows().len())];
    if is_typing || !filter.is_empty() {
        parts.push(format!("/{filter}{}", if is_typing { "_" } else { "" }));
    }
    if app.is_frozen() {
        parts.push("HELD (p goes on)".to_owned());
    }
    parts.push("Tab next  Enter all of it  / filter  ? keys  q end".to_owned());
    Line::from(parts.join("  "))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Cell;
    use ratatui::crossterm::event::{KeyCode, KeyEvent};

    use super::super::app::tests::sample;
    use super::*;

    fn screen(app: &App, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal of memory");
        terminal.draw(|frame| draw(frame, app, &Palette { is_coloured: true })).expect("it is drawn");
        let cells = terminal.backend().buffer().content();
        let lines = cells.chunks(width.into()).map(|line| line.iter().map(Cell::symbol).collect::<String>());
        lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_screen_says_how_the_gateway_is_and_who_stores_its_records() {
        let mut app = App::new(Tab::Servers);
        app.take(sample(Tab::Servers, 1, 0));
        app.take(sample(Tab::Servers, 2, 30));
        let text = screen(&app, 150, 12);
        for part in [
            "tollgate 1.2.3  running since 2026-01-02T03:00:00Z  calls 2  waiting 4  parked 1",
            "a second: 30.0 2xx  0.0 records  0.0 delivered",
            "1 Servers",
            "SINK     SERVER",
            "billing  192.0.2.2:1813  down",
            "2 lines",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn what_is_wrong_stands_out() {
        let mut app = App::new(Tab::Servers);
        let mut wrong = sample(Tab::Servers, 1, 0);
        wrong.status["accepts_calls"] = false.into();
        wrong.status["queue"]["alarm"] = serde_json::json!(["the disk is full"]);
        wrong.status["queue"]["losses"] = serde_json::json!([{ "records": 3 }]);
        app.take(wrong);
        app.trouble("the service has not answered\u{1b}[2J".to_owned());
        let text = screen(&app, 150, 10);
        for part in ["NEW CALLS ARE REFUSED", "ALARM: the disk is full", "LOST: 3 records", "has not answered\\x1b[2J"]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn ten_thousand_lines_are_drawn_where_the_chosen_one_is() {
        let mut app = App::new(Tab::Calls);
        let mut many = sample(Tab::Calls, 1, 0);
        let call = many.items[0].clone();
        many.items = (0..10_000)
            .map(|number| {
                let mut call = call.clone();
                call["call_id"] = format!("call-{number}").into();
                call
            })
            .collect();
        app.take(many);
        app.key(KeyEvent::from(KeyCode::End));
        let text = screen(&app, 150, 20);
        assert!(text.contains("call-9999") && text.contains("10000 lines"), "{text}");
    }

    #[test]
    fn no_size_is_too_small() {
        let mut app = App::new(Tab::Calls);
        app.take(sample(Tab::Calls, 1, 0));
        for (width, height) in [(1, 1), (3, 2), (10, 5), (20, 6)] {
            screen(&app, width, height);
        }
        app.key(KeyEvent::from(KeyCode::Enter));
        assert!(screen(&app, 60, 20).contains("sip:alice@x"));
        screen(&app, 2, 2);
        app.key(KeyEvent::from(KeyCode::Esc));
        app.key(KeyEvent::from(KeyCode::Char('?')));
        assert!(screen(&app, 100, 20).contains("hold the picture"));
    }
}
