//! Addresses of a device, under which memory comes and goes.
//!
//! ```text
//!  reserved:  | granule 0 | granule 1 | granule 2 | ...        addresses, for good
//!  committed:   handle a                handle b               memory, mapped and zeroed
//! ```
//!
//! The driver maps a handle whole, so that every granule has a handle of its own.

use super::call::{self, CudaError};
use super::driver::Primary;
use cudarc::driver::sys;
use std::cell::RefCell;
use std::ffi::c_int;

/// See the module's text. Freed when dropped, with what is committed.
#[derive(Debug)]
pub struct VirtualRange {
    base: sys::CUdeviceptr,
    granule_bytes: usize,
    /// By granule: what is mapped there.
    handles: RefCell<Vec<Option<sys::CUmemGenericAllocationHandle>>>,
    primary: Primary,
}

impl VirtualRange {
    /// Reserves `granules` granules of the device with this number. `None` where memory cannot
    /// be mapped by hand, or not in granules of this size.
    ///
    /// # Errors
    /// The driver's own.
    pub fn reserve(
        ordinal: c_int,
        granules: usize,
        granule_bytes: usize,
    ) -> Result<Option<Self>, CudaError> {
        let Some(primary) = Primary::of(ordinal)? else {
            return Ok(None);
        };
        primary.enter()?;
        let properties = properties(primary.device());
        let mut least = 0;
        // SAFETY: both places live through the call.
        unsafe {
            call::cuMemGetAllocationGranularity(
                &raw mut least,
                &raw const properties,
                sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM,
            )
        }?;
        if least == 0 || !granule_bytes.is_multiple_of(least) {
            return Ok(None);
        }
        let (len, mut base) = (granules * granule_bytes, 0);
        // SAFETY: the place lives through the call; the driver picks the addresses, aligned to a
        // granule of its own, and they are freed in `drop`.
        unsafe { call::cuMemAddressReserve(&raw mut base, len, 0, 0, 0) }?;
        Ok(Some(Self {
            base,
            granule_bytes,
            handles: RefCell::new(vec![None; granules]),
            primary,
        }))
    }

    /// Its first address, on the device.
    pub fn base(&self) -> *mut u8 {
        std::ptr::without_provenance_mut(self.base as usize)
    }

    /// Puts memory of zeros under these granules, all or none, and returns when it can be used.
    ///
    /// # Errors
    /// The driver's own, as when memory runs out.
    ///
    /// # Panics
    /// If one is not within the range, or committed already.
    pub fn commit(&self, granules: &[usize]) -> Result<(), CudaError> {
        self.primary.enter()?;
        for (done, &granule) in granules.iter().enumerate() {
            if let Err(error) = self.commit_one(granule) {
                let _ = self.primary.settle();
                self.decommit(&granules[..done]);
                return Err(error);
            }
        }
        // The zeros are there before other streams look.
        let there = self.primary.settle();
        if there.is_err() {
            self.decommit(granules);
        }
        there
    }

    fn commit_one(&self, granule: usize) -> Result<(), CudaError> {
        assert!(
            self.handles.borrow()[granule].is_none(),
            "granule {granule} is committed already"
        );
        let (at, len) = (self.address(granule), self.granule_bytes);
        let properties = properties(self.primary.device());
        let access = sys::CUmemAccessDesc {
            location: properties.location,
            flags: sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
        };
        let mut handle = 0;
        // SAFETY: both places live through the call.
        unsafe { call::cuMemCreate(&raw mut handle, len, &raw const properties, 0) }?;
        // SAFETY: the granule lies in the reserved range and nothing is mapped there; the handle
        // is as long as a granule.
        if let Err(error) = unsafe { call::cuMemMap(at, len, 0, handle, 0) } {
            // SAFETY: created above, mapped nowhere.
            let _ = unsafe { call::cuMemRelease(handle) };
            return Err(error);
        }
        self.handles.borrow_mut()[granule] = Some(handle);
        // SAFETY: the granule has just been mapped, and is used by nobody yet.
        let ready = unsafe { call::cuMemSetAccess(at, len, &raw const access, 1) }.and_then(|()| {
            // SAFETY: as above.
            unsafe { self.primary.zero(at, len) }
        });
        if ready.is_err() {
            self.unmap(granule);
        }
        ready
    }

    /// Gives the memory of these granules back. The device must have done what it was asked for
    /// there: it faults otherwise. To wait here for all that it does would wait for copies of
    /// weights, and spoil what another thread is recording.
    ///
    /// # Panics
    /// If one is not within the range, or not committed.
    pub fn decommit(&self, granules: &[usize]) {
        if let Err(error) = self.primary.enter() {
            tracing::warn!(%error, "the GPU is not reached");
        }
        for &granule in granules {
            self.unmap(granule);
        }
    }

    fn unmap(&self, granule: usize) {
        let Some(handle) = self.handles.borrow_mut()[granule].take() else {
            panic!("granule {granule} is not committed");
        };
        // SAFETY: the granule is mapped and in use by nobody; a fault of a device that is lost is
        // the driver's to report, and leaves nothing to be done.
        let unmapped = unsafe { call::cuMemUnmap(self.address(granule), self.granule_bytes) };
        // SAFETY: created in `commit_one` and released once; memory that is still mapped stays
        // until it is not.
        let released = unsafe { call::cuMemRelease(handle) };
        if let Err(error) = unmapped.and(released) {
            tracing::warn!(%error, granule, "the GPU's memory is not given back");
        }
    }

    fn address(&self, granule: usize) -> sys::CUdeviceptr {
        self.base + (granule * self.granule_bytes) as sys::CUdeviceptr
    }
}

impl Drop for VirtualRange {
    fn drop(&mut self) {
        let committed: Vec<_> = {
            let handles = self.handles.borrow();
            let committed = |granule: &usize| handles[*granule].is_some();
            (0..handles.len()).filter(committed).collect()
        };
        self.decommit(&committed);
        let len = self.handles.borrow().len() * self.granule_bytes;
        // SAFETY: reserved in `reserve`; nothing is mapped there any more.
        let freed = unsafe { call::cuMemAddressFree(self.base, len) };
        if let Err(error) = freed {
            tracing::warn!(%error, "the GPU's addresses are not given back");
        }
    }
}

/// Plain memory of a device.
fn properties(device: sys::CUdevice) -> sys::CUmemAllocationProp {
    sys::CUmemAllocationProp {
        type_: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
        location: sys::CUmemLocation {
            type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE,
            __bindgen_anon_1: sys::CUmemLocation_st__bindgen_ty_1 { id: device },
        },
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says nothing without a GPU.
    #[test]
    fn memory_comes_goes_and_comes_again() {
        let granule = 2 << 20;
        let range = match VirtualRange::reserve(0, 4, granule) {
            Ok(Some(range)) => range,
            Ok(None) => return,
            Err(error) if error.call == "cuInit" => return,
            Err(error) => panic!("{error}"),
        };
        range.commit(&[1, 3]).expect("memory");
        range.decommit(&[1]);
        range.commit(&[0, 1]).expect("memory");
        drop(range);
        // More than there is of addresses.
        let error = VirtualRange::reserve(0, 1 << 40, granule).expect_err("too much");
        assert_eq!(error.call, "cuMemAddressReserve");
        assert!(
            !error.why.is_empty() && !error.why.starts_with("error"),
            "{error}"
        );
    }
}
