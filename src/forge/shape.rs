//! The shape that a model grows to: what is asked for, the shapes of a family, and defaults.

use super::axis::Heads;
use crate::model::{Experts, ModelShape};
use crate::units::Bytes;

/// Most layers that llama.cpp takes, which reads the vocabulary of every model here.
pub const MAX_LAYERS: usize = 512;

/// Most experts that llama.cpp takes.
pub const MAX_EXPERTS: usize = 1024;

/// A transformer's dimensions, as far as they grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    pub layers: usize,
    /// Elements of the residual stream.
    pub width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Elements within a feed-forward, or within one of its experts.
    pub ff: usize,
    pub experts: Option<Experts>,
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
            experts: shape.experts,
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
            "{} layers, {} wide, {} heads over {} KV heads, ",
            self.layers, self.width, self.heads, self.kv_heads
        )?;
        match self.experts {
            None => write!(f, "feed-forward {}", self.ff),
            Some(Experts { count, used }) => {
                write!(f, "{count} experts of {}, {used} used by a token", self.ff)
            }
        }
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
        experts: None,
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
    /// Of an expert, in a mixture.
    pub ff: Option<usize>,
    /// Copies of a dense feed-forward, and how many of them a token uses.
    pub experts: Option<Experts>,
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
        if self.preset.is_some() && source.experts.is_some() {
            return fail(
                "the shapes of --shape are those of models without experts: say --width, --ff and \
                 --layers instead"
                    .to_owned(),
            );
        }
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
                width > source.width
                    && p.head_dim == source.head_dim
                    && p.ff >= source.ff
                    && source.experts.is_none()
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
            experts: self.experts(source.experts)?,
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

    fn experts(&self, source: Option<Experts>) -> Result<Option<Experts>, ShapeError> {
        let Some(Experts { count, used }) = self.experts else {
            return Ok(source);
        };
        let what = if let Some(there) = source {
            format!(
                "the source is a mixture of {} experts already, and their number cannot be changed: \
                 leave out --experts",
                there.count
            )
        } else if !(2..=MAX_EXPERTS).contains(&count) {
            format!("a mixture has 2 to {MAX_EXPERTS} experts, not {count}")
        } else if used == 0 || used > count {
            format!("a token uses at least one of {count} experts and at most all, not {used}")
        } else {
            return Ok(self.experts);
        };
        Err(ShapeError(what))
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
    fn experts_grow_in_the_sources_ratio() {
        let source = Dims {
            experts: Some(Experts { count: 64, used: 8 }),
            ..qwen(8, 512, 8, 2, 128)
        };
        let wider = Growth {
            width: Some(2048),
            ..Growth::default()
        };
        let dims = wider.dims(source, 256, 32).unwrap();
        assert_eq!((dims.ff, dims.experts), (512, source.experts));
        let text = dims.to_string();
        assert!(
            text.ends_with("64 experts of 512, 8 used by a token"),
            "{text}"
        );
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
        for (count, used, word) in [(1, 1, "2 to 1024"), (8, 0, "at least one"), (8, 9, "not 9")] {
            let growth = Growth {
                experts: Some(Experts { count, used }),
                ..base
            };
            let error = grow(growth).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let mixture = Dims {
            experts: Some(Experts { count: 64, used: 8 }),
            ..SOURCE
        };
        for (growth, word) in [
            (
                Growth {
                    experts: mixture.experts,
                    ..base
                },
                "64 experts already",
            ),
            (
                Growth {
                    preset: preset("7b"),
                    ..base
                },
                "without experts",
            ),
        ] {
            let error = growth.dims(mixture, 256, 256).unwrap_err().to_string();
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
