//! The maps, and looking things up in them.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use btmm_ebpf::layout::{Config, IKE_SOURCES_MAX, INBOUND_SAS_MAX, READY_PEERS_MAX, Source};
use btmm_ebpf::rate;
use btmm_ebpf::verdict::{Tables, Verdict};

#[map(name = "switch")]
static SWITCH: Array<u32> = Array::with_max_entries(1, 0);

#[map(name = "config")]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);

#[map(name = "inbound_sas")]
static INBOUND_SAS: HashMap<[u8; 4], u32> = HashMap::with_max_entries(INBOUND_SAS_MAX, 0);

#[map(name = "ready_peers")]
static READY_PEERS: HashMap<[u8; 16], u32> = HashMap::with_max_entries(READY_PEERS_MAX, 0);

#[map(name = "ike_sources")]
static IKE_SOURCES: LruHashMap<Source, u64> = LruHashMap::with_max_entries(IKE_SOURCES_MAX, 0);

#[map(name = "counters")]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT, 0);

/// The kernel's side of [`Tables`].
pub struct Maps {
    config: &'static Config,
    switch: &'static u32,
}

impl Maps {
    /// The two arrays every packet needs. Their only entries always exist; without them nothing may pass.
    #[inline(always)]
    pub fn open() -> Option<Self> {
        Some(Self { config: CONFIG.get(0)?, switch: SWITCH.get(0)? })
    }

    /// Interface index of the waiting room.
    #[inline(always)]
    pub fn wait_index(&self) -> u32 {
        self.config.wait_index
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn config(&self) -> &Config {
        self.config
    }

    #[inline(always)]
    fn blocked(&self) -> bool {
        // SAFETY: a live map value; user space writes whole words.
        unsafe { core::ptr::read_volatile(self.switch) != 0 }
    }

    #[inline(always)]
    fn is_inbound(&self, spi: [u8; 4]) -> bool {
        INBOUND_SAS.get_ptr(spi).is_some()
    }

    #[inline(always)]
    fn take_token(&self, source: Source) -> bool {
        // SAFETY: takes nothing.
        let now = unsafe { bpf_ktime_get_ns() };
        let (interval, tolerance) = (self.config.ike_interval, self.config.ike_tolerance);
        let Some(spent_until) = IKE_SOURCES.get_ptr_mut(source) else {
            let first = rate::take(0, now, interval, tolerance).unwrap_or(now);
            return IKE_SOURCES.insert(source, first, 0).is_ok();
        };
        // SAFETY: a live map value of one aligned word; see `rate` for two CPUs at once.
        match rate::take(unsafe { *spent_until }, now, interval, tolerance) {
            Some(next) => {
                // SAFETY: as above.
                unsafe { *spent_until = next };
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    fn is_ready(&self, peer: &[u8; 16]) -> bool {
        READY_PEERS.get_ptr(peer).is_some()
    }
}

/// Counts a verdict on this CPU.
#[inline(always)]
pub fn count(verdict: Verdict) {
    if let Some(counter) = COUNTERS.get_ptr_mut(verdict as u32) {
        // SAFETY: this CPU's own value; programs on one CPU do not interrupt each other between load and store in a way that
        // matters to a statistic.
        unsafe { *counter += 1 };
    }
}
