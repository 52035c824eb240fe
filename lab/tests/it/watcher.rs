//! What the provider learns of a quiet reader. Of a guarded site that is censored, read through relay
//! and injector: nothing of the site, and no mark of Busel or iroh in the clear. What can't hold yet is
//! a list of gaps, which turns red when one closes unnoticed. The watcher itself is tried on what
//! shows everything.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use busel_lab::censor::{
    Chain, DnsPoison, HttpRedirect, IpBlock, Names, SniDrop, SniReset, Throttle,
};
use busel_lab::map::Point;
use busel_lab::program::{
    Busel, Curl, LISTED, Load, Network, Quic, QuicClient, Scene, Stage, Tls, reaching,
};
use busel_lab::sandbox::inside;
use busel_lab::watcher::{Over, Report};
use busel_lab::world::Drawing;

const DIR: &str = "/dev/shm/capture";
/// How long a load may take, on a machine that is busy with other worlds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a box holds a sight of something forbidden.
const MINUTE: Duration = Duration::from_secs(60);
/// Where a redirect leads.
const BLOCK_PAGE: &str = "http://198.18.1.80/";
/// Texts that nobody on the line may read: constants of ours, then of iroh and of what it is made of.
const MARKS: [&str; 16] = [
    "busel",
    "This site is being set up",
    "Newsroom",
    "/article",
    "iroh",
    "/relay",
    "/ping",
    "/generate_204",
    "n0.computer",
    "iroh-relay-v1",
    "iroh-relay-v2",
    "relay.invalid",
    "websocket",
    "proxy-authorization",
    "captive",
    "relayed",
];
/// Private transport parameters of the QUIC that iroh uses: n0's way through NATs, address discovery,
/// multipath.
const PRIVATE: [u64; 3] = [0x3d7f_9112_0401, 0x9f81_a176, 0x3e];

fn captured() -> PathBuf {
    PathBuf::from(DIR)
}

/// A quiet reader to whom the listed site is guarded, and who reads a page of it once.
fn read_guarded(stage: &Stage, name: &str) -> anyhow::Result<Load> {
    let home = stage.host("home-a");
    let data = home.dir().join(name);
    std::fs::create_dir_all(&data)?;
    let config = format!("[[sites]]\nhosts = \"{LISTED}\"\nguarded = true\n");
    std::fs::write(data.join("config.toml"), config)?;
    let mut busel = Busel::new(home, name)?;
    busel.join(&stage.network.injector_invite)?;
    let up = ["up", "--tell", "--exposure", "quiet"].map(ToOwned::to_owned).to_vec();
    busel.start(&[up, reaching(&stage.scene)].concat())?;
    busel.line("Busel is up")?;
    let door = Curl::new(home, stage.scene.ca.path()).arg("-x").arg("http://127.0.0.1:8118");
    let load = door.within(PATIENCE).get(&format!("http://{LISTED}/article"))?;
    anyhow::ensure!(load.is(LISTED, "/article"), "{load:?}");
    Ok(load)
}

/// Each way of censoring a site, as one provider has it.
fn censored(stage: &Stage) -> Vec<(&'static str, Chain)> {
    let (names, origin) = (Names::new([LISTED]), stage.host("origin").addrs().to_vec());
    let lie = [stage.host("domestic").v4()];
    vec![
        ("dns_poison", Chain::of(DnsPoison::instead(names.clone(), lie))),
        ("ip_block", Chain::of(IpBlock::new(origin))),
        ("sni_reset", Chain::of(SniReset::new(names.clone()))),
        ("sni_drop", Chain::of(SniDrop::new(names.clone(), MINUTE))),
        ("http_redirect", Chain::of(HttpRedirect::beltelecom(names.clone(), BLOCK_PAGE))),
        ("throttle", Chain::of(Throttle::names(names.clone()))),
        (
            "all_at_once",
            Chain::of(DnsPoison::racing(names.clone(), lie)).then(SniReset::new(names)),
        ),
    ]
}

/// The report of the provider whose customer reads a guarded site that is censored, in each way once,
/// each time with a node that begins anew.
fn guarded() -> anyhow::Result<(Stage, Report)> {
    let stage = Stage::of(Network::drawing().capture(DIR))?;
    for (name, policies) in censored(&stage) {
        stage.at(Point::IspA).set(policies);
        let load = read_guarded(&stage, name)?;
        assert_eq!(load.header("busel-route"), Some("injector"), "{name}: {load:?}");
    }
    let report = Report::of(&captured(), Point::IspA)?;
    Ok((stage, report))
}

#[test]
fn a_guarded_site_leaves_no_trace_at_the_provider() {
    inside(|| {
        let (stage, report) = guarded()?;
        show(&report);
        for (name, _) in stage.scene.world.names().iter().filter(|(name, _)| name != "doh.example")
        {
            assert!(report.shows(name).is_empty(), "{name}: {:?}", report.shows(name));
        }
        for mark in MARKS {
            assert!(report.shows(mark).is_empty(), "{mark}: {:?}", report.shows(mark));
        }
        let sites = [stage.host("origin"), stage.host("injector")].map(|host| host.addrs());
        let met = |addr: &IpAddr| report.servers.iter().any(|server| server.ip() == *addr);
        assert!(!sites.concat().iter().any(met), "the site's or the injector's address");
        assert!(!report.parameters.iter().any(|number| PRIVATE.contains(number)), "{report}");
        assert!(report.requests.is_empty() && report.certificates.is_empty(), "{report}");
        assert!(report.questions.is_empty(), "{report}");
        Ok(())
    });
}

/// Each entry says what shows still, and whether it does.
#[test]
fn what_shows_still_is_known() {
    inside(|| {
        let (stage, report) = guarded()?;
        let relay = SocketAddr::new(stage.host("relay").v4(), 443);
        let alike = report.alike(relay, Over::Tcp).expect("several connections to the relay");
        let hello = report.fingerprints.iter().find(|(server, _)| *server == relay);
        let (_, hello) = hello.expect("a hello to the relay");
        let gaps = [
            ("the hello has rustls's ciphers, not a browser's", ciphers(hello) == rustls()?),
            ("the name said to the relay is one default for all", {
                report.sni.contains("www.example.org")
            }),
            ("the hello has the same length each time", !alike.lengths.is_empty()),
        ];
        for (gap, shows) in gaps {
            assert!(shows, "“{gap}” holds no longer: take it from this list\n{report}");
        }
        // Of the bytes nothing is in common but what TLS itself begins with: record and message
        // heads with their lengths, and the version.
        assert!(alike.up.len() <= 11, "{report}");
        Ok(())
    });
}

/// What the ciphers of a rustls client hash to.
fn rustls() -> anyhow::Result<String> {
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut client = rustls::ClientConnection::new(config.into(), "any.example".try_into()?)?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes)?;
    let hello = busel_lab::flow::ClientHello::find(&bytes).ok().flatten();
    Ok(ciphers(&hello.expect("a whole hello").ja4(false)).to_owned())
}

/// The part of a JA4 that is made of ciphers.
fn ciphers(ja4: &str) -> &str {
    ja4.split('_').nth(1).unwrap_or_default()
}

#[test]
fn the_watcher_sees_what_is_in_the_clear() {
    inside(|| {
        let scene = Scene::of(Drawing::country().capture(DIR))?;
        let (home, origin) = (scene.world.host("home-a"), scene.world.host("origin"));
        let at = SocketAddr::new(origin.v4(), 443);
        let _quic = Quic::start(&scene.world, origin, 443, &scene.ca, &["weather.example"])?;
        let curl = scene.curl("home-a").arg("-4");
        assert!(curl.get("http://news.example/article")?.loaded());
        let old = curl.arg("--tls-max").arg("1.2");
        assert!(old.get("https://sport.example/")?.loaded());
        for _ in 0..2 {
            let tls = Tls::new(home, &scene.ca)?.cut_at(&[30]);
            tls.get(at, "news.example", "/")?;
        }
        QuicClient::new(&scene.world, home, &scene.ca)?.get(at, "weather.example", "/")?;

        let report = Report::of(&captured(), Point::IspA)?;
        show(&report);
        assert!(report.questions.contains("sport.example"), "{report}");
        assert!(report.requests.contains("news.example/article"), "{report}");
        for name in ["news.example", "sport.example", "weather.example"] {
            assert!(report.sni.contains(name), "{name}: {report}");
            assert!(!report.shows(name).is_empty(), "{name}: {report}");
        }
        assert!(report.certificates.contains("sport.example"), "{report}");
        assert!(report.alpn.contains("hq-interop"), "{report}");
        assert!(report.parameters.contains(&0x0f), "the id of the connection: {report}");
        assert!(report.servers.contains(&at), "{report}");
        let alike = report.alike(at, Over::Tcp).expect("several");
        assert!(alike.flows >= 2 && !alike.lengths.is_empty(), "{report}");
        Ok(())
    });
}

/// A site that is not guarded is asked for directly first: whoever watches sees its name.
#[test]
fn a_site_that_is_not_guarded_is_seen() {
    inside(|| {
        let stage = Stage::of(Network::drawing().capture(DIR))?;
        stage.at(Point::IspA).only(SniReset::new(Names::new([LISTED])));
        let home = stage.host("home-a");
        let busel = Busel::new(home, "busel")?;
        busel.join(&stage.network.injector_invite)?;
        let reaching = reaching(&stage.scene);
        let url = format!("https://{LISTED}/article");
        let mut get = vec!["get", "-o", "page", &url];
        get.extend(reaching.iter().map(String::as_str));
        busel.tell(&get)?;
        let report = Report::of(&captured(), Point::IspA)?;
        assert!(report.sni.contains(LISTED), "{report}");
        Ok(())
    });
}

#[allow(clippy::print_stderr, reason = "the report is what a person wants to read")]
fn show(report: &Report) {
    eprintln!("{report}");
}
