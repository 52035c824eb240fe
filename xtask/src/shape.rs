//! The shape of the tree, checked: every Rust file says why it exists, none is too long, and the
//! arrows between the crates point down.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The longest file, in lines.
const MAX_LINES: usize = 900;
/// Which of our crates each may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("store", &["proto"]),
    ("net", &["proto"]),
    ("node", &["proto", "store", "net"]),
    ("injector", &["proto", "store", "net", "node"]),
    ("cli", &["proto", "store", "net", "node", "injector"]),
];

pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for dir in ["crates", "xtask", "bench", "lab", "sim", "fuzz/src"] {
        files(&root.join(dir), &mut |path| check_file(root, path, &mut wrong))?;
    }
    for (name, allowed) in ARROWS {
        check_arrows(root, name, allowed, &mut wrong)?;
    }
    if wrong.is_empty() { Ok(()) } else { bail!("the tree is out of shape:\n{}", wrong.join("\n")) }
}

fn check_file(root: &Path, path: &Path, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
    if !text.starts_with("//!") {
        wrong.push(format!("{name}: does not open with //! (why it exists, what it does not do)"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        wrong.push(format!("{name}: {lines} lines, at most {MAX_LINES}"));
    }
    for module in ["utils", "common", "manager", "helper", "helpers"] {
        if name.ends_with(&format!("/{module}.rs")) {
            wrong.push(format!("{name}: a file is named by its one noun"));
        }
    }
    Ok(())
}

/// Reads the `[dependencies]` of a crate; tests may use what they like.
fn check_arrows(
    root: &Path,
    name: &str,
    allowed: &[&str],
    wrong: &mut Vec<String>,
) -> anyhow::Result<()> {
    let path = root.join("crates").join(name).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let after = text.split("[dependencies]").nth(1).unwrap_or_default();
    let section = after.split("\n[").next().unwrap_or_default();
    for line in section.lines() {
        let Some(used) = line.strip_prefix("busel-") else { continue };
        let used = used.split(['.', ' ', '=']).next().unwrap_or_default();
        if !allowed.contains(&used) {
            wrong.push(format!("busel-{name} must not depend on busel-{used}"));
        }
    }
    Ok(())
}

fn files(dir: &Path, each: &mut impl FnMut(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, each)?;
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            each(&path)?;
        }
    }
    Ok(())
}
