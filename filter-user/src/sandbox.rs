//! What this process may still do: gives up every capability, system call and place to write that it does not need. Filters no
//! packet, and asks for nothing back.
//!
//! Three kinds of process give up differently much: the daemon, which must load programs and write its state; the one that reads
//! a document from outside ([`fetch`](crate::fetch)), which needs nothing; and the one that unmounts ([`process`](crate::process)).
//!
//! System calls are denied by name, not allowed by name: a daemon that ends because its C library learned another call lets
//! everything pass, and what matters here is a short list (systemd.exec(5) has the same, `@privileged` and its like). A denied
//! call fails with EPERM. Where the kernel has no Landlock (5.13), or this CPU no seccomp filter by the library that is used, the
//! rest is done without it, and whoever asked is told.

use std::fmt;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetStatus, path_beneath_rules,
};
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::geteuid;

/// What a daemon needs (kernel 5.8): to load programs, to attach them, and to have the verifier let them compute the length of a
/// frame, which XDP programs before kernel 5.18 know as the difference of two pointers only.
const DAEMON: &[Capability] = &[Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];

/// The newest version of Landlock that was tested. What later ones add is not restricted.
const LANDLOCK: ABI = ABI::V5;

/// What could not be given up, one line each.
#[derive(Debug, Default)]
pub struct Kept(Vec<String>);

impl Kept {
    fn note<E: fmt::Display>(&mut self, what: &str, result: Result<(), E>) {
        if let Err(problem) = result {
            self.0.push(format!("{what}: {problem}"));
        }
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

/// Confines the daemon, which must have no other thread yet: it may write below `places` only, and listen on a port below 1024
/// only where it is to have a `low_port`.
#[must_use]
pub fn confine_daemon(places: &[PathBuf], low_port: bool) -> Kept {
    let mut kept = Kept::default();
    let mut needed = DAEMON.to_vec();
    if low_port {
        needed.push(Capability::CAP_NET_BIND_SERVICE);
    }
    kept.note("capabilities", keep_capabilities(&needed));
    kept.note("no new privileges", set_no_new_privs());
    let writes = path_beneath_rules(
        places.iter().map(PathBuf::as_path).chain([Path::new("/dev/null")]),
        AccessFs::from_write(LANDLOCK),
    );
    kept.note("places to write", restrict(AccessFs::from_write(LANDLOCK), writes));
    kept.note("system calls", calls::deny(calls::DAEMON));
    kept
}

/// Confines a process that reads a document from outside: it has no capability, writes nothing, and reads what names and
/// certificates are looked up in, and `files`. It must not read anything if it cannot give up its capabilities.
pub fn confine_reader(files: &[&Path]) -> Result<Kept, caps::errors::CapsError> {
    /// Libraries and settings of the C library's resolver; systemd's and OpenWrt's lists of resolvers.
    const SYSTEM: &[&str] = &["/etc", "/lib", "/lib64", "/usr", "/run/systemd/resolve", "/dev/urandom"];
    let mut kept = Kept::default();
    keep_capabilities(&[])?;
    kept.note("no new privileges", set_no_new_privs());
    // The file may be a link to elsewhere, and is what its directory gets anew each time that an address is leased.
    let resolvers = Path::new("/etc/resolv.conf").canonicalize().ok();
    let resolvers = resolvers.as_deref().and_then(Path::parent);
    let reads = SYSTEM.iter().map(Path::new).chain(resolvers).chain(files.iter().copied());
    let reads = path_beneath_rules(reads, AccessFs::ReadFile | AccessFs::ReadDir);
    kept.note("files", restrict(AccessFs::from_all(LANDLOCK), reads));
    kept.note("system calls", calls::deny(&[calls::DAEMON, calls::READER].concat()));
    Ok(kept)
}

/// Confines the process that unmounts.
#[must_use]
pub fn confine_unmounter() -> Kept {
    let mut kept = Kept::default();
    kept.note("capabilities", keep_capabilities(&[Capability::CAP_SYS_ADMIN]));
    kept.note("no new privileges", set_no_new_privs());
    kept
}

/// Whether this process may unmount.
#[must_use]
pub fn may_unmount() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false)
}

/// Whether this kernel has Landlock.
#[must_use]
pub fn has_landlock() -> bool {
    let required = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    required.handle_access(AccessFs::from_write(ABI::V1)).and_then(Ruleset::create).is_ok()
}

/// The capabilities that a daemon needs and this process lacks, by their names.
#[must_use]
pub fn lacks() -> Vec<String> {
    let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
    DAEMON.iter().filter(|capability| !permitted.contains(capability)).map(ToString::to_string).collect()
}

/// Whether user `uid` may tell a daemon of this process' user what to do.
#[must_use]
pub fn is_master(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// Gives up all capabilities but those that are `needed`, for good.
fn keep_capabilities(needed: &[Capability]) -> Result<(), caps::errors::CapsError> {
    // Without CAP_SETPCAP the bounding set stays: it then matters only to what is executed, which gains nothing
    // (no_new_privs).
    for capability in caps::runtime::thread_all_supported() {
        if !needed.contains(&capability) && caps::drop(None, CapSet::Bounding, capability).is_err() {
            break;
        }
    }
    let permitted = caps::read(None, CapSet::Permitted)?;
    let left: CapsHashSet = needed.iter().copied().filter(|capability| permitted.contains(capability)).collect();
    // Kernels before 4.3 have none.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &left)?;
    caps::set(None, CapSet::Permitted, &left)
}

/// Denies `access` to files, where no rule of `allowed` gives it.
fn restrict(
    access: impl Into<landlock::BitFlags<AccessFs>>,
    allowed: impl Iterator<Item = Result<landlock::PathBeneath<landlock::PathFd>, landlock::RulesetError>>,
) -> Result<(), String> {
    let enforced = Ruleset::default()
        .handle_access(access)
        .and_then(Ruleset::create)
        .and_then(|created| created.add_rules(allowed))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| error.to_string())?;
    match enforced.ruleset {
        RulesetStatus::NotEnforced => Err("this kernel has no Landlock (5.13)".into()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

/// System calls by their numbers, on CPUs that the library knows.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod calls {
    use std::collections::BTreeMap;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    /// What neither the daemon nor a reader ever calls: other processes' memory, modules and kernels, mounts, namespaces, keys, the
    /// clock, and interfaces of the kernel in which most of its holes were found.
    pub(super) const DAEMON: &[i64] = &[
        libc::SYS_acct,
        libc::SYS_add_key,
        libc::SYS_adjtimex,
        libc::SYS_chroot,
        libc::SYS_clock_adjtime,
        libc::SYS_clock_settime,
        libc::SYS_delete_module,
        libc::SYS_fanotify_init,
        libc::SYS_finit_module,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fsopen,
        libc::SYS_fspick,
        libc::SYS_init_module,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_io_uring_setup,
        libc::SYS_kcmp,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_mount,
        libc::SYS_move_mount,
        libc::SYS_open_by_handle_at,
        libc::SYS_open_tree,
        libc::SYS_perf_event_open,
        libc::SYS_personality,
        libc::SYS_pidfd_getfd,
        libc::SYS_pivot_root,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_ptrace,
        libc::SYS_quotactl,
        libc::SYS_reboot,
        libc::SYS_request_key,
        libc::SYS_setdomainname,
        libc::SYS_sethostname,
        libc::SYS_setns,
        libc::SYS_settimeofday,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_syslog,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_userfaultfd,
        libc::SYS_vhangup,
    ];

    /// What a reader never calls, though the daemon does.
    pub(super) const READER: &[i64] = &[libc::SYS_bpf, libc::SYS_execve, libc::SYS_execveat, libc::SYS_kill];

    /// The same calls once more, for programs of the x32 ABI: another number, the same kernel.
    const X32: i64 = if cfg!(target_arch = "x86_64") { 0x4000_0000 } else { 0 };

    /// Has `denied` fail with EPERM from now on.
    pub(super) fn deny(denied: &[i64]) -> Result<(), String> {
        let rules: BTreeMap<_, _> =
            denied.iter().flat_map(|&call| [call, call | X32]).map(|call| (call, vec![])).collect();
        let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        let arch = std::env::consts::ARCH.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).map_err(|error| error.to_string())?;
        let program = BpfProgram::try_from(filter).map_err(|error| error.to_string())?;
        apply_filter(&program).map_err(|error| error.to_string())
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod calls {
    pub(super) const DAEMON: &[i64] = &[];
    pub(super) const READER: &[i64] = &[];

    pub(super) fn deny(_: &[i64]) -> Result<(), String> {
        Err("weir has no seccomp filter for this CPU".into())
    }
}
