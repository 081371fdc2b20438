//! Programs on this machine, by their names: weir's and others'. Touches none.

use std::collections::BTreeMap;

use aya::programs::tc::TcAttachType;
use aya::programs::{ProgramInfo, SchedClassifier, loaded_programs};

/// The names of all programs that are loaded, by their numbers; none where this process may not ask (`CAP_SYS_ADMIN`).
#[must_use]
pub fn programs() -> BTreeMap<u32, String> {
    loaded_programs().filter_map(Result::ok).map(|program| (program.id(), name(&program))).collect()
}

/// The names of the programs on a device's tcx hooks; `None` where the kernel has no tcx (6.6) or does not tell.
#[must_use]
pub fn tcx(device: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for hook in [TcAttachType::Ingress, TcAttachType::Egress] {
        let (_, programs) = SchedClassifier::query_tcx(device, hook).ok()?;
        names.extend(programs.iter().map(name));
    }
    Some(names)
}

/// Whether `name` is that of a program of weir's.
#[must_use]
pub fn is_weirs(name: &str) -> bool {
    name.starts_with("weir_")
}

fn name(program: &ProgramInfo) -> String {
    program.name_as_str().unwrap_or("unnamed").to_owned()
}
