//! What was measured, for people.

use std::fmt::Write as _;

use super::Healed;

const HEAD: &str = "\
# Self-healing in the censor lab

Written by `cargo xtask lab --healing`; do not edit. Somebody reads at home through a node, and a
technique is put in force in the middle of that; then it is lifted. *First byte* is the time from the
moment of the block to the first byte of the next page, with all that was tried in vain before it; the
site has closed its connection by then, those to other nodes are open. *Again* is the time from the lifting
to the first page, *back* that to the first one that came as before, while one is asked for every three
seconds, the first time three seconds after the lifting. *any* is a quiet node that may use all ways, and its routes are named; *wires*
is an open one that reaches nothing but an injector, and the wire to that is named. One run on one machine that is busy with other worlds: read
the order of magnitude.

| technique | reader | before | under the block | first byte, ms | again, s | back, s |
| --- | --- | --- | --- | --: | --: | --: |
";

/// The table.
pub fn markdown(all: &[Healed]) -> String {
    let mut text = HEAD.to_owned();
    for healed in all {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        let seconds = |ms: u64| format!("{}.{}", ms / 1000, ms % 1000 / 100);
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            healed.technique,
            healed.way,
            healed.before,
            or_dash(healed.under.clone()),
            or_dash(healed.first_byte_ms.map(|ms| ms.to_string())),
            or_dash(healed.again_ms.map(seconds)),
            or_dash(healed.back_ms.map(seconds)),
        )
        .expect("a String takes all");
    }
    text.push_str(&beside(all));
    text
}

/// The times under a block beside what others wait.
fn beside(all: &[Healed]) -> String {
    let mut times: Vec<u64> = all.iter().filter_map(|healed| healed.first_byte_ms).collect();
    times.sort_unstable();
    let Some(last) = times.last() else { return String::new() };
    let of_all = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    format!(
        "
## Beside fixed timers

Of {} first bytes under a block half came within {} ms, nine of ten within {} ms, the last after {last} ms. From
home to abroad and back it takes 36 ms here; two of those and 250 ms are 322.

Others wait for fixed times, as their sources have them: Ouinet gives the site 3 s before it starts another way, a
connection to an injector 4, 8 and 16 s, and a node's answer 10 s; NewNode gives a TCP connection 45 s, and the site's
probe 7 s.
",
        times.len(),
        of_all(50),
        of_all(90),
    )
}
