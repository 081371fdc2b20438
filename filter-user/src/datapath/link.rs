//! BPF links of XDP and tcx programs: what keeps a program on a device. Knows no ruleset.
//!
//! Not aya's links: a failed update of theirs drops the link and with it the filter, and a refused XDP attach falls
//! back to netlink, which may replace another's program. Here a link stays attached until it is dropped, and a device
//! that has another program is an error.
//!
//! A link is pinned, and its pin's name says where it is: the kernel goes on filtering when the process that made it ends
//! without dropping it, and the next one finds it there.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::bpf::{bpf, bpf_open, halves, open_at, pin_at};

/// Commands of `enum bpf_cmd`, attach types of `enum bpf_attach_type`, link types of `enum bpf_link_type`:
/// `include/uapi/linux/bpf.h`.
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
const BPF_LINK_TYPE_XDP: u32 = 6;
const BPF_LINK_TYPE_TCX: u32 = 11;
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

impl Place {
    const ALL: [Self; 4] = [Self::XdpNative, Self::XdpGeneric, Self::TcxIngress, Self::TcxEgress];

    /// What pins of links here begin with. No dots: a BPF file system takes none.
    const fn word(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::TcxIngress => "tcx-ingress",
            Self::TcxEgress => "tcx-egress",
        }
    }

    /// The name of the pin of a link here, on the device with index `ifindex`.
    fn pin(self, ifindex: u32) -> String {
        format!("{PREFIX}{}_{ifindex}", self.word())
    }

    /// The place that a pin's name tells.
    fn of_pin(name: &str) -> Option<Self> {
        let (word, _) = name.strip_prefix(PREFIX)?.split_once('_')?;
        Self::ALL.into_iter().find(|place| place.word() == word)
    }
}

const PREFIX: &str = "link_";

/// A program held on a device. Dropping it detaches the program, unless it is to be left.
#[derive(Debug)]
pub(super) struct Link {
    fd: OwnedFd,
    pin: PathBuf,
    /// The program that ran before this process came, until another one took its place for good.
    before: Option<OwnedFd>,
    left: bool,
}

/// A link that another process left. It stays when this one ends, until it is [settled](Link::settle).
#[derive(Debug)]
pub(super) struct Found {
    pub(super) link: Link,
    pub(super) place: Place,
    /// Index of its device; 0 where the device is gone.
    pub(super) ifindex: u32,
}

impl Link {
    /// Attaches `program` at `place` of the device with index `ifindex`, and pins the link in `pins`.
    pub(super) fn create(program: BorrowedFd<'_>, ifindex: u32, place: Place, pins: &Path) -> io::Result<Self> {
        let (attach_type, flags) = match place {
            Place::XdpNative => (BPF_XDP, XDP_FLAGS_DRV_MODE),
            Place::XdpGeneric => (BPF_XDP, XDP_FLAGS_SKB_MODE),
            Place::TcxIngress => (BPF_TCX_INGRESS, 0),
            Place::TcxEgress => (BPF_TCX_EGRESS, 0),
        };
        // `link_create`: prog_fd, target_ifindex, attach_type, flags. The kernel takes the rest as zero.
        let fd = bpf_open(BPF_LINK_CREATE, &[program.as_raw_fd().cast_unsigned(), ifindex, attach_type, flags])?;
        let pin = pins.join(place.pin(ifindex));
        // Of a device that had this index before, and is gone.
        let _ = fs::remove_file(&pin);
        // It filters without its pin, too: `keep_pinned` tells.
        let _ = pin_at(fd.as_fd(), &pin);
        let link = Self { fd, pin, before: None, left: false };
        link.pin_program(program);
        Ok(link)
    }

    /// Pins the program that runs beside the link: to find it by its number takes a right (`CAP_SYS_ADMIN`) that a daemon has
    /// given up. Without the pin the next daemon cannot put this program back where its own start fails half-way.
    fn pin_program(&self, program: BorrowedFd<'_>) {
        let pin = self.program_pin();
        let _ = fs::remove_file(&pin);
        let _ = pin_at(program, &pin);
    }

    fn program_pin(&self) -> PathBuf {
        let name = self.pin.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.pin.with_file_name(format!("program_{}", name.trim_start_matches(PREFIX)))
    }

    /// Every link that is pinned in `pins`. What is no link, or cannot be opened, is left alone: a device that it holds says so when
    /// it is attached.
    pub(super) fn found(pins: &Path) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(pins)? {
            let entry = entry?;
            if let Some(place) = entry.file_name().to_str().and_then(Place::of_pin) {
                found.extend(Self::open(entry.path(), place));
            }
        }
        Ok(found)
    }

    fn open(pin: PathBuf, place: Place) -> io::Result<Found> {
        let fd = open_at(&pin)?;
        let Told { kind, program, ifindex } = told(fd.as_fd())?;
        if !matches!(kind, BPF_LINK_TYPE_XDP | BPF_LINK_TYPE_TCX) {
            return Err(io::Error::other(format!("{} is no link of weir's", pin.display())));
        }
        let mut link = Self { fd, pin, before: None, left: true };
        // A daemon that was killed may have pinned the program before that.
        let pinned =
            open_at(&link.program_pin()).ok().filter(|pinned| number(pinned.as_fd()).is_ok_and(|n| n == program));
        link.before = pinned.or_else(|| bpf_open(BPF_PROG_GET_FD_BY_ID, &[program, 0, 0]).ok());
        Ok(Found { link, place, ifindex })
    }

    /// Puts `program` in the place of the one that runs, atomically: every packet meets one of the two. On an error the
    /// old one goes on.
    pub(super) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        // `link_update`: link_fd, new_prog_fd, flags, old_prog_fd.
        let attributes = [self.fd.as_raw_fd().cast_unsigned(), program.as_raw_fd().cast_unsigned(), 0, 0];
        bpf(BPF_LINK_UPDATE, &attributes)?;
        self.pin_program(program);
        Ok(())
    }

    /// Pins it again where its pin is gone: the file system may have been unmounted, or taken no pin when it was made.
    pub(super) fn keep_pinned(&self) -> io::Result<()> {
        if self.pin.exists() { Ok(()) } else { pin_at(self.fd.as_fd(), &self.pin) }
    }

    /// Whether its device is gone; one that came in its place, under the same name and index, has no program.
    pub(super) fn is_gone(&self) -> bool {
        told(self.fd.as_fd()).is_ok_and(|told| told.ifindex == 0)
    }

    /// Puts the program back that ran when the link was found, if none has taken its place for good.
    pub(super) fn restore(&self) -> io::Result<()> {
        self.before.as_ref().map_or(Ok(()), |before| self.update(before.as_fd()))
    }

    /// From here on it is this process' own, and the program that ran when it was found may go.
    pub(super) fn settle(&mut self) {
        self.before = None;
        self.left = false;
    }

    /// Has it stay when it is dropped.
    pub(super) fn leave(&mut self) {
        self.left = true;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.left {
            // Said, for the kernel lets go of a pin a while after it is removed. It fails where the device is gone; a pin that is
            // gone is what is wanted, and one that cannot be removed goes with the file system.
            let _ = bpf(BPF_LINK_DETACH, &[self.fd.as_raw_fd().cast_unsigned(), 0, 0, 0]);
            let _ = fs::remove_file(self.program_pin());
            let _ = fs::remove_file(&self.pin);
        }
    }
}

/// What the kernel tells of a link.
struct Told {
    kind: u32,
    program: u32,
    ifindex: u32,
}

fn told(link: BorrowedFd<'_>) -> io::Result<Told> {
    // `bpf_link_info`: type, id, prog_id, padding, then what the type has; both of weir's begin with an ifindex.
    let mut told = [0_u32; 6];
    let [one, other] = halves(told.as_mut_ptr() as u64);
    bpf(BPF_OBJ_GET_INFO_BY_FD, &[link.as_raw_fd().cast_unsigned(), size_of_val(&told) as u32, one, other])?;
    let [kind, _, program, _, ifindex, _] = told;
    Ok(Told { kind, program, ifindex })
}

/// A program's number.
fn number(program: BorrowedFd<'_>) -> io::Result<u32> {
    // `bpf_prog_info`: type, id, and more, which the kernel leaves out where there is no room.
    let mut told = [0_u32; 2];
    let [one, other] = halves(told.as_mut_ptr() as u64);
    bpf(BPF_OBJ_GET_INFO_BY_FD, &[program.as_raw_fd().cast_unsigned(), size_of_val(&told) as u32, one, other])?;
    Ok(told[1])
}
