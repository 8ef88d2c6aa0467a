//! Datagrams of one lane that have not left: what becomes of a batch that the kernel takes in part, or not at all.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use bytes::Bytes;

/// Datagrams that wait at most; the machine sends the ones beyond it again by itself. A lane has 256 requests under way.
const WAITING_MAX: usize = 512;

/// The datagrams, in the order in which they go.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    waiting: VecDeque<Bytes>,
}

/// What is left after sending.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Left {
    Nothing,
    /// The socket has no room; the kernel tells when it has.
    NoRoom,
    /// The host is short of memory (ENOBUFS), and nobody tells when that is over.
    NoMemory,
}

impl Outgoing {
    pub(super) fn push(&mut self, datagram: Bytes) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(datagram);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends what waits by calls of `send`, which is given all of it and says how many of the first have left; counts in
    /// `refused` those that the network does not take, which leave as well.
    ///
    /// What the kernel says to a batch is said to its first datagram alone: those behind it were not tried.
    pub(super) fn send(
        &mut self,
        refused: &mut usize,
        mut send: impl FnMut(&VecDeque<Bytes>) -> io::Result<usize>,
    ) -> Left {
        let mut was_told = false;
        while !self.waiting.is_empty() {
            let error = match send(&self.waiting) {
                Ok(sent) => {
                    self.waiting.drain(..sent.min(self.waiting.len()));
                    was_told = false;
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::WouldBlock => return Left::NoRoom,
                _ if error.raw_os_error() == Some(libc::ENOBUFS) => return Left::NoMemory,
                // That belongs to an earlier datagram, sent perhaps before the server came back; this one has not left. If
                // nobody listens still, there will be another.
                ErrorKind::ConnectionRefused if !was_told => was_told = true,
                _ => {
                    self.waiting.pop_front();
                    *refused += 1;
                    was_told = false;
                }
            }
        }
        Left::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(code))
    }

    #[test]
    fn every_datagram_leaves_once_and_in_order_whatever_the_kernel_says_to_a_batch() {
        use libc::{EAGAIN, ECONNREFUSED, ENOBUFS, EPERM};
        for (name, said, gone, refused, left) in [
            ("all at once", vec![Ok(5)], "01234", 0, Left::Nothing),
            ("in parts", vec![Ok(2), Ok(1), Ok(2)], "01234", 0, Left::Nothing),
            ("no room from the beginning", vec![error(EAGAIN)], "", 0, Left::NoRoom),
            ("no room behind the third", vec![Ok(3), error(EAGAIN)], "012", 0, Left::NoRoom),
            ("short of memory behind the third", vec![Ok(3), error(ENOBUFS)], "012", 0, Left::NoMemory),
            (
                "what an earlier one met is no word on these",
                vec![error(ECONNREFUSED), Ok(5)],
                "01234",
                0,
                Left::Nothing,
            ),
            (
                "nobody listens: each that leaves brings the error to the one behind it",
                vec![error(ECONNREFUSED), Ok(1), error(ECONNREFUSED), Ok(1), error(ECONNREFUSED), Ok(3)],
                "01234",
                0,
                Left::Nothing,
            ),
            (
                "refused twice in a row is this one's",
                vec![Ok(1), error(ECONNREFUSED), error(ECONNREFUSED), Ok(3)],
                "0234",
                1,
                Left::Nothing,
            ),
            ("one that a filter forbids holds up no other", vec![Ok(2), error(EPERM), Ok(2)], "0134", 1, Left::Nothing),
            (
                "what has no way out is refused one by one",
                vec![error(EPERM), error(EPERM), error(EPERM), error(EPERM), error(EPERM)],
                "",
                5,
                Left::Nothing,
            ),
        ] {
            let mut outgoing = Outgoing::default();
            ["0", "1", "2", "3", "4"].into_iter().for_each(|one| outgoing.push(Bytes::from(one)));
            let (mut sent, mut refusals, mut said) = (String::new(), 0, said.into_iter());
            let end = outgoing.send(&mut refusals, |waiting| {
                let said = said.next().unwrap();
                let taken = waiting.iter().take(*said.as_ref().unwrap_or(&0));
                taken.for_each(|datagram| sent.push_str(std::str::from_utf8(datagram).unwrap()));
                said
            });
            assert_eq!((&*sent, refusals, end), (gone, refused, left), "{name}");
            assert!(said.next().is_none(), "{name}");
            let waiting: String = outgoing.waiting.iter().map(|one| std::str::from_utf8(one).unwrap()).collect();
            let rest = if left == Left::Nothing { "" } else { &"01234"[gone.len()..] };
            assert_eq!(waiting, rest, "{name}: the others wait in their order");
        }
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut outgoing = Outgoing::default();
        (0..2 * WAITING_MAX).for_each(|_| outgoing.push(Bytes::from_static(b"x")));
        assert_eq!(outgoing.waiting.len(), WAITING_MAX);
    }
}
