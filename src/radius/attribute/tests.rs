//! Tests of sizes and budgets.

use proptest::prelude::*;

use super::*;

fn fitted(value: &[u8], max: usize, policy: Oversize) -> (Vec<Vec<u8>>, Fitted) {
    let mut pieces = Vec::new();
    let result = fit(value, max, policy, |piece| pieces.push(piece.to_vec()));
    (pieces, result)
}

#[test]
fn a_value_is_fitted_by_its_policy() {
    let uri = b"sip:alice@example.com;transport=tcp;lr?Subject=x";
    let umlauts = "ääää".as_bytes();
    for (name, value, max, policy, want) in [
        ("a value that fits stays", &b"abc"[..], 3, Oversize::Truncate, vec!["abc"]),
        ("a tail is cut", b"abcdef", 4, Oversize::Truncate, vec!["abcd"]),
        ("no half character is left", umlauts, 5, Oversize::Truncate, vec!["ää"]),
        ("parameters of a URI go first", uri, 30, Oversize::Truncate, vec!["sip:alice@example.com"]),
        ("then its tail", uri, 9, Oversize::Truncate, vec!["sip:alice"]),
        ("a `;` in the user part is none", b"sip:a;b@c.d;x=yyyyy", 12, Oversize::Truncate, vec!["sip:a;b@c.d"]),
        ("a number loses its parameters", b"tel:+40;phone-context=x", 10, Oversize::Truncate, vec!["tel:+40"]),
        ("a list of pieces", b"abcdef", 4, Oversize::Split, vec!["abcd", "ef"]),
        ("no piece begins inside a character", umlauts, 3, Oversize::Split, vec!["ä", "ä", "ä", "ä"]),
        ("left out", b"abcdef", 4, Oversize::Omit, vec![]),
        ("a digest needs room", b"abcdef", 4, Oversize::Hash, vec!["abcd"]),
        ("nothing fits into nothing", b"a", 0, Oversize::Split, vec![]),
        ("an empty value is left out", b"", 5, Oversize::Split, vec![]),
    ] {
        let (pieces, _) = fitted(value, max, policy);
        let pieces: Vec<String> = pieces.into_iter().map(|piece| String::from_utf8(piece).unwrap()).collect();
        assert_eq!(pieces, want, "{name}");
    }
}

#[test]
fn a_column_is_as_wide_as_the_escaped_value() {
    let uri = b"sip:+49123;user=phone@x";
    let umlauts = "ääää".as_bytes();
    for (name, value, column, policy, want) in [
        ("it takes 29 columns for 23 octets", &uri[..], 29, Oversize::Truncate, vec!["sip:+49123;user=phone@x"]),
        ("one column less cuts it", uri, 28, Oversize::Truncate, vec!["sip:+49123;user=phone@"]),
        ("parameters go first", b"sip:+4912@x;user=phone", 20, Oversize::Truncate, vec!["sip:+4912@x"]),
        ("an escape is not cut in two", b"a+b", 3, Oversize::Truncate, vec!["a"]),
        ("each piece keeps the width", b"a+b+c", 4, Oversize::Split, vec!["a+", "b+", "c"]),
        ("no piece fits", b"+++", 2, Oversize::Split, vec![]),
        ("text beyond ASCII is not escaped", umlauts, 8, Oversize::Truncate, vec!["ääää"]),
        ("a digest needs 35", &[b'x'; 41], 40, Oversize::Hash, vec![]),
        ("and is left out without them", &[b'x'; 39], 38, Oversize::Hash, vec![&*"x".repeat(38)]),
    ] {
        let mut pieces = Vec::new();
        let limit = Limit { octets: 253, column: Some(column) };
        let _fitted = fit(value, limit, policy, |piece| pieces.push(String::from_utf8(piece.to_vec()).unwrap()));
        if policy == Oversize::Hash && column == 40 {
            assert!(pieces[0].starts_with("xxxxx#") && pieces[0].len() == 38, "{name}: {pieces:?}");
        } else {
            assert_eq!(pieces, want, "{name}");
        }
    }
    let octets = [0xff; 9];
    let mut pieces = Vec::new();
    fit(&octets, Limit { octets: 253, column: Some(8) }, Oversize::Truncate, |piece| pieces.push(piece.len()));
    assert_eq!(pieces, [2], "octets that are no text are escaped");
}

#[test]
fn a_digest_tells_long_values_apart() {
    let (a, b) = ([b'x'; 300], [b'x'; 301]);
    let (a, b) = (fitted(&a, 247, Oversize::Hash), fitted(&b, 247, Oversize::Hash));
    assert_eq!(a.0[0].len(), 233);
    assert_eq!(a.0[0][..201], b.0[0][..201]);
    assert_ne!(a.0, b.0);
    assert_eq!(a.1, Fitted::Shortened);
}

#[test]
fn only_a_whole_value_is_called_whole() {
    for (value, policy, want) in [
        (&b"abc"[..], Oversize::Omit, Fitted::Whole),
        (b"", Oversize::Omit, Fitted::Whole),
        (b"abcdef", Oversize::Omit, Fitted::Shortened),
        (b"abcdef", Oversize::Truncate, Fitted::Shortened),
        (b"abcdef", Oversize::Split, Fitted::Whole),
        (&[b'x'; 2049], Oversize::Split, Fitted::Shortened),
    ] {
        assert_eq!(fitted(value, 4, policy).1, want, "{policy:?}");
    }
}

#[test]
fn line_ends_and_nul_do_not_travel() {
    assert_eq!(&*clean(b"a\r\nb\0c"), b"abc");
    assert!(matches!(clean(b"a\tb\xff"), Cow::Borrowed(b"a\tb\xff")));
    assert_eq!(&*clean(b"\r\n"), b"");
}

#[test]
fn the_least_important_attributes_go_first() {
    let mut list = AttributeList::default();
    list.push_integer(Priority::ESSENTIAL, 40, 1);
    list.push(Priority::LEG, 1, b"leg 1");
    list.push(Priority::FIELD, 2, b"field");
    list.push(Priority::LEG, 3, b"leg 2");
    let budget = Budget { octets: 20, attributes: 180 };
    assert_eq!(list.drop_to(budget), 1);
    let numbers: Vec<u8> = Attributes::of(list.octets()).map(|attribute| attribute.number).collect();
    assert_eq!(numbers, [40, 1, 2], "the later of two legs went");
    assert_eq!(list.drop_to(Budget { octets: 20, attributes: 2 }), 1);
    let numbers: Vec<u8> = Attributes::of(list.octets()).map(|attribute| attribute.number).collect();
    assert_eq!((numbers, list.len()), (vec![40, 2], 2));
}

#[test]
fn pieces_of_one_value_go_together() {
    let mut list = AttributeList::default();
    list.push_with(Priority::FIELD, |out| {
        packet::push(out, 1, b"first");
        packet::push(out, 1, b"second");
    });
    list.push_with(Priority::FIELD, |_| {});
    assert_eq!((list.len(), list.drop_to(Budget { octets: 10, attributes: 9 }), list.len()), (2, 2, 0));
    assert!(list.is_empty());
}

#[test]
fn three_hundred_legs_keep_the_essential_values() {
    let mut list = AttributeList::default();
    list.push_integer(Priority::ESSENTIAL, 40, 2);
    for leg in 0..300_u32 {
        list.push(Priority::LEG, 1, format!("leg {leg}").as_bytes());
    }
    list.push(Priority::ESSENTIAL, 44, b"session");
    assert_eq!(list.drop_to(Budget::default()), 302 - ATTRIBUTES_MAX);
    let numbers: Vec<u8> = Attributes::of(list.octets()).map(|attribute| attribute.number).collect();
    assert_eq!((numbers[0], numbers[1], numbers[179]), (40, 1, 44));
}

proptest! {
    #[test]
    fn no_piece_exceeds_its_limit_and_none_is_empty(
        value in prop::collection::vec(any::<u8>(), 0..600),
        max in 0_usize..260,
        policy in prop::sample::select(vec![Oversize::Truncate, Oversize::Split, Oversize::Hash, Oversize::Omit]),
    ) {
        let (pieces, result) = fitted(&value, max, policy);
        prop_assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= max));
        if policy == Oversize::Split && result == Fitted::Whole {
            prop_assert_eq!(pieces.concat(), value);
        }
    }

    #[test]
    fn text_stays_text(value in "\\PC{0,80}", max in 4_usize..60) {
        for policy in [Oversize::Truncate, Oversize::Split, Oversize::Hash] {
            for piece in fitted(value.as_bytes(), max, policy).0 {
                prop_assert!(String::from_utf8(piece).is_ok());
            }
        }
    }

    #[test]
    fn a_list_always_comes_to_its_budget(
        groups in prop::collection::vec((any::<u8>(), 0_usize..300), 0..60),
        octets in 0_usize..5000,
        attributes in 0_usize..50,
    ) {
        let mut list = AttributeList::default();
        for (priority, size) in groups {
            list.push(Priority(priority), 1, &vec![b'x'; size]);
        }
        let budget = Budget { octets, attributes };
        let before = list.len();
        let dropped = list.drop_to(budget);
        prop_assert!(list.fits(budget));
        prop_assert_eq!(before - dropped, list.len());
        prop_assert_eq!(Attributes::of(list.octets()).count(), list.len());
    }
}
