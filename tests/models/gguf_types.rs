//! Our table of block layouts against ggml's own.
#![allow(unsafe_code)]

use nmos::model::gguf::GgmlType;

#[test]
fn block_layouts_are_those_of_ggml() {
    for ty in GgmlType::all() {
        // SAFETY: both look a valid type number up in a constant table.
        let (elems, bytes) = unsafe {
            (
                llama_cpp_sys_2::ggml_blck_size(ty.id()),
                llama_cpp_sys_2::ggml_type_size(ty.id()),
            )
        };
        assert_eq!(
            (ty.block_elems(), ty.block_bytes()),
            (elems as u64, bytes as u64),
            "{ty}"
        );
    }
}

#[test]
fn names_are_those_of_ggml() {
    for ty in GgmlType::all() {
        // SAFETY: the name is a constant, zero-terminated string.
        let name = unsafe { std::ffi::CStr::from_ptr(llama_cpp_sys_2::ggml_type_name(ty.id())) };
        assert_eq!(ty.name(), name.to_str().unwrap());
    }
    assert_eq!(
        GgmlType::all().count() + 8,
        llama_cpp_sys_2::GGML_TYPE_COUNT as usize
    );
}
