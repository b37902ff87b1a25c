//! A device of the driver, and what goes wrong there.

use cudarc::driver::{result, sys};
use std::ffi::c_int;
use std::sync::OnceLock;

/// A call of the driver that failed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{call}: {why}")]
pub struct CudaError {
    /// The driver's own name of it.
    pub call: &'static str,
    /// The driver's own words.
    pub why: String,
}

/// The result of `call`.
pub(super) fn check(call: &'static str, result: sys::CUresult) -> Result<(), CudaError> {
    named(call, result.result())
}

fn named<T>(call: &'static str, result: Result<T, result::DriverError>) -> Result<T, CudaError> {
    result.map_err(|error| CudaError {
        call,
        why: error.error_string().map_or_else(
            |_| format!("error {}", error.0 as u32),
            |text| text.to_string_lossy().into_owned(),
        ),
    })
}

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
        named("cuInit", result::init())?;
        let device = named("cuDeviceGet", result::device::get(ordinal))?;
        let ability =
            sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED;
        // SAFETY: the driver gave the device.
        let able = unsafe { result::device::get_attribute(device, ability) };
        if named("cuDeviceGetAttribute", able)? == 0 {
            return Ok(None);
        }
        // SAFETY: as above; released once, in `drop`.
        let context = unsafe { result::primary_ctx::retain(device) };
        let context = named("cuDevicePrimaryCtxRetain", context)?;
        let mut primary = Self {
            device,
            context,
            stream: result::stream::null(),
        };
        primary.enter()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        primary.stream = named("cuStreamCreate", stream)?;
        Ok(Some(primary))
    }

    /// Makes it the calling thread's own. It is already where the runtime last used this device
    /// on the thread; the runtime sets another before it uses another.
    pub(super) fn enter(&self) -> Result<(), CudaError> {
        // SAFETY: the context is held.
        let entered = unsafe { result::ctx::set_current(self.context) };
        named("cuCtxSetCurrent", entered)
    }

    /// Writes zeros from `at` on; they are there when [`Primary::settle`] returns.
    ///
    /// # Safety
    /// `len` bytes from `at` are mapped on this device, and nobody else uses them.
    pub(super) unsafe fn zero(&self, at: sys::CUdeviceptr, len: usize) -> Result<(), CudaError> {
        // SAFETY: the caller's promise; the stream lives as long as this value.
        let zeroed = unsafe { result::memset_d8_async(at, 0, len, self.stream) };
        named("cuMemsetD8Async", zeroed)
    }

    /// Waits for what [`Primary::zero`] has begun, and for nothing else: what other streams copy,
    /// compute or record goes on.
    pub(super) fn settle(&self) -> Result<(), CudaError> {
        // SAFETY: the stream lives as long as this value.
        let settled = unsafe { result::stream::synchronize(self.stream) };
        named("cuStreamSynchronize", settled)
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
                let _ = result::stream::destroy(self.stream);
            }
            let _ = result::primary_ctx::release(self.device);
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
