//! The barrier of ggml's threads that lets other programs, and a thread that is missing, have the
//! core: see `barrier.c`.

use super::cpu::CpuFunctions;
use llama_cpp_sys_2 as sys;

/// Of the pool that the layout is checked with.
const THREADS: i32 = 3;
const POLL: u32 = 7;

unsafe extern "C" {
    fn nmos_barrier_install(
        pool: *const sys::ggml_threadpool,
        function: *const std::ffi::c_void,
        threads: i32,
        poll: u32,
    ) -> bool;
    fn nmos_barrier_was_called() -> bool;
}

/// Replaces the barrier of the CPU backend that is loaded. A backend of another build keeps its
/// own.
pub(super) fn install() {
    let Ok(functions) = CpuFunctions::get() else {
        return;
    };
    // SAFETY: the parameters outlive the call; the pool is paused, computes nothing, and is freed
    // once; the function belongs to the library that made the pool.
    let installed = unsafe {
        let mut params = sys::ggml_threadpool_params_default(THREADS);
        params.poll = POLL;
        params.paused = true;
        let pool = (functions.new_pool)(&raw mut params);
        if pool.is_null() {
            return;
        }
        let function = functions.new_pool as *const std::ffi::c_void;
        let installed = nmos_barrier_install(pool, function, THREADS, POLL);
        (functions.free_pool)(pool);
        installed
    };
    if !installed {
        tracing::warn!("the CPU backend is of another make: its threads wait in its own way");
    }
}

/// Whether threads that compute have met there.
pub fn is_in_use() -> bool {
    // SAFETY: reads a flag.
    unsafe { nmos_barrier_was_called() }
}
