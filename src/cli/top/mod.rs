//! `tollgate top`: the running gateway, looked at while it works.
//!
//! One thread asks the service over its socket, once a second, for what is on the screen; another one draws and hears keys, so
//! that a service which does not answer holds up nobody's fingers.

mod app;
mod draw;

use std::io::IsTerminal as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use ratatui::backend::Backend as _;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use serde_json::Value;

use super::desk::{Seek, of_client};
use super::queue;
use super::{Failure, desk};
use crate::admin::request::{CALLS_MAX, Filter, Request, Standing};
use crate::clock;
use app::{App, Sample, Tab, Wish};
use draw::Palette;

/// Arguments of `tollgate top`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Seconds between two looks, from 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=3600))]
    every: u16,
    /// What is shown first
    #[arg(long, value_name = "WHAT", default_value = "servers")]
    show: Tab,
}

/// Longest time until a key is heard, and a new sample drawn.
const STEP: Duration = Duration::from_millis(100);

/// Records shown at most; what is behind them is for `tollgate queue list`.
const RECORDS_SHOWN: usize = 500;

/// Shows it until `q`.
///
/// # Errors
/// Standard output is no terminal, or the service does not run.
pub fn run(seek: &Seek, arguments: &Arguments) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let text = "`tollgate top` needs a terminal; `tollgate status --json` is for programs".to_owned();
        return Err(Failure::Usage(text));
    }
    // What keeps it from being asked at all is told as by other commands.
    let first = ask(seek, arguments.show)?;
    let (asking, asked) = std::sync::mpsc::channel();
    let (telling, told) = std::sync::mpsc::sync_channel(1);
    let (seek, every, tab) = (seek.clone(), Duration::from_secs(arguments.every.into()), arguments.show);
    std::thread::Builder::new()
        .name("asking".to_owned())
        .spawn(move || keep_asking(&seek, (tab, every), &asked, &telling))?;
    let mut app = App::new(tab);
    app.take(first);
    let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
    let ended = watch(&mut terminal, &mut app, &asking, &told);
    ratatui::try_restore().context("the terminal cannot be put back; `reset` does it")?;
    Ok(ended?)
}

/// Draws and hears keys until somebody has seen enough.
fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    app: &mut App,
    asking: &Sender<Tab>,
    told: &Receiver<Result<Sample, String>>,
) -> std::io::Result<()> {
    let palette = Palette::of_environment();
    loop {
        terminal.draw(|frame| draw::draw(frame, app, &palette))?;
        if event::poll(STEP)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            let before = app.picture();
            let wish = app.key(key);
            if app.picture() != before {
                // Drawn anew as a whole: what another program has left on the screen goes with it. `Terminal::clear` would ask
                // the terminal for its cursor, and not all answer.
                terminal.backend_mut().clear()?;
                terminal.swap_buffers();
            }
            match wish {
                Wish::Nothing => {}
                Wish::Look => drop(asking.send(app.tab())),
                Wish::End => return Ok(()),
            }
        }
        match told.try_recv() {
            Ok(Ok(sample)) => app.take(sample),
            Ok(Err(text)) => app.trouble(text),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
    }
}

/// Asks for what a tab shows, once in a while and when another one is chosen.
fn keep_asking(
    seek: &Seek,
    (mut tab, every): (Tab, Duration),
    asked: &Receiver<Tab>,
    telling: &SyncSender<Result<Sample, String>>,
) {
    loop {
        match asked.recv_timeout(every) {
            Ok(chosen) => tab = asked.try_iter().last().unwrap_or(chosen),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let sample = ask(seek, tab).map_err(|failure| match failure {
            Failure::Failed(error) => format!("{error:#}"),
            Failure::Usage(text) | Failure::Restart(text) => text,
            Failure::Incomplete => "what was asked about is not complete".to_owned(),
            Failure::Configuration => "the configuration has mistakes: `tollgate check` names them".to_owned(),
        });
        if telling.send(sample).is_err() {
            return;
        }
    }
}

/// One look at the service.
fn ask(seek: &Seek, tab: Tab) -> Result<Sample, Failure> {
    let mut client = seek.service()?;
    let status = client.ask(&Request::Status {}).map_err(of_client)?;
    let at = clock::mono();
    let mut items = Vec::new();
    match tab {
        Tab::Servers | Tab::Down => {}
        Tab::Calls => {
            let mut calls = client.ask(&Request::Calls { max: CALLS_MAX }).map_err(of_client)?;
            if let Value::Array(calls) = calls["calls"].take() {
                items = calls;
            }
        }
        Tab::Parked | Tab::Waiting => {
            let state = if tab == Tab::Parked { Standing::Parked } else { Standing::Waiting };
            let filter = Filter { state: Some(state), ..Filter::default() };
            queue::pages(&mut desk::Desk::Running(client), &filter, RECORDS_SHOWN, |item| {
                items.push(item);
                Ok(())
            })?;
        }
    }
    Ok(Sample { at, tab, status, items })
}
