//! How often the messages of a call are parsed.

use super::bench::{Bench, Setup};
use crate::sip::message::vias_parsed;

#[test]
fn the_top_via_of_each_message_is_parsed_once() {
    let before = vias_parsed();
    Bench::new("a whole call", Setup::new()).play(
        "an answered call
         alice sends BYE
         bob gets BYE
         bob sends 200
         disk writes
         alice gets 200",
    );
    assert_eq!(vias_parsed() - before, 5, "INVITE, 200, ACK, BYE, 200");
}
