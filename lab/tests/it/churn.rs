//! Thirty nodes behind NATs of different kinds lose power, move and come back at random, and so do the
//! relays and the injector's line, while people read. No request is lost that any way could have
//! served which was there from the moment of asking to the end; nothing is asked for twice.
//!
//! And a third of them lose it at once: what an open node that is left has read, those who have its invite read all the
//! same, without the injector.
//!
//! What is up is written down by who turns it off and on, before and after doing so. A page counts as
//! read only if exactly its bytes came.

mod history;
mod town;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use busel_lab::program::{Exposure, LISTED};
use busel_lab::sandbox::inside;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use self::history::{Asked, History, KEPT_AFTER, Thing};
use self::town::{PAGES, Town, lan, lock, page};

/// Between two turns of fate.
const PAUSE: Duration = Duration::from_millis(900);
/// Of the nodes so many may be down at once.
const MOST_DOWN: usize = 10;
/// A reader waits for so long, as a patient person would.
const PATIENCE: Duration = Duration::from_secs(40);
/// People who read at once, and how long each rests between two pages.
const READING: usize = 4;
const REST: Duration = Duration::from_millis(300);
/// By these routes a page comes signed, so that others can have it from who read it. Who lives abroad mostly
/// reads the site itself, and nobody vouches for that.
const SIGNED: [&str; 2] = ["injector", "swarm"];
/// One of so many pages was read before by a friend.
const OLD: u32 = 3;

#[test]
fn thirty_nodes_churn_for_two_minutes() {
    inside(|| churn(Duration::from_secs(120), 20_250_809));
}

#[test]
#[ignore = "ten minutes: part of cargo xtask test --full"]
fn thirty_nodes_churn_for_ten_minutes() {
    inside(|| churn(Duration::from_secs(600), 4));
}

/// So many of them lose power at once.
const THIRD: usize = 9;
/// So many pages at least are asked for then.
const LEAST_READ: usize = 15;

#[test]
fn no_page_is_lost_with_a_third_of_all_that_a_survivor_has_to_give() {
    inside(|| {
        let (town, history) = (Town::build()?, History::default());
        let mut chance = ChaCha8Rng::seed_from_u64(5);
        let nodes = 0..town.people.len();
        let open = |node: &usize| town.people[*node].exposure == Exposure::Open;
        // One of them, whom the others know from before, has only just started again.
        let newcomer = nodes.clone().find(|node| town.people[*node].public).context("one is")?;
        history.turn(Thing::Node(newcomer));
        town.people[newcomer].dies()?;
        town.people[newcomer].returns()?;
        history.turn(Thing::Node(newcomer));
        for (number, node) in nodes.clone().filter(open).enumerate() {
            ask(&town, &history, node, number).context("it is up")?;
        }
        let held = history.read_by(&Vec::from_iter(nodes.clone()));
        ensure!(held.len() > 10, "too few were signed: {held:?}");
        history.turn(Thing::Injector);
        town.scene.world.host("injector").plug(false)?;
        let mut lot: Vec<_> = nodes.filter(|node| *node != newcomer).collect();
        lot.shuffle(&mut chance);
        let (gone, left) = lot.split_at(THIRD);
        for node in gone {
            history.turn(Thing::Node(*node));
            town.people[*node].dies()?;
        }
        std::thread::sleep(KEPT_AFTER);
        survivors_read(&town, &history, &[left, &[newcomer]].concat(), newcomer)
    });
}

/// Each of these asks for what those whose invites it has can give.
fn survivors_read(
    town: &Town,
    history: &History,
    left: &[usize],
    newcomer: usize,
) -> anyhow::Result<()> {
    let open: Vec<_> =
        left.iter().copied().filter(|node| town.people[*node].exposure == Exposure::Open).collect();
    let (held, news) = (history.read_by(&open), history.read_by(&[newcomer]));
    let asks = left.iter().flat_map(|by| {
        let known = history.read_by(&town.people[*by].friends).into_iter();
        known.filter(|page| !history.has(*by, *page)).map(|page| (*by, page))
    });
    let owed = asks.filter(|(by, page)| {
        let now = Instant::now();
        let asked =
            Asked { by: *by, page: *page, at: now, ended: now, route: None, told: String::new() };
        !history.ways(town, &asked).is_empty()
    });
    let asks = Mutex::new(owed.collect::<Vec<_>>());
    let told = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..READING {
            scope.spawn(|| {
                while let Some((by, page)) = { lock(&asks).pop() } {
                    lock(&told).push(ask(town, history, by, page));
                }
            });
        }
    });
    let told = told.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let asked = told.len();
    let told: Vec<_> = told.into_iter().flatten().collect();
    ensure!(told.len() == asked && asked >= LEAST_READ, "{} of {asked} were asked", told.len());
    let lost: Vec<_> = told.iter().filter(|one| one.route.is_none()).collect();
    let read = |page: &usize| told.iter().any(|one| one.page == *page && one.route.is_some());
    say(&format!(
        "{} read what others have, {} pages of {}",
        told.len(),
        held.iter().filter(|page| read(page)).count(),
        held.len()
    ));
    if !lost.is_empty() {
        town.scene.world.keep_logs()?;
    }
    ensure!(lost.is_empty(), "{lost:?}");
    ensure!(news.iter().any(read), "nobody has read what the newcomer has: {news:?}");
    Ok(())
}

fn churn(length: Duration, seed: u64) -> anyhow::Result<()> {
    let (town, history) = (Town::build()?, History::default());
    let (asked, next, over) = (Mutex::new(Vec::new()), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let readers: Vec<_> = (0..READING)
            .map(|reader| {
                let mut chance = ChaCha8Rng::seed_from_u64(seed + 1 + reader as u64);
                let (town, history, asked, next, over) = (&town, &history, &asked, &next, &over);
                scope.spawn(move || -> anyhow::Result<()> {
                    while !over.load(Ordering::Relaxed) {
                        if let Some(one) = read(town, history, next, &mut chance)? {
                            lock(asked).push(one);
                        }
                        std::thread::sleep(REST);
                    }
                    Ok(())
                })
            })
            .collect();
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let until = Instant::now() + length;
        let mut done = Ok(());
        while Instant::now() < until && done.is_ok() {
            done = fate(&town, &history, &mut chance);
            std::thread::sleep(PAUSE);
        }
        over.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().expect("a reader does not panic")?;
        }
        done
    })?;
    let asked = asked.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    judge(&town, &history, &asked, length)
}

/// One turn of fate.
fn fate(town: &Town, history: &History, chance: &mut ChaCha8Rng) -> anyhow::Result<()> {
    let nodes = 0..town.people.len();
    let (up, down): (Vec<_>, Vec<_>) = nodes.partition(|node| history.is_up(Thing::Node(*node)));
    match chance.random_range(0..20) {
        0 => relay(town, history, Thing::Relay),
        1 => relay(town, history, Thing::RelayHome),
        2 => {
            let (host, up) = (town.scene.world.host("injector"), history.is_up(Thing::Injector));
            if up {
                history.turn(Thing::Injector);
            }
            host.plug(!up)?;
            if !up {
                history.turn(Thing::Injector);
            }
            Ok(())
        }
        3..=6 => {
            let homes: Vec<_> = up.into_iter().filter(|node| !town.people[*node].public).collect();
            let node = *homes.choose(chance).context("somebody is up")?;
            let to = lan(chance.random_range(0..usize::from(u16::MAX)));
            history.turn(Thing::Node(node));
            town.scene.world.move_home(town.people[node].host.name(), to)?;
            history.turn(Thing::Node(node));
            Ok(())
        }
        _ if down.len() >= MOST_DOWN || (!down.is_empty() && chance.random()) => {
            let node = *down.choose(chance).context("somebody is down")?;
            town.people[node].returns()?;
            history.turn(Thing::Node(node));
            Ok(())
        }
        _ => {
            let node = *up.choose(chance).context("somebody is up")?;
            history.turn(Thing::Node(node));
            town.people[node].dies()
        }
    }
}

/// Turns a relay off or on.
fn relay(town: &Town, history: &History, thing: Thing) -> anyhow::Result<()> {
    let (relay, name) = match thing {
        Thing::Relay => (&town.relay, "relay"),
        _ => (&town.relay_home, "relay-home"),
    };
    if history.is_up(thing) {
        history.turn(thing);
        return town.power(relay, name, false);
    }
    town.power(relay, name, true)?;
    history.turn(thing);
    Ok(())
}

/// Somebody whose node is up asks for a page, once.
fn read(
    town: &Town,
    history: &History,
    next: &AtomicUsize,
    chance: &mut ChaCha8Rng,
) -> anyhow::Result<Option<Asked>> {
    let up: Vec<_> =
        (0..town.people.len()).filter(|node| history.is_up(Thing::Node(*node))).collect();
    let Some(by) = up.choose(chance).copied() else { return Ok(None) };
    let known = history.read_by(&town.people[by].friends);
    let old = known.choose(chance).filter(|_| chance.next_u32().is_multiple_of(OLD));
    let number = old.copied().unwrap_or_else(|| next.fetch_add(1, Ordering::Relaxed) % PAGES);
    Ok(ask(town, history, by, number))
}

/// It asks for a page. A program that died with its host has no account of it.
fn ask(town: &Town, history: &History, by: usize, number: usize) -> Option<Asked> {
    let at = Instant::now();
    let load = town.people[by].curl.clone().within(PATIENCE);
    let load = load.get(&format!("http://{LISTED}/story/{number}"));
    let ended = Instant::now();
    let load = load.ok()?;
    let mut asked =
        Asked { by, page: number, at, ended, route: None, told: load.error.trim().to_owned() };
    if load.loaded() && load.body == page(number) {
        let route = load.header("busel-route").unwrap_or("none");
        if SIGNED.contains(&route) {
            history.has_read(by, number);
        }
        asked.route = Some(route.to_owned());
    } else {
        let body = String::from_utf8_lossy(&load.body[..load.body.len().min(1500)]);
        asked.told = format!("{:?} {} {body}", load.status, load.error.trim());
    }
    Some(asked)
}

/// What was owed came, and enough was owed to say so.
fn judge(town: &Town, history: &History, asked: &[Asked], length: Duration) -> anyhow::Result<()> {
    let mut owed = 0;
    let (mut lost, mut routes) = (Vec::new(), std::collections::BTreeMap::<&str, u32>::new());
    let mut took: Vec<Duration> = Vec::new();
    for one in asked {
        let ways = history.ways(town, one);
        if let Some(route) = &one.route {
            *routes.entry(route).or_default() += 1;
            took.push(one.ended - one.at);
        }
        if ways.is_empty() {
            continue;
        }
        owed += 1;
        if one.route.is_none() {
            let name = town.people[one.by].host.name();
            let lasted = one.ended - one.at;
            let at = one.at - town.scene.world.began();
            lost.push(format!(
                "{name}, page {}, {at:?} after the beginning, for {lasted:?}: {ways:?}\n{}",
                one.page, one.told
            ));
        }
    }
    took.sort();
    let at = |part: usize| took.get((took.len() * part / 100).min(took.len().saturating_sub(1)));
    let told = format!(
        "{} asked, {owed} owed, {} lost; by route {routes:?}; median {:?}, 95 % {:?}, longest {:?}",
        asked.len(),
        lost.len(),
        at(50),
        at(95),
        took.last()
    );
    say(&told);
    if !lost.is_empty() {
        town.scene.world.keep_logs()?;
    }
    ensure!(lost.is_empty(), "{told}\n{}", lost.join("\n"));
    let least = usize::try_from(length.as_secs())?;
    ensure!(owed >= least, "too few were owed to say anything: {told}");
    for route in ["injector", "swarm"] {
        ensure!(routes.get(route).is_some_and(|count| *count > 5), "none by {route}: {told}");
    }
    Ok(())
}

#[allow(clippy::print_stderr, reason = "a test's account of itself")]
fn say(text: &str) {
    eprintln!("{text}");
}
