//! weir's BPF object: a packet's way in and out of the kernel. Must decide nothing: `filter_common::decide` does.
//!
//! Six entry points, one for each hook (xdp, tc ingress, tc egress) and each link layer (`_l2`: the frame starts with
//! an Ethernet header; `_l3`: with the IP header). Each reads the frame, asks for a decision, counts it and maps it to
//! the hook's return code. No BPF-to-BPF calls, no atomics: the ARM32 and MIPS32 JITs have neither.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod entry;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod maps;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable: the verifier refuses an object in which it is not.
    loop {}
}

/// The programs are GPL-compatible, as kernel helpers demand.
#[cfg(target_arch = "bpf")]
#[expect(unsafe_code, reason = "the kernel reads the licence from a section of this name")]
// SAFETY: nothing else in the object is in this section, and the kernel wants a NUL-terminated string there.
#[unsafe(link_section = "license")]
#[used]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// On the host there is nothing to run; this lets `cargo check --workspace` see the crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
