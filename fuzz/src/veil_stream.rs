//! Streams behind the veil: strangers are known for such, and records come back however they are cut.

use busel_proto::time::UnixTime;
use busel_proto::veil::VeilSecret;
use busel_proto::veil::doorstep::{Doorstep, Seen};
use busel_proto::veil::hello::{HEAD_TEXT, HELLO_RANDOM, HelloKey, SALT};
use busel_proto::veil::record::MAX_DATAGRAM;
use busel_proto::veil::text;

const SECRET: VeilSecret = VeilSecret([1; 32]);
const BACK: VeilSecret = VeilSecret([2; 32]);
const TIME: UnixTime = UnixTime(1_800_000_000);

/// The input is what a stranger says, what comes on a stream, and datagrams to be sent.
pub fn veil_stream(data: &[u8]) {
    let key = HelloKey::of(&SECRET);
    let mut doorstep = Doorstep::default();
    let seen = doorstep.hear(data, &key);
    match data.len() < HEAD_TEXT {
        true => assert!(matches!(seen, Seen::Unclear)),
        false => assert!(matches!(seen, Seen::Stranger), "who could make that?"),
    }
    if let Some(bytes) = text::read(data) {
        let mut again = Vec::new();
        text::write(&bytes, data.iter().copied(), &mut again);
        assert_eq!(text::read(&again).as_ref(), Some(&bytes));
        assert!(again.iter().all(|char| (b' '..=b'~').contains(char)));
    }

    let random = chance(data);
    let (said, ours) = key.make(TIME, BACK, &random).expect("it fits");
    let cut = data.first().map_or(1, |first| usize::from(*first) % said.len() + 1);
    let mut doorstep = Doorstep::default();
    let (front, rest) = said.split_at(cut.min(said.len() - 1));
    assert!(matches!(doorstep.hear(front, &key), Seen::Unclear));
    let Seen::Guest(hello, left) = doorstep.hear(rest, &key) else { panic!("ours") };
    assert!(hello.at == TIME && left.is_empty());

    // What is none of ours opens nothing.
    let mut reader = hello.keys.up_reader();
    reader.take(data);
    assert!(reader.record().is_ok_and(|got| got.is_none()) || reader.record().is_err());

    let (mut writer, mut reader) =
        (ours.down_writer(&[3; SALT]), hello.keys.down_reader(&[3; SALT]));
    let sent: Vec<&[u8]> = data.chunks(cut).collect();
    let (mut stream, mut taken) = (Vec::new(), 0);
    while taken < sent.len() {
        taken += writer.seal(&sent[taken..], [random[0], random[1]], &mut stream);
    }
    let mut came = Vec::new();
    for part in stream.chunks(cut) {
        reader.take(part);
        while let Some(some) = reader.record().expect("ours") {
            came.extend(some);
        }
    }
    let fits = |datagram: &&&[u8]| datagram.len() <= MAX_DATAGRAM;
    assert!(came.iter().map(Vec::as_slice).eq(sent.iter().filter(fits).copied()));
}

fn chance(data: &[u8]) -> [u8; HELLO_RANDOM] {
    let mut random = [4; HELLO_RANDOM];
    for (byte, given) in random.iter_mut().zip(data) {
        *byte = *given;
    }
    random
}
