//! Contexts and tensors.

use super::device::{Device, DeviceBuffer, Span};
use super::element::GgmlType;
use super::place::Place;
use super::types::raw;
use crate::io::{Arena, Region};
use llama_cpp_sys_2 as sys;
use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

/// Where ggml keeps tensor descriptions (never their data). Cheap to clone; tensors hold it.
#[derive(Clone, Debug)]
pub struct Context(pub(super) Rc<ContextInner>);

#[derive(Debug)]
pub(super) struct ContextInner {
    pub(super) raw: NonNull<sys::ggml_context>,
    /// Arenas that tensors of this context lie in, each with ggml's buffer over it.
    buffers: RefCell<Vec<ArenaBuffer>>,
    /// Device memory that tensors of this context lie in.
    on_device: RefCell<Vec<DeviceBuffer>>,
    /// Contexts whose tensors are sources of tensors here.
    sources: RefCell<Vec<Rc<ContextInner>>>,
}

#[derive(Debug)]
struct ArenaBuffer {
    arena: Arc<Arena>,
    raw: sys::ggml_backend_buffer_t,
}

impl Drop for ContextInner {
    fn drop(&mut self) {
        // SAFETY: nobody else holds this context (its tensors hold a count of it), so the
        // buffers and the context are freed once, and the arenas outlive both.
        unsafe {
            for buffer in self.buffers.borrow().iter() {
                sys::ggml_backend_buffer_free(buffer.raw);
            }
            sys::ggml_free(self.raw.as_ptr());
        }
    }
}

/// A tensor of a [`Context`].
#[derive(Clone, Debug)]
pub struct Tensor {
    pub(super) raw: NonNull<sys::ggml_tensor>,
    pub(super) ctx: Rc<ContextInner>,
}

impl Context {
    /// A context for at most `tensors` tensors and one graph of `nodes` nodes.
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn new(tensors: usize, nodes: usize) -> Self {
        // SAFETY: pure size queries.
        let bytes = unsafe {
            sys::ggml_tensor_overhead() * tensors
                + if nodes == 0 {
                    0
                } else {
                    sys::ggml_graph_overhead_custom(nodes, false)
                }
        };
        // SAFETY: ggml allocates the memory itself (`mem_buffer` null) and no tensor data.
        let raw = unsafe {
            sys::ggml_init(sys::ggml_init_params {
                mem_size: bytes,
                mem_buffer: std::ptr::null_mut(),
                no_alloc: true,
            })
        };
        let Some(raw) = NonNull::new(raw) else {
            panic!("out of memory for {bytes} bytes of tensor descriptions");
        };
        Self(Rc::new(ContextInner {
            raw,
            buffers: RefCell::default(),
            on_device: RefCell::default(),
            sources: RefCell::default(),
        }))
    }

    /// A tensor without data, of shape `ne` (fastest dimension first).
    ///
    /// # Panics
    /// If `ne` has not one to four dimensions.
    pub fn tensor(&self, ty: GgmlType, ne: &[usize]) -> Tensor {
        let ne: Vec<i64> = ne
            .iter()
            .map(|&n| i64::try_from(n).unwrap_or(i64::MAX))
            .collect();
        let dims = i32::try_from(ne.len()).unwrap_or(i32::MAX);
        assert!(
            (1..=4).contains(&dims),
            "a tensor has one to four dimensions"
        );
        // SAFETY: `ne` has `dims` entries; the context is alive.
        let raw = unsafe { sys::ggml_new_tensor(self.0.raw.as_ptr(), raw(ty), dims, ne.as_ptr()) };
        self.wrap(raw)
    }

    pub(super) fn wrap(&self, raw: *mut sys::ggml_tensor) -> Tensor {
        let Some(raw) = NonNull::new(raw) else {
            panic!("a ggml context has no space for another tensor");
        };
        Tensor {
            raw,
            ctx: Rc::clone(&self.0),
        }
    }

    /// Keeps what `tensor` lies in alive for as long as this context.
    pub(super) fn uses(&self, tensor: &Tensor) -> *mut sys::ggml_tensor {
        if !Rc::ptr_eq(&self.0, &tensor.ctx) {
            let mut sources = self.0.sources.borrow_mut();
            if !sources.iter().any(|s| Rc::ptr_eq(s, &tensor.ctx)) {
                sources.push(Rc::clone(&tensor.ctx));
            }
        }
        tensor.raw.as_ptr()
    }
}

impl ContextInner {
    fn buffer_over(&self, arena: &Arc<Arena>) -> sys::ggml_backend_buffer_t {
        let mut buffers = self.buffers.borrow_mut();
        if let Some(known) = buffers.iter().find(|b| Arc::ptr_eq(&b.arena, arena)) {
            return known.raw;
        }
        let whole = arena.region(0, arena.len());
        // SAFETY: the arena is mapped for `len` bytes and is kept by `buffers` for as long as
        // the buffer exists. The buffer does not own the memory.
        let raw =
            unsafe { sys::ggml_backend_cpu_buffer_from_ptr(whole.addr().cast(), whole.len()) };
        assert!(!raw.is_null(), "ggml refuses a buffer over an arena");
        buffers.push(ArenaBuffer {
            arena: Arc::clone(arena),
            raw,
        });
        raw
    }
}

impl Tensor {
    /// Bytes of its data.
    pub fn bytes(&self) -> usize {
        // SAFETY: the tensor is alive as long as its context, which `self` holds.
        unsafe { sys::ggml_nbytes(self.raw.as_ptr()) }
    }

    /// Elements along each dimension, fastest first.
    pub fn shape(&self) -> [i64; 4] {
        // SAFETY: as in `bytes`.
        unsafe { self.raw.as_ref().ne }
    }

    /// Puts its data at the start of `region`; may be called again with another region.
    ///
    /// Any address will do: ggml's kernels for the CPU load weights, whose blocks are of odd
    /// sizes, without asking for alignment.
    ///
    /// # Panics
    /// If the region is too short.
    pub fn place(&self, region: &Region) {
        assert!(
            region.len() >= self.bytes(),
            "a tensor of {} bytes in a region of {}",
            self.bytes(),
            region.len()
        );
        let buffer = self.ctx.buffer_over(region.arena());
        // SAFETY: the address lies in `buffer`, which the context keeps.
        unsafe { self.put_at(buffer, region.addr()) };
    }

    /// Puts its data at the start of `span`; may be called again with another span.
    ///
    /// # Panics
    /// If the span is too short, or not aligned as the device asks for.
    pub fn place_on(&self, span: &Span) {
        assert!(
            span.len() >= self.bytes(),
            "a tensor of {} bytes in a span of {}",
            self.bytes(),
            span.len()
        );
        let buffer = span.buffer();
        // SAFETY: the buffer is alive.
        let alignment = unsafe { sys::ggml_backend_buffer_get_alignment(buffer.raw()) };
        assert!(
            span.addr().addr().is_multiple_of(alignment),
            "a tensor's data is aligned to {alignment} bytes on this device"
        );
        let mut kept = self.ctx.on_device.borrow_mut();
        if !kept.iter().any(|known| known.is(buffer)) {
            kept.push(buffer.clone());
        }
        // SAFETY: the address lies in `buffer`, which the context keeps from now on.
        unsafe {
            if buffer.is_reserved() {
                self.put_outside(buffer.raw(), span.addr());
            } else {
                self.put_at(buffer.raw(), span.addr());
            }
        }
    }

    /// Puts its data at the start of `place`; see [`Tensor::place`] and [`Tensor::place_on`].
    ///
    /// # Panics
    /// As [`Tensor::place`] and [`Tensor::place_on`].
    pub fn put(&self, place: &Place) {
        match place {
            Place::Host(region) => self.place(region),
            Place::Device(span) => self.place_on(span),
        }
    }

    /// # Safety
    /// The tensor's bytes from `addr` lie in `buffer`, which the tensor's context keeps.
    unsafe fn put_at(&self, buffer: sys::ggml_backend_buffer_t, addr: *mut u8) {
        // SAFETY: the tensor is alive; the rest is the caller's promise.
        unsafe {
            let tensor = self.raw.as_ptr();
            if (*tensor).buffer == buffer {
                (*tensor).data = addr.cast();
            } else {
                (*tensor).data = std::ptr::null_mut();
                (*tensor).buffer = std::ptr::null_mut();
                let status = sys::ggml_backend_tensor_alloc(buffer, tensor, addr.cast());
                assert_eq!(status, sys::GGML_STATUS_SUCCESS, "ggml refuses a placement");
            }
        }
    }

    /// For memory of the buffer's device that is not the buffer's own. ggml asks a tensor's buffer
    /// only for its kind, and takes the address as it is; placed by ggml itself, it would insist
    /// on an address within.
    ///
    /// # Safety
    /// The tensor's bytes from `addr` are addresses of the device of `buffer`; the tensor's
    /// context keeps both.
    pub(super) unsafe fn put_outside(&self, buffer: sys::ggml_backend_buffer_t, addr: *mut u8) {
        // SAFETY: the tensor is alive; the rest is the caller's promise.
        unsafe {
            let tensor = self.raw.as_ptr();
            (*tensor).buffer = buffer;
            (*tensor).data = addr.cast();
        }
    }

    /// Bytes after its data that kernels of `device` may read, and that must be zero; at most
    /// [`super::MOST_PADDING`].
    pub fn padding(&self, device: Device) -> usize {
        // SAFETY: the tensor is alive, and the buffer type belongs to a device that is
        // registered for good.
        let taken = unsafe {
            sys::ggml_backend_buft_get_alloc_size(device.buffer_type(), self.raw.as_ptr())
        };
        taken - self.bytes()
    }

    /// Copies its data (F32, contiguous) out.
    ///
    /// # Panics
    /// If `out` has another length than the tensor, or it has no data.
    pub fn read_f32(&self, out: &mut [f32]) {
        assert_eq!(self.bytes(), out.len() * 4, "length of a tensor read");
        // SAFETY: the tensor is alive; reading fails loudly inside ggml when it has no
        // buffer, and `out` has as many bytes as asked for.
        unsafe {
            let tensor = self.raw.as_ptr();
            assert!(!(*tensor).data.is_null(), "a tensor without data is read");
            sys::ggml_backend_tensor_get(tensor, out.as_mut_ptr().cast(), 0, out.len() * 4);
        }
    }
}
