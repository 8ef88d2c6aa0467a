//! From the settings of a Diameter client to those of its route.

use super::settings::{Realtime, Settings, VendorApplication};
use crate::diameter::VENDOR_3GPP;
use crate::diameter::peer::{Identity, Timing};
use crate::diameter::route;

/// Settings of the route; `salt` is the installation's, for End-to-End ids.
#[must_use]
pub fn route_settings(settings: &Settings, salt: u32) -> route::Settings {
    let node = &settings.node;
    let timers = &settings.timers;
    let mut vendors = vec![VENDOR_3GPP];
    vendors.retain(|_| settings.accounting.application == super::acr::Application::Rf);
    let identity = Identity {
        product: node.product.clone(),
        vendor: node.vendor_id,
        supported_vendors: vendors,
        firmware: node.firmware,
        origin_state: node.origin_state,
        vendor_application: (node.vendor_application == VendorApplication::Advertise).then_some(VENDOR_3GPP),
        ..Identity::new(&node.identity, &node.realm)
    };
    let peers = settings.peers.iter().map(|peer| route::PeerSettings {
        priority: peer.priority,
        weight: u32::from(peer.weight),
        security: settings.transport,
        realms: peer.realms.clone(),
        ..route::PeerSettings::new(peer.identity.as_deref().unwrap_or(""), &peer.host, peer.port)
    });
    route::Settings {
        peers: peers.collect(),
        timing: Timing {
            watchdog: timers.watchdog,
            connect: timers.connect,
            handshake: timers.capabilities,
            capabilities: timers.capabilities,
            drain: timers.drain,
            ..Timing::default()
        },
        window: settings.window,
        request_timeout: timers.request,
        message_octets_max: settings.message_octets_max,
        failback_hold: timers.failback,
        retry_first: timers.retry_first,
        retry_max: timers.retry_max,
        retry_config_errors: timers.retry_config_errors,
        unable_max: settings.unable_max,
        breaks_max: settings.breaks_max,
        class_flags: super::acr::class_flags(&settings.accounting),
        pause_after: settings.pause_after,
        redirect_hosts: settings.redirect_hosts.clone(),
        salt,
        honour_realtime: settings.realtime == Realtime::Honour,
        ..route::Settings::new(identity)
    }
}
