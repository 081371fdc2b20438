//! Puts the programs of a generation on a device, by the first attach kind that the device takes. Never replaces a
//! program that is not weir's; whether a program that was attached really runs is `liveness`' question.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use filter_common::packet::Layer;
use serde::Serialize;

use super::hold::{Hold, hold_egress, hold_ingress, hook_of};
use super::link::{Found, Link, Place};
use super::object::{Hook, LoadError, Object};
use crate::config::AttachChoice;
use crate::network::Device;

/// How a program is held on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachKind {
    /// XDP in the driver.
    XdpNative,
    /// tcx (kernel 6.6).
    Tcx,
    /// A filter on the clsact qdisc.
    Tc,
    /// XDP behind the driver.
    XdpGeneric,
}

impl fmt::Display for AttachKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::XdpNative => "xdp-native",
            Self::Tcx => "tcx",
            Self::Tc => "tc",
            Self::XdpGeneric => "xdp-generic",
        })
    }
}

impl AttachKind {
    /// Whether it is one of XDP, of which a device holds one program only.
    #[must_use]
    pub fn is_xdp(self) -> bool {
        matches!(self, Self::XdpNative | Self::XdpGeneric)
    }

    /// The kinds that `choice` allows, best first.
    #[must_use]
    pub fn allowed(choice: AttachChoice) -> &'static [Self] {
        match choice {
            AttachChoice::Auto => &[Self::XdpNative, Self::Tcx, Self::Tc, Self::XdpGeneric],
            AttachChoice::XdpNative => &[Self::XdpNative],
            AttachChoice::Tc => &[Self::Tcx, Self::Tc],
            AttachChoice::XdpGeneric => &[Self::XdpGeneric],
        }
    }
}

/// Why a device is not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// weir does not know where this device's frames start.
    #[error(
        "interface \"{device}\" has hardware type {hardware}, which weir cannot read; \
         attach to the Ethernet or IP device above it"
    )]
    Hardware {
        /// The device.
        device: String,
        /// Its `ARPHRD_*` number.
        hardware: u16,
    },
    /// One kind was refused.
    #[error("interface \"{device}\": {kind} was refused: {}", reason(*kind, source))]
    Refused {
        /// The device.
        device: String,
        /// The kind.
        kind: AttachKind,
        /// What the kernel says.
        source: io::Error,
    },
    /// A program does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Every allowed kind was refused.
    #[error("interface \"{device}\" takes no attach kind: {}", refusals.join("; "))]
    Exhausted {
        /// The device.
        device: String,
        /// One message for each kind.
        refusals: Vec<String>,
    },
}

impl AttachError {
    /// The kernel has no such link or filter any more: its answer to an update after another hand detached it.
    fn means_severed(&self) -> bool {
        let Self::Refused { kind, source, .. } = self else { return false };
        match source.raw_os_error() {
            Some(libc::ENOLINK) => true,
            // No filter; no qdisc.
            Some(libc::ENOENT | libc::EINVAL) => *kind == AttachKind::Tc,
            _ => false,
        }
    }
}

fn reason(kind: AttachKind, error: &io::Error) -> String {
    let xdp = kind.is_xdp();
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) if xdp => {
            "another XDP program is attached and weir does not replace it; detach it (ip link set DEV xdp off)".into()
        }
        Some(libc::EBUSY | libc::EEXIST) => "another filter holds weir's handle; delete it (tc filter del)".into(),
        Some(libc::EOPNOTSUPP | libc::ENOTSUP) if xdp => "its driver has no XDP".into(),
        Some(libc::ENOENT) if kind == AttachKind::Tc => {
            "this kernel lacks clsact or cls_bpf; load the modules sch_ingress and cls_bpf".into()
        }
        Some(libc::EINVAL) if kind == AttachKind::Tcx => "this kernel has no tcx (6.6)".into(),
        Some(libc::EINVAL | libc::ERANGE) if xdp => {
            format!("its driver refuses XDP as it is set up now ({error}); check MTU and LRO")
        }
        Some(libc::EPERM | libc::EACCES) => "run weir as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON".into(),
        _ => error.to_string(),
    }
}

/// A device with its programs.
#[derive(Debug)]
pub struct Attached {
    /// The device.
    pub device: Device,
    /// How its ingress is held.
    pub kind: AttachKind,
    layer: Layer,
    pub(super) ingress: Hold,
    pub(super) egress: Option<Hold>,
    severed: bool,
}

impl Attached {
    /// Where its frames start.
    #[must_use]
    pub fn layer(&self) -> Layer {
        self.layer
    }

    /// Attaches the programs of `object` to `device` by the first of `kinds` that it takes; links are pinned in `pins`. Returns
    /// the refusals of the kinds before.
    pub fn attach(
        object: &mut Object,
        device: &Device,
        kinds: &[AttachKind],
        egress: bool,
        pins: &Path,
    ) -> Result<(Self, Vec<AttachError>), AttachError> {
        let layer = device
            .layer()
            .ok_or_else(|| AttachError::Hardware { device: device.name.clone(), hardware: device.hardware })?;
        let egress = if egress { Some(hold_egress(object, device, layer, pins)?) } else { None };
        let mut refusals = Vec::new();
        for &kind in kinds {
            match hold_ingress(object, device, layer, kind, pins) {
                Ok(ingress) => {
                    let device = device.clone();
                    return Ok((Self { device, kind, layer, ingress, egress, severed: false }, refusals));
                }
                Err(refusal @ AttachError::Refused { .. }) => refusals.push(refusal),
                Err(error) => return Err(error),
            }
        }
        let refusals = refusals.iter().map(ToString::to_string).collect();
        Err(AttachError::Exhausted { device: device.name.clone(), refusals })
    }

    /// Whether its egress is filtered, too.
    #[must_use]
    pub fn filters_egress(&self) -> bool {
        self.egress.is_some()
    }

    /// Whether another hand detached a program: then nothing is left to replace, and the device must be attached anew.
    #[must_use]
    pub fn is_severed(&self) -> bool {
        self.severed
    }

    /// What an earlier daemon left on `devices`, by its links in `pins`. It stays when it is dropped, until it is
    /// [settled](Self::settle). Links of devices that are gone, or without ingress, are removed.
    pub fn found(pins: &Path, devices: &BTreeMap<String, Device>) -> io::Result<Vec<Self>> {
        let mut found = Link::found(pins)?;
        // Ingress first: egress joins it.
        found.sort_by_key(|found| found.place == Place::TcxEgress);
        let mut attached: Vec<Self> = Vec::new();
        for Found { mut link, place, ifindex } in found {
            let kind = match place {
                Place::XdpNative => AttachKind::XdpNative,
                Place::XdpGeneric => AttachKind::XdpGeneric,
                Place::TcxIngress => AttachKind::Tcx,
                Place::TcxEgress => {
                    match attached.iter_mut().find(|held| held.device.index == ifindex) {
                        Some(held) => held.egress = Some(Hold::Link(link)),
                        None => link.settle(),
                    }
                    continue;
                }
            };
            let device = devices.values().find(|device| device.index == ifindex).cloned();
            let Some((device, layer)) = device.and_then(|device| Some((device.clone(), device.layer()?))) else {
                link.settle();
                continue;
            };
            attached.push(Self { device, kind, layer, ingress: Hold::Link(link), egress: None, severed: false });
        }
        attached.sort_by(|a, b| a.device.name.cmp(&b.device.name));
        Ok(attached)
    }

    /// Puts the programs back that ran when this was found.
    pub fn restore(&mut self) {
        for hold in self.holds() {
            if let Hold::Link(link) = hold {
                // A link that another hand severed holds nothing, as before.
                let _ = link.restore();
            }
        }
    }

    /// From here on this is this process' own: it is detached when it is dropped. The programs that ran when it was found may
    /// go, with their tables.
    pub fn settle(&mut self) {
        for hold in self.holds() {
            if let Hold::Link(link) = hold {
                link.settle();
            }
        }
    }

    /// Has the programs stay when this is dropped.
    pub fn leave(&mut self) {
        for hold in self.holds() {
            match hold {
                Hold::Link(link) => link.leave(),
                Hold::Filter { leave, .. } => *leave = true,
            }
        }
    }

    fn holds(&mut self) -> impl Iterator<Item = &mut Hold> {
        std::iter::once(&mut self.ingress).chain(&mut self.egress)
    }

    /// Whether the device that it was attached to is gone, though there may be one of the same name and index.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(&self.ingress, Hold::Link(link) if link.is_gone())
    }

    /// Sees to it that this stays when the process is killed; an error where it would not.
    pub fn keep_pinned(&mut self) -> io::Result<()> {
        for hold in self.holds() {
            if let Hold::Link(link) = hold {
                link.keep_pinned()?;
            }
        }
        Ok(())
    }

    /// Filters egress, too.
    pub fn add_egress(&mut self, object: &mut Object, pins: &Path) -> Result<(), AttachError> {
        self.egress = Some(hold_egress(object, &self.device, self.layer, pins)?);
        Ok(())
    }

    /// Filters egress no longer.
    pub fn drop_egress(&mut self) {
        self.egress = None;
    }

    /// Has the kernel verify the programs of `object` that are to take the place of those that run.
    pub fn verify(&self, object: &mut Object) -> Result<(), LoadError> {
        if self.egress.is_some() {
            object.classifier(Hook::TcEgress, self.layer)?;
        }
        match hook_of(self.kind) {
            Hook::Xdp => object.xdp(self.layer).map(drop),
            hook => object.classifier(hook, self.layer).map(drop),
        }
    }

    /// Puts the programs of `object` in the place of those that run. On an error the old ones go on, but egress may
    /// already run the new one.
    pub fn replace(&mut self, object: &mut Object) -> Result<(), AttachError> {
        let replaced = self.replace_each(object);
        self.severed |= replaced.as_ref().is_err_and(AttachError::means_severed);
        replaced
    }

    fn replace_each(&mut self, object: &mut Object) -> Result<(), AttachError> {
        let (device, layer, kind) = (&self.device, self.layer, self.kind);
        if let Some(egress) = &mut self.egress {
            egress.replace(object, device, Hook::TcEgress, layer, AttachKind::Tc)?;
        }
        self.ingress.replace(object, device, hook_of(kind), layer, kind)
    }
}
