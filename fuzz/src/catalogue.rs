//! Catalogues: what somebody says who compares theirs with ours, asking or answering.

use std::sync::OnceLock;

use busel_proto::catalogue::{Catalogue, Compare, Listed, MAX_MESSAGE, MAX_MISSING, Next};
use busel_proto::id::{Hash, PublicKey};
use busel_proto::page::Variant;
use busel_proto::signed::Signed;
use busel_proto::snapshot::{Head, SignedSnapshot};
use busel_proto::time::UnixTime;

use crate::records::{cert, subkey, trust};

/// No answer is longer than it may be, and no comparison finds more than it may.
pub fn catalogue(data: &[u8]) {
    if let Ok(answer) = own().sketch().answer(data) {
        assert!(answer.len() <= MAX_MESSAGE);
    }
    let (mut compare, _) = Compare::begin(own().sketch()).expect("a sketch can be compared");
    match compare.hear(data) {
        Ok(Next::Found(differ)) => {
            assert!(differ.here.len() <= MAX_MISSING && differ.there.len() <= own().len());
        }
        Ok(Next::Send(next)) => assert!(next.len() <= MAX_MESSAGE),
        Err(_) => {}
    }
}

/// One of some pages.
fn own() -> &'static Catalogue {
    static OWN: OnceLock<Catalogue> = OnceLock::new();
    OWN.get_or_init(|| of(0..40))
}

pub(crate) fn of(pages: std::ops::Range<u64>) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for n in pages {
        let head = Head {
            v: 1,
            url: format!("https://news.example/{n}"),
            variant: Variant::default(),
            status: 200,
            headers: Vec::new(),
            root: Hash([4; 32]),
            len: 4,
            fetched_at: UnixTime(1000 + n),
            tls: true,
            injector: PublicKey::from(&subkey()),
            epoch: 4,
        };
        let signed = SignedSnapshot { head: Signed::sign(&head, &subkey()), cert: cert() };
        let snapshot = signed.verify_page(&trust()).expect("it is our own");
        catalogue.put(&Listed::sign(snapshot, &subkey()), UnixTime(2000));
    }
    catalogue
}
