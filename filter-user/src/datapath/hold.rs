//! What holds one program on a device: a pinned link, or a filter on the clsact qdisc. Chooses no attach kind.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use aya::programs::links::Link as _;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcAttachType, TcError, TcHandle, qdisc_add_clsact,
    qdisc_detach_program,
};
use filter_common::packet::Layer;

use super::attach::{AttachError, AttachKind, Attached};
use super::link::{Link, Place};
use super::object::{Hook, Object, entry};
use crate::network::Device;

/// What holds one program on a device. Dropping it detaches the program.
#[derive(Debug)]
pub(super) enum Hold {
    Link(Link),
    /// The filter on the clsact qdisc and its place, by which it is found again when a replacement failed. It stays when this
    /// process ends without dropping it, or is told to `leave` it.
    Filter {
        link: Option<SchedClassifierLink>,
        device: String,
        at: TcAttachType,
        leave: bool,
    },
}

/// weir's handle on the clsact qdisc: "weir" in ASCII. With it a filter of weir's is told from another's.
const HANDLE: TcHandle = TcHandle::new(0x7765, 0x6972);
/// Its priority there, likewise: a filter that an earlier daemon left is found by both, and replaced without a gap.
const PRIORITY: u16 = 0x7765;

/// The hook of a device's ingress.
pub(super) fn hook_of(kind: AttachKind) -> Hook {
    match kind {
        AttachKind::XdpNative | AttachKind::XdpGeneric => Hook::Xdp,
        AttachKind::Tcx | AttachKind::Tc => Hook::TcIngress,
    }
}

pub(super) fn hold_ingress(
    object: &mut Object,
    device: &Device,
    layer: Layer,
    kind: AttachKind,
    pins: &Path,
) -> Result<Hold, AttachError> {
    match kind {
        AttachKind::XdpNative => hold_link(object, device, layer, Place::XdpNative, pins),
        AttachKind::XdpGeneric => hold_link(object, device, layer, Place::XdpGeneric, pins),
        AttachKind::Tcx => hold_link(object, device, layer, Place::TcxIngress, pins),
        AttachKind::Tc => hold_filter(object, device, layer, Hook::TcIngress),
    }
}

pub(super) fn hold_egress(
    object: &mut Object,
    device: &Device,
    layer: Layer,
    pins: &Path,
) -> Result<Hold, AttachError> {
    match hold_link(object, device, layer, Place::TcxEgress, pins) {
        Err(AttachError::Refused { .. }) => hold_filter(object, device, layer, Hook::TcEgress),
        held => held,
    }
}

fn hold_link(
    object: &mut Object,
    device: &Device,
    layer: Layer,
    place: Place,
    pins: &Path,
) -> Result<Hold, AttachError> {
    let (hook, kind) = match place {
        Place::XdpNative => (Hook::Xdp, AttachKind::XdpNative),
        Place::XdpGeneric => (Hook::Xdp, AttachKind::XdpGeneric),
        Place::TcxIngress => (Hook::TcIngress, AttachKind::Tcx),
        Place::TcxEgress => (Hook::TcEgress, AttachKind::Tcx),
    };
    let refused = |error| refused(device, kind, error);
    let program = object.program(hook, layer)?.map_err(refused)?;
    Ok(Hold::Link(Link::create(program, device.index, place, pins).map_err(refused)?))
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
    // A filter outlives a daemon that was killed: it is replaced, so that no packet goes by.
    let left = SchedClassifierLink::attached(&device.name, at, PRIORITY, HANDLE, None).map_err(refused)?;
    let program = object.classifier(hook, layer)?;
    let id = program.attach_to_link(left).or_else(|_| {
        let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, handle: HANDLE, classid: None });
        program.attach_with_options(&device.name, at, options)
    });
    let id = id.map_err(|error| refused(io_error(error)))?;
    let link = program.take_link(id).map_err(|error| refused(io_error(error)))?;
    Ok(Hold::Filter { link: Some(link), device: device.name.clone(), at, leave: false })
}

/// Removes every filter of weir's from the clsact qdiscs of `devices`, but for those that `attached` has. Gives the devices that had
/// one.
pub(super) fn sweep(devices: &BTreeMap<String, Device>, attached: &[Attached]) -> io::Result<BTreeSet<String>> {
    let mut freed = BTreeSet::new();
    for device in devices.values() {
        let kept = attached.iter().find(|held| held.device.name == device.name);
        let held = |hold: Option<&Hold>| matches!(hold, Some(Hold::Filter { .. }));
        for (hook, at, held) in [
            (Hook::TcIngress, TcAttachType::Ingress, held(kept.map(|held| &held.ingress))),
            (Hook::TcEgress, TcAttachType::Egress, held(kept.and_then(|held| held.egress.as_ref()))),
        ] {
            for layer in [Layer::Ethernet, Layer::Ip].into_iter().filter(|_| !held) {
                // No such qdisc; no such device any more.
                const NONE: [i32; 3] = [libc::ENOENT, libc::EINVAL, libc::ENODEV];
                match qdisc_detach_program(&device.name, at, entry(hook, layer)) {
                    Err(TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => {}
                    detached => match detached.map_err(io_error) {
                        Err(error) if error.raw_os_error().is_some_and(|code| NONE.contains(&code)) => {}
                        detached => {
                            detached?;
                            freed.insert(device.name.clone());
                        }
                    },
                }
            }
        }
    }
    Ok(freed)
}

impl Hold {
    /// Puts the program of `object` in the place of the one that runs. On an error the old one goes on.
    pub(super) fn replace(
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
                let program = object.program(hook, layer)?.map_err(refused)?;
                link.update(program).map_err(refused)
            }
            Self::Filter { link, device: name, at, .. } => {
                let program = object.classifier(hook, layer)?;
                let held = match link.take() {
                    Some(held) => held,
                    None => SchedClassifierLink::attached(name, *at, PRIORITY, HANDLE, None).map_err(refused)?,
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
        let Self::Filter { link, device, at, leave } = self else { return };
        let link = link.take();
        if *leave {
            // aya's link would take the filter along; it holds nothing else.
            std::mem::forget(link);
            return;
        }
        // A filter whose replacement failed is still there, but its link is gone.
        let held = link.or_else(|| SchedClassifierLink::attached(device, *at, PRIORITY, HANDLE, None).ok());
        if let Some(held) = held {
            // A device that vanished took its filter along.
            let _ = held.detach();
        }
    }
}

fn refused(device: &Device, kind: AttachKind, source: io::Error) -> AttachError {
    AttachError::Refused { device: device.name.clone(), kind, source }
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
