//! The lab's own tests: that worlds work and leave nothing behind, and one control test for each
//! technique: what must be blocked is, by a plain client, and what must pass does. One test is one
//! world is one process; see `busel_lab::sandbox`.

mod active_probing;
mod belarus_2020;
mod belarus_2025;
mod bittorrent_block;
mod blackout;
mod browsers;
mod china;
mod chromium;
mod churn;
mod connection_limit;
mod dht;
mod dht_enumeration;
mod dht_poison;
mod dns_only;
mod dns_poison;
mod doctor;
mod echo;
mod edition;
mod encapsulated_tls;
mod forged_certificate;
mod freeze;
mod fully_encrypted;
mod http_redirect;
mod inbound_cut;
mod ip_block;
mod iran_2026;
mod lan;
mod lan_only;
mod midflight;
mod moved_bridge;
mod nat;
mod national_cut;
mod power_loss;
mod protocol_whitelist;
mod punch;
mod quic_block;
mod quic_sni;
mod russia_mobile_2026;
mod sandbox;
mod seam;
mod sni_drop;
mod sni_reset;
mod sni_whitelist;
mod source_allowlist;
mod speed;
mod throttle;
mod tls_fingerprint;
mod traps;
mod udp_off;
mod unknown_udp_off;
mod veil_tcp;
mod watcher;
mod world;

use std::time::Duration;

/// How long a load is given that a censor swallows: long enough for one that is not.
const SILENCE: Duration = Duration::from_secs(2);
