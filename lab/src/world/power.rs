//! Power loss: hosts chosen by chance go dark at once, as districts do when the power is cut. Which
//! ones follows from a seed, so that a test can be run again.

use rand::SeedableRng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::{Host, World};

impl World {
    /// So many of these hosts, by chance. The same seed gives the same hosts.
    pub fn any_of(&self, hosts: &[&str], number: usize, seed: u64) -> Vec<&Host> {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let chosen = hosts.sample(&mut chance, number);
        chosen.map(|name| self.host(name)).collect()
    }

    /// Cuts the power of so many of these hosts, by chance, and says whose. A home is dark with its
    /// cable; a router that is chosen takes its homes off the net too.
    pub fn power_loss(
        &self,
        hosts: &[&str],
        number: usize,
        seed: u64,
    ) -> anyhow::Result<Vec<&Host>> {
        let chosen = self.any_of(hosts, number, seed);
        for host in &chosen {
            host.kill()?;
        }
        Ok(chosen)
    }
}
