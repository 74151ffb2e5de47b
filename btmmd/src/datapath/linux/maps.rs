//! The maps, typed.

use std::path::Path;

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use aya::{Ebpf, Pod};
use btmm_ebpf::layout::{self, Config};
use btmm_ebpf::verdict::Verdict;

use crate::datapath::{Counters, DatapathError};

/// Every map user space touches.
pub struct Maps {
    pub switch: Switch,
    config: Array<MapData, Config>,
    pub inbound_sas: Set<[u8; 4]>,
    pub ready_peers: Set<[u8; 16]>,
    pub counters: CounterMap,
}

impl Maps {
    pub fn take(programs: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            switch: Switch(take(programs, layout::SWITCH)?),
            config: take(programs, layout::CONFIG)?,
            inbound_sas: Set { name: layout::INBOUND_SAS, map: take(programs, layout::INBOUND_SAS)? },
            ready_peers: Set { name: layout::READY_PEERS, map: take(programs, layout::READY_PEERS)? },
            counters: CounterMap(take(programs, layout::COUNTERS)?),
        })
    }

    pub fn config(&self) -> Result<Config, DatapathError> {
        self.config.get(&0, 0).map_err(named(layout::CONFIG))
    }

    pub fn set_config(&mut self, config: &Config) -> Result<(), DatapathError> {
        self.config.set(0, config, 0).map_err(named(layout::CONFIG))
    }
}

fn take<M: TryFrom<Map, Error = MapError>>(programs: &mut Ebpf, name: &'static str) -> Result<M, DatapathError> {
    let map = programs.take_map(name).ok_or(DatapathError::Missing(name))?;
    M::try_from(map).map_err(named(name))
}

fn named(name: &'static str) -> impl Fn(MapError) -> DatapathError {
    move |source| DatapathError::Map { name, source: Box::new(source) }
}

/// The firewall switch.
pub struct Switch(Array<MapData, u32>);

impl Switch {
    /// The pinned switch of an earlier load.
    pub fn open(path: &Path) -> Result<Self, DatapathError> {
        let data = MapData::from_pin(path).map_err(named(layout::SWITCH))?;
        Array::try_from(Map::Array(data)).map(Self).map_err(named(layout::SWITCH))
    }

    pub fn get(&self) -> Result<bool, DatapathError> {
        Ok(self.0.get(&0, 0).map_err(named(layout::SWITCH))? != 0)
    }

    pub fn set(&mut self, blocked: bool) -> Result<(), DatapathError> {
        self.0.set(0, u32::from(blocked), 0).map_err(named(layout::SWITCH))
    }
}

/// A hash used as a set.
pub struct Set<K> {
    name: &'static str,
    map: HashMap<MapData, K, u32>,
}

impl<K: Pod> Set<K> {
    pub fn set(&mut self, key: K, present: bool) -> Result<(), DatapathError> {
        let result = if present { self.map.insert(key, 1, 0) } else { self.map.remove(&key) };
        match result {
            Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error)) if !present && error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result.map_err(named(self.name)),
        }
    }

    pub fn clear(&mut self) -> Result<(), DatapathError> {
        let keys: Vec<K> = self.map.keys().collect::<Result<_, _>>().map_err(named(self.name))?;
        keys.into_iter().try_for_each(|key| self.set(key, false))
    }
}

/// The per-CPU counters.
pub struct CounterMap(PerCpuArray<MapData, u64>);

impl CounterMap {
    /// The pinned counters of an earlier load.
    pub fn open(path: &Path) -> Result<Self, DatapathError> {
        let data = MapData::from_pin(path).map_err(named(layout::COUNTERS))?;
        PerCpuArray::try_from(Map::PerCpuArray(data)).map(Self).map_err(named(layout::COUNTERS))
    }

    pub fn sum(&self) -> Result<Counters, DatapathError> {
        use Verdict::*;
        let of = |verdict: Verdict| -> Result<u64, DatapathError> {
            let values = self.0.get(&(verdict as u32), 0).map_err(named(layout::COUNTERS))?;
            Ok(values.iter().sum())
        };
        Ok(Counters {
            other: of(Other)?,
            esp_accepted: of(EspAccepted)?,
            esp_unknown: of(EspUnknown)?,
            ike_accepted: of(IkeAccepted)?,
            ike_limited: of(IkeLimited)?,
            keepalive: of(Keepalive)?,
            malformed: of(Malformed)?,
            unreadable: of(Unreadable)?,
            blocked_in: of(BlockedIn)?,
            blocked_out: of(BlockedOut)?,
            blocked_fragment: of(BlockedFragment)?,
            guarded: of(Guarded)?,
            out: of(Out)?,
            waiting: of(Waiting)?,
            ready: of(Ready)?,
            stray: of(Stray)?,
        })
    }
}
