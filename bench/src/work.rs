//! What is done in one sample. Rows of one work are compared with each other, so they have the same
//! client, and only they.

use std::io::Write;
use std::path::Path;

/// One KiB.
pub(crate) const KIB: u64 = 1024;
/// One MiB.
pub(crate) const MIB: u64 = 1024 * KIB;
/// The long object.
pub(crate) const LONG: u64 = 100 * MIB;

/// What is done in one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// One URL again and again for some seconds, by wrk.
    Same { len: u64, conns: usize },
    /// Many URLs, each once, by a plain HTTP client of this program.
    New { len: u64, conns: usize },
    /// One URL again and again by HTTPS, over 32 connections of that client.
    SameTls { len: u64 },
    /// One long object, by the same client.
    Long,
    /// Many requests of a program that links the library: no HTTP between.
    Inside { conns: usize },
    /// One long object, likewise, until its last byte is there.
    LongInside,
    /// As [`Work::LongInside`], until it is stored as well.
    LongKept,
    /// One long object through a relay.
    Relayed,
    /// One object through an injector that has done nothing before.
    Memory { mib: u64 },
    /// Nothing.
    Idle,
}

impl Work {
    /// All works, in the order of the tables.
    pub(crate) fn all() -> Vec<Self> {
        let sizes = [(KIB, 1), (KIB, 32), (100 * KIB, 1), (100 * KIB, 32)];
        let mut works: Vec<_> = sizes.map(|(len, conns)| Self::Same { len, conns }).into();
        works.extend([KIB, 100 * KIB].map(|len| Self::SameTls { len }));
        works.extend(sizes.map(|(len, conns)| Self::New { len, conns }));
        works.extend([Self::Inside { conns: 1 }, Self::Inside { conns: 32 }]);
        works.extend([Self::Long, Self::LongInside, Self::LongKept, Self::Relayed]);
        works.extend([1, 100, 400].map(|mib| Self::Memory { mib }));
        works.push(Self::Idle);
        works
    }

    /// Its name in the table.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Same { len, conns } => format!("{} KiB, {}, one URL", len / KIB, plural(conns)),
            Self::SameTls { len } => {
                format!("{} KiB, {}, one URL by HTTPS", len / KIB, plural(self.conns()))
            }
            Self::New { len, conns } => format!("{} KiB, {}, new URLs", len / KIB, plural(conns)),
            Self::Inside { conns } => format!("1 KiB, {conns} at once, in-process"),
            Self::Long => "100 MiB over HTTP".into(),
            Self::LongInside => "100 MiB, in-process".into(),
            Self::LongKept => "100 MiB, in-process, until stored".into(),
            Self::Relayed => "100 MiB through a relay".into(),
            Self::Memory { mib } => format!("{mib} MiB through a fresh injector"),
            Self::Idle => "idle".into(),
        }
    }

    /// The length of one object.
    pub(crate) fn len(self) -> u64 {
        match self {
            Self::Same { len, .. } | Self::SameTls { len } | Self::New { len, .. } => len,
            Self::Inside { .. } => KIB,
            Self::Long | Self::LongInside | Self::LongKept | Self::Relayed => LONG,
            Self::Memory { mib } => mib * MIB,
            Self::Idle => 0,
        }
    }

    /// Requests at once.
    pub(crate) fn conns(self) -> usize {
        match self {
            Self::Same { conns, .. } | Self::New { conns, .. } | Self::Inside { conns } => conns,
            Self::SameTls { .. } => 32,
            _ => 1,
        }
    }

    /// How many objects are asked for, where their number is fixed.
    pub(crate) fn count(self, quick: bool) -> usize {
        let most = most(self.len());
        let count = match self {
            Self::New { conns, .. } | Self::Inside { conns } if conns == 1 => most / 4,
            Self::New { .. } | Self::Inside { .. } => most,
            Self::SameTls { .. } => 5 * most,
            _ => return 1,
        };
        if quick { count / 4 } else { count }
    }

    /// The path of an object of this length; `n` makes it one that nobody asked for yet.
    pub(crate) fn path(len: u64, n: &str) -> String {
        let size = match len {
            MIB.. => format!("{}m", len / MIB),
            _ => format!("{}k", len / KIB),
        };
        format!("/{size}/{n}")
    }
}

/// The most different objects of one length that a work asks for.
pub(crate) fn most(len: u64) -> usize {
    match len {
        KIB => 2000,
        MIB.. => 1,
        _ => 400,
    }
}

/// A file of so many zeros, all of them written.
pub(crate) fn write_zeros(path: &Path, len: u64) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    let zeros = vec![0; 64 * 1024];
    let mut left = len;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all(&zeros[..size])?;
        left -= size as u64;
    }
    Ok(())
}

fn plural(conns: usize) -> String {
    if conns == 1 { "1 connection".into() } else { format!("{conns} connections") }
}
