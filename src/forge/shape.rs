//! The shape that a model grows to: what is asked for, the shapes of a family, and defaults.

use super::axis::Heads;
use crate::model::ModelShape;
use crate::units::Bytes;

/// Most layers that llama.cpp takes, which reads the vocabulary of every model here.
pub const MAX_LAYERS: usize = 512;

/// A transformer's dimensions, as far as they grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    pub layers: usize,
    /// Elements of the residual stream.
    pub width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub ff: usize,
}

impl Dims {
    pub fn of(shape: &ModelShape) -> Self {
        Self {
            layers: shape.n_layer,
            width: shape.n_embd,
            heads: shape.n_head,
            kv_heads: shape.n_head_kv,
            head_dim: shape.head_dim,
            ff: shape.n_ff,
        }
    }

    pub fn heads(&self) -> Heads {
        Heads {
            query: self.heads as u64,
            key_value: self.kv_heads as u64,
            dim: self.head_dim as u64,
        }
    }

    /// Whether only the number of layers differs.
    pub fn same_layers(&self, other: &Self) -> bool {
        Self {
            layers: other.layers,
            ..*self
        } == *other
    }
}

impl std::fmt::Display for Dims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} layers, {} wide, {} heads over {} KV heads, feed-forward {}",
            self.layers, self.width, self.heads, self.kv_heads, self.ff
        )
    }
}

/// The shapes of the Qwen2.5 family, by their names.
pub const PRESETS: [(&str, Dims); 5] = [
    ("3b", qwen(36, 2048, 16, 2, 11008)),
    ("7b", qwen(28, 3584, 28, 4, 18944)),
    ("14b", qwen(48, 5120, 40, 8, 13824)),
    ("32b", qwen(64, 5120, 40, 8, 27648)),
    ("72b", qwen(80, 8192, 64, 8, 29568)),
];

const fn qwen(layers: usize, width: usize, heads: usize, kv_heads: usize, ff: usize) -> Dims {
    Dims {
        layers,
        width,
        heads,
        kv_heads,
        head_dim: 128,
        ff,
    }
}

/// What is asked for; nothing said stays as in the source, or follows from what is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// A shape of [`PRESETS`].
    pub preset: Option<Dims>,
    pub layers: Option<usize>,
    /// Choose the layers so that the file comes to about this size.
    pub size: Option<Bytes>,
    pub width: Option<usize>,
    pub heads: Option<usize>,
    pub kv_heads: Option<usize>,
    pub ff: Option<usize>,
}

/// A shape that cannot be, in a user's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

impl Growth {
    /// Whether nothing is asked for.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The shape to grow `source` to. `width_block` and `ff_block` are the elements that
    /// quantised rows of that length come in.
    ///
    /// # Errors
    /// What cannot be, and why.
    pub fn dims(
        &self,
        source: Dims,
        width_block: usize,
        ff_block: usize,
    ) -> Result<Dims, ShapeError> {
        let fail = |text: String| Err(ShapeError(text));
        if let Some(preset) = self.preset
            && preset.head_dim != source.head_dim
        {
            return fail(format!(
                "the shapes of --shape have heads of {}, the source has heads of {}: say --width \
                 and --layers instead",
                preset.head_dim, source.head_dim
            ));
        }
        let width = self
            .width
            .or(self.preset.map(|p| p.width))
            .unwrap_or(source.width);
        // A width of the family brings the family's other numbers.
        let family = self.preset.or_else(|| {
            let found = PRESETS.iter().find(|(_, p)| p.width == width);
            found.map(|(_, p)| *p).filter(|p| {
                width > source.width && p.head_dim == source.head_dim && p.ff >= source.ff
            })
        });
        let heads = match (self.heads, family) {
            (Some(heads), _) => heads,
            (None, Some(family)) => family.heads,
            (None, None) if width == source.width => source.heads,
            // Groups of one size, each at least as large as the source's.
            (None, None) => (width / source.head_dim)
                .max(source.heads)
                .next_multiple_of(source.kv_heads),
        };
        let kv_heads = match (self.kv_heads, family) {
            (Some(kv_heads), _) => kv_heads,
            (None, Some(family)) => family.kv_heads,
            (None, None) => (source.kv_heads..=heads)
                .find(|&kv| heads.is_multiple_of(kv))
                .unwrap_or(source.kv_heads),
        };
        let ff = match (self.ff, family) {
            (Some(ff), _) => ff,
            // Not every published one is whole blocks.
            (None, Some(family)) => family.ff.next_multiple_of(ff_block),
            (None, None) => (source.ff * width / source.width.max(1)).next_multiple_of(ff_block),
        };
        let dims = Dims {
            layers: self
                .layers
                .or(self.preset.map(|p| p.layers))
                .unwrap_or(source.layers),
            width,
            heads,
            kv_heads,
            head_dim: source.head_dim,
            ff,
        };
        for (what, now, before) in [
            ("layers", dims.layers, source.layers),
            ("width", dims.width, source.width),
            ("heads", dims.heads, source.heads),
            ("KV heads", dims.kv_heads, source.kv_heads),
            ("feed-forward", dims.ff, source.ff),
        ] {
            if now < before {
                return fail(format!(
                    "a model only grows: {what} of {now} is less than the source's {before}"
                ));
            }
        }
        for (what, now, before, block) in [
            ("width", dims.width, source.width, width_block),
            ("feed-forward", dims.ff, source.ff, ff_block),
        ] {
            if now != before && !now.is_multiple_of(block) {
                return fail(format!(
                    "a {what} of {now} is not whole blocks of {block} elements: the nearest are \
                     {} and {}",
                    now / block * block,
                    now.next_multiple_of(block)
                ));
            }
        }
        if dims.layers > MAX_LAYERS {
            return fail(format!(
                "{} layers are more than the {MAX_LAYERS} that llama.cpp takes: make it wider \
                 instead (--shape or --width)",
                dims.layers
            ));
        }
        if !dims.heads.is_multiple_of(dims.kv_heads) {
            return fail(format!(
                "{} heads cannot share {} KV heads evenly",
                dims.heads, dims.kv_heads
            ));
        }
        Ok(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Dims = qwen(28, 1536, 12, 2, 8960);

    fn grow(growth: Growth) -> Result<Dims, ShapeError> {
        growth.dims(SOURCE, 256, 256)
    }

    fn preset(name: &str) -> Option<Dims> {
        PRESETS.iter().find(|(n, _)| *n == name).map(|(_, d)| *d)
    }

    #[test]
    fn nothing_said_is_the_source() {
        assert_eq!(grow(Growth::default()), Ok(SOURCE));
        let deeper = Growth {
            layers: Some(40),
            ..Growth::default()
        };
        assert_eq!(
            grow(deeper),
            Ok(Dims {
                layers: 40,
                ..SOURCE
            })
        );
    }

    #[test]
    fn a_preset_is_its_family_in_whole_blocks() {
        let growth = Growth {
            preset: preset("72b"),
            ..Growth::default()
        };
        let dims = grow(growth).unwrap();
        assert_eq!(dims, qwen(80, 8192, 64, 8, 29696));
        let shallow = Growth {
            layers: Some(30),
            ..growth
        };
        assert_eq!(grow(shallow), Ok(Dims { layers: 30, ..dims }));
    }

    #[test]
    fn a_width_brings_what_goes_with_it() {
        let width = |width| Growth {
            width: Some(width),
            ..Growth::default()
        };
        assert_eq!(grow(width(5120)), Ok(qwen(28, 5120, 40, 8, 13824)));
        assert_eq!(grow(width(2560)), Ok(qwen(28, 2560, 20, 2, 15104)));
    }

    #[test]
    fn what_cannot_be_says_why() {
        let base = Growth::default();
        for (growth, word) in [
            (
                Growth {
                    layers: Some(3),
                    ..base
                },
                "only grows",
            ),
            (
                Growth {
                    layers: Some(600),
                    ..base
                },
                "512",
            ),
            (
                Growth {
                    width: Some(1600),
                    ..base
                },
                "1536 and 1792",
            ),
            (
                Growth {
                    width: Some(4096),
                    kv_heads: Some(3),
                    ..base
                },
                "evenly",
            ),
            (
                Growth {
                    ff: Some(9000),
                    ..base
                },
                "feed-forward of 9000",
            ),
        ] {
            let error = grow(growth).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let other = Dims {
            head_dim: 64,
            ..SOURCE
        };
        let growth = Growth {
            preset: preset("7b"),
            ..base
        };
        let error = growth.dims(other, 256, 256).unwrap_err().to_string();
        assert!(error.contains("heads of 64"), "{error}");
    }
}
