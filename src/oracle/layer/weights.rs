//! The model's weight tensors: small ones always in memory, large ones wherever their shard is.

use crate::ggml::{Context, Device, Place, Tensor};
use crate::io::{Arena, RowFile};
use crate::model::{Kind, LayerTensors, ModelLayout, Slot, TensorInfo};
use crate::oracle::OpenError;
use crate::river::{Part, Shard, ShardIdx, layout};
use std::collections::BTreeMap;
use std::ops::Index;
use std::path::PathBuf;

/// Tensors of one layer.
pub(super) struct LayerWeights(BTreeMap<Slot, Tensor>);

impl LayerWeights {
    /// One that not every layer has.
    pub(super) fn get(&self, slot: Slot) -> Option<&Tensor> {
        self.0.get(&slot)
    }
}

/// One that every layer has: see [`super::graphs`].
impl Index<Slot> for LayerWeights {
    type Output = Tensor;

    fn index(&self, slot: Slot) -> &Tensor {
        &self.0[&slot]
    }
}

/// See the module's text.
pub(super) struct Weights {
    layers: Vec<LayerWeights>,
    pub output_norm: Tensor,
    pub rope_factors: Option<Tensor>,
    /// The tensors of each shard, in the shard's order.
    by_shard: Vec<Vec<Tensor>>,
}

impl Weights {
    /// Describes all tensors and reads the small ones, to memory of `device` if there is one.
    pub(super) fn new(
        layout: &ModelLayout,
        shards: &[Shard],
        files: &[PathBuf],
        device: Option<Device>,
    ) -> Result<Self, OpenError> {
        let of_layers: usize = layout.layers.iter().map(|l| l.iter().count()).sum();
        // And the blocks of the head, its norm and the factors of rotation.
        let ctx = Context::new(of_layers + shards.len() + 2, 0);
        let len = Self::small_bytes(layout);
        let memory = match device {
            Some(device) => Place::Device(device.buffer(len)?.span(0, len)),
            None => Place::Host(Arena::new(len)?.region(0, len)),
        };
        let files = files
            .iter()
            .map(|f| RowFile::open(f))
            .collect::<Result<Vec<_>, _>>()?;
        let mut at = 0;
        let mut load = |info: &TensorInfo| -> std::io::Result<Tensor> {
            let bytes = usize::try_from(info.bytes).unwrap_or(usize::MAX);
            let mut data = vec![0; bytes];
            files[info.file].read(info.offset, &mut data)?;
            let place = memory.part(at, small(info));
            place.write(&data);
            at += small(info);
            let tensor = describe(&ctx, info);
            tensor.put(&place);
            Ok(tensor)
        };
        let mut layers = Vec::with_capacity(layout.layers.len());
        for layer in &layout.layers {
            let mut tensors = BTreeMap::new();
            for of_layer in layer.iter() {
                let tensor = match of_layer.spec.kind {
                    Kind::Matrix => describe(&ctx, &of_layer.info),
                    Kind::Norm | Kind::Bias | Kind::Factors => load(&of_layer.info)?,
                };
                tensors.insert(of_layer.spec.slot, tensor);
            }
            layers.push(LayerWeights(tensors));
        }
        let output_norm = load(&layout.output_norm)?;
        let rope_factors = layout.rope_factors.as_ref().map(&mut load).transpose()?;
        let mut by_shard = Vec::with_capacity(shards.len());
        for shard in shards {
            if let Some(layer) = shard.layer {
                let (tensors, names) =
                    (&layers[layer.0 as usize], &layout.layers[layer.0 as usize]);
                by_shard.push(
                    shard
                        .tensors
                        .iter()
                        .map(|t| large(tensors, names, &t.name))
                        .collect(),
                );
            } else {
                let width = usize::try_from(layout.output.dims[0]).unwrap_or(usize::MAX);
                by_shard.push(vec![
                    ctx.tensor(layout.output.ty, &[width, shard.rows.len()]),
                ]);
            }
        }
        Ok(Self {
            layers,
            output_norm,
            rope_factors,
            by_shard,
        })
    }

    /// Bytes of the tensors that are always in memory.
    pub(super) fn small_bytes(layout: &ModelLayout) -> usize {
        let layers = layout.layers.iter().flat_map(LayerTensors::vectors);
        layers
            .chain([&layout.output_norm])
            .chain(&layout.rope_factors)
            .map(small)
            .sum::<usize>()
            .next_multiple_of(2 << 20)
    }

    pub(super) fn layer(&self, layer: usize) -> &LayerWeights {
        &self.layers[layer]
    }

    /// The rows of the head that `shard` holds.
    pub(super) fn head_block(&self, shard: ShardIdx) -> &Tensor {
        &self.by_shard[shard.0][0]
    }

    /// Where the tensors of each shard lie in the memory of `device`.
    pub(super) fn layouts(&self, shards: &[Shard], device: Device) -> Vec<Vec<Part>> {
        let of = |(shard, tensors): (&Shard, &Vec<Tensor>)| {
            layout(shard, |i| tensors[i].padding(device))
        };
        shards.iter().zip(&self.by_shard).map(of).collect()
    }

    /// Puts the tensors of `shard` into its memory, where `parts` says.
    pub(super) fn place(&self, shard: ShardIdx, parts: &[Part], memory: &Place) {
        for (tensor, part) in self.by_shard[shard.0].iter().zip(parts) {
            tensor.put(&memory.part(part.to, part.bytes + part.padding));
        }
    }
}

/// Memory that a tensor takes which is always there; a device places tensors at multiples of 256
/// bytes.
fn small(info: &TensorInfo) -> usize {
    let bytes = usize::try_from(info.bytes).unwrap_or(usize::MAX);
    bytes.next_multiple_of(256)
}

fn describe(ctx: &Context, info: &TensorInfo) -> Tensor {
    let ne: Vec<usize> = info.dims[..info.n_dims as usize]
        .iter()
        .map(|&n| usize::try_from(n).unwrap_or(usize::MAX))
        .collect();
    ctx.tensor(info.ty, &ne)
}

fn large(tensors: &LayerWeights, infos: &LayerTensors, name: &str) -> Tensor {
    let Some(found) = infos.iter().find(|t| t.info.name == name) else {
        panic!("shard holds {name}, which is no tensor of its layer");
    };
    tensors[found.spec.slot].clone()
}
