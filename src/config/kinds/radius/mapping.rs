//! Checks of `fields` and `leg_fields` of a RADIUS sink: fields and attributes that exist, policies that fit.

use super::table::{MappingTable, Oversize as Policy};
use crate::config::check::Check;
use crate::config::decode::{At, Ordered};
use crate::config::kinds::carriers::{self, Carrier, FieldList, Takes, is_field};
use crate::config::tree::PlaceId;
use crate::dictionary::{Dictionary, Handle, Input, Type};
use crate::radius::attribute::{Oversize, Priority};
use crate::radius::number;
use crate::radius::packet::VALUE_OCTETS_MAX;
use crate::sinks::radius::FieldMapping;

/// Attributes that every record has already (RFC 2866 §5.13: once, or of one meaning).
const OWN: [u8; 11] = [
    number::NAS_IP_ADDRESS,
    number::NAS_IDENTIFIER,
    number::ACCT_STATUS_TYPE,
    number::ACCT_DELAY_TIME,
    number::ACCT_SESSION_ID,
    number::ACCT_SESSION_TIME,
    number::ACCT_TERMINATE_CAUSE,
    number::ACCT_MULTI_SESSION_ID,
    number::EVENT_TIMESTAMP,
    number::NAS_PORT_TYPE,
    number::NAS_IPV6_ADDRESS,
];

/// Attributes a request has once at most (RFC 2866 §5.13), those of [`OWN`] apart: User-Name, NAS-Port, Service-Type,
/// Called-Station-Id, Calling-Station-Id.
const ONCE: [u32; 5] = [1, 5, 6, 30, 31];

/// Attributes that are the same in all records of a session: those by which FreeRADIUS joins them, User-Name, NAS-Port,
/// Class, NAS-Port-Id, Chargeable-User-Identity; and Called-Station-Id and Calling-Station-Id, which in the BYE of the
/// other side would be other ones.
const IDENTITY: [u32; 7] = [1, 5, 25, 30, 31, 87, 89];

/// Which table of a sink is checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Of {
    /// `fields`
    Record,
    /// `leg_fields`
    Leg,
}

impl Of {
    const fn section(self) -> &'static str {
        match self {
            Self::Record => "accounting.fields",
            Self::Leg => "accounting.leg_fields",
        }
    }
}

/// FieldList with their attributes: both must exist. `fields` are those there are.
pub(super) fn mappings(
    of: Of,
    table: &Ordered<At<MappingTable>>,
    fields: &FieldList<'_>,
    dictionary: &Dictionary,
    check: &mut Check<'_>,
) -> Vec<FieldMapping> {
    let mut mappings: Vec<FieldMapping> = Vec::new();
    for (field, mapping) in &table.0 {
        is_field(field, of.section(), &fields.names(), check);
        let name = At { value: mapping.attribute.clone(), place: mapping.place };
        let Some(attribute) = attribute_named(&name, dictionary, check) else { continue };
        once(of, &attribute, mapping, &mappings, dictionary, check);
        fits(field, &attribute, mapping.place, fields, check);
        mappings.push(one(field, &attribute, mapping, dictionary, check));
    }
    mappings
}

/// Whether the field's value can be of the attribute's type.
fn fits(field: &str, attribute: &Handle, place: PlaceId, fields: &FieldList<'_>, check: &mut Check<'_>) {
    let takes = match attribute.kind() {
        // A tag may stand in front of it.
        _ if attribute.flags().has_tag => Takes::Any,
        Type::Integer | Type::Signed | Type::Byte | Type::Short | Type::Integer64 | Type::Bool => {
            if attribute.values().is_empty() { Takes::Number } else { Takes::NumberOrName }
        }
        Type::Date => Takes::Instant,
        Type::IpAddr | Type::Ipv6Addr | Type::ComboIp | Type::Ipv4Prefix | Type::Ipv6Prefix => Takes::Address,
        _ => Takes::Any,
    };
    let carrier = Carrier { name: attribute.name(), takes, place };
    let takes_text = |text: &str| attribute.encode(Input::Text(text.as_bytes()), &mut Vec::new()).is_ok();
    // What is too long is cut, by the policies of the mapping.
    let takes_text = |text: &str| takes == Takes::Any || takes_text(text);
    carriers::fit(field, fields, &carrier, takes_text, check);
}

/// The attribute of that name, if values of calls may be put into it.
pub(super) fn attribute_named(name: &At<String>, dictionary: &Dictionary, check: &mut Check<'_>) -> Option<Handle> {
    let Some(attribute) = dictionary.attribute(name) else {
        let hint = match dictionary.nearest(name) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`tollgate dict` lists what is built in; `dictionary` adds a file".to_owned(),
        };
        check.error_hint(name.place, format_args!("unknown RADIUS attribute `{}`", name.value), Some(hint));
        return None;
    };
    if let Some(why) = attribute.refusal() {
        check.error(name.place, format_args!("`{}` cannot carry a value of a call: {why}", name.value));
        return None;
    }
    Some(attribute)
}

/// Names of the fields that must not change within a session.
pub(super) fn identity(table: &Ordered<At<MappingTable>>, dictionary: &Dictionary) -> Vec<String> {
    let is_identity = |mapping: &MappingTable| {
        let attribute = dictionary.attribute(&mapping.attribute);
        attribute.and_then(|attribute| standard(&attribute)).is_some_and(|number| IDENTITY.contains(&number))
    };
    let fields = table.0.iter().filter(|(_, mapping)| is_identity(mapping));
    fields.map(|(field, _)| field.value.clone()).collect()
}

/// Number of an attribute of the standard space.
fn standard(attribute: &Handle) -> Option<u32> {
    match *attribute.oid().parts() {
        [number] => Some(number),
        _ => None,
    }
}

/// What may stand once must not come twice.
fn once(
    of: Of,
    attribute: &Handle,
    mapping: &At<MappingTable>,
    earlier: &[FieldMapping],
    dictionary: &Dictionary,
    check: &mut Check<'_>,
) {
    let Some(number) = standard(attribute) else { return };
    if OWN.iter().any(|own| u32::from(*own) == number) {
        let what = format_args!("`{attribute}` is in every record already: no field can have it");
        check.error(mapping.place, what);
        return;
    }
    if !ONCE.contains(&number) {
        return;
    }
    let is_same = |other: &FieldMapping| dictionary.attribute(&other.attribute).as_ref() == Some(attribute);
    if mapping.policy.oversize == Some(Policy::Split) || earlier.iter().any(is_same) {
        let hint = "RFC 2866 section 5.13; take an attribute that may be repeated".to_owned();
        check.error_hint(mapping.place, format_args!("a record has `{attribute}` once at most"), Some(hint));
    } else if of == Of::Leg {
        let hint = "RFC 2866 section 5.13 allows it once; a call with several legs repeats it".to_owned();
        check.warning(mapping.place, format_args!("`{attribute}` is given to a field of legs"), Some(hint));
    }
}

fn one(
    field: &str,
    attribute: &Handle,
    mapping: &At<MappingTable>,
    dictionary: &Dictionary,
    check: &mut Check<'_>,
) -> FieldMapping {
    let policy = &mapping.policy;
    let mut one = FieldMapping::new(field, attribute.name());
    one.max_octets = policy.max.map(crate::units::Count::len);
    if let Some(priority) = policy.priority {
        one.priority = Priority(u8::try_from(priority.get()).unwrap_or(u8::MAX));
    }
    one.oversize = match policy.oversize {
        None | Some(Policy::Truncate | Policy::LongExtended) => Oversize::Truncate,
        Some(Policy::Split) => Oversize::Split,
        Some(Policy::Hash) => Oversize::Hash,
        Some(Policy::Omit) => Oversize::Omit,
    };
    match (policy.oversize, &policy.long) {
        (Some(Policy::LongExtended), Some(long)) => {
            if let Some(handle) = attribute_named(long, dictionary, check) {
                if handle.value_octets_max() <= VALUE_OCTETS_MAX {
                    let hint = "one of the space of 245 or 246 (RFC 6929), such as `245.1`".to_owned();
                    check.error_hint(long.place, format_args!("`{handle}` takes no long values"), Some(hint));
                }
                one.long = Some(handle.name().to_owned());
            }
        }
        (Some(Policy::LongExtended), None) => {
            let hint = "add `long = \"ATTRIBUTE\"`, of the space of 245 or 246 (RFC 6929)".to_owned();
            check.error_hint(mapping.place, "`oversize = \"long-extended\"` needs an attribute", Some(hint));
        }
        (_, Some(long)) => {
            check.error(long.place, "`long` needs `oversize = \"long-extended\"`");
        }
        (_, None) => {}
    }
    one
}
