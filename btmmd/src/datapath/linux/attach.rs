//! Putting programs on interfaces so that they stay there, once each.
//!
//! XDP in driver mode and TCX give a `bpf_link`, which is pinned: it outlives us, and a later load replaces the program inside it.
//! Generic XDP is never used: it copies every packet whose headroom is too small, and `gate_tc` does not. On kernels before 6.6 TC
//! means a clsact filter, which the interface itself holds; fixed numbers make a second attach replace the first.

use std::fs;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkOrder, PinnedLink};
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{Program, ProgramError, SchedClassifier, TcAttachType, Xdp};
use aya::util::KernelVersion;
use tracing::debug;

use super::pins::{self, Pins};
use super::{link, program};
use crate::datapath::interfaces::Interface;
use crate::datapath::{DatapathError, Hook, Uplink, XdpUse};

/// Ahead of filters that leave the priority to the kernel (which counts down from 49152).
const TC_PRIORITY: u16 = 1;
/// "btmm", so that it is no one else's filter that we replace.
const TC_HANDLE: TcHandle = TcHandle::new(0x6274, 0x6d6d);

/// The programs and where the record of their attachment is kept.
pub struct Attachment<'a> {
    pub pins: &'a Pins,
    pub programs: &'a mut Ebpf,
}

impl Attachment<'_> {
    /// `gate`, by XDP if that is wanted, the driver has it and no one else is there, by TC otherwise. Where it is XDP already it stays.
    pub fn ingress(&mut self, interface: &Interface, wanted: XdpUse) -> Result<Hook, DatapathError> {
        let wanted = match wanted {
            XdpUse::Hardware => interface.hardware || pins::present(&pin(self.pins, Hook::Xdp, program::GATE, interface.index))?,
            XdpUse::Driver => true,
        };
        if wanted && interface.ethernet && self.xdp(interface)? {
            remove(self.pins, interface, program::GATE_TC, TcAttachType::Ingress)?;
            return Ok(Hook::Xdp);
        }
        self.classifier(interface, program::GATE_TC, TcAttachType::Ingress)
    }

    /// A TC egress program.
    pub fn egress(&mut self, interface: &Interface, name: &'static str) -> Result<Hook, DatapathError> {
        self.classifier(interface, name, TcAttachType::Egress)
    }

    /// Whether the driver, and whoever else is there, let us.
    fn xdp(&mut self, interface: &Interface) -> Result<bool, DatapathError> {
        let path = pin(self.pins, Hook::Xdp, program::GATE, interface.index);
        let failed = failed(interface, program::GATE);
        let xdp: &mut Xdp = find(self.programs, program::GATE)?;
        if let Some(link) = pinned_link(&path, &failed)? {
            let link = XdpLink::try_from(link).map_err(|error| failed(chain(&error)))?;
            if let Ok(id) = xdp.attach_to_link(link) {
                return xdp.take_link(id).map(|_pinned| true).map_err(|error| failed(chain(&error)));
            }
            fs::remove_file(&path).map_err(pins::at(&path))?; // its interface is gone and the index was used again
        }
        let id = match xdp.attach_to_if_index(interface.index, XdpMode::Driver) {
            Ok(id) => id,
            Err(error) => {
                debug!(interface = %interface.name, error = chain(&error), "no XDP here: the gate is a TC program");
                return Ok(false);
            }
        };
        let link = xdp.take_link(id).map_err(|error| failed(chain(&error)))?;
        let link = FdLink::try_from(link).map_err(|error| failed(chain(&error)))?;
        link.pin(&path).map(|_pinned| true).map_err(|error| failed(chain(&error)))
    }

    fn classifier(&mut self, interface: &Interface, name: &'static str, direction: TcAttachType) -> Result<Hook, DatapathError> {
        if KernelVersion::current().is_ok_and(|kernel| kernel >= KernelVersion::new(6, 6, 0)) {
            self.tcx(interface, name, direction)?;
            Ok(Hook::Tcx)
        } else {
            self.clsact(interface, name, direction)?;
            Ok(Hook::Tc)
        }
    }

    fn tcx(&mut self, interface: &Interface, name: &'static str, direction: TcAttachType) -> Result<(), DatapathError> {
        let path = pin(self.pins, Hook::Tcx, name, interface.index);
        let failed = failed(interface, name);
        let classifier: &mut SchedClassifier = find(self.programs, name)?;
        if let Some(link) = pinned_link(&path, &failed)? {
            let link = SchedClassifierLink::try_from(link).map_err(|error| failed(chain(&error)))?;
            if let Ok(id) = classifier.attach_to_link(link) {
                return classifier.take_link(id).map(drop).map_err(|error| failed(chain(&error)));
            }
            fs::remove_file(&path).map_err(pins::at(&path))?; // as above
        }
        // First: a program before ours could let a packet through without asking us.
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = classifier.attach_with_options(&interface.name, direction, order).map_err(|error| failed(chain(&error)))?;
        let link = classifier.take_link(id).map_err(|error| failed(chain(&error)))?;
        let link = FdLink::try_from(link).map_err(|error| failed(chain(&error)))?;
        link.pin(&path).map(drop).map_err(|error| failed(chain(&error)))
    }

    fn clsact(&mut self, interface: &Interface, name: &'static str, direction: TcAttachType) -> Result<(), DatapathError> {
        let path = pin(self.pins, Hook::Tc, name, interface.index);
        let failed = failed(interface, name);
        match tc::qdisc_add_clsact(&interface.name) {
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
            result => result.map_err(|error| failed(chain(&error)))?,
        }
        let classifier: &mut SchedClassifier = find(self.programs, name)?;
        let replaced = filter(interface, direction).map_err(|error| failed(chain(&error))).map(|link| classifier.attach_to_link(link))?;
        let id = match replaced {
            Ok(id) => id,
            Err(_none_there) => {
                let options = TcAttachOptions::Netlink(NlOptions { priority: TC_PRIORITY, handle: TC_HANDLE, classid: None });
                classifier.attach_with_options(&interface.name, direction, options).map_err(|error| failed(chain(&error)))?
            }
        };
        let link = classifier.take_link(id).map_err(|error| failed(chain(&error)))?;
        std::mem::forget(link); // dropping it would remove the filter
        let _may_be_missing = fs::remove_file(&path);
        classifier.pin(&path).map_err(|error| failed(chain(&error)))
    }
}

/// Has the kernel verify a program.
pub fn load(programs: &mut Ebpf, name: &'static str) -> Result<(), DatapathError> {
    let result = match programs.program_mut(name) {
        Some(Program::Xdp(xdp)) => xdp.load(),
        Some(Program::SchedClassifier(classifier)) => classifier.load(),
        _ => return Err(DatapathError::Missing(name)),
    };
    result.map_err(|source| DatapathError::Program { name, source: Box::new(source) })
}

/// Takes programs off an interface.
pub fn detach(pins: &Pins, interface: &Interface, names: &[&'static str]) -> Result<(), DatapathError> {
    for name in names {
        let direction = if *name == program::GATE_TC { TcAttachType::Ingress } else { TcAttachType::Egress };
        remove(pins, interface, name, direction)?;
    }
    Ok(())
}

/// Interfaces with both halves of the gate.
pub fn uplinks(pins: &Pins) -> Result<Vec<Uplink>, DatapathError> {
    let records = in_force(pins)?;
    let hook = |index: u32, names: &[&str]| {
        records.iter().find(|record| record.index == index && names.contains(&record.program.as_str())).map(|record| record.hook)
    };
    let uplink = |interface: Interface| {
        let ingress = hook(interface.index, &[program::GATE, program::GATE_TC])?;
        let egress = hook(interface.index, &[program::GATE_EGRESS])?;
        Some(Uplink { interface: interface.name, index: interface.index, ingress, egress })
    };
    Ok(Interface::all()?.into_iter().filter_map(uplink).collect())
}

/// Interfaces on which a program was left.
pub fn attached(pins: &Pins, name: &str) -> Result<Vec<Interface>, DatapathError> {
    let mut records = records(pins)?;
    records.retain(|record| record.program == name);
    Ok(Interface::all()?.into_iter().filter(|interface| records.iter().any(|record| record.index == interface.index)).collect())
}

/// Removes the pins of interfaces that are gone.
pub fn forget_vanished(pins: &Pins) -> Result<(), DatapathError> {
    // In this order: an interface that comes in between has no record among these.
    let records = records(pins)?;
    let present: Vec<u32> = Interface::all()?.iter().map(|interface| interface.index).collect();
    for record in records {
        let path = pin(pins, record.hook, &record.program, record.index);
        let vanished = match record.hook {
            // The link knows: one that is elsewhere, in another network namespace, is no business of ours.
            Hook::Xdp | Hook::Tcx => link::interface(&path).is_ok_and(|index| index.is_none()),
            Hook::Tc => !present.contains(&record.index),
        };
        if vanished {
            fs::remove_file(&path).or_else(pins::unless_missing).map_err(pins::at(&path))?;
        }
    }
    Ok(())
}

/// Records that say the truth. A link is asked where it is: its interface may be gone and the index used again, or the link detached. A
/// clsact filter has none that could be asked.
fn in_force(pins: &Pins) -> Result<Vec<Record>, DatapathError> {
    let mut records = records(pins)?;
    records.retain(|record| match record.hook {
        Hook::Xdp | Hook::Tcx => {
            let path = pin(pins, record.hook, &record.program, record.index);
            link::interface(&path).is_ok_and(|index| index == Some(record.index))
        }
        Hook::Tc => true,
    });
    Ok(records)
}

/// One pin under `links`.
struct Record {
    hook: Hook,
    program: String,
    index: u32,
}

fn records(pins: &Pins) -> Result<Vec<Record>, DatapathError> {
    Ok(pins::list(&pins.links())?.iter().filter_map(|path| record(path.file_name()?.to_str()?)).collect())
}

fn record(name: &str) -> Option<Record> {
    let mut parts = name.split('-');
    let hook = match parts.next()? {
        "xdp" => Hook::Xdp,
        "tcx" => Hook::Tcx,
        "tc" => Hook::Tc,
        _ => return None,
    };
    Some(Record { hook, program: parts.next()?.to_owned(), index: parts.next()?.parse().ok()? })
}

fn pin(pins: &Pins, hook: Hook, program: &str, index: u32) -> PathBuf {
    let hook = match hook {
        Hook::Xdp => "xdp",
        Hook::Tcx => "tcx",
        Hook::Tc => "tc",
    };
    pins.links().join(format!("{hook}-{program}-{index}"))
}

fn remove(pins: &Pins, interface: &Interface, name: &'static str, direction: TcAttachType) -> Result<(), DatapathError> {
    for hook in [Hook::Xdp, Hook::Tcx, Hook::Tc] {
        let path = pin(pins, hook, name, interface.index);
        if !pins::present(&path)? {
            continue;
        }
        if hook != Hook::Tc {
            link::detach(&path).map_err(pins::at(&path))?;
            continue;
        }
        if let Ok(filter) = filter(interface, direction) {
            drop(filter); // removes it
        }
        fs::remove_file(&path).map_err(pins::at(&path))?;
    }
    Ok(())
}

/// Our clsact filter, whether or not it is there.
fn filter(interface: &Interface, direction: TcAttachType) -> std::io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(&interface.name, direction, TC_PRIORITY, TC_HANDLE, None)
}

/// The link an earlier run left. One that is there and cannot be opened is an error: a second program beside it would be worse.
fn pinned_link(path: &Path, failed: impl Fn(String) -> DatapathError) -> Result<Option<FdLink>, DatapathError> {
    if !pins::present(path)? {
        return Ok(None);
    }
    PinnedLink::from_pin(path).map(|link| Some(FdLink::from(link))).map_err(|error| failed(chain(&error)))
}

fn find<'a, P>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, DatapathError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = programs.program_mut(name).ok_or(DatapathError::Missing(name))?;
    program.try_into().map_err(|source| DatapathError::Program { name, source: Box::new(source) })
}

fn failed(interface: &Interface, program: &'static str) -> impl Fn(String) -> DatapathError {
    let interface = interface.name.clone();
    move |why| DatapathError::Attach { interface: interface.clone(), program, why }
}

/// An error with its causes: the kernel's answer is the last of them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
