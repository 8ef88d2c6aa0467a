//! Making transports: name resolution, TCP to several addresses in turn, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::diameter::peer::Cause;
use crate::diameter::route::PeerSettings;
use crate::net::tls::{ClientFiles, ClientTls, TlsError, server_name};

/// Time one address gets before the next one is tried beside it (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A TCP connection to a peer, with its local address.
pub(super) async fn connect(
    host: String,
    port: u16,
    bind: Option<IpAddr>,
    user_timeout: Duration,
) -> Result<(TcpStream, IpAddr), Cause> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let found = lookup_host((host.as_str(), port)).await;
            let found = found.map_err(|error| Cause::NoTransport(format!("`{host}` does not resolve: {error}")))?;
            in_turn(found.filter(|address| bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4())).collect())
        }
    };
    let mut attempts = JoinSet::new();
    for (place, address) in (0_u32..).zip(addresses.iter().copied().take(ADDRESSES_MAX)) {
        attempts.spawn(async move {
            tokio::time::sleep(STAGGER * place).await;
            open(address, bind, user_timeout).await.map_err(|error| format!("{address}: {error}"))
        });
    }
    let mut last = format!("`{host}` has no address");
    while let Some(ended) = attempts.join_next().await {
        match ended {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => last = error,
            Err(error) => last = error.to_string(),
        }
    }
    Err(Cause::NoTransport(last))
}

/// Addresses of both families in turn, beginning with the first one's.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

async fn open(address: SocketAddr, bind: Option<IpAddr>, user_timeout: Duration) -> io::Result<(TcpStream, IpAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bind) = bind {
        socket.bind(SocketAddr::new(bind, 0))?;
    }
    let stream = socket.connect(address).await?;
    // Writes are batched here; Nagle would hold the last one back for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(user_timeout))?;
    let local = stream.local_addr()?.ip().to_canonical();
    Ok((stream, local))
}

/// TLS on a connection. Files are read anew, so that renewed certificates count from the next connection on.
pub(super) async fn secure(
    stream: TcpStream,
    files: ClientFiles,
    name: String,
) -> Result<Box<TlsStream<TcpStream>>, Cause> {
    let no_tls = |error: &TlsError| Cause::NoTls(crate::sinks::chain(error).to_string());
    let tls = ClientTls::load(&files).map_err(|error| no_tls(&error))?;
    let name = server_name(&name).map_err(|error| no_tls(&error))?;
    match tls.connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            Err(match cause {
                Some(rustls::Error::InvalidCertificate(_)) => Cause::BadCertificate(error.to_string()),
                _ => Cause::NoTls(error.to_string()),
            })
        }
    }
}

/// What a peer's certificate has to name: its identity, or its host when it may have any.
pub(super) fn certificate_name(peer: &PeerSettings) -> String {
    if peer.identity.is_empty() { peer.host.clone() } else { peer.identity.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_tried_in_turn() {
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect::<Vec<_>>();
        let found = in_turn(all(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"]));
        assert_eq!(found, all(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"]));
        assert!(in_turn(Vec::new()).is_empty());
    }
}
