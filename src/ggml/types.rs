//! Element types: sizes, and rows turned into floats.

use super::element::GgmlType;
use llama_cpp_sys_2 as sys;

/// ggml's number for a type.
pub(super) fn raw(ty: GgmlType) -> sys::ggml_type {
    ty as u32 as sys::ggml_type
}

/// Bytes of a row of `n` elements.
///
/// # Panics
/// If `n` is not a whole number of the type's blocks.
pub fn row_bytes(ty: GgmlType, n: usize) -> usize {
    let n_i64 = i64::try_from(n).unwrap_or(i64::MAX);
    // SAFETY: pure functions of a valid type number.
    let (block, bytes) = unsafe {
        (
            sys::ggml_blck_size(raw(ty)),
            sys::ggml_row_size(raw(ty), n_i64),
        )
    };
    assert!(
        n_i64 % block == 0,
        "{n} elements are not whole blocks of {ty:?}"
    );
    bytes
}

/// Turns one row into floats.
///
/// # Panics
/// If `row` is not exactly the row of `out.len()` elements, or the type has no such
/// conversion (`model::arch` admits only those that have).
pub fn dequantize_row(ty: GgmlType, row: &[u8], out: &mut [f32]) {
    assert_eq!(row.len(), row_bytes(ty, out.len()), "row length");
    if ty == GgmlType::F32 {
        out.copy_from_slice(&bytemuck::pod_collect_to_vec::<u8, f32>(row));
        return;
    }
    // SAFETY: the traits table is static; `to_float` reads one row and writes `out.len()`
    // floats, both checked above.
    unsafe {
        let traits = sys::ggml_get_type_traits(raw(ty));
        let Some(to_float) = (*traits).to_float else {
            panic!("{ty:?} has no conversion to float");
        };
        to_float(
            row.as_ptr().cast(),
            out.as_mut_ptr(),
            i64::try_from(out.len()).unwrap_or(i64::MAX),
        );
    }
}
