//! BPF links of XDP and tcx programs: what keeps a program on a device. Knows no ruleset.
//!
//! Not aya's links: a failed update of theirs drops the link and with it the filter, and a refused XDP attach falls
//! back to netlink, which may replace another's program. Here a link stays attached until it is dropped, and a device
//! that has another program is an error.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands of `enum bpf_cmd` and attach types of `enum bpf_attach_type`, `include/uapi/linux/bpf.h`.
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
/// Flags of `include/uapi/linux/if_link.h`.
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Where a link holds its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// XDP in the driver (link: kernel 5.9).
    XdpNative,
    /// XDP behind the driver (link: kernel 5.9).
    XdpGeneric,
    /// tcx ingress (kernel 6.6).
    TcxIngress,
    /// tcx egress (kernel 6.6).
    TcxEgress,
}

/// A program held on a device. Dropping it detaches the program.
#[derive(Debug)]
pub(super) struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches `program` at `place` of the device with index `ifindex`.
    pub(super) fn create(program: BorrowedFd<'_>, ifindex: u32, place: Place) -> io::Result<Self> {
        let (attach_type, flags) = match place {
            Place::XdpNative => (BPF_XDP, XDP_FLAGS_DRV_MODE),
            Place::XdpGeneric => (BPF_XDP, XDP_FLAGS_SKB_MODE),
            Place::TcxIngress => (BPF_TCX_INGRESS, 0),
            Place::TcxEgress => (BPF_TCX_EGRESS, 0),
        };
        // `link_create`: prog_fd, target_ifindex, attach_type, flags. The kernel takes the rest as zero.
        let attributes = [program.as_raw_fd().cast_unsigned(), ifindex, attach_type, flags];
        let fd = bpf(BPF_LINK_CREATE, attributes)?;
        #[expect(unsafe_code, reason = "the kernel hands out a raw descriptor")]
        // SAFETY: the kernel just made this descriptor for us, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Puts `program` in the place of the one that runs, atomically: every packet meets one of the two. On an error the
    /// old one goes on.
    pub(super) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        // `link_update`: link_fd, new_prog_fd, flags, old_prog_fd.
        let attributes = [self.fd.as_raw_fd().cast_unsigned(), program.as_raw_fd().cast_unsigned(), 0, 0];
        bpf(BPF_LINK_UPDATE, attributes).map(|_| ())
    }
}

fn bpf(command: libc::c_long, attributes: [u32; 4]) -> io::Result<libc::c_int> {
    #[expect(unsafe_code, reason = "aya wraps these commands with a fallback that weir must not have")]
    // SAFETY: the pointer and the size describe `attributes`, which outlives the call; both commands only read it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(&attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
