//! Our relay, as `busel relay` runs it.

use anyhow::Result;
use busel_net::relay::{Identity, RelayConfig, RelayServer};
use busel_proto::invite::Invite;
use busel_proto::page::HostName;

use super::{Doer, Ready};

/// Starts it; it runs until the process ends.
pub(crate) async fn start() -> Result<(Ready, Doer)> {
    let relay = RelayServer::start(RelayConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        public: None,
        identity: Identity::generate(&HostName::parse("www.example.org")?)?,
        secret: rand::random(),
        site: None,
        site_proxy: None,
        also: Vec::new(),
        bytes_per_second: None,
    })
    .await?;
    let invite = Invite { relays: vec![relay.ticket().clone()], ..Invite::default() };
    std::mem::forget(relay);
    Ok((Ready { invite: invite.to_line(), ..Ready::default() }, Doer::Server))
}
