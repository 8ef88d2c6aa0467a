//! Mistakes and columns of `[sinks.file.NAME]`: a text, and what the operator reads.

use std::path::Path;

use crate::config::error::{Mistake, Mistakes};
use crate::config::parse;
use crate::config::plan::Plan;
use crate::sinks::file::Settings;

const BASE: &str = "[[route]]\nto = \"sip:127.0.0.2\"\n[accounting]\non = [\"file\"]\nfields = { caller = \"$fU\", kind = \"$rm\" }\n\
                    leg_fields = { src = \"$leg(src)\" }\n[sinks.file.cdr]\n";

fn load(lines: &str) -> Result<Plan, Mistakes> {
    parse(Path::new("t.toml"), &format!("{BASE}{lines}\n"), Default::default())
}

fn findings(lines: &str) -> String {
    let mistakes = load(lines).map_or_else(|Mistakes(mistakes)| mistakes, |plan| plan.warnings);
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn mistakes_are_named() {
    for (lines, want) in [
        ("path = \"/tmp/calls.csv\"", ""),
        (
            "format = \"json\"",
            "error: `sinks.file.cdr` lacks the field `path`, the name of a file\n  --> t.toml:7:13\n\
             hint: add `path = \"/var/spool/tollgate/calls.csv\"`",
        ),
        (
            "path = \"/\"",
            "error: `sinks.file.cdr` lacks the field `path`, the name of a file\n  --> t.toml:7:13\n\
             hint: add `path = \"/var/spool/tollgate/calls.csv\"`",
        ),
        (
            "path = \"/nowhere/at/all/calls.csv\"",
            "warning: there is no folder `/nowhere/at/all`: records wait\n  --> t.toml:8:8\n\
             hint: `install -d -o tollgate -g billing -m 2750 /nowhere/at/all`, billing being who fetches them",
        ),
        (
            "path = \"/tmp/c\"\nformat = \"cvs\"",
            "error: unknown value `cvs` for `sinks.file.cdr.format`\n  --> t.toml:9:10\nhint: did you mean `csv`?",
        ),
        (
            "path = \"/tmp/c\"\nmode = \"0644\"",
            "warning: everybody may read the files: they say who called whom\n  --> t.toml:9:8\n\
             hint: \"0640\", and the group of those who fetch the files on the folder",
        ),
        (
            "path = \"/tmp/c\"\nmode = \"0440\"",
            "error: `0440` are no permissions of such a file\n  --> t.toml:9:8\n\
             hint: three or four octal digits, such as \"0640\"; the owner reads and writes",
        ),
        (
            "path = \"/tmp/c\"\ncolumns = { id = \"record_id\", from = \"callr\" }",
            "error: there is no value `callr` for the column `from`\n  --> t.toml:9:38\nhint: did you mean `caller`?",
        ),
        (
            "path = \"/tmp/c\"\ncolumns = { from = \"caller\" }",
            "warning: `sinks.file.cdr` has no column for the record id\n  --> t.toml:7:13\n\
             hint: add `record_id = \"record_id\"`: what comes again after a crash has the same one",
        ),
        (
            "path = \"/tmp/c\"\nrotate_mib = 0",
            "error: `sinks.file.cdr.rotate_mib`: 0 is outside 1 to 1048576 MiB\n  --> t.toml:9:14",
        ),
    ] {
        assert_eq!(findings(lines), want, "{lines}");
    }
}

fn header(lines: &str) -> String {
    let plan = load(lines).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let settings = plan.sinks[0].kind.of::<Settings>().expect("a file sink");
    String::from_utf8(settings.layout.header()).expect("names are UTF-8")
}

#[test]
fn without_columns_there_is_one_for_every_value() {
    assert_eq!(
        header("path = \"/tmp/c\""),
        "record_id,kind,method,call_id,from_tag,to_tag,reason,cseq,code,in_dialog,session,multi_session,number,event,\
         created,answered,acknowledged,ended,setup_s,duration_s,ended_by,cause,ended_from,reasons,q850,\
         sip_cause,pdd_s,ring_s,dialled,called,sent,target,target_address,attempt_count,attempts,redirecting,\
         forward_reason,forwarded_by,billed,session_id,icid,rtp_stat,rtp_sent,rtp_received,rtp_lost,rtp_jitter_ms,\
         rtp_latency_ms,claimed_attest,claimed_origid,claimed_orig,claimed_dest,claimed_iat,claimed_div,claimed_name,\
         claimed_verstat,verified_attest,verified_orig,identity_verdict,mirror,table,shortened,caller,field.kind,leg.src,escaped\r\n"
    );
    let own =
        "path = \"/tmp/c\"\ncolumns = { b = \"record_id\", a = \"field.kind\", \"c d\" = \"leg\", e = \"escaped\" }";
    assert_eq!(header(own), "b,a,c d,e\r\n", "in the order of the table");
}

#[test]
fn a_profile_has_the_columns_of_its_system_in_one_order_for_all_records() {
    const CLASSIC: &str = "method,from_tag,to_tag,callid,sip_code,sip_reason,time";
    const OWN: &str = "caller,kind,leg.src,record_id";
    for (lines, want) in [
        ("profile = \"kamailio\"", format!("{CLASSIC},{OWN}\r\n")),
        ("profile = \"kamailio\"\nrecords = \"cdr\"", format!("{CLASSIC},start_time,end_time,duration,{OWN}\r\n")),
        ("profile = \"opensips\"", format!("{CLASSIC},setuptime,created,duration,ms_duration,{OWN}\r\n")),
        (
            "profile = \"ser\"",
            format!(
                "from_uri,to_uri,sip_method,i_uri,o_uri,sip_from,sip_callid,sip_to,sip_status,totag,fromtag,username,domain,\
                 time,{OWN}\r\n"
            ),
        ),
    ] {
        assert_eq!(header(&format!("path = \"/tmp/c\"\n{lines}")), want, "{lines}");
    }
    assert!(findings("path = \"/tmp/c\"\nprofile = \"ser\"\ncolumns = { a = \"record_id\" }").starts_with(
        "error: `profile` has columns of its own, and there are `columns`\n  --> t.toml:9:11\nhint: leave out"
    ),);
    assert!(findings("path = \"/tmp/c\"\nprofile = \"sr\"").contains("hint: did you mean `ser`?"));
}
