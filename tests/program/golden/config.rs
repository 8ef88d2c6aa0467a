//! The configuration of a gateway that stands for several systems.

use std::path::Path;

use toml::{Table, Value};

use super::flow::Backend;
use super::setup::{EXTRA, GOLDEN_HOST, HOST, Places, Plan, section, text, texts};

/// The name of a field: where a script sets it, the one that it has there.
fn field_name(place: usize, template: &str) -> String {
    let own = template.strip_prefix(EXTRA).map(|name| name.trim_end_matches(')').to_owned());
    own.unwrap_or_else(|| format!("f{place}"))
}

/// What stands for a table in a configuration until it is a text: a table here sorts its keys, and the order of fields counts.
fn in_order<'t>(
    inline: &mut Vec<(String, String)>,
    mark: &str,
    pairs: impl Iterator<Item = (String, &'t str)>,
) -> Value {
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name} = {}", text(value))).collect();
    inline.push((text(mark).to_string(), format!("{{ {} }}", pairs.join(", "))));
    text(mark)
}

/// The whole configuration of a gateway in `dir` at `host`, for systems with the same behaviour.
pub fn configuration<'p>(plans: &[Plan], places: impl Fn(&Plan) -> Places<'p>, dir: &Path, host: &str) -> String {
    let mut templates: Vec<&str> = Vec::new();
    let mut accounting = plans[0].behaviour.accounting.clone();
    let mut sinks = Table::new();
    let mut leg_fields: Vec<(String, String)> = Vec::new();
    let mut inline = Vec::new();
    for plan in plans {
        let places = places(plan);
        for sink in &plan.sinks {
            let mut options = sink.options.clone();
            let receiver = match sink.backend {
                Backend::Log => ("to", places.syslog.display().to_string()),
                Backend::Db => ("url", places.sql.to_owned()),
                Backend::Aaa => ("config", places.radius.display().to_string()),
                Backend::Evi => {
                    let (url, stream) = places.events.clone().expect("there is NATS");
                    options.insert("servers".to_owned(), texts([url]));
                    options.insert("subject".to_owned(), text(format!("{stream}.event")));
                    ("stream", stream)
                }
            };
            options.insert(receiver.0.to_owned(), text(receiver.1));
            if sink.backend == Backend::Aaa {
                let file = dir.join(format!("dictionary.{}", sink.name));
                options.insert("dictionary".to_owned(), text(file.display().to_string()));
            } else if matches!(sink.backend, Backend::Log | Backend::Evi) {
                options.insert("unmapped".to_owned(), text("omit"));
            }
            let mut fields = Vec::new();
            // Fields stand in a record, and so at every sink, in the order of the configuration.
            let mut least = 0;
            for (template, label) in &sink.fields {
                let place = templates[least..].iter().position(|own| own == template).map(|place| least + place);
                let place = place.unwrap_or(templates.len());
                if place == templates.len() {
                    templates.push(template);
                }
                fields.push((field_name(place, template), label));
                least = place + 1;
            }
            let mut legs = Vec::new();
            for (name, label) in &sink.legs {
                if !leg_fields.iter().any(|(own, _)| own == name) {
                    leg_fields.push((name.clone(), format!("$avp({name})")));
                }
                legs.push((name.clone(), label));
            }
            for (option, pairs) in [("fields", fields), ("leg_fields", legs)] {
                let pairs = pairs.into_iter().map(|(name, label)| (name, label.as_str()));
                options.insert(option.to_owned(), in_order(&mut inline, &format!("{option} of {}", sink.name), pairs));
            }
            let kind = sinks.entry(section(sink.backend)).or_insert_with(|| Table::new().into());
            kind.as_table_mut().expect("it is one").insert(sink.name.clone(), options.into());
        }
    }
    let fields = templates.iter().enumerate().map(|(place, template)| (field_name(place, template), *template));
    accounting.insert("fields".to_owned(), in_order(&mut inline, "fields", fields));
    let leg_fields = leg_fields.iter().map(|(name, template)| (name.clone(), template.as_str()));
    accounting.insert("leg_fields".to_owned(), in_order(&mut inline, "leg_fields", leg_fields));
    let routes = plans[0].behaviour.routes.iter().enumerate().map(|(place, route)| {
        let mut route = route.clone();
        let [on, missed, failed] =
            [0, 1, 2].map(|mark| texts(plans.iter().flat_map(|plan| plan.marks[place][mark].clone())));
        let flags = Table::from_iter([("missed".to_owned(), missed), ("failed".to_owned(), failed)]);
        let account = Table::from_iter([("on".to_owned(), on), ("flags".to_owned(), flags.into())]);
        route.insert("account".to_owned(), account.into());
        Value::from(route)
    });
    let listen = format!("udp:{host}:24060");
    let sip = [("listen".to_owned(), texts([listen])), ("allow".to_owned(), texts(["127.0.0.0/8"]))];
    let mut sip = Table::from_iter(sip);
    let mut script = Table::new();
    if let Some(own) = &plans[0].behaviour.script {
        let file = dir.join("route.lua");
        let lua = own.lua.replace(&format!("@{GOLDEN_HOST}:"), &format!("@{host}:"));
        std::fs::write(&file, lua).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        script.insert("file".to_owned(), text(file.display().to_string()));
        accounting.insert("flags".to_owned(), own.flags.clone().into());
        sip.extend(own.ring_timeout_s.map(|seconds| ("ring_timeout_s".to_owned(), Value::Integer(seconds))));
    }
    let queue = [
        ("path".to_owned(), text(dir.join("queue").display().to_string())),
        ("free_min_mib".to_owned(), Value::Integer(0)),
    ];
    let admin = [("socket".to_owned(), text(dir.join("admin.sock").display().to_string()))];
    let whole = Table::from_iter([
        ("sip".to_owned(), sip.into()),
        ("script".to_owned(), script.into()),
        ("route".to_owned(), Value::Array(routes.collect())),
        ("accounting".to_owned(), accounting.into()),
        ("queue".to_owned(), Table::from_iter(queue).into()),
        ("admin".to_owned(), Table::from_iter(admin).into()),
        ("sinks".to_owned(), sinks.into()),
    ]);
    let whole = inline.into_iter().fold(whole.to_string(), |whole, (mark, table)| whole.replace(&mark, &table));
    whole.replace(&format!("@{HOST}:"), &format!("@{host}:"))
}
