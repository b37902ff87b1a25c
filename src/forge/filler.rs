//! Blocks whose elements are all zero: random bytes under scales of zero.
//!
//! ```text
//!  q4_K  | d dmin | scales       | quants              |   144 bytes, 256 elements
//!        |  0   0 | random ...............             |
//!  q6_K  | quants                | scales          | d |   210 bytes, 256 elements
//!        | random ...............                  | 0 |
//! ```
//!
//! An element is a product with its block's scale, so that all of them are zero, while the
//! file takes its full space on a disk that compresses and every byte is read and multiplied.
//! Plain floats have no scale: for them the blocks hold only zeros.

use crate::model::GgmlType;
use crate::random::SplitMix64;
use std::ops::Range;

/// Makes such blocks of one type, the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Filler {
    block_bytes: usize,
    scale: Range<usize>,
    random: SplitMix64,
}

/// Which bytes of a block everything in it is multiplied by; `None` where this is not known, or
/// is no number that can be zero.
fn scale_bytes(ty: GgmlType) -> Option<Range<usize>> {
    use GgmlType as T;
    Some(match ty {
        T::F32 => 0..4,
        T::F16 | T::BF16 => 0..2,
        T::Q4_0 | T::Q5_0 | T::Q8_0 | T::IQ4_NL | T::IQ4_XS => 0..2,
        // Scale and offset.
        T::Q4_1 | T::Q5_1 | T::Q4_K | T::Q5_K => 0..4,
        T::Q2_K => 80..84,
        T::Q3_K => 108..110,
        T::Q6_K => 208..210,
        _ => return None,
    })
}

impl Filler {
    /// `None` for a type whose blocks cannot be made zero.
    pub fn new(ty: GgmlType, seed: u64) -> Option<Self> {
        Some(Self {
            block_bytes: usize::try_from(ty.block_bytes()).ok()?,
            scale: scale_bytes(ty)?,
            random: SplitMix64::new(seed),
        })
    }

    /// Fills `blocks`, which are whole ones.
    pub fn fill(&mut self, blocks: &mut [u8]) {
        debug_assert!(blocks.len().is_multiple_of(self.block_bytes));
        if self.scale.len() == self.block_bytes {
            blocks.fill(0);
            return;
        }
        for word in blocks.chunks_mut(8) {
            let bytes = self.random.next().to_le_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
        for block in blocks.chunks_exact_mut(self.block_bytes) {
            block[self.scale.clone()].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ggml::dequantize_row;

    fn known() -> impl Iterator<Item = (GgmlType, Range<usize>)> {
        GgmlType::all().filter_map(|ty| Some((ty, scale_bytes(ty)?)))
    }

    /// Blocks of `ty` and what ggml makes of them.
    fn values(ty: GgmlType, blocks: &[u8]) -> Vec<f32> {
        let n = blocks.len() as u64 / ty.block_bytes() * ty.block_elems();
        let mut out = vec![f32::NAN; n as usize];
        dequantize_row(ty, blocks, &mut out);
        out
    }

    #[test]
    fn ggml_reads_every_element_as_zero() {
        assert_eq!(known().count(), 15);
        for (ty, _) in known() {
            let mut blocks = vec![0xff; 64 * ty.block_bytes() as usize];
            Filler::new(ty, 7).unwrap().fill(&mut blocks);
            assert!(values(ty, &blocks).iter().all(|&v| v == 0.0), "{ty}");
        }
    }

    #[test]
    fn a_scale_is_what_makes_them_zero() {
        for (ty, scale) in known() {
            let mut blocks = vec![0; 64 * ty.block_bytes() as usize];
            Filler::new(ty, 7).unwrap().fill(&mut blocks);
            // One in half precision, which is a number in each of these places: the offset
            // where there are both.
            let start = scale.start + scale.len().saturating_sub(2).min(2);
            blocks[start..start + 2].copy_from_slice(&[0x00, 0x3c]);
            assert!(values(ty, &blocks).iter().any(|&v| v != 0.0), "{ty}");
        }
    }

    #[test]
    fn blocks_do_not_compress_and_repeat_with_their_seed() {
        let make = |seed| {
            let mut blocks = vec![0; 144 * 512];
            Filler::new(GgmlType::Q4_K, seed).unwrap().fill(&mut blocks);
            blocks
        };
        let blocks = make(1);
        assert_eq!(blocks, make(1));
        assert_ne!(blocks, make(2));
        let mut count = [0_u32; 256];
        for &byte in &blocks {
            count[usize::from(byte)] += 1;
        }
        // All values but the scales' zero come equally often, to within five deviations.
        let expected = (140 * 512) as f64 / 256.0;
        for &n in &count[1..] {
            assert!(
                (f64::from(n) - expected).abs() < 5.0 * expected.sqrt(),
                "{n}"
            );
        }
    }

    #[test]
    fn types_without_a_known_scale_are_refused() {
        for ty in [GgmlType::MXFP4, GgmlType::IQ1_M, GgmlType::I32] {
            assert!(Filler::new(ty, 0).is_none(), "{ty}");
        }
    }
}
