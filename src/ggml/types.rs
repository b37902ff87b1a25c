//! Element types: sizes, rows turned into floats, and floats into rows.

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

/// Turns floats into rows of `row_len` elements of `ty`. Types that are made by how much each
/// element of a row matters are made as if all mattered the same.
///
/// # Panics
/// If `floats` are not whole rows, or `out` is not exactly as long as they will be.
pub fn quantize_rows(ty: GgmlType, floats: &[f32], row_len: usize, out: &mut [u8]) {
    assert!(
        row_len > 0 && floats.len().is_multiple_of(row_len),
        "whole rows"
    );
    let rows = floats.len() / row_len;
    assert_eq!(out.len(), rows * row_bytes(ty, row_len), "length of rows");
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    // SAFETY: a pure function of a valid type number.
    let by_importance = unsafe { sys::ggml_quantize_requires_imatrix(raw(ty)) };
    let even = by_importance.then(|| vec![1.0_f32; row_len]);
    // SAFETY: ggml reads `rows * row_len` floats and writes as many bytes as `row_bytes` says,
    // both checked above, and reads `row_len` importances where they are given. The tables that
    // some types need are made under ggml's own lock.
    unsafe {
        sys::ggml_quantize_chunk(
            raw(ty),
            floats.as_ptr(),
            out.as_mut_ptr().cast(),
            0,
            count(rows),
            count(row_len),
            even.as_ref().map_or(std::ptr::null(), |even| even.as_ptr()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_a_round_trip_to_within_a_step() {
        let floats: Vec<f32> = (0..512).map(|i| ((i * 37) % 255) as f32 - 127.0).collect();
        for ty in [GgmlType::Q8_0, GgmlType::Q6_K, GgmlType::Q4_K] {
            let mut packed = vec![0; 2 * row_bytes(ty, 256)];
            quantize_rows(ty, &floats, 256, &mut packed);
            let mut back = vec![0.0; 512];
            dequantize_row(ty, &packed, &mut back);
            let worst = floats
                .iter()
                .zip(&back)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            // Four bits cut 254 into 15 steps, and the scales of the steps are rounded too.
            assert!(worst < 20.0, "{ty}: {worst}");
        }
    }
}
