//! Checks of `[deliver]`.

use std::path::Path;

use super::Check;
use super::sections::{http_address, socket_path};
use crate::config::plan::DeliverPlan;
use crate::config::schema::DeliverTable;

/// What `tollgate deliver` has for itself; `queue` is the folder of a gateway's queue.
pub(super) fn check(table: &DeliverTable, queue: &Path, base: &Path, check: &mut Check<'_>) -> DeliverPlan {
    let mut plan = DeliverPlan::default();
    if let Some(directory) = &table.directory {
        plan.directory = base.join(&directory.value);
        if directory.value.as_os_str().is_empty() {
            check.error(directory.place, "`deliver.directory` is empty");
        } else if plan.directory == queue || queue.starts_with(&plan.directory) {
            // It is emptied at each start.
            let hint = Some("give it a folder of its own, such as /var/lib/tollgate/deliver".to_owned());
            check.error_hint(
                directory.place,
                "`deliver.directory` holds the queue of the gateway (`queue.path`)",
                hint,
            );
        }
    }
    if let Some(socket) = &table.socket {
        plan.socket = socket_path("deliver.socket", socket, base, check);
    }
    plan.listen =
        table.listen.as_ref().filter(|listen| !listen.is_empty()).and_then(|listen| http_address(listen, check));
    plan
}
