//! Mistakes of `[sinks.nats.NAME]`: a text, and what the operator reads.

use std::fs;
use std::path::Path;

use crate::config::error::{Mistake, Mistakes};
use crate::config::parse;
use crate::sinks::event::{Envelope, Legs};
use crate::sinks::jetstream::Login;
use crate::sinks::nats::Settings;

const BASE: &str = "[[route]]\nto = \"sip:127.0.0.2\"\n[accounting]\non = [\"nats\"]\nfields = { caller = \"$fU\", ua = \"$ua\" }\n\
                    leg_fields = { src = \"$leg(src)\" }\n[sinks.nats.acc]\n";
const GOOD: &str = "servers = [\"nats://127.0.0.1:4222\"]\nstream = \"ACC\"\n";

fn findings(dir: &Path, lines: &str) -> String {
    let parsed = parse(&dir.join("t.toml"), &format!("{BASE}{lines}\n"), Default::default());
    let mistakes = parsed.map_or_else(|Mistakes(mistakes)| mistakes, |plan| plan.warnings);
    let text = mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n");
    text.replace(&format!("{}/", dir.display()), "")
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in [("password", "secret\n"), ("empty", ""), ("creds", "no credentials\n")] {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(dir.path().join(name), text).expect("written");
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o640)).expect("its permissions");
    }
    let scheme = "hint: \"nats://HOST:4222\", or \"tls://HOST:4222\" for one that must have TLS";
    for (lines, want) in [
        (GOOD.to_owned(), String::new()),
        (
            "stream = \"ACC\"".into(),
            "error: `sinks.nats.acc` lacks the field `servers`\n  --> t.toml:7:13\n\
             hint: add `servers = [\"nats://HOST:4222\"]`"
                .into(),
        ),
        (
            "servers = [\"nats://127.0.0.1\"]".into(),
            "error: `sinks.nats.acc` lacks the field `stream`\n  --> t.toml:7:13\n\
             hint: add `stream = \"ACC\"`, the name of the stream that has the subjects"
                .into(),
        ),
        (
            "servers = [\"http://127.0.0.1\"]\nstream = \"ACC\"".into(),
            format!("error: `http://127.0.0.1` is no NATS server\n  --> t.toml:8:12\n{scheme}"),
        ),
        (
            "servers = [\"nats://me:secret@127.0.0.1\"]\nstream = \"ACC\"".into(),
            "error: a password may stand in this URL\n  --> t.toml:8:12\n\
             hint: write it into a file, and name that by `password_file` or `token_file`"
                .into(),
        ),
        (
            GOOD.replace("ACC", "A.B"),
            "error: `A.B` is no name of a stream\n  --> t.toml:9:10\n\
             hint: printable ASCII without blanks, dots, slashes, * and >"
                .into(),
        ),
        (
            format!("{GOOD}subject = \"acc.{{knd}}\""),
            "error: `acc.{knd}`: there is no value `knd`\n  --> t.toml:10:11\nhint: did you mean `kind`?".into(),
        ),
        (
            format!("{GOOD}subject = \"acc.*\""),
            "error: `acc.*` has '*', which no such name may have\n  --> t.toml:10:11".into(),
        ),
        (
            format!("{GOOD}subject = \"acc..{{kind}}\""),
            "error: a subject has no empty part: no dot at an end, no two beside each other\n  --> t.toml:10:11".into(),
        ),
        (format!("{GOOD}user = \"gw\""), "error: `user` needs a `password_file`\n  --> t.toml:10:8".into()),
        (
            format!("{GOOD}user = \"gw\"\npassword_file = \"empty\""),
            "error: empty has no first line, which is the password\n  --> t.toml:11:17".into(),
        ),
        (
            format!("{GOOD}token_file = \"password\"\nnkey_file = \"password\""),
            "error: a server knows a client in one way\n  --> t.toml:11:13\n\
             hint: of `password_file`, `token_file`, `nkey_file` and `credentials_file` one is enough"
                .into(),
        ),
        (
            format!("{GOOD}credentials_file = \"creds\""),
            "error: creds has no JWT with the seed of an nkey\n  --> t.toml:10:20".into(),
        ),
        (
            format!("{GOOD}profile = \"opensps\""),
            "error: unknown profile `opensps`\n  --> t.toml:10:11\nhint: did you mean `opensips`?".into(),
        ),
        (
            format!("{GOOD}fields = {{ callr = \"from\" }}"),
            "error: no field `callr` in `accounting.fields`\n  --> t.toml:10:12\nhint: did you mean `caller`?".into(),
        ),
        (
            format!("{GOOD}source = \"a b\""),
            "error: `a b` cannot be the source of events\n  --> t.toml:10:10\n\
             hint: a URI or the path of one, such as \"/tollgate/gw1\""
                .into(),
        ),
        (
            format!("{GOOD}ca = \"/nowhere.pem\""),
            "error: cannot read `/nowhere.pem`: No such file or directory (os error 2)\n  --> t.toml:10:6".into(),
        ),
    ] {
        assert_eq!(findings(dir.path(), &lines), want, "{lines}");
    }
}

#[test]
fn what_is_left_out_is_that_of_the_profile() {
    let settings = |lines: &str| {
        let text = format!("{BASE}{GOOD}{lines}\n");
        let plan = parse(Path::new("t.toml"), &text, Default::default()).unwrap_or_else(|error| panic!("{error}"));
        plan.sinks[0].kind.of::<Settings>().expect("a NATS sink").clone()
    };
    let own = settings("");
    assert_eq!((own.body.envelope, own.body.legs, own.access.login), (Envelope::CloudEvents, Legs::Array, Login::None));
    assert_eq!(own.body.fields.len(), 2, "each under its own name");
    assert_eq!((own.delivery.batch_max, own.subject.with_values("*").as_str()), (256, "tollgate.*"));
    let proxy =
        settings("profile = \"opensips\"\nenvelope = \"jsonrpc\"\nunmapped = \"omit\"\nfields = { ua = \"agent\" }");
    assert_eq!((proxy.body.envelope, proxy.body.legs), (Envelope::JsonRpc, Legs::Events));
    assert_eq!(proxy.body.fields, [("ua".to_owned(), "agent".to_owned())]);
}
