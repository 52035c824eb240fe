//! The catalogue: an injector lists what many ask for, and what its feeds name. A page that one reader alone asks for is
//! in no list that others see.

use busel_node::clock;
use busel_proto::catalogue::Listed;
use busel_proto::id::PeerId;
use busel_proto::snapshot::Snapshot;

use crate::{Inner, lock};

/// `asker` asks for a page, or passes such a request on.
pub(crate) fn asked(inner: &Inner, snapshot: &Snapshot, asker: PeerId) {
    let popular = lock(&inner.popular).asked(snapshot.key(), asker, clock::now());
    if popular && snapshot.head().status == 200 {
        list(inner, snapshot);
    }
}

/// Lists a page that this injector has signed; of two it is the newer one.
pub(crate) fn list(inner: &Inner, snapshot: &Snapshot) {
    let own = snapshot.cert().subkey == inner.keys.cert().subkey;
    if own && !inner.node.is_listed(snapshot) {
        inner.node.list(&Listed::sign(snapshot.clone(), inner.keys.signing()));
    }
}
