//! Events for the journal of systemd: the message with all that belongs to it.
//!
//! `journalctl` shows MESSAGE and nothing else, and the layer of `tracing-journald` writes there what an event calls its
//! message: `delivery failed`, while the error and the server stand in fields that nobody sees. [`Whole`] puts them behind
//! the message as the log on standard error has them; as fields they stay, for those who search.

use std::error::Error;
use std::fmt::Debug;

use tracing::field::{Field, Value, Visit};
use tracing::{Event, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Fields of an event at most (`tracing` refuses to compile more).
const FIELDS_MAX: usize = 32;

/// The layer that writes to the journal.
///
/// # Errors
/// The journal cannot be reached.
pub(super) fn layer<S>() -> std::io::Result<impl Layer<S>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let priorities =
        PriorityMappings { info: Priority::Informational, debug: Priority::Debug, ..PriorityMappings::new() };
    Ok(Whole(tracing_journald::layer()?.with_priority_mappings(priorities)))
}

/// Gives a layer events whose message holds their fields too.
struct Whole<L>(L);

impl<S, L> Layer<S> for Whole<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, id: &tracing::span::Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &tracing::span::Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut text = String::new();
        let metadata = event.metadata();
        let fields = metadata.fields();
        let formatted = DefaultFields::new().format_fields(Writer::new(&mut text), event);
        let (Some(message), Ok(())) = (fields.field(MESSAGE), formatted) else {
            // It says all in its fields.
            self.0.on_event(event, context);
            return;
        };
        let mut own = Own(vec![(message.clone(), Box::new(text) as Box<dyn Value>)]);
        event.record(&mut own);
        let mut values: [(&Field, Option<&dyn Value>); FIELDS_MAX] = [(&message, None); FIELDS_MAX];
        for (place, (field, value)) in values.iter_mut().zip(&own.0) {
            *place = (field, Some(&**value));
        }
        let values = fields.value_set(&values);
        let whole = match event.is_contextual() {
            true => Event::new(metadata, &values),
            false => Event::new_child_of(event.parent().cloned(), metadata, &values),
        };
        self.0.on_event(&whole, context);
    }
}

/// The field that holds the text of an event.
const MESSAGE: &str = "message";

/// The values of an event, but for its message.
struct Own(Vec<(Field, Box<dyn Value>)>);

impl Own {
    fn push(&mut self, field: &Field, value: impl Value + 'static) {
        if field.name() != MESSAGE {
            self.0.push((field.clone(), Box::new(value)));
        }
    }
}

impl Visit for Own {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.push(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Takes events as the journal's layer does: each field by its name.
    #[derive(Clone, Default)]
    struct Journal(Arc<Mutex<Vec<Fields>>>);

    /// Names and values.
    type Fields = Vec<(String, String)>;

    struct Entry(Fields);

    impl Visit for Entry {
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.push((field.name().to_owned(), value.to_owned()));
        }

        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.push((field.name().to_owned(), format!("{value:?}")));
        }
    }

    impl<S: Subscriber> Layer<S> for Journal {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut entry = Entry(Vec::new());
            event.record(&mut entry);
            self.0.lock().unwrap().push(entry.0);
        }
    }

    fn emitted(say: impl FnOnce()) -> Vec<Fields> {
        let journal = Journal::default();
        let registry = tracing_subscriber::registry().with(Whole(journal.clone()));
        tracing::subscriber::with_default(registry, say);
        let entries = journal.0.lock().unwrap();
        entries.clone()
    }

    #[test]
    fn the_message_of_an_entry_is_whole() {
        let error: Box<dyn Error> = "no route to host".into();
        let lines = "error: one\n  --> t.toml:3:1\n\nerror: two\n  --> t.toml:9:1";
        let entries = emitted(|| {
            tracing::error!(
                error = error.as_ref(),
                server = %"192.0.2.1:1813",
                tries = 3,
                late = true,
                share = 0.5,
                sink = "billing",
                "delivery failed"
            );
            tracing::error!("reload refused, the running configuration stays:\n{lines}");
            tracing::warn!(ids = ?["a", "b"], reason = "two\nlines", "records were dropped by the operator");
            tracing::info!("ready");
            tracing::info!(only = "a field");
        });
        let want: [&[(&str, &str)]; 5] = [
            &[
                (
                    "message",
                    "delivery failed error=no route to host server=192.0.2.1:1813 tries=3 late=true share=0.5 sink=\"billing\"",
                ),
                ("error", "no route to host"),
                ("server", "192.0.2.1:1813"),
                ("tries", "3"),
                ("late", "true"),
                ("share", "0.5"),
                ("sink", "billing"),
            ],
            &[("message", &format!("reload refused, the running configuration stays:\n{lines}"))],
            &[
                ("message", "records were dropped by the operator ids=[\"a\", \"b\"] reason=\"two\\nlines\""),
                ("ids", "[\"a\", \"b\"]"),
                ("reason", "two\nlines"),
            ],
            &[("message", "ready")],
            &[("only", "a field")],
        ];
        assert_eq!(entries.len(), want.len());
        for (entry, want) in entries.iter().zip(want) {
            let entry: Vec<(&str, &str)> = entry.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(entry, want);
        }
    }
}
