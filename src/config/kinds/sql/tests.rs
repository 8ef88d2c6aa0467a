//! Mistakes in `[sinks.sql.NAME]`: each row is what stands there and what the operator reads.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::check_tests::{BASE, findings};
use crate::config::parse;
use crate::sinks::sql::Settings;

/// What a good configuration has; the rows add to it.
fn with(lines: &str) -> String {
    format!(
        "{BASE}[accounting]\non = [\"sql\"]\nfields = {{ caller = \"$fU\" }}\nleg_fields = {{ src = \"$fU\" }}\n\
         [sinks.sql.acc]\n{lines}\n"
    )
}

#[test]
fn what_cannot_be_used_is_told() {
    for (lines, want) in [
        (
            "",
            "error: `sinks.sql.acc` lacks the field `url`\n  --> t.toml:7:12\nhint: add `url = \"mysql://USER@HOST/DATABASE\"`",
        ),
        (
            "url = \"oracle://h/d\"",
            "error: `url` is of no database that is known\n  --> t.toml:8:7\nhint: it begins with `mysql:`, `postgres:`, `sqlite:`",
        ),
        (
            "url = \"mysql://u:hidden@h/d\"",
            "error: a password stands in `url`\n  --> t.toml:8:7\nhint: write it into a file",
        ),
        ("url = \"postgres://h/d?user=u&password=hidden\"", "error: a password stands in `url`\n  --> t.toml:8:7"),
        ("url = \"mysql://h/d?ssl-mode=often\"", "error: `url`: unknown value \"often\""),
        ("url = \"sqlite:\"", "error: `url` names no file\n  --> t.toml:8:7\nhint: such as `sqlite:/var/lib"),
        ("url = \"sqlite::memory:\"", "error: `url` names no file"),
        (
            "url = \"sqlite:a\"\nprofile = \"opensip\"",
            "error: unknown profile `opensip`\n  --> t.toml:9:11\nhint: did you mean `opensips`?",
        ),
        (
            "url = \"sqlite:a\"\ncolumns = { caller_id = \"a\" }",
            "error: the profile `own` has no column `caller_id`\n  --> t.toml:9:13\nhint: did you mean `callid`?",
        ),
        (
            "url = \"sqlite:a\"\nfields = { calle = \"a\" }",
            "error: no field `calle` in `accounting.fields`\n  --> t.toml:9:12\nhint: did you mean `caller`?",
        ),
        (
            "url = \"sqlite:a\"\nleg_fields = { caller = \"a\" }",
            "error: no field `caller` in `accounting.leg_fields`\n  --> t.toml:9:16",
        ),
        (
            "url = \"sqlite:a\"\nfields = { caller = \"\" }",
            "error: `caller` has a column without a name\n  --> t.toml:9:21",
        ),
        (
            "url = \"sqlite:a\"\nfields = { caller = \"CallID\" }",
            "error: two values would go into the column `CallID`\n  --> t.toml:7:12\nhint: rename one of them by `columns`",
        ),
        (
            "url = \"mysql://h/d\"\nrecord_id_type = \"uuid\"",
            "error: no `record_id_type` of the database that `url` names\n  --> t.toml:9:18\nhint: \"binary\" is as short: the uuid of \
             MariaDB refuses a quarter",
        ),
        (
            "url = \"postgres://h/d\"\nrecord_id_type = \"binary\"",
            "error: no `record_id_type` of the database that `url` names\n  --> t.toml:9:18\nhint: \"uuid\" is as short",
        ),
        (
            "url = \"sqlite:a\"\nrecord_id_type = \"binary\"",
            "error: no `record_id_type` of the database that `url` names\n  --> t.toml:9:18\nhint: SQLite has \"text\" alone",
        ),
        (
            "url = \"mysql://h/d\"\nrecord_id_type = \"binary\"\nguard = \"side-table\"",
            "warning: `record_id_type` has no effect without `guard = \"column\"`: a side table has texts\n  --> t.toml:9:18",
        ),
        (
            "url = \"sqlite:a\"\nunmapped = \"own\"\ncolumns = { method = \"Caller\" }",
            "error: two values would go into the column `caller`\n  --> t.toml:7:12\nhint: rename one of them by `columns`",
        ),
        (
            "url = \"sqlite:a\"\nrecord_id_column = \"\"",
            "error: the guard needs this column: it has no name\n  --> t.toml:9:20",
        ),
        (
            "url = \"sqlite:a\"\ntable = \"a.b.c\"",
            "error: `a.b.c` is no name of a table\n  --> t.toml:9:9\nhint: write `TABLE`",
        ),
        (
            "url = \"sqlite:a\"\ntime_zone = \"Mars\"",
            "error: unknown time zone `Mars`\n  --> t.toml:9:13\nhint: a name such as",
        ),
        (
            "url = \"sqlite:a\"\ntime_zone = \"Europe/Berlin\"",
            "warning: the clocks of `Europe/Berlin` are set back each year: one hour's times mean two instants\n  --> t.toml:9:13",
        ),
        (
            "url = \"sqlite:a\"\nguard = \"none\"",
            "warning: `guard = \"none\"`: delivery is at least once, and a record may have two rows\n  --> t.toml:7:12\nhint: ",
        ),
        (
            "url = \"mysql://h/d\"\npassword_file = \"nowhere\"",
            "error: cannot read the file: No such file or directory (os error 2)\n  --> t.toml:9:17",
        ),
        (
            "url = \"sqlite:a\"\npassword_file = \"a\"",
            "warning: `password_file` has no effect with SQLite\n  --> t.toml:9:17",
        ),
        ("url = \"sqlite:a\"\nbatch_max = 501", "error: `sinks.sql.acc.batch_max`: 501 is outside 1 to 500"),
    ] {
        let told = findings(&with(lines));
        assert!(told.starts_with(want), "{lines}\n{told}");
        assert!(!told.contains("hidden"), "{told}");
    }
    for good in [
        "url = \"sqlite:a\"\ntime_zone = \"Asia/Tokyo\"",
        "url = \"mariadb://u@h/d?socket=/run/s\"\nprofile = \"kamailio\"",
    ] {
        assert_eq!(findings(&with(good)), "", "{good}");
    }
}

#[test]
fn a_password_comes_from_a_file_and_is_shown_nowhere() {
    let dir = tempfile::tempdir().expect("a folder can be made");
    let (file, empty) = (dir.path().join("password"), dir.path().join("empty"));
    fs::write(&file, "hidden\nrest\n").expect("it is written");
    fs::write(&empty, "\n").expect("it is written");
    let text = with(&format!("url = \"postgres://u@h/d\"\npassword_file = \"{}\"", file.display()));
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("the file is ours");
    mode(0o644);
    let told = findings(&text);
    assert!(told.starts_with("warning: others may read "), "{told}");
    mode(0o640);
    assert_eq!(findings(&text), "");
    let plan = parse(Path::new("t.toml"), &text, Default::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let settings = plan.sinks[0].kind.of::<Settings>().expect("an SQL sink");
    assert!(settings.password.is_some());
    assert!(!format!("{plan:?}").contains("hidden"));
    let told = findings(&with(&format!("url = \"mysql://h/d\"\npassword_file = \"{}\"", empty.display())));
    assert!(told.contains("has no first line, which is the password"), "{told}");
}

#[test]
fn a_file_of_sqlite_lies_beside_the_configuration() {
    let text = with("url = \"sqlite://acc.db\"\ntable = \"calls\"");
    let plan =
        parse(Path::new("/srv/t.toml"), &text, Default::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let settings = plan.sinks[0].kind.of::<Settings>().expect("an SQL sink");
    assert_eq!(settings.url, "sqlite:/srv/acc.db");
    assert_eq!((settings.tables.acc.as_str(), settings.tables.cdr.as_str()), ("calls", "calls"));
}
