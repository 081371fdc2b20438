//! The page and its API, as a browser, a fuzzer and rude clients meet them. Judges what they are told and what the datapath
//! does meanwhile.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a step that fails must stop the test where it stands"
)]

mod api;
mod browser;
mod listening;
mod rude;
mod site;
