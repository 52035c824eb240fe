//! Control of the TLS fingerprint: of curl and a client of rustls's, each is swallowed when its hash is
//! listed, by JA3, by JA4, and over QUIC, and the other is not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busel_lab::censor::{Context, Injected, Policy, TlsFingerprint, Verdict};
use busel_lab::flow::{ClientHello, Initials};
use busel_lab::map::Point;
use busel_lab::packet::Packet;
use busel_lab::program::{
    Exposure, Failure, Quic, QuicClient, Reader, Scene, Stage, Tls, Way, body,
};
use busel_lab::sandbox::inside;

use crate::SILENCE;

/// Remembers the last hello that it saw.
#[derive(Clone, Default)]
struct Spy(Arc<Mutex<Option<ClientHello>>>);

impl Policy for Spy {
    fn name(&self) -> &'static str {
        "spy"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        // Hellos of QUIC are short here: one packet has all.
        let mut initials = Initials::default();
        let hello = at.flow.hello().or_else(|| initials.take(packet.payload()));
        if let (Some(hello), Ok(mut last)) = (hello, self.0.lock()) {
            *last = Some(hello.clone());
        }
        Verdict::Pass
    }
}

impl Spy {
    fn last(&self) -> ClientHello {
        let last = self.0.lock().expect("a spy does not panic");
        last.clone().expect("a hello has passed")
    }
}

#[test]
fn the_listed_client_is_swallowed_and_the_other_is_not() {
    inside(|| {
        let scene = Scene::start()?;
        let home = scene.world.host("home-a");
        let at = SocketAddr::new(scene.world.host("origin").v4(), 443);
        let (site, page) = ("news.example", body("news.example", "/"));
        let curl = scene.curl("home-a").arg("-4");
        let rustls = || Tls::new(home, &scene.ca);
        let (spy, censor) = (Spy::default(), scene.world.censor(Point::IspA));
        censor.only(spy.clone());
        assert!(curl.get("https://news.example/")?.is(site, "/"));
        let of_curl = spy.last();
        assert_eq!(Some(rustls()?.get(at, site, "/")?), page);
        let of_rustls = spy.last();
        assert_ne!(of_curl.ja4(false), of_rustls.ja4(false));

        censor.only(TlsFingerprint::new([of_rustls.ja4(false)]));
        assert!(rustls()?.within(SILENCE).get(at, site, "/").is_err());
        assert!(rustls()?.within(SILENCE).cut_at(&[50]).get(at, site, "/").is_err(), "in pieces");
        assert!(curl.get("https://news.example/")?.is(site, "/"));
        for hash in [of_curl.ja3(), of_curl.ja4(false)] {
            censor.only(TlsFingerprint::new([hash]));
            let load = curl.clone().within(SILENCE).get("https://news.example/")?;
            assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
            assert_eq!(Some(rustls()?.get(at, site, "/")?), page);
        }
        assert!(censor.counts("tls_fingerprint").dropped > 3);
        Ok(())
    });
}

#[test]
fn over_quic_too() {
    inside(|| {
        let scene = Scene::start()?;
        let (origin, home) = (scene.world.host("origin"), scene.world.host("home-a"));
        let _quic = Quic::start(&scene.world, origin, 443, &scene.ca, &["news.example"])?;
        let at = SocketAddr::new(origin.v4(), 443);
        // A new one each time, since a resumed session says something else.
        let client = || QuicClient::new(&scene.world, home, &scene.ca);
        let page = body("news.example", "/");
        let (spy, censor) = (Spy::default(), scene.world.censor(Point::IspA));
        censor.only(spy.clone());
        assert_eq!(Some(client()?.get(at, "news.example", "/")?), page);
        let hash = spy.last().ja4(true);
        censor.only(TlsFingerprint::new([hash.replacen('q', "t", 1)]));
        assert_eq!(Some(client()?.get(at, "news.example", "/")?), page);
        censor.only(TlsFingerprint::new([hash]));
        assert!(client()?.within(SILENCE).get(at, "news.example", "/").is_err());
        Ok(())
    });
}

/// Chrome's from version 133 on, without the noise.
const CHROME: &str = "t13d1516h2_8daaf6152771_d8a2da3f94cd";

/// The kinds of the hellos that show each name.
#[derive(Clone, Default)]
struct Kinds(Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>);

impl Policy for Kinds {
    fn name(&self) -> &'static str {
        "kinds"
    }

    fn judge(&mut self, _: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        if let (Some(hello), Ok(mut kinds)) = (at.flow.hello(), self.0.lock()) {
            let name = hello.sni.clone().unwrap_or_default();
            kinds.entry(name).or_default().insert(hello.ja4(false));
        }
        Verdict::Pass
    }
}

/// What a reader's node shows the site, and what it shows the relay, is one kind of program: rustls's, or
/// in the build for that a browser's.
#[test]
fn a_readers_own_hellos_are_of_one_kind() {
    inside(|| {
        let stage = Stage::set()?;
        let kinds = Kinds::default();
        stage.at(Point::IspA).only(kinds.clone());
        for way in [Way::Direct, Way::Injector] {
            let reader = Reader::start(&stage, "home-a", way, Exposure::Quiet)?;
            let visit = reader.visit(&stage, "/", Duration::from_secs(40))?;
            assert!(visit.passed(), "{}", visit.told());
        }
        let seen = kinds.0.lock().expect("a spy does not panic").clone();
        let [site, relay] = ["news.example", "www.example.org"].map(|name| &seen[name]);
        assert_eq!((site.len(), site), (1, relay), "{seen:?}");
        let is_a_browsers = site.contains(CHROME);
        assert_eq!(is_a_browsers, cfg!(feature = "browser-hello"), "{seen:?}");
        Ok(())
    });
}
