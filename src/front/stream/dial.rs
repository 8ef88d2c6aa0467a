//! Connections that are being made: opened by the gateway, or taken from a listener.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::connection::{Connection, Direction, End, serve};
use super::hub::{Hub, Slot};
use crate::clock;
use crate::net::dial::Upkeep;
use crate::net::socket::Local;
use crate::net::stream::Wire;
use crate::net::{self, tls};
use crate::sip::stack::{ListenerId, Peer, Transport};
use crate::timers::spell::Spell;

/// Pause after a failed accept: no file descriptor is left, and one may come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// After a minute of silence the kernel asks every 10 s whether the other end is still there.
const UPKEEP: Upkeep = Upkeep {
    probes: Some(TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10))),
    unacknowledged_max: Some(Duration::from_secs(30)),
};

/// Takes connections from a listener until the thread ends.
pub(super) async fn accept(hub: Rc<Hub>, id: ListenerId, transport: Transport, listener: TcpListener) {
    let mut spell = Spell::default();
    loop {
        let (stream, addr) = match listener.accept().await {
            Ok(accepted) => {
                if let Some(failures) = spell.succeeded(clock::mono()) {
                    tracing::info!(failures, "connections are taken again");
                }
                accepted
            }
            Err(error) => {
                // One that was reset before it was taken is nothing; without descriptors all have to wait.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                    hub.meters.accept_failed();
                    if spell.failed(clock::mono()) {
                        tracing::warn!(%error, "connections cannot be accepted; if file descriptors have run out, raise LimitNOFILE in the unit");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        match hub.admit(id, addr.ip()) {
            Ok(slot) => {
                let peer = Peer { listener: id, addr };
                tokio::task::spawn_local(welcome(hub.clone(), slot, peer, transport, stream));
            }
            Err(limit) => {
                hub.meters.refused(limit);
                // Reset, so that nothing of it stays here.
                let _gone = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
        }
    }
}

/// A connection that came in.
async fn welcome(hub: Rc<Hub>, slot: Slot, peer: Peer, transport: Transport, stream: TcpStream) {
    let _works_without = UPKEEP.apply(&stream);
    let own = Connection::new(peer, transport, Direction::Inbound, None);
    let server = hub.servers.borrow().get(&peer.listener).cloned();
    let end = match (transport, server) {
        (Transport::Tls, None) | (Transport::Udp, _) => End::Handshake,
        (Transport::Tcp, _) => {
            hub.enter(&own);
            serve(&hub, &own, Wire::Tcp(stream)).await
        }
        (Transport::Tls, Some(server)) => match timeout(hub.settings().handshake, server.accept(stream)).await {
            Ok(Ok(stream)) => {
                let wire = Wire::tls(stream);
                own.show(wire.certificates());
                hub.enter(&own);
                serve(&hub, &own, wire).await
            }
            Ok(Err(error)) => {
                tracing::debug!(peer = %peer.addr, %error, "TLS handshake failed");
                End::Handshake
            }
            Err(_) => End::Handshake,
        },
    };
    hub.ended(&own, end);
    drop(slot);
}

/// A connection of the gateway's own.
pub(super) async fn dial(hub: Rc<Hub>, own: Rc<Connection>) {
    let opened = tokio::select! {
        opened = timeout(hub.settings().connect, open(&hub, &own)) => opened.unwrap_or(Err(End::TimedOut)),
        end = own.ended_from_outside() => Err(end),
    };
    let end = match opened {
        Ok(wire) => serve(&hub, &own, wire).await,
        Err(end) => end,
    };
    hub.ended(&own, end);
}

/// Connects, and secures the connection if it is to be.
async fn open(hub: &Hub, own: &Connection) -> Result<Wire, End> {
    let to = own.peer.addr;
    let place = hub.places.get(usize::from(own.peer.listener.0)).ok_or(End::Refused)?;
    // From the address of the listener, so that the other end sees the gateway by one address.
    let bind = Some(place.bind.ip()).filter(|ip| !ip.is_unspecified() && ip.is_ipv4() == to.is_ipv4());
    let local = Local { bind, ..Local::default() };
    let stream = net::dial::connect(&local, to, &UPKEEP).await.map_err(|error| {
        tracing::debug!(peer = %to, %error, "cannot connect");
        if error.kind() == io::ErrorKind::TimedOut { End::TimedOut } else { End::Refused }
    })?;
    if own.transport != Transport::Tls {
        return Ok(Wire::Tcp(stream));
    }
    let client = hub.client.borrow().clone().ok_or(End::Handshake)?;
    let name = own.name().map_or_else(|| Ok(tls::server_address(to.ip())), |name| tls::server_name(&name));
    let name = name.map_err(|_| End::Handshake)?;
    let stream = client.connect(name, stream).await.map_err(|error| {
        tracing::warn!(peer = %to, %error, "TLS handshake failed");
        End::Handshake
    })?;
    let wire = Wire::tls(stream);
    own.show(wire.certificates());
    Ok(wire)
}
