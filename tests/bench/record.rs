//! What a record costs besides the queue: fields evaluated, bytes written and read, JSON.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate::clock::Timestamp;
use tollgate::ids::RecordIds;
use tollgate::record::{Cause, End, Fields, Kind, Party, Record, Times, codec};
use tollgate::sip::message::Message;
use tollgate::sip::stack::Transport;
use tollgate::vars::{Arrival, Avps, Context, Template};

const INVITE: &[u8] = b"INVITE sip:+40215550123@gw.example SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK-524287-1---a1b2c3d4\r\n\
    Max-Forwards: 70\r\n\
    From: \"Alice\" <sip:alice@atlanta.example>;tag=9fxced76sl\r\n\
    To: <sip:+40215550123@gw.example>\r\n\
    Call-ID: 3848276298220188511@atlanta.example\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:alice@192.0.2.1:5062;transport=udp>\r\n\
    User-Agent: Desk phone 4.2\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 0\r\n\r\n";

const ANSWER: &[u8] = b"SIP/2.0 200 OK\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK-524287-1---a1b2c3d4\r\n\
    From: \"Alice\" <sip:alice@atlanta.example>;tag=9fxced76sl\r\n\
    To: <sip:+40215550123@gw.example>;tag=8321234356\r\n\
    Call-ID: 3848276298220188511@atlanta.example\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:bob@198.51.100.7:5060>\r\n\
    Content-Length: 0\r\n\r\n";

const FIELDS: [(&str, &str); 6] = [
    ("src_ip", "$si"),
    ("ua", "$ua"),
    ("from", "$fu"),
    ("to", "$tu"),
    ("contact", "$ct/reply"),
    ("account", "$fU@$fd"),
];

fn message(octets: &[u8]) -> Message {
    Message::parse(octets.to_vec()).expect("the bench's message is well-formed")
}

fn templates() -> Vec<(String, Template)> {
    FIELDS.iter().map(|(name, text)| ((*name).to_owned(), Template::parse(text).expect("a template"))).collect()
}

fn evaluate(templates: &[(String, Template)], context: &Context<'_>) -> Fields {
    templates.iter().map(|(name, template)| (name.clone(), template.eval(context))).collect()
}

fn record(fields: Fields) -> Record {
    let wall = Timestamp(1_700_000_000_000_000);
    Record {
        id: RecordIds::new(7).next(1_700_000_000_000),
        kind: Kind::Stop,
        method: b"BYE".to_vec(),
        from_tag: b"9fxced76sl".to_vec(),
        to_tag: b"8321234356".to_vec(),
        call_id: b"3848276298220188511@atlanta.example".to_vec(),
        cseq: 2,
        code: 200,
        reason: b"OK".to_vec(),
        in_dialog: true,
        session: "0123456789abcdef0123456789abcdef".into(),
        multi_session: "fedcba9876543210fedcba9876543210".into(),
        times: Times {
            event: wall,
            created: wall,
            answered: Some(wall),
            acknowledged: Some(wall),
            ended: Some(wall),
            setup: Some(Duration::from_millis(2500)),
            duration: Some(Duration::from_secs(60)),
        },
        end: Some(End { by: Party::Caller, cause: Cause::Bye }),
        fields,
        legs: Vec::new(),
        table: None,
        number: None,
        shortened: false,
        facts: tollgate::record::Facts::new(),
    }
}

fn record_benches(criterion: &mut Criterion) {
    let (request, reply, avps) = (message(INVITE), message(ANSWER), Avps::new());
    let source = "192.0.2.1:5062".parse().expect("an address");
    let context = Context {
        arrival: Some(Arrival { source, local: None, transport: Some(Transport::Udp) }),
        reply: Some(&reply),
        code: 200,
        reason: b"OK",
        ..Context::new(&request, &avps, Timestamp(0))
    };
    let templates = templates();
    criterion.bench_function("record/evaluate six fields", |bench| {
        bench.iter(|| evaluate(black_box(&templates), black_box(&context)));
    });
    let record = record(evaluate(&templates, &context));
    let bytes = codec::encode(&record);
    println!("a Stop with six fields: {} octets", bytes.len());
    criterion.bench_function("record/encode", |bench| bench.iter(|| codec::encode(black_box(&record))));
    criterion.bench_function("record/decode", |bench| bench.iter(|| codec::decode(black_box(&bytes))));
    criterion.bench_function("record/json", |bench| bench.iter(|| black_box(&record).to_json().to_string()));
}

criterion_group!(benches, record_benches);
criterion_main!(benches);
