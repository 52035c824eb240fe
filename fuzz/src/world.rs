//! Fixed keys, one page and what was honestly signed for it.

use std::sync::LazyLock;

use busel_proto::blob::TreeBuilder;
use busel_proto::cert::{Checkpoint, Revocation, SubkeyCert, TrustSet, TrustedRoot};
use busel_proto::id::{Hash, PublicKey};
use busel_proto::page::{HostPattern, Variant};
use busel_proto::sealed::{InjectRequest, ResponseKey, hpke_key, seal_request};
use busel_proto::signed::Signed;
use busel_proto::snapshot::{Field, Head, SignedSnapshot};
use busel_proto::time::UnixTime;
use ed25519_dalek::SigningKey;

/// The page.
pub const PAGE: &str = "https://news.example/a?b=1";
/// Seconds of a day.
pub const DAY: u64 = 86_400;
/// Bytes in the body.
pub const BODY: usize = 40_000;
/// The nonce of the sealed response.
pub const NONCE: [u8; 32] = [7; 32];

/// Everything that the targets compare with.
#[derive(Debug)]
pub struct World {
    /// The trusted root.
    pub root: SigningKey,
    /// The injector.
    pub subkey: SigningKey,
    /// The secret to which requests are sealed.
    pub hpke_secret: [u8; 32],
    /// Its public half.
    pub hpke_public: [u8; 32],
    /// Trusts the root for `*.news.example`.
    pub trust: TrustSet,
    /// The page's body.
    pub body: Vec<u8>,
    /// Its root.
    pub body_root: Hash,
    /// Its inner nodes.
    pub outboard: Vec<u8>,
    /// A sealed request.
    pub envelope: Vec<u8>,
    /// What opens its response.
    pub response: ResponseKey,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// The world.
pub fn world() -> &'static World {
    &WORLD
}

impl World {
    fn new() -> Self {
        let (root, subkey) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let (hpke_secret, hpke_public) = hpke_key(&[3; 32]);
        let mut trust = TrustSet::default();
        trust.add(TrustedRoot {
            key: PublicKey::from(&root),
            label: "Newsroom".into(),
            hosts: vec![HostPattern::parse("*.news.example").expect("a pattern")],
        });
        let body: Vec<u8> = (0..BODY).map(|n| ((n * 7 + n / 251) % 256) as u8).collect();
        let mut tree = TreeBuilder::default();
        tree.push(&body);
        let (body_root, outboard) = tree.finish();
        let (envelope, response) =
            seal_request(&request(), &PublicKey::from(&subkey), &hpke_public, [5; 32])
                .expect("a short request can be sealed");
        Self {
            root,
            subkey,
            hpke_secret,
            hpke_public,
            trust,
            body,
            body_root,
            outboard,
            envelope,
            response,
        }
    }

    /// The injector's certificate.
    pub fn cert(&self) -> SubkeyCert {
        SubkeyCert {
            v: 1,
            root: PublicKey::from(&self.root),
            subkey: PublicKey::from(&self.subkey),
            hpke: self.hpke_public,
            epoch: 4,
            not_before: UnixTime(100 * DAY),
            not_after: UnixTime(130 * DAY),
        }
    }

    /// What the injector saw.
    pub fn head(&self) -> Head {
        let field = |name: &str, value: &str| Field { name: name.into(), value: value.into() };
        Head {
            v: 1,
            url: PAGE.into(),
            variant: Variant::default(),
            status: 200,
            headers: vec![
                field("cache-control", "max-age=60"),
                field("content-type", "text/html"),
                field("etag", "\"a\""),
            ],
            root: self.body_root,
            len: BODY as u64,
            fetched_at: UnixTime(110 * DAY),
            tls: true,
            injector: PublicKey::from(&self.subkey),
            epoch: 4,
        }
    }

    /// The page, signed.
    pub fn snapshot(&self) -> SignedSnapshot {
        SignedSnapshot {
            head: Signed::sign(&self.head(), &self.subkey),
            cert: Signed::sign(&self.cert(), &self.root),
        }
    }

    /// A list of keys that were taken back; the injector's is not among them.
    pub fn revocation(&self) -> Revocation {
        let subkeys = vec![PublicKey([8; 32]), PublicKey([9; 32])];
        Revocation { v: 1, root: PublicKey::from(&self.root), seq: 3, subkeys }
    }

    /// The root's word for the head.
    pub fn checkpoint(&self) -> Checkpoint {
        let mut heads = vec![self.snapshot().head.hash(), Hash([1; 32]), Hash([254; 32])];
        heads.sort_unstable();
        Checkpoint { v: 1, root: PublicKey::from(&self.root), heads }
    }
}

/// What a reader asks the injector.
pub fn request() -> InjectRequest {
    InjectRequest {
        url: PAGE.into(),
        variant: Variant::default(),
        at: UnixTime(110 * DAY),
        nonce: [4; 16],
        from: Some(0),
        root: None,
        new: false,
    }
}
