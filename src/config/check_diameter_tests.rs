//! Mistakes of meaning in `[sinks.diameter.NAME]` and what a good section comes to.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{Mistake, Mistakes};
use super::parse;
use super::plan::Plan;
use crate::sinks::diameter::acr::{LegOrder, Legs, Profile, Renderer, Round, Unmapped, ims};
use crate::sinks::diameter::settings::Settings;
use crate::vars::Template;

const CLIENT: &str = "identity gw.example.net\nacctserver cdf.example.net\n";

/// A folder with a diameterclient.conf and other files; it goes with the value.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(client: &str, files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        for (name, text) in [("diameterclient.conf", client)].iter().chain(files) {
            fs::write(folder.0.path().join(name), text).expect("a file is written");
        }
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("tollgate.toml")
    }

    fn read(&self, section: &str) -> Result<Plan, Mistakes> {
        let text = format!(
            "[[route]]\nto = \"sip:127.0.0.9\"\n[accounting]\non = [\"diameter\"]\n[accounting.fields]\n\
             caller = \"$fu\"\n[accounting.leg_fields]\nsrc = \"$avp(src)\"\n[sinks.diameter.cdf]\n{section}\n"
        );
        parse(&self.path(), &text, Default::default())
    }

    /// What the operator reads, the folder left out.
    fn findings(&self, section: &str) -> String {
        let mistakes = match self.read(section) {
            Ok(plan) => plan.warnings,
            Err(Mistakes(mistakes)) => mistakes,
        };
        let text = mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n");
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// A certificate of one's own and its key, good until the 10th of January of a year.
fn certificate(year: i32) -> (String, String) {
    let mut params = rcgen::CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(year, 1, 10);
    let key = rcgen::KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

#[test]
fn certificates_are_read_and_those_that_end_are_warned_of() {
    let ((old, old_key), (new, new_key)) = (certificate(2021), certificate(2100));
    let over = |file: &str| {
        format!(
            "warning: the certificate of `CN=rcgen self signed cert` expired on 2021-01-10\n  --> {file}\n\
             hint: renew it; while the service runs the log repeats this every day"
        )
    };
    for (name, ca, own, key, want) in [
        ("all is well", &new, &new, &new_key, String::new()),
        ("an old one of our own", &new, &old, &old_key, over("own.pem")),
        ("an old authority", &old, &new, &new_key, over("ca.pem")),
        (
            "the key of another",
            &new,
            &new,
            &old_key,
            "error: `own.key` cannot be used: keys may not be consistent: KeyMismatch\n  --> own.key\n  --> diameterclient.conf:6:14".to_owned(),
        ),
    ] {
        let client = format!("{CLIENT}serv-type tls\ntls-ca-file ca.pem\ntls-cert-file own.pem\ntls-key-file own.key\n");
        let folder = Folder::new(&client, &[("ca.pem", ca), ("own.pem", own), ("own.key", key)]);
        assert_eq!(folder.findings("config = \"diameterclient.conf\""), want, "{name}");
    }
    let client = format!("{CLIENT}serv-type tls\ntls-ca-file none.pem\n");
    let found = Folder::new(&client, &[]).findings("config = \"diameterclient.conf\"");
    assert!(found.starts_with("error: cannot read `none.pem`: "), "{found}");
}

#[test]
fn a_good_section_comes_to_settings() {
    let folder = Folder::new(
        &format!("{CLIENT}legs grouped\ndictionary site.xml\n"),
        &[
            (
                "site.xml",
                "<diameter><application><avp name=\"Site\" code=\"9001\"><data type=\"UTF8String\"/></avp></application></diameter>",
            ),
            ("more", "VENDOR Acme 9999\nATTRIBUTE Acme-Src 1 UTF8String Acme\n"),
        ],
    );
    let plan = folder
        .read(
            "config = \"diameterclient.conf\"\ndictionary = \"more\"\nrecords = \"cdr\"\nround = \"up\"\n\
             fields = { caller = \"Site\" }\nleg_fields = { src = \"Acme-Src\" }\nunmapped = \"omit\"\n\
             leg_order = \"newest-first\"\nrecord_id_avp = \"\"\nretry_first_ms = 50\nretry_max_s = 5\n\
             retry_config_errors_s = 60\nunable_max = 7\nbreaks_max = 4\npause_after = 9",
        )
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    assert_eq!(plan.accounting.sinks[0], crate::accounting::SinkMode::Cdr);
    let settings = plan.sinks[0].kind.of::<Settings>().expect("a Diameter sink");
    let rendering = &settings.accounting;
    assert_eq!((rendering.legs, rendering.style.leg_order), (Legs::Grouped, LegOrder::NewestFirst));
    assert_eq!(
        (rendering.style.round, rendering.style.unmapped, rendering.profile),
        (Round::Up, Unmapped::Omit, Profile::Own)
    );
    assert_eq!((rendering.fields[0].avp.as_str(), rendering.leg_fields[0].avp.as_str()), ("Site", "Acme-Src"));
    assert_eq!(rendering.record_id, "");
    let timers = settings.timers;
    assert_eq!((timers.retry_first, timers.retry_max), (Duration::from_millis(50), Duration::from_secs(5)));
    assert_eq!(timers.retry_config_errors, Duration::from_secs(60));
    assert_eq!((settings.unable_max, settings.breaks_max, settings.pause_after), (7, 4, 9));
    assert!(Renderer::new(rendering).is_ok());
}

#[test]
fn every_mistake_is_named_with_its_place() {
    for (name, client, section, want) in [
        (
            "no file",
            CLIENT,
            "records = \"cdr\"",
            "error: `sinks.diameter.cdf` lacks the field `config`\n  --> tollgate.toml:9:17\nhint: add `config = \"/etc/tollgate/diameterclient.conf\"`",
        ),
        (
            "a mistake in diameterclient.conf",
            "identity gw.example.net\nacctserver cdf.example.net\nwatchdg 30\n",
            "config = \"diameterclient.conf\"",
            "error: unknown keyword `watchdg`\n  --> diameterclient.conf:3:1\nhint: did you mean `watchdog`?",
        ),
        (
            "an unknown AVP",
            CLIENT,
            "config = \"diameterclient.conf\"\nfields = { caller = \"Caling-Station-Id\" }",
            "error: unknown AVP `Caling-Station-Id`\n  --> tollgate.toml:11:21\nhint: did you mean `Calling-Station-Id`?",
        ),
        (
            "an AVP that Tollgate writes",
            CLIENT,
            "config = \"diameterclient.conf\"\nfields = { caller = \"Session-Id\" }",
            "error: `Session-Id` cannot carry a value of a call: Tollgate writes it itself\n  --> tollgate.toml:11:21",
        ),
        (
            "an unknown field",
            CLIENT,
            "config = \"diameterclient.conf\"\nfields = { callr = \"User-Name\" }",
            "error: no field `callr` in `accounting.fields`\n  --> tollgate.toml:11:12\nhint: did you mean `caller`?",
        ),
        (
            "an unknown profile",
            CLIENT,
            "config = \"diameterclient.conf\"\nprofile = \"opensip\"",
            "error: unknown profile `opensip`\n  --> tollgate.toml:11:11\nhint: did you mean `opensips`?",
        ),
        (
            "a leg AVP that a server takes once",
            CLIENT,
            "config = \"diameterclient.conf\"\nleg_fields = { src = \"Calling-Station-Id\" }",
            "error: leg field `src`: no value can be sent in `Calling-Station-Id`: servers allow it once in a record; use `legs grouped` or a vendor's AVP\n  --> tollgate.toml:11:22\n  --> tollgate.toml:9:17",
        ),
        (
            "a label in diameterclient.conf",
            "identity gw.example.net\nacctserver cdf.example.net\nmandatory Nothing-Known\n",
            "config = \"diameterclient.conf\"",
            "error: an AVP with M: unknown AVP `Nothing-Known`\n  --> diameterclient.conf:3:11\n  --> tollgate.toml:9:17\n\
             hint: `tollgate dict --diameter` lists",
        ),
        (
            "one of several labels, on the second of two lines",
            "identity gw.example.net\nacctserver cdf.example.net\noptional Termination-Cause\noptional Class, Terminate-Cause\n",
            "config = \"diameterclient.conf\"",
            "error: an AVP without M: unknown AVP `Terminate-Cause`\n  --> diameterclient.conf:4:17\n  --> tollgate.toml:9:17\n\
             hint: did you mean `Termination-Cause`?",
        ),
        (
            "an AVP that needs M, in the list of those without",
            "identity gw.example.net\nacctserver cdf.example.net\n\noptional Event-Timestamp session-id\n",
            "config = \"diameterclient.conf\"",
            "error: `optional`: the flag M of `session-id` cannot be changed: every Accounting-Request needs it with M (RFC 6733 \
             sections 4.5 and 9.8)\n  --> diameterclient.conf:4:26\n  --> tollgate.toml:9:17",
        ),
        (
            "an AVP that is never sent",
            "mandatory Filter-Id\nidentity gw.example.net\nacctserver cdf.example.net\n",
            "config = \"diameterclient.conf\"",
            "error: `mandatory`: the flag M of `Filter-Id` cannot be changed: records of this sink have no such AVP, so that its \
             flag changes nothing\n  --> diameterclient.conf:1:11\n  --> tollgate.toml:9:17",
        ),
        (
            "the group of a leg that is none",
            "identity gw.example.net\nacctserver cdf.example.net\nlegs grouped\nleg-group User-Name\n",
            "config = \"diameterclient.conf\"",
            "error: the group of a leg: no value can be sent in `User-Name`: it is UTF8String, no group\n  --> diameterclient.conf:4:11",
        ),
        (
            "TLS without an authority",
            "identity gw.example.net\nacctserver cdf.example.net=127.0.0.1\nserv-type tls\n",
            "config = \"diameterclient.conf\"",
            "error: `serv-type tls` needs `tls-ca-file`\n  --> diameterclient.conf:3:11\n",
        ),
        (
            "an authority that is not there",
            "identity gw.example.net\nacctserver cdf.example.net=127.0.0.1\nserv-type tls\ntls-ca-file none.pem\n",
            "config = \"diameterclient.conf\"",
            "error: cannot read `none.pem`: No such file or directory (os error 2)\n  --> none.pem\n  --> diameterclient.conf:4:13",
        ),
        (
            "a dictionary that is not there",
            "identity gw.example.net\nacctserver cdf.example.net\ndictionary nowhere\n",
            "config = \"diameterclient.conf\"",
            "error: cannot read `nowhere`: No such file or directory (os error 2)\n  --> nowhere\n  --> diameterclient.conf:3:12",
        ),
        (
            "a profile that Rf does not use",
            "identity gw.example.net\nacctserver cdf.example.net\napplication rf\n",
            "config = \"diameterclient.conf\"\nprofile = \"own\"",
            "warning: `profile` has no effect with `application rf`\n  --> tollgate.toml:11:11\nhint: leave it out",
        ),
    ] {
        let folder = Folder::new(client, &[]);
        let found = folder.findings(section);
        assert!(found.starts_with(want), "{name}:\n{found}");
    }
}

#[test]
fn a_profile_brings_its_numbers() {
    for profile in ["opensips", "openser", "none", "own"] {
        let folder = Folder::new(CLIENT, &[]);
        let plan = folder
            .read(&format!("config = \"diameterclient.conf\"\nprofile = \"{profile}\""))
            .unwrap_or_else(|mistakes| panic!("{profile}: {mistakes}"));
        let settings = plan.sinks[0].kind.of::<Settings>().expect("a Diameter sink");
        Renderer::new(&settings.accounting).unwrap_or_else(|error| panic!("{profile}: {error}"));
        let want = if profile == "own" { Unmapped::Own } else { Unmapped::Omit };
        assert_eq!(settings.accounting.style.unmapped, want, "{profile}");
    }
}

/// TS 32.260 wants the parties and the charging id in the records; nobody has to map fields for that.
#[test]
fn an_rf_sink_brings_the_fields_of_an_ims_for_every_route() {
    let text = |folder: &Folder, client: &str| {
        fs::write(folder.0.path().join("diameterclient.conf"), client).expect("a file is written");
        let text = "[[route]]\nto = \"sip:127.0.0.1\"\nfields = { trunk = \"gold\" }\n[accounting]\non = [\"diameter\"]\n\
                    [accounting.fields]\ncaller = \"$fu\"\n[sinks.diameter.cdf]\nconfig = \"diameterclient.conf\"\n";
        parse(&folder.path(), text, Default::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"))
    };
    let folder = Folder::new(CLIENT, &[]);
    let base = text(&folder, CLIENT);
    assert_eq!((base.accounting.fields.len(), base.accounting.frozen_fields.len()), (1, 0));
    let rf = text(&folder, &format!("{CLIENT}application rf\n"));
    let own: Vec<_> = ims::FIELDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = |fields: &[(String, Template)]| fields.iter().skip(1).map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&rf.accounting.fields), own, "every template can be read");
    assert_eq!(rf.accounting.frozen_fields, own, "and they stay as they were at the start of the call");
    let route = rf.route[0].fields.as_ref().expect("the route has fields of its own");
    assert_eq!(names(&route.all)[1..], own);
    assert_eq!(route.own, 1);
}

/// With `application rf` a missed call makes no EVENT of its own, so that nothing is left where only that is marked.
#[test]
fn flags_that_make_no_event_are_warned_of() {
    let folder = Folder::new(CLIENT, &[]);
    let found = |client: &str, global: &str, account: &str| {
        fs::write(folder.0.path().join("diameterclient.conf"), format!("{CLIENT}{client}\n")).expect("written");
        let text = format!(
            "[[route]]\nto = \"sip:127.0.0.9\"\n{account}\n[accounting]\non = [\"cdf\"]\n{global}\n\
             [sinks.diameter.cdf]\nconfig = \"diameterclient.conf\"\n"
        );
        let plan = parse(&folder.path(), &text, Default::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let all = plan.warnings.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n");
        all.replace(&format!("{}/", folder.0.path().display()), "")
    };
    let warned = |what: &str, line: &str, hint: &str| {
        format!(
            "warning: a call that fails makes no EVENT at `cdf`: its client file leaves {what} out\n  --> tollgate.toml:{line}\nhint: {hint}"
        )
    };
    let add = "add \"failed\" to the flags: `application rf` sends one EVENT for a call that fails, not one more for who missed it; \
               or write `without none` into the client file";
    let take = "take it out of `without` there";
    for (name, client, global, account, want) in [
        ("both", "application rf", "flags = [\"missed\", \"failed\"]", "", String::new()),
        ("failed alone", "application rf", "flags = [\"failed\"]", "", String::new()),
        ("none: nobody expects any", "application rf", "flags = []", "", String::new()),
        ("missed alone", "application rf", "flags = [\"missed\"]", "", warned("`missed`", "6:10", add)),
        ("missed alone in base accounting", "", "flags = [\"missed\"]", "", String::new()),
        ("missed alone, which is sent", "application rf\nwithout none", "flags = [\"missed\"]", "", String::new()),
        (
            "failed alone, which is not",
            "without unsuccessful",
            "flags = [\"failed\"]",
            "",
            warned("`unsuccessful`", "6:10", take),
        ),
        (
            "neither of them is",
            "without missed unsuccessful",
            "flags = [\"missed\", \"failed\"]",
            "",
            warned("`missed` and `unsuccessful`", "6:10", take),
        ),
        (
            "flags of a route",
            "application rf",
            "flags = [\"failed\"]",
            "account.flags = [\"missed\"]",
            warned("`missed`", "3:18", add),
        ),
        (
            "a route that the sink is not told of",
            "application rf",
            "",
            "account = { on = [], flags = [\"missed\"] }",
            String::new(),
        ),
    ] {
        assert_eq!(found(client, global, account), want, "{name}");
    }
}
