//! The service from outside: the built server as a process, called over TCP by a generated client and stock tools.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests start the server and stock tools by themselves, and read the clock as a caller does"
)]

mod archives;
mod backups;
mod catalog;
mod clips;
mod command_line;
mod database;
mod examples;
mod faults;
#[path = "../support/footage.rs"]
#[allow(
    dead_code,
    reason = "the frame-by-frame tests of the cut share this module and use more of it"
)]
mod footage;
mod hostile;
mod http;
mod jobs;
mod kills;
mod nodes;
#[path = "../support/postgres.rs"]
mod postgres;
mod recorder;
mod secret_key;
mod server;
#[path = "../support/servers/mod.rs"]
mod servers;
mod small_disk;
mod stand_in;
mod systemd;
mod tools;
mod web_page;
