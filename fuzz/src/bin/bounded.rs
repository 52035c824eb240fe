//! Runs every target a bounded number of times on mutated seeds, on any toolchain:
//! `cargo run --profile ci --bin bounded -- --runs 20000 --seed 1`.
//!
//! It mutates by a small deterministic generator, so the same seed gives the same inputs, and it
//! measures no coverage: to search deeper, use `cargo fuzz run TARGET corpus/TARGET seeds/TARGET`.
//! An input that breaks a target is written to `fuzz/artifacts/`; `bounded --target TARGET FILE`
//! runs it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use busel_fuzz::{TARGETS, Target, seeds};

const USAGE: &str = "\
bounded [--runs N] [--seed N] [--target NAME]   run mutated seeds
bounded --target NAME FILE...                   run these inputs
bounded --write-seeds                           write fuzz/seeds/";
/// The longest input that mutation makes.
const MAX_INPUT: usize = 4096;
/// Breaks of one target after which it is left.
const MAX_BROKEN: usize = 3;

fn main() -> ExitCode {
    match Options::read(std::env::args().skip(1)) {
        Ok(options) => match options.run() {
            Ok(0) => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(wrong) => {
            eprintln!("{wrong}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Options {
    runs: u64,
    seed: u64,
    target: Option<String>,
    files: Vec<PathBuf>,
    write_seeds: bool,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (target, files) = (None, Vec::new());
        let mut options = Self { runs: 20_000, seed: 1, target, files, write_seeds: false };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{text} is no number"));
            match arg.as_str() {
                "--runs" => options.runs = number(value()?)?,
                "--seed" => options.seed = number(value()?)?,
                "--target" => options.target = Some(value()?),
                "--write-seeds" => options.write_seeds = true,
                file if !file.starts_with('-') => options.files.push(file.into()),
                other => return Err(format!("{other} is not known")),
            }
        }
        if let Some(name) = &options.target
            && !TARGETS.iter().any(|(known, _)| known == name)
        {
            return Err(format!("{name} is no target"));
        }
        if !options.files.is_empty() && options.target.is_none() {
            return Err("files need --target".into());
        }
        Ok(options)
    }

    /// Returns how many inputs broke a target.
    fn run(&self) -> std::io::Result<usize> {
        if self.write_seeds {
            return write_seeds().map(|()| 0);
        }
        // Each break is said once, in one line, below.
        std::panic::set_hook(Box::new(|_| {}));
        let chosen = |(name, _): &&Target| self.target.as_deref().is_none_or(|only| only == *name);
        let mut broken = 0;
        for (name, target) in TARGETS.iter().filter(chosen) {
            let mut bench = Bench::new(name, *target);
            if self.files.is_empty() {
                bench.mutate(self.runs, self.seed)?;
            } else {
                for file in &self.files {
                    bench.execute(&std::fs::read(file)?)?;
                }
            }
            println!("{bench}");
            broken += bench.broken;
        }
        Ok(broken)
    }
}

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn write_seeds() -> std::io::Result<()> {
    for (target, name, bytes) in seeds::all() {
        let dir = home().join("seeds").join(target);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join(name), bytes)?;
    }
    Ok(())
}

/// One target at work.
struct Bench {
    name: &'static str,
    target: fn(&[u8]),
    executed: u64,
    bytes: u64,
    longest: usize,
    slowest: Duration,
    total: Duration,
    broken: usize,
}

impl Bench {
    fn new(name: &'static str, target: fn(&[u8])) -> Self {
        let (slowest, total) = (Duration::ZERO, Duration::ZERO);
        Self { name, target, executed: 0, bytes: 0, longest: 0, slowest, total, broken: 0 }
    }

    /// The seeds as they are, then mutations of them.
    fn mutate(&mut self, runs: u64, seed: u64) -> std::io::Result<()> {
        let seeds = seeds::all().into_iter().filter(|(target, ..)| *target == self.name);
        let mut pool: Vec<Vec<u8>> = seeds.map(|(_, _, bytes)| bytes).collect();
        pool.push(Vec::new());
        for input in pool.clone().iter().take(usize::try_from(runs).unwrap_or(usize::MAX)) {
            self.execute(input)?;
        }
        let own = self.name.bytes().fold(0, |sum, byte| sum * 31 + u64::from(byte));
        let mut dice = Dice(seed ^ own);
        while self.executed < runs && self.broken < MAX_BROKEN {
            let mut input = pool[dice.below(pool.len())].clone();
            for _ in 0..1 + dice.below(8) {
                dice.mutate(&mut input, &pool);
            }
            input.truncate(MAX_INPUT);
            self.execute(&input)?;
        }
        Ok(())
    }

    fn execute(&mut self, input: &[u8]) -> std::io::Result<()> {
        let began = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| (self.target)(input)));
        let took = began.elapsed();
        self.executed += 1;
        self.bytes += input.len() as u64;
        self.longest = self.longest.max(input.len());
        self.slowest = self.slowest.max(took);
        self.total += took;
        if let Err(panic) = done {
            self.broken += 1;
            let dir = home().join("artifacts").join(self.name);
            std::fs::create_dir_all(&dir)?;
            let hash = blake3::hash(input).to_hex();
            let file = dir.join(format!("broken-{}", &hash[..16]));
            std::fs::write(&file, input)?;
            let why = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("a panic without words");
            eprintln!("{}: BROKEN by {}: {why}", self.name, file.display());
        }
        Ok(())
    }
}

impl std::fmt::Display for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mean = self.bytes / self.executed.max(1);
        write!(
            f,
            "{:<12} {:>8} runs, {:>4} bytes on average, {:>4} at most, {:>7.1} s, slowest {:>6.1} ms, \
             {} broken",
            self.name,
            self.executed,
            mean,
            self.longest,
            self.total.as_secs_f64(),
            self.slowest.as_secs_f64() * 1000.0,
            self.broken,
        )
    }
}

/// Chance that can be repeated (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, below: usize) -> usize {
        usize::try_from(self.next() % (below.max(1) as u64)).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        /// Where decoders change their minds: ends of ranges, CBOR's heads, URL and header marks.
        const MARKS: &[u8] =
            b"\x00\x01\x17\x18\x19\x1a\x1b\x3f\x40\x58\x5f\x60\x7f\x80\x9f\xa0\xbf\xf6\xff%/.:@?#=\"-,";
        match self.below(2) {
            0 => MARKS[self.below(MARKS.len())],
            _ => self.next().to_be_bytes()[0],
        }
    }

    fn mutate(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let to = at + self.below((input.len() - at + 1).min(32));
        match self.below(8) {
            0 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] ^= 1 << self.below(8);
            }
            1 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] = self.byte();
            }
            2 => input.insert(at, self.byte()),
            3 => drop(input.drain(at..to)),
            4 => {
                let copy = input[at..to].to_vec();
                let at = self.below(input.len() + 1);
                input.splice(at..at, copy);
            }
            5 => input.truncate(input.len() - self.below(input.len().min(16) + 1)),
            6 => {
                let other = &pool[self.below(pool.len())];
                let tail = other.get(self.below(other.len() + 1)..).unwrap_or_default();
                input.truncate(at);
                input.extend_from_slice(tail);
            }
            _ => {
                let number = [0, 1, 0xff, 0xffff, 1 << 40, u64::MAX][self.below(6)];
                let bytes = number.to_be_bytes();
                let width = 1 << self.below(4);
                for (place, byte) in input[at..].iter_mut().zip(&bytes[8 - width..]) {
                    *place = *byte;
                }
            }
        }
    }
}
