//! `etc/lab`: the files of the containers are there and fit each other. No engine runs them here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::start::Start as _;
use crate::support::{peer, peer_file};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn lab() -> PathBuf {
    root().join("etc/lab")
}

fn read(file: &str) -> String {
    fs::read_to_string(lab().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The gateway's folder as its container has it.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, as_name) in [
        ("tollgate.toml", "tollgate.toml"),
        ("radiusclient.conf", "radiusclient.conf"),
        ("servers", "servers"),
        ("mariadb/password", "mariadb-password"),
    ] {
        let mount = format!("- ./{file}:/etc/tollgate/{as_name}:ro");
        assert!(read("compose.yaml").contains(&mount), "no container gets {mount}");
        fs::copy(lab().join(file), dir.path().join(as_name)).unwrap();
    }
    dir
}

fn tollgate(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).args(words).finish().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_file_that_a_container_gets_is_there() {
    let compose = read("compose.yaml");
    let (mut mounts, mut files) = (0, BTreeSet::new());
    for line in compose.lines().map(str::trim) {
        if let Some(mount) = line.strip_prefix("- .") {
            let place = format!(".{}", mount.split(':').next().unwrap());
            assert!(lab().join(&place).exists(), "compose.yaml mounts {place}, which is not there");
            mounts += 1;
        }
        if let Some(file) = line.strip_prefix("dockerfile: ") {
            files.insert(file.to_owned());
        }
    }
    assert!(mounts >= 10 && files.len() == 3, "{mounts} {files:?}");
    for file in files {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        let copies = text.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from="));
        for line in copies {
            let words: Vec<&str> = line.split_whitespace().skip(1).filter(|word| !word.starts_with("--")).collect();
            for source in &words[..words.len() - 1] {
                assert!(root().join(source).exists(), "{file} copies {source}, which is not there");
            }
        }
        assert!(text.lines().any(|line| line.starts_with("CMD ") || line.starts_with("ENTRYPOINT ")), "{file}");
    }
    // The build in the container finds all that the manifest names.
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    for bench in manifest["bench"].as_array().unwrap() {
        assert!(
            bench["path"].as_str().unwrap().starts_with("tests/bench/"),
            "{bench}: the Containerfile copies no other"
        );
    }
    assert!(manifest["profile"].get("quick").is_some(), "compose.yaml builds with it");
}

/// The files of `etc` that the sources in `folder` carry within them.
fn carried(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            carried(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let named = text.split("include_str!(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
            found
                .extend(named.filter_map(|name| Some(name.trim_start_matches("../").strip_prefix("etc/")?.to_owned())));
        }
    }
}

#[test]
fn the_build_has_each_file_that_the_program_carries_and_none_of_the_laboratory() {
    let text = read("Containerfile");
    let build = text.split("\nFROM ").nth(1).expect("a build");
    let mut copied = BTreeSet::new();
    for line in build.lines().filter(|line| line.starts_with("COPY ")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let sources = &words[..words.len() - 1];
        copied.extend(
            sources.iter().filter_map(|word| Some(word.strip_prefix("etc")?.trim_start_matches('/').to_owned())),
        );
    }
    let mut needed = BTreeSet::new();
    carried(&root().join("src"), &mut needed);
    assert!(needed.contains("tollgate.toml"), "{needed:?}");
    assert_eq!(copied, needed, "the build copies these of etc; the sources name those");
}

/// The gateway's part of the compose file.
fn gateway() -> String {
    let compose = read("compose.yaml");
    let rest = compose.split("\n  gateway:\n").nth(1).expect("a gateway");
    rest.split("\n\n").next().unwrap().to_owned()
}

#[test]
fn the_gateway_starts_whether_its_backends_stand_or_not() {
    assert!(!gateway().lines().any(|line| line.trim().starts_with("depends_on:")), "{}", gateway());
}

#[test]
fn the_compose_file_checks_the_gateway_as_its_image_does() {
    let text = read("Containerfile");
    let image = text.lines().find_map(|line| line.strip_prefix("HEALTHCHECK ")).expect("it has one");
    let (times, command) = image.split_once(" CMD ").expect("a command");
    let gateway = gateway();
    let test = format!("test: [\"CMD\", {}", command.trim_start_matches('['));
    assert!(gateway.contains(&test), "{gateway} has no {test}");
    for time in times.split_whitespace() {
        let option = time.trim_start_matches("--").replace('=', ": ").replace('-', "_");
        assert!(gateway.contains(&option), "{gateway} has no {option}");
    }
}

#[test]
fn the_compose_file_is_sound_yaml() {
    let Some(python) = peer("python3") else { return };
    let has_yaml = Command::new(&python).args(["-c", "import yaml"]).finish().unwrap().status.success();
    if !has_yaml {
        eprintln!("skipped: Python's yaml is not installed");
        return;
    }
    let program = "import sys, yaml\nfile = yaml.safe_load(open(sys.argv[1]))\n\
                   names = set(file['services'])\n\
                   for name, service in file['services'].items():\n\
                   \x20   assert 'image' in service or 'build' in service, name\n\
                   \x20   assert set(service.get('depends_on', [])) <= names, name\n\
                   \x20   assert set(service['networks']) <= set(file['networks']), name\n\
                   \x20   for mount in service.get('volumes', []):\n\
                   \x20       source = mount.split(':')[0]\n\
                   \x20       assert source.startswith('.') or source in file['volumes'], mount\n\
                   print(' '.join(sorted(names)))\n";
    let output = Command::new(&python).args(["-c", program]).arg(lab().join("compose.yaml")).finish().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = "busy callee caller caller-of-busy freeradius gateway grafana mariadb prometheus\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), names);
}

#[test]
fn the_addresses_fit() {
    let compose = read("compose.yaml");
    let given: BTreeSet<&str> = compose.lines().filter_map(|line| line.trim().strip_prefix("ipv4_address: ")).collect();
    assert_eq!(given.len(), 7, "{given:?}");
    for file in [
        "tollgate.toml",
        "radiusclient.conf",
        "servers",
        "prometheus.yml",
        "compose.yaml",
        "freeradius/setup",
        "freeradius/start",
    ] {
        let text = read(file);
        let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
        for address in words.filter(|word| word.starts_with("172.31.99.") && !word.ends_with(".0")) {
            assert!(given.contains(address), "{file} names {address}, which no container has");
        }
    }
}

#[test]
fn the_gateway_takes_its_configuration_and_its_tables_are_those_it_prints() {
    let folder = folder();
    let config = folder.path().join("tollgate.toml").display().to_string();
    tollgate(&["check", &config]);
    assert_eq!(
        tollgate(&["sql", "schema", "--config", &config]),
        read("mariadb/acc.sql"),
        "print mariadb/acc.sql anew"
    );
}

#[test]
fn prometheus_takes_its_configuration() {
    let promtool = root().join("target/peers/prometheus/usr/bin/promtool");
    if peer_file(&promtool).is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::copy(lab().join("prometheus.yml"), dir.path().join("prometheus.yml")).unwrap();
    fs::copy(root().join("etc/monitoring/alerts.yml"), dir.path().join("alerts.yml")).unwrap();
    let output =
        Command::new(promtool).args(["check", "config", "prometheus.yml"]).current_dir(dir.path()).finish().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn freeradius_takes_what_is_made_of_its_stock_files() {
    let stock = Path::new("/etc/freeradius/3.0");
    let Some(freeradius) = peer("freeradius") else { return };
    if peer_file(&stock.join("mods-config/sql/main/mysql/queries.conf")).is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("raddb");
    let done = Command::new("cp").arg("-r").arg(stock).arg(&conf).finish().unwrap();
    assert!(done.status.success());
    // What the Containerfile copies.
    fs::copy(root().join("dictionaries/radius/dictionary.tollgate"), conf.join("dictionary.tollgate")).unwrap();
    let own = conf.join("tollgate");
    fs::create_dir(&own).unwrap();
    for entry in fs::read_dir(root().join("etc/freeradius/mysql")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, own.join(path.file_name().unwrap())).unwrap();
    }
    fs::copy(lab().join("mariadb/password"), own.join("password")).unwrap();
    let setup = Command::new("sh").arg(lab().join("freeradius/setup")).arg(&conf).finish().unwrap();
    assert!(setup.status.success(), "{}", String::from_utf8_lossy(&setup.stderr));
    let queries = fs::read_to_string(conf.join("mods-config/sql/main/mysql/queries.conf")).unwrap();
    assert_eq!(queries.matches("tollgate/failed.conf").count(), 1, "{queries}");
    assert_eq!(queries.matches("tollgate/restart.conf").count(), 2, "{queries}");
    // It gives up the rights of root, and the copy belongs to root.
    assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(dir.path()).finish().unwrap().status.success());
    let mut check = Command::new(freeradius);
    let output = check.args(["-C", "-X", "-d"]).arg(&conf).finish().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("Configuration appears to be OK"), "{told}");
}
