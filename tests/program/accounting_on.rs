//! What the gateway tells of itself: Accounting-On when calls in progress were lost, Accounting-Off when it ends for good,
//! neither at an ordinary stop and start.

use std::fs;

use crate::support::{FreeRadius, Gateway, free_ports, sipp, value, wait_for};

fn statuses(server: &FreeRadius) -> Vec<String> {
    let records = server.records();
    records.iter().filter_map(|record| value(record, "Acct-Status-Type").map(str::to_owned)).collect()
}

#[test]
fn accounting_on_is_sent_when_calls_were_lost_and_accounting_off_at_the_end_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let Some(radius) = FreeRadius::start(dir.path(), &[]) else { return };
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = Gateway::start(dir.path(), &[format!("sip:127.0.0.1:{callee}")], radius.port, "");
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "3", "-r", "3", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    radius.wait_records(6);

    // An ordinary start: the calls are known, nothing is told.
    gateway.start_again();
    gateway.process.kill();

    // The newest spool is rubbish: what it knew of calls is lost.
    let queue = gateway.dir.join("queue");
    let spools = fs::read_dir(&queue).unwrap().flatten().map(|entry| entry.path());
    let newest =
        spools.filter(|path| path.file_name().unwrap().to_string_lossy().parse::<u32>().is_ok()).max().unwrap();
    for entry in fs::read_dir(newest).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        fs::write(entry.path(), vec![0x55; 4096]).unwrap();
    }
    gateway.start_again();
    wait_for("Accounting-On", || statuses(&radius).contains(&"Accounting-On".to_owned()).then_some(()));
    let on = radius.records().pop().unwrap();
    assert_eq!(value(&on, "NAS-IP-Address"), Some("127.0.0.1"));
    assert_eq!(statuses(&radius).iter().filter(|status| *status == "Accounting-On").count(), 1);

    gateway.process.signal(libc::SIGUSR1);
    assert!(gateway.process.wait("the gateway").success(), "{}", gateway.process.printed());
    let all = statuses(&radius);
    assert_eq!(all.last().map(String::as_str), Some("Accounting-Off"), "{all:?}");
    assert_eq!(all.len(), 8, "nothing else is told: {all:?}");
}
