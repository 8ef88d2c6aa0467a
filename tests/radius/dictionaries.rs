//! Dictionaries and client files against the real ones: the files Debian's FreeRADIUS ships, the server itself, radcli's.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tollgate::config::kinds::radius::client::{self as radiusclient, System, Unknown};
use tollgate::dictionary::{Builder, Dictionary, Files, Input, builtin};
use tollgate::radius::{Secret, authenticator};

use crate::support::start::Start as _;
use crate::support::{FreeRadius, free_ports, peer};

/// Where the package `freeradius-common` puts its dictionaries.
const PACKAGED: &str = "/usr/share/freeradius";

/// Where the package `libradcli4` puts its dictionaries.
const RADCLI: &str = "/etc/radcli";

/// The packaged files in the order of their names; none when the package is missing.
fn packaged(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).map_or_else(
        |_| Vec::new(),
        |entries| entries.map(|entry| entry.expect("the folder can be read").path()).collect(),
    );
    files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dictionary")));
    files.sort();
    if files.is_empty() {
        let required = std::env::var("TOLLGATE_PEERS").is_ok_and(|value| value == "required");
        assert!(!required || folder != PACKAGED, "{folder} is missing and TOLLGATE_PEERS=required");
        eprintln!("skipped: no dictionaries in {folder}");
    }
    files
}

#[test]
fn all_packaged_files_load_together() {
    let files = packaged(PACKAGED);
    if files.is_empty() {
        return;
    }
    let begin = Instant::now();
    let mut builder = Builder::with_builtin();
    for file in &files {
        builder.file(file, &mut Files);
    }
    let dictionary = builder.finish().unwrap_or_else(|error| panic!("{error}"));
    println!("{} files with {} attributes in {:?}", files.len(), dictionary.names().count(), begin.elapsed());
    assert_eq!(dictionary.files().len(), files.len(), "each is read once, included or not");
    assert!(dictionary.names().count() > 7_000);
}

#[test]
fn each_file_the_server_does_not_load_by_itself_loads_after_its_list() {
    let files = packaged(PACKAGED);
    let Some(main) = files.iter().find(|file| file.ends_with("dictionary")) else { return };
    let list = Dictionary::load(main, &mut Files).unwrap_or_else(|error| panic!("{error}"));
    let others: Vec<_> = files.iter().filter(|file| !list.files().contains(file)).collect();
    assert!(others.len() > 5, "{others:?}");
    for file in others {
        let mut builder = Builder::with_builtin();
        builder.file(main, &mut Files);
        builder.file(file, &mut Files);
        builder.finish().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

#[test]
fn the_built_in_set_says_what_the_packaged_rfc_files_say() {
    for file in packaged(PACKAGED) {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.starts_with("dictionary.rfc") {
            continue;
        }
        let dictionary = Dictionary::load(&file, &mut Files).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(dictionary.warnings(), [], "{name}");
        if builtin::STANDARD.iter().any(|(ours, _)| *ours == name) {
            let ours = Dictionary::builtin();
            for attribute in dictionary.names().filter_map(|attribute| dictionary.attribute(attribute)) {
                let built_in = ours.attribute(attribute.name()).unwrap_or_else(|| panic!("{name} has {attribute}"));
                assert_eq!(built_in.flags(), attribute.flags(), "{name}: {attribute}");
            }
        }
    }
}

#[test]
fn the_dictionaries_of_radcli_load() {
    for file in packaged(RADCLI) {
        let dictionary =
            Dictionary::load(&file, &mut Files).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for warning in dictionary.warnings() {
            println!("{warning}");
        }
    }
}

#[test]
fn the_configuration_files_of_radcli_load() {
    let Ok(text) = fs::read_to_string(Path::new(RADCLI).join("radiusclient.conf")) else {
        return eprintln!("skipped: no radiusclient.conf in {RADCLI}");
    };
    let load = |path: &Path| radiusclient::load(path, Unknown::Refuse, &mut System);
    // Its servers file holds no secret, which is told at once and not at the first record.
    let client = load(&Path::new(RADCLI).join("radiusclient.conf")).unwrap_or_else(|error| panic!("{error}"));
    let warnings: String = client.warnings.iter().map(ToString::to_string).collect();
    assert!(client.acct_servers.is_empty() && warnings.contains("no secret for `localhost`"), "{warnings}");

    let folder = tempfile::tempdir().expect("a folder can be made");
    let copy = folder.path().join("radiusclient.conf");
    fs::write(&copy, text.replace("/etc/radcli/servers", "servers")).expect("the file is written");
    fs::write(folder.path().join("servers"), "localhost/localhost a-long-secret\n").expect("the file is written");
    let client = load(&copy).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(client.acct_servers[0].to_string(), "localhost:1813");
    let client = load(&Path::new(RADCLI).join("radiusclient-tls.conf")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(client.acct_servers[0].to_string(), "localhost:2083");
}

/// Whether the server takes a configuration whose dictionary includes `files` after the packaged ones.
fn server_takes(files: &[PathBuf], left_out: Option<&str>) -> Option<Result<(), String>> {
    let server = peer("freeradius")?;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let [port] = free_ports();
    let main = fs::read_to_string(Path::new(PACKAGED).join("dictionary")).expect("the packaged dictionary can be read");
    let mut lines: String = main
        .lines()
        .filter(|line| left_out.is_none_or(|word| !line.contains(word)))
        .map(|line| line.replace("$INCLUDE dictionary", &format!("$INCLUDE {PACKAGED}/dictionary")) + "\n")
        .collect();
    for file in files {
        lines.push_str(&format!("$INCLUDE {}\n", file.display()));
    }
    fs::write(folder.path().join("dictionary"), lines).expect("the file is written");
    let listen = format!("listen {{\n type = acct\n ipaddr = 127.0.0.1\n port = {port}\n}}\n");
    let text = format!(
        "log {{\n destination = stdout\n}}\nmodules {{\n}}\nserver default {{\n{listen} accounting {{\n }}\n}}\n"
    );
    fs::write(folder.path().join("radiusd.conf"), text).expect("the file is written");
    let output = Command::new(server)
        .args(["-C", "-X", "-n", "radiusd", "-d"])
        .arg(folder.path())
        .arg("-D")
        .arg(folder.path())
        .finish()
        .expect("the server runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some(if output.status.success() { Ok(()) } else { Err(printed) })
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dictionaries/radius").join(name)
}

#[test]
fn our_dictionary_loads_in_a_stock_server() {
    if let Some(Err(printed)) = server_takes(&[shipped("dictionary.tollgate")], None) {
        panic!("{printed}");
    }
}

#[test]
fn a_profile_loads_in_a_server_without_the_one_packaged_file_that_conflicts() {
    for (name, _) in builtin::PROFILES {
        let Some(stock) = server_takes(&[shipped(name)], None) else { return };
        let printed = stock.expect_err("the packaged set defines Sip-Method too; README tells so");
        assert!(printed.contains("Duplicate attribute name Sip-Method"), "{name}: {printed}");
        let without = server_takes(&[shipped(name)], Some("columbia_university"));
        assert!(matches!(without, Some(Ok(()))), "{name}: {without:?}");
    }
}

/// Attributes of every type the server knows, in a vendor space of their own.
const TYPES: &str = "VENDOR Probe 65533\nBEGIN-VENDOR Probe\nATTRIBUTE Probe-String 1 string\nATTRIBUTE Probe-Octets 2 octets\n\
    ATTRIBUTE Probe-Integer 3 integer\nVALUE Probe-Integer Two 2\nATTRIBUTE Probe-Signed 4 signed\nATTRIBUTE Probe-Byte 5 byte\n\
    ATTRIBUTE Probe-Short 6 short\nATTRIBUTE Probe-Integer64 7 integer64\nATTRIBUTE Probe-Date 8 date\n\
    ATTRIBUTE Probe-IP 9 ipaddr\nATTRIBUTE Probe-IPv6 10 ipv6addr\nATTRIBUTE Probe-Prefix6 11 ipv6prefix\n\
    ATTRIBUTE Probe-Prefix4 12 ipv4prefix\nATTRIBUTE Probe-Ifid 13 ifid\nATTRIBUTE Probe-Ether 14 ether\n\
    ATTRIBUTE Probe-Combo 15 combo-ip\nATTRIBUTE Probe-Tlv 16 tlv\nATTRIBUTE Probe-Sub 16.1 string\nATTRIBUTE Probe-Sub-Integer 16.2 integer\n\
    ATTRIBUTE Probe-Array 17 octets[4]\nEND-VENDOR Probe\n\
    VENDOR Wide 65532 format=2,2\nBEGIN-VENDOR Wide\nATTRIBUTE Wide-String 300 string\nEND-VENDOR Wide\n\
    VENDOR Rest 65531 format=4,0\nBEGIN-VENDOR Rest\nATTRIBUTE Rest-String 70000 string\nEND-VENDOR Rest\n\
    BEGIN-VENDOR Probe format=Extended-Vendor-Specific-1\nATTRIBUTE Probe-Extended 1 string\nEND-VENDOR Probe\n\
    BEGIN-VENDOR Probe format=Extended-Vendor-Specific-6\nATTRIBUTE Probe-Long 2 octets\nEND-VENDOR Probe\n\
    ATTRIBUTE Probe-Ext 241.200 string\nATTRIBUTE Probe-Long-Ext 245.200 octets\n";

/// What is sent: attribute and value. A value over 251 octets is not among them: FreeRADIUS 3.2.1 does not join the
/// fragments of 245 and 246, not even its own.
fn sent() -> Vec<(&'static str, Vec<u8>)> {
    let long = [b"0x".to_vec(), b"6162".repeat(120)].concat();
    let texts: &[(&str, &str)] = &[
        ("Acct-Status-Type", "Interim-Update"),
        ("Acct-Session-Id", "call@192.0.2.1"),
        ("NAS-Identifier", "gw"),
        ("Event-Timestamp", "2023-11-14T22:13:20Z"),
        ("Tunnel-Type", ":3:L2TP"),
        ("Tunnel-Client-Endpoint", ":3:192.0.2.9"),
        ("Framed-IPv6-Prefix", "2001:db8:ffff::/33"),
        ("Framed-Interface-Id", "1:2:3:4"),
        ("Class", "0x414243"),
        ("Tollgate-Record-Id", "01HF7YAT00AAAAAAAAAAAAAAAA"),
        ("Tollgate-Duration-Ms", "5000000000"),
        ("Tollgate-Src-IP", "192.0.2.1"),
        ("Tollgate-Dst-IP", "2001:db8::1"),
        ("Tollgate-Reason", "quotes \" and \\ and é"),
        ("Probe-String", "a\tb\r\n\u{1}"),
        ("Probe-Octets", "0x00ff"),
        ("Probe-Integer", "two"),
        ("Probe-Integer", "3"),
        ("Probe-Signed", "-5"),
        ("Probe-Byte", "255"),
        ("Probe-Short", "65535"),
        ("Probe-Integer64", "4294967296"),
        ("Probe-Date", "4000000000"),
        ("Probe-IP", "192.0.2.2"),
        ("Probe-IPv6", "2001:db8::2"),
        ("Probe-Prefix6", "2001:db8::/32"),
        ("Probe-Prefix4", "192.0.2.0/24"),
        ("Probe-Ifid", "a:b:c:d"),
        ("Probe-Ether", "00:1a:2b:03:04:05"),
        ("Probe-Combo", "192.0.2.3"),
        ("Probe-Combo", "2001:db8::3"),
        ("Probe-Sub", "inside"),
        ("Probe-Sub-Integer", "9"),
        ("Probe-Array", "0x01020304"),
        ("Wide-String", "wide"),
        ("Rest-String", "rest"),
        ("Probe-Extended", "extended"),
        ("Probe-Ext", "ext"),
    ];
    let mut sent: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect();
    sent.push(("Probe-String", b"not UTF-8 \xff\xfe".to_vec()));
    sent.push(("Probe-Long-Ext", long.clone()));
    sent.push(("Probe-Long", long));
    sent
}

#[test]
fn every_type_is_read_by_the_server_as_we_print_it() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("dictionary.probe");
    let ours = fs::read_to_string(shipped("dictionary.tollgate")).expect("the shipped file can be read");
    fs::write(&file, ours + TYPES).expect("the file is written");
    let Some(server) = FreeRadius::start(folder.path(), &[("RADTEST_DICT", &file.to_string_lossy())]) else { return };

    let dictionary = Dictionary::load(&file, &mut Files).unwrap_or_else(|error| panic!("{error}"));
    let mut attributes = Vec::new();
    for (name, text) in sent() {
        let attribute = dictionary.attribute(name).unwrap_or_else(|| panic!("{name} is known"));
        attribute.encode(Input::Text(&text), &mut attributes).unwrap_or_else(|error| panic!("{error}"));
    }
    let length = u16::try_from(20 + attributes.len()).expect("a packet").to_be_bytes();
    let mut packet = [&[4, 7, length[0], length[1]][..], &[0; 16], &attributes].concat();
    authenticator::sign_request(&mut packet, &Secret::new(&b"testing123"[..]));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
    socket.send_to(&packet, ("127.0.0.1", server.port)).expect("the server can be reached");
    let mut answer = [0; 4096];
    let size = socket.recv(&mut answer).expect("the server answers");
    assert_eq!((answer[0], answer[1], size), (5, 7, 20));

    let stored = server.wait_records(1).remove(0);
    for decoded in dictionary.decode(&attributes) {
        let line = decoded.to_string();
        assert!(stored.contains(&line), "the server has no line `{line}`:\n{}", stored.join("\n"));
    }
}

#[test]
fn long_values_are_fragmented_as_radclient_does() {
    let Some(radclient) = peer("radclient") else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let lines = format!("$INCLUDE {PACKAGED}/dictionary\n$INCLUDE probe\n");
    fs::write(folder.path().join("dictionary"), lines).expect("the file is written");
    fs::write(folder.path().join("probe"), TYPES).expect("the file is written");
    let dictionary =
        Dictionary::load(&folder.path().join("probe"), &mut Files).unwrap_or_else(|error| panic!("{error}"));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
    let target = socket.local_addr().expect("a bound socket has an address").to_string();
    for (name, octets) in [
        ("Probe-Long-Ext", 251),
        ("Probe-Long-Ext", 252),
        ("Probe-Long", 246),
        ("Probe-Long", 247),
        ("Probe-Long", 300),
    ] {
        let value = format!("0x{}", "61".repeat(octets));
        let input = folder.path().join("input");
        fs::write(&input, format!("{name} = {value}\n")).expect("the file is written");
        let mut client = Command::new(&radclient)
            .args(["-r", "1", "-t", "1", "-D"])
            .arg(folder.path())
            .arg("-d")
            .arg(folder.path())
            .arg("-f")
            .arg(&input)
            .args([&target, "acct", "testing123"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .start()
            .expect("radclient runs");
        let mut packet = [0; 4096];
        let size = socket.recv(&mut packet).expect("radclient sends");
        let _gone = client.kill();
        let _status = client.wait();
        let mut ours = Vec::new();
        let attribute = dictionary.attribute(name).unwrap_or_else(|| panic!("{name} is known"));
        attribute.encode(Input::Text(value.as_bytes()), &mut ours).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ours, packet[20..size], "{name} of {octets} octets");
    }
}
