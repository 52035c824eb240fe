//! A scene with all of Busel in it: where readers come to read.

use super::{Network, Scene};
use crate::censor::Censor;
use crate::map::Point;
use crate::world::{Drawing, Host};

/// A world with origins, resolvers, relays, an injector and a helper at work.
pub struct Stage {
    /// Who helps readers. It ends first.
    pub network: Network,
    /// The world, its sites and resolvers.
    pub scene: Scene,
}

impl Stage {
    /// Sets it in the country that has a place for all.
    pub fn set() -> anyhow::Result<Self> {
        Self::of(Network::drawing())
    }

    /// Sets it in a country that was drawn from [`Network::drawing`].
    pub fn of(drawing: Drawing) -> anyhow::Result<Self> {
        let scene = Scene::of(drawing)?;
        Ok(Self { network: Network::start(&scene)?, scene })
    }

    /// The host of this name.
    pub fn host(&self, name: &str) -> &Host {
        self.scene.world.host(name)
    }

    /// The censor at a point.
    pub fn at(&self, point: Point) -> &Censor {
        self.scene.world.censor(point)
    }
}
