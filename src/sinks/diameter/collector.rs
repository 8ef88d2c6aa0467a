//! A small accounting server on TCP: for the demo, for load tests, for a look at what is sent.
//!
//! It answers what a peer may ask (RFC 6733 §5) and every Accounting-Request with 2001. It stores nothing.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::text;
use crate::diameter::application;
use crate::diameter::avp::{Avps, Writer, flag as avp_flag};
use crate::diameter::code;
use crate::diameter::header::{self, Header, command, flag};
use crate::diameter::result;
use crate::dictionary::diameter::Dictionary;

/// Requests taken in that nobody looked at; then it stops reading.
const COLLECTED_MAX: usize = 1024;
/// Requests remembered to recognise a repeat.
const RECENT_MAX: usize = 1024;
/// Octets of one message at most.
const MESSAGE_OCTETS_MAX: usize = 65_536;
const M: u8 = avp_flag::MANDATORY;

/// An Accounting-Request that came in and was answered.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Where it came from.
    pub from: SocketAddr,
    /// What it is, such as `Accounting-Request START, end-to-end 0x00000001`.
    pub title: String,
    /// Its Diameter header, flags and identifiers included.
    pub header: Header,
    /// Its AVPs in their order, one line each, members of groups indented by two.
    pub lines: Vec<String>,
    /// Whether it came before: same Origin-Host and End-to-End id.
    pub is_repeat: bool,
}

/// The server.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    collected: mpsc::Receiver<(SocketAddr, Vec<u8>)>,
    recent: VecDeque<(Vec<u8>, u32)>,
    dictionary: Arc<Dictionary>,
    task: tokio::task::JoinHandle<()>,
}

impl Collector {
    /// Listens on `address`, as `identity` in `realm`; port 0 takes a free one. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        identity: &str,
        realm: &str,
        dictionary: Arc<Dictionary>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (found, collected) = mpsc::channel(COLLECTED_MAX);
        let origin = Arc::new((identity.to_owned(), realm.to_owned()));
        let task = tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let (found, origin) = (found.clone(), Arc::clone(&origin));
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, from, &found, &origin).await {
                        tracing::debug!(%from, %error, "connection ended");
                    }
                });
            }
        });
        Ok(Self { address, collected, recent: VecDeque::new(), dictionary, task })
    }

    /// The address it listens on, whose port the system has chosen.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next Accounting-Request; `None` when the listener failed.
    pub async fn next(&mut self) -> Option<Collected> {
        let (from, message) = self.collected.recv().await?;
        let (header, avps) = header::split(&message).ok()?;
        let origin = Avps::new(avps).find(code::ORIGIN_HOST, 0).map(|avp| avp.value.to_vec());
        let name = (origin.unwrap_or_default(), header.end_to_end);
        let is_repeat = self.recent.contains(&name);
        if !is_repeat {
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(name);
        }
        let lines = text::lines(Avps::new(avps), &self.dictionary).into_iter().map(|line| {
            let (indent, name) = ("  ".repeat(line.depth), line.name);
            line.value.map_or_else(|| format!("{indent}{name}"), |value| format!("{indent}{name} = {value}"))
        });
        Some(Collected { from, title: text::title(&header, &message), header, lines: lines.collect(), is_repeat })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    from: SocketAddr,
    found: &mpsc::Sender<(SocketAddr, Vec<u8>)>,
    origin: &(String, String),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (BytesMut::new(), Vec::new());
    loop {
        while let Some(octets) = header::frame(&input, MESSAGE_OCTETS_MAX).map_err(io::Error::other)? {
            let message = &input[..octets];
            let header = Header::read(message).map_err(io::Error::other)?;
            if header.is_request() {
                answer(&header, message, origin, &mut output);
                if header.command == command::ACCOUNTING && found.send((from, message.to_vec())).await.is_err() {
                    return Ok(());
                }
            }
            input.advance(octets);
            if header.command == command::DISCONNECT_PEER {
                stream.write_all(&output).await?;
                return stream.shutdown().await;
            }
        }
        // All answers to what was read at once go out at once.
        stream.write_all(&output).await?;
        output.clear();
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

fn answer(asked: &Header, message: &[u8], (identity, realm): &(String, String), out: &mut Vec<u8>) {
    let avps = header::split(message).map_or(&[][..], |(_, avps)| avps);
    let is_known = matches!(
        (asked.application, asked.command),
        (application::BASE, command::CAPABILITIES_EXCHANGE | command::DEVICE_WATCHDOG | command::DISCONNECT_PEER)
            | (application::ACCOUNTING, command::ACCOUNTING)
    );
    let mut head = asked.answer();
    head.flags |= if is_known { 0 } else { flag::ERROR };
    let written = header::message(out, &head, |out| {
        let copy = |code: u32, out: &mut Writer<'_>| {
            if let Some(avp) = Avps::new(avps).find(code, 0) {
                out.avp(code, 0, M, avp.value);
            }
        };
        copy(code::SESSION_ID, out);
        out.u32(code::RESULT_CODE, 0, M, if is_known { result::SUCCESS } else { result::COMMAND_UNSUPPORTED });
        out.avp(code::ORIGIN_HOST, 0, M, identity.as_bytes());
        out.avp(code::ORIGIN_REALM, 0, M, realm.as_bytes());
        match asked.command {
            command::ACCOUNTING if is_known => {
                copy(code::ACCOUNTING_RECORD_TYPE, out);
                copy(code::ACCOUNTING_RECORD_NUMBER, out);
                copy(code::ACCT_APPLICATION_ID, out);
            }
            command::CAPABILITIES_EXCHANGE => {
                out.address(code::HOST_IP_ADDRESS, 0, M, std::net::Ipv4Addr::LOCALHOST.into());
                out.u32(code::VENDOR_ID, 0, M, 0);
                out.avp(code::PRODUCT_NAME, 0, 0, b"Tollgate collector");
                out.u32(code::ACCT_APPLICATION_ID, 0, M, application::ACCOUNTING);
            }
            _ => {}
        }
    });
    debug_assert!(written.is_ok(), "an answer is shorter than its request and some names");
}
