//! A hostile node: answers every question with a lie, one of two kinds.

use std::sync::Arc;

use busel_net::dial::Dialer;
use busel_net::wire::Wire;
use busel_net::wire::relay::Relay;
use busel_net::{Endpoint, frame};
use busel_node::clock;
use busel_proto::blob::{self, TreeBuilder};
use busel_proto::id::PublicKey;
use busel_proto::invite::RelayTicket;
use busel_proto::message::{self, Answer, Ask, MAX_FRAME};
use busel_proto::page::{PageUrl, Variant};
use busel_proto::signed::Signed;
use busel_proto::snapshot::{Head, SignedSnapshot};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use tokio::task::JoinSet;

/// What it lies with.
pub(crate) enum Lie {
    /// A page of its own making, under a key of its own, beside the injector's true certificate.
    Forged {
        /// The page it claims to have.
        url: PageUrl,
        /// A true snapshot, for its certificate.
        honest: Box<SignedSnapshot>,
    },
    /// A true snapshot of another page.
    OtherPage {
        /// The snapshot.
        snapshot: Box<SignedSnapshot>,
        /// Its body.
        body: Bytes,
    },
}

/// The node. Dropping it ends it.
pub(crate) struct Hostile {
    endpoint: Endpoint,
    wire: Arc<Relay>,
    _tasks: JoinSet<()>,
}

impl Hostile {
    pub(crate) async fn start(relay: &RelayTicket, lie: Lie) -> anyhow::Result<Self> {
        let wire = Arc::new(Relay::start(Dialer::default(), std::slice::from_ref(relay)).await?);
        let wires: Vec<Arc<dyn Wire>> = vec![wire.clone()];
        let endpoint = Endpoint::bind(rand::random(), wires, vec![]).await?;
        let (snapshot, body) = lie.told();
        let mut tasks = JoinSet::new();
        tasks.spawn(lie_to_all(endpoint.clone(), Arc::new((snapshot, body))));
        Ok(Self { endpoint, wire, _tasks: tasks })
    }

    pub(crate) fn id(&self) -> busel_proto::id::PeerId {
        self.endpoint.id()
    }

    pub(crate) async fn stop(self) {
        self.endpoint.close().await;
        self.wire.stop().await;
    }
}

impl Lie {
    fn told(self) -> (SignedSnapshot, Bytes) {
        match self {
            Self::OtherPage { snapshot, body } => (*snapshot, body),
            Self::Forged { url, honest } => {
                let body = Bytes::from_static(b"<h1>Everything is calm. Go home.</h1>");
                let mut tree = TreeBuilder::default();
                tree.push(&body);
                let key = SigningKey::from_bytes(&rand::random());
                let head = Head {
                    v: 1,
                    url: url.as_str().to_owned(),
                    variant: Variant::default(),
                    status: 200,
                    headers: vec![],
                    root: tree.finish().0,
                    len: body.len() as u64,
                    fetched_at: clock::now(),
                    tls: true,
                    injector: PublicKey::from(&key),
                    epoch: honest.cert.peek().map_or(0, |cert| cert.epoch),
                };
                (SignedSnapshot { head: Signed::sign(&head, &key), cert: honest.cert }, body)
            }
        }
    }
}

async fn lie_to_all(endpoint: Endpoint, lie: Arc<(SignedSnapshot, Bytes)>) {
    let mut connections = JoinSet::new();
    while let Some(connection) = endpoint.accept().await {
        let lie = lie.clone();
        connections.spawn(async move {
            while let Some(mut stream) = connection.accept().await {
                let Ok(body) = frame::read(&mut stream.recv, MAX_FRAME).await else { continue };
                if let Ok(Ask::Fetch { .. }) = Ask::from_frame(&body) {
                    // Whether the lie arrives is the victim's business.
                    let _ = stream.send.write_all(&answer(&lie)).await;
                    let _ = stream.send.finish();
                }
            }
        });
    }
}

fn answer((snapshot, body): &(SignedSnapshot, Bytes)) -> Vec<u8> {
    let mut out = Answer::Found { snapshot: snapshot.clone(), revocation: None }.to_frame();
    let mut tree = TreeBuilder::default();
    tree.push(body);
    let (root, outboard) = tree.finish();
    let len = body.len() as u64;
    let mut at = 0;
    while let Some(range) = blob::window_after(0, at, len) {
        let cut = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(body.len());
        let part = &body[cut(range.start)..cut(range.end)];
        if let Ok(window) = blob::encode_window(root, len, &outboard, range.clone(), part) {
            out.extend(message::frame(&window));
        }
        at = range.end;
    }
    out
}
