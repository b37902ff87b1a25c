//! What there is to plan with: memory, a device, the disk's speed. Measured, not derived.

use super::{PlacementError, PlanRequest, vram};
use crate::ggml::Device;
use crate::river::ReadSizes;
use crate::system;
use crate::system::measure::Tuning;
use crate::units::Bytes;
use std::path::Path;

/// Bytes a second of an SSD that was never measured.
pub(super) const TYPICAL_DISK: f64 = 2e9;

/// What the program holds is rounded up to a multiple of this. It differs by some 0.2 MiB from run
/// to run, which would decide whether one more shard stays.
const PROGRAM_STEP: u64 = Bytes::MIB;

/// The machine as a plan sees it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// The most that this process may hold.
    pub ram: Bytes,
    /// In use already, with llama.cpp started and no model open; see `PROGRAM_STEP`.
    pub program: Bytes,
    /// Where the oracle computes, if not on the CPU, and how much of its memory it may take.
    pub device: Option<(Device, Bytes)>,
    /// What the disk that holds the oracle is best read with, if `nmos doctor` has measured it.
    pub disk: Option<Tuning>,
}

impl Machine {
    /// Measures for `request`. llama.cpp must have been started.
    ///
    /// # Errors
    /// More memory was asked for than can be had, of the host or of a GPU.
    pub fn measure(request: &PlanRequest<'_>) -> Result<Self, PlacementError> {
        // The GPU's driver takes memory of the host as soon as it is asked for anything.
        let device = vram::claim(request.vram)?;
        let held = system::rss().unwrap_or_default();
        Ok(Self {
            ram: system::budget(request.ram, &system::memory(), held)?,
            program: steady(held),
            device,
            disk: Tuning::of(request.oracle),
        })
    }

    /// The device where its kernels are not the CPU's.
    pub fn gpu(&self) -> Option<Device> {
        let (device, _) = self.device?;
        (!device.is_cpu()).then_some(device)
    }

    /// How the disk is to be read: as was found best, or by default.
    pub fn read_sizes(&self) -> ReadSizes {
        sizes(self.disk)
    }

    /// Of the disk, as measured, or as a typical one.
    pub fn disk_bytes_per_s(&self) -> f64 {
        self.disk.map_or(TYPICAL_DISK, |disk| disk.gb_s * 1e9)
    }
}

/// The figure that is planned with where the program holds `held`.
fn steady(held: Bytes) -> Bytes {
    Bytes(held.0.next_multiple_of(PROGRAM_STEP))
}

/// How the disk that holds the oracle is to be read: as `nmos doctor` found best, or by default.
pub fn read_sizes(oracle: &Path) -> ReadSizes {
    sizes(Tuning::of(oracle))
}

fn sizes(disk: Option<Tuning>) -> ReadSizes {
    disk.map_or_else(ReadSizes::default, |disk| ReadSizes {
        depth: disk.depth,
        bytes: disk.block_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_holds_from_run_to_run_is_planned_with_alike() {
        // Of one program, in KiB.
        let held = [12_588, 12_636, 12_652, 12_692, 12_696, 12_744];
        let planned = held.map(|kib| steady(Bytes(kib * Bytes::KIB)));
        assert_eq!(planned, [Bytes::mib(13); 6]);
        assert_eq!(steady(Bytes::mib(13)), Bytes::mib(13));
        assert_eq!(steady(Bytes(0)), Bytes(0));
    }
}
