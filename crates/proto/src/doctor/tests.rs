//! One test per technique: a world is a function from probe to finding.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::failure::Failure;
use crate::network::Reach;
use crate::page::{HostName, PageUrl};

const SITE: &str = "93.184.216.34";
const SITE_V6: &str = "2606:2800:220::1";
const LIE: &str = "203.0.114.9";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn url(text: &str) -> PageUrl {
    PageUrl::parse(text).unwrap()
}

fn says(source: Source, said: Said) -> Answer {
    let resolver = format!("{source:?}").to_lowercase();
    Answer { resolver, source, said }
}

fn addresses(all: &[&str]) -> Said {
    Said::Addresses(all.iter().map(|a| ip(a)).collect())
}

/// All resolvers give the site's own address.
fn true_names() -> Vec<Answer> {
    [Source::Authenticated, Source::Provider].map(|s| says(s, addresses(&[SITE, SITE_V6]))).into()
}

/// Both addresses of the provider's answer and of the other.
fn names(by_https: Said, by_provider: Said) -> Vec<Answer> {
    vec![says(Source::Authenticated, by_https), says(Source::Provider, by_provider)]
}

fn load(bytes: u64, per_second: u64, end: End) -> Load {
    let course =
        (1..=10).map(|n| (Duration::from_millis(n * bytes * 100 / per_second), n * bytes / 10));
    Load { bytes, course: course.collect(), end, moved: None }
}

fn fast() -> Load {
    load(200 << 10, 1 << 20, End::Whole)
}

/// A site that works.
fn open(probe: &Probe) -> Finding {
    match probe {
        Probe::Names => Finding::Names(true_names()),
        Probe::Shake(_, Hello::Neutral) => {
            Finding::Shake(Shook::Certificate(Certificate::OtherName))
        }
        Probe::Shake(..) => Finding::Shake(Shook::Good),
        Probe::Load(_) => Finding::Load(fast()),
        Probe::Plain(_) => {
            let location = Some(url("https://www.news.example/"));
            Finding::Plain(Plain::Answered { status: 301, location })
        }
    }
}

/// An exam in a world, to its end.
fn examine(text: &str, mut world: impl FnMut(&Probe) -> Finding) -> Exam {
    let mut exam = Exam::new(url(text), Reach::default());
    for _ in 0..12 {
        let wanted = exam.wanted();
        if wanted.is_empty() {
            return exam;
        }
        for probe in wanted {
            let finding = world(&probe);
            exam.take(&probe, finding);
        }
    }
    panic!("it never ends");
}

fn told(world: impl FnMut(&Probe) -> Finding) -> Diagnosis {
    examine("https://news.example/", world).diagnose(None)
}

fn found(world: impl FnMut(&Probe) -> Finding) -> Vec<Verdict> {
    told(world).found
}

#[test]
fn an_open_site_is_open() {
    let told = told(open);
    assert_eq!((told.verdict(), &told.found), (Verdict::Open, &vec![]), "{told:?}");
    assert!(!told.evidence.is_empty());
}

#[test]
fn each_probe_is_wanted_once_and_the_neutral_name_comes_first() {
    let mut seen = Vec::new();
    examine("https://news.example/", |probe| {
        assert!(!seen.contains(probe), "{probe:?} again");
        seen.push(probe.clone());
        open(probe)
    });
    let at: SocketAddr = format!("{SITE}:443").parse().unwrap();
    let of = |hello| seen.iter().position(|p| *p == Probe::Shake(at, hello));
    assert!(of(Hello::Neutral) < of(Hello::Named) && of(Hello::Split).is_none(), "{seen:?}");
    assert_eq!(seen.last(), Some(&Probe::Plain(format!("{SITE}:80").parse().unwrap())));
}

#[test]
fn a_lie_of_the_resolver_is_named() {
    let lies = [
        addresses(&["127.0.0.1"]),
        addresses(&["10.1.1.1", "::1"]),
        addresses(&[LIE]),
        Said::NoSuchName,
        Said::Contradiction(vec![ip(LIE)], vec![ip(SITE)]),
    ];
    for lie in lies {
        let told = told(|probe| match probe {
            Probe::Names => Finding::Names(names(addresses(&[SITE]), lie.clone())),
            Probe::Shake(at, _) if at.ip() == ip(LIE) => {
                Finding::Shake(Shook::Certificate(Certificate::OtherName))
            }
            other => open(other),
        });
        assert_eq!(told.found, [Verdict::DnsPoisoned], "{lie:?}: {told:?}");
    }
}

#[test]
fn a_lie_shows_without_any_resolver_by_https() {
    let found = found(|probe| match probe {
        Probe::Names => Finding::Names(names(Said::Nothing, addresses(&[LIE]))),
        Probe::Shake(..) => Finding::Shake(Shook::Certificate(Certificate::OtherName)),
        other => open(other),
    });
    assert_eq!(found, [Verdict::DnsPoisoned]);
}

#[test]
fn another_address_of_the_same_site_is_no_lie() {
    let found = found(|probe| match probe {
        Probe::Names => Finding::Names(names(addresses(&[SITE]), addresses(&["93.184.217.9"]))),
        other => open(other),
    });
    assert_eq!(found, []);
}

#[test]
fn it_connects_only_to_what_is_allowed() {
    examine("https://news.example/", |probe| match probe {
        Probe::Names => Finding::Names(names(addresses(&["127.0.0.1"]), addresses(&["10.0.0.1"]))),
        other => panic!("{other:?}"),
    });
}

#[test]
fn silence_of_the_address_is_a_block_of_it() {
    let found = found(|probe| match probe {
        Probe::Shake(..) => Finding::Shake(Shook::Unconnected(Failure::Silent)),
        Probe::Plain(_) => Finding::Plain(Plain::Failed(Failure::Silent)),
        other => open(other),
    });
    assert_eq!(found, [Verdict::AddressBlocked]);
}

#[test]
fn silence_whatever_is_said_is_a_block_of_the_address() {
    let found = found(|probe| match probe {
        Probe::Shake(..) => Finding::Shake(Shook::Failed(Failure::Silent)),
        other => open(other),
    });
    assert_eq!(found, [Verdict::AddressBlocked]);
}

#[test]
fn one_dead_kind_of_address_is_nothing() {
    let found = found(|probe| match probe {
        Probe::Shake(at, _) if at.is_ipv6() => {
            Finding::Shake(Shook::Unconnected(Failure::Unreachable))
        }
        other => open(other),
    });
    assert_eq!(found, []);
}

#[test]
fn the_name_in_the_hello_is_what_is_cut_or_silenced() {
    for (failure, verdict) in
        [(Failure::Reset, Verdict::SniReset), (Failure::Silent, Verdict::SniDrop)]
    {
        for split in [Shook::Good, Shook::Failed(failure.clone())] {
            let told = told(|probe| match probe {
                Probe::Shake(_, Hello::Named) => Finding::Shake(Shook::Failed(failure.clone())),
                Probe::Shake(_, Hello::Split) => Finding::Shake(split.clone()),
                other => open(other),
            });
            assert_eq!(told.found, [verdict], "{told:?}");
            let passes = told.evidence.iter().any(|e| e.contains("gets past it"));
            assert_eq!(passes, split == Shook::Good, "{told:?}");
        }
    }
}

#[test]
fn a_failure_that_does_not_come_again_is_chance() {
    let mut tries = 0;
    let found = found(|probe| match probe {
        Probe::Shake(at, Hello::Named) if at.is_ipv4() => {
            tries += 1;
            let failed = Shook::Failed(Failure::Reset);
            Finding::Shake(if tries == 1 { failed } else { Shook::Good })
        }
        other => open(other),
    });
    assert_eq!((found, tries), (vec![], 2));
}

#[test]
fn a_certificate_of_nobody_is_forged_and_one_out_of_time_is_not() {
    for (certificate, verdict) in [
        (Certificate::UnknownIssuer, Verdict::ForgedCertificate),
        (Certificate::Bad, Verdict::ForgedCertificate),
        (Certificate::OutOfTime, Verdict::Unclear),
    ] {
        let found = found(|probe| match probe {
            Probe::Shake(_, Hello::Named) => Finding::Shake(Shook::Certificate(certificate)),
            other => open(other),
        });
        assert_eq!(found, [verdict]);
    }
}

#[test]
fn a_redirect_out_of_the_site_is_a_block_page() {
    let to = |host: &str| Plain::Answered { status: 302, location: Some(url(host)) };
    let found_with = |plain: Plain, moved: Option<&str>| {
        found(|probe| match probe {
            Probe::Plain(_) => Finding::Plain(plain.clone()),
            Probe::Load(_) => {
                let moved = moved.map(|host| HostName::parse(host).unwrap());
                Finding::Load(Load { moved, ..fast() })
            }
            other => open(other),
        })
    };
    let blocked = to("http://blocked.isp.test/");
    assert_eq!(found_with(blocked.clone(), None), [Verdict::BlockPage]);
    assert_eq!(found_with(blocked, Some("blocked.isp.test")), [], "the site itself moved");
    assert_eq!(found_with(to("https://m.news.example/"), None), []);
    let legal = Plain::Answered { status: 451, location: None };
    assert_eq!(found_with(legal, None), [Verdict::BlockPage]);
}

#[test]
fn an_http_address_is_examined_by_http() {
    let exam = examine("http://news.example/page", |probe| match probe {
        Probe::Shake(..) => panic!("no TLS"),
        Probe::Plain(at) => {
            assert_eq!(at.port(), 80);
            Finding::Plain(Plain::Answered { status: 200, location: None })
        }
        other => open(other),
    });
    assert_eq!(exam.diagnose(None).found, []);
    assert_eq!(exam.reached(), Some(Ok(())));
}

#[test]
fn two_stalls_at_one_place_are_a_freeze() {
    let frozen = |first: u64, second: u64| {
        let mut left = vec![second, first];
        found(move |probe| match probe {
            Probe::Load(_) => {
                let bytes = left.pop().unwrap();
                let end = if bytes == 0 { End::Whole } else { End::Stalled };
                Finding::Load(Load { end, ..load(bytes.max(100 << 10), 1 << 20, End::Whole) })
            }
            other => open(other),
        })
    };
    assert_eq!(frozen(110 << 10, 112 << 10), [Verdict::Freeze]);
    assert_eq!(frozen(110 << 10, 900 << 10), [Verdict::Unclear]);
    assert_eq!(frozen(110 << 10, 0), [], "the second time it came whole");
}

#[test]
fn slow_is_throttled_only_beside_something_faster() {
    let exam = examine("https://news.example/", |probe| match probe {
        Probe::Load(_) => Finding::Load(load(120 << 10, 16 << 10, End::Whole)),
        other => open(other),
    });
    let rate = exam.rate().unwrap();
    assert!((15 << 10..18 << 10).contains(&rate), "{rate}");
    assert_eq!(exam.diagnose(Some(1 << 20)).found, [Verdict::Throttled]);
    assert_eq!(exam.diagnose(Some(20 << 10)).found, [], "the line is slow");
    assert_eq!(exam.diagnose(None).found, [Verdict::Unclear]);
}

#[test]
fn what_nobody_knows_is_unclear() {
    for said in [Said::NoSuchName, Said::Nothing] {
        let found = found(|probe| match probe {
            Probe::Names => Finding::Names(names(said.clone(), said.clone())),
            other => panic!("{other:?}"),
        });
        assert_eq!(found, [Verdict::Unclear]);
    }
}

#[test]
fn every_verdict_has_its_own_name_and_words() {
    let mut names: Vec<_> = Verdict::ALL.iter().map(|v| v.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Verdict::ALL.len());
    assert!(Verdict::ALL.iter().all(|v| !v.says().is_empty() && !v.advice().is_empty()));
}
