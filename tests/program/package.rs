//! The Debian package: what `Cargo.toml` lists is there, and installing, upgrading, removing and purging do what they
//! should. cargo-deb makes the real one; here dpkg-deb makes one of the same files and scripts, and dpkg installs it below
//! a folder.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

use crate::support::peer;
use crate::support::start::Start as _;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `[package.metadata.deb]`
fn metadata() -> Table {
    let manifest: Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    manifest["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

/// A file of the package: where it comes from, where it goes, its permissions.
struct Asset {
    source: PathBuf,
    place: String,
    mode: u32,
}

/// What the build script makes first, in `made`.
fn make(made: &Path) {
    let tollgate = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).args(words).finish().unwrap();
        assert!(output.status.success(), "{words:?}");
        output.stdout
    };
    tollgate(&["man", &made.join("man").display().to_string()]);
    fs::create_dir_all(made.join("completions")).unwrap();
    for shell in ["bash", "zsh", "fish"] {
        fs::write(made.join("completions").join(shell), tollgate(&["completions", shell])).unwrap();
    }
    fs::write(made.join("crates.txt"), "tokio v1  MIT\n").unwrap();
    let build = fs::read_to_string(root().join("etc/debian/build")).unwrap();
    for kind in ["sysusers", "tmpfiles"] {
        let copy = format!("install -D -m 644 systemd/{kind}.conf \"$made/{kind}.d/tollgate.conf\"\n");
        assert!(build.contains(&copy), "{copy}");
        fs::create_dir_all(made.join(format!("{kind}.d"))).unwrap();
        fs::copy(root().join(format!("systemd/{kind}.conf")), made.join(format!("{kind}.d/tollgate.conf"))).unwrap();
    }
}

/// The files below a folder, or in it alone.
fn below(folder: &Path, is_deep: bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true if is_deep => files.extend(below(&path, true)),
            true => {}
            false => files.push(path),
        }
    }
    files
}

/// The list of files, its patterns resolved as cargo-deb does it: what stands behind the first `*` keeps its folders.
fn assets(made: &Path) -> Vec<Asset> {
    let mut found = Vec::new();
    for row in metadata()["assets"].as_array().unwrap() {
        let [source, place, mode] = [0, 1, 2].map(|at| row[at].as_str().unwrap());
        let mode = u32::from_str_radix(mode, 8).unwrap();
        let path = match (source.strip_prefix("target/package/"), source) {
            (Some(rest), _) => made.join(rest),
            (None, "target/release/tollgate") => PathBuf::from(env!("CARGO_BIN_EXE_tollgate")),
            (None, other) => root().join(other),
        };
        let text = path.display().to_string();
        let Some((folder, pattern)) = text.split_once('*') else {
            assert!(path.is_file(), "{source} is not there");
            let name = if place.ends_with('/') { path.file_name().unwrap().to_string_lossy() } else { "".into() };
            found.push(Asset { place: format!("{place}{name}"), source: path.clone(), mode });
            continue;
        };
        let (is_deep, end) = (pattern.starts_with("*/"), pattern.rsplit('*').next().unwrap());
        let files: Vec<_> =
            below(Path::new(folder), is_deep).into_iter().filter(|f| f.to_string_lossy().ends_with(end)).collect();
        assert!(!files.is_empty(), "{source} is nothing");
        for file in files {
            let name = file.strip_prefix(folder).unwrap().display().to_string();
            found.push(Asset { place: format!("{place}{name}"), source: file, mode });
        }
    }
    found
}

#[test]
fn the_package_has_what_the_manual_says() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let assets = assets(made.path());
    let has = |place: &str| assets.iter().find(|asset| asset.place == place);
    for (place, mode) in [
        ("usr/bin/tollgate", 0o755),
        ("etc/tollgate/tollgate.toml", 0o640),
        ("etc/tollgate/radiusclient.conf", 0o640),
        ("etc/tollgate/diameterclient.conf", 0o640),
        ("etc/tollgate/servers", 0o640),
        ("usr/lib/sysusers.d/tollgate.conf", 0o644),
        ("usr/lib/tmpfiles.d/tollgate.conf", 0o644),
        ("usr/lib/systemd/system/tollgate-deliver.service", 0o644),
        ("usr/share/man/man1/tollgate-queue-list.1", 0o644),
        ("usr/share/man/man5/tollgate.toml.5", 0o644),
        ("usr/share/bash-completion/completions/tollgate", 0o644),
        ("usr/share/doc/tollgate/dictionaries/radius/dictionary.tollgate", 0o644),
        ("usr/share/doc/tollgate/etc/freeradius/mysql/schema.sql", 0o644),
    ] {
        assert_eq!(has(place).unwrap_or_else(|| panic!("no {place}")).mode, mode, "{place}");
    }
    // cargo-deb has its scripts call these by the names of their sources.
    for asset in
        assets.iter().filter(|asset| asset.place.contains("sysusers.d/") || asset.place.contains("tmpfiles.d/"))
    {
        assert_eq!(asset.source.file_name(), Path::new(&asset.place).file_name(), "{}", asset.place);
    }
    // The unit names what it documents itself with, and the program by its place.
    let unit = fs::read_to_string(root().join("systemd/tollgate.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/tollgate run"), "{unit}");
    let documents = unit.lines().find_map(|line| line.strip_prefix("Documentation=")).unwrap();
    for path in documents.split(' ').filter_map(|uri| uri.strip_prefix("file:///")) {
        assert!(has(path).is_some(), "the unit names {path}, which is not in the package");
    }
    let units = &metadata()["systemd-units"];
    assert_eq!(units["unit-scripts"].as_str(), Some("systemd"));
    for option in ["enable", "start", "restart-after-upgrade"] {
        assert_eq!(units[option], Value::Boolean(true), "{option}");
    }
    let changelog = fs::read_to_string(root().join("etc/debian/changelog")).unwrap();
    let first = changelog.lines().next().unwrap();
    assert!(first.starts_with(&format!("tollgate ({}-", env!("CARGO_PKG_VERSION"))), "{first}");
}

#[test]
fn the_shell_finds_no_fault_in_the_scripts() {
    let Some(dash) = peer("dash") else { return };
    for script in ["build", "postinst", "postrm"] {
        let path = root().join("etc/debian").join(script);
        let output = Command::new(&dash).arg("-n").arg(&path).finish().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(&path).unwrap();
        // cargo-deb puts what starts and stops the service there.
        assert_eq!(
            text.lines().filter(|line| *line == "#DEBHELPER#").count(),
            usize::from(script != "build"),
            "{script}"
        );
    }
}

/// A machine in a folder, and packages for it.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// One with a package database and nothing else; `None` where dpkg or the right to use it is missing.
    fn new() -> Option<Self> {
        for program in ["dpkg", "dpkg-deb", "strip", "systemd-sysusers", "systemd-tmpfiles"] {
            peer(program)?;
        }
        if !is_root() {
            eprintln!("skipped: dpkg gives files their owners as root alone");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for folder in ["info", "updates", "triggers", "parts"] {
            fs::create_dir_all(dir.path().join("root/var/lib/dpkg").join(folder)).unwrap();
        }
        fs::write(dir.path().join("root/var/lib/dpkg/status"), "").unwrap();
        Some(Self { dir })
    }

    fn path(&self, place: &str) -> PathBuf {
        self.dir.path().join("root").join(place)
    }

    /// A package of that version; `more` stands at the end of its configuration.
    fn package(&self, version: &str, more: &str) -> PathBuf {
        let tree = self.dir.path().join(version);
        let made = self.dir.path().join("made");
        make(&made);
        let assets = assets(&made);
        for asset in &assets {
            let path = tree.join(&asset.place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if asset.place == "usr/bin/tollgate" {
                let mut strip = Command::new("strip");
                assert!(strip.arg("-o").arg(&path).arg(&asset.source).finish().unwrap().status.success());
            } else {
                fs::copy(&asset.source, &path).unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(asset.mode)).unwrap();
        }
        let toml = tree.join("etc/tollgate/tollgate.toml");
        fs::write(&toml, fs::read_to_string(&toml).unwrap() + more).unwrap();
        let control = tree.join("DEBIAN");
        fs::create_dir_all(&control).unwrap();
        let text = format!(
            "Package: tollgate\nVersion: {version}\nArchitecture: all\nMaintainer: {}\nDescription: as in Cargo.toml\n",
            metadata()["maintainer"].as_str().unwrap()
        );
        fs::write(control.join("control"), text).unwrap();
        let files = assets.iter().filter(|asset| asset.place.starts_with("etc/"));
        let files: String = files.map(|asset| format!("/{}\n", asset.place)).collect();
        fs::write(control.join("conffiles"), files).unwrap();
        for script in ["postinst", "postrm"] {
            let text = fs::read_to_string(root().join("etc/debian").join(script)).unwrap();
            fs::write(control.join(script), text).unwrap();
            fs::set_permissions(control.join(script), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let package = self.dir.path().join(format!("{version}.deb"));
        let mut build = Command::new("dpkg-deb");
        let output = build.args(["-Znone", "--root-owner-group", "-b"]).arg(&tree).arg(&package).finish().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        package
    }

    /// Runs dpkg on this machine; its words.
    fn dpkg(&self, words: &[&str]) -> String {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", self.path("").display()));
        // The scripts of this package reach the machine by DPKG_ROOT: there is no shell in it.
        dpkg.args(["--force-script-chrootless", "--force-confold", "--force-depends"]).args(words);
        let output = dpkg.env("LC_ALL", "C").finish().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {told}");
        told
    }

    /// Owner, group and permissions.
    fn mode(&self, place: &str) -> (u32, u32, u32) {
        let data = fs::metadata(self.path(place)).unwrap_or_else(|error| panic!("{place}: {error}"));
        (data.uid(), data.gid(), data.mode() & 0o7777)
    }

    /// The number of a user or group, from its file.
    fn number(&self, file: &str, name: &str) -> u32 {
        let text = fs::read_to_string(self.path(file)).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).split(':').nth(2).unwrap().parse().unwrap()
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[test]
fn a_package_is_installed_upgraded_removed_and_purged() {
    let Some(machine) = Machine::new() else { return };
    machine.dpkg(&["-i", &machine.package("0.1.0", "").display().to_string()]);
    let (user, group) = (machine.number("etc/passwd", "tollgate"), machine.number("etc/group", "tollgate"));
    let admin = machine.number("etc/group", "tollgate-admin");
    for (place, want) in [
        ("etc/tollgate", (0, group, 0o750)),
        ("etc/tollgate/servers", (0, group, 0o640)),
        ("etc/tollgate/tollgate.toml", (0, group, 0o640)),
        ("var/lib/tollgate", (user, group, 0o700)),
        ("var/lib/tollgate/queue", (user, group, 0o700)),
        ("run/tollgate", (user, admin, 0o2750)),
        ("usr/bin/tollgate", (0, 0, 0o755)),
    ] {
        let (owner, of_group, mode) = machine.mode(place);
        assert_eq!((owner, of_group, format!("{mode:o}")), (want.0, want.1, format!("{:o}", want.2)), "{place}");
    }
    let program = machine.path("usr/bin/tollgate");
    let check = Command::new(&program).arg("check").arg(machine.path("etc/tollgate/tollgate.toml")).finish().unwrap();
    assert!(check.status.success(), "as installed: {}", String::from_utf8_lossy(&check.stderr));

    // The operator changes a file and gives another to somebody else; an upgrade brings a newer sample.
    let toml = machine.path("etc/tollgate/tollgate.toml");
    let own = fs::read_to_string(&toml).unwrap() + "# ours\n";
    fs::write(&toml, &own).unwrap();
    std::os::unix::fs::chown(machine.path("etc/tollgate/servers"), Some(0), Some(4)).unwrap();
    fs::write(machine.path("var/lib/tollgate/queue/record"), "waits").unwrap();
    machine.dpkg(&["-i", &machine.package("0.2.0", "# newer\n").display().to_string()]);
    assert_eq!(fs::read_to_string(&toml).unwrap(), own, "the operator's file stays");
    assert!(fs::read_to_string(machine.path("etc/tollgate/tollgate.toml.dpkg-dist")).unwrap().ends_with("# newer\n"));
    assert_eq!(machine.mode("etc/tollgate/servers"), (0, 4, 0o640), "as the operator has given it");
    assert_eq!(machine.mode("etc/tollgate/tollgate.toml"), (0, group, 0o640));

    machine.dpkg(&["-r", "tollgate"]);
    assert!(!program.exists());
    assert_eq!(fs::read_to_string(&toml).unwrap(), own, "it may come back");
    let told = machine.dpkg(&["-P", "tollgate"]);
    assert!(!machine.path("etc/tollgate").exists(), "{told}");
    let left =
        "tollgate: /var/lib/tollgate/queue is left, for it is not empty; records in it may not have been delivered";
    assert!(told.contains(left), "{told}");
    assert_eq!(fs::read_to_string(machine.path("var/lib/tollgate/queue/record")).unwrap(), "waits");
}
