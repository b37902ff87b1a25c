//! The driver's functions, under its own names.
//!
//! cudarc's return its enum of results, for which a result that it does not list, as a newer
//! driver's may be, is undefined behaviour. Here a result is the number that it is.

use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdeviceptr, CUstream};
use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_ulonglong};

/// A call of the driver that failed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{call}: {why}")]
pub struct CudaError {
    /// The driver's own name of it.
    pub call: &'static str,
    /// The driver's own words.
    pub why: String,
}

macro_rules! functions {
    ($(fn $name:ident($($arg:ident: $of:ty),*);)*) => {$(
        /// # Safety
        /// The driver is present, and what the driver's manual asks for.
        #[allow(non_snake_case, reason = "the driver's own name")]
        pub(super) unsafe fn $name($($arg: $of),*) -> Result<(), CudaError> {
            type Function = unsafe extern "C" fn($($of),*) -> u32;
            let call = stringify!($name);
            // SAFETY: the type is the driver's, but for its enum; the rest is the caller's promise.
            let result = unsafe {
                match sys::culib().get::<Function>(call.as_bytes()) {
                    Ok(function) => function($($arg),*),
                    Err(error) => return Err(CudaError { call, why: error.to_string() }),
                }
            };
            check(call, result)
        }
    )*};
}

functions! {
    fn cuInit(flags: c_uint);
    fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int);
    fn cuDeviceGetAttribute(value: *mut c_int, which: sys::CUdevice_attribute, device: CUdevice);
    fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, device: CUdevice);
    fn cuDevicePrimaryCtxRelease_v2(device: CUdevice);
    fn cuCtxSetCurrent(context: CUcontext);
    fn cuStreamCreate(stream: *mut CUstream, flags: sys::CUstream_flags);
    fn cuStreamSynchronize(stream: CUstream);
    fn cuStreamDestroy_v2(stream: CUstream);
    fn cuMemsetD8Async(at: CUdeviceptr, value: c_uchar, len: usize, stream: CUstream);
    fn cuMemGetAllocationGranularity(
        granularity: *mut usize,
        properties: *const sys::CUmemAllocationProp,
        which: sys::CUmemAllocationGranularity_flags
    );
    fn cuMemAddressReserve(
        at: *mut CUdeviceptr,
        len: usize,
        alignment: usize,
        wanted: CUdeviceptr,
        flags: c_ulonglong
    );
    fn cuMemAddressFree(at: CUdeviceptr, len: usize);
    fn cuMemCreate(
        handle: *mut sys::CUmemGenericAllocationHandle,
        len: usize,
        properties: *const sys::CUmemAllocationProp,
        flags: c_ulonglong
    );
    fn cuMemRelease(handle: sys::CUmemGenericAllocationHandle);
    fn cuMemMap(
        at: CUdeviceptr,
        len: usize,
        offset: usize,
        handle: sys::CUmemGenericAllocationHandle,
        flags: c_ulonglong
    );
    fn cuMemUnmap(at: CUdeviceptr, len: usize);
    fn cuMemSetAccess(
        at: CUdeviceptr,
        len: usize,
        access: *const sys::CUmemAccessDesc,
        count: usize
    );
}

fn check(call: &'static str, result: u32) -> Result<(), CudaError> {
    if result == 0 {
        return Ok(());
    }
    let why = words(result).unwrap_or_else(|| format!("error {result}"));
    Err(CudaError { call, why })
}

/// The driver's own words for a result. Asked for only after a call, so that it is present.
fn words(result: u32) -> Option<String> {
    type Function = unsafe extern "C" fn(u32, *mut *const c_char) -> u32;
    let mut text = std::ptr::null();
    // SAFETY: the type is the driver's; it takes any number, and its texts are there for good.
    unsafe {
        let function = sys::culib().get::<Function>(b"cuGetErrorString").ok()?;
        let known = function(result, &raw mut text) == 0 && !text.is_null();
        known.then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
