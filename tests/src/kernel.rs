//! What the running kernel offers, asked by system calls and programs of the lab's own: a refusal that weir meets must not be
//! what excuses weir. Attaches nothing for longer than it takes to ask.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;

use nix::libc;

use crate::netns::Netns;
use crate::sys;

/// The kernel's version, as far as features go by it: 6 and 12 of "6.12.1-arm64".
#[must_use]
pub fn version() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-', '+']).map(|number| number.trim().parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Whether tcx can be asked for on a device (kernel 6.6); the kernel's answer if not.
pub fn offers_tcx(netns: &Netns, device: &str) -> Result<(), String> {
    let index = netns.index(device);
    netns.enter(|| offers_tcx_here(index))
}

/// Likewise, on the device with this index in the caller's namespace.
pub fn offers_tcx_here(index: u32) -> Result<(), String> {
    match sys::query_tcx(index) {
        Ok(()) => Ok(()),
        // What every kernel says to a question about a hook that it does not know.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Err(format!("this kernel knows no tcx hook that it could be asked about ({error})"))
        }
        Err(error) => panic!("device {index}: {error}"),
    }
}

/// The kind that weir has to take where its configuration says "tc": tcx comes first where there is one.
#[must_use]
pub fn kind_of_tc(netns: &Netns, device: &str) -> &'static str {
    if offers_tcx(netns, device).is_ok() { "tcx" } else { "tc" }
}

/// Whether a device takes an XDP program, in its driver (`native`) or behind it; the kernel's answer if not.
pub fn offers_xdp(netns: &Netns, device: &str, native: bool) -> Result<(), String> {
    let index = netns.index(device);
    let program = sys::load_xdp_pass().unwrap_or_else(|error| panic!("a program that passes everything: {error}"));
    let refused = |error: io::Error| format!("the device's driver takes no XDP program whatsoever ({error})");
    netns.enter(|| sys::try_xdp(program.as_fd(), index, native)).map_err(refused)
}
