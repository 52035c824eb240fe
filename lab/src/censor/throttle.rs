//! Throttling: what goes to and from listed nets, or belongs to connections whose hello has a listed
//! name, shares a trickle: 128 kbit/s each way for each client (Twitter in Russia, 2021; Telegram on
//! days of protest in Belarus, 2020). Packets wait for their turn, and are dropped where the wait
//! would be too long. The site loads, and nobody waits for it.
//!
//! It cuts nothing off, and a client that opens more connections gets no more of it.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;
use lru::LruCache;

use super::{Bucket, Context, Injected, Names, Packet, Policy, Verdict};

/// What was seen in the field.
const BITS_PER_SECOND: u64 = 128_000;
/// How many bytes pass at once after a silence.
const BURST: u64 = 4 << 10;
/// How long a packet waits before it is dropped instead.
const LONGEST: Duration = Duration::from_secs(2);
/// As many clients are remembered.
const MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Slows listed nets and sites down.
#[derive(Debug)]
pub struct Throttle {
    nets: Vec<IpNet>,
    names: Names,
    bits_per_second: u64,
    /// By client: its way up, its way down.
    buckets: LruCache<IpAddr, [Bucket; 2]>,
}

impl Throttle {
    /// Slows these nets down; a single address is a net too.
    pub fn nets<N: Into<IpNet>>(nets: impl IntoIterator<Item = N>) -> Self {
        Self::new(nets.into_iter().map(Into::into).collect(), Names::default())
    }

    /// Slows connections to these names down, from their hello on.
    pub fn names(names: Names) -> Self {
        Self::new(Vec::new(), names)
    }

    /// The same with another rate.
    #[must_use]
    pub fn rate(self, bits_per_second: u64) -> Self {
        Self { bits_per_second, ..self }
    }

    fn new(nets: Vec<IpNet>, names: Names) -> Self {
        let bits_per_second = BITS_PER_SECOND;
        Self { nets, names, bits_per_second, buckets: LruCache::new(MAX) }
    }

    fn is_meant(&self, packet: &Packet, at: &Context<'_>) -> bool {
        let ends = [packet.source(), packet.dest()];
        let name = at.flow.hello().and_then(|hello| hello.sni.as_deref());
        self.nets.iter().any(|net| ends.iter().any(|end| net.contains(end)))
            || name.is_some_and(|name| self.names.has(name))
    }
}

impl Policy for Throttle {
    fn name(&self) -> &'static str {
        "throttle"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        if !self.is_meant(packet, at) {
            return Verdict::Pass;
        }
        let rate = self.bits_per_second;
        let both = self.buckets.get_or_insert_mut(at.flow.client().ip(), || {
            [(); 2].map(|()| Bucket::new(rate, BURST, LONGEST))
        });
        let bucket = &mut both[usize::from(at.flow.from_client())];
        match bucket.admit(at.now, packet.bytes().len()) {
            Some(Duration::ZERO) => Verdict::Pass,
            Some(wait) => Verdict::Delay(wait),
            None => Verdict::Drop,
        }
    }
}
