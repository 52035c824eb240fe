//! Control of the NATs: each lets in whom its kind does and nobody else, and changes ports as its kind
//! does. A home that moves has the line and the NAT of its new router.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use busel_lab::map::Place;
use busel_lab::sandbox::inside;
use busel_lab::world::{Drawing, Host, Nat, World};

/// How long a datagram is waited for that does not come.
const SILENCE: Duration = Duration::from_millis(300);
/// … and one that does.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is not heard is sent again after so long.
const AGAIN: Duration = Duration::from_millis(500);

fn world(nat: Nat) -> anyhow::Result<World> {
    Drawing::new()
        .nat(Place::IspA, "router", "198.18.1.1", nat)
        .home("router", "home")
        .inner("router", "inner", Nat::PortRestricted)
        .home("inner", "inmost")
        .nat(Place::IspB, "other", "198.18.2.1", Nat::Cone)
        .server(Place::Abroad, "one", "198.19.1.10")
        .server(Place::Abroad, "two", "198.19.2.10")
        .start()
}

fn socket(host: &Host) -> anyhow::Result<UdpSocket> {
    let at = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
    Ok(host.enter(move || UdpSocket::bind(at))?)
}

/// The socket of a server, and where it is.
fn server(host: &Host) -> anyhow::Result<(UdpSocket, SocketAddr)> {
    let socket = socket(host)?;
    let at = SocketAddr::new(host.v4(), socket.local_addr()?.port());
    Ok((socket, at))
}

/// Who sent what comes here.
fn heard(socket: &UdpSocket, patience: Duration) -> Option<SocketAddr> {
    socket.set_read_timeout(Some(patience)).ok()?;
    Some(socket.recv_from(&mut [0; 64]).ok()?.1)
}

/// Sends to a server until it hears that, and says from where it saw it come. A cable that was just
/// plugged in loses what is sent at once.
fn seen(from: &UdpSocket, (server, at): &(UdpSocket, SocketAddr)) -> anyhow::Result<SocketAddr> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        // There may be no way yet.
        from.send_to(b"out", at).ok();
        if let Some(seen) = heard(server, AGAIN) {
            return Ok(seen);
        }
    }
    bail!("what goes out does not arrive")
}

#[test]
fn each_kind_lets_in_whom_it_lets_in() {
    inside(|| {
        for nat in Nat::ALL {
            let world = world(nat)?;
            let (one, two) = (world.host("one"), world.host("two"));
            let (asked, port, stranger) = (server(one)?, server(one)?, server(two)?);
            let home = socket(world.host("home"))?;
            let without = seen(&home, &asked)?;
            ensure!(without.ip() == world.host("router").v4(), "{nat:?} masks: {without}");
            let comes = |from: &UdpSocket, patience| -> anyhow::Result<bool> {
                from.send_to(b"in", without)?;
                Ok(heard(&home, patience).is_some())
            };
            ensure!(comes(&asked.0, PATIENCE)?, "{nat:?}: an answer comes");
            let (any, host) = (nat == Nat::Cone, matches!(nat, Nat::Cone | Nat::Restricted));
            let patience = |comes| if comes { PATIENCE } else { SILENCE };
            ensure!(comes(&port.0, patience(host))? == host, "{nat:?}: from another port");
            ensure!(comes(&stranger.0, patience(any))? == any, "{nat:?}: from a stranger");
            let again = seen(&home, &stranger)?;
            ensure!((again == without) == (nat != Nat::Symmetric), "{nat:?}: {without}, {again}");
        }
        Ok(())
    });
}

#[test]
fn a_home_behind_two_nats_gets_out_and_one_that_moves_does_from_its_new_place() {
    inside(|| {
        let world = world(Nat::Symmetric)?;
        let at_server = server(world.host("one"))?;
        let router = |name: &str| world.host(name).v4();
        let inmost = socket(world.host("inmost"))?;
        let without = seen(&inmost, &at_server).context("from the inmost")?;
        ensure!(without.ip() == router("router"), "{without}");
        at_server.0.send_to(b"in", without)?;
        ensure!(heard(&inmost, PATIENCE).is_some(), "an answer comes through both");
        for (to, as_seen) in [("other", "other"), ("inner", "router"), ("other", "other")] {
            world.move_home("home", to)?;
            let home = socket(world.host("home"))?;
            let at_server = server(world.host("one"))?;
            let without = seen(&home, &at_server).with_context(|| format!("behind {to}"))?;
            ensure!(without.ip() == router(as_seen), "behind {to} it is seen as {without}");
            world.host("home").plug(false)?;
            world.host("home").plug(true)?;
            seen(&home, &at_server).context("a cable that is plugged in again")?;
        }
        Ok(())
    });
}
