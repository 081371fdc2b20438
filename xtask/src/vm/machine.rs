//! What can be booted: CPUs as QEMU makes them, and the kernels that Debian has for them. Boots and fetches nothing.

/// A kind of CPU, and the machine around it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cpu {
    /// As people call it.
    pub(super) name: &'static str,
    /// As Debian calls it.
    pub(super) debian: &'static str,
    /// As rustc calls it; `None` where this machine's own programs run.
    pub(super) target: Option<&'static str>,
    /// What rustc is told beside.
    pub(super) rustflags: &'static str,
    /// The emulator and Debian's package of it.
    pub(super) qemu: (&'static str, &'static str),
    /// The emulator's machine, CPU and memory. One processor: emulated ones that wait for each other take many times as long where
    /// fewer real ones are free.
    pub(super) arguments: &'static [&'static str],
    /// What its kernel is told: the serial line that QEMU shows, for one.
    pub(super) words: &'static str,
    /// The ways in which its kernels are booted.
    pub(super) variants: &'static [Variant],
}

/// A way in which a kernel is booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    /// By what it is asked for.
    pub(super) name: &'static str,
    /// Words for the guest's init.
    pub(super) words: &'static str,
}

/// As a router with this kernel would run it: jitted, and with the kernel's BTF where it has one.
const PLAIN: Variant = Variant { name: "plain", words: "weir.jit=1" };
/// Interpreted.
const NO_JIT: Variant = Variant { name: "no-jit", words: "weir.jit=0" };
/// Without BTF, as OpenWrt's kernels are.
const NO_BTF: Variant = Variant { name: "no-btf", words: "weir.jit=1 weir.nobtf" };
/// All names that there are.
pub(super) const VARIANTS: [&str; 3] = [PLAIN.name, NO_JIT.name, NO_BTF.name];

static X86_64: Cpu = Cpu {
    name: "x86-64",
    debian: "amd64",
    target: None,
    rustflags: "",
    qemu: ("qemu-system-x86_64", "qemu-system-x86"),
    arguments: &["-cpu", "max", "-m", "1536"],
    // On a busy machine the timer ticks too late for a check of it.
    words: "console=ttyS0 no_timer_check",
    variants: &[PLAIN, NO_JIT, NO_BTF],
};

static ARM64: Cpu = Cpu {
    name: "arm64",
    debian: "arm64",
    target: Some("aarch64-unknown-linux-musl"),
    rustflags: "",
    qemu: ("qemu-system-aarch64", "qemu-system-arm"),
    arguments: &["-M", "virt", "-cpu", "cortex-a53", "-m", "768"],
    words: "console=ttyAMA0",
    variants: &[PLAIN, NO_JIT, NO_BTF],
};

static ARMHF: Cpu = Cpu {
    name: "armhf",
    debian: "armhf",
    target: Some("armv7-unknown-linux-musleabihf"),
    rustflags: "",
    qemu: ("qemu-system-arm", "qemu-system-arm"),
    arguments: &["-M", "virt", "-cpu", "cortex-a7", "-m", "768"],
    words: "console=ttyAMA0",
    // Its kernel has no BTF that could be hidden.
    variants: &[PLAIN, NO_JIT],
};

static MIPSEL: Cpu = Cpu {
    name: "mipsel",
    debian: "mipsel",
    target: Some("mipsel-unknown-linux-musl"),
    // A program that is placed at random jumps to its own first byte there.
    rustflags: "-Crelocation-model=static",
    qemu: ("qemu-system-mipsel", "qemu-system-mips"),
    arguments: &["-M", "malta", "-vga", "none", "-cpu", "24Kc", "-m", "512"],
    words: "console=ttyS0",
    variants: &[PLAIN, NO_JIT],
};

static S390X: Cpu = Cpu {
    name: "s390x",
    debian: "s390x",
    target: Some("s390x-unknown-linux-musl"),
    rustflags: "",
    qemu: ("qemu-system-s390x", "qemu-system-misc"),
    // With vector instructions, as QEMU 7.2 emulates them, not even a ping comes back.
    arguments: &["-M", "s390-ccw-virtio", "-cpu", "max,vx=off", "-m", "1024"],
    words: "console=ttysclp0",
    variants: &[PLAIN, NO_BTF],
};

/// A kernel of Debian's.
#[derive(Debug)]
pub(super) struct Choice {
    /// By what it is asked for.
    pub(super) name: &'static str,
    pub(super) cpu: &'static Cpu,
    /// The release that has it.
    pub(super) suite: &'static str,
    /// The package that depends on its latest version.
    pub(super) package: &'static str,
}

const fn choice(name: &'static str, cpu: &'static Cpu, suite: &'static str, package: &'static str) -> Choice {
    Choice { name, cpu, suite, package }
}

/// All there are: on x86-64 weir's oldest kernel, those of Debian's releases since, and the newest there is; and what routers
/// have, big endian included.
pub(super) static CHOICES: [Choice; 8] = [
    choice("5.10", &X86_64, "bullseye", "linux-image-cloud-amd64"),
    choice("6.1", &X86_64, "bookworm", "linux-image-cloud-amd64"),
    choice("6.12", &X86_64, "trixie", "linux-image-cloud-amd64"),
    choice("newest", &X86_64, "sid", "linux-image-cloud-amd64"),
    choice("arm64", &ARM64, "trixie", "linux-image-cloud-arm64"),
    choice("armhf", &ARMHF, "trixie", "linux-image-armmp"),
    choice("mipsel", &MIPSEL, "bookworm", "linux-image-4kc-malta"),
    choice("s390x", &S390X, "trixie", "linux-image-s390x"),
];
