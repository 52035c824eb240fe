//! A node that answers by a script, whatever the protocol asks of it; and that asks whatever it
//! likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use busel_net::dial::Dialer;
use busel_net::endpoint::Stream;
use busel_net::frame;
use busel_net::wire::Wire;
use busel_net::wire::relay::Relay;
use busel_net::wire::veil::{Listen, Veil};
use busel_net::{Connection, Endpoint};
use busel_node::clock;
use busel_proto::card::Card;
use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::invite::VeilTicket;
use busel_proto::message::{Answer, Ask, MAX_FRAME};
use busel_proto::page::{PageUrl, Variant};
use busel_proto::sealed::{
    ChunkCipher, InjectRequest, MAX_CHUNK, Part, Preview, ResponseKey, seal_request,
};
use busel_proto::signed::Signed;
use busel_proto::snapshot::SignedSnapshot;
use busel_proto::time::UnixTime;
use busel_proto::veil::VeilSecret;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use super::world::connected;
use super::{LOOPBACK, World};

/// A node under the test's control.
pub(crate) struct Peer {
    pub(crate) endpoint: Endpoint,
    /// Where it listens for the veil, if it does.
    pub(crate) veil: Option<VeilTicket>,
    /// How often it was asked for a page.
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    _relay: Arc<Relay>,
}

type Script = dyn Fn(Connection, Ask, Stream) -> BoxFuture<'static, ()> + Send + Sync;

impl Peer {
    /// One that answers each request for a page by `script`, and declines all else.
    pub(crate) async fn start<F>(
        world: &World,
        script: impl Fn(Ask, Stream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let asked = Arc::<AtomicUsize>::default();
        let (count, script) = (asked.clone(), Arc::new(script));
        let own: Arc<Script> = Arc::new(move |_, ask, mut stream| {
            let (count, script) = (count.clone(), script.clone());
            Box::pin(async move {
                if let Ask::Fetch { .. } | Ask::Blob { .. } | Ask::Has { .. } = ask {
                    count.fetch_add(1, Ordering::SeqCst);
                    return script(ask, stream).await;
                }
                let failure = Failure::NotAllowed("by the script".into());
                let no = Answer::Declined { failure }.to_frame();
                let _ = stream.send.write_all(&no).await;
                let _ = stream.send.finish();
            })
        });
        Self::with(world, rand::random(), own, asked, vec![]).await
    }

    /// One that answers whatever it is asked by `script`, and can be reached by the veil, too, if somebody
    /// knows where.
    pub(crate) async fn hearing<F>(
        world: &World,
        identity: [u8; 32],
        script: impl Fn(Connection, Ask, Stream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let script: Arc<Script> = Arc::new(move |from, ask, s| Box::pin(script(from, ask, s)));
        let secret = VeilSecret(rand::random());
        let veil = Arc::new(Veil::new(Some(Listen { addr: LOOPBACK, secret })));
        let mut peer =
            Self::with(world, identity, script, Arc::default(), vec![veil.clone()]).await;
        let addrs = veil.listens().iter().map(ToString::to_string).collect();
        peer.veil = Some(VeilTicket { addrs, secret });
        peer
    }

    async fn with(
        world: &World,
        identity: [u8; 32],
        script: Arc<Script>,
        asked: Arc<AtomicUsize>,
        mut wires: Vec<Arc<dyn Wire>>,
    ) -> Self {
        let ticket = world.relay.ticket().clone();
        let relay = Arc::new(Relay::start(Dialer::default(), &[ticket]).await.unwrap());
        wires.push(relay.clone());
        let endpoint = Endpoint::bind(identity, wires, vec![]).await.unwrap();
        let task = tokio::spawn(serve(endpoint.clone(), script));
        Self { endpoint, veil: None, asked, task, _relay: relay }
    }

    /// One that only asks.
    pub(crate) async fn asker(world: &World) -> Self {
        Self::start(world, |_, _| async {}).await
    }

    /// One that sends these bytes for each page it is asked for, and ends the stream.
    pub(crate) async fn saying(world: &World, bytes: Vec<u8>) -> Self {
        Self::start(world, move |_, mut stream| {
            let bytes = bytes.clone();
            async move {
                let _ = stream.send.write_all(&bytes).await;
                let _ = stream.send.finish();
                let _ = stream.send.stopped().await;
            }
        })
        .await
    }

    pub(crate) fn id(&self) -> PeerId {
        self.endpoint.id()
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Makes sure that `to` can be asked.
    pub(crate) async fn meet(&self, world: &World, to: PeerId) {
        self.endpoint.learn(world.contact(to)).await;
        connected(&self.endpoint, to).await;
    }

    /// Opens a stream to `to` and sends bytes on it.
    pub(crate) async fn send(&self, to: PeerId, bytes: &[u8]) -> Stream {
        let mut stream = self.endpoint.open(&to).await.unwrap();
        stream.send.write_all(bytes).await.unwrap();
        stream
    }

    /// Asks `to`, and returns the first frame back.
    pub(crate) async fn ask(&self, to: PeerId, ask: &Ask) -> Answer {
        self.ask_on(to, ask).await.0
    }

    /// As [`Peer::ask`], with what follows.
    pub(crate) async fn ask_on(&self, to: PeerId, ask: &Ask) -> (Answer, Stream) {
        let mut stream = self.send(to, &ask.to_frame()).await;
        let answer = answer(&mut stream).await;
        (answer, stream)
    }

    /// Asks the world's injector; it must have been met.
    pub(crate) async fn inject(&self, world: &World, request: &InjectRequest) -> Sealed {
        let (envelope, key) = seal(world, request);
        self.inject_envelope(world, envelope, &key).await.expect("the injector opens it")
    }

    pub(crate) async fn inject_envelope(
        &self,
        world: &World,
        envelope: Vec<u8>,
        key: &ResponseKey,
    ) -> Result<Sealed, Failure> {
        let ask = Ask::Inject { envelope };
        let (answer, mut stream) = self.ask_on(world.injector_node.id(), &ask).await;
        match answer {
            Answer::Open => {}
            Answer::Declined { failure } => return Err(failure),
            other => panic!("an injector answered {other:?}"),
        }
        let mut nonce = [0; 32];
        stream.recv.read_exact(&mut nonce).await.unwrap();
        Ok(Sealed { stream, cipher: key.cipher(&nonce), over: false })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(endpoint: Endpoint, script: Arc<Script>) {
    while let Some(connection) = endpoint.accept().await {
        let script = script.clone();
        tokio::spawn(async move {
            while let Some(mut stream) = connection.accept().await {
                let (script, from) = (script.clone(), connection.clone());
                tokio::spawn(async move {
                    let Ok(body) = frame::read(&mut stream.recv, MAX_FRAME).await else { return };
                    script(from, Ask::from_frame(&body).unwrap(), stream).await;
                });
            }
        });
    }
}

/// The first frame back.
pub(crate) async fn answer(stream: &mut Stream) -> Answer {
    let body = frame::read(&mut stream.recv, MAX_FRAME).await.expect("an answer");
    Answer::from_frame(&body).expect("an answer")
}

/// A request for a page, made now.
pub(crate) fn request(url: &PageUrl) -> InjectRequest {
    InjectRequest {
        url: url.as_str().to_owned(),
        variant: Variant::default(),
        at: clock::now(),
        nonce: rand::random(),
        from: Some(0),
        root: None,
        new: false,
        held: None,
    }
}

pub(crate) fn seal(world: &World, request: &InjectRequest) -> (Vec<u8>, ResponseKey) {
    let cert = world.cert.peek().unwrap();
    seal_request(request, &cert.subkey, &cert.hpke, rand::random()).unwrap()
}

/// A sealed response being read.
pub(crate) struct Sealed {
    stream: Stream,
    cipher: ChunkCipher,
    over: bool,
}

/// All that a sealed response said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) preview: Option<Preview>,
    pub(crate) data: Vec<u8>,
    pub(crate) signed: Option<SignedSnapshot>,
    pub(crate) declined: Option<Failure>,
    pub(crate) clock: Option<UnixTime>,
    pub(crate) held: Vec<Signed<Card>>,
}

impl Sealed {
    /// Takes the next part into `said`; `false` after the last.
    pub(crate) async fn next(&mut self, said: &mut Said) -> bool {
        if self.over {
            return false;
        }
        let chunk = frame::read(&mut self.stream.recv, MAX_CHUNK).await.expect("a part");
        let (bytes, last) = self.cipher.open(&chunk).unwrap();
        self.over = last;
        match Part::from_bytes(&bytes).unwrap() {
            Part::Preview(preview) => said.preview = Some(preview),
            Part::Data(data) => said.data.extend_from_slice(data),
            Part::Signed(signed) => said.signed = Some(*signed),
            Part::Declined(failure) => said.declined = Some(failure),
            Part::Clock(time) => said.clock = Some(time),
            Part::Held(cards) => said.held = cards,
        }
        true
    }

    /// Reads to the end.
    pub(crate) async fn all(mut self) -> Said {
        let mut said = Said::default();
        while self.next(&mut said).await {}
        said
    }
}
