//! The configurations of `etc/examples`: each plays its call, and the lines and rows are those that the original wrote.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::compare::Play;
use super::ends::Stage;
use super::seen::Receivers;
use super::setup::{By, Systems};
use super::store::Servers;
use super::{Exchange, delivered, flows, folder, read, text};
use crate::support::Gateway;

#[test]
fn the_examples_write_what_the_originals_wrote() {
    let systems = Systems::read(&read(&folder().join("systems.toml"))).without_events();
    let exchanges: BTreeMap<String, Exchange> = toml::from_str(&read(&folder().join("plays.toml"))).unwrap();
    let servers = Servers::start();
    for (file, flow, system) in [
        ("openser-calls-and-missed-calls", "07-", "opensips-1.4"),
        ("openser-failed-call", "08-", "opensips-1.4"),
        ("opensips-do-accounting", "28-", "opensips-2.2"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path =
            flows().into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(flow)).unwrap();
        let exchange = &exchanges[&*path.file_name().unwrap().to_string_lossy()];
        let plan = systems.plan(system, &read(&path.join("flow.md")), exchange, By::Routes).unwrap();
        let mut receivers = Receivers::start(&plan, dir.path(), &servers, None);
        let mut stage = Stage::set(&flow[..2], exchange.headers.clone());
        let places = receivers.places();
        // What is of the place it runs at; all else is as it is shipped.
        let host = stage.host();
        let text = read(&folder().join(format!("../../etc/examples/{file}.toml")));
        let text = text.replace("192.0.2.11", &format!("{host}:24201")).replace("192.0.2.12", &format!("{host}:24202"));
        let text = text.replace("127.0.0.1:5060", &format!("{host}:24060"));
        let mut whole: Table = text.parse().unwrap();
        for (section, option, value) in [
            (&["sinks", "syslog", "calls"][..], "to", places.syslog.display().to_string()),
            (&["sinks", "sql", "rows"], "url", places.sql.to_owned()),
            (&["queue"], "path", dir.path().join("queue").display().to_string()),
            (&["admin"], "socket", dir.path().join("admin.sock").display().to_string()),
        ] {
            let mut table = &mut whole;
            for name in section {
                table = table.entry(*name).or_insert_with(|| Table::new().into()).as_table_mut().unwrap();
            }
            table.insert(option.to_owned(), Value::String(value));
        }
        whole["queue"].as_table_mut().unwrap().insert("free_min_mib".to_owned(), Value::Integer(0));
        let start = tollgate::clock::wall().secs();
        let gateway = Gateway::start_on(dir.path(), 24_060, &whole.to_string(), 9);
        stage.play(&exchange.exchange).unwrap_or_else(|error| panic!("{file}: {error}\n{}", gateway.log()));
        delivered(&gateway, file);
        let seconds = start - 1..=tollgate::clock::wall().secs() + 1;
        let play = Play { host, seconds, proxy_tags: stage.proxy_tags };
        let golden = text::golden(&read(&path.join(format!("{system}.txt"))));
        let items = play.normal(receivers.items());
        for part in ["syslog", "sql"] {
            assert!(
                items.iter().any(|item| item.part.starts_with(part)),
                "{file} writes nothing to {part}: {items:?} {}",
                gateway.log()
            );
        }
        // A response of the gateway's own has a To tag, which the originals leave out.
        let is_better = |text: &str| text.ends_with("to_tag: empty, here <proxy-tag>");
        let is_ours = |text: &&String| (text.starts_with("syslog") || text.starts_with("sql")) && !is_better(text);
        let found = play.differences(&golden, &items, |_| true);
        assert_eq!(found.iter().filter(is_ours).collect::<Vec<_>>(), Vec::<&String>::new(), "{file}");
    }
}
