//! The way to the receiver: a local socket, datagrams, or a connection.
//!
//! * A *local socket* and UDP acknowledge nothing: a line is *handed over* when the kernel has it. A local receiver that is
//!   slow or stopped makes the sink wait, and nothing else; one that was restarted is connected to anew.
//! * Over TCP and TLS each line is a frame that begins with its length (RFC 6587 §3.4.1, RFC 5425 §4.3), and is *written*
//!   when the kernel has it. What was written shortly before a connection broke is written again over the next.
//! * RELP acknowledges each line, which is then *in the receiver's memory*, or in its queue on disk where it has one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::task::Poll;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UdpSocket, UnixDatagram, lookup_host};
use tokio::time::{sleep, timeout};

use super::relp::Session;
use crate::causes::chain_text;
use crate::clock::{self, Instant};
use crate::net::dial::{Upkeep, connect_host};
use crate::net::socket::Local;
use crate::net::stream::{Packets, Wire};
use crate::net::tls::ClientTls;
use crate::queue::Worth;
use crate::sinks::attempt::{Answer, Attempt, Entry, Fate};
use crate::sinks::trial::Message;

/// The receiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Receiver {
    /// A socket of this machine that takes lines.
    Local(PathBuf),
    /// The socket of journald that takes fields.
    Journal(PathBuf),
    /// Datagrams to a host and a port (RFC 5426).
    Udp(String, u16),
    /// A connection to a host and a port.
    Tcp(String, u16),
    /// The same with TLS, by which the host proves its name.
    Tls(String, u16, ClientTls, ServerName<'static>),
    /// A connection on which each line is acknowledged.
    Relp(String, u16),
}

impl Receiver {
    /// As it stands in the configuration.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Local(path) | Self::Journal(path) => path.display().to_string(),
            Self::Udp(host, port) => format!("udp:{}", place(host, *port)),
            Self::Tcp(host, port) => format!("tcp:{}", place(host, *port)),
            Self::Tls(host, port, ..) => format!("tls:{}", place(host, *port)),
            Self::Relp(host, port) => format!("relp:{}", place(host, *port)),
        }
    }

    /// Whether lines go over a connection on which nobody acknowledges them.
    #[must_use]
    pub const fn is_stream(&self) -> bool {
        matches!(self, Self::Tcp(..) | Self::Tls(..))
    }
}

/// Host and port; an IPv6 address in brackets.
fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A record: its datagrams, or its frames.
pub type Lines = Vec<Vec<u8>>;

/// Longest wait for a receiver that takes nothing.
const SEND_TIME_MAX: Duration = Duration::from_secs(5);

/// Wait where the kernel has no room and does not say when it will.
const NO_ROOM_WAIT: Duration = Duration::from_millis(50);

/// What was written so long before a connection broke is written again.
const DOUBT: Duration = Duration::from_secs(2);

/// Octets that are kept for that at most.
const DOUBT_OCTETS_MAX: usize = 1 << 20;

/// The way to one receiver.
pub struct Link {
    receiver: Receiver,
    socket: Option<Socket>,
    /// What was written lately, and when.
    lately: VecDeque<(Instant, Vec<u8>)>,
}

enum Socket {
    Local(UnixDatagram),
    Udp(UdpSocket),
    Stream(Wire),
    Relp(Session),
}

/// Why a datagram did not leave.
enum Failure {
    /// It has too many octets.
    TooLong,
    /// The receiver is away.
    Away(String),
}

impl Link {
    /// To that receiver, not connected yet.
    #[must_use]
    pub const fn new(receiver: Receiver) -> Self {
        Self { receiver, socket: None, lately: VecDeque::new() }
    }

    async fn connect(&self) -> Result<Socket, String> {
        let told = |error: io::Error| chain_text(&error);
        match &self.receiver {
            Receiver::Local(path) | Receiver::Journal(path) => {
                let socket = UnixDatagram::unbound().map_err(told)?;
                socket.connect(path).map_err(|error| format!("cannot connect to `{}`: {error}", path.display()))?;
                Ok(Socket::Local(socket))
            }
            Receiver::Udp(host, port) => {
                let mut found = lookup_host((host.as_str(), *port)).await.map_err(told)?;
                let to = found.next().ok_or_else(|| format!("`{host}` has no address"))?;
                let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                let socket = UdpSocket::bind((any, 0_u16) as (std::net::IpAddr, u16)).await.map_err(told)?;
                socket.connect(to).await.map_err(told)?;
                Ok(Socket::Udp(socket))
            }
            Receiver::Tcp(host, port) => {
                Ok(Socket::Stream(Wire::Tcp(connect_host(host, *port, Local::default(), upkeep()).await?)))
            }
            Receiver::Tls(host, port, tls, name) => {
                let stream = connect_host(host, *port, Local::default(), upkeep()).await?;
                let stream = tls.connect(name.clone(), stream).await.map_err(|error| format!("TLS: {error}"))?;
                Ok(Socket::Stream(Wire::tls(stream)))
            }
            Receiver::Relp(host, port) => {
                let stream = connect_host(host, *port, Local::default(), upkeep()).await?;
                Ok(Socket::Relp(Session::open(Wire::Tcp(stream)).await?))
            }
        }
    }

    /// Sends datagrams, record by record; notes the fate of each that was tried. Why no more could be sent.
    async fn hand_over(&mut self, batch: &[Entry<Lines>], fates: &mut Vec<Fate>) -> Result<(), String> {
        for entry in batch {
            let mut fate = Fate::Delivered;
            for line in &entry.item {
                match self.datagram(line).await {
                    Ok(()) => {}
                    Err(Failure::Away(reason)) => return Err(reason),
                    Err(Failure::TooLong) => {
                        let reason = format!("a datagram of {} octets is more than the system takes", line.len());
                        fate = Fate::Refused { reason, code: 0 };
                        break;
                    }
                }
            }
            fates.push(fate);
        }
        Ok(())
    }

    async fn datagram(&mut self, line: &[u8]) -> Result<(), Failure> {
        let mut is_new = false;
        loop {
            let socket = match self.socket.take() {
                Some(socket) => socket,
                None => {
                    is_new = true;
                    self.connect().await.map_err(Failure::Away)?
                }
            };
            let sent = match &socket {
                Socket::Local(socket) => socket.send(line).await,
                Socket::Udp(socket) => socket.send(line).await,
                Socket::Stream(_) | Socket::Relp(_) => Err(io::ErrorKind::Unsupported.into()),
            };
            let error = match sent {
                Ok(_) => {
                    self.socket = Some(socket);
                    return Ok(());
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EMSGSIZE) => {
                    self.socket = Some(socket);
                    return Err(Failure::TooLong);
                }
                Some(libc::ENOBUFS) => {
                    self.socket = Some(socket);
                    sleep(NO_ROOM_WAIT).await;
                }
                // The receiver was restarted: the old socket never heals.
                _ if !is_new => {}
                _ => return Err(Failure::Away(format!("cannot send: {error}"))),
            }
        }
    }

    /// Writes frames over a connection.
    async fn write(&mut self, frames: &[u8]) -> Answer {
        if let Some(Socket::Stream(wire)) = &mut self.socket
            && has_ended(wire).await
        {
            self.socket = None;
        }
        let mut wire = match self.socket.take() {
            Some(Socket::Stream(wire)) => wire,
            _ => match self.connect().await {
                Ok(Socket::Stream(wire)) => {
                    if let Err(answer) = self.write_again(wire).await {
                        return answer;
                    }
                    match self.socket.take() {
                        Some(Socket::Stream(wire)) => wire,
                        _ => return Answer::Down { reason: "there is no connection".to_owned(), after: None },
                    }
                }
                Ok(_) => return Answer::Down { reason: "it is no connection".to_owned(), after: None },
                Err(reason) => return Answer::Down { reason, after: None },
            },
        };
        let written = match wire.write_all(frames).await {
            Ok(()) => wire.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            return Answer::Unknown { reason: format!("the connection broke: {error}") };
        }
        self.socket = Some(Socket::Stream(wire));
        self.remember(frames);
        Answer::Delivered
    }

    /// Sends records over a session of RELP, and waits for the receiver's word on each.
    async fn exchange(&mut self, records: &[&Lines]) -> Answer {
        let mut session = match self.session().await {
            Ok(session) => session,
            Err(reason) => return Answer::Down { reason, after: None },
        };
        let answer = session.exchange(records).await;
        let is_broken = match &answer {
            Answer::Unknown { .. } => true,
            Answer::Each(fates) => fates.iter().any(|fate| matches!(fate, Fate::Unknown { .. })),
            _ => false,
        };
        if !is_broken {
            self.socket = Some(Socket::Relp(session));
        }
        answer
    }

    /// The session of RELP, or a new one where the receiver has closed it.
    async fn session(&mut self) -> Result<Session, String> {
        if let Some(Socket::Relp(mut session)) = self.socket.take()
            && !session.has_ended().await
        {
            return Ok(session);
        }
        match timeout(SEND_TIME_MAX, self.connect()).await {
            Ok(Ok(Socket::Relp(session))) => Ok(session),
            Ok(Ok(_)) => Err("it is no session".to_owned()),
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err(format!("no session was opened in {} s", SEND_TIME_MAX.as_secs())),
        }
    }

    /// Writes what was written shortly before the last connection broke, over a new one.
    async fn write_again(&mut self, mut wire: Wire) -> Result<(), Answer> {
        self.forget();
        for (_, frames) in &self.lately {
            if let Err(error) = wire.write_all(frames).await {
                return Err(Answer::Down { reason: format!("the connection broke: {error}"), after: None });
            }
        }
        self.socket = Some(Socket::Stream(wire));
        Ok(())
    }

    fn remember(&mut self, frames: &[u8]) {
        self.forget();
        self.lately.push_back((clock::mono(), frames.to_vec()));
        while self.lately.iter().map(|(_, frames)| frames.len()).sum::<usize>() > DOUBT_OCTETS_MAX {
            self.lately.pop_front();
        }
    }

    fn forget(&mut self) {
        let now = clock::mono();
        while self.lately.front().is_some_and(|(at, _)| now.since(*at) > DOUBT) {
            self.lately.pop_front();
        }
    }
}

/// Whether the other end has closed a connection that is idle: a receiver has nothing to say.
async fn has_ended(wire: &mut Wire) -> bool {
    let (mut buffer, mut packets) = ([0; 512], Packets::default());
    poll_fn(|cx| match wire.poll_packets(cx, &mut buffer, &mut packets) {
        Poll::Ready(Ok(octets)) if octets > 0 => Poll::Ready(false),
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending => Poll::Ready(false),
    })
    .await
}

/// A receiver that is gone without a word is noticed by what it does not acknowledge.
fn upkeep() -> Upkeep {
    Upkeep { unacknowledged_max: Some(Duration::from_secs(30)), ..Upkeep::default() }
}

impl Attempt for Link {
    const KIND: &'static str = "syslog";
    type Item = Lines;

    fn backend(&self) -> String {
        self.receiver.text()
    }

    fn stores(&self) -> Worth {
        Worth::Taken
    }

    fn worth(&self) -> &'static str {
        match self.receiver {
            Receiver::Relp(..) => "in the receiver's memory",
            Receiver::Tcp(..) | Receiver::Tls(..) => "written",
            Receiver::Local(_) | Receiver::Journal(_) | Receiver::Udp(..) => "handed over",
        }
    }

    fn octets(lines: &Lines) -> usize {
        lines.iter().map(Vec::len).sum()
    }

    fn describe(lines: &Lines) -> Message {
        let text: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        Message { title: text.join("\n"), octets: Self::octets(lines), attributes: Vec::new() }
    }

    async fn attempt(&mut self, batch: &[Entry<Lines>]) -> Answer {
        if self.receiver.is_stream() {
            let frames: Vec<u8> = batch.iter().flat_map(|entry| &entry.item).flatten().copied().collect();
            return self.write(&frames).await;
        }
        if matches!(self.receiver, Receiver::Relp(..)) {
            let records: Vec<_> = batch.iter().map(|entry| &entry.item).collect();
            return self.exchange(&records).await;
        }
        let mut fates = Vec::with_capacity(batch.len());
        let ended = timeout(SEND_TIME_MAX, self.hand_over(batch, &mut fates)).await;
        let reason = match ended {
            Ok(Ok(())) if fates.iter().all(|fate| *fate == Fate::Delivered) => return Answer::Delivered,
            Ok(Ok(())) => return Answer::Each(fates),
            Ok(Err(reason)) => reason,
            Err(_) => format!("it has taken nothing for {} s", SEND_TIME_MAX.as_secs()),
        };
        if fates.is_empty() {
            return Answer::Down { reason, after: None };
        }
        fates.resize_with(batch.len(), || Fate::Unsent { reason: reason.clone() });
        Answer::Each(fates)
    }

    fn abandon(&mut self) {
        self.socket = None;
    }

    async fn close(&mut self) {
        match self.socket.take() {
            Some(Socket::Stream(mut wire)) => {
                let _best_effort = wire.shutdown().await;
            }
            Some(Socket::Relp(session)) => session.close().await,
            _ => {}
        }
    }

    async fn reach(&mut self) -> Result<(), String> {
        self.socket = Some(self.connect().await?);
        Ok(())
    }
}
