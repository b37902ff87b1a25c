//! llama.cpp's graph, stopped where weights have to be placed.
//!
//! llama.cpp asks before each step (node) of a graph whether somebody wants to see it, and goes on
//! to ask about further steps until somebody does; then it computes all of them and tells. A
//! [`Hook`] uses that:
//!
//! ```text
//!  before(step 1) false   before(step 2) false   before(step 3) true
//!      compute steps 1 to 3
//!  after()                before(step 4) ...
//! ```
//!
//! A weight that is used in a step must be in place when `before` returns, and stay until an
//! `after` that comes later.

use super::bare::{BareModel, WeightIdx};
use llama_cpp_sys_2 as sys;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Watches a graph being computed; see the module's text.
pub trait Hook {
    /// Sees a step that will be computed next. True asks for [`Hook::after`] when it, and so
    /// all before it, have been computed.
    fn before(&mut self, step: &Step<'_>) -> bool;

    /// Steps have been computed. False ends the computing here: the rest of the graph, and
    /// with it the result, is left undefined.
    fn after(&mut self) -> bool;
}

/// One operation of a graph.
pub struct Step<'a> {
    node: NonNull<sys::ggml_tensor>,
    model: &'a BareModel,
}

/// A weight that a step reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    pub weight: WeightIdx,
    /// The rows that are read, where a step reads single rows that are known before it.
    pub rows: Option<Vec<usize>>,
}

impl Step<'_> {
    /// llama.cpp's name for what the step computes.
    pub fn name(&self) -> String {
        // SAFETY: the node is alive, and a tensor's name ends with a zero byte.
        let name = unsafe { CStr::from_ptr(sys::ggml_get_name(self.node.as_ptr())) };
        name.to_string_lossy().into_owned()
    }

    /// The weights that it reads, whole or by views.
    pub fn uses(&self) -> Vec<Use> {
        self.sources()
            .filter_map(|source| {
                let weight = self.model.weight_of(source)?;
                let rows = self.rows(source);
                Some(Use { weight, rows })
            })
            .collect()
    }

    fn sources(&self) -> impl Iterator<Item = NonNull<sys::ggml_tensor>> {
        // SAFETY: the node is alive during the callback.
        let sources = unsafe { self.node.as_ref() }.src;
        sources.into_iter().filter_map(NonNull::new)
    }

    /// The row numbers of a lookup in `table`, if they are an input of the graph: inputs are
    /// there before the first step.
    fn rows(&self, table: NonNull<sys::ggml_tensor>) -> Option<Vec<usize>> {
        // SAFETY: the node and its sources are alive during the callback.
        let (node, numbers) = unsafe {
            let node = self.node.as_ref();
            (node, NonNull::new(node.src[1])?.as_ref())
        };
        if node.op != sys::GGML_OP_GET_ROWS || node.src[0] != table.as_ptr() {
            return None;
        }
        // SAFETY: as above.
        let given = match NonNull::new(numbers.view_src) {
            Some(whole) => unsafe { whole.as_ref() }.flags,
            None => numbers.flags,
        };
        // SAFETY: as above.
        let in_a_row = unsafe { sys::ggml_is_contiguous(numbers) };
        let is_input = given & i32::try_from(sys::GGML_TENSOR_FLAG_INPUT).unwrap_or(0) != 0;
        if !is_input || !in_a_row || numbers.type_ != sys::GGML_TYPE_I32 || numbers.data.is_null() {
            return None;
        }
        let n = usize::try_from(numbers.ne.iter().product::<i64>()).ok()?;
        // SAFETY: a contiguous tensor of `n` 32-bit integers in the host's memory, which
        // llama.cpp has set and does not write during the callback.
        let numbers = unsafe { std::slice::from_raw_parts(numbers.data.cast::<i32>(), n) };
        numbers.iter().map(|&i| usize::try_from(i).ok()).collect()
    }

    /// Makes views of weights follow where these have been placed.
    fn move_views(&self) {
        for mut source in self.sources() {
            if self.model.weight_of(source).is_none() {
                continue;
            }
            // SAFETY: the graph's tensors are alive, and nothing is computed meanwhile.
            unsafe {
                let view = source.as_mut();
                if let Some(whole) = NonNull::new(view.view_src) {
                    view.data = whole.as_ref().data.byte_add(view.view_offs);
                }
            }
        }
    }
}

/// A hook and the model that it places; handed to a context by address.
pub(super) struct Hooked {
    pub model: Rc<BareModel>,
    pub hook: Rc<RefCell<dyn Hook>>,
    /// Time that the hook took, during which nothing was computed.
    pub taken: Cell<Duration>,
}

impl Hooked {
    /// Puts the hook into a context's parameters.
    ///
    /// # Safety
    /// `self` must stay where it is for as long as a context that is made from `params` lives.
    pub(super) unsafe fn install(&self, params: &mut sys::llama_context_params) {
        params.cb_eval = Some(on_step);
        params.cb_eval_user_data = (&raw const *self).cast_mut().cast();
    }
}

unsafe extern "C" fn on_step(node: *mut sys::ggml_tensor, ask: bool, hooked: *mut c_void) -> bool {
    // SAFETY: `install` put the address of a `Hooked` there, which outlives the context; it is
    // only ever shared.
    let hooked = unsafe { &*hooked.cast::<Hooked>() };
    let Some(node) = NonNull::new(node) else {
        return false;
    };
    let mut hook = hooked.hook.borrow_mut();
    if !ask {
        return hook.after();
    }
    // Steps for other kinds of input are in the graph and passed over: what they would read is
    // not even set.
    // SAFETY: llama.cpp passes a node of its graph.
    let flags = unsafe { node.as_ref() }.flags;
    if flags & i32::try_from(sys::GGML_TENSOR_FLAG_COMPUTE).unwrap_or(0) == 0 {
        return false;
    }
    let step = Step {
        node,
        model: &hooked.model,
    };
    let began = Instant::now();
    let wanted = hook.before(&step);
    step.move_views();
    hooked.taken.set(hooked.taken.get() + began.elapsed());
    wanted
}
