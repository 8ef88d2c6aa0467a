//! AVPs on the wire: padding, vendors, groups, times, and lists that end in the middle.

use proptest::prelude::*;

use super::*;

fn written(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    fill(&mut Writer::new(&mut out));
    out
}

#[test]
fn every_avp_is_padded_with_zeros() {
    for length in 0..10_usize {
        let value = vec![b'x'; length];
        for (vendor, header) in [(0, 8), (10_415, 12)] {
            let out = written(|avps| avps.avp(7, vendor, flag::MANDATORY, &value));
            assert_eq!(out.len(), (header + length).next_multiple_of(4), "{length} octets, vendor {vendor}");
            assert!(out[header + length..].iter().all(|octet| *octet == 0), "{length} octets, vendor {vendor}");
            let mut walk = Avps::new(&out);
            let avp = walk.next().expect("one").expect("whole");
            assert_eq!((avp.code, avp.vendor, avp.value, avp.is_mandatory()), (7, vendor, &value[..], true));
            assert_eq!(walk.next(), None);
        }
    }
}

#[test]
fn no_vendor_means_no_flag() {
    let out = written(|avps| avps.avp(7, 0, flag::VENDOR, b""));
    assert_eq!(out, [0, 0, 0, 7, 0, 0, 0, 8]);
}

#[test]
fn a_group_holds_its_members_and_no_more() {
    let out = written(|avps| {
        avps.group(260, 0, flag::MANDATORY, |group| {
            group.u32(266, 0, flag::MANDATORY, 10_415);
            group.group(1, 99, 0, |inner| inner.avp(2, 0, 0, b"abc"));
        });
        avps.u32(259, 0, flag::MANDATORY, 3);
    });
    let mut walk = Avps::new(&out);
    let group = walk.next().expect("a group").expect("whole");
    assert_eq!(group.value.len(), 12 + 24);
    let members: Vec<_> = group.grouped().expect("not deep").map(|avp| avp.expect("whole")).collect();
    assert_eq!(members.iter().map(|avp| (avp.code, avp.offset)).collect::<Vec<_>>(), [(266, 8), (1, 20)]);
    let inner = members[1].grouped().expect("not deep").find(2, 0).expect("there");
    assert_eq!((inner.value, inner.offset), (&b"abc"[..], 32));
    assert_eq!(walk.next().expect("one more").expect("whole").u32(), Some(3));
}

#[test]
fn an_empty_group_can_be_taken_back() {
    let mut out = vec![1, 2, 3, 4];
    let mut avps = Writer::new(&mut out);
    let group = avps.open(873, 10_415, flag::MANDATORY);
    assert!(!avps.close_unless_empty(group));
    assert_eq!(out, [1, 2, 3, 4]);
}

#[test]
fn times_cross_2036() {
    for (name, unix, want) in [
        ("start of 1970", 0_i64, 2_208_988_800_u32),
        ("2023", 1_700_000_000, 3_908_988_800),
        ("last second of era 0", 2_085_978_495, 0xFFFF_FFFF),
        ("first second of era 1", 2_085_978_496, 0),
        ("2100", 4_102_444_800, 2_016_466_304),
    ] {
        let at = Timestamp(unix * 1_000_000);
        assert_eq!(write_time(at), want, "{name}");
        let out = written(|avps| avps.time(55, 0, flag::MANDATORY, Timestamp(at.0 + 999_999)));
        let time = Avps::new(&out).find(55, 0).and_then(|avp| avp.time());
        // Values with the top bit set are of era 0; 1968 to 2104 can be told.
        assert_eq!(time, Some(at), "{name}");
    }
    assert_eq!(write_time(Timestamp(i64::MAX)), write_time(Timestamp(i64::MAX)), "no instant panics");
    assert_eq!(write_time(Timestamp(i64::MIN)), write_time(Timestamp(i64::MIN)), "no instant panics");
}

#[test]
fn addresses_have_their_family() {
    for (text, want) in [
        ("192.0.2.1", &[0, 1, 192, 0, 2, 1][..]),
        ("::ffff:192.0.2.1", &[0, 1, 192, 0, 2, 1]),
        ("2001:db8::1", &[0, 2, 0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        let address: IpAddr = text.parse().expect("an address");
        let out = written(|avps| avps.address(257, 0, flag::MANDATORY, address));
        let avp = Avps::new(&out).find(257, 0).expect("there");
        assert_eq!(avp.value, want, "{text}");
        assert_eq!(avp.address(), Some(address.to_canonical()), "{text}");
    }
    for (name, value) in [
        ("empty", &[][..]),
        ("no address", &[0, 1]),
        ("IPv4 of three octets", &[0, 1, 1, 2, 3]),
        ("telephone number", &[0, 8, b'4', b'9']),
    ] {
        let out = written(|avps| avps.avp(257, 0, 0, value));
        assert_eq!(Avps::new(&out).find(257, 0).and_then(|avp| avp.address()), None, "{name}");
    }
}

#[test]
fn a_fixed_type_of_another_size_has_no_value() {
    for length in [0, 3, 5, 8, 12] {
        let value = vec![0; length];
        let out = written(|avps| avps.avp(268, 0, 0, &value));
        let avp = Avps::new(&out).find(268, 0).expect("there");
        assert_eq!((avp.u32(), avp.i32(), avp.f32(), avp.time()), (None, None, None, None), "{length} octets");
        assert_eq!(avp.u64().is_some(), length == 8, "{length} octets");
    }
}

#[test]
fn broken_lists_say_where_and_end() {
    let header = |flags: u8, length: u8| vec![0, 0, 1, 12, flags, 0, 0, length];
    for (name, octets, problem) in [
        ("no room for a header", vec![0, 0, 1, 12, 0, 0, 0], AvpProblem::Short(7)),
        ("vendor bit, length 11", header(0x80, 11), AvpProblem::Length { code: 268, length: 11 }),
        ("vendor bit, no vendor", header(0x80, 12), AvpProblem::Beyond { code: 268, length: 12, rest: 8 }),
        ("value beyond the end", header(0, 12), AvpProblem::Beyond { code: 268, length: 12, rest: 8 }),
    ] {
        let good = written(|avps| avps.u32(268, 0, 0, 2001));
        let octets = [good, octets].concat();
        let found: Vec<_> = Avps::new(&octets).collect();
        assert_eq!(found.len(), 2, "{name}");
        assert_eq!(found[1], Err(AvpError { offset: 12, problem }), "{name}");
    }
}

#[test]
fn no_length_below_the_header_is_walked() {
    for (flags, header) in [(0, 8), (flag::VENDOR, 12)] {
        for length in 0..header {
            let octets = [0, 0, 1, 12, flags, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, 0];
            let problem = AvpProblem::Length { code: 268, length: length.into() };
            let found: Vec<_> = Avps::new(&octets).collect();
            assert_eq!(found, [Err(AvpError { offset: 0, problem })], "flags {flags}, length {length}");
        }
    }
}

#[test]
fn a_thousand_groups_deep_ends_at_the_limit() {
    let mut octets = Vec::new();
    for _ in 0..1000 {
        octets = written(|avps| avps.avp(279, 0, flag::MANDATORY, &octets));
    }
    let mut avp = Avps::new(&octets).next().expect("one").expect("whole");
    let mut depth = 0;
    let error = loop {
        match avp.grouped() {
            Ok(mut members) => avp = members.next().expect("one").expect("whole"),
            Err(error) => break error,
        }
        depth += 1;
    };
    assert_eq!(depth, NESTING_MAX);
    assert_eq!(error.problem, AvpProblem::Deep { code: 279 });
}

#[test]
fn the_last_padding_may_be_missing() {
    let out = written(|avps| avps.avp(281, 0, 0, b"abcde"));
    let found: Vec<_> = Avps::new(&out[..13]).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].map(|avp| avp.value), Ok(&b"abcde"[..]));
}

proptest! {
    #[test]
    fn rubbish_ends(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut walked = 0;
        for avp in Avps::new(&octets) {
            walked += 1;
            if let Ok(avp) = avp {
                prop_assert!(avp.offset + avp.value.len() <= octets.len());
                if let Ok(members) = avp.grouped() {
                    prop_assert!(members.count() <= octets.len());
                }
            }
        }
        prop_assert!(walked <= octets.len() / 8 + 1);
    }

    #[test]
    fn what_is_written_is_read(list in proptest::collection::vec(
        (any::<u32>(), any::<u32>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..12)) {
        let out = written(|avps| {
            for (code, vendor, mandatory, value) in &list {
                avps.avp(*code, *vendor, if *mandatory { flag::MANDATORY } else { 0 }, value);
            }
        });
        let read: Vec<_> = Avps::new(&out)
            .map(|avp| avp.map(|avp| (avp.code, avp.vendor, avp.is_mandatory(), avp.value.to_vec())))
            .collect::<Result<_, _>>().expect("whole");
        prop_assert_eq!(read, list);
        // Cut anywhere: the walk ends, and what it gives before is the same.
        for end in 0..out.len() {
            let whole = Avps::new(&out[..end]).filter(Result::is_ok).count();
            prop_assert!(whole <= Avps::new(&out).count());
        }
    }
}
