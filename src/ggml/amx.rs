//! Keeps away from Intel's matrix extension (AMX), which ends the process with an illegal
//! instruction.
//!
//! ggml sets its tiles up with an intrinsic whose operand gcc takes for eight bytes, before 12.4,
//! 13.3 and 14 ([gcc bug 114098]): the rest of the configuration is optimised away, and the first
//! instruction that uses a tile is refused ([llama.cpp 26954]). Which compiler made a library
//! cannot be told from it. Another one for the same processors has all the rest.
//!
//! [gcc bug 114098]: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=114098
//! [llama.cpp 26954]: https://github.com/ggml-org/llama.cpp/pull/26954

use super::cpu::cpu_device;
use super::load_library;
use llama_cpp_sys_2 as sys;
use std::ffi::CStr;
use std::path::Path;

/// What a processor with AMX runs as well, the best first.
const OTHERS: [&str; 5] = ["zen4", "icelake", "cascadelake", "skylakex", "haswell"];

/// Takes another library of `folder` for the CPU where the one that was loaded uses AMX.
pub(super) fn avoid(folder: &Path) {
    let Some(device) = cpu_device() else { return };
    // SAFETY: the device is registered.
    let registry = unsafe { sys::ggml_backend_dev_backend_reg(device.as_ptr()) };
    if !uses_amx(registry) {
        return;
    }
    let library = |variant: &&str| folder.join(format!("libggml-cpu-{variant}.so"));
    let others: Vec<_> = OTHERS.iter().map(library).filter(|l| l.exists()).collect();
    if others.is_empty() {
        tracing::warn!("only a library with AMX is there for this processor");
        return;
    }
    // SAFETY: registered, and in use by nothing: `init` does this before any other use of ggml.
    unsafe { sys::ggml_backend_unload(registry) };
    // One that this processor lacks instructions for refuses to load.
    if others.iter().any(|library| load_library(library).is_ok()) {
        tracing::info!("took a library without AMX");
    } else {
        tracing::warn!("none of the libraries without AMX can be loaded");
    }
}

fn uses_amx(registry: sys::ggml_backend_reg_t) -> bool {
    let name = c"ggml_backend_get_features";
    // SAFETY: a query by a NUL-terminated name; ggml's header gives the function this type.
    let features = unsafe {
        let found = sys::ggml_backend_reg_get_proc_address(registry, name.as_ptr());
        std::mem::transmute::<*mut std::ffi::c_void, sys::ggml_backend_get_features_t>(found)
    };
    let Some(features) = features else {
        return false;
    };
    // SAFETY: the list is the library's own, and ends with a feature without a name.
    unsafe {
        let mut at = features(registry);
        while !at.is_null() && !(*at).name.is_null() {
            if CStr::from_ptr((*at).name) == c"AMX_INT8" {
                return true;
            }
            at = at.add(1);
        }
    }
    false
}
