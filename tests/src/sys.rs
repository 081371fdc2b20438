//! System calls that `std` and `nix` have no safe form of: the lab's only `unsafe`. Knows nothing of tests.

use std::fs::File;
use std::io;
#[cfg(feature = "peers")]
use std::net::TcpStream;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;

/// Which device `TUNSETIFF` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TunKind {
    /// IP packets.
    Tun,
    /// Ethernet frames.
    Tap,
}

/// Makes the tun or tap device `name` in the calling thread's namespace; it lives as long as the file.
#[expect(unsafe_code, reason = "nix has no TUNSETIFF")]
pub(crate) fn open_tun(kind: TunKind, name: &str) -> io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = interface_request(name);
    let kind = if kind == TunKind::Tun { libc::IFF_TUN } else { libc::IFF_TAP };
    request.ifr_ifru.ifru_flags = i16::try_from(kind | libc::IFF_NO_PI).map_err(io::Error::other)?;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is and which outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(file) }
}

/// One `SIOCETHTOOL` call: `words` starts with the command, as all of ethtool's structures do.
#[expect(unsafe_code, reason = "nix has no SIOCETHTOOL")]
pub(crate) fn ethtool(socket: BorrowedFd<'_>, device: &str, words: &mut [u32]) -> io::Result<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let mut request = interface_request(device);
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: the kernel reads and writes the structure that the command names. `words` is as long as the length it
    // states inside (see the callers in `netns`), aligned for its 32-bit fields, and outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Binds an `AF_PACKET` socket to one device, for all protocols.
#[expect(unsafe_code, reason = "nix builds no sockaddr_ll")]
pub(crate) fn bind_packet(socket: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    // SAFETY: sockaddr_ll is integers and byte arrays, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?.to_be();
    address.sll_ifindex = ifindex.cast_signed();
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the address is a whole sockaddr_ll of the stated length and outlives the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Switches on a `SOL_PACKET` option.
#[expect(unsafe_code, reason = "nix has no options of AF_PACKET")]
pub(crate) fn enable_packet_option(socket: BorrowedFd<'_>, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the value is an int of the stated length and outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const on).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives a tun device that is down another hardware type (`ARPHRD_*`).
#[expect(unsafe_code, reason = "nix has no TUNSETLINK")]
pub(crate) fn set_hardware(tun: &File, hardware: u16) -> io::Result<()> {
    const TUNSETLINK: libc::Ioctl = 0x4004_54cd;
    // SAFETY: TUNSETLINK takes the type itself, and no pointer.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETLINK, libc::c_ulong::from(hardware)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How many bytes written to a TCP socket its peer has not acknowledged yet (tcp(7), `SIOCOUTQ`).
#[cfg(feature = "peers")]
#[expect(unsafe_code, reason = "nix has no SIOCOUTQ")]
pub(crate) fn unacknowledged(stream: &TcpStream) -> io::Result<libc::c_int> {
    let mut bytes = 0;
    // SAFETY: SIOCOUTQ, which has the number of TIOCOUTQ, writes one int, which `bytes` is and which outlives the call.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes) }
}

/// Lets the calling thread run before all that is not marked so, for it measures.
#[expect(unsafe_code, reason = "nix has no setpriority")]
pub(crate) fn go_first() -> io::Result<()> {
    const MOST: libc::c_int = -20;
    // SAFETY: takes three numbers; 0 is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, MOST) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs a program on a frame again and again (`BPF_PROG_TEST_RUN`, kernel 4.12): what it returned last, and the nanoseconds
/// of one run.
#[cfg(feature = "peers")]
#[expect(unsafe_code, reason = "aya runs only programs that it loaded itself")]
pub(crate) fn test_run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<(u32, u32)> {
    /// The start of `test` in `union bpf_attr`, `include/uapi/linux/bpf.h`.
    #[repr(C)]
    struct Attributes {
        program: u32,
        returned: u32,
        size_in: u32,
        size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
    }
    const BPF_PROG_TEST_RUN: libc::c_long = 10;
    let mut attributes = Attributes {
        program: program.as_raw_fd().cast_unsigned(),
        returned: 0,
        size_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
        size_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat,
        duration: 0,
    };
    // SAFETY: pointer and size describe `attributes`, and its pointer and size `frame`; both outlive the call, which writes
    // to `attributes` alone.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size_of_val(&attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok((attributes.returned, attributes.duration)) }
}

/// Commands of `enum bpf_cmd`, `include/uapi/linux/bpf.h`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_DETACH: libc::c_long = 34;

/// Detaches the BPF link with this id, whoever holds it (kernel 5.9).
pub(crate) fn detach_link(id: u32) -> io::Result<()> {
    let link = bpf_open(BPF_LINK_GET_FD_BY_ID, &[id, 0, 0])?;
    detach(link.as_fd())
}

fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(BPF_LINK_DETACH, &[link.as_raw_fd().cast_unsigned(), 0, 0]).map(|_| ())
}

/// Loads an XDP program of two instructions that passes everything.
pub(crate) fn load_xdp_pass() -> io::Result<OwnedFd> {
    const BPF_PROG_TYPE_XDP: u32 = 6;
    const XDP_PASS: i32 = 2;
    /// `BPF_ALU64 | BPF_MOV | BPF_K` of register 0, and `BPF_JMP | BPF_EXIT`: `struct bpf_insn` is code, registers, offset,
    /// and a number.
    const MOVE: [u8; 4] = [0xb7, 0, 0, 0];
    const EXIT: [u8; 4] = [0x95, 0, 0, 0];
    let instructions = [MOVE, XDP_PASS.to_ne_bytes(), EXIT, [0; 4]];
    let licence = c"GPL";
    let [code, code_end] = halves(instructions.as_ptr() as u64);
    let [word, word_end] = halves(licence.as_ptr() as u64);
    // prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags.
    bpf_open(BPF_PROG_LOAD, &[BPF_PROG_TYPE_XDP, 2, code, code_end, word, word_end, 0, 0, 0, 0, 0, 0])
}

/// Attaches an XDP program to the device with this index in the caller's namespace, and detaches it at once.
pub(crate) fn try_xdp(program: BorrowedFd<'_>, ifindex: u32, native: bool) -> io::Result<()> {
    const BPF_XDP: u32 = 37;
    const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
    const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
    let mode = if native { XDP_FLAGS_DRV_MODE } else { XDP_FLAGS_SKB_MODE };
    let link = bpf_open(BPF_LINK_CREATE, &[program.as_raw_fd().cast_unsigned(), ifindex, BPF_XDP, mode])?;
    detach(link.as_fd())
}

/// Asks which programs are on the tcx ingress hook of a device in the caller's namespace (kernel 6.6).
pub(crate) fn query_tcx(ifindex: u32) -> io::Result<()> {
    const BPF_TCX_INGRESS: u32 = 46;
    // target_ifindex, attach_type; zero asks for no ids. The kernel answers into the last of what the command has, `revision`,
    // without asking how much it was given, so it is given more than that.
    let mut attributes = [0; 32];
    attributes[..2].copy_from_slice(&[ifindex, BPF_TCX_INGRESS]);
    bpf(BPF_PROG_QUERY, &attributes).map(|_| ())
}

/// A pointer, as two words in their order in memory.
fn halves(number: u64) -> [u32; 2] {
    let (high, low) = ((number >> 32) as u32, number as u32);
    if cfg!(target_endian = "big") { [high, low] } else { [low, high] }
}

fn bpf_open(command: libc::c_long, attributes: &[u32]) -> io::Result<OwnedFd> {
    let raw = bpf(command, attributes)?;
    #[expect(unsafe_code, reason = "the kernel hands out a raw descriptor")]
    // SAFETY: the kernel just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

#[expect(unsafe_code, reason = "nix has no bpf(2)")]
fn bpf(command: libc::c_long, attributes: &[u32]) -> io::Result<libc::c_int> {
    let mut attributes = attributes.to_vec();
    // SAFETY: pointer and size describe `attributes`, which outlives the call, as does what its callers had it point to; of
    // the commands above only the query writes, and into `attributes` alone.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(&*attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { libc::c_int::try_from(result).map_err(io::Error::other) }
}

#[expect(unsafe_code, reason = "ifreq holds a union and has no constructor")]
fn interface_request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is integers, byte arrays and a null-able pointer, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    assert!(name.len() < request.ifr_name.len(), "device name {name:?} is too long");
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request
}
