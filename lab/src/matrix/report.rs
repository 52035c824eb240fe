//! The rows for people and for programs. All that is in these files was measured; nothing is typed by
//! hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Row;

const HEAD: &str = "\
# The censor lab's matrix

Written by `cargo xtask lab`; do not edit. Each technique was put in force in a world of its own, and
then a page was read from a home in it: by plain curl, and through Busel by readers who may use *any*
way, a browser's `https` through the door (*connect*), or one way only. A copy on the reader's own
device never counts.

✓ the page came, byte for byte, by the route named · – it did not, and by design can't · **gap** it
ought to, and does not yet · **!** not as expected
";

/// The rows as `target/lab-matrix.json`.
pub fn json(rows: &[Row]) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(rows)? + "\n")
}

/// The rows as `docs/lab-matrix.md`.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    overview(&mut text, rows);
    gaps(&mut text, rows);
    details(&mut text, rows);
    text
}

/// A line for each technique, a column for each reader.
fn overview(text: &mut String, rows: &[Row]) {
    let mut readers: Vec<String> = Vec::new();
    let mut techniques: Vec<&str> = Vec::new();
    let mut cells = BTreeMap::new();
    for row in rows {
        if !readers.contains(&row.who()) {
            readers.push(row.who());
        }
        if techniques.last() != Some(&row.technique.as_str()) {
            techniques.push(&row.technique);
        }
        cells.insert((row.technique.as_str(), row.who()), cell(row));
    }
    line(text, ["technique".to_owned()].into_iter().chain(readers.iter().cloned()));
    line(text, std::iter::repeat_n("---".to_owned(), readers.len() + 1));
    for technique in techniques {
        let found = readers.iter().map(|reader| cells.remove(&(technique, reader.clone())));
        let found = found.map(Option::unwrap_or_default);
        line(text, [technique.to_owned()].into_iter().chain(found));
    }
}

fn cell(row: &Row) -> String {
    let mark = match (row.passed(), row.gap.is_some()) {
        (true, _) => format!("✓ {}", row.route.as_deref().unwrap_or_default()),
        (false, true) => "**gap**".to_owned(),
        (false, false) => "–".to_owned(),
    };
    if row.surprise().is_some() { format!("{mark} **!**") } else { mark }
}

fn gaps(text: &mut String, rows: &[Row]) {
    let gaps: Vec<&Row> = rows.iter().filter(|row| row.gap.is_some()).collect();
    if gaps.is_empty() {
        return;
    }
    text.push_str("\n## Known gaps\n\n");
    for row in gaps {
        let why = row.gap.as_deref().unwrap_or_default();
        push(text, format_args!("* `{}`, {}: {why}\n", row.technique, row.who()));
    }
}

fn details(text: &mut String, rows: &[Row]) {
    text.push_str("\n## All rows\n\n");
    let head = ["technique", "reader", "route", "wire", "first byte, ms", "bytes", "expected"];
    line(text, head.map(ToOwned::to_owned));
    line(text, ["---", "---", "---", "---", "--:", "--:", "---"].map(ToOwned::to_owned));
    for row in rows {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_owned());
        let came = row.passed();
        let ttfb = row.ttfb_ms.filter(|_| came).map(|ms| ms.to_string());
        line(
            text,
            [
                row.technique.clone(),
                row.who(),
                or_dash(&row.route),
                or_dash(&row.wire),
                or_dash(&ttfb),
                if came { row.bytes.to_string() } else { "–".to_owned() },
                if row.expected { "passes" } else { "does not" }.to_owned(),
            ],
        );
    }
}

fn line(text: &mut String, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    if !text.ends_with("|\n") && !text.ends_with("\n\n") {
        text.push('\n');
    }
    push(text, format_args!("| {} |\n", cells.join(" | ")));
}

fn push(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("a String takes all");
}
