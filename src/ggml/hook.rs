//! llama.cpp's graph, stopped where weights have to be placed.
//!
//! llama.cpp asks before each step (node) of a graph whether somebody wants to see it, and goes on
//! to ask about further steps until somebody does; then it computes all of them and tells. A
//! [`Hook`] uses that:
//!
//! ```text
//!  before(step 1) GoOn    before(step 2) GoOn    before(step 3) Stop
//!      compute steps 1 to 3
//!  after()                before(step 4) ...
//! ```
//!
//! A weight that is used in a step must be in place when `before` returns, and stay until an
//! `after` that comes later.
//!
//! A step can be kept from being computed with the others ([`Then::StopPlain`], [`Then::StopTiled`],
//! [`Then::Skip`]): its mark that it is to be computed is taken away meanwhile, and it is computed
//! here, or not at all.

use super::apart::StepsApart;
use super::bare::BareModel;
use super::crew::Crew;
use super::error::ComputeError;
pub use super::step::{Reads, Step, Use};
use llama_cpp_sys_2 as sys;
use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Watches a graph being computed; see the module's text.
pub trait Hook {
    /// Sees a step that comes next, and says what is to become of it.
    fn before(&mut self, step: &Step<'_>) -> Then;

    /// All steps up to this one have been computed. False ends the computing here: the rest of the
    /// graph, and with it the result, is left undefined.
    fn after(&mut self, step: &Step<'_>) -> bool;
}

/// What is to become of a step; of several answers the last one in this order holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// It is computed, together with those after it.
    GoOn,
    /// It is computed with all before it; then [`Hook::after`].
    Stop,
    /// What comes before it is computed, then it by itself with [`Kernels::Plain`]; then
    /// [`Hook::after`].
    ///
    /// [`Kernels::Plain`]: super::Kernels::Plain
    StopPlain,
    /// The same for a product with experts, which is computed with tiled kernels alone, however few
    /// rows an expert has.
    StopTiled,
    /// What comes before it is computed, and it is not; then [`Hook::after`].
    Skip,
}

/// A hook and the model that it places; handed to a context by address.
pub(super) struct Hooked {
    model: Rc<BareModel>,
    hook: Rc<RefCell<dyn Hook>>,
    /// Time that the hook took, during which nothing was computed.
    taken: Cell<Duration>,
    /// The step that is not computed with the others.
    apart: Cell<Option<Apart>>,
    /// What computes such steps.
    steps: OnceCell<StepsApart>,
    /// Why one could not be.
    failure: Cell<Option<ComputeError>>,
}

/// A step that is not marked to be computed, for as long as the others are.
#[derive(Clone, Copy)]
struct Apart {
    node: NonNull<sys::ggml_tensor>,
    by: Option<By>,
}

/// The kernels that compute such a step, where any do.
#[derive(Clone, Copy)]
enum By {
    Plain,
    Tiled,
}

impl Apart {
    fn new(node: NonNull<sys::ggml_tensor>, then: Then) -> Option<Self> {
        let by = match then {
            Then::GoOn | Then::Stop => return None,
            Then::StopPlain => Some(By::Plain),
            Then::StopTiled => Some(By::Tiled),
            Then::Skip => None,
        };
        // SAFETY: a node of llama.cpp's graph, of which nothing is computed now.
        unsafe { (*node.as_ptr()).flags &= !compute_flag() };
        Some(Self { node, by })
    }

    /// Marks it again.
    fn restore(self) {
        // SAFETY: as above; llama.cpp keeps the graph until its next decode.
        unsafe { (*self.node.as_ptr()).flags |= compute_flag() };
    }
}

/// The mark of a step that is to be computed.
pub(super) fn compute_flag() -> i32 {
    i32::try_from(sys::GGML_TENSOR_FLAG_COMPUTE).unwrap_or(0)
}

impl Hooked {
    pub(super) fn new(model: Rc<BareModel>, hook: Rc<RefCell<dyn Hook>>) -> Self {
        Self {
            model,
            hook,
            taken: Cell::default(),
            apart: Cell::default(),
            steps: OnceCell::new(),
            failure: Cell::default(),
        }
    }

    /// Has steps that are to be computed by themselves computed by `crew`, which outlives all
    /// decodes.
    ///
    /// # Errors
    /// Where there is no backend to be had.
    pub(super) fn compute_by(&self, crew: &Crew) -> Result<(), ComputeError> {
        let _ = self.steps.set(StepsApart::start(crew)?);
        Ok(())
    }

    pub(super) fn taken(&self) -> Duration {
        self.taken.get()
    }

    /// To be called before each decode, with the threads that compute it.
    pub(super) fn begin(&self, threads: i32) {
        if let Some(steps) = self.steps.get() {
            steps.set_threads(threads);
        }
    }

    /// To be called after each decode.
    ///
    /// # Errors
    /// A step that could not be computed: the decode's result is of no use.
    pub(super) fn end(&self) -> Result<(), ComputeError> {
        // A decode that was ended before its stop has left the step so.
        if let Some(apart) = self.apart.take() {
            apart.restore();
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Computes what was kept apart, now that all before it has been computed.
    fn compute_apart(&self) -> Result<(), ComputeError> {
        let Some(apart) = self.apart.take() else {
            return Ok(());
        };
        apart.restore();
        let Some((steps, by)) = self.steps.get().zip(apart.by) else {
            return Ok(());
        };
        // SAFETY: all that the node needs has been computed, and llama.cpp waits.
        unsafe {
            match by {
                By::Plain => steps.compute_plain(apart.node),
                By::Tiled => steps.compute_tiled(apart.node),
            }
        }
    }

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
    let step = Step {
        node,
        model: &hooked.model,
    };
    if !ask {
        if let Err(error) = hooked.compute_apart() {
            hooked.failure.set(Some(error));
            return false;
        }
        return hook.after(&step);
    }
    // Steps for other kinds of input are in the graph and passed over: what they would read is
    // not even set.
    // SAFETY: llama.cpp passes a node of its graph.
    let flags = unsafe { node.as_ref() }.flags;
    if flags & compute_flag() == 0 {
        return false;
    }
    let began = Instant::now();
    let then = hook.before(&step);
    step.move_views();
    hooked.apart.set(Apart::new(node, then));
    hooked.taken.set(hooked.taken.get() + began.elapsed());
    then != Then::GoOn
}
