//! Work that a device does in order: copies and graphs of one ggml backend. Two streams of a
//! device run at the same time and wait for each other by events.
//!
//! ```text
//!  copy stream:     wait(free 0) send -> slot 0, record(full 0)   wait(free 1) send -> slot 1 ...
//!  compute stream:               wait(full 0) graph over slot 0, record(free 0)  wait(full 1) ...
//! ```
//!
//! A device without events or asynchronous copies (the CPU) does each as it is asked for; code for
//! streams is right there too.

use super::device::{Device, DeviceBuffer, Span};
use super::error::ComputeError;
use super::tensor::Tensor;
use crate::io::{Arena, Region};
use llama_cpp_sys_2 as sys;
use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::Arc;

/// See the module's text.
#[derive(Debug)]
pub struct Stream {
    pub(super) backend: NonNull<sys::ggml_backend>,
    device: Device,
    /// What work under way may read or write.
    used: RefCell<Used>,
}

#[derive(Debug, Default)]
struct Used {
    arenas: Vec<Arc<Arena>>,
    buffers: Vec<DeviceBuffer>,
}

impl Stream {
    /// A stream of its own on `device`.
    ///
    /// # Errors
    /// When the device does not start.
    pub fn new(device: Device) -> Result<Self, ComputeError> {
        // SAFETY: the device is registered for good; the backend is freed in `drop`.
        let backend = unsafe { sys::ggml_backend_dev_init(device.raw(), std::ptr::null()) };
        let backend =
            NonNull::new(backend).ok_or(ComputeError::Start("ggml_backend_dev_init fails"))?;
        Ok(Self {
            backend,
            device,
            used: RefCell::default(),
        })
    }

    pub fn device(&self) -> Device {
        self.device
    }

    fn keep(&self, arena: &Arc<Arena>, buffer: Option<&DeviceBuffer>) {
        let mut used = self.used.borrow_mut();
        if !used.arenas.iter().any(|a| Arc::ptr_eq(a, arena)) {
            used.arenas.push(Arc::clone(arena));
        }
        if let Some(buffer) = buffer.filter(|b| !used.buffers.iter().any(|known| known.is(b))) {
            used.buffers.push(buffer.clone());
        }
    }

    /// Copies `from` to the start of `to`. Until the copy has been made (an event recorded after
    /// it, or [`Stream::synchronize`]) `from` must not be written to.
    ///
    /// # Panics
    /// If it does not fit.
    pub fn send(&self, from: &Region, to: &Span) {
        assert!(from.len() <= to.len(), "sent past a span's end");
        self.keep(from.arena(), Some(to.buffer()));
        // SAFETY: both ranges are in memory that `used` keeps until this stream has ended all
        // of its work.
        unsafe {
            sys::ggml_backend_tensor_set_async(
                self.backend.as_ptr(),
                to.flat(),
                from.addr().cast(),
                to.offset(),
                from.len(),
            );
        }
    }

    /// Copies the data of `from`, which a graph of this stream computes, to the start of `into`.
    /// There to be read after an event, or [`Stream::synchronize`].
    ///
    /// # Panics
    /// If it does not fit, or the tensor has no data.
    pub fn fetch(&self, from: &Tensor, into: &Region) {
        assert!(from.bytes() <= into.len(), "fetched past a region's end");
        self.keep(into.arena(), None);
        // SAFETY: the tensor has data on this stream's device; the region is kept by `used`.
        unsafe {
            let tensor = from.raw.as_ptr();
            assert!(!(*tensor).data.is_null(), "a tensor without data is read");
            sys::ggml_backend_tensor_get_async(
                self.backend.as_ptr(),
                tensor,
                into.addr().cast(),
                0,
                from.bytes(),
            );
        }
    }

    /// Marks in `event` all that has been asked for so far.
    pub fn record(&self, event: &Event) {
        match event.0 {
            // SAFETY: the event belongs to this stream's device.
            Some(raw) => unsafe {
                sys::ggml_backend_event_record(raw.as_ptr(), self.backend.as_ptr());
            },
            None => self.synchronize(),
        }
    }

    /// What is asked for from now on begins when what `event` marks has ended.
    pub fn wait(&self, event: &Event) {
        if let Some(raw) = event.0 {
            // SAFETY: the event belongs to this stream's device.
            unsafe { sys::ggml_backend_event_wait(self.backend.as_ptr(), raw.as_ptr()) };
        }
    }

    /// Returns when all that has been asked for has been done.
    pub fn synchronize(&self) {
        // SAFETY: the backend is alive.
        unsafe { sys::ggml_backend_synchronize(self.backend.as_ptr()) };
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.synchronize();
        // SAFETY: created in `new` and freed once, with no work under way.
        unsafe { sys::ggml_backend_free(self.backend.as_ptr()) };
    }
}

/// A mark in a stream's work. Waiting for one that was never recorded returns at once.
#[derive(Debug)]
pub struct Event(Option<NonNull<sys::ggml_backend_event>>);

// SAFETY: ggml's events are handles of the driver's, which any thread may wait for; there is no
// way to record one but through a stream, which stays on its thread.
unsafe impl Send for Event {}

impl Event {
    /// An event of `device`; on one without events, recording it waits for the stream.
    pub fn new(device: Device) -> Self {
        if !device.caps().events {
            return Self(None);
        }
        // SAFETY: the device is registered for good; the event is freed in `drop`.
        Self(NonNull::new(unsafe {
            sys::ggml_backend_event_new(device.raw())
        }))
    }

    /// Returns when what it marks has ended.
    pub fn synchronize(&self) {
        if let Some(raw) = self.0 {
            // SAFETY: the event is alive.
            unsafe { sys::ggml_backend_event_synchronize(raw.as_ptr()) };
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Some(raw) = self.0 {
            // SAFETY: created in `new` and freed once.
            unsafe { sys::ggml_backend_event_free(raw.as_ptr()) };
        }
    }
}
