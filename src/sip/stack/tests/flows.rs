//! Flows as sentences; see [`super::script`].

use super::script::{Play, settings};

#[test]
fn flows() {
    for (name, plan, script) in [(
        "an answered call goes through, and its BYE follows the Record-Route",
        "bob",
        "alice sends INVITE
         told Request
         bob gets INVITE with Max-Forwards: 69
         bob sends 180
         told Provisional 180 by 0
         alice gets 180
         bob sends 200
         told Final 200
         alice gets 200
         alice sends ACK
         bob gets ACK without Route
         told Acknowledged
         alice sends BYE
         bob gets BYE without Route
         bob sends 200
         alice gets 200",
    )] {
        Play::new(name, plan, settings()).run(script);
    }
}
