//! The DNS question in a datagram to port 53, for policies that look at names. It reads no answers,
//! and no DNS over TCP.

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::RecordType;

use super::{Packet, Transport};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, in small letters and without the last dot.
    pub name: String,
    /// The type of record.
    pub kind: RecordType,
}

impl Packet {
    /// The DNS question in it, if it is one.
    pub fn question(&self) -> Option<Question> {
        let Transport::Udp { dest: 53, .. } = self.transport() else { return None };
        let message = Message::from_vec(self.payload()).ok()?;
        if message.metadata.message_type != MessageType::Query {
            return None;
        }
        let query = message.queries.first()?;
        let name = query.name().to_ascii().to_ascii_lowercase();
        Some(Question { name: name.trim_end_matches('.').to_owned(), kind: query.query_type() })
    }
}
