//! weir's controller: names become prefix lists, prefix lists become tables in the kernel, counters become evidence.
pub mod capture;
pub mod catalog;
pub mod datapath;
pub mod prefix;
pub mod ruleset;
pub mod source;
