//! Compute devices that ggml knows, and memory on them.
//!
//! ```text
//!  Device --buffer(len)--> DeviceBuffer  [ span | span | ... ]    tensors are placed in spans
//!         --reserve(..)--> the same over addresses, under which memory comes and goes
//!         --pinned(len)--> Arena         host memory that the device copies from by itself
//! ```
//!
//! The CPU is a device too: what moves weights to a device is the same code there, so that it
//! can be tested where there is no other.

use super::cpu::cpu_device;
use super::element::GgmlType;
use super::error::ComputeError;
use super::tensor::{Context, Tensor};
use crate::cuda::{CudaError, VirtualRange};
use crate::io::{Arena, Region};
use crate::units::Bytes;
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_char};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

/// A device of a backend that is loaded; it is there for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device(NonNull<sys::ggml_backend_device>);

/// What a device can do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceCaps {
    /// Copies and computations run while the caller goes on.
    pub asynchronous: bool,
    /// It has host memory of its own, which it copies from fastest.
    pub pinned: bool,
    /// One stream can wait for another.
    pub events: bool,
}

impl Device {
    /// The CPU.
    pub fn cpu() -> Option<Self> {
        cpu_device().map(Self)
    }

    /// All devices, in ggml's order.
    pub fn all() -> Vec<Self> {
        // SAFETY: queries of the registry of loaded backends.
        let count = unsafe { sys::ggml_backend_dev_count() };
        (0..count)
            // SAFETY: an index below the count.
            .filter_map(|i| NonNull::new(unsafe { sys::ggml_backend_dev_get(i) }).map(Self))
            .collect()
    }

    /// The first GPU with memory of its own.
    pub fn gpu() -> Option<Self> {
        Self::all().into_iter().find(|d| {
            // SAFETY: the device is registered for the life of the process.
            let kind = unsafe { sys::ggml_backend_dev_type(d.raw()) };
            kind == sys::GGML_BACKEND_DEVICE_TYPE_GPU
        })
    }

    pub(super) fn raw(self) -> sys::ggml_backend_dev_t {
        self.0.as_ptr()
    }

    pub fn is_cpu(self) -> bool {
        // SAFETY: the device is registered for the life of the process.
        let kind = unsafe { sys::ggml_backend_dev_type(self.raw()) };
        kind == sys::GGML_BACKEND_DEVICE_TYPE_CPU
    }

    /// Its short name, such as `CUDA0`.
    pub fn name(self) -> String {
        // SAFETY: as above; the text lives as long as the device.
        text(unsafe { sys::ggml_backend_dev_name(self.raw()) })
    }

    /// The hardware's name.
    pub fn description(self) -> String {
        // SAFETY: as above.
        text(unsafe { sys::ggml_backend_dev_description(self.raw()) })
    }

    /// Memory that is free now, and all that there is.
    pub fn memory(self) -> (Bytes, Bytes) {
        let (mut free, mut total) = (0, 0);
        // SAFETY: as above; both places live through the call.
        unsafe { sys::ggml_backend_dev_memory(self.raw(), &raw mut free, &raw mut total) };
        (Bytes(free as u64), Bytes(total as u64))
    }

    pub fn caps(self) -> DeviceCaps {
        // SAFETY: as above; ggml fills in a plain structure, for which zeros are valid.
        let caps = unsafe {
            let mut props = std::mem::zeroed::<sys::ggml_backend_dev_props>();
            sys::ggml_backend_dev_get_props(self.raw(), &raw mut props);
            props.caps
        };
        DeviceCaps {
            asynchronous: caps.async_,
            pinned: caps.host_buffer,
            events: caps.events,
        }
    }

    pub(super) fn buffer_type(self) -> sys::ggml_backend_buffer_type_t {
        // SAFETY: as above.
        unsafe { sys::ggml_backend_dev_buffer_type(self.raw()) }
    }

    fn allocate(self, len: usize) -> Result<RawBuffer, ComputeError> {
        // SAFETY: the buffer type belongs to the device; the buffer is freed once, in `drop`.
        let raw = unsafe { sys::ggml_backend_buft_alloc_buffer(self.buffer_type(), len) };
        NonNull::new(raw)
            .map(RawBuffer)
            .ok_or_else(|| ComputeError::DeviceMemory {
                device: self.name(),
                bytes: Bytes(len as u64),
            })
    }

    /// Memory of `len` bytes on the device, all zero.
    ///
    /// # Errors
    /// When the device has no such memory left.
    ///
    /// # Panics
    /// If ggml does not place a tensor in its own buffer.
    pub fn buffer(self, len: usize) -> Result<DeviceBuffer, ComputeError> {
        let len = len.max(1);
        let buffer = self.allocate(len)?;
        let raw = buffer.0;
        let ctx = Context::new(1, 0);
        let flat = ctx.tensor(GgmlType::I8, &[len]);
        // SAFETY: the buffer is `len` bytes long, as is the tensor, which lies at its start.
        let base = unsafe {
            sys::ggml_backend_buffer_clear(raw.as_ptr(), 0);
            let base = sys::ggml_backend_buffer_get_base(raw.as_ptr());
            let status = sys::ggml_backend_tensor_alloc(raw.as_ptr(), flat.raw.as_ptr(), base);
            assert_eq!(status, sys::GGML_STATUS_SUCCESS, "ggml refuses a placement");
            base
        };
        Ok(DeviceBuffer(Rc::new(Inner {
            flat,
            buffer,
            base: base.cast(),
            len,
            range: None,
        })))
    }

    /// A buffer over addresses alone, and the range that puts memory under granules of it: what
    /// is not committed must not be touched. `None` where the device has no such thing.
    ///
    /// # Errors
    /// The driver's own.
    pub fn reserve(
        self,
        granules: usize,
        granule_bytes: usize,
    ) -> Result<Option<(DeviceBuffer, Rc<VirtualRange>)>, ReserveError> {
        // Only CUDA's devices are called that, and they are numbered as the driver does.
        let name = self.name();
        let Some(ordinal) = name.strip_prefix("CUDA").and_then(|n| n.parse().ok()) else {
            return Ok(None);
        };
        let Some(range) = VirtualRange::reserve(ordinal, granules, granule_bytes)? else {
            return Ok(None);
        };
        let (range, len) = (Rc::new(range), granules * granule_bytes);
        // Tensors must name a buffer of the device's kind, whose length nobody asks for.
        let stub = self.allocate(DeviceBuffer::ALIGNMENT)?;
        let ctx = Context::new(1, 0);
        let flat = ctx.tensor(GgmlType::I8, &[len]);
        // SAFETY: the buffer is kept with the tensor, whose bytes are all of the range.
        unsafe { flat.put_outside(stub.0.as_ptr(), range.base()) };
        let buffer = DeviceBuffer(Rc::new(Inner {
            flat,
            buffer: stub,
            base: range.base(),
            len,
            range: Some(Rc::clone(&range)),
        }));
        Ok(Some((buffer, range)))
    }

    /// Host memory that the device copies from and to without the processor's help. Plain
    /// memory where the device has none of its own.
    ///
    /// # Errors
    /// When there is not as much memory, or not as much that may be locked.
    pub fn pinned(self, len: usize) -> std::io::Result<Arc<Arena>> {
        // SAFETY: the device is registered for the life of the process.
        let kind = unsafe { sys::ggml_backend_dev_host_buffer_type(self.raw()) };
        if kind.is_null() {
            return Arena::new(len);
        }
        let len = len.max(1).next_multiple_of(Arena::ALIGNMENT);
        // Long enough to begin at a whole huge page.
        // SAFETY: the buffer type belongs to the device; the buffer is freed with the arena.
        let raw = unsafe { sys::ggml_backend_buft_alloc_buffer(kind, len + Arena::ALIGNMENT) };
        let buffer = NonNull::new(raw).map(RawBuffer).ok_or_else(|| {
            std::io::Error::new(
                std::io::ErrorKind::OutOfMemory,
                format!("{} gives no memory to copy from", self.name()),
            )
        })?;
        // SAFETY: the buffer is alive.
        let base = unsafe { sys::ggml_backend_buffer_get_base(raw) }.cast::<u8>();
        let skip = base.addr().next_multiple_of(Arena::ALIGNMENT) - base.addr();
        let base = NonNull::new(base.wrapping_add(skip))
            .ok_or_else(|| std::io::Error::other("a buffer without an address"))?;
        // SAFETY: host memory of that length that the arena now owns through `buffer`.
        Ok(unsafe { Arena::owning(base, len, Box::new(buffer)) })
    }
}

/// Addresses of a device that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    #[error(transparent)]
    Driver(#[from] CudaError),
    #[error(transparent)]
    Buffer(#[from] ComputeError),
}

fn text(raw: *const c_char) -> String {
    if raw.is_null() {
        return String::new();
    }
    // SAFETY: ggml's texts end with a zero byte and live as long as the process.
    unsafe { CStr::from_ptr(raw) }
        .to_string_lossy()
        .into_owned()
}

/// A buffer that is freed once.
#[derive(Debug)]
struct RawBuffer(NonNull<sys::ggml_backend_buffer>);

// SAFETY: a buffer is a handle to memory; ggml's backends free one on any thread.
unsafe impl Send for RawBuffer {}
// SAFETY: nothing is done through a shared reference.
unsafe impl Sync for RawBuffer {}

impl Drop for RawBuffer {
    fn drop(&mut self) {
        // SAFETY: owned by this value alone.
        unsafe { sys::ggml_backend_buffer_free(self.0.as_ptr()) };
    }
}

/// Memory on a device. Cheap to clone; freed with its last clone, span or tensor.
#[derive(Clone, Debug)]
pub struct DeviceBuffer(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    /// All of it as bytes, to copy to and from.
    flat: Tensor,
    buffer: RawBuffer,
    base: *mut u8,
    len: usize,
    /// Where it lies, if not in `buffer`.
    range: Option<Rc<VirtualRange>>,
}

impl DeviceBuffer {
    /// Spans begin at multiples of this many bytes.
    pub const ALIGNMENT: usize = 256;

    pub fn len(&self) -> usize {
        self.0.len
    }

    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The bytes `[offset, offset + len)`.
    ///
    /// # Panics
    /// If they do not lie within.
    pub fn span(&self, offset: usize, len: usize) -> Span {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.0.len),
            "span {offset}+{len} outside a buffer of {}",
            self.0.len
        );
        Span {
            buffer: self.clone(),
            offset,
            len,
        }
    }

    pub(super) fn raw(&self) -> sys::ggml_backend_buffer_t {
        self.0.buffer.0.as_ptr()
    }

    /// Whether it lies elsewhere than the buffer that ggml knows.
    pub(super) fn is_reserved(&self) -> bool {
        self.0.range.is_some()
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// A part of a [`DeviceBuffer`]; keeps it.
#[derive(Clone, Debug)]
pub struct Span {
    buffer: DeviceBuffer,
    offset: usize,
    len: usize,
}

impl Span {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn buffer(&self) -> &DeviceBuffer {
        &self.buffer
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// The part `[offset, offset + len)` of this span.
    ///
    /// # Panics
    /// If it does not lie within.
    #[must_use]
    pub fn part(&self, offset: usize, len: usize) -> Self {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "part {offset}+{len} outside a span of {}",
            self.len
        );
        self.buffer.span(self.offset + offset, len)
    }

    pub(super) fn addr(&self) -> *mut u8 {
        self.buffer.0.base.wrapping_add(self.offset)
    }

    pub(super) fn flat(&self) -> *mut sys::ggml_tensor {
        self.buffer.0.flat.raw.as_ptr()
    }

    /// Copies `bytes` to the span's start and returns when they are there. Not ordered with
    /// what streams have under way.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.len, "write past a span's end");
        // SAFETY: the flat tensor covers the whole buffer, and the bytes lie within the span.
        unsafe {
            sys::ggml_backend_tensor_set(
                self.flat(),
                bytes.as_ptr().cast(),
                self.offset,
                bytes.len(),
            );
        }
    }

    /// Copies `from` to the span's start; ordered as [`Span::write`] is.
    ///
    /// # Panics
    /// If it does not fit.
    pub fn fill(&self, from: &Region) {
        assert!(from.len() <= self.len, "write past a span's end");
        // SAFETY: the flat tensor covers the whole buffer; the region is mapped, and lies
        // within no device buffer.
        unsafe {
            sys::ggml_backend_tensor_set(self.flat(), from.addr().cast(), self.offset, from.len());
        }
    }

    /// Copies from the span's start into `bytes`; ordered as [`Span::write`] is.
    ///
    /// # Panics
    /// If the span is shorter.
    pub fn read(&self, bytes: &mut [u8]) {
        assert!(bytes.len() <= self.len, "read past a span's end");
        // SAFETY: as in `write`.
        unsafe {
            sys::ggml_backend_tensor_get(
                self.flat(),
                bytes.as_mut_ptr().cast(),
                self.offset,
                bytes.len(),
            );
        }
    }
}

/// Most bytes after a tensor's data that a device's kernels may read: those of fewer than 512
/// elements of a quantised type.
pub const MOST_PADDING: usize = 768;
