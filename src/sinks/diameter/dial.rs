//! Making transports: TCP to the addresses of a peer in turn, TLS.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::link::Made;
use crate::diameter::peer::Cause;
use crate::diameter::route::PeerSettings;
use crate::net::dial::{Upkeep, connect_host};
use crate::net::socket::Local;
use crate::net::stream::Wire;
use crate::net::tls::{ClientFiles, ClientTls, TlsError, server_name};

/// A TCP connection to a peer, with its local address.
pub(super) async fn connect(
    host: String,
    port: u16,
    bind: Option<IpAddr>,
    user_timeout: Duration,
) -> Result<Made, Cause> {
    let (local, upkeep) =
        (Local { bind, ..Local::default() }, Upkeep { probes: None, unacknowledged_max: Some(user_timeout) });
    let stream = connect_host(&host, port, local, upkeep).await.map_err(Cause::NoTransport)?;
    let local = stream.local_addr().map_err(|error| Cause::NoTransport(error.to_string()))?;
    Ok((Wire::Tcp(stream), Some(local.ip().to_canonical())))
}

/// TLS on a connection. Files are read anew, so that renewed certificates count from the next connection on.
pub(super) async fn secure(stream: TcpStream, files: ClientFiles, name: String) -> Result<Made, Cause> {
    let no_tls = |error: &TlsError| Cause::NoTls(crate::causes::chain_text(error));
    let tls = ClientTls::load(&files).map_err(|error| no_tls(&error))?;
    let name = server_name(&name).map_err(|error| no_tls(&error))?;
    match tls.connect(name, stream).await {
        Ok(stream) => Ok((Wire::tls(stream), None)),
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
