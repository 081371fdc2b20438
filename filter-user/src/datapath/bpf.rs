//! The commands of bpf(2) that aya has not, or not as weir needs them. Knows no link, map or program.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Commands of `enum bpf_cmd`, `include/uapi/linux/bpf.h`.
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;

/// An object of the kernel, and where it is pinned.
#[derive(Debug)]
pub(super) struct Pin {
    path: PathBuf,
    object: OwnedFd,
}

impl Pin {
    /// Holds what is pinned at `path`.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self { object: open_at(&path)?, path })
    }

    /// Pins it again where its pin is gone.
    pub(super) fn keep(&self) -> io::Result<()> {
        if self.path.exists() { Ok(()) } else { pin_at(self.object.as_fd(), &self.path) }
    }
}

/// Pins an object of the kernel.
pub(super) fn pin_at(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    // `pathname` (64 bits), bpf_fd, file_flags.
    let path = c_path(path)?;
    let [one, other] = halves(path.as_ptr() as u64);
    bpf(BPF_OBJ_PIN, &[one, other, object.as_raw_fd().cast_unsigned(), 0]).map(|_| ())
}

/// Opens a pin.
pub(super) fn open_at(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let [one, other] = halves(path.as_ptr() as u64);
    bpf_open(BPF_OBJ_GET, &[one, other, 0, 0])
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// A pointer or number of 64 bits, as two words in their order in memory.
pub(super) fn halves(number: u64) -> [u32; 2] {
    let (high, low) = ((number >> 32) as u32, number as u32);
    if cfg!(target_endian = "big") { [high, low] } else { [low, high] }
}

/// A command that makes a descriptor.
pub(super) fn bpf_open(command: libc::c_long, attributes: &[u32]) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    #[expect(unsafe_code, reason = "the kernel hands out a raw descriptor")]
    // SAFETY: the kernel just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A command, with the words of its part of `union bpf_attr`. The kernel takes the rest as zero.
pub(super) fn bpf(command: libc::c_long, attributes: &[u32]) -> io::Result<libc::c_int> {
    #[expect(unsafe_code, reason = "aya wraps these commands with a fallback that weir must not have")]
    // SAFETY: the pointer and the size describe `attributes`, which outlives the call, as does what they point to; the
    // commands read them, and one writes to the buffer that its attributes name, of the size that they say.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
