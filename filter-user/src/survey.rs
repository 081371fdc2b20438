//! What of this machine matters to a filter: its kernel, its devices, and who else has programs on them. Changes nothing, and
//! judges nothing: that is [`doctor`](crate::doctor)'s.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use filter_common::packet::Layer;
use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

use crate::datapath::foreign;
use crate::network::{self, Device, Features};
use crate::sandbox;

/// What was found. What the kernel does not tell, or not to this process, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// The kernel's release.
    pub kernel: String,
    /// Whether BPF programs are compiled to the CPU's instructions, not interpreted.
    pub jit: Option<bool>,
    /// Whether the kernel describes its types (BTF).
    pub btf: bool,
    /// Whether the kernel has Landlock (5.13).
    pub landlock: bool,
    /// Capabilities that a daemon needs and this process has not.
    pub lacks: Vec<String>,
    /// Memory that is left for programs, bytes.
    pub memory_available: Option<u64>,
    /// The devices, by their names.
    pub devices: BTreeMap<String, Surveyed>,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surveyed {
    /// Driver and settings.
    #[serde(flatten)]
    pub features: Features,
    /// With which header its frames start: `ethernet` or `ip`; `None` where weir cannot read them.
    pub layer: Option<String>,
    /// The name of the XDP program on it.
    pub xdp_owner: Option<String>,
    /// The names of the programs on its tcx hooks (kernel 6.6).
    pub tcx: Option<Vec<String>>,
}

/// Looks at this machine, and of its devices at those of `names`; at all but loopback where none is named.
pub fn survey(names: &[String]) -> io::Result<Survey> {
    let layers = network::devices()?;
    let is_wanted =
        |name: &str| if names.is_empty() { name != "lo" } else { names.iter().any(|wanted| wanted == name) };
    let features = network::features(is_wanted)?;
    let programs = foreign::programs();
    let surveyed = |(name, features): (String, Features)| {
        let layer = layers.get(&name).and_then(Device::layer).map(|layer| match layer {
            Layer::Ethernet => "ethernet".to_owned(),
            Layer::Ip => "ip".to_owned(),
        });
        let xdp_owner = features.xdp_program.and_then(|number| programs.get(&number).cloned());
        let tcx = foreign::tcx(&name);
        (name, Surveyed { features, layer, xdp_owner, tcx })
    };
    let read = |path: &str| fs::read_to_string(path).ok();
    Ok(Survey {
        kernel: uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default(),
        jit: read("/proc/sys/net/core/bpf_jit_enable").map(|value| value.trim() != "0"),
        btf: fs::metadata("/sys/kernel/btf/vmlinux").is_ok(),
        landlock: sandbox::has_landlock(),
        lacks: sandbox::lacks(),
        memory_available: read("/proc/meminfo").as_deref().and_then(available),
        devices: features.into_iter().map(surveyed).collect(),
    })
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_kernel_memory_and_loopback() {
        let found = survey(&["lo".into()]).unwrap();
        assert!(!found.kernel.is_empty() && found.memory_available > Some(1 << 20), "{found:?}");
        assert_eq!(found.devices["lo"].layer.as_deref(), Some("ethernet"));
        assert_eq!(found.devices.len(), 1);
        assert_eq!(available("MemFree: 1 kB\nMemAvailable:   12 kB\n"), Some(12 << 10));
    }
}
