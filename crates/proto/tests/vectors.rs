//! Test vectors for other implementations: `docs/vectors.json`, from fixed keys.
//!
//! One test builds everything and compares; with `BUSEL_WRITE_VECTORS=1` it writes the file
//! instead. The other takes the file as somebody else's: it reads, verifies and opens.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use busel_proto::assigned::Offer;
use busel_proto::blob::{GROUP, TreeBuilder, decode_window, encode_window, outboard_len};
use busel_proto::card::Card;
use busel_proto::carrier::{Decoder, Frame};
use busel_proto::catalogue::{Catalogue, Compare, Listed, Put, SignedListed};
use busel_proto::cbor;
use busel_proto::cert::{Checkpoint, Revocation, Standing, SubkeyCert, TrustSet, TrustedRoot};
use busel_proto::daily::{CHANCE, Day};
use busel_proto::edition::{Edition, Item};
use busel_proto::failure::Failure;
use busel_proto::id::{Hash, PeerId, PublicKey};
use busel_proto::invite::{InjectorTicket, Invite, PeerTicket, RelayTicket, VeilTicket};
use busel_proto::lan::{Beacon, Neighbours, addr_bytes, daily_identity};
use busel_proto::meeting::{Hello, Porch};
use busel_proto::message::{Answer, Ask, MAX_FRAME, frame_len};
use busel_proto::page::{HostName, HostPattern, PageUrl, Variant};
use busel_proto::question::{QuestionKey, seal_question};
use busel_proto::sealed::{InjectRequest, Part, ResponseKey, hpke_key, open_request, seal_request};
use busel_proto::signed::Signed;
use busel_proto::sites::{QueryRule, Site};
use busel_proto::snapshot::{Field, Head, SignedSnapshot, Wanted};
use busel_proto::time::{Tick, UnixTime};
use busel_proto::veil::VeilSecret;
use busel_proto::veil::doorstep::{Doorstep, Seen};
use busel_proto::veil::frame::{Key, MASK_RANDOM, Said};
use busel_proto::veil::hello::{HelloKey, Keys, SALT};
use busel_proto::way_in::{Place, WayIn, WayRoot};
use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

const ROOT_SECRET: [u8; 32] = [1; 32];
const SUBKEY_SECRET: [u8; 32] = [2; 32];
const HPKE_SEED: [u8; 32] = [3; 32];
const SEAL_RANDOM: [u8; 32] = [5; 32];
const RESPONSE_NONCE: [u8; 32] = [7; 32];
const VEIL_SECRET: VeilSecret = VeilSecret([8; 32]);
const VEIL_BACK: VeilSecret = VeilSecret([9; 32]);
const VEIL_RANDOM: [u8; MASK_RANDOM] = [6; MASK_RANDOM];
const WAY_ROOT: WayRoot = WayRoot([10; 32]);
const URL: &str = "https://news.example/a?page=2";
const VARIANT: &str = "be";
const LEN: u64 = 40_000;
/// The last window, which is the one that also proves the length.
const WINDOW_START: u64 = 2 * GROUP;
const NOT_BEFORE: u64 = 1_767_225_600;
const DAY: u64 = 86_400;
const TODAY: Day = Day(NOT_BEFORE / DAY);
const BOX_CHANCE: [u8; CHANCE] = [8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const LAN_SECRET: [u8; 32] = [9; 32];
const LAN_HOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 10)), 40_000);

type Vectors = BTreeMap<String, String>;

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors.json")
}

fn root() -> SigningKey {
    SigningKey::from_bytes(&ROOT_SECRET)
}

fn subkey() -> SigningKey {
    SigningKey::from_bytes(&SUBKEY_SECRET)
}

fn variant() -> Variant {
    Variant::parse(VARIANT).expect("a variant")
}

fn wanted() -> Wanted {
    Wanted { url: PageUrl::parse(URL).expect("a URL"), variant: variant() }
}

fn body() -> Vec<u8> {
    (0..LEN).map(|n| u8::try_from((n * 7 + n / 251) % 256).expect("below 256")).collect()
}

fn tree() -> (Hash, Vec<u8>) {
    let mut tree = TreeBuilder::default();
    tree.push(&body());
    tree.finish()
}

fn trusted() -> TrustedRoot {
    TrustedRoot {
        key: PublicKey::from(&root()),
        label: "Newsroom".into(),
        hosts: vec![HostPattern::parse("*.news.example").expect("a pattern")],
    }
}

fn trust() -> TrustSet {
    let mut trust = TrustSet::default();
    trust.add(trusted());
    trust
}

fn cert() -> SubkeyCert {
    SubkeyCert {
        v: 1,
        root: PublicKey::from(&root()),
        subkey: PublicKey::from(&subkey()),
        hpke: hpke_key(&HPKE_SEED).1,
        epoch: 4,
        not_before: UnixTime(NOT_BEFORE),
        not_after: UnixTime(NOT_BEFORE + 30 * DAY),
    }
}

fn head() -> Head {
    let field = |name: &str, value: &str| Field { name: name.into(), value: value.into() };
    Head {
        v: 1,
        url: URL.into(),
        variant: variant(),
        status: 200,
        headers: vec![
            field("cache-control", "max-age=60"),
            field("content-type", "text/html; charset=utf-8"),
        ],
        root: tree().0,
        len: LEN,
        fetched_at: UnixTime(NOT_BEFORE + 10 * DAY),
        tls: true,
        injector: PublicKey::from(&subkey()),
        epoch: 4,
    }
}

fn snapshot() -> SignedSnapshot {
    SignedSnapshot { head: Signed::sign(&head(), &subkey()), cert: Signed::sign(&cert(), &root()) }
}

fn revocation() -> Revocation {
    Revocation {
        v: 1,
        root: PublicKey::from(&root()),
        seq: 3,
        subkeys: vec![PublicKey::from(&subkey())],
    }
}

fn checkpoint() -> Checkpoint {
    let heads = vec![snapshot().head.hash()];
    Checkpoint { v: 1, root: PublicKey::from(&root()), heads }
}

fn invite() -> Invite {
    let query = QueryRule::Only(vec!["page".into()]);
    Invite {
        relays: vec![RelayTicket {
            addr: "198.51.100.7:443".into(),
            sni: HostName::parse("www.example.org").expect("a host"),
            pin: Hash([5; 32]),
            secret: [6; 16],
            also: vec![],
            spares: None,
        }],
        peers: vec![PeerTicket {
            peer: PeerId([7; 32]),
            relay: Some(0),
            addrs: vec![],
            veil: Some(VeilTicket { addrs: vec!["192.0.2.9:443".into()], secret: VEIL_SECRET }),
        }],
        roots: vec![trusted()],
        injectors: vec![InjectorTicket { peer: PeerId([7; 32]), cert: snapshot().cert }],
        sites: vec![Site { query, ..Site::new(trusted().hosts[0].clone()) }],
    }
}

fn way(number: u32) -> WayIn {
    WAY_ROOT.way(Place { batch: 3, number })
}

/// Of one bridge, with two ways in to hand on.
fn bridge() -> Invite {
    let spares = Some(vec![way(1), way(2)]);
    let relay = RelayTicket { secret: way(5).0, spares, ..invite().relays[0].clone() };
    Invite { relays: vec![relay], ..Invite::default() }
}

fn request() -> InjectRequest {
    InjectRequest {
        url: URL.into(),
        variant: variant(),
        at: UnixTime(NOT_BEFORE + 10 * DAY),
        nonce: [4; 16],
        from: Some(0),
        root: None,
        new: false,
        held: Some(1),
    }
}

fn card() -> Signed<Card> {
    let veil = own_veil();
    let peer = PeerId(PublicKey::from(&root()).0);
    let made_at = UnixTime(NOT_BEFORE);
    Signed::sign(&Card { v: 1, peer, veil, made_at }, &root())
}

fn listed() -> SignedListed {
    Listed::sign(snapshot().verify(&wanted(), &trust()).expect("it is true"), &subkey()).to_signed()
}

/// The first message of one that has that page alone, and the answer of one that has nothing.
fn compared() -> (Vec<u8>, Vec<u8>) {
    let mut one = Catalogue::default();
    let listed = listed().verify(&trust()).expect("it is true");
    assert_eq!(one.put(&listed, head().fetched_at), Put::New);
    let (_, asked) = Compare::begin(one.sketch()).expect("it can be compared");
    let answer = Catalogue::default().sketch().answer(&asked).expect("it is true");
    (asked, answer)
}

fn asks(envelope: Vec<u8>) -> [(&'static str, Ask); 18] {
    let root = PublicKey::from(&root());
    let host = HostName::parse("news.example").expect("a host");
    [
        ("ask_fetch", Ask::Fetch { key: wanted().key(), from: Some(0), root: None }),
        ("ask_blob", Ask::Blob { root: tree().0, len: LEN, from: WINDOW_START, to: LEN }),
        ("ask_has", Ask::Has { root: tree().0, len: LEN }),
        ("ask_any", Ask::Any { root: tree().0, len: LEN, of: vec![0], most: 1 }),
        ("ask_inject", Ask::Inject { envelope: envelope.clone() }),
        ("ask_tunnel", Ask::Tunnel { host, port: 443 }),
        ("ask_pass", Ask::Pass { to: PeerId([4; 32]), envelope }),
        ("ask_nodes", Ask::Nodes { card: None }),
        ("ask_assign", Ask::Assign),
        ("ask_forward", Ask::Forward { to: asked(), envelope: question().0, card: None }),
        (
            "ask_forward_by_card",
            Ask::Forward { to: asked(), envelope: question().0, card: Some(card()) },
        ),
        ("ask_hold", Ask::Hold { snapshot: snapshot(), holders: vec![card()] }),
        ("ask_question", Ask::Question { envelope: question().0 }),
        ("ask_compare", Ask::Compare { root, message: compared().0 }),
        ("ask_listed", Ask::Listed { root, heads: vec![snapshot().head.hash()] }),
        ("ask_tell", Ask::Tell { root, pages: vec![listed()] }),
        ("ask_seen", Ask::Seen),
        ("ask_punch", Ask::Punch { from: "192.0.2.1:7000".into() }),
    ]
}

fn own_veil() -> VeilTicket {
    VeilTicket { addrs: vec!["198.51.100.7:44443".into()], secret: VeilSecret([8; 32]) }
}

/// The node that a question is for.
fn asked() -> PeerId {
    PeerId(PublicKey::from(&root()).0)
}

fn question() -> (Vec<u8>, ResponseKey) {
    let ask = Ask::Fetch { key: wanted().key(), from: Some(0), root: None };
    seal_question(&ask, &asked(), SEAL_RANDOM).expect("a question")
}

fn offer() -> Offer {
    Offer { key: wanted().key(), fetched_at: UnixTime(NOT_BEFORE), len: LEN }
}

fn answers() -> [(&'static str, Answer); 12] {
    let revocation = Some(Signed::sign(&revocation(), &root()));
    [
        ("answer_found", Answer::Found { snapshot: snapshot(), revocation }),
        ("answer_nothing", Answer::Nothing),
        ("answer_open", Answer::Open),
        ("answer_has", Answer::Has { pieces: Some([0, 2, 64].into_iter().collect()) }),
        ("answer_chosen", Answer::Chosen { from: 0, to: LEN }),
        ("answer_compared", Answer::Compared { message: compared().1 }),
        ("answer_listed", Answer::Listed { pages: vec![listed()] }),
        ("answer_nodes", Answer::Nodes { cards: vec![card()] }),
        ("answer_offers", Answer::Offers { offers: vec![offer()] }),
        ("answer_seen", Answer::Seen { at: "192.0.2.1:7000".into() }),
        ("answer_met", Answer::Met { veil: own_veil() }),
        ("answer_declined", Answer::Declined { failure: Failure::Declined("busy".into()) }),
    ]
}

/// A QUIC packet with a short header, as far as the veil looks at it.
fn packet(len: u8) -> Vec<u8> {
    (0..len).map(|n| if n == 0 { 0x41 } else { n }).collect()
}

fn whole() -> Vec<u8> {
    packet(250).repeat(5)
}

fn said(inner: &[u8]) -> Said<'_> {
    Said { at: UnixTime(NOT_BEFORE), back: VEIL_BACK, inner }
}

fn veiled() -> [(&'static str, Vec<u8>); 3] {
    let key = Key::of(&VEIL_SECRET);
    let random = VEIL_RANDOM.first_chunk().expect("it is longer");
    let sealed = key.seal(&said(&packet(40)), random).expect("a short packet");
    let (mut padded, mut masked) = (Vec::new(), whole());
    key.mask_padded(&packet(40), &VEIL_RANDOM, &mut padded);
    key.mask_whole(&mut masked);
    [("veil_sealed", sealed), ("veil_padded", padded), ("veil_whole", masked)]
}

/// What a client says first on a stream, and what seals the rest.
fn veil_hello() -> (Vec<u8>, Keys) {
    let random = VEIL_RANDOM.first_chunk().expect("it is longer");
    HelloKey::of(&VEIL_SECRET)
        .make(UnixTime(NOT_BEFORE), VEIL_BACK, random)
        .expect("nothing is too long")
}

/// The first record of each direction, with a packet in it.
fn veil_records() -> [(&'static str, Vec<u8>); 2] {
    let (_, keys) = veil_hello();
    let (mut up, mut down) = (Vec::new(), VEIL_RANDOM[..SALT].to_vec());
    let random = [VEIL_RANDOM[0]; 2];
    keys.up_writer().seal(&[packet(40)], random, &mut up);
    let salt = VEIL_RANDOM.first_chunk().expect("it is longer");
    keys.down_writer(salt).seal(&[packet(40)], random, &mut down);
    [("veil_up", up), ("veil_down", down)]
}

fn frames() -> [(&'static str, Frame); 7] {
    let bytes = (&b"hello"[..]).into();
    [
        ("leg_pad", Frame::Pad(3)),
        ("leg_data", Frame::Data { offset: 70_000, bytes }),
        ("leg_ack", Frame::Ack { received: 70_005, limit: 594_293 }),
        ("leg_open", Frame::Open { number: 2, from: 1, budget: 12_288 }),
        ("leg_end", Frame::End),
        ("leg_fin", Frame::Fin(70_005)),
        ("leg_ping", Frame::Ping),
    ]
}

fn beacon() -> Beacon {
    Beacon {
        id: PeerId([7; 32]),
        port: 4567,
        addr: addr_bytes(LAN_HOST.ip()),
        asks: true,
        veil: None,
    }
}

fn edition() -> Edition {
    let page = |path: &str, title: Option<&str>| Item {
        url: PageUrl::parse(&format!("https://news.example{path}")).expect("it is one"),
        root: Hash::of(path.as_bytes()),
        len: path.len() as u64,
        title: title.map(str::to_owned),
    };
    let items = vec![page("/a", Some("News")), page("/a.css", None)];
    Edition { made_at: UnixTime(NOT_BEFORE), items }
}

fn build() -> Vectors {
    let mut all = Vectors::new();
    let mut put = |name: &str, bytes: &[u8]| {
        all.insert(name.to_owned(), HEXLOWER.encode(bytes));
    };
    put("head", &snapshot().head.to_bytes());
    put("head_hash", snapshot().head.hash().as_bytes());
    put("cert", &snapshot().cert.to_bytes());
    put("revocation", &Signed::sign(&revocation(), &root()).to_bytes());
    put("checkpoint", &Signed::sign(&checkpoint(), &root()).to_bytes());
    put("snapshot", &cbor::to_vec(&snapshot()));
    put("listing", &listed().listing.to_bytes());
    put("snapshot_key", wanted().key().as_bytes());
    put("invite", invite().to_line().as_bytes());
    put("invite_bridge", bridge().to_line().as_bytes());
    put("way_in", &way(5).0);

    let (_, public) = hpke_key(&HPKE_SEED);
    let (envelope, key) =
        seal_request(&request(), &PublicKey::from(&subkey()), &public, SEAL_RANDOM)
            .expect("a short request can be sealed");
    put("sealed_request", &envelope);
    let part = Part::Data(b"hello");
    put("response_chunk", &key.cipher(&RESPONSE_NONCE).seal(&part, true));
    let (sealed, key) = question();
    put("sealed_question", &sealed);
    put("answer_chunk", &key.cipher(&RESPONSE_NONCE).seal_bytes(b"hello", true));

    put("dht_topic", &TODAY.topic());
    put("lan_identity", &daily_identity(&LAN_SECRET, TODAY));
    put("lan_beacon", &beacon().seal(TODAY, &BOX_CHANCE).expect("a beacon fits"));
    let hello = Hello([4; 16]).seal(TODAY, &BOX_CHANCE).expect("it fits");
    let answer = Porch::default().answer(&hello, &card(), Tick(0), TODAY, BOX_CHANCE);
    put("meeting_hello", &hello);
    put("meeting_answer", &answer.expect("a question is answered"));
    put("card", &card().to_bytes());
    put("edition", &edition().to_bytes());

    for (name, ask) in asks(envelope) {
        put(name, &ask.to_frame());
    }
    for (name, answer) in answers() {
        put(name, &answer.to_frame());
    }

    for (name, datagram) in veiled().into_iter().chain(veil_records()) {
        put(name, &datagram);
    }
    put("veil_hello", &veil_hello().0);
    for (name, frame) in frames() {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        put(name, &bytes);
    }

    let (blob, outboard) = tree();
    let range = WINDOW_START..LEN;
    let part = &body()[usize::try_from(WINDOW_START).expect("it fits")..];
    let window = encode_window(blob, LEN, &outboard, range, part).expect("a window of the body");
    put("blob_root", blob.as_bytes());
    put("blob_outboard", &outboard);
    put("blob_window", &window);
    all
}

fn given() -> Value {
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    let (hpke_secret, hpke_public) = hpke_key(&HPKE_SEED);
    json!({
        "root_secret": hex(&ROOT_SECRET),
        "root_public": hex(PublicKey::from(&root()).as_bytes()),
        "subkey_secret": hex(&SUBKEY_SECRET),
        "subkey_public": hex(PublicKey::from(&subkey()).as_bytes()),
        "hpke_seed": hex(&HPKE_SEED),
        "hpke_secret": hex(&hpke_secret),
        "hpke_public": hex(&hpke_public),
        "seal_random": hex(&SEAL_RANDOM),
        "response_nonce": hex(&RESPONSE_NONCE),
        "response_part": "kind 1 (data), the bytes of “hello”; the last chunk",
        "veil_secret": hex(&VEIL_SECRET.0),
        "veil_back": hex(&VEIL_BACK.0),
        "veil_time": NOT_BEFORE,
        "veil_random": hex(&VEIL_RANDOM),
        "veil_packet": "0x41, then byte n is n: 40 bytes; for veil_whole 250 bytes, five times",
        "day": TODAY.0,
        "box_chance": hex(&BOX_CHANCE),
        "lan_secret": hex(&LAN_SECRET),
        "lan_host": LAN_HOST.to_string(),
        "way_root": hex(&WAY_ROOT.0),
        "way_place": "batch 3, number 5; the bridge's spare ones are numbers 1 and 2",
        "url": URL,
        "variant": VARIANT,
        "blob_len": LEN,
        "blob_bytes": "byte n is (7 n + n div 251) mod 256",
        "blob_window": [WINDOW_START, LEN],
    })
}

fn read() -> Vectors {
    let text = std::fs::read_to_string(file()).expect("docs/vectors.json can be read");
    let value: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(value["given"], given(), "the file was made from other keys");
    let vectors = value["vectors"].as_object().expect("vectors is an object");
    let text = |value: &Value| value.as_str().expect("each is a string").to_owned();
    vectors.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

#[test]
fn the_vectors_are_what_this_version_writes() {
    let built = build();
    if std::env::var_os("BUSEL_WRITE_VECTORS").is_some_and(|set| set == "1") {
        write(&built);
        return;
    }
    let read = read();
    assert!(read.keys().eq(built.keys()), "the file has other vectors: {:?}", read.keys());
    for (name, hex) in &built {
        assert_eq!(read.get(name), Some(hex), "{name} (BUSEL_WRITE_VECTORS=1 writes the file)");
    }
}

#[allow(clippy::disallowed_methods, reason = "the one file of this crate is its test's")]
fn write(built: &Vectors) {
    let about = "Test vectors of Busel's records, frames and seals, all in hex (the invite too: its \
                 ASCII line). Made by crates/proto/tests/vectors.rs; docs/protocol.md says what \
                 they mean.";
    let value = json!({ "about": about, "given": given(), "vectors": built });
    let mut text = serde_json::to_string_pretty(&value).expect("it can be written as JSON");
    text.push('\n');
    std::fs::write(file(), text).expect("docs/vectors.json can be written");
}

#[test]
fn the_vectors_of_a_leg_are_read() {
    let file = Bytes(read());
    for (name, frame) in frames() {
        let mut decoder = Decoder::default();
        decoder.push(&file.get(name));
        assert_eq!(decoder.take(), Ok(Some(frame)), "{name}");
    }
}

/// The vectors of the file as bytes.
struct Bytes(Vectors);

impl Bytes {
    fn get(&self, name: &str) -> Vec<u8> {
        let hex = self.0.get(name).unwrap_or_else(|| panic!("no vector {name}"));
        HEXLOWER.decode(hex.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn frame(&self, name: &str) -> Vec<u8> {
        let frame = self.get(name);
        let (header, body) = frame.split_first_chunk::<4>().expect("a frame has a length");
        assert_eq!(frame_len(*header, MAX_FRAME), Ok(body.len()), "{name}");
        body.to_vec()
    }
}

#[test]
fn records_of_the_file_verify() {
    let file = Bytes(read());
    let signed = Signed::<Head>::from_bytes(&file.get("head")).unwrap();
    assert_eq!(signed.hash().as_bytes()[..], file.get("head_hash"));
    assert_eq!(*signed.clone().verify().unwrap(), head());
    let signed_cert = Signed::<SubkeyCert>::from_bytes(&file.get("cert")).unwrap();
    assert_eq!(*signed_cert.clone().verify().unwrap(), cert());

    let snapshot: SignedSnapshot =
        cbor::from_slice(&file.get("snapshot"), SignedSnapshot::MAX).unwrap();
    assert_eq!((&snapshot.head, &snapshot.cert), (&signed, &signed_cert));
    let listing = Signed::from_bytes(&file.get("listing")).unwrap();
    let listed = SignedListed { snapshot: snapshot.clone(), listing };
    assert!(listed.verify(&trust()).is_ok());
    let mut trust = trust();
    let taken = snapshot.clone().verify(&wanted(), &trust).unwrap();
    assert_eq!(taken.key().as_bytes()[..], file.get("snapshot_key"));

    let signed = Signed::<Revocation>::from_bytes(&file.get("revocation")).unwrap();
    let revocation = signed.verify().unwrap();
    let at = UnixTime(NOT_BEFORE + 20 * DAY);
    assert!(trust.revoke(&revocation, at));
    let standing = trust.standing(&revocation.root, &revocation.subkeys[0]);
    assert_eq!(standing, Standing::Revoked(at));
    assert!(snapshot.clone().verify(&wanted(), &trust).is_err());
    let signed = Signed::<Checkpoint>::from_bytes(&file.get("checkpoint")).unwrap();
    trust.vouch(&signed.verify().unwrap());
    assert!(snapshot.verify(&wanted(), &trust).is_ok(), "the checkpoint vouches for the head");
}

#[test]
fn messages_of_the_file_decode_and_open() {
    let file = Bytes(read());
    let line = String::from_utf8(file.get("invite")).unwrap();
    assert_eq!(Invite::from_line(&line), Ok(invite()));

    let envelope = file.get("sealed_request");
    let (secret, _) = hpke_key(&HPKE_SEED);
    let (opened, key) = open_request(&envelope, &PublicKey::from(&subkey()), &secret).unwrap();
    assert_eq!(opened, request());
    let (bytes, last) = key.cipher(&RESPONSE_NONCE).open(&file.get("response_chunk")).unwrap();
    assert_eq!((Part::from_bytes(&bytes), last), (Ok(Part::Data(b"hello")), true));

    let asked = QuestionKey::new(&ROOT_SECRET);
    let (ask, key) = asked.open(&file.get("sealed_question")).unwrap();
    assert_eq!(ask, Ask::Fetch { key: wanted().key(), from: Some(0), root: None });
    let opened = key.cipher(&RESPONSE_NONCE).open(&file.get("answer_chunk"));
    assert_eq!(opened.unwrap(), (b"hello".to_vec(), true));

    for (name, ask) in asks(envelope) {
        assert!(ask.is_sane(), "{name}");
        assert_eq!(Ask::from_frame(&file.frame(name)), Ok(ask), "{name}");
    }
    for (name, answer) in answers() {
        assert_eq!(Answer::from_frame(&file.frame(name)), Ok(answer), "{name}");
    }
}

#[test]
fn veiled_datagrams_of_the_file_open() {
    let file = Bytes(read());
    let key = Key::of(&VEIL_SECRET);
    let opened = key.open(&file.get("veil_sealed")).unwrap();
    assert_eq!((opened.at, opened.back), (UnixTime(NOT_BEFORE), VEIL_BACK));
    assert_eq!(opened.inner, packet(40));
    for (name, packet) in [("veil_padded", packet(40)), ("veil_whole", whole())] {
        let mut datagram = file.get(name);
        assert_eq!(key.unmask(&mut datagram), Some(packet.len()), "{name}");
        assert_eq!(datagram[..packet.len()], packet, "{name}");
    }
}

#[test]
fn the_veiled_stream_of_the_file_opens() {
    let file = Bytes(read());
    let (hello, up) = (file.get("veil_hello"), file.get("veil_up"));
    let said = [hello, up].concat();
    let seen = Doorstep::default().hear(&said, &HelloKey::of(&VEIL_SECRET));
    let Seen::Guest(hello, rest) = seen else { panic!("it is one of ours: {seen:?}") };
    assert_eq!((hello.at, hello.nonce), (UnixTime(NOT_BEFORE), [VEIL_RANDOM[0]; 16]));
    let mut reader = hello.keys.up_reader();
    reader.take(&rest);
    assert_eq!(reader.record().unwrap(), Some(vec![packet(40)]));
    let down = file.get("veil_down");
    let (salt, rest) = down.split_first_chunk().unwrap();
    let mut reader = hello.keys.down_reader(salt);
    reader.take(rest);
    assert_eq!(reader.record().unwrap(), Some(vec![packet(40)]));
}

#[test]
fn boxes_of_the_file_open() {
    let file = Bytes(read());
    let heard = Neighbours::default().hear(LAN_HOST, &file.get("lan_beacon"), Tick(0), TODAY);
    let heard = heard.unwrap();
    assert_eq!((heard.neighbour.id, heard.asks), (beacon().id, true));
    let signed = Signed::<Card>::from_bytes(&file.get("card")).unwrap();
    assert_eq!(signed, card());
    signed.verify().unwrap();
    let answer = file.get("meeting_answer");
    assert_eq!(Hello([4; 16]).answered(&answer, TODAY), Some(card()));
    assert!(answer.len() <= file.get("meeting_hello").len());
    assert_eq!(TODAY.topic()[..], file.get("dht_topic"));
}

#[test]
fn the_blob_of_the_file_is_the_body() {
    let file = Bytes(read());
    let blob = Hash(file.get("blob_root").try_into().unwrap());
    assert_eq!(blob, Hash::of(&body()), "the root is plain BLAKE3");
    let outboard = file.get("blob_outboard");
    assert_eq!(outboard.len() as u64, outboard_len(LEN));
    let content = decode_window(blob, LEN, WINDOW_START..LEN, &file.get("blob_window")).unwrap();
    assert_eq!(content, body()[usize::try_from(WINDOW_START).unwrap()..]);
}
