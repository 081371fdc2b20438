//! The loaded program and its maps: the only importer of aya. Must not parse lists nor know the configuration.

pub mod object;
pub mod testrun;
