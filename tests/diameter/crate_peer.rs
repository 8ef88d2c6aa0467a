//! The `diameter` crate as a second opinion: it decodes every Accounting-Request that the vectors hold, and a server made
//! of its transport takes the records of a gateway.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use ::diameter::avp::{Avp, AvpType, AvpValue, Enumerated, Identity, UTF8String, Unsigned32, flags};
use ::diameter::dictionary::{AvpDefinition, DEFAULT_DICT_XML, Dictionary};
use ::diameter::transport::{DiameterServer, DiameterServerConfig};
use ::diameter::{ApplicationId, CommandCode, DiameterMessage};
use tollgate::diameter::avp::{Avp as OwnAvp, Avps};
use tollgate::diameter::header;
use tollgate::dictionary::diameter as own;

use super::vectors::{cases, messages, rendered};
use crate::support::diameter::gateway;
use crate::support::{free_port, free_ports, sipp, wait_for};

/// The crate's own dictionary; what it does not know it takes from ours: a group as such, anything else as octets.
fn dictionary(ours: &own::Dictionary) -> Arc<Dictionary> {
    let mut known = Dictionary::new(&[&DEFAULT_DICT_XML]);
    for entry in ours.definitions() {
        let (code, vendor_id) = (entry.code(), (entry.vendor() != 0).then(|| entry.vendor()));
        if known.get_avp_type(code, vendor_id).is_none() {
            let avp_type = if entry.kind() == own::Type::Grouped { AvpType::Grouped } else { AvpType::OctetString };
            known.add_avp(AvpDefinition { code, vendor_id, name: entry.name().to_owned(), avp_type, m_flag: false });
        }
    }
    Arc::new(known)
}

fn decoded(octets: &[u8], dictionary: &Arc<Dictionary>) -> DiameterMessage {
    DiameterMessage::decode_from(&mut Cursor::new(octets), Arc::clone(dictionary)).unwrap()
}

/// Both decoders have found the same AVPs in the same order, groups included; gives how many.
fn same(theirs: &[Avp], ours: Avps<'_>) -> usize {
    let ours: Vec<OwnAvp<'_>> = ours.map(Result::unwrap).collect();
    assert_eq!(theirs.len(), ours.len());
    let mut count = 0;
    for (their, our) in theirs.iter().zip(ours) {
        let name = format!("AVP {} of vendor {}", our.code, our.vendor);
        assert_eq!((their.get_code(), their.get_vendor_id().unwrap_or(0)), (our.code, our.vendor), "{name}");
        let (mandatory, vendor) = (our.flags & 0x40 != 0, our.flags & 0x80 != 0);
        assert_eq!((their.get_flags().mandatory, their.get_flags().vendor), (mandatory, vendor), "{name}");
        count += 1 + match their.get_value() {
            AvpValue::Grouped(group) => same(group.avps(), our.grouped().unwrap()),
            AvpValue::UTF8String(text) => {
                assert_eq!(Some(text.value()), our.utf8(), "{name}");
                0
            }
            AvpValue::Unsigned32(number) => {
                assert_eq!(Some(number.value()), our.u32(), "{name}");
                0
            }
            AvpValue::Enumerated(number) => {
                assert_eq!(Some(number.value()), our.i32(), "{name}");
                0
            }
            AvpValue::Time(time) => {
                let seconds = our.time().map(|at| at.0.div_euclid(1_000_000));
                assert_eq!(Some(time.value().timestamp()), seconds, "{name}");
                0
            }
            _ => {
                let length = 8 + 4 * u32::from(vendor) + u32::try_from(our.value.len()).unwrap();
                assert_eq!(their.get_length(), length, "{name}");
                0
            }
        };
    }
    count
}

#[test]
fn the_diameter_crate_reads_every_vector_as_we_do() {
    let mut avps = 0;
    for (name, settings, record) in cases() {
        let known = dictionary(&settings.dictionary);
        for octets in messages(&rendered(&settings, &record)) {
            let theirs = decoded(octets, &known);
            let (head, rest) = header::split(octets).unwrap();
            assert_eq!(theirs.get_command_code(), CommandCode::Accounting, "{name}");
            assert_eq!(theirs.get_application_id(), ApplicationId::Accounting, "{name}");
            assert_eq!(theirs.get_end_to_end_id(), head.end_to_end, "{name}");
            assert_eq!(theirs.get_length() as usize, octets.len(), "{name}");
            avps += same(theirs.get_avps(), Avps::new(rest));
        }
    }
    assert!(avps > 400, "{avps} AVPs only");
}

/// Record type and Session-Id of what a server took in.
type Taken = Arc<Mutex<BTreeSet<(i32, String)>>>;

/// The response of a server that takes everything.
fn respond(request: &DiameterMessage, taken: &Taken, known: &Arc<Dictionary>) -> DiameterMessage {
    const RESULT_CODE: u32 = 268;
    let (command, application) = (request.get_command_code(), request.get_application_id());
    let (hop_by_hop, end_to_end) = (request.get_hop_by_hop_id(), request.get_end_to_end_id());
    let mut response = DiameterMessage::new(command, application, 0, hop_by_hop, end_to_end, Arc::clone(known));
    if command == CommandCode::Accounting {
        let text = |code| request.get_avp(code).and_then(Avp::get_utf8string).unwrap().value().to_owned();
        let (session, kind) = (text(263), request.get_avp(480).and_then(Avp::get_enumerated).unwrap().value());
        let number = request.get_avp(485).and_then(Avp::get_unsigned32).unwrap();
        response.add_avp(263, None, flags::M, UTF8String::new(&session).into());
        response.add_avp(480, None, flags::M, Enumerated::new(kind).into());
        response.add_avp(485, None, flags::M, Unsigned32::new(number).into());
        taken.lock().unwrap().insert((kind, session));
    }
    response.add_avp(RESULT_CODE, None, flags::M, Unsigned32::new(2001).into());
    response.add_avp(264, None, flags::M, Identity::new("acct.test.example").into());
    response.add_avp(296, None, flags::M, Identity::new("test.example").into());
    if command == CommandCode::CapabilitiesExchange {
        let address = ::diameter::avp::address::Value::IPv4(Ipv4Addr::LOCALHOST);
        response.add_avp(257, None, flags::M, ::diameter::avp::Address::new(address).into());
        response.add_avp(266, None, flags::M, Unsigned32::new(0).into());
        response.add_avp(269, None, 0, UTF8String::new("a server of the diameter crate").into());
        response.add_avp(259, None, flags::M, Unsigned32::new(3).into());
    }
    response
}

/// A server on a thread of its own, which ends with the test's process.
fn serve(port: u16) -> Taken {
    let taken = Taken::default();
    let (seen, known) = (Arc::clone(&taken), dictionary(&own::Dictionary::builtin()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = format!("127.0.0.1:{port}");
    let listening = runtime.block_on(DiameterServer::new(&address, DiameterServerConfig { native_tls: None }));
    let mut server = listening.unwrap();
    std::thread::spawn(move || {
        let ours = Arc::clone(&known);
        let handler = move |request: DiameterMessage| {
            let response = respond(&request, &seen, &ours);
            async move { Ok(response) }
        };
        runtime.block_on(server.listen(handler, known))
    });
    taken
}

#[test]
fn a_server_of_the_diameter_crate_takes_every_record() {
    let dir = tempfile::tempdir().unwrap();
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let port = free_port();
    let taken = serve(port);
    let gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], port, "");
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "20", "-r", "50", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    wait_for("all records have ended", || {
        let queue: serde_json::Value = serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).unwrap();
        assert_eq!(queue["parked"], 0, "{}", gateway.command(&["queue", "parked"]));
        (queue["waiting"] == 0 && taken.lock().unwrap().len() == 40).then_some(())
    });
    let taken = taken.lock().unwrap();
    for kind in [2, 4] {
        assert_eq!(taken.iter().filter(|(found, _)| *found == kind).count(), 20, "type {kind}");
    }
}
