//! The mirrors of a gateway: their sockets, their calls, their threads.

use super::systemd::Loop;
use super::wiring::{StartError, seed};
use crate::accounting;
use crate::config::plan::{MirrorPlan, Plan};
use crate::front::mirror::{Parts, Running, bind};
use crate::ids::SinkNumber;
use crate::mirror::mirrored;
use crate::queue;

/// A call as the queue has it, name and value.
type Stored = (Vec<u8>, Vec<u8>);

/// The running mirrors.
#[derive(Debug, Default)]
pub(super) struct Mirrors(Vec<Running>);

/// Binds the sockets of all mirrors.
pub(super) fn bind_all(plan: &Plan) -> Result<Vec<socket2::Socket>, StartError> {
    let bind = |own: &MirrorPlan| {
        let (transport, local) = own.listen;
        let option = || format!("`listen` of the `[[mirror]]` `{}`", own.name);
        bind(transport, local).map_err(|source| StartError::Bind { option: option(), transport, local, source })
    };
    plan.mirrors.iter().map(bind).collect()
}

/// Takes the calls that mirrors have followed out of `calls`: for each mirror its own. Those of a mirror that is no more
/// go to the first one; where there is none they stay in the queue until there is.
pub(super) fn split(calls: &mut Vec<Stored>, plan: &Plan) -> Vec<Vec<Stored>> {
    let mut split = vec![Vec::new(); plan.mirrors.len()];
    let mut left = 0_u64;
    calls.retain_mut(|(key, value)| {
        let Some((name, own)) = mirrored(key) else { return true };
        let place = plan.mirrors.iter().position(|mirror| mirror.name.as_bytes() == name).unwrap_or(0);
        match split.get_mut(place) {
            Some(calls) => calls.push((own.to_vec(), std::mem::take(value))),
            None => left += 1,
        }
        false
    });
    if left > 0 {
        tracing::warn!(calls = left, "calls of a mirror stay in the queue: there is no `[[mirror]]` to follow them");
    }
    split
}

impl Mirrors {
    /// Starts a thread for each.
    pub(super) fn start(
        plan: &Plan,
        sockets: Vec<socket2::Socket>,
        calls: Vec<Vec<Stored>>,
        (queue, settings): (&queue::Handle, &accounting::Settings),
        numbers: &[SinkNumber],
    ) -> Result<Self, StartError> {
        let own = plan.mirrors.iter().zip(sockets).zip(calls);
        let started = own.map(|((mirror, socket), calls)| {
            let parts = Parts {
                settings: mirror.settings(settings, numbers),
                socket,
                transport: mirror.listen.0,
                allow: mirror.allow.clone(),
                key: mirror.key.as_ref().map(|key| key.text().as_bytes().to_vec()).unwrap_or_default(),
                queue: queue.clone(),
                calls,
                seed: seed(),
            };
            let failed = |source| StartError::Thread { name: format!("mirror-{}", mirror.name), source };
            Running::start(parts).map_err(failed)
        });
        started.collect::<Result<_, _>>().map(Self)
    }

    /// Other settings of accounting from here on, and other marks for those that the plans still name.
    pub(super) fn configure(&self, settings: &accounting::Settings, marks: Option<(&[MirrorPlan], &[SinkNumber])>) {
        for running in &self.0 {
            let plan = marks.and_then(|(plans, _)| plans.iter().find(|own| own.name == running.name()));
            let marks = plan.zip(marks).map(|(own, (_, numbers))| own.marks.renumbered(numbers));
            running.configure(settings.clone(), marks);
        }
    }

    /// The loops the watchdog looks at.
    pub(super) fn loops(&self) -> impl Iterator<Item = Loop> {
        self.0.iter().map(|own| Loop { name: format!("mirror-{}", own.name()), beat: Box::new(own.beat()) })
    }

    /// Whether one has ended though nobody asked it to.
    pub(super) fn has_failed(&self) -> bool {
        self.0.iter().any(Running::is_finished)
    }

    /// Ends them; what they have made is in the queue then.
    pub(super) fn stop(self) {
        self.0.into_iter().for_each(Running::stop);
    }
}
