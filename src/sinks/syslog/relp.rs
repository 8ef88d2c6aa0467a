//! RELP, the protocol of rsyslog in which the receiver acknowledges each line: what is not acknowledged goes again over the
//! next connection.
//!
//! A frame is `NUMBER COMMAND OCTETS[ DATA]` and a line feed. Numbers count from 1, that of `open`, and a response (`rsp`)
//! has that of its command; its data begin with a code, 200 for success. Number 0 is a hint, such as `serverclose`.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncBufRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::link::Lines;
use crate::names::PRODUCT;
use crate::net::stream::Wire;
use crate::sinks::attempt::{Answer, Fate};

/// Numbers go on with 1 behind it.
const NUMBER_MAX: u32 = 999_999_999;

/// Octets of data in a response at most.
const RESPONSE_OCTETS_MAX: usize = 64 << 10;

/// Success.
const OK: u32 = 200;

/// A connection on which commands are exchanged.
pub struct Session {
    wire: BufReader<Wire>,
    number: u32,
}

/// What the receiver said of a command.
#[derive(Debug, Eq, PartialEq)]
struct Response {
    number: u32,
    code: u32,
    /// What stands behind the code, up to a line feed.
    text: String,
    /// What stands behind that.
    offers: String,
}

impl Session {
    /// Opens a session; only lines are offered.
    ///
    /// # Errors
    /// The receiver does not speak RELP, or takes no lines.
    pub async fn open(wire: Wire) -> Result<Self, String> {
        let mut session = Self { wire: BufReader::new(wire), number: 0 };
        let offers = format!("relp_version=0\nrelp_software={PRODUCT}\ncommands=syslog");
        let mut frame = Vec::new();
        let number = session.frame("open", offers.as_bytes(), &mut frame);
        session.wire.write_all(&frame).await.map_err(|error| format!("RELP: {error}"))?;
        let response = session.response().await?;
        if response.number != number || response.code != OK {
            return Err(format!("RELP: the receiver does not open a session: {} {}", response.code, response.text));
        }
        let takes_lines = response.offers.lines().any(|line| {
            line.strip_prefix("commands=")
                .is_some_and(|commands| commands.split(',').any(|command| command == "syslog"))
        });
        if takes_lines { Ok(session) } else { Err("RELP: the receiver takes no lines of syslog".to_owned()) }
    }

    /// Whether the receiver has closed it, or said that it will.
    pub async fn has_ended(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(Pin::new(&mut self.wire).poll_fill_buf(cx).is_ready())).await
    }

    /// Sends the lines of records and waits for what the receiver says of each.
    pub async fn exchange(&mut self, records: &[&Lines]) -> Answer {
        let mut fates: Vec<Option<Fate>> = vec![None; records.len()];
        // Which record a number is of, and how many of its lines are to be acknowledged.
        let (mut sent, mut frames) = (Vec::new(), Vec::new());
        let mut open: Vec<_> = records.iter().map(|lines| lines.len()).collect();
        for (place, lines) in records.iter().enumerate() {
            for line in *lines {
                sent.push((self.frame("syslog", line, &mut frames), place));
            }
        }
        let mut broken = match self.wire.write_all(&frames).await {
            Ok(()) => self.wire.flush().await.err(),
            Err(error) => Some(error),
        }
        .map(|error| error.to_string());
        let mut left = sent.len();
        while broken.is_none() && left > 0 {
            let response = match self.response().await {
                Ok(response) => response,
                Err(reason) => {
                    broken = Some(reason);
                    break;
                }
            };
            // They come in order; one that is of nothing sent is no reason to break.
            let Some(at) = sent.iter().position(|(number, _)| *number == response.number) else { continue };
            let (_, place) = sent.remove(at);
            left -= 1;
            open[place] -= 1;
            if response.code != OK {
                let reason = format!("the receiver refused the line: {} {}", response.code, response.text);
                fates[place] = Some(Fate::Refused { reason, code: response.code });
            } else if open[place] == 0 && fates[place].is_none() {
                fates[place] = Some(Fate::Delivered);
            }
        }
        let Some(reason) = broken else {
            let is_delivered = |fate: &Option<Fate>| *fate == Some(Fate::Delivered);
            if fates.iter().all(is_delivered) {
                return Answer::Delivered;
            }
            return Answer::Each(fates.into_iter().map(|fate| fate.unwrap_or(Fate::Delivered)).collect());
        };
        let reason = format!("the connection broke: {reason}");
        if fates.iter().all(Option::is_none) {
            return Answer::Unknown { reason };
        }
        let unknown = || Fate::Unknown { reason: reason.clone() };
        Answer::Each(fates.into_iter().map(|fate| fate.unwrap_or_else(unknown)).collect())
    }

    /// Says that it ends; the receiver's response is not waited for.
    pub async fn close(mut self) {
        let mut frame = Vec::new();
        self.frame("close", b"", &mut frame);
        let _best_effort = self.wire.write_all(&frame).await;
        let _best_effort = self.wire.shutdown().await;
    }

    /// Appends a command and gives its number.
    fn frame(&mut self, command: &str, data: &[u8], out: &mut Vec<u8>) -> u32 {
        self.number = if self.number >= NUMBER_MAX { 1 } else { self.number + 1 };
        let mut head = String::new();
        let _written = write!(head, "{} {command} {}", self.number, data.len()); // writing to a String cannot fail
        out.extend_from_slice(head.as_bytes());
        if !data.is_empty() {
            out.push(b' ');
            out.extend_from_slice(data);
        }
        out.push(b'\n');
        self.number
    }

    async fn response(&mut self) -> Result<Response, String> {
        let number = self.word().await?;
        let command = self.word().await?;
        let octets = self.word().await?;
        let foreign = || format!("RELP: `{} {} {}` is no frame", number.text, command.text, octets.text);
        let (Ok(count), false) = (number.text.parse::<u32>(), number.is_last || command.is_last) else {
            return Err(foreign());
        };
        let length = octets.text.parse::<usize>().map_err(|_| foreign())?;
        if length > RESPONSE_OCTETS_MAX {
            return Err(format!("RELP: a response of {length} octets; {RESPONSE_OCTETS_MAX} are taken"));
        }
        let mut data = vec![0; length];
        if !octets.is_last {
            self.wire.read_exact(&mut data).await.map_err(told)?;
            // Before the line feed that ends the frame, some send a blank where there are no data.
            while self.octet().await? != b'\n' {}
        }
        match command.text.as_str() {
            "rsp" => Ok(Response::of(count, &String::from_utf8_lossy(&data))),
            "serverclose" => Err("RELP: the receiver closes the session".to_owned()),
            other => Err(format!("RELP: `{other}` is no response")),
        }
    }

    /// What stands before the next blank or line feed.
    async fn word(&mut self) -> Result<Word, String> {
        let mut text = String::new();
        loop {
            match self.octet().await? {
                end @ (b' ' | b'\n') => return Ok(Word { text, is_last: end == b'\n' }),
                octet if text.len() < WORD_OCTETS_MAX => text.push(char::from(octet)),
                _ => return Err(format!("RELP: `{text}` is no word of a frame")),
            }
        }
    }

    async fn octet(&mut self) -> Result<u8, String> {
        self.wire.read_u8().await.map_err(told)
    }
}

/// Longest word of a frame's head.
const WORD_OCTETS_MAX: usize = 32;

/// A word of a frame's head.
struct Word {
    text: String,
    /// A line feed ends it, and the frame.
    is_last: bool,
}

fn told(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the receiver closed it".to_owned(),
        _ => error.to_string(),
    }
}

impl Response {
    /// `200 OK`, and lines of what is offered.
    fn of(number: u32, data: &str) -> Self {
        let (first, offers) = data.split_once('\n').unwrap_or((data, ""));
        let (code, text) = first.split_once(' ').unwrap_or((first, ""));
        Self { number, code: code.parse().unwrap_or_default(), text: text.to_owned(), offers: offers.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A receiver of these octets, whatever it is sent, and what it was sent.
    async fn with(octets: &'static str, then: impl AsyncFnOnce(Result<Session, String>)) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let receiver = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(octets.as_bytes()).await.expect("it takes them");
            stream.shutdown().await.expect("nothing more is sent");
            let mut sent = String::new();
            let read = stream.read_to_string(&mut sent);
            let _ended = tokio::time::timeout(Duration::from_secs(5), read).await;
            sent
        });
        let wire = Wire::Tcp(TcpStream::connect(address).await.expect("it listens"));
        then(Session::open(wire).await).await;
        receiver.await.expect("it has not panicked")
    }

    fn lines(texts: &[&str]) -> Lines {
        texts.iter().map(|line| line.as_bytes().to_vec()).collect()
    }

    const OPENED: &str = "1 rsp 46 200 OK\nrelp_version=0\ncommands=syslog,eventlog\n";

    #[tokio::test]
    async fn a_record_is_delivered_when_all_its_lines_are_acknowledged() {
        let refused = |code| Fate::Refused { reason: format!("the receiver refused the line: {code} full"), code };
        let unknown = || Fate::Unknown { reason: "the connection broke: the receiver closed it".to_owned() };
        for (said, want) in [
            ("2 rsp 6 200 OK\n3 rsp 6 200 OK\n4 rsp 6 200 OK\n", Answer::Delivered),
            ("4 rsp 6 200 OK\n99 rsp 3 200\n3 rsp 3 200\n2 rsp 6 200 OK\n", Answer::Delivered),
            ("2 rsp 8 500 full\n3 rsp 6 200 OK\n4 rsp 6 200 OK\n", Answer::Each(vec![refused(500), Fate::Delivered])),
            ("4 rsp 6 200 OK\n2 rsp 6 200 OK\n", Answer::Each(vec![unknown(), Fate::Delivered])),
            ("2 rsp 6 200 OK\n", Answer::Unknown { reason: "the connection broke: the receiver closed it".to_owned() }),
            (
                "0 serverclose 0\n",
                Answer::Unknown { reason: "the connection broke: RELP: the receiver closes the session".to_owned() },
            ),
        ] {
            let text: &'static str = format!("{OPENED}{said}").leak();
            let sent = with(text, async |session| {
                let answer = session.expect("it opens").exchange(&[&lines(&["a b", "c"]), &lines(&["d\u{e9}"])]).await;
                assert_eq!(answer, want, "{said}");
            })
            .await;
            let own = "relp_version=0\nrelp_software=tollgate\ncommands=syslog";
            let want = format!("1 open {} {own}\n2 syslog 3 a b\n3 syslog 1 c\n4 syslog 3 d\u{e9}\n", own.len());
            assert_eq!(sent, want, "{said}");
        }
    }

    #[tokio::test]
    async fn who_speaks_no_relp_is_told_of() {
        for (said, want) in [
            ("1 rsp 6 500 no\n", "RELP: the receiver does not open a session: 500 no"),
            ("1 rsp 6 200 OK\n", "RELP: the receiver takes no lines of syslog"),
            ("220 mail.example ESMTP\n", "RELP: `220 mail.example ESMTP` is no frame"),
            ("1 rsp 99999999 x", "RELP: a response of 99999999 octets; 65536 are taken"),
            ("1 ask 1 x\n", "RELP: `ask` is no response"),
            ("", "the receiver closed it"),
        ] {
            with(said, async |session| assert_eq!(session.err().as_deref(), Some(want), "{said:?}")).await;
        }
    }

    #[tokio::test]
    async fn numbers_begin_anew_behind_the_last() {
        with(OPENED, async |session| {
            let mut session = session.expect("it opens");
            session.number = NUMBER_MAX - 1;
            let mut out = Vec::new();
            assert_eq!(session.frame("close", b"", &mut out), 999_999_999);
            assert_eq!(session.frame("close", b"", &mut out), 1);
            assert_eq!(String::from_utf8_lossy(&out), "999999999 close 0\n1 close 0\n");
        })
        .await;
    }
}
