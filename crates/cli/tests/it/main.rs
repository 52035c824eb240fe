//! What the program does as people run it: real processes, a real web server, the real curl.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod ca;
mod commands;
mod curl;
mod demo;
mod embed;
mod invites;
mod keys;
mod real_site;
mod support;
