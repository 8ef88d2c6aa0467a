//! The ledger of a running gateway: opened before the queue, which tells it what happens, and ended behind it.

use std::thread::JoinHandle;

use super::wiring::StartError;
use crate::causes::chain_text;
use crate::config::Plan;
use crate::front::tally;
use crate::ids::SinkNumber;
use crate::ledger::{Handle, Listener, Notice, OnTrouble, Opened, Settings};
use crate::queue::witness::{Tap, Turn};
use crate::queue::{self, Standing};
use crate::telemetry;

/// The ledger and its thread, if one is kept.
#[derive(Debug, Default)]
pub(super) struct Book {
    running: Option<(Handle, JoinHandle<()>)>,
    /// Sends what it is told on to a collector.
    telemetry: Option<JoinHandle<()>>,
}

/// Opens the queue of a plan, and the ledger that hears of all that becomes of its records, if one is to be kept; `tap` hears
/// of it too.
pub(super) fn open_queue(
    plan: &Plan,
    tap: Option<Tap>,
    step: &mut dyn FnMut(),
) -> Result<(queue::Started, Book), StartError> {
    let mut ledger = open(&plan.ledger)?;
    let witness = &mut |secret: &[u8; 16]| {
        let witness = ledger.as_mut().map(|ledger| ledger.witness(secret));
        match tap.clone() {
            Some(tap) => Some(witness.unwrap_or_default().tapped(tap)),
            None => witness,
        }
    };
    let mut opened = queue::spawn_witnessed(plan.queue.clone(), &plan.sink_names(), step, witness)?;
    let (listener, telemetry) = listener(plan, &opened.sinks).unzip();
    let running = start(ledger, opened.standing.take(), listener)?;
    Ok((opened, Book { running, telemetry }))
}

/// Opens the ledger, if one is to be kept.
fn open(settings: &Settings) -> Result<Option<Opened>, StartError> {
    if !settings.is_kept {
        return Ok(None);
    }
    match Opened::open(settings.clone()) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if settings.on_trouble == OnTrouble::Refuse => Err(error.into()),
        Err(error) => {
            tracing::error!(
                error = chain_text(&error),
                "the ledger cannot be opened: nothing is written down until the next start"
            );
            Ok(None)
        }
    }
}

/// Starts its thread.
fn start(
    ledger: Option<Opened>,
    standing: Option<Standing>,
    listener: Option<Listener>,
) -> Result<Option<(Handle, JoinHandle<()>)>, StartError> {
    let Some((ledger, standing)) = ledger.zip(standing) else { return Ok(None) };
    let running = ledger.start(standing, Box::new(tally::counts), listener);
    running.map_err(|source| StartError::Thread { name: "ledger".to_owned(), source })
}

/// What makes spans of what the ledger is told, and the thread that sends them, if that is wanted.
fn listener(plan: &Plan, sinks: &[(String, SinkNumber)]) -> Option<(Listener, JoinHandle<()>)> {
    let settings = plan.telemetry.clone()?;
    let names = sinks.iter().map(|(name, number)| (*number, name.as_str().into())).collect();
    match telemetry::start(settings, names) {
        Ok((mut tracer, thread)) => Some((Box::new(move |turn: &Turn| tracer.take(turn)), thread)),
        // Calls and records do without it.
        Err(error) => {
            tracing::error!(error = chain_text(&error), "there are no spans for the collector until the next start");
            None
        }
    }
}

impl Book {
    /// For others who have to do with it.
    pub(super) fn handle(&self) -> Option<Handle> {
        self.running().cloned()
    }

    pub(super) fn running(&self) -> Option<&Handle> {
        self.running.as_ref().map(|(handle, _)| handle)
    }

    /// Whether its thread has ended though the queue's goes on.
    pub(super) fn has_failed(&self) -> bool {
        self.running.as_ref().is_some_and(|(_, thread)| thread.is_finished())
    }

    /// Waits until it has written all that the queue has told; the queue has ended.
    pub(super) fn stop(self) {
        let Some((handle, thread)) = self.running else { return };
        if thread.join().is_err() {
            tracing::error!("the ledger's thread panicked while it stopped");
        }
        log_notices(&handle);
        if self.telemetry.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of telemetry panicked while it stopped");
        }
    }
}

/// Tells the log what an operator should know of the ledger.
pub(super) fn log_notices(ledger: &Handle) {
    for notice in ledger.notices() {
        match notice {
            Notice::Failing { why } => {
                tracing::error!(
                    why,
                    "the ledger cannot be written: rows wait in memory, and what does not fit there will be missing"
                );
            }
            Notice::Recovered { missing: None } => {
                tracing::info!("the ledger can be written again, and nothing is missing");
            }
            Notice::Recovered { missing: Some(missing) } => {
                let (from, to) = (missing.from, missing.to);
                let (records, fates) = (missing.records, missing.fates);
                tracing::error!(%from, %to, records, fates, "the ledger has a gap, and says so in every audit of that day");
            }
            Notice::Found { day, torn, damaged: 0 } => {
                tracing::info!(%day, octets = torn, "the ledger had a block that was being written: it is made up for from the queue");
            }
            Notice::Found { day, damaged, .. } => {
                tracing::error!(%day, octets = damaged, "a file of the ledger is damaged: the rest of it is read, and an audit says what is missing");
            }
            Notice::Closed { day, octets: (before, after) } => {
                tracing::info!(%day, before, after, "a day of the ledger is packed");
            }
            Notice::Removed { day } => tracing::info!(%day, "an old day of the ledger is removed"),
            Notice::Failed { action, day, why } => tracing::error!(action, %day, why, "the ledger"),
        }
    }
}
