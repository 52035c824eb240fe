//! The route Injector: fetched from the origin, signed, sent on. One injector serves all samples but
//! those of its memory, which each have a new one.

use anyhow::{Context, Result, bail};

use super::{Entry, Sample, Subject, World, busel, entry as subject};
use crate::child::Proc;
use crate::invites::PUBLIC;
use crate::role::Ask;
use crate::work::{KIB, Work};

/// As a subject.
pub(crate) fn entry() -> Entry {
    let does = |work: Work| matches!(work, Work::New { .. } | Work::Long | Work::Memory { .. });
    subject("busel", "Injector", does, |world| {
        Ok(Box::new(ByInjector { injector: busel::injector(world, "injector")?, nodes: 0 }))
    })
}

struct ByInjector {
    injector: Proc,
    nodes: usize,
}

impl Subject for ByInjector {
    fn sample(&mut self, world: &World, work: Work) -> Result<Sample> {
        self.nodes += 1;
        let (reader_dir, own_dir) =
            (format!("asker-{}", self.nodes), format!("injector-{}", self.nodes));
        let fresh = match work {
            Work::Memory { .. } => Some(busel::injector(world, &own_dir)?),
            _ => None,
        };
        let injector = fresh.as_ref().unwrap_or(&self.injector);
        let invites = [&*injector.ready.invite];
        let mut reader = busel::reader(world, &reader_dir, &invites, busel::plain)?;
        let pids = match work {
            Work::New { .. } | Work::Long => {
                connect(world, &mut reader)?;
                vec![reader.pid(), injector.pid()]
            }
            Work::Memory { .. } => vec![injector.pid()],
            _ => bail!("no such work"),
        };
        let server = busel::door(&reader, PUBLIC, "injector")?;
        let paths = world.new_paths(work.len(), work.count(world.quick));
        let sample = world.each(&server, paths, work, &pids);
        drop((reader, fresh));
        std::fs::remove_dir_all(world.dir.join(reader_dir))?;
        if let Work::Memory { .. } = work {
            std::fs::remove_dir_all(world.dir.join(own_dir))?;
        }
        sample
    }
}

fn connect(world: &World, reader: &mut Proc) -> Result<()> {
    let (paths, route) = (world.new_paths(KIB, 20), "injector".into());
    let asked = reader.ask(&Ask::Fetch { paths, conns: 1, route, kept: false });
    asked.map(drop).context("no connection to the injector")
}
