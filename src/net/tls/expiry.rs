//! How long the certificates of a file are good for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use super::certificates;
use crate::clock::Timestamp;

/// How long before its end a certificate is warned of.
pub const NOTICE: Duration = Duration::from_secs(30 * DAY_SECS);
/// How often it is warned of in the log of a running service.
pub const REPEATED: Duration = Duration::from_secs(DAY_SECS);

const DAY_SECS: u64 = 86_400;
/// Characters of a subject that are shown.
const SUBJECT_CHARS_MAX: usize = 100;

/// A file with certificates that end soon, or have ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expiring {
    /// The file.
    pub path: PathBuf,
    /// The subject of the one that ends first.
    subject: String,
    /// Its last instant.
    until: Timestamp,
    /// When that was found out.
    now: Timestamp,
    /// Further ones of the file.
    others: usize,
}

impl fmt::Display for Expiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, until, now, others, .. } = self;
        write!(f, "the certificate of `{subject}` ")?;
        let date = until.to_string();
        let date = date.split('T').next().unwrap_or_default();
        match until.since(*now).as_secs() / DAY_SECS {
            _ if until < now => write!(f, "expired on {date}")?,
            0 => write!(f, "expires within a day, on {date}")?,
            1 => write!(f, "expires in a day, on {date}")?,
            days => write!(f, "expires in {days} days, on {date}")?,
        }
        match others {
            0 => Ok(()),
            1 => f.write_str(", and another one of the file soon too"),
            others => write!(f, ", and {others} others of the file soon too"),
        }
    }
}

/// The certificates of a PEM file that are good for no longer than [`NOTICE`] from `now` on.
///
/// `None` when there are none, or when the file cannot be read: who uses it says so.
#[must_use]
pub fn expiring(path: &Path, now: Timestamp) -> Option<Expiring> {
    let ends = |der: &[u8]| {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        Some((end(&certificate), shown(&certificate.subject().to_string())))
    };
    let all = certificates(path).ok()?;
    let mut soon: Vec<_> =
        all.iter().filter_map(|der| ends(der)).filter(|(until, _)| until.since(now) <= NOTICE).collect();
    soon.sort();
    let others = soon.len().saturating_sub(1);
    let (until, subject) = soon.into_iter().next()?;
    Some(Expiring { path: path.to_owned(), subject, until, now, others })
}

/// The last instant of a certificate, given as DER; `None` when it cannot be read.
#[must_use]
pub fn last_instant(der: &[u8]) -> Option<Timestamp> {
    parse_x509_certificate(der).ok().map(|(_, certificate)| end(&certificate))
}

fn end(certificate: &X509Certificate<'_>) -> Timestamp {
    Timestamp(certificate.validity().not_after.timestamp().saturating_mul(1_000_000))
}

/// A name from a certificate, for people.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(SUBJECT_CHARS_MAX).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn certificates_that_end_soon_are_told_with_their_day() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("certificates.pem");
        let made = |name: &str, day: u8| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_after = date_time_ymd(2030, 6, day);
            params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").pem()
        };
        let at = |text: &str| Timestamp(text.parse::<jiff::Timestamp>().expect("an instant").as_microsecond());
        for (name, now, ends, want) in [
            ("far away", "2030-05-01T00:00:00Z", &[20, 10][..], None),
            ("a second too early", "2030-05-10T23:59:59Z", &[10], None),
            ("the first day", "2030-05-11T00:00:00Z", &[10], Some("`CN=c10` expires in 30 days, on 2030-06-10")),
            ("the first of two", "2030-05-12T00:00:01Z", &[30, 10], Some("`CN=c10` expires in 28 days, on 2030-06-10")),
            (
                "both",
                "2030-06-09T00:00:00Z",
                &[11, 10],
                Some("`CN=c10` expires in a day, on 2030-06-10, and another one of the file soon too"),
            ),
            ("hours", "2030-06-09T12:00:00Z", &[10], Some("`CN=c10` expires within a day, on 2030-06-10")),
            (
                "over",
                "2030-06-10T00:00:01Z",
                &[12, 10, 11],
                Some("`CN=c10` expired on 2030-06-10, and 2 others of the file soon too"),
            ),
        ] {
            let text: String = ends.iter().map(|day| made(&format!("c{day}"), *day)).collect();
            std::fs::write(&path, text).expect("written");
            let found = expiring(&path, at(now)).map(|found| found.to_string());
            let text = found.as_deref().map(|text| text.replace("the certificate of ", ""));
            // A day of rcgen may carry its own common name in front.
            let text = text.map(|text| text.replace("CN=rcgen self signed cert, ", ""));
            assert_eq!(text.as_deref(), want, "{name}");
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_left_to_who_uses_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.pem");
        assert_eq!(expiring(&path, Timestamp(0)), None);
        for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "junk"] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(expiring(&path, Timestamp(0)), None, "{text}");
        }
    }
}
