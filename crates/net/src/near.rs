//! A node's presence in its LAN: an endpoint apart, whose id is new each day.
//!
//! Neighbours see neither the id by which the rest of the network knows this node nor that of
//! yesterday. It has no relay and no wire but the LAN's, so nothing of it leaves the LAN. An old day's
//! endpoint stays for a while, so that what is under way at midnight can end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use busel_proto::daily::Day;
use busel_proto::id::PeerId;
use busel_proto::lan::daily_identity;
use iroh::{EndpointAddr, EndpointId, TransportAddr};
use tokio::task::JoinSet;
use tracing::debug;

use crate::endpoint::{BindError, builder};
use crate::finder::lan::{Lan, Own, today};
use crate::wire::lan::{LanWire, custom};

/// How often it is looked whether the day, or the network, is another.
const LOOK: Duration = Duration::from_secs(10);
/// How long an old day's endpoint stays.
const GRACE: Duration = Duration::from_secs(300);

/// The presence in the LAN.
#[derive(Debug)]
pub(crate) struct Near {
    pub(crate) lan: Arc<Lan>,
    /// What the daily ids are made from; gone when the node ends.
    secret: [u8; 32],
    today: Mutex<Option<Presence>>,
}

/// That of one day.
#[derive(Debug, Clone)]
struct Presence {
    day: Day,
    endpoint: iroh::Endpoint,
    wire: LanWire,
}

impl Near {
    pub(crate) fn new(lan: Arc<Lan>) -> Self {
        Self { lan, secret: rand::random(), today: Mutex::default() }
    }

    /// Whether it has an endpoint: one that only listens needs none.
    pub(crate) fn speaks(&self) -> bool {
        let manners = self.lan.manners();
        manners.speaks || manners.beacons
    }

    /// The endpoint of today and the address of a neighbour, if it may be spoken to.
    pub(crate) fn way(&self, peer: &PeerId) -> Option<(iroh::Endpoint, EndpointAddr)> {
        let presence = self.presence().filter(|_| self.lan.manners().speaks)?;
        let neighbour = self.lan.neighbour(peer)?;
        let id = EndpointId::from_bytes(&peer.0).ok()?;
        let addr = TransportAddr::Custom(custom(neighbour.addr));
        Some((presence.endpoint, EndpointAddr::from_parts(id, [addr])))
    }

    /// Keeps the presence up to date, and gives each new endpoint to `accept`, which runs until that
    /// endpoint closes. Runs until it is dropped; [`Near::close`] comes after it.
    pub(crate) async fn keep<F>(&self, accept: impl Fn(iroh::Endpoint) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        loop {
            match self.presence() {
                Some(presence) if presence.day == today() => presence.wire.moved(self.lan.links()),
                old => match self.wake(today()).await {
                    Ok(presence) => {
                        tasks.spawn(accept(presence.endpoint));
                        if let Some(old) = old {
                            tasks.spawn(retire(old.endpoint));
                        }
                    }
                    Err(error) => debug!(%error, "there is no presence in the LAN"),
                },
            }
            while tasks.try_join_next().is_some() {}
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends the presence.
    pub(crate) async fn close(&self) {
        let presence = lock(&self.today).take();
        if let Some(presence) = presence {
            presence.endpoint.close().await;
        }
    }

    async fn wake(&self, day: Day) -> Result<Presence, BindError> {
        let wire = LanWire::new(self.lan.manners().beacons, self.lan.links())
            .map_err(|error| BindError::Endpoint(error.to_string()))?;
        let identity = daily_identity(&self.secret, day);
        let endpoint = builder(identity)
            .add_custom_transport(Arc::new(wire.clone()))
            .bind()
            .await
            .map_err(|error| BindError::Endpoint(error.to_string()))?;
        self.lan.is(Own { id: PeerId(*endpoint.id().as_bytes()), ports: wire.ports() });
        let presence = Presence { day, endpoint, wire };
        *lock(&self.today) = Some(presence.clone());
        Ok(presence)
    }

    fn presence(&self) -> Option<Presence> {
        lock(&self.today).clone()
    }
}

async fn retire(endpoint: iroh::Endpoint) {
    tokio::time::sleep(GRACE).await;
    endpoint.close().await;
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
