//! The worlds that are run, and what each came to.

use std::time::Duration;

use busel_proto::plan::Manner;
use busel_proto::time::Tick;
use serde::Serialize;

use crate::chance::Chance;
use crate::people::{Id, Manners, Person, draw, mbit};
use crate::swarm::{Finding, Swarm, Went};

/// Nodes that one asks for a page, of which the first three are a quiet one's guards.
const ASKED: usize = 16;
/// A crowd comes within this.
const CROWD: Duration = Duration::from_secs(600);

/// A crowd that reads one page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) people: usize,
    /// Of a thousand so many are open, and of a thousand of these so many hostile.
    pub(crate) open: u32,
    pub(crate) hostile: u32,
    pub(crate) len: u64,
    pub(crate) finding: Finding,
    pub(crate) seed: u64,
}

/// What it came to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    pub(crate) people: usize,
    pub(crate) open_per_mille: u32,
    pub(crate) hostile_per_mille: u32,
    pub(crate) finding: String,
    pub(crate) seed: u64,
    /// Who read it to the end, and who of them had it from others than the injector.
    pub(crate) read: usize,
    pub(crate) hits: usize,
    /// Bodies that the injector sent, and bytes of its answers beside those, for each request.
    pub(crate) injector_bodies: usize,
    pub(crate) injector_words: u64,
    /// Requests that it got.
    pub(crate) injector_requests: usize,
    /// Seconds to the first byte: median, 95 %, 99 %; and to the last.
    pub(crate) first_s: [f64; 3],
    pub(crate) whole_s: [f64; 3],
    /// Bodies' worth of bytes that open nodes have sent: on average, and the most of one.
    pub(crate) open_sent: f64,
    pub(crate) open_sent_most: f64,
    pub(crate) events: u64,
}

impl Crowd {
    /// Runs it.
    pub(crate) fn run(&self) -> Outcome {
        let mut chance = Chance::new(self.seed);
        let mut people = draw(&mut chance, self.people, self.open, self.hostile);
        let open: Vec<Id> = (0..people.len()).filter(|id| people[*id].open).collect();
        for id in 0..self.people {
            people[id].known = some(&mut chance, &open, id);
        }
        let mut swarm = Swarm::new(people, self.len, self.finding, Chance::new(self.seed + 1));
        for id in 0..self.people {
            let at = Tick(0) + chance.between(Duration::ZERO, CROWD);
            swarm.arrives(id, at);
        }
        swarm.run();
        self.outcome(&swarm)
    }

    fn outcome(&self, swarm: &Swarm) -> Outcome {
        let went = swarm.went();
        let open = (0..self.people).filter(|id| swarm.people[*id].open);
        let sent: Vec<f64> = open.map(|id| swarm.lines.sent[id] as f64 / self.len as f64).collect();
        Outcome {
            people: self.people,
            open_per_mille: self.open,
            hostile_per_mille: self.hostile,
            finding: format!("{:?}", self.finding).to_lowercase(),
            seed: self.seed,
            read: went.len(),
            hits: went.iter().filter(|went| went.hit).count(),
            injector_bodies: swarm.bodies,
            injector_words: swarm.words / swarm.requests.max(1) as u64,
            injector_requests: swarm.requests,
            first_s: parts(&went, |went| went.first),
            whole_s: parts(&went, |went| went.whole),
            open_sent: sent.iter().sum::<f64>() / sent.len().max(1) as f64,
            open_sent_most: sent.iter().copied().fold(0.0, f64::max),
            events: swarm.events(),
        }
    }
}

/// Some of these, none twice.
fn some(chance: &mut Chance, open: &[Id], own: Id) -> Vec<Id> {
    let mut known = Vec::new();
    for _ in 0..4 * ASKED {
        let one = chance.pick(open).copied();
        known.extend(one.filter(|one| *one != own && !known.contains(one)));
        if known.len() == ASKED {
            break;
        }
    }
    known
}

fn parts(went: &[Went], of: fn(&Went) -> Duration) -> [f64; 3] {
    let mut all: Vec<f64> = went.iter().map(|went| of(went).as_secs_f64()).collect();
    all.sort_by(f64::total_cmp);
    [50, 95, 99].map(|part| {
        all.get((all.len() * part / 100).min(all.len().saturating_sub(1))).copied().unwrap_or(0.0)
    })
}

/// A file that one has and some others want, all at once, all of whom know each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broadcast {
    pub(crate) others: usize,
    pub(crate) len: u64,
    /// Megabits a second that each sends at most, and receives.
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) seed: u64,
    /// Whether it is wanted as a file, and not by readers.
    pub(crate) file: bool,
}

/// What it came to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Spread {
    pub(crate) others: usize,
    pub(crate) mib: u64,
    /// Megabits a second that each sends at most.
    pub(crate) up: u64,
    /// Until the last one had it, and beside the time that the first one's line needs for it once.
    pub(crate) secs: f64,
    pub(crate) beside_ideal: f64,
    /// How often the first one has sent it.
    pub(crate) copies: f64,
    pub(crate) read: usize,
}

impl Broadcast {
    /// Runs it.
    pub(crate) fn run(&self) -> Spread {
        let mut chance = Chance::new(self.seed);
        let mut people = draw(&mut chance, self.others + 1, 1000, 0);
        for (id, person) in people.iter_mut().take(self.others + 1).enumerate() {
            *person = Person {
                up: mbit(self.up),
                down: mbit(self.down),
                manners: Manners::Honest,
                known: (0..=self.others).filter(|other| *other != id).collect(),
                ..person.clone()
            };
        }
        let mut swarm = Swarm::new(people, self.len, Finding::Asking, Chance::new(self.seed + 1));
        swarm.give(0);
        swarm.has_injector = false;
        if self.file {
            swarm.manner = Manner::RarestFirst;
        }
        (1..=self.others).for_each(|id| swarm.arrives(id, Tick(0)));
        swarm.run();
        let went = swarm.went();
        let secs = went.iter().map(|went| went.whole.as_secs_f64()).fold(0.0, f64::max);
        Spread {
            others: self.others,
            mib: self.len >> 20,
            up: self.up,
            secs,
            beside_ideal: secs / (self.len as f64 / mbit(self.up) as f64),
            copies: swarm.lines.sent[0] as f64 / self.len as f64,
            read: went.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(people: usize, hostile: u32, finding: Finding, seed: u64) -> Outcome {
        Crowd { people, open: 50, hostile, len: 2 << 20, finding, seed }.run()
    }

    #[test]
    fn all_of_a_crowd_read_the_page_and_the_injector_does_not_feel_them() {
        let held = crowd(8000, 0, Finding::Held, 1);
        assert_eq!(held.read, 8000, "{held:?}");
        assert!(held.injector_bodies <= 20 && held.injector_words <= 1024, "{held:?}");
        let asking = crowd(2000, 0, Finding::Asking, 1);
        assert_eq!(asking.read, 2000, "{asking:?}");
        assert!(asking.injector_bodies > 100, "asking known nodes does not do: {asking:?}");
    }

    #[test]
    fn with_a_third_of_the_helpers_hostile_all_read_it_and_half_of_them_hardly_later() {
        let slower = [1, 2, 3, 4, 5].map(|seed| {
            let [none, hostile] = [0, 300].map(|hostile| crowd(8000, hostile, Finding::Held, seed));
            assert_eq!(hostile.read, 8000, "{hostile:?}");
            hostile.whole_s[0] / none.whole_s[0]
        });
        assert!(slower.iter().sum::<f64>() / 5.0 < 1.5, "{slower:?}");
    }

    #[test]
    fn the_same_seed_makes_the_same_world() {
        let run = |seed| serde_json::to_string(&crowd(500, 100, Finding::Named, seed)).unwrap();
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn who_load_a_file_at_once_give_it_to_each_other() {
        let file = Broadcast { others: 19, len: 100 << 20, up: 20, down: 100, seed: 1, file: true };
        let (file, read) = (file.run(), Broadcast { file: false, ..file }.run());
        assert_eq!((file.read, read.read), (19, 19));
        assert!(file.copies < 1.4 && read.copies < 1.9, "{file:?} {read:?}");
    }
}
