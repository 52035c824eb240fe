//! Asks each resolver for a site's name, and listens for a second answer, which somebody else on the
//! way may have sent. The resolvers are asked afresh, whatever the node remembers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use busel_proto::doctor::{Answer, Said, Source};
use busel_proto::page::{HostName, PageUrl};
use futures_util::future::join_all;
use hickory_resolver::proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Tools;
use crate::config::Dns;

/// How long a resolver is waited for.
const LIMIT: Duration = Duration::from_secs(3);
/// How long one by https is, with its connection.
const HTTPS_LIMIT: Duration = Duration::from_secs(6);
/// After a first answer a second one is waited for.
const SECOND: Duration = Duration::from_millis(400);
/// So many of the system's resolvers are asked.
const MAX_SYSTEM: usize = 2;

/// What each resolver says of the site's name.
pub(super) async fn ask_each(tools: &Tools, url: &PageUrl) -> Vec<Answer> {
    let host = url.host();
    let fixed = tools.fixed.iter().find(|to| to.host == host.as_str() && to.port == url.port());
    let owners = fixed.map(|to| to.addr.ip()).or(host.ip());
    if let Some(ip) = owners {
        let said = Said::Addresses(vec![ip]);
        let resolver = "your own word".to_owned();
        return vec![Answer { resolver, source: Source::Authenticated, said }];
    }
    let all = tools.dns.iter().map(|dns| ask(tools, dns, &host));
    join_all(all).await.into_iter().flatten().collect()
}

async fn ask(tools: &Tools, dns: &Dns, host: &HostName) -> Vec<Answer> {
    let (source, servers) = match dns {
        Dns::Https(..) => return vec![ask_https(tools, dns, host).await],
        // An upstream proxy carries no UDP, and nothing may leave the device around it.
        Dns::Plain(_) | Dns::System if !tools.own_line => return Vec::new(),
        Dns::Plain(addr) => (Source::Plain, vec![*addr]),
        Dns::System => (Source::Provider, system()),
    };
    let said = join_all(servers.iter().map(|server| ask_plain(*server, host))).await;
    let answers = servers.iter().zip(said);
    answers.map(|(at, said)| Answer { resolver: name_of(dns, *at), source, said }).collect()
}

/// A resolver, for a person.
pub(super) fn name_of(dns: &Dns, at: SocketAddr) -> String {
    match dns {
        Dns::System => format!("the provider's resolver {}", at.ip()),
        Dns::Plain(_) => format!("resolver {at}"),
        Dns::Https(_, name) => format!("{name} by https"),
    }
}

/// The system's resolvers.
pub(super) fn system() -> Vec<SocketAddr> {
    let Ok((config, _)) = hickory_resolver::system_conf::read_system_conf() else {
        return Vec::new();
    };
    let servers = config.name_servers().iter().map(|server| SocketAddr::new(server.ip, 53));
    let mut all: Vec<SocketAddr> = Vec::new();
    for server in servers.take(2 * MAX_SYSTEM) {
        if !all.contains(&server) && all.len() < MAX_SYSTEM {
            all.push(server);
        }
    }
    all
}

async fn ask_https(tools: &Tools, dns: &Dns, host: &HostName) -> Answer {
    use crate::resolve::resolver::{Answer as Found, Resolver};
    let said = match Resolver::new(dns, &tools.roots, &tools.dialer) {
        Some(resolver) => match resolver.ask(host, HTTPS_LIMIT).await {
            Found::Addresses(addresses) => Said::Addresses(addresses),
            Found::NoSuchName => Said::NoSuchName,
            Found::Fault | Found::Silence => Said::Nothing,
        },
        None => Said::Nothing,
    };
    Answer { resolver: String::from(dns.clone()), source: Source::Authenticated, said }
}

/// Asks for both kinds of address, by UDP and where that is silent by TCP.
async fn ask_plain(server: SocketAddr, host: &HostName) -> Said {
    let asking = [RecordType::A, RecordType::AAAA].map(|kind| async move {
        let Some(question) = question(host.as_str(), kind) else { return Vec::new() };
        let answers = by_udp(server, &question).await;
        if answers.is_empty() {
            return by_tcp(server, &question).await.into_iter().collect();
        }
        answers
    });
    let answers: Vec<Vec<Message>> = join_all(asking).await;
    said(&answers)
}

/// What all answers say together.
fn said(answers: &[Vec<Message>]) -> Said {
    let (mut addresses, mut unknown) = (Vec::new(), false);
    for of_one_kind in answers {
        let given: Vec<Vec<IpAddr>> = of_one_kind.iter().map(addresses_in).collect();
        if let [one, two, ..] = given.as_slice()
            && !one.iter().any(|ip| two.contains(ip))
            && !(one.is_empty() && two.is_empty())
        {
            return Said::Contradiction(one.clone(), two.clone());
        }
        addresses.extend(given.into_iter().next().unwrap_or_default());
        let answered = |m: &Message| {
            matches!(m.metadata.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
        };
        unknown |= of_one_kind.first().is_some_and(answered);
    }
    match (addresses.is_empty(), unknown) {
        (false, _) => Said::Addresses(addresses),
        (true, true) => Said::NoSuchName,
        (true, false) => Said::Nothing,
    }
}

fn addresses_in(answer: &Message) -> Vec<IpAddr> {
    let records = answer.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    records.collect()
}

/// A question. Nothing if the name can't be asked for.
pub(super) fn question(name: &str, kind: RecordType) -> Option<Message> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    Some(message)
}

/// The answers by UDP: mostly one, or two where somebody races the first.
pub(super) async fn by_udp(server: SocketAddr, question: &Message) -> Vec<Message> {
    let mut answers = Vec::new();
    let asking = async {
        let socket = UdpSocket::bind(any_of(server)).await.ok()?;
        socket.connect(server).await.ok()?;
        socket.send(&question.to_vec().ok()?).await.ok()?;
        let mut buffer = [0; 4096];
        loop {
            let wait = if answers.is_empty() { LIMIT } else { SECOND };
            let len = timeout(wait, socket.recv(&mut buffer)).await.ok()?.ok()?;
            answers.extend(answer_to(question, &buffer[..len]));
            if answers.len() > 1 {
                return Some(());
            }
        }
    };
    // What ended the wait says no more than the answers that came.
    let _: Option<()> = timeout(2 * LIMIT, asking).await.ok().flatten();
    answers
}

/// The answer by TCP.
pub(super) async fn by_tcp(server: SocketAddr, question: &Message) -> Option<Message> {
    let asking = async {
        let mut stream = TcpStream::connect(server).await.ok()?;
        let asked = question.to_vec().ok()?;
        let mut framed = u16::try_from(asked.len()).ok()?.to_be_bytes().to_vec();
        framed.extend(asked);
        stream.write_all(&framed).await.ok()?;
        let mut answer = vec![0; stream.read_u16().await.ok()?.into()];
        stream.read_exact(&mut answer).await.ok()?;
        answer_to(question, &answer)
    };
    timeout(LIMIT, asking).await.ok().flatten()
}

/// An answer, if it is one to this question.
fn answer_to(question: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let fits = answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response;
    fits.then_some(answer)
}

pub(super) fn any_of(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::op::OpCode;
    use hickory_resolver::proto::rr::Record;
    use hickory_resolver::proto::rr::rdata::A;

    use super::*;

    fn answer(ips: &[&str]) -> Message {
        let mut answer = Message::response(7, OpCode::Query);
        let name = Name::from_ascii("news.example.").unwrap();
        for ip in ips {
            let data = RData::A(A(ip.parse().unwrap()));
            answer.add_answer(Record::from_rdata(name.clone(), 1, data));
        }
        answer
    }

    #[test]
    fn answers_are_put_together() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let one = vec![answer(&["1.1.1.1"])];
        let said_one = Said::Addresses(vec![ip("1.1.1.1")]);
        assert_eq!(said(&[one.clone(), vec![answer(&[])]]), said_one);
        assert_eq!(said(&[one, Vec::new()]), said_one);
        assert_eq!(said(&[vec![answer(&[])], Vec::new()]), Said::NoSuchName);
        assert_eq!(said(&[Vec::new(), Vec::new()]), Said::Nothing);
    }

    #[test]
    fn two_answers_contradict_each_other_or_do_not() {
        let raced = vec![answer(&["1.1.1.1"]), answer(&["2.2.2.2"])];
        assert!(matches!(said(&[raced]), Said::Contradiction(..)));
        let turned = vec![answer(&["1.1.1.1", "2.2.2.2"]), answer(&["2.2.2.2"])];
        assert!(matches!(said(&[turned]), Said::Addresses(_)));
        let sent_twice = vec![answer(&[]), answer(&[])];
        assert_eq!(said(&[sent_twice]), Said::NoSuchName);
    }
}
