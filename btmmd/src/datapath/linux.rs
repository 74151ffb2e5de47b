//! The kernel half: loading, pinning, attaching.

mod attach;
mod link;
mod maps;
pub(super) mod pinned;
mod pins;
mod program_log;

use std::net::Ipv6Addr;
use std::path::Path;

use aya::{Ebpf, EbpfLoader};
use btmm_ebpf::layout;
use tracing::warn;

pub use program_log::ProgramLog;

use super::firewall::{self, Choice};
use super::interfaces::Interface;
use super::{Counters, DatapathError, Settings, Uplink, XdpUse, object};
use attach::Attachment;
use maps::Maps;
use pins::Pins;

/// Names of the programs in the object.
mod program {
    pub const GATE: &str = "gate";
    pub const GATE_TC: &str = "gate_tc";
    pub const GATE_EGRESS: &str = "gate_egress";
    pub const WAIT_EGRESS: &str = "wait_egress";
    pub const ALL: [&str; 4] = [GATE, GATE_TC, GATE_EGRESS, WAIT_EGRESS];
}

/// The programs, loaded; their maps, pinned; their links, pinned. Dropping this detaches nothing.
pub struct Datapath {
    pins: Pins,
    programs: Ebpf,
    maps: Maps,
    xdp: XdpUse,
    wait_index: u32,
    warning: Option<String>,
    log: Option<ProgramLog>,
}

impl Datapath {
    /// Loads the programs over the maps pinned under `pins` (making what is missing), brings back the kept choice of the switch,
    /// and atomically replaces the programs on every interface that an earlier run attached and that is still there.
    ///
    /// A layout change between versions makes the maps anew, except for the switch, which is the same map for ever. After such a
    /// change no interface is touched before [`attach_uplink`](Self::attach_uplink): set the inbound SAs first.
    ///
    /// # Errors
    /// [`DatapathError::NoPrograms`] in a build without them; otherwise what the kernel said, with its object.
    pub fn open(pins: &Path, settings: &Settings) -> Result<Self, DatapathError> {
        let mut datapath = Self::load(pins, settings)?;
        datapath.set_config(settings)?;
        if !datapath.pins.fresh {
            datapath.refresh()?;
        }
        Ok(datapath)
    }

    /// As [`open`](Self::open), but leaves a configuration that is already there alone, and the interfaces too.
    pub(super) fn load(pins: &Path, settings: &Settings) -> Result<Self, DatapathError> {
        let object = object::bytes()?;
        let pins = Pins::prepare(pins)?;
        let mut programs = load(object, &pins, settings.program_log)?;
        let maps = Maps::take(&mut programs)?;
        let log = if settings.program_log { Some(ProgramLog::take(&mut programs)?) } else { None };
        let mut datapath = Self { pins, programs, maps, xdp: settings.xdp, wait_index: 0, warning: None, log };
        datapath.wait_index = datapath.maps.config()?.wait_index;
        if datapath.pins.fresh {
            datapath.set_config(settings)?;
        }
        datapath.restore_switch(&settings.state_dir)?;
        attach::forget_vanished(&datapath.pins)?;
        datapath.pins.adopt()?;
        datapath.pins.forget_older_layouts();
        Ok(datapath)
    }

    /// One line for the log when the kept choice of the switch could not be read, so that the switch blocks.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The programs' own log, when [`Settings::program_log`] asked for it; once.
    pub fn take_log(&mut self) -> Option<ProgramLog> {
        self.log.take()
    }

    /// Changes port, prefix or rates at the next packet. `state_dir` and `program_log` are fixed at [`open`](Self::open).
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn set_config(&mut self, settings: &Settings) -> Result<(), DatapathError> {
        self.maps.set_config(&config(settings, self.wait_index))
    }

    /// Puts `gate` and `gate_egress` on an interface. Idempotent: an earlier program of ours is replaced atomically, never stacked.
    ///
    /// # Errors
    /// [`DatapathError::Interface`], [`DatapathError::Attach`].
    pub fn attach_uplink(&mut self, interface: &str) -> Result<Uplink, DatapathError> {
        let uplink = self.attach(Interface::by_name(interface)?)?;
        attach::forget_vanished(&self.pins)?;
        Ok(uplink)
    }

    /// As [`attach_uplink`](Self::attach_uplink), for who has looked it up.
    pub(super) fn attach(&mut self, interface: Interface) -> Result<Uplink, DatapathError> {
        let mut attachment = Attachment { pins: &self.pins, programs: &mut self.programs };
        let egress = attachment.egress(&interface, program::GATE_EGRESS)?;
        let ingress = attachment.ingress(&interface, self.xdp)?;
        self.pins.adopt()?;
        Ok(Uplink { interface: interface.name, index: interface.index, ingress, egress })
    }

    /// Takes the programs off an interface. No error when there are none, or when it is gone.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn detach_uplink(&mut self, interface: &str) -> Result<(), DatapathError> {
        let Ok(interface) = Interface::by_name(interface) else { return Ok(()) };
        attach::detach(&self.pins, &interface, &[program::GATE, program::GATE_TC, program::GATE_EGRESS])
    }

    /// Where the gate is in force now.
    pub fn uplinks(&self) -> Result<Vec<Uplink>, DatapathError> {
        attach::uplinks(&self.pins)
    }

    /// Puts `wait_egress` on `btmm0` (`inner_index`), redirecting to the TUN `wait_index`. Idempotent.
    ///
    /// # Errors
    /// As [`attach_uplink`](Self::attach_uplink).
    pub fn attach_waiting_room(&mut self, inner_index: u32, wait_index: u32) -> Result<(), DatapathError> {
        let interface = Interface::by_index(inner_index)?;
        let config = layout::Config { wait_index, ..self.maps.config()? };
        self.maps.set_config(&config)?;
        self.wait_index = wait_index;
        Attachment { pins: &self.pins, programs: &mut self.programs }.egress(&interface, program::WAIT_EGRESS)?;
        self.pins.adopt()
    }

    /// Lets ESP of an inbound SPI (host byte order) in, or no longer.
    ///
    /// # Errors
    /// What the kernel said of the map, a full one included (131,072 SPIs).
    pub fn set_inbound_sa(&mut self, spi: u32, present: bool) -> Result<(), DatapathError> {
        self.maps.inbound_sas.set(spi.to_be_bytes(), present)
    }

    /// Lets no ESP in.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn clear_inbound_sas(&mut self) -> Result<(), DatapathError> {
        self.maps.inbound_sas.clear()
    }

    /// Lets packets for `peer` leave `btmm0` (its tunnel is up), or sends them to the waiting room.
    ///
    /// # Errors
    /// What the kernel said of the map, a full one included (16,384 peers).
    pub fn set_peer_ready(&mut self, peer: Ipv6Addr, ready: bool) -> Result<(), DatapathError> {
        self.maps.ready_peers.set(peer.octets(), ready)
    }

    /// Sends packets for every peer to the waiting room.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn clear_ready_peers(&mut self) -> Result<(), DatapathError> {
        self.maps.ready_peers.clear()
    }

    /// Packets by verdict.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn counters(&self) -> Result<Counters, DatapathError> {
        self.maps.counters.sum()
    }

    /// Whether the switch blocks.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn blocked(&self) -> Result<bool, DatapathError> {
        self.maps.switch.get()
    }

    /// The loaded programs, for BPF_PROG_TEST_RUN.
    #[doc(hidden)]
    pub fn programs(&self) -> &Ebpf {
        &self.programs
    }

    pub(super) fn set_blocked(&mut self, blocked: bool) -> Result<(), DatapathError> {
        self.maps.switch.set(blocked)
    }

    /// Blocks if either the pinned switch or the kept choice says so. Never opens: only `btmm firewall allow` does.
    fn restore_switch(&mut self, state_dir: &Path) -> Result<(), DatapathError> {
        let kept = firewall::read_choice(state_dir);
        if kept.choice == Choice::Block {
            self.set_blocked(true)?;
        }
        self.warning = kept.warning;
        Ok(())
    }

    /// Replaces the programs wherever an earlier run left them. One interface that refuses keeps what it has and is no reason to give
    /// up the others: whoever wants the gate on it asks by name and is told why not.
    fn refresh(&mut self) -> Result<(), DatapathError> {
        for uplink in self.uplinks()? {
            if let Err(error) = self.attach_uplink(&uplink.interface) {
                warn!(interface = %uplink.interface, %error, "the gate of an earlier run stays");
            }
        }
        for interface in attach::attached(&self.pins, program::WAIT_EGRESS)? {
            let mut attachment = Attachment { pins: &self.pins, programs: &mut self.programs };
            if let Err(error) = attachment.egress(&interface, program::WAIT_EGRESS) {
                warn!(interface = %interface.name, %error, "the waiting room of an earlier run stays");
            }
        }
        Ok(())
    }
}

/// Takes every program off every interface and removes every pin, the switch included: for an uninstall. The kept choice stays where
/// it is.
///
/// # Errors
/// What the kernel said, with the pin it said it of.
pub fn purge(pins: &Path) -> Result<(), DatapathError> {
    let Some(pins) = Pins::existing(pins)? else { return Ok(()) };
    for name in program::ALL {
        for interface in attach::attached(&pins, name)? {
            attach::detach(&pins, &interface, &[name])?;
        }
    }
    pins.remove()
}

/// Creates or opens the maps and has the kernel verify every program.
fn load(object: &[u8], pins: &Pins, log: bool) -> Result<Ebpf, DatapathError> {
    let paths = pins.maps();
    let mut loader = EbpfLoader::new();
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    let level: u8 = if log { u8::MAX } else { 0 };
    loader.override_global("AYA_LOG_LEVEL", &level, false);
    let mut programs = loader.load(object).map_err(|source| DatapathError::Load(Box::new(source)))?;
    for name in program::ALL {
        attach::load(&mut programs, name)?;
    }
    Ok(programs)
}

fn config(settings: &Settings, wait_index: u32) -> layout::Config {
    let interval = 1_000_000_000 / u64::from(settings.ike_per_second.max(1));
    layout::Config {
        port: settings.port,
        padding: 0,
        wait_index,
        prefix: settings.prefix.map_or(0, |prefix| (u128::from(prefix) >> 64) as u64 & !0xffff),
        ike_interval: interval,
        ike_tolerance: interval * u64::from(settings.ike_burst.saturating_sub(1)),
    }
}
