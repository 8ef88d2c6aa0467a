//! Segmentation offload: datagrams of about one length go through the host's network in one piece.
//!
//! They are padded to one length for that. Octets beyond Length are padding, and a server must ignore them (RFC 2865 §3).

use std::io;

use super::settings::Settings;

/// Whether datagrams go in one piece; off for good once the kernel refuses.
#[derive(Debug, Default)]
pub(super) struct Offload {
    is_on: bool,
    /// Why it is off, until that is told.
    refusal: Option<io::Error>,
}

impl Offload {
    pub(super) fn of(settings: &Settings) -> Self {
        Self { is_on: settings.segmentation_offload, refusal: None }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// The kernel cannot do it.
    pub(super) fn refuse(&mut self, why: io::Error) {
        if self.is_on {
            (self.is_on, self.refusal) = (false, Some(why));
        }
    }

    /// What has become of sending in one piece, if that is a word on doing so: no route takes parts of that length
    /// (EINVAL), or the way out has no checksums of its own (EIO). Then nothing has left.
    pub(super) fn judge(&mut self, sent: io::Result<usize>) -> Option<io::Result<usize>> {
        match sent {
            Err(why) if matches!(why.raw_os_error(), Some(libc::EINVAL | libc::EIO | libc::EOPNOTSUPP)) => {
                self.refuse(why);
                None
            }
            sent => Some(sent),
        }
    }

    /// Why the kernel refused it, once.
    pub(super) fn take_refusal(&mut self) -> Option<io::Error> {
        self.refusal.take()
    }
}
