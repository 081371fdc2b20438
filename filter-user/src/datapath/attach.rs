//! Puts the programs of a generation on a device, by the first attach kind that the device takes. Never replaces a
//! program that is not weir's; whether a program that was attached really runs is `liveness`' question.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use aya::programs::ProgramError;
use aya::programs::links::Link as _;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcAttachType, TcError, TcHandle, qdisc_add_clsact,
    qdisc_detach_program,
};
use filter_common::packet::Layer;
use serde::Serialize;

use super::link::{Link, Place};
use super::object::{Hook, LoadError, Object, entry};
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
        Some(libc::EPERM | libc::EACCES) => "run weir as root, or with CAP_BPF and CAP_NET_ADMIN".into(),
        _ => error.to_string(),
    }
}

/// What holds one program on a device. Dropping it detaches the program.
#[derive(Debug)]
enum Hold {
    Link(Link),
    /// The filter on the clsact qdisc and its place, by which it is found again when a replacement failed.
    Filter {
        link: Option<SchedClassifierLink>,
        device: String,
        at: TcAttachType,
        priority: u16,
    },
}

/// weir's handle on the clsact qdisc: "weir" in ASCII. With it a filter of weir's is told from another's.
const HANDLE: TcHandle = TcHandle::new(0x7765, 0x6972);

/// A device with its programs.
#[derive(Debug)]
pub struct Attached {
    /// The device.
    pub device: Device,
    /// How its ingress is held.
    pub kind: AttachKind,
    layer: Layer,
    ingress: Hold,
    egress: Option<Hold>,
    severed: bool,
}

impl Attached {
    /// Where its frames start.
    #[must_use]
    pub fn layer(&self) -> Layer {
        self.layer
    }

    /// Attaches the programs of `object` to `device` by the first of `kinds` that it takes. Returns the refusals of the
    /// kinds before.
    pub fn attach(
        object: &mut Object,
        device: &Device,
        kinds: &[AttachKind],
        egress: bool,
    ) -> Result<(Self, Vec<AttachError>), AttachError> {
        let layer = device
            .layer()
            .ok_or_else(|| AttachError::Hardware { device: device.name.clone(), hardware: device.hardware })?;
        let egress = if egress { Some(hold_egress(object, device, layer)?) } else { None };
        let mut refusals = Vec::new();
        for &kind in kinds {
            match hold_ingress(object, device, layer, kind) {
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

    /// Filters egress, too.
    pub fn add_egress(&mut self, object: &mut Object) -> Result<(), AttachError> {
        self.egress = Some(hold_egress(object, &self.device, self.layer)?);
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

/// The hook of a device's ingress.
fn hook_of(kind: AttachKind) -> Hook {
    match kind {
        AttachKind::XdpNative | AttachKind::XdpGeneric => Hook::Xdp,
        AttachKind::Tcx | AttachKind::Tc => Hook::TcIngress,
    }
}

fn hold_ingress(object: &mut Object, device: &Device, layer: Layer, kind: AttachKind) -> Result<Hold, AttachError> {
    match kind {
        AttachKind::XdpNative => hold_xdp(object, device, layer, Place::XdpNative, kind),
        AttachKind::XdpGeneric => hold_xdp(object, device, layer, Place::XdpGeneric, kind),
        AttachKind::Tcx => hold_tcx(object, device, layer, Hook::TcIngress),
        AttachKind::Tc => hold_filter(object, device, layer, Hook::TcIngress),
    }
}

fn hold_egress(object: &mut Object, device: &Device, layer: Layer) -> Result<Hold, AttachError> {
    match hold_tcx(object, device, layer, Hook::TcEgress) {
        Err(AttachError::Refused { .. }) => hold_filter(object, device, layer, Hook::TcEgress),
        held => held,
    }
}

fn hold_xdp(
    object: &mut Object,
    device: &Device,
    layer: Layer,
    place: Place,
    kind: AttachKind,
) -> Result<Hold, AttachError> {
    let program = object.xdp(layer)?.fd().map_err(|error| refused(device, kind, error))?;
    let link = Link::create(program.as_fd(), device.index, place).map_err(|error| refused(device, kind, error))?;
    Ok(Hold::Link(link))
}

fn hold_tcx(object: &mut Object, device: &Device, layer: Layer, hook: Hook) -> Result<Hold, AttachError> {
    let refused = |error| refused(device, AttachKind::Tcx, error);
    let place = if hook == Hook::TcEgress { Place::TcxEgress } else { Place::TcxIngress };
    let program = object.classifier(hook, layer)?.fd().map_err(|error| refused(io::Error::other(error)))?;
    Ok(Hold::Link(Link::create(program.as_fd(), device.index, place).map_err(refused)?))
}

fn hold_filter(object: &mut Object, device: &Device, layer: Layer, hook: Hook) -> Result<Hold, AttachError> {
    let refused = |error: io::Error| refused(device, AttachKind::Tc, error);
    // A clsact qdisc that is there already serves as well; one that weir made stays: others may use it by now.
    if let Err(error) = qdisc_add_clsact(&device.name).map_err(io_error)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(refused(error));
    }
    let at = if hook == Hook::TcEgress { TcAttachType::Egress } else { TcAttachType::Ingress };
    // A filter outlives a daemon that was killed, and would go on with its old rules beside the ones attached here.
    match qdisc_detach_program(&device.name, at, entry(hook, layer)) {
        Ok(()) => {}
        Err(TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(io_error(error))),
    }
    let program = object.classifier(hook, layer)?;
    let options = TcAttachOptions::Netlink(NlOptions { priority: 0, handle: HANDLE, classid: None });
    let id = program.attach_with_options(&device.name, at, options).map_err(|error| refused(io_error(error)))?;
    let link = program.take_link(id).map_err(|error| refused(io_error(error)))?;
    let priority = link.priority().map_err(|error| refused(io_error(error)))?;
    Ok(Hold::Filter { link: Some(link), device: device.name.clone(), at, priority })
}

impl Hold {
    fn replace(
        &mut self,
        object: &mut Object,
        device: &Device,
        hook: Hook,
        layer: Layer,
        kind: AttachKind,
    ) -> Result<(), AttachError> {
        let refused = |error| refused(device, kind, error);
        match self {
            Self::Link(link) => {
                let updated = if hook == Hook::Xdp {
                    let program = object.xdp(layer)?.fd().map_err(|error| refused(io::Error::other(error)))?;
                    link.update(program.as_fd())
                } else {
                    let program =
                        object.classifier(hook, layer)?.fd().map_err(|error| refused(io::Error::other(error)))?;
                    link.update(program.as_fd())
                };
                updated.map_err(refused)
            }
            Self::Filter { link, device: name, at, priority } => {
                let program = object.classifier(hook, layer)?;
                let held = match link.take() {
                    Some(held) => held,
                    None => SchedClassifierLink::attached(name, *at, *priority, HANDLE, None).map_err(refused)?,
                };
                let id = program.attach_to_link(held).map_err(|error| refused(io_error(error)))?;
                *link = Some(program.take_link(id).map_err(|error| refused(io_error(error)))?);
                Ok(())
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Self::Filter { link, device, at, priority } = self else { return };
        // A filter whose replacement failed is still there, but its link is gone.
        let held = link.take().or_else(|| SchedClassifierLink::attached(device, *at, *priority, HANDLE, None).ok());
        if let Some(held) = held {
            // A device that vanished took its filter along.
            let _ = held.detach();
        }
    }
}

fn refused(device: &Device, kind: AttachKind, error: impl Into<Cause>) -> AttachError {
    let Cause(source) = error.into();
    AttachError::Refused { device: device.name.clone(), kind, source }
}

/// What the system said, found under the errors of libraries.
struct Cause(io::Error);

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

impl From<ProgramError> for Cause {
    fn from(error: ProgramError) -> Self {
        Self(io_error(error))
    }
}

/// The system error under `error`, or its text.
fn io_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = source {
        if let Some(code) = inner.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(code);
        }
        source = inner.source();
    }
    io::Error::other(error.to_string())
}
