//! Connections that are made: from the near end that is wanted, to one address or to those of a name in turn (RFC 8305).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Protocol, SockRef, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::task::JoinSet;

use super::socket::Local;

/// Time one address gets before the next one is tried beside it (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// How the kernel finds out that the other end is gone.
#[derive(Clone, Debug, Default)]
pub struct Upkeep {
    /// When and how often it asks a silent one. Default: never.
    pub probes: Option<TcpKeepalive>,
    /// How long it tries to deliver what was written. Default: as long as the system does.
    pub unacknowledged_max: Option<Duration>,
}

impl Upkeep {
    /// Asks for it, and that what is written leaves at once: writes are batched already, and Nagle would hold the last one
    /// back for the peer's delayed acknowledgement.
    ///
    /// # Errors
    /// When the kernel refuses; the connection works without.
    pub fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(stream);
        socket.set_tcp_nodelay(true)?;
        if let Some(probes) = &self.probes {
            socket.set_tcp_keepalive(probes)?;
        }
        socket.set_tcp_user_timeout(self.unacknowledged_max)
    }
}

/// A TCP connection to an address.
///
/// # Errors
/// What the kernel says.
pub async fn connect(local: &Local, to: SocketAddr, upkeep: &Upkeep) -> io::Result<TcpStream> {
    let socket = local.socket(to, Type::STREAM, Protocol::TCP)?;
    let stream = TcpSocket::from_std_stream(socket.into()).connect(to).await?;
    upkeep.apply(&stream)?;
    Ok(stream)
}

/// A TCP connection to a host, an address or a name: to the address of it that is the first to answer.
///
/// # Errors
/// Why the name does not resolve, or what the kernel says to the last address.
pub async fn connect_host(host: &str, port: u16, local: Local, upkeep: Upkeep) -> Result<TcpStream, String> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let found =
                lookup_host((host, port)).await.map_err(|error| format!("`{host}` does not resolve: {error}"))?;
            let fits = |address: &SocketAddr| local.bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4());
            in_turn(found.filter(fits).collect())
        }
    };
    let mut attempts = JoinSet::new();
    for (place, address) in (0_u32..).zip(addresses.into_iter().take(ADDRESSES_MAX)) {
        let (local, upkeep) = (local.clone(), upkeep.clone());
        attempts.spawn(async move {
            tokio::time::sleep(STAGGER * place).await;
            connect(&local, address, &upkeep).await.map_err(|error| format!("{address}: {error}"))
        });
    }
    let mut last = format!("`{host}` has no address");
    while let Some(ended) = attempts.join_next().await {
        match ended {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
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
