//! The table of techniques: a line each, with the point where it sits and what is expected of it. It
//! is about what stands on the line; the sights of it by a prober or a spy are below.

use std::net::IpAddr;
use std::time::Duration;

use super::Case;
use super::learnt::{enumerated, fingerprints, neighbour, probed};
use super::profiles::profiles;
use crate::censor::{
    BittorrentBlock, Blackout, ConnectionLimit, DhtPoison, DnsOnly, DnsPoison, EncapsulatedTls,
    Freeze, FullyEncrypted, HttpRedirect, InboundCut, IpBlock, LanOnly, Names, NationalCut,
    ProtocolWhitelist, QuicBlock, QuicSni, SniDrop, SniReset, SniWhitelist, Throttle, UdpOff,
    UnknownUdpOff,
};
use crate::map::Point::{Border, IspA};
use crate::program::Way::{Any, Connect, Direct, Injector, Swarm, Tunnel, Veil};
use crate::program::{Forger, LISTED, Stage, UNLISTED};

/// How long boxes hold a sight of something forbidden.
const MINUTE: Duration = Duration::from_secs(60);
/// Where a redirect leads.
const BLOCK_PAGE: &str = "http://198.18.1.80/";
/// Of the hosts abroad that are in the dark.
const DARK: (&[&str], usize, u64) = (&["origin", "relay", "injector"], 2, 2);

/// All of them, in the order of the report.
pub fn techniques() -> Vec<Case> {
    let at_the_site = [
        // Who asks an honest resolver by DoH is told the truth, and then the site itself is open.
        Case::site("dns_poison", |s| s.at(IspA).only(DnsPoison::instead(sites(), [liar(s)])))
            .passing(&[Direct]),
        Case::site("ip_block", |s| s.at(Border).only(IpBlock::new(origin(s)))),
        Case::site("sni_reset", |s| s.at(Border).only(SniReset::new(sites()))),
        // The relay abroad is on the list too; a split hello leads past a box that joins nothing.
        Case::site("sni_reset_weak", |s| s.at(Border).only(SniReset::weak(with_relay()))),
        Case::site("sni_drop", |s| s.at(IspA).only(SniDrop::new(sites(), MINUTE))),
        // Busel asks for public pages by https, whatever was typed.
        Case::site("http_redirect", |s| {
            s.at(IspA).only(HttpRedirect::beltelecom(sites(), BLOCK_PAGE));
        })
        .over_http()
        .passing(&[Direct]),
        Case::site("forged_certificate", |s| {
            let forger = Forger::start(&s.scene.world, s.host("box-a"), sites())?;
            s.at(IspA).only(forger.divert(origin(s)));
            Ok(forger)
        }),
        Case::harmless("throttle", |s| s.at(IspA).only(Throttle::names(sites()))),
    ];
    let at_protocols = [
        Case::harmless("quic_block", |s| s.at(Border).only(QuicBlock::initials())),
        Case::harmless("quic_sni", |s| s.at(Border).only(QuicSni::new(sites(), MINUTE))),
        Case::harmless("udp_off", |s| {
            s.at(IspA).only(UdpOff::new().but_dns_of([s.host("dns-a").v4()]));
        }),
        Case::harmless("unknown_udp_off", |s| s.at(Border).only(UnknownUdpOff::new())),
        Case::harmless("fully_encrypted", |s| s.at(Border).only(FullyEncrypted::new(MINUTE))),
        // With no UDP either, the veil over TCP has to have a face.
        Case::harmless("fully_encrypted_no_udp", |s| {
            s.at(IspA).only(UdpOff::new().but_dns_of([s.host("dns-a").v4()]));
            s.at(Border).only(FullyEncrypted::new(MINUTE));
        }),
        Case::harmless("protocol_whitelist", |s| {
            s.at(Border).only(ProtocolWhitelist::new(MINUTE).strict());
        })
        .blocking(&[Veil]),
        Case::harmless("encapsulated_tls", |s| s.at(Border).only(EncapsulatedTls::new())),
        Case::harmless("connection_limit", |s| s.at(Border).only(ConnectionLimit::new(4))),
        Case::harmless("active_probing", probed),
        Case::harmless("bittorrent_block", |s| s.at(Border).only(BittorrentBlock::new())),
        Case::harmless("dht_poison", |s| s.at(IspA).only(DhtPoison::new([]))),
        Case::harmless("dht_enumeration", enumerated),
        Case::harmless("tls_fingerprint", fingerprints)
            .gap(&[Direct, Injector, Tunnel], "Busel's own handshakes are no browser's"),
        Case::abroad("sni_whitelist", |s| {
            s.at(Border).only(SniWhitelist::new(Names::new(["sport.example"])));
        })
        .passing(&[Veil, Connect, Injector, Tunnel]),
        // A tunnel to the site itself freezes; the browser loads again, and that goes elsewhere.
        Case::abroad("freeze", |s| s.at(Border).only(Freeze::foreign()))
            .passing(&[Veil, Connect, Injector, Tunnel]),
    ];
    let at_all = [
        Case::harmless("inbound_cut", |s| s.at(Border).only(InboundCut::new())),
        Case::abroad("power_loss", |s| s.scene.world.power_loss(DARK.0, DARK.1, DARK.2).map(drop)),
        Case::abroad("national_cut", |s| s.at(Border).only(NationalCut)),
        Case::nothing("dns_only", |s| s.at(IspA).only(DnsOnly::to([s.host("dns-a").v4()]))),
        // Who may speak to a neighbour in the LAN reads what that one has; a quiet node may not.
        Case::nothing("lan_only", |s| {
            let neighbour = neighbour(s)?;
            s.at(IspA).only(LanOnly::new(homes(s)));
            Ok(neighbour)
        })
        .passing_open(&[Any, Veil, Injector, Swarm]),
        Case::nothing("blackout", |s| s.at(IspA).only(Blackout)),
    ];
    at_the_site.into_iter().chain(at_protocols).chain(at_all).chain(profiles()).collect()
}

/// The forbidden sites: the one that may be shared, and the one that may not.
pub(super) fn sites() -> Names {
    Names::new([LISTED, UNLISTED])
}

/// The same, and all names of the relays.
fn with_relay() -> Names {
    Names::new([LISTED, UNLISTED, "www.example.org", "sport.example", "shop.example"])
}

/// The address of whoever a liar names: a server at home.
fn liar(stage: &Stage) -> IpAddr {
    stage.host("domestic").v4()
}

/// The addresses of the forbidden sites.
fn origin(stage: &Stage) -> [IpAddr; 2] {
    [stage.host("origin").v4(), stage.host("origin").v6()]
}

/// The addresses of the first provider's homes, as others see them.
fn homes(stage: &Stage) -> [IpAddr; 3] {
    [stage.host("isp-a").v4(), stage.host("home-a").v6(), stage.host("home-a2").v6()]
}
