//! weir's controller: names become prefix lists, lists become tables in the kernel, counters become evidence.
//!
//! - [`cli`] runs a verb; [`daemon`] is the loop of the running one.
//! - [`config`] is what the operator wrote, [`catalog`] the services by name, [`store`] the files on disk.
//! - [`source`] turns list formats into [`prefix`] sets; [`capture`] turns captures into frames.
//! - [`ruleset`] resolves rules to lists and compiles them into tables.
//! - [`datapath`] makes a ruleset live on devices and reads the counters; [`liveness`] proves that it runs.
//! - [`http`] serves the page and the JSON API.
//! - [`network`] and [`process`] know this host, [`sandbox`] what weir may do to it, [`memory`] what it may take of it, [`control`] the socket, [`flows`] the
//!   host's live flows, [`survey`] what of the host matters to a filter and [`doctor`] what to do about it, [`report`] what the counters mean, [`tally`] what they count, [`account`] what was counted when.
//! - [`ledger`] keeps the books of what was counted, [`history`] writes them down, [`render`] shows them, [`seal`] signs
//!   that; [`events`] are single drops, [`metrics`] the text that Prometheus scrapes; [`top`] shows what is counted just
//!   now.

pub mod account;
pub mod capture;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod control;
pub mod controller;
pub mod daemon;
pub mod datapath;
pub mod doctor;
pub mod events;
pub mod fetch;
pub mod flows;
pub mod history;
pub mod http;
pub mod ledger;
pub mod liveness;
pub mod memory;
pub mod metrics;
pub mod network;
pub mod prefix;
pub mod process;
pub mod render;
pub mod report;
pub mod ruleset;
pub mod sandbox;
pub mod seal;
pub mod source;
pub mod store;
pub mod survey;
pub mod tally;
pub mod top;
