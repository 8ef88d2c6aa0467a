//! Manual pages and completions: each command and each option is in them, and the tools that show them find no fault.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::peer;
use crate::support::start::Start as _;

/// The samples that are pages, each by its page.
const SAMPLES: [(&str, &[&str]); 3] = [
    ("tollgate.toml", &["etc/tollgate.toml"]),
    ("radiusclient.conf", &["etc/radiusclient.conf", "etc/servers"]),
    ("diameterclient.conf", &["etc/diameterclient.conf"]),
];

fn tollgate(words: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).args(words).finish().expect("the binary runs and ends");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// All pages, in a folder.
fn pages() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a folder");
    tollgate(&["man", &folder.path().display().to_string()]);
    let list =
        |section: &str| fs::read_dir(folder.path().join(section)).expect("made").map(|entry| entry.unwrap().path());
    let pages = list("man1").chain(list("man5")).collect();
    (folder, pages)
}

/// The commands below one, as its help lists them.
fn commands(words: &[&str]) -> Vec<String> {
    let help = tollgate(&[words, &["--help"]].concat());
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

/// A page as it is shown, without its layout.
fn shown(page: &Path) -> Option<String> {
    let mut man = Command::new(peer("man")?);
    man.args(["--warnings", "-E", "UTF-8", "-l", "-P", "cat"]).arg(page);
    let output = man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "200").env("MAN_KEEP_FORMATTING", "0");
    let output = output.env("GROFF_NO_SGR", "1").finish().expect("man runs");
    let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.len() > 200, "{} shows nothing: {text}", page.display());
    // Bold is a character, a backspace and the character again.
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            '\u{8}' => plain.truncate(plain.len() - plain.chars().last().map_or(0, char::len_utf8)),
            _ => plain.push(c),
        }
    }
    Some(plain)
}

#[test]
fn each_command_has_a_page() {
    let (folder, pages) = pages();
    let names: BTreeSet<_> =
        pages.iter().map(|page| page.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let mut want = BTreeSet::from(["tollgate.1".to_owned()]);
    want.extend(SAMPLES.iter().map(|(name, _)| format!("{name}.5")));
    let first = commands(&[]);
    assert!(first.len() > 10, "{first:?}");
    for command in &first {
        want.insert(format!("tollgate-{command}.1"));
        want.extend(commands(&[command]).iter().map(|below| format!("tollgate-{command}-{below}.1")));
    }
    assert_eq!(names, want);
    drop(folder);
}

#[test]
fn man_and_groff_find_no_fault_in_a_page() {
    let (folder, pages) = pages();
    let Some(groff) = peer("groff") else { return };
    for page in &pages {
        if shown(page).is_none() {
            return;
        }
        let output =
            Command::new(&groff).args(["-ww", "-b", "-K", "utf8", "-man", "-Tutf8", "-z"]).arg(page).finish().unwrap();
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
    }
    drop(folder);
}

#[test]
fn each_option_of_a_sample_is_on_its_page() {
    let (folder, _) = pages();
    for (name, samples) in SAMPLES {
        let page = folder.path().join("man5").join(format!("{name}.5"));
        let Some(text) = shown(&page) else { return };
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = format!(" {} ", words.join(" "));
        let mut options = 0;
        for sample in samples {
            let sample = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(sample)).unwrap();
            for line in sample.lines() {
                let bare = line.strip_prefix('#').unwrap_or(line);
                if bare.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') {
                    options += 1;
                    let line = bare.split_whitespace().collect::<Vec<_>>().join(" ");
                    assert!(text.contains(&format!(" {line} ")), "{name}.5 lacks {line}");
                }
            }
        }
        assert!(options > 2, "{name}: {options}");
        assert!(!text.contains('`'), "{name}: a back quote is left");
    }
}

#[test]
fn what_stands_where_a_folder_should_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("man").arg(&file).finish().expect("it runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.starts_with(&format!("error: cannot make {}/man1: ", file.display())), "{message}");
}

#[test]
fn bash_completes_commands_and_options() {
    let script = String::from_utf8(tollgate(&["completions", "bash"]).stdout).expect("UTF-8");
    for (line, want) in [
        ("tollgate qu", "queue"),
        ("tollgate queue ret", "retry"),
        ("tollgate queue list --st", "--state"),
        ("tollgate completions fi", "fish"),
    ] {
        let words: Vec<_> = line.split(' ').collect();
        let ask = format!(
            "{script}\nCOMP_WORDS=({line}); COMP_CWORD={}; _tollgate tollgate '{}' '{}'; echo \"${{COMPREPLY[@]}}\"",
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).finish().expect("bash runs");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            want,
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = String::from_utf8(tollgate(&["completions", shell]).stdout).expect("UTF-8");
        assert!(script.contains("tollgate") && script.contains("migrate"), "{shell}: {script}");
    }
}
