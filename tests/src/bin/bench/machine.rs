//! What a reader must know of the machine to weigh the figures. Asks, and judges nothing.

use std::fs;
use std::process::Command;

/// The machine, by name and value, in the order of the document.
pub(crate) fn read(commit: Option<&str>) -> Vec<(String, String)> {
    let cpuinfo = file("/proc/cpuinfo");
    let cpu = field(&cpuinfo, "model name").unwrap_or("unknown");
    let family = [field(&cpuinfo, "cpu family"), field(&cpuinfo, "model")].map(|part| part.unwrap_or("?"));
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let caches = caches();
    let memory = field(&file("/proc/meminfo"), "MemTotal").unwrap_or("unknown").to_owned();
    let hypervisor = if cpuinfo.contains(" hypervisor") { "a virtual machine" } else { "none seen" };
    let rows = [
        (
            "weir",
            format!(
                "{}, {}",
                said(Command::new(weir_tests::weir::binary()).arg("--version")),
                commit.unwrap_or("commit unknown")
            ),
        ),
        ("CPU", format!("{cpu} (family {}, model {}), {cpus} CPUs, {caches}", family[0], family[1])),
        ("hypervisor", hypervisor.into()),
        ("memory", memory),
        ("kernel", file("/proc/sys/kernel/osrelease")),
        ("preemption", file("/proc/sys/kernel/version")),
        ("BPF JIT", on_off(&file("/proc/sys/net/core/bpf_jit_enable"))),
        ("BPF JIT hardening", file("/proc/sys/net/core/bpf_jit_harden")),
        ("mitigations", mitigations()),
        ("nftables", said(Command::new("nft").arg("--version"))),
        ("iptables", said(Command::new("iptables").arg("--version"))),
        ("ipset", said(Command::new("ipset").arg("--version"))),
        ("xdp-tools", package("xdp-tools")),
        ("iperf3", said(Command::new("iperf3").arg("--version"))),
    ];
    rows.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).into()
}

fn file(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

fn on_off(value: &str) -> String {
    match value {
        "0" => "off".into(),
        "1" => "on".into(),
        other => other.into(),
    }
}

/// The first line that a program says.
fn said(command: &mut Command) -> String {
    let line = command.output().ok().filter(|output| output.status.success());
    let line = line.and_then(|output| String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned));
    line.unwrap_or_else(|| "not installed".into())
}

fn package(name: &str) -> String {
    said(Command::new("dpkg-query").args(["--show", "--showformat=${Version}", name]))
}

/// The value of a `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn caches() -> String {
    let cache = |index: usize| {
        let at = |name: &str| file(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}"));
        let kind = at("type");
        (kind != "unknown" && kind != "Instruction").then(|| format!("L{} {}", at("level"), at("size")))
    };
    (0..5).filter_map(cache).collect::<Vec<_>>().join(", ")
}

/// Those of the CPU's vulnerabilities that cost something.
fn mitigations() -> String {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else { return "unknown".into() };
    let mut all: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let said = fs::read_to_string(entry.path()).ok()?;
            let said = said.trim().strip_prefix("Mitigation: ")?.to_owned();
            Some(format!("{}: {said}", entry.file_name().to_string_lossy()))
        })
        .collect();
    all.sort_unstable();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 2\nmodel name\t: AMD EPYC\nMemTotal:   24684160 kB\n";
        assert_eq!(field(text, "model name"), Some("AMD EPYC"));
        assert_eq!(field(text, "model"), Some("2"));
        assert_eq!(field(text, "MemTotal"), Some("24684160 kB"));
        assert_eq!(field(text, "name"), None);
    }
}
