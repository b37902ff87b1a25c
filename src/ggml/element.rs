//! ggml's tensor element types: numbers as stored in GGUF, and their block layouts.

use std::fmt;

/// How the elements of a tensor are stored. Elements come in blocks along the first dimension;
/// a block of `block_elems()` elements takes `block_bytes()` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types)]
#[repr(u32)]
pub enum GgmlType {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q8_1 = 9,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    Q8_K = 15,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    I8 = 24,
    I16 = 25,
    I32 = 26,
    I64 = 27,
    F64 = 28,
    IQ1_M = 29,
    BF16 = 30,
    TQ1_0 = 34,
    TQ2_0 = 35,
    MXFP4 = 39,
    NVFP4 = 40,
    Q1_0 = 41,
    Q2_0 = 42,
}

/// One row a type: its name as ggml prints it, elements a block, bytes a block.
const LAYOUTS: [(GgmlType, &str, u32, u32); 35] = {
    use GgmlType as T;
    [
        (T::F32, "f32", 1, 4),
        (T::F16, "f16", 1, 2),
        (T::Q4_0, "q4_0", 32, 18),
        (T::Q4_1, "q4_1", 32, 20),
        (T::Q5_0, "q5_0", 32, 22),
        (T::Q5_1, "q5_1", 32, 24),
        (T::Q8_0, "q8_0", 32, 34),
        (T::Q8_1, "q8_1", 32, 36),
        (T::Q2_K, "q2_K", 256, 84),
        (T::Q3_K, "q3_K", 256, 110),
        (T::Q4_K, "q4_K", 256, 144),
        (T::Q5_K, "q5_K", 256, 176),
        (T::Q6_K, "q6_K", 256, 210),
        (T::Q8_K, "q8_K", 256, 292),
        (T::IQ2_XXS, "iq2_xxs", 256, 66),
        (T::IQ2_XS, "iq2_xs", 256, 74),
        (T::IQ3_XXS, "iq3_xxs", 256, 98),
        (T::IQ1_S, "iq1_s", 256, 50),
        (T::IQ4_NL, "iq4_nl", 32, 18),
        (T::IQ3_S, "iq3_s", 256, 110),
        (T::IQ2_S, "iq2_s", 256, 82),
        (T::IQ4_XS, "iq4_xs", 256, 136),
        (T::I8, "i8", 1, 1),
        (T::I16, "i16", 1, 2),
        (T::I32, "i32", 1, 4),
        (T::I64, "i64", 1, 8),
        (T::F64, "f64", 1, 8),
        (T::IQ1_M, "iq1_m", 256, 56),
        (T::BF16, "bf16", 1, 2),
        (T::TQ1_0, "tq1_0", 256, 54),
        (T::TQ2_0, "tq2_0", 256, 66),
        (T::MXFP4, "mxfp4", 32, 17),
        (T::NVFP4, "nvfp4", 64, 36),
        (T::Q1_0, "q1_0", 128, 18),
        (T::Q2_0, "q2_0", 64, 18),
    ]
};

impl GgmlType {
    /// Whether the CPU's kernel for matrices of this type is the same for one token as for a few:
    /// for the others llama.cpp has hand-written kernels that differ.
    pub fn has_one_kernel(self) -> bool {
        self.has_tiled_kernel() || matches!(self, Self::Q4_1 | Self::Q5_1)
    }

    /// Whether the CPU has another kernel for many rows, which it multiplies by in tiles.
    pub fn has_tiled_kernel(self) -> bool {
        use GgmlType::{
            IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, IQ4_XS, Q2_K, Q3_K, Q4_K, Q5_K,
            Q6_K,
        };
        let tiled = [
            Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S,
            IQ4_XS,
        ];
        tiled.contains(&self)
    }

    /// Every type this build knows.
    pub fn all() -> impl Iterator<Item = Self> {
        LAYOUTS.iter().map(|row| row.0)
    }

    /// The type with ggml's number `id`; `None` for numbers never used or since removed.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::all().find(|ty| ty.id() == id)
    }

    /// ggml's number for it.
    pub const fn id(self) -> u32 {
        self as u32
    }

    fn layout(self) -> &'static (Self, &'static str, u32, u32) {
        // The table has a row for each variant (tested), so that the first is never a wrong answer.
        LAYOUTS
            .iter()
            .find(|row| row.0 == self)
            .unwrap_or(&LAYOUTS[0])
    }

    /// ggml's name, as in `q4_K`.
    pub fn name(self) -> &'static str {
        self.layout().1
    }

    /// Elements a block, at least 1.
    pub fn block_elems(self) -> u64 {
        u64::from(self.layout().2)
    }

    /// Bytes a block.
    pub fn block_bytes(self) -> u64 {
        u64::from(self.layout().3)
    }

    /// Bytes of a row of `n` elements; `None` where `n` is not whole blocks or the size
    /// does not fit 64 bits.
    pub fn row_bytes(self, n: u64) -> Option<u64> {
        if !n.is_multiple_of(self.block_elems()) {
            return None;
        }
        (n / self.block_elems()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_map_both_ways_and_rows_are_unique() {
        for (i, row) in LAYOUTS.iter().enumerate() {
            assert_eq!(GgmlType::from_id(row.0.id()), Some(row.0));
            assert!(
                LAYOUTS[..i].iter().all(|other| other.0 != row.0),
                "{}",
                row.1
            );
        }
        // Removed (4, 5, 31..=33, 36..=38) or not yet given out.
        for id in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
            assert_eq!(GgmlType::from_id(id), None, "{id}");
        }
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(GgmlType::Q4_K.row_bytes(1536), Some(864));
        assert_eq!(GgmlType::Q4_K.row_bytes(1535), None);
        assert_eq!(GgmlType::F32.row_bytes(3), Some(12));
        assert_eq!(GgmlType::F32.row_bytes(u64::MAX), None);
        assert_eq!(GgmlType::Q6_K.row_bytes(0), Some(0));
    }
}
