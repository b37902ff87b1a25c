//! A device of the driver.

use super::call::{self, CudaError};
use cudarc::driver::sys;
use std::ffi::c_int;
use std::sync::OnceLock;

/// A device's primary context: the one that the CUDA runtime, and so ggml, works in. Held until
/// dropped.
#[derive(Debug)]
pub(super) struct Primary {
    device: sys::CUdevice,
    context: sys::CUcontext,
    /// Of its own, so that zeroing waits for nobody.
    stream: sys::CUstream,
}

impl Primary {
    /// That of the device with this number among those that the process sees. `None` where there
    /// is no driver, or the device maps no memory by hand.
    pub(super) fn of(ordinal: c_int) -> Result<Option<Self>, CudaError> {
        if !is_present() {
            return Ok(None);
        }
        let ability =
            sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED;
        let (mut device, mut able) = (0, 0);
        let mut context = std::ptr::null_mut();
        // SAFETY: the driver is present; the places live through the calls. The context is
        // released once, in `drop`.
        unsafe {
            call::cuInit(0)?;
            call::cuDeviceGet(&raw mut device, ordinal)?;
            call::cuDeviceGetAttribute(&raw mut able, ability, device)?;
            if able == 0 {
                return Ok(None);
            }
            call::cuDevicePrimaryCtxRetain(&raw mut context, device)?;
        }
        let mut primary = Self {
            device,
            context,
            stream: std::ptr::null_mut(),
        };
        primary.enter()?;
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING;
        // SAFETY: the place lives through the call; the stream is destroyed once, in `drop`.
        unsafe { call::cuStreamCreate(&raw mut primary.stream, flags)? };
        Ok(Some(primary))
    }

    /// Makes it the calling thread's own. It is already where the runtime last used this device
    /// on the thread; the runtime sets another before it uses another.
    pub(super) fn enter(&self) -> Result<(), CudaError> {
        // SAFETY: the context is held.
        unsafe { call::cuCtxSetCurrent(self.context) }
    }

    /// Writes zeros from `at` on; they are there when [`Primary::settle`] returns.
    ///
    /// # Safety
    /// `len` bytes from `at` are mapped on this device, and nobody else uses them.
    pub(super) unsafe fn zero(&self, at: sys::CUdeviceptr, len: usize) -> Result<(), CudaError> {
        // SAFETY: the caller's promise; the stream lives as long as this value.
        unsafe { call::cuMemsetD8Async(at, 0, len, self.stream) }
    }

    /// Waits for what [`Primary::zero`] has begun, and for nothing else: what other streams copy,
    /// compute or record goes on.
    pub(super) fn settle(&self) -> Result<(), CudaError> {
        // SAFETY: the stream lives as long as this value.
        unsafe { call::cuStreamSynchronize(self.stream) }
    }

    pub(super) fn device(&self) -> sys::CUdevice {
        self.device
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        // SAFETY: created and retained in `of`, and given back once; the default stream is no
        // stream of ours. What fails leaves it held.
        unsafe {
            if !self.stream.is_null() && self.enter().is_ok() {
                let _ = call::cuStreamDestroy_v2(self.stream);
            }
            let _ = call::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}

/// Whether the driver's library can be loaded. A call without it would panic.
fn is_present() -> bool {
    static PRESENT: OnceLock<bool> = OnceLock::new();
    // SAFETY: runs what the system's own library runs when it is loaded.
    *PRESENT.get_or_init(|| unsafe { sys::is_culib_present() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_driver_there_is_no_device_and_no_panic() {
        if !is_present() {
            assert!(Primary::of(0).expect("no call is made").is_none());
        }
    }
}
