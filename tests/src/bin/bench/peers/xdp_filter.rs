//! xdp-filter of xdp-tools: exact addresses in a hash. It takes a command for each address; its map is filled directly, which
//! is the same and takes no hour.

use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;
use std::time::Instant;

use aya::maps::{Map, MapData, MapInfo, PerCpuHashMap, PerCpuValues};
use aya::programs::{ProgramInfo, loaded_programs};
use aya::util::nr_cpus;

use super::Installed;
use crate::list::List;
use crate::path::lane::{INGRESS, Lane};

/// `MAP_FLAG_DST` of xdp-filter's `common_kern_user.h`.
const DESTINATION: u64 = 1 << 1;

/// Its pins go to a BPF file system of its own, which ends with the command; without libxdp's dispatcher it is attached as
/// weir is, and faster than with it.
const LOAD: &str = "umount --all --types bpf; mount -t bpf bpf /sys/fs/bpf && \
                    LIBXDP_SKIP_DISPATCHER=1 xdp-filter load --mode native --policy allow --features ipv4 ";

/// Drops exact destinations.
pub(crate) fn exact(lane: &Lane, list: &List) -> Result<Installed, String> {
    if list.prefixes.iter().any(|prefix| prefix.length != 32) {
        return Err("it has no prefixes, only exact addresses".into());
    }
    let begun = Instant::now();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{LOAD}{INGRESS}")]);
    let output = lane.router.run(&command);
    if !output.status.success() {
        return Err(format!("xdp-filter failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let map = filter(lane)?;
    let mut map =
        PerCpuHashMap::<_, [u8; 4], u64>::try_from(Map::PerCpuHashMap(map)).map_err(|error| error.to_string())?;
    let cpus = nr_cpus().map_err(|(_, error)| error.to_string())?;
    for prefix in &list.prefixes {
        let value = PerCpuValues::try_from(vec![DESTINATION; cpus]).map_err(|error| error.to_string())?;
        map.insert(prefix.first.to_be_bytes(), value, 0).map_err(|error| error.to_string())?;
    }
    // The program is the device's, and goes with it.
    Ok(Installed::new((), begun))
}

/// The program on the router's device.
pub(crate) fn program(lane: &Lane) -> Result<OwnedFd, String> {
    let fd = attached(lane)?.fd().map_err(|error| error.to_string())?;
    fd.as_fd().try_clone_to_owned().map_err(|error| error.to_string())
}

fn attached(lane: &Lane) -> Result<ProgramInfo, String> {
    let link = lane.router.link(INGRESS);
    let id = link["xdp"]["prog"]["id"].as_u64().ok_or("xdp-filter attached nothing")?;
    let program = loaded_programs().flatten().find(|program| u64::from(program.id()) == id);
    Ok(program.ok_or("its program is gone again")?)
}

/// The map of its addresses.
fn filter(lane: &Lane) -> Result<MapData, String> {
    let maps = attached(lane)?.map_ids().map_err(|error| error.to_string())?.unwrap_or_default();
    let named = |&id: &u32| MapInfo::from_id(id).is_ok_and(|map| map.name_as_str() == Some("filter_ipv4"));
    let id = maps.into_iter().find(named).ok_or("its program has no map filter_ipv4")?;
    MapData::from_id(id).map_err(|error| error.to_string())
}
