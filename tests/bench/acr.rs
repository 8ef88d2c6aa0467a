//! What one record costs in Diameter: rendering an ACR of about 30 AVPs, encoding one from values, and walking it.
//!
//! Instructions of one base ACR, the same on every machine of a kind: run the binary under `valgrind --tool=callgrind`
//! with `--renders 1000` and with `--renders 11000`, and divide the difference by 10 000.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group};
use tollgate::clock::Timestamp;
use tollgate::diameter::avp::{Avps, Writer, flag};
use tollgate::diameter::header::{self, Header, command};
use tollgate::ids::RecordId;
use tollgate::record::{Cause, End, Kind, Party, Record, Times, Value};
use tollgate::sinks::diameter::acr::{Application, Echo, FieldMapping, Renderer, Settings};

/// Counts allocations of this thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ending = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn record() -> Record {
    let at = |millis: i64| Timestamp(1_700_000_000_000_000 + millis * 1000);
    let field = |name: &str, text: &str| (name.to_owned(), Value::Text(text.as_bytes().to_vec()));
    Record {
        id: RecordId(0x018b_cfe5_6800_0000_0000_0000_0000_0001),
        kind: Kind::Stop,
        method: b"BYE".to_vec(),
        from_tag: b"a73kszlfl".to_vec(),
        to_tag: b"1928301774".to_vec(),
        call_id: b"f81d4fae-7dec-11d0-a765-00a0c91e6bf6@192.0.2.4".to_vec(),
        cseq: 2,
        code: 200,
        reason: b"OK".to_vec(),
        in_dialog: true,
        session: "0123456789abcdef0123456789abcdef".to_owned(),
        multi_session: "fedcba9876543210fedcba9876543210".to_owned(),
        times: Times {
            event: at(65_500),
            created: at(0),
            answered: Some(at(4_000)),
            acknowledged: None,
            ended: Some(at(65_500)),
            setup: Some(Duration::from_secs(4)),
            duration: Some(Duration::from_millis(61_500)),
        },
        end: Some(End { by: Party::Caller, cause: Cause::Bye }),
        fields: vec![
            field("user", "alice@atlanta.example.com"),
            field("caller", "sip:alice@atlanta.example.com"),
            field("callee", "sip:bob@biloxi.example.com"),
        ],
        legs: Vec::new(),
        table: None,
        number: None,
        shortened: false,
        facts: tollgate::record::Facts::new(),
    }
}

fn settings(application: Application) -> Settings {
    let mut settings = Settings::new("gw.example.net", "example.net", "billing.example.net");
    settings.application = application;
    let pairs = match application {
        Application::Base => [("caller", "Calling-Station-Id"), ("callee", "Called-Station-Id")],
        Application::Rf => [("caller", "Calling-Party-Address"), ("callee", "Called-Party-Address")],
    };
    settings.fields = pairs.map(|(field, avp)| FieldMapping::new(field, avp)).to_vec();
    settings.fields.push(FieldMapping::new("user", "User-Name"));
    settings
}

/// AVPs in a list and in its groups.
fn count(avps: Avps<'_>) -> usize {
    avps.map(|avp| {
        let avp = avp.expect("whole");
        let is_group = [823, 833, 873, 876].contains(&avp.code) && avp.vendor == 10_415;
        1 + if is_group { count(avp.grouped().expect("not deep")) } else { 0 }
    })
    .sum()
}

fn pure(c: &mut Criterion) {
    let record = record();
    let mut group = c.benchmark_group("diameter");
    group.throughput(Throughput::Elements(1));
    for (name, application) in [("base", Application::Base), ("rf", Application::Rf)] {
        let mut renderer = Renderer::new(&settings(application)).expect("the settings are good");
        let mut out = Vec::with_capacity(4096);
        renderer.render(&record, Echo::default(), &mut out).expect("it fits");
        let (_, avps) = header::split(&out).expect("a message");
        println!("{name}: {} octets, {} AVPs", out.len(), count(Avps::new(avps)));
        let message = out.clone();
        let before = ALLOCATIONS.get();
        out.clear();
        renderer.render(&record, Echo::default(), &mut out).expect("it fits");
        println!("{name}: {} allocations", ALLOCATIONS.get() - before);
        group.bench_function(format!("render {name}"), |b| {
            b.iter(|| {
                out.clear();
                renderer.render(black_box(&record), Echo::default(), &mut out).expect("it fits").messages
            });
        });
        group.bench_function(format!("walk {name}"), |b| {
            b.iter(|| {
                let (_, avps) = header::split(black_box(&message)).expect("a message");
                Avps::new(avps).map(|avp| avp.map_or(0, |avp| avp.value.len())).sum::<usize>()
            });
        });
    }
    group.finish();
}

/// AVPs of the message that is encoded from values.
const ENCODED_AVPS: usize = 30;

/// A message of 30 AVPs: ten texts, ten vendor's texts, ten numbers.
fn encode(texts: &[Vec<u8>], out: &mut Vec<u8>) {
    let header = Header { flags: 0xC0, command: command::ACCOUNTING, application: 3, ..Header::default() };
    let fill = |avps: &mut Writer<'_>| {
        for (number, text) in (0..).zip(texts) {
            avps.avp(300 + number, 0, flag::MANDATORY, text);
            avps.avp(number, 32_473, 0, text);
            avps.u32(400 + number, 0, flag::MANDATORY, number);
        }
    };
    header::message(out, &header, fill).expect("it fits");
}

fn encoder(c: &mut Criterion) {
    let texts: Vec<Vec<u8>> = (0..ENCODED_AVPS / 3).map(|number| vec![b'a'; 5 + 5 * number]).collect();
    let mut out = Vec::with_capacity(4096);
    encode(&texts, &mut out);
    let (_, avps) = header::split(&out).expect("a message");
    assert_eq!(Avps::new(avps).flatten().count(), ENCODED_AVPS);
    println!("encoder: {} octets, {ENCODED_AVPS} AVPs", out.len());
    let mut group = c.benchmark_group("diameter");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode from values", |b| {
        b.iter(|| {
            out.clear();
            encode(black_box(&texts), &mut out);
            out.len()
        });
    });
    group.finish();
}

/// Renders one record so often, and nothing else.
fn render(times: u64) {
    let (record, mut out) = (record(), Vec::with_capacity(4096));
    let mut renderer = Renderer::new(&settings(Application::Base)).expect("the settings are good");
    for _ in 0..times {
        out.clear();
        renderer.render(black_box(&record), Echo::default(), &mut out).expect("it fits");
        black_box(&out);
    }
}

criterion_group!(benches, pure, encoder);

fn main() {
    let mut arguments = std::env::args();
    if arguments.any(|argument| argument == "--renders") {
        let times = arguments.next().and_then(|times| times.parse().ok());
        return render(times.expect("--renders takes a number"));
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
