//! What passes each point, written to files for a watcher or a person to read: `POINT.pcap` has the
//! packets as they arrive there, before any verdict, and `POINT-injected.pcap` what the censor put
//! on the line. Raw IP, times since the world began.
//!
//! It reads nothing back, and buffers nothing, so that a file may be read while the world lives. One that can't be written any more ends the world's line with a panic,
//! since a watcher must not take a part for the whole.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

use crate::map::Point;

/// The captures of one world; by default there are none.
#[derive(Default)]
pub struct Captures {
    dir: Option<PathBuf>,
    files: HashMap<(Point, bool), PcapWriter<File>>,
}

impl Captures {
    /// Captures into a directory, which is made if need be.
    pub fn into_dir(dir: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir)?;
        Ok(Self { dir: Some(dir), files: HashMap::new() })
    }

    pub(super) fn passing(&mut self, point: Point, now: Duration, packet: &[u8]) {
        self.write(point, false, now, packet);
    }

    pub(super) fn injected(&mut self, point: Point, now: Duration, packet: &[u8]) {
        self.write(point, true, now, packet);
    }

    fn write(&mut self, point: Point, injected: bool, now: Duration, packet: &[u8]) {
        let Some(dir) = &self.dir else { return };
        let file = self.files.entry((point, injected)).or_insert_with(|| {
            let kind = if injected { "-injected" } else { "" };
            let path = dir.join(format!("{}{kind}.pcap", point.name()));
            let file = File::create(path).expect("a capture can be made");
            let header = PcapHeader { datalink: DataLink::RAW, ..PcapHeader::default() };
            PcapWriter::with_header(file, header).expect("a capture can be written")
        });
        let len = u32::try_from(packet.len()).expect("a packet is small");
        file.write_packet(&PcapPacket::new(now, len, packet)).expect("a capture can be written");
    }
}
