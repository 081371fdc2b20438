//! Network namespaces and the devices in them. Every change to the machine goes through here and is undone by `Drop`.
//!
//! Commands enter with `nsenter --net`, not `ip netns exec`: the latter remounts /sys and hides the BPF file system.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::panic;
use std::path::PathBuf;
use std::process::{self, Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns};

use crate::lab::require_root;
use crate::sys::{self, TunKind};

const NETNS_DIR: &str = "/run/netns";
const PREFIX: &str = "weirlab";

/// A network namespace of this test; deleted, with its devices, when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// Makes a namespace with loopback up. `hint` tells a person which one it is.
    #[must_use]
    pub fn new(hint: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        static ONCE: Once = Once::new();
        require_root();
        ONCE.call_once(remove_leftovers);
        let name = format!("{PREFIX}-{}-{}-{hint}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]));
        let file = File::open(PathBuf::from(NETNS_DIR).join(&name)).unwrap();
        let netns = Self { name, file };
        // No router solicitations and no addresses that the test did not give.
        netns.sysctl("net/ipv6/conf/default/accept_ra", 0);
        netns.sysctl("net/ipv6/conf/default/router_solicitations", 0);
        netns.sysctl("net/ipv6/conf/default/accept_dad", 0);
        netns.ip("link set lo up");
        netns
    }

    /// The name, as `ip netns list` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that `nsenter --net` wants.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(NETNS_DIR).join(&self.name)
    }

    /// A command that will run inside. Its process id is the program's own, so it can be signalled.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a command inside to its end.
    #[must_use]
    pub fn run(&self, command: &Command) -> Output {
        let mut inside = self.command(command.get_program());
        inside.args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            inside.current_dir(directory);
        }
        inside.output().unwrap_or_else(|error| panic!("{inside:?}: {error}"))
    }

    /// Runs `ip` with space-separated arguments; panics if it fails.
    pub fn ip(&self, arguments: &str) {
        run(self.command("ip").args(arguments.split_whitespace()));
    }

    /// Runs `ip` where failure is an answer: its error text.
    pub fn try_ip(&self, arguments: &str) -> Result<String, String> {
        let output = self.command("ip").args(arguments.split_whitespace()).output().unwrap();
        if output.status.success() { Ok(lossy(&output.stdout)) } else { Err(lossy(&output.stderr)) }
    }

    /// Runs a closure in a thread inside the namespace and gives its result; a panic inside is passed on.
    ///
    /// Sockets and tun devices that it returns stay in the namespace.
    pub fn enter<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let joined = thread::scope(|scope| scope.spawn(|| self.in_this_thread(f)).join());
        joined.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// Like [`Netns::enter`], for what goes on beside the test.
    pub fn spawn<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
        let file = self.file.try_clone().unwrap();
        thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            f()
        })
    }

    fn in_this_thread<R>(&self, f: impl FnOnce() -> R) -> R {
        setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap();
        f()
    }

    /// Writes a value under /proc/sys, as this namespace sees it.
    pub fn sysctl(&self, path: &str, value: impl Display) {
        let value = value.to_string();
        self.enter(|| fs::write(format!("/proc/sys/{path}"), value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    /// Makes it a router for both families.
    pub fn forward(&self) {
        self.sysctl("net/ipv4/ip_forward", 1);
        self.sysctl("net/ipv6/conf/all/forwarding", 1);
    }

    /// Adds an address with its prefix length, usable at once.
    pub fn address(&self, device: &str, address: &str) {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.ip(&format!("address add {address} dev {device} {nodad}"));
    }

    /// Adds a route: `default via 192.0.2.1`, `fd66::/64 dev tun0`.
    pub fn route(&self, route: &str) {
        let family = if route.contains(':') { "-6" } else { "-4" };
        self.ip(&format!("{family} route replace {route}"));
    }

    /// Fixes a neighbour's MAC address, so that nobody has to ask for it and counts stay exact.
    pub fn neighbour(&self, device: &str, address: &str, mac: [u8; 6]) {
        self.ip(&format!("neighbour replace {address} lladdr {} dev {device} nud permanent", mac_text(mac)));
    }

    /// Sets the device up.
    pub fn up(&self, device: &str) {
        self.ip(&format!("link set {device} up"));
    }

    /// Takes IPv6 off a device that only carries frames, so that it sends no multicast reports of its own.
    pub fn silence(&self, device: &str) {
        self.sysctl(&format!("net/ipv6/conf/{device}/disable_ipv6"), 1);
    }

    /// The kernel's index of a device.
    #[must_use]
    pub fn index(&self, device: &str) -> u32 {
        self.link(device)["ifindex"].as_u64().and_then(|index| u32::try_from(index).ok()).unwrap()
    }

    /// Frames and bytes that the device has received, by its own counters.
    #[must_use]
    pub fn received(&self, device: &str) -> (u64, u64) {
        let rx = &self.link(device)["stats64"]["rx"];
        (rx["packets"].as_u64().unwrap(), rx["bytes"].as_u64().unwrap())
    }

    /// What `ip -j -s -d link` says about the device.
    #[must_use]
    pub fn link(&self, device: &str) -> serde_json::Value {
        let text = run(self.command("ip").args(["-j", "-s", "-d", "link", "show", "dev", device]));
        let mut links: serde_json::Value = serde_json::from_str(&text).unwrap();
        links[0].take()
    }

    /// Switches offloads by the names that `ethtool -k` shows: `("rx-gro", true)`, `("tx-checksum-ip-generic", false)`.
    pub fn features(&self, device: &str, wanted: &[(&str, bool)]) {
        let result = self.enter(|| set_features(device, wanted));
        result.unwrap_or_else(|error| panic!("{device}: {wanted:?}: {error}"));
    }

    /// Adds a VLAN device; the kernel's text where it has no 802.1Q driver.
    pub fn vlan(&self, device: &str, name: &str, tpid: u16, id: u16) -> Result<(), String> {
        let protocol = if tpid == crate::frame::TPID_8021AD { "802.1ad" } else { "802.1Q" };
        self.try_ip(&format!("link add link {device} name {name} type vlan protocol {protocol} id {id}"))?;
        self.up(name);
        Ok(())
    }

    /// Adds a bridge over devices and sets it up; it learns nothing, so every frame goes to every other port.
    pub fn bridge(&self, name: &str, ports: &[&str]) {
        self.ip(&format!("link add {name} type bridge mcast_snooping 0 ageing_time 0"));
        self.silence(name);
        for port in ports {
            self.ip(&format!("link set {port} master {name}"));
        }
        self.up(name);
    }

    /// Makes a tun device, up and with a file to read and write its IP packets; gone with the file.
    #[must_use]
    pub fn tun(&self, name: &str) -> File {
        self.open_tun(TunKind::Tun, name)
    }

    /// Makes a tap device, up, without IPv6, and with a file to read and write its Ethernet frames; gone with the file.
    #[must_use]
    pub fn tap(&self, name: &str) -> File {
        self.open_tun(TunKind::Tap, name)
    }

    /// Makes a tun device that says it is of another hardware type (`ARPHRD_*`); gone with the file.
    #[must_use]
    pub fn tun_of_hardware(&self, name: &str, hardware: u16) -> File {
        let file = self.enter(|| sys::open_tun(TunKind::Tun, name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        sys::set_hardware(&file, hardware).unwrap_or_else(|error| panic!("{name}: {error}"));
        file
    }

    fn open_tun(&self, kind: TunKind, name: &str) -> File {
        let file = self.enter(|| sys::open_tun(kind, name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.ip(&format!("link set {name} addrgenmode none"));
        if kind == TunKind::Tap {
            self.silence(name);
        }
        self.up(name);
        file
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Not `run`: a panic inside a panic would abort the other tests.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

/// Connects two namespaces by a veth pair, both ends up, tags inside the frames as on a real wire.
///
/// A veth hands VLAN tags over beside the frame unless told not to, and then no XDP program can see them.
pub fn veth(a: (&Netns, &str, [u8; 6]), b: (&Netns, &str, [u8; 6])) {
    let ((a, a_name, a_mac), (b, b_name, b_mac)) = (a, b);
    run(Command::new("ip").args(["link", "add", a_name, "netns", a.name()]).args([
        "address",
        &mac_text(a_mac),
        "type",
        "veth",
        "peer",
        "name",
        b_name,
        "netns",
        b.name(),
        "address",
        &mac_text(b_mac),
    ]));
    for (netns, name) in [(a, a_name), (b, b_name)] {
        netns.ip(&format!("link set {name} addrgenmode none"));
        netns.features(name, &[("tx-vlan-hw-insert", false), ("tx-vlan-stag-hw-insert", false)]);
        netns.up(name);
    }
}

/// A MAC address as `ip` writes it.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// `ethtool -K` without the program: the features' names are asked for, then the bits set.
fn set_features(device: &str, wanted: &[(&str, bool)]) -> io::Result<()> {
    const GSSET_INFO: u32 = 0x37;
    const GSTRINGS: u32 = 0x1b;
    const SFEATURES: u32 = 0x3b;
    const SS_FEATURES: u32 = 4;
    const NAME_WORDS: usize = 8;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut info = [GSSET_INFO, 0, 1 << SS_FEATURES, 0, 0];
    if cfg!(target_endian = "big") {
        info.swap(2, 3);
    }
    sys::ethtool(socket.as_fd(), device, &mut info)?;
    let count = usize::try_from(info[4]).unwrap();
    let mut strings = vec![0; 3 + count * NAME_WORDS];
    strings[..3].copy_from_slice(&[GSTRINGS, SS_FEATURES, info[4]]);
    sys::ethtool(socket.as_fd(), device, &mut strings)?;
    let names: HashMap<String, usize> = strings[3..]
        .chunks(NAME_WORDS)
        .map(|words| words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|&byte| byte != 0).collect())
        .enumerate()
        .map(|(bit, name): (_, Vec<u8>)| (lossy(&name), bit))
        .collect();
    let blocks = count.div_ceil(32);
    let mut request = vec![0; 2 + 2 * blocks];
    request[0] = SFEATURES;
    request[1] = u32::try_from(blocks).unwrap();
    for (name, on) in wanted {
        let bit = *names.get(*name).ok_or_else(|| io::Error::other(format!("no feature {name:?}: {names:?}")))?;
        request[2 + bit / 32 * 2] |= 1 << (bit % 32);
        request[3 + bit / 32 * 2] |= u32::from(*on) << (bit % 32);
    }
    sys::ethtool(socket.as_fd(), device, &mut request)
}

/// Deletes namespaces of test processes that were killed before they could.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else { return };
    for entry in entries.flatten() {
        let name = lossy(entry.file_name().as_encoded_bytes());
        let mut words = name.split('-');
        let ours = words.next() == Some(PREFIX);
        let Some(pid) = words.next().and_then(|pid| pid.parse::<u32>().ok()).filter(|_| ours) else { continue };
        if !PathBuf::from(format!("/proc/{pid}")).exists() {
            let _ = Command::new("ip").args(["netns", "delete", &name]).output();
        }
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", lossy(&output.stderr));
    lossy(&output.stdout)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
