//! The renderer as the sink uses it: what does not fit is told in the log, what a server objects to gets its name.

use std::sync::Arc;

use super::acr::{Echo, Misfit, Renderer, Settings, SetupErrors};
use super::{Names, Render, Unrendered};
use crate::diameter::avp::Avps;
use crate::timers::rationed::Rationed;

/// A renderer for records, and one for the names of what a server objects to.
pub(super) fn renderers(sink: &Arc<str>, settings: &Settings) -> Result<(Render, Names), SetupErrors> {
    let mut renderer = Renderer::new(settings)?;
    let naming = Renderer::new(settings)?;
    let sink = Arc::clone(sink);
    let lost = metrics::counter!(super::DIAMETER_VALUES_LEFT_OUT_TOTAL, "sink" => Arc::clone(&sink));
    let mut lines = Rationed::default();
    let render: Render = Box::new(move |record, out| {
        // Class is added where it is known: by the route.
        let rendered = renderer.render(record, Echo::default(), out).map_err(|unfit| Unrendered(unfit.to_string()))?;
        if rendered.misfits > 0 {
            lost.increment(u64::try_from(rendered.misfits).unwrap_or(u64::MAX));
            lines.count();
            if lines.tell(crate::clock::mono()).is_some() {
                let what = renderer.misfits().iter().map(text).collect::<Vec<_>>().join("; ");
                tracing::warn!(sink = %sink, record = %record.id, what, "values left out");
            }
        }
        Ok(())
    });
    let names: Names = Box::new(move |failed| naming.name_failed(Avps::new(failed)));
    Ok((render, names))
}

fn text(misfit: &Misfit) -> String {
    format!("`{}` does not fit {}: {}", misfit.field, misfit.avp, misfit.why)
}
