//! The loaded program and its maps: the only importer of aya. Must not parse lists nor know the configuration's text.

pub mod adopt;
pub mod attach;
mod bpf;
pub mod counters;
mod details;
pub mod foreign;
mod hold;
mod link;
pub mod object;
pub mod publish;
pub mod testrun;
pub mod trace;
