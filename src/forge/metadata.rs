//! What a forged file says of itself: the source's metadata with the changed keys patched.

use super::ForgeError;
use super::quant::Quant;
use super::shape::Dims;
use super::source::Source;
use crate::ggml::{GgufHeader, GgufHeaderError};
use crate::model::gguf::Value;
use crate::model::{Arch, Experts, Gguf};

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
    arch: &Arch,
    dims: Dims,
    quant: Option<Quant>,
) -> Result<(), ForgeError> {
    let shape = source.shape();
    let before = Dims::of(shape);
    if arch.name() != shape.arch.name() {
        rename(header, source.gguf(), shape.arch.name(), arch.name())?;
    }
    let key = |name: &str| format!("{}.{name}", arch.name());
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    if dims.layers != before.layers {
        header.set_u32(&key("block_count"), number(dims.layers))?;
    }
    if !dims.same_layers(&before) {
        header.set_u32(&key("embedding_length"), number(dims.width))?;
        for (name, value) in arch.feed_forward_keys(dims.ff, dims.experts) {
            header.set_u32(&key(name), number(value))?;
        }
        header.set_u32(&key("attention.head_count"), number(dims.heads))?;
        header.set_u32(&key("attention.head_count_kv"), number(dims.kv_heads))?;
        // They need not fill the width any more.
        header.set_u32(&key("attention.key_length"), number(dims.head_dim))?;
        header.set_u32(&key("attention.value_length"), number(dims.head_dim))?;
        header.set_u32(&key("rope.dimension_count"), number(shape.rope_dims))?;
        let eps = f64::from(shape.rms_eps) * before.width as f64 / dims.width as f64;
        header.set_f32(&key("attention.layer_norm_rms_epsilon"), eps as f32)?;
    }
    if let Some(Experts { count, used }) = dims.experts.filter(|_| before.experts.is_none()) {
        header.set_u32(&key("expert_count"), number(count))?;
        header.set_u32(&key("expert_used_count"), number(used))?;
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

/// Makes the keys of architecture `from` those of `to`.
fn rename(
    header: &mut GgufHeader,
    source: &Gguf,
    from: &str,
    to: &str,
) -> Result<(), GgufHeaderError> {
    header.set_str("general.architecture", to)?;
    for (key, value) in source.metadata.iter() {
        let of_arch = key.strip_prefix(from);
        let Some(name) = of_arch.and_then(|rest| rest.strip_prefix('.')) else {
            continue;
        };
        let new = format!("{to}.{name}");
        match value {
            Value::U32(n) => header.set_u32(&new, *n)?,
            Value::F32(x) => header.set_f32(&new, *x)?,
            Value::Bool(flag) => header.set_bool(&new, *flag)?,
            Value::String(text) => header.set_str(&new, text)?,
            // Our graphs honour none, so that no source has one.
            _ => return Err(GgufHeaderError::Name(key.to_owned())),
        }
        header.remove(key)?;
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
    } else if !now.same_layers(&Dims {
        experts: now.experts,
        ..before
    }) {
        done.push("layers made wider".to_owned());
    }
    if let Some(Experts { count, used }) = now.experts.filter(|_| before.experts.is_none()) {
        done.push(format!(
            "feed-forwards made {count} experts of which {used} are used, routers are cluster \
             centres"
        ));
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
            experts: None,
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
        let mixture = Dims {
            experts: Some(Experts { count: 8, used: 2 }),
            ..small
        };
        assert_eq!(
            name("Small", small, mixture, None),
            "Small (forged: feed-forwards made 8 experts of which 2 are used, routers are cluster \
             centres)"
        );
        assert_eq!(
            name(
                "Small",
                mixture,
                Dims {
                    ff: 9216,
                    ..mixture
                },
                None
            ),
            "Small (forged: layers made wider)"
        );
    }
}
