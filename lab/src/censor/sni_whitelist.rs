//! Whitelist of names and addresses: TLS passes only to listed names, by TCP and by QUIC, and where
//! nets are given too, nothing passes to any other (Russia's mobile networks since 2025: both at
//! once). On port 443 whatever is not TLS or QUIC with a listed name is swallowed.
//!
//! Without nets, ports other than 443 are left alone unless they begin with a ClientHello; within the
//! nets likewise. A name that is a lie passes, as the box has no other way to know.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Context, Injected, Names, Packet, PerFlow, Policy, Verdict};
use crate::flow::{ClientHello, Flow, Initials, MAX_START};

/// The port of TLS and QUIC.
const PORT: u16 = 443;

/// Passes listed names.
#[derive(Debug)]
pub struct SniWhitelist {
    names: Names,
    nets: Option<Vec<IpNet>>,
    flows: PerFlow<Sight>,
}

/// What was seen of a flow.
#[derive(Debug, Default)]
struct Sight {
    initials: Initials,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Its hello is not there yet.
    #[default]
    Open,
    Listed,
    Forbidden,
}

impl SniWhitelist {
    /// Passes TLS to these names, wherever they are.
    pub fn new(names: Names) -> Self {
        Self { names, nets: None, flows: PerFlow::default() }
    }

    /// The same, but nothing passes to addresses that are in none of these nets. That of
    /// the resolver belongs here too.
    #[must_use]
    pub fn only_at<N: Into<IpNet>>(self, nets: impl IntoIterator<Item = N>) -> Self {
        Self { nets: Some(nets.into_iter().map(Into::into).collect()), ..self }
    }

    fn is_listed(&self, addr: IpAddr) -> bool {
        let has = |nets: &Vec<IpNet>| nets.iter().any(|net| net.contains(&addr));
        self.nets.as_ref().is_none_or(has)
    }

    /// What the packet at hand makes of its flow.
    fn look(&mut self, packet: &Packet, flow: &Flow) -> State {
        let sight = self.flows.of(flow);
        if sight.state != State::Open || !flow.from_client() || packet.payload().is_empty() {
            return sight.state;
        }
        let strict = flow.server().port() == PORT;
        let tcp = packet.tcp().is_some();
        if !tcp {
            sight.initials.take(packet.payload());
        }
        sight.state = match flow.hello().or(sight.initials.hello()) {
            Some(ClientHello { sni: Some(name), .. }) if self.names.has(name) => State::Listed,
            Some(_) => State::Forbidden,
            None if !strict || is_unfinished(flow, tcp, &sight.initials) => State::Open,
            None => State::Forbidden,
        };
        sight.state
    }
}

/// Whether a hello may still come.
fn is_unfinished(flow: &Flow, tcp: bool, initials: &Initials) -> bool {
    let start = flow.client_start();
    if tcp {
        start.len() < MAX_START && ClientHello::find(start) == Ok(None)
    } else {
        initials.began()
    }
}

impl Policy for SniWhitelist {
    fn name(&self) -> &'static str {
        "sni_whitelist"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        if !self.is_listed(at.flow.server().ip()) {
            return Verdict::Drop;
        }
        if packet.tcp().is_none() && !packet.is_udp() {
            return Verdict::Pass;
        }
        match self.look(packet, at.flow) {
            State::Open | State::Listed => Verdict::Pass,
            State::Forbidden => Verdict::Drop,
        }
    }
}
