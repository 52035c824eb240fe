//! What all worlds came to, as a page with pictures.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::chart::{Line, chart};
use crate::scene::{Outcome, Spread};
use crate::telling::Told;

/// All that was run.
#[derive(Debug, Serialize)]
pub(crate) struct All {
    pub(crate) seed: u64,
    /// By how holders are found, and by the number of people.
    pub(crate) grown: [Vec<Outcome>; 3],
    /// By the share of those who help.
    pub(crate) open: [Outcome; 3],
    /// Without hostile helpers, and with them.
    pub(crate) hostile: [Outcome; 2],
    /// Without what is listed, and with it.
    pub(crate) listed: [Outcome; 2],
    /// By the number of open nodes.
    pub(crate) told: [Told; 3],
    /// One file for many at once: as readers want it, and as a file; and as a file by slow lines.
    pub(crate) spread: [Spread; 3],
}

const HEAD: &str = "\
# How it scales

Written by `cargo xtask sim`; do not edit. Worlds in virtual time over the program's own rules: `proto::race` says when the
injector is asked beside other nodes, `proto::plan` which part of the page is asked of whom, `proto::holders` who is asked to hold it and
who is named, `proto::guards` and `proto::favour` through which guard a quiet reader asks. Lines, distances and who helps are drawn
from a seed; packets of 64 KiB wait for lines, and what a quiet reader gets passes a guard's line, too. The model
knows no loss, no sessions that end, no NATs, no handshake of nodes that meet for the first time, and no bounds on how many of
these a guard or the injector meets; and who is failed by all that they were told of asks anew, up to twelve times, which the program
does less often. One crowd alone is run by `target/release/busel-sim --crowd PEOPLE OPEN HOSTILE --seed N`.

A page of 2 MiB is read by a crowd within ten minutes; 5 % of the people help others. Three ways to find who has it:

* **asking**: 16 known nodes are asked, and if none has it, the injector sends it.
* **named**: open nodes that have read it say so to the injector, which names two of them, once there are some, and sends the
  signed head alone.
* **held**: the injector asks open nodes to hold it, more of them the more ask for it, and names two of these. *This is what is
  built* (with *asking* before it).

";

/// The page.
pub(crate) fn page(all: &All, lab: Option<&Lab>) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("![Bodies that the injector sends](images/sim-bodies.svg)\n\n");
    text.push_str("![Time to the first byte](images/sim-first.svg)\n\n## The number of people\n\n");
    table(&mut text, "found by", all.grown.iter().flatten(), |one| one.finding.clone());
    text.push_str("\n## Who helps\n\nHolders are *held*.\n\n");
    table(&mut text, "open", &all.open, |one| {
        format!("{} %", f64::from(one.open_per_mille) / 10.0)
    });
    text.push_str("\n## Hostile helpers\n\nHalf of them send what is not so, half send nothing; as guards, which they are as often as others, they have \
         worked until now, and pass nothing on. Each says that it has the page.\n\n");
    table(&mut text, "hostile", &all.hostile, |one| {
        format!("{} %", f64::from(one.hostile_per_mille) / 10.0)
    });
    listed(&mut text, all);
    text.push_str(
        "\n## One file for many at once\n\nOne node has 100 MiB, and 19 others want it at the same moment; each can receive five \
         times of what it can send. *Ideal* is the time that the first one's line needs for one copy. Two cores can't carry twenty real \
         nodes with lines of 20 Mbit/s, so the last row, which is the real program in network namespaces \
         ([lab-swarm.md](lab-swarm.md)), is beside the one above it.\n\n\
         | wanted | each sends, Mbit/s | seconds | beside the ideal | copies that the first one sent |\n\
         |---|--:|--:|--:|--:|\n",
    );
    let hows = ["as by readers, the beginning first", "as a file", "as a file"];
    for (how, one) in hows.iter().zip(&all.spread) {
        let _ = writeln!(
            text,
            "| {how} | {} | {:.0} | {:.2}× | {:.2} |",
            one.up, one.secs, one.beside_ideal, one.copies
        );
    }
    if let Some(lab) = lab {
        let beside = lab.secs / (100.0 * 1_048_576.0 * 8.0 / 1e6 / lab.up);
        let _ = writeln!(
            text,
            "| as a file, *measured* | {} | {:.0} | {beside:.2}× | {:.2} |",
            lab.up, lab.secs, lab.copies
        );
    }
    text
}

/// What `cargo xtask lab --swarm` measured.
#[derive(Debug, Deserialize)]
pub(crate) struct Lab {
    /// Megabits a second that each sends at most.
    up: f64,
    /// Until all had it, and how often the first one has sent it.
    secs: f64,
    copies: f64,
}

/// What is known before it is asked for.
fn listed(text: &mut String, all: &All) {
    text.push_str(
        "\n## What is listed\n\nWhat many ask the injector for it lists in a catalogue, which open nodes compare with each \
         other, each with one of 16 by lot. So long it takes until they know of a page:\n\n\
         | open nodes | half of them, s | 95 % | all | comparisons of each until then |\n|---|--:|--:|--:|--:|\n",
    );
    for Told { open, secs: [half, most, whole], comparisons } in &all.told {
        let _ =
            writeln!(text, "| {open} | {half:.0} | {most:.0} | {whole:.0} | {comparisons:.1} |");
    }
    text.push_str(
        "\nWho knows that a page is listed asks other nodes first, and an injector only a second later. The crowd, if all \
         know it four minutes after the first have asked:\n\n\
         | | requests to the injector | its bodies | read it | first byte p50, p95, p99 s |\n|---|--:|--:|--:|--:|\n",
    );
    for (name, one) in ["it is not listed", "it is listed"].iter().zip(&all.listed) {
        let first = one.first_s.map(|n| format!("{n:.2}")).join(", ");
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {first} |",
            one.injector_requests, one.injector_bodies, one.read
        );
    }
}

fn table<'a>(
    text: &mut String,
    first: &str,
    all: impl IntoIterator<Item = &'a Outcome>,
    name: impl Fn(&Outcome) -> String,
) {
    let _ = writeln!(
        text,
        "| {first} | people | read it | by the swarm | bodies of the injector | its other bytes per request \
         | first byte p50, p95, p99 s | whole p50, p95, p99 s | bodies sent per open node, mean and most |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    for one in all {
        let three = |all: [f64; 3]| all.map(|n| format!("{n:.2}")).join(", ");
        let share = 100.0 * one.hits as f64 / one.read.max(1) as f64;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {share:.1} % | {} | {} | {} | {} | {:.0}, {:.0} |",
            name(one),
            one.people,
            one.read,
            one.injector_bodies,
            one.injector_words,
            three(one.first_s),
            three(one.whole_s),
            one.open_sent,
            one.open_sent_most,
        );
    }
}

/// The pictures, by their names.
pub(crate) fn pictures(all: &All) -> [(&'static str, String); 2] {
    let lines = |of: fn(&Outcome) -> f64| {
        let lines = all.grown.iter().filter_map(|grown| {
            let points = grown.iter().map(|one| (one.people as f64, of(one))).collect();
            Some(Line { name: grown.first()?.finding.clone(), points })
        });
        lines.collect::<Vec<_>>()
    };
    let people = "people who read the page within ten minutes";
    let bodies = lines(|one| one.injector_bodies as f64);
    let first = lines(|one| one.first_s[1]);
    [
        ("sim-bodies.svg", chart("Bodies that the injector sends", people, "bodies", &bodies)),
        ("sim-first.svg", chart("Time to the first byte, 95 %", people, "seconds", &first)),
    ]
}
