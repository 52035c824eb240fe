//! Control of the rule against TLS in tunnels: a page by HTTPS passes, by both versions of HTTP and
//! with a long request; the same page by HTTPS through a proxy behind TLS does not, and by HTTP
//! through it does.

use busel_lab::censor::EncapsulatedTls;
use busel_lab::map::Point;
use busel_lab::program::{Failure, Scene, Tunnel};
use busel_lab::sandbox::inside;

use crate::SILENCE;

#[test]
fn tls_in_tls_is_swallowed_and_tls_is_not() {
    inside(|| {
        let scene = Scene::start()?;
        let tunnel = Tunnel::start(&scene.world, scene.world.host("helper"), &scene.ca, 443)?;
        let curl = scene.curl("home-a").arg("-4");
        let through = |args: &[&str]| {
            let proxy = curl.clone().arg("--proxy").arg(tunnel.url());
            let proxy = proxy.arg("--proxy-cacert").arg(scene.ca.path());
            args.iter().fold(proxy, |curl, arg| curl.arg(*arg))
        };
        let load = through(&[]).get("https://news.example/article")?;
        assert!(load.is("news.example", "/article"), "the tunnel works: {load:?}");

        let censor = scene.world.censor(Point::Border);
        censor.only(EncapsulatedTls::new());
        for version in ["--http1.1", "--http2"] {
            let load = through(&[version]).within(SILENCE).get("https://news.example/article")?;
            assert_eq!(load.failure(), Some(Failure::Timeout), "{version}: {load:?}");
        }
        assert!(censor.counts("encapsulated_tls").dropped > 0);

        let cookie = format!("Cookie: seen={}", "x".repeat(600));
        for args in [&["--http1.1"][..], &["--http2"], &["-H", &cookie], &["--tls-max", "1.2"]] {
            let curl = args.iter().fold(curl.clone(), |curl, arg| curl.arg(*arg));
            for page in ["/article", "/long"] {
                let load = curl.get(&format!("https://news.example{page}"))?;
                assert!(load.is("news.example", page), "{args:?}: {}", load.error);
            }
        }
        let load = through(&["--proxytunnel"]).get("http://news.example/article")?;
        assert!(load.is("news.example", "/article"), "no TLS within: {load:?}");
        Ok(())
    });
}
