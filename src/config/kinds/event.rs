//! What the tables of all sinks of events say alike: what events hold, how they are repeated, names of places.

use super::carriers::labels;
use super::client_file::profile;
use super::{Site, host_name};
use crate::config::check::Check;
use crate::config::check::sections::{choose, set};
use crate::config::decode::{At, Ordered};
use crate::config::error::{nearest, suggestion};
use crate::record::LegOrder;
use crate::sinks::attempt::Settings;
use crate::sinks::event::name::{Alphabet, Template, TemplateError};
use crate::sinks::event::{Body, Envelope, Legs};
use crate::sinks::mapping::{Round, Unmapped};
use crate::sinks::profile::Profile;
use crate::units::{Millis, Secs};

/// What a table says of the body of events.
pub(super) struct BodyOptions<'t> {
    /// What stands around the values.
    pub envelope: Option<Envelope>,
    /// Whose events.
    pub profile: &'t Option<At<String>>,
    /// Fields: name to name in the event.
    pub fields: &'t Ordered<At<String>>,
    /// Fields of legs: name to name in the event.
    pub leg_fields: &'t Ordered<At<String>>,
    /// Fields without a name of their own.
    pub unmapped: Option<Unmapped>,
    /// How several legs are written.
    pub legs: Option<Legs>,
    /// Order of the legs.
    pub leg_order: Option<LegOrder>,
    /// Rounding of spans to seconds.
    pub round: Option<Round>,
    /// Who sends the events.
    pub source: &'t Option<At<String>>,
}

impl BodyOptions<'_> {
    /// Checks them.
    pub(super) fn body(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<Body> {
        let profile = profile(self.profile.as_ref(), profiles(), Profile::name, check)?;
        let mut body = Body::of(profile, &format!("/{}/{}", crate::names::PRODUCT, host_name()))?;
        choose(&mut body.envelope, self.envelope);
        body.fields = labels(self.fields, self.unmapped, &site.fields.record, "accounting.fields", check);
        body.leg_fields = labels(self.leg_fields, self.unmapped, &site.fields.leg, "accounting.leg_fields", check);
        choose(&mut body.legs, self.legs);
        choose(&mut body.leg_order, self.leg_order);
        choose(&mut body.round, self.round);
        if let Some(source) = self.source {
            if source.is_empty() || !source.bytes().all(|octet| octet.is_ascii_graphic()) {
                let hint = Some("a URI or the path of one, such as \"/tollgate/gw1\"".to_owned());
                check.error_hint(source.place, format_args!("`{}` cannot be the source of events", source.value), hint);
            }
            body.source.clone_from(&source.value);
        }
        Some(body)
    }
}

/// The profiles of systems whose events there are.
fn profiles() -> impl Iterator<Item = Profile> + Clone {
    Profile::ALL.iter().copied().filter(|profile| profile.system().events.is_some())
}

/// How attempts are repeated: what a person must mend never parks a record.
pub(super) fn delivery(
    window: usize,
    retry_first: Option<Millis<10, 600_000>>,
    retry_max: Option<Secs<1, 86_400>>,
) -> Settings {
    let mut delivery = Settings { batch_max: window, attempts_max: u32::MAX, ..Settings::default() };
    set(&mut delivery.retry_first, retry_first, Millis::duration);
    set(&mut delivery.retry_max, retry_max, Secs::duration);
    delivery
}

/// A template for the name of a place, with what may stand around values; `default` without one.
pub(super) fn template(
    given: Option<&At<String>>,
    default: &str,
    alphabet: Alphabet,
    site: &Site<'_>,
    check: &mut Check<'_>,
) -> Option<Template> {
    let fields = site.fields.record.names();
    let text = given.map_or(default, |given| given.value.as_str());
    let place = given.map_or(site.place, |given| given.place);
    match Template::parse(text, &fields) {
        Ok(template) => {
            let bad = |octet: &u8| !octet.is_ascii_graphic() || (*octet != b'.' && !(alphabet.takes)(*octet));
            if let Some(octet) = template.literals().flat_map(str::bytes).find(bad) {
                let what = format_args!("`{text}` has {:?}, which no such name may have", char::from(octet));
                check.error(place, what);
                return None;
            }
            Some(template)
        }
        Err(error) => {
            let hint = match &error {
                TemplateError::Brace => Some("a value stands in braces: `acc.{kind}`".to_owned()),
                TemplateError::Unknown { name, known } => {
                    let known: Vec<&str> =
                        known.iter().map(String::as_str).filter(|own| !own.starts_with("leg")).collect();
                    let near = nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
                    near.or_else(|| suggestion(name, known))
                }
            };
            check.error_hint(place, format_args!("`{text}`: {error}"), hint);
            None
        }
    }
}
