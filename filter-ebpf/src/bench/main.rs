//! The benchmark's object: what is measured beside weir's own, and what sends the frames. Never part of the shipped one.
//!
//! `lookup` asks tables in a loop, `generator` sends frames, `filters` are the least and the plainest filters there are.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod filters;
#[cfg(target_arch = "bpf")]
#[path = "../frame.rs"]
mod frame;
#[cfg(target_arch = "bpf")]
mod generator;
#[cfg(target_arch = "bpf")]
mod lookup;
#[cfg(target_arch = "bpf")]
#[path = "../maps.rs"]
#[expect(dead_code, reason = "the benchmark uses the tables and few of the counters")]
mod maps;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(target_arch = "bpf")]
#[expect(unsafe_code, reason = "the kernel reads the licence from a section of this name")]
// SAFETY: nothing else in the object is in this section.
#[unsafe(link_section = "license")]
#[used]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
