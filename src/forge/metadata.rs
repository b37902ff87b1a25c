//! What a forged file says of itself: the source's metadata with the changed keys patched.

use super::ForgeError;
use super::quant::Quant;
use super::shape::Dims;
use super::source::Source;
use crate::ggml::GgufHeader;

/// Brings the source's metadata in `header` in line with what is written.
///
/// A row of `w` elements padded with zeros to `w'` has a mean square that is `w / w'` of what
/// it was. With the epsilon of its norms scaled alike, and their weights by `sqrt(w / w')`, the
/// normalised row is the same:
///
/// ```text
///  x / sqrt(mean * w/w' + eps * w/w') * weight * sqrt(w/w')  =  x / sqrt(mean + eps) * weight
/// ```
///
/// Norms of single heads (Qwen3) keep their length, and get the smaller epsilon all the same:
/// their rows grow by `eps / (2 * mean)` of themselves at most, which is rounding.
pub fn patch(
    header: &mut GgufHeader,
    source: &Source,
    dims: Dims,
    quant: Option<Quant>,
) -> Result<(), ForgeError> {
    let shape = source.shape();
    let before = Dims::of(shape);
    let key = |name: &str| format!("{}.{name}", shape.arch.name());
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    if dims.layers != before.layers {
        header.set_u32(&key("block_count"), number(dims.layers))?;
    }
    if !dims.same_layers(&before) {
        header.set_u32(&key("embedding_length"), number(dims.width))?;
        header.set_u32(&key("feed_forward_length"), number(dims.ff))?;
        header.set_u32(&key("attention.head_count"), number(dims.heads))?;
        header.set_u32(&key("attention.head_count_kv"), number(dims.kv_heads))?;
        // They need not fill the width any more.
        header.set_u32(&key("attention.key_length"), number(dims.head_dim))?;
        header.set_u32(&key("attention.value_length"), number(dims.head_dim))?;
        header.set_u32(&key("rope.dimension_count"), number(shape.rope_dims))?;
        let eps = f64::from(shape.rms_eps) * before.width as f64 / dims.width as f64;
        header.set_f32(&key("attention.layer_norm_rms_epsilon"), eps as f32)?;
    }
    if let Some(quant) = quant {
        header.set_u32("general.file_type", quant.file_type())?;
        header.set_u32("general.quantization_version", 2)?;
    }
    header.set_str(
        "general.name",
        &name(&source.gguf().name(), before, dims, quant),
    )?;
    // Of the source alone: its size in words, how it was cut, what it was quantised with.
    for (key, _) in source.gguf().metadata.iter() {
        let stale = match key {
            "general.size_label" => dims != before,
            _ => {
                key.starts_with("split.") || quant.is_some() && key.starts_with("quantize.imatrix.")
            }
        };
        if stale {
            header.remove(key)?;
        }
    }
    Ok(())
}

/// The source's name, and what was done to it.
fn name(source: &str, before: Dims, now: Dims, quant: Option<Quant>) -> String {
    let mut done = Vec::new();
    if let Some(quant) = quant {
        done.push(format!("requantised to {}", quant.name()));
    }
    if now.layers != before.layers {
        done.push(format!("{} layers made {}", before.layers, now.layers));
    }
    if now.width != before.width {
        done.push(format!("width {} made {}", before.width, now.width));
    } else if !now.same_layers(&before) {
        done.push("layers made wider".to_owned());
    }
    format!("{source} (forged: {})", done.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_was_done() {
        let small = Dims {
            layers: 28,
            width: 1536,
            heads: 12,
            kv_heads: 2,
            head_dim: 128,
            ff: 8960,
        };
        let large = Dims {
            layers: 80,
            width: 8192,
            heads: 64,
            ..small
        };
        assert_eq!(
            name("Small", small, large, Some(Quant::Q3KM)),
            "Small (forged: requantised to q3_k_m, 28 layers made 80, width 1536 made 8192)"
        );
        let heads = Dims { heads: 16, ..small };
        assert_eq!(
            name("Small", small, heads, None),
            "Small (forged: layers made wider)"
        );
    }
}
