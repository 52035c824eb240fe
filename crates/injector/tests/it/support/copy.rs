//! Snapshots made by hand, true ones and others, and the windows in which their bodies travel.

use std::ops::Range;

use busel_node::{Node, clock};
use busel_proto::blob::{self, GROUP, TreeBuilder};
use busel_proto::cert::{Revocation, SubkeyCert};
use busel_proto::id::PublicKey;
use busel_proto::message::{Answer, Ask, frame};
use busel_proto::page::Variant;
use busel_proto::signed::Signed;
use busel_proto::snapshot::{Field, Head, SignedSnapshot, Wanted};
use busel_proto::time::UnixTime;
use bytes::Bytes;
use ed25519_dalek::SigningKey;

use super::{World, url};

/// A snapshot and its body.
#[derive(Clone)]
pub(crate) struct Copy {
    pub(crate) signed: SignedSnapshot,
    pub(crate) head: Head,
    pub(crate) body: Bytes,
    pub(crate) outboard: Vec<u8>,
}

impl World {
    /// A true copy of a page, signed with the injector's key.
    pub(crate) fn copy(&self, path: &str, body: impl Into<Bytes>) -> Copy {
        self.copy_with(path, body, |_| {})
    }

    /// A copy signed with the injector's key, whatever its head says.
    pub(crate) fn copy_with(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        change: impl FnOnce(&mut Head),
    ) -> Copy {
        Copy::signed_by(&self.signing, &self.cert, path, body, change)
    }
}

impl Copy {
    pub(crate) fn signed_by(
        key: &SigningKey,
        cert: &Signed<SubkeyCert>,
        path: &str,
        body: impl Into<Bytes>,
        change: impl FnOnce(&mut Head),
    ) -> Self {
        let body = body.into();
        let mut tree = TreeBuilder::default();
        tree.push(&body);
        let (root, outboard) = tree.finish();
        let mut head = Head {
            v: 1,
            url: url(path).as_str().to_owned(),
            variant: Variant::default(),
            status: 200,
            headers: fields("max-age=600"),
            root,
            len: body.len() as u64,
            fetched_at: clock::now(),
            tls: true,
            injector: PublicKey::from(key),
            epoch: cert.peek().unwrap().epoch,
        };
        change(&mut head);
        let signed = SignedSnapshot { head: Signed::sign(&head, key), cert: cert.clone() };
        Self { signed, head, body, outboard }
    }

    /// `Found`, with or without a revocation.
    pub(crate) fn found(&self, revocation: Option<Signed<Revocation>>) -> Vec<u8> {
        Answer::Found { snapshot: self.signed.clone(), revocation }.to_frame()
    }

    /// What an honest node says that has it.
    pub(crate) fn answer(&self, ask: &Ask) -> Vec<Vec<u8>> {
        let (first, windows) = match ask {
            Ask::Fetch { from: Some(from), .. } => (self.found(None), self.windows(*from)),
            Ask::Blob { from, to, .. } => (Answer::Open.to_frame(), self.windows_of(*from..*to)),
            Ask::Has { .. } => (Answer::Has { pieces: None }.to_frame(), Vec::new()),
            _ => (self.found(None), Vec::new()),
        };
        [vec![first], windows].concat()
    }

    /// The windows of the body from a byte on, as `fetch/1` sends them: as many bytes as the head
    /// says, whether the body has them or not.
    pub(crate) fn windows(&self, from: u64) -> Vec<Vec<u8>> {
        self.windows_of(from..blob::lead(from, self.head.len))
    }

    fn windows_of(&self, range: Range<u64>) -> Vec<Vec<u8>> {
        let (from, to, len) = (range.start, range.end, self.head.len);
        let mut bytes = self.body.to_vec();
        bytes.resize(usize::try_from(len).unwrap(), 0);
        let (mut at, mut windows) = (from, Vec::new());
        while let Some(window) = blob::window_after(from, at, to) {
            at = window.end;
            let range = window.start..window.end.next_multiple_of(GROUP).min(len);
            let content = &bytes[range.start as usize..range.end as usize];
            let encoded = blob::encode_window(self.head.root, len, &self.outboard, range, content);
            windows.push(frame(&encoded.unwrap()));
        }
        windows
    }

    /// Puts it into a node's store, as if it had come at `received`.
    pub(crate) async fn put_into(&self, node: &Node, received: UnixTime) {
        let wanted = Wanted::page(busel_proto::page::PageUrl::parse(&self.head.url).unwrap());
        let snapshot = self.signed.clone().verify(&wanted, &node.joined().view().trust).unwrap();
        let (store, body) = (node.store().clone(), self.body.clone());
        tokio::task::spawn_blocking(move || {
            let mut writer = store.writer().unwrap();
            writer.write(&body).unwrap();
            store.put(&snapshot, writer.finish().unwrap(), received).unwrap();
        })
        .await
        .unwrap();
    }
}

/// Header fields of a page with this `Cache-Control`.
pub(crate) fn fields(cache_control: &str) -> Vec<Field> {
    [("cache-control", cache_control), ("content-type", "text/html"), ("etag", "\"v1\"")]
        .map(|(name, value)| Field { name: name.into(), value: value.as_bytes().to_vec() })
        .into()
}

/// A body of `len` bytes, no two parts of which are alike.
pub(crate) fn noise(len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    rand::fill(&mut bytes[..]);
    bytes.into()
}
