//! What an invite for a friend is made of.

use busel_net::wire::Contact;
use busel_proto::invite::{InjectorTicket, Invite, PeerTicket, RelayTicket};
use busel_store::WriteError;

use crate::config::Exposure;
use crate::node::Node;

/// What this node can give to a friend: ways into relays, itself if it is open, the injectors and roots
/// it trusts and their sites. Nothing in it is about whom it is for.
pub(super) fn make(node: &Node) -> Result<Invite, WriteError> {
    let view = node.joined().view();
    let contacts = node.endpoint().contacts();
    let leads = |contact: &&Contact| view.injectors.iter().any(|i| i.peer == contact.peer);
    let home = node.home_relay();
    let wanted = contacts.iter().filter(leads).filter_map(|contact| contact.relay.as_ref());
    let wanted: Vec<_> = wanted.chain(&home).map(RelayTicket::inner_name).collect();
    let mut invite = Invite { relays: node.joined().hand_on(&wanted)?, ..Invite::default() };
    invite.relays.extend(node.own_relay().cloned());
    let relay_of = |relay: Option<&RelayTicket>| {
        let same = |relay: &RelayTicket| {
            invite.relays.iter().position(|r| r.inner_name() == relay.inner_name())
        };
        relay.and_then(same).and_then(|at| u32::try_from(at).ok())
    };
    let mut peers = Vec::<PeerTicket>::new();
    for injector in &view.injectors {
        if peers.iter().any(|peer| peer.peer == injector.peer) {
            continue;
        }
        let contact = contacts.iter().find(|contact| contact.peer == injector.peer);
        peers.extend(contact.map(|contact| PeerTicket {
            peer: contact.peer,
            relay: relay_of(contact.relay.as_ref()),
            addrs: contact.addrs.iter().map(ToString::to_string).collect(),
            veil: contact.veil.clone(),
        }));
    }
    if node.config().exposure == Exposure::Open {
        let relay = relay_of(home.as_ref());
        let addrs: Vec<_> = node.plain_addrs().iter().map(ToString::to_string).collect();
        let veil = node.veil_ticket();
        if relay.is_some() || !addrs.is_empty() || veil.is_some() {
            peers.retain(|peer| peer.peer != node.id());
            peers.push(PeerTicket { peer: node.id(), relay, addrs, veil });
        }
    }
    // Whom no way leads to, because there is no way into its relay left to give, is left out.
    peers.retain(|peer| peer.relay.is_some() || !peer.addrs.is_empty() || peer.veil.is_some());
    invite.peers = peers;
    invite.roots = view.trust.roots().cloned().collect();
    for root in &mut invite.roots {
        root.hosts.retain(|hosts| !hosts.is_wide());
    }
    let own = node.own_ticket();
    invite.injectors = view
        .injectors
        .iter()
        .filter(|injector| own.as_ref().is_none_or(|own| own.peer != injector.peer))
        .map(|injector| InjectorTicket {
            peer: injector.peer,
            cert: injector.cert.signed().clone(),
        })
        .chain(own.clone())
        .collect();
    // What its owner lists for himself alone is nothing to invite others to.
    invite.sites = view.sites.iter().filter(|site| !site.hosts.is_wide()).cloned().collect();
    Ok(invite)
}
