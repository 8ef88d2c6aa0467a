//! Blocks are found again whatever lies between them.

use std::io::{Seek as _, Write as _};

use super::*;

/// Rows that can be packed or not.
fn rows(number: u32) -> Vec<u8> {
    let length = if number.is_multiple_of(2) { 100 } else { 5000 };
    (0..length).map(|at| u8::try_from((at * 7 + number) % 251).unwrap()).collect()
}

fn about(number: u32) -> About {
    let begun = Timestamp(1_796_000_000_000_000 + i64::from(number) * 1_000_000);
    About { number, rows: number + 1, era: 0xfeed_0000_0000_0007, begun, last: u64::from(number) * 10 }
}

/// A file of blocks, and where each begins; behind the last one: the end.
fn written(count: u32) -> (File, Vec<u64>) {
    let (mut file, mut places) = (tempfile::tempfile().unwrap(), vec![0]);
    for number in 0..count {
        file.write_all(&block(&about(number), &rows(number), Packing::Quick)).unwrap();
        places.push(file.stream_position().unwrap());
    }
    (file, places)
}

/// Numbers of the blocks that are found, and what lies between.
fn pieces(file: &File) -> (Vec<u32>, Vec<Piece>) {
    let mut blocks = Blocks::of(file).unwrap();
    let (mut found, mut others) = (Vec::new(), Vec::new());
    loop {
        match blocks.next_piece().unwrap() {
            Piece::End => return (found, others),
            Piece::Block(head) => {
                assert_eq!(head.about, about(head.about.number));
                assert_eq!(blocks.rows(), rows(head.about.number));
                found.push(head.about.number);
            }
            other => others.push(other),
        }
    }
}

#[test]
fn blocks_come_back_as_they_were_written() {
    let (file, places) = written(6);
    assert_eq!(pieces(&file), ((0..6).collect(), Vec::new()));
    let heads = heads(&file).unwrap();
    assert_eq!(heads.iter().map(|(at, _)| *at).collect::<Vec<_>>(), places[..6]);
    assert!(heads.iter().all(|(_, head)| head.about == about(head.about.number) && !head.is_closed));
    assert!(places[2] - places[1] < 5000, "long rows are packed");
}

#[test]
fn a_file_cut_anywhere_has_the_blocks_before_and_a_torn_one() {
    let (file, places) = written(3);
    let whole_file = octets(&file);
    for cut in 0..places[3] {
        file.set_len(cut).unwrap();
        let whole = places.iter().take_while(|place| **place <= cut).count() - 1;
        let torn = cut - places[whole];
        let want = if torn == 0 { Vec::new() } else { vec![Piece::Torn { octets: torn }] };
        assert_eq!(pieces(&file), ((0..u32::try_from(whole).unwrap()).collect(), want), "{cut}");
        file.write_all_at(&whole_file, 0).unwrap();
    }
}

fn octets(file: &File) -> Vec<u8> {
    let mut octets = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut octets, 0).unwrap();
    octets
}

#[test]
fn one_octet_changed_anywhere_costs_its_block_alone() {
    let (file, places) = written(4);
    let whole = octets(&file);
    for at in (0..whole.len()).step_by(7) {
        let mut other = whole.clone();
        other[at] ^= 0x40;
        file.write_all_at(&other, 0).unwrap();
        let hit = places.iter().take_while(|place| **place <= at as u64).count() - 1;
        let length = places[hit + 1] - places[hit];
        let want = if hit == 3 { Piece::Torn { octets: length } } else { Piece::Damage { octets: length } };
        let left = (0..4).filter(|number| *number as usize != hit).collect();
        assert_eq!(pieces(&file), (left, vec![want]), "octet {at}");
    }
}

#[test]
fn zeros_noise_and_magics_between_blocks_are_passed_over() {
    let (first, places) = written(1);
    let block_0 = octets(&first);
    let block_1 = block(&about(1), &rows(1), Packing::Quick);
    let magics = MAGIC.repeat(100);
    let cut = &block_0[..block_0.len() - 1];
    let long = vec![0xa5; SEARCH_OCTETS + 1];
    for (name, between) in [
        ("zeros", &[0; 5000][..]),
        ("magics", &magics),
        ("a block that is cut", cut),
        ("more than is read at once", &long),
    ] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[&block_0, between, &block_1].concat()).unwrap();
        let octets = between.len() as u64;
        assert_eq!(pieces(&file), (vec![0, 1], vec![Piece::Damage { octets }]), "{name}");
        assert_eq!(places.len(), 2);
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&long).unwrap();
    assert_eq!(
        pieces(&file),
        (Vec::new(), vec![Piece::Torn { octets: long.len() as u64 }]),
        "a file of something else"
    );
}
