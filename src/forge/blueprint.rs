//! A file before it is made: its header, and for each tensor where its bytes come from.
//!
//! Added layers are spread evenly among the real ones, each after the real layer whose tensors
//! and types it repeats, so that bytes and types are spread over a pass as in the source:
//!
//! ```text
//!  source   0     1     2     3
//!  target   0  .  1  .  2  .  3  .        4 added; those silent
//! ```

use super::axis::{AxisMap, HeadMaps};
use super::filler::Filler;
use super::quant::Quant;
use super::role::Known;
use super::shape::{Dims, Growth, MAX_LAYERS, ShapeError};
use super::source::Source;
use super::{ForgeError, not_known};
use crate::ggml::GgufHeader;
use crate::model::{Arch, Axis, Experts, GgmlType, Slot};
use crate::units::Bytes;

/// Where a tensor's values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The source's tensor of this name.
    Tensor(String),
    /// The router that is made for a layer of the source.
    Router(usize),
}

/// A tensor to write.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: String,
    pub from: Origin,
    pub ty: GgmlType,
    /// The fastest first.
    pub dims: Vec<u64>,
    /// Where elements along a row come from.
    pub cols: AxisMap,
    /// Where rows come from, those of all experts one after the other.
    pub rows: AxisMap,
    /// Every value is multiplied by it; other than one for F32 alone.
    pub factor: f64,
    pub bytes: u64,
}

impl Target {
    /// Whether its values are the source's, all in place.
    pub fn is_same(&self) -> bool {
        self.cols.is_same() && self.rows.is_same() && (self.factor - 1.0).abs() < f64::EPSILON
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Blueprint {
    pub dims: Dims,
    /// Experts that are copies of a dense feed-forward, and need routers.
    pub copies: Option<Experts>,
    pub tensors: Vec<Target>,
    /// The file up to its data section.
    pub header: Vec<u8>,
    pub alignment: u64,
}

impl Blueprint {
    /// The source itself in the types that it has been given.
    ///
    /// # Errors
    /// A header that cannot be made.
    pub fn requantised(source: &Source, quant: Quant) -> Result<Self, ForgeError> {
        let tensors = source
            .tensors()
            .map(|(known, ty)| Mapping::same(&known, ty, &known.tensor.name))
            .collect::<Result<_, _>>()?;
        let (arch, dims) = (source.shape().arch, Dims::of(source.shape()));
        Self::new(source, arch, dims, tensors, Some(quant))
    }

    /// The source in a larger shape.
    ///
    /// # Errors
    /// A shape that cannot be, and types that cannot be filled up.
    pub fn grown(
        source: &Source,
        growth: &Growth,
        quant: Option<Quant>,
    ) -> Result<Self, ForgeError> {
        let mut dims = shape(source, growth)?;
        let arch = architecture(source, growth)?;
        if let Some(size) = growth.size {
            dims.layers = layers_for(source, dims, size)?;
        }
        let tensors = targets(source, dims)?;
        Self::new(source, arch, dims, tensors, quant)
    }

    fn new(
        source: &Source,
        arch: &'static Arch,
        dims: Dims,
        tensors: Vec<Target>,
        quant: Option<Quant>,
    ) -> Result<Self, ForgeError> {
        let mut header = GgufHeader::with_metadata_of(source.gguf().path())?;
        super::metadata::patch(&mut header, source, arch, dims, quant)?;
        for tensor in &tensors {
            let ne: Vec<usize> = tensor
                .dims
                .iter()
                .map(|&n| usize::try_from(n).unwrap_or(usize::MAX))
                .collect();
            header.add_tensor(&tensor.name, tensor.ty, &ne)?;
        }
        Ok(Self {
            dims,
            copies: copies(source, dims),
            tensors,
            alignment: header.alignment(),
            header: header.to_bytes(),
        })
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> Bytes {
        Bytes(self.header.len() as u64 + data_bytes(&self.tensors, self.alignment))
    }

    /// Bytes by element type, the most first.
    pub fn types(&self) -> Vec<(GgmlType, Bytes)> {
        let mut sums: Vec<(GgmlType, Bytes)> = Vec::new();
        for tensor in &self.tensors {
            match sums.iter_mut().find(|(ty, _)| *ty == tensor.ty) {
                Some((_, sum)) => sum.0 += tensor.bytes,
                None => sums.push((tensor.ty, Bytes(tensor.bytes))),
            }
        }
        sums.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
        sums
    }
}

fn data_bytes(tensors: &[Target], alignment: u64) -> u64 {
    tensors
        .iter()
        .map(|t| t.bytes.next_multiple_of(alignment))
        .sum()
}

/// The shape that `growth` asks for, in blocks of the source's types.
fn shape(source: &Source, growth: &Growth) -> Result<Dims, ForgeError> {
    let block = |axis: Axis| {
        let matrices = source.tensors().filter(|(known, _)| known.cols() == axis);
        let blocks = matrices.map(|(_, ty)| usize::try_from(ty.block_elems()).unwrap_or(1));
        blocks.max().unwrap_or(1)
    };
    let (width, ff) = (block(Axis::Embedding), block(Axis::FeedForward));
    Ok(growth.dims(Dims::of(source.shape()), width, ff)?)
}

/// What the source becomes.
fn architecture(source: &Source, growth: &Growth) -> Result<&'static Arch, ForgeError> {
    let arch = source.shape().arch;
    match growth.experts {
        None => Ok(arch),
        Some(_) => Ok(arch.mixture().ok_or_else(|| {
            ShapeError(format!(
                "--experts makes mixtures of {} only: of the architecture '{}' llama.cpp has none \
                 in which the weights of a token's experts sum to one, so that copies of a \
                 feed-forward would not add up to it",
                Arch::ALL
                    .into_iter()
                    .filter(|arch| arch.mixture().is_some())
                    .map(Arch::name)
                    .collect::<Vec<_>>()
                    .join(" and "),
                arch.name(),
            ))
        })?),
    }
}

/// The experts of `dims` where the source has none.
fn copies(source: &Source, dims: Dims) -> Option<Experts> {
    dims.experts.filter(|_| source.shape().experts.is_none())
}

/// The number of layers that brings the file nearest to `size`.
fn layers_for(source: &Source, dims: Dims, size: Bytes) -> Result<usize, ForgeError> {
    let least = source.shape().n_layer;
    let bytes = |layers: usize| -> Result<u64, ForgeError> {
        let tensors = targets(source, Dims { layers, ..dims })?;
        let header = source.gguf().files[0].data_offset;
        Ok(header + data_bytes(&tensors, 32))
    };
    let (smallest, largest) = (bytes(least)?, bytes(MAX_LAYERS)?);
    let close = |bytes: u64| bytes.abs_diff(size.0) <= size.0 / 20;
    if size.0 < smallest && !close(smallest) {
        return Err(ShapeError(format!(
            "with its {least} real layers the file is {} already: {size} is too small",
            Bytes(smallest)
        ))
        .into());
    }
    if size.0 > largest && !close(largest) {
        return Err(ShapeError(format!(
            "with the {MAX_LAYERS} layers that llama.cpp takes the file is {}: for {size} make it \
             wider as well (--shape or --width)",
            Bytes(largest)
        ))
        .into());
    }
    // The size grows with the layers: halve the range in which it passes the one wanted.
    let (mut below, mut above) = (least, MAX_LAYERS);
    while above - below > 1 {
        let middle = below.midpoint(above);
        if bytes(middle)? <= size.0 {
            below = middle;
        } else {
            above = middle;
        }
    }
    let (under, over) = (bytes(below)?, bytes(above)?);
    Ok(match under.abs_diff(size.0) <= over.abs_diff(size.0) {
        true => below,
        false => above,
    })
}

/// How many layers come of real layer `layer`: itself, and those added right after it.
fn run_length(layer: usize, real: usize, layers: usize) -> usize {
    let added = layers - real;
    1 + (layer + 1) * added / real - layer * added / real
}

/// All tensors of the target, in the order of the source with layers in their order.
fn targets(source: &Source, dims: Dims) -> Result<Vec<Target>, ForgeError> {
    let mapping = Mapping::new(source, dims)?;
    let real = source.shape().n_layer;
    let mut tensors = Vec::new();
    let mut layers_done = false;
    for (known, ty) in source.tensors() {
        match known.layer {
            None => tensors.push(mapping.target(&known, ty, &known.tensor.name, false)?),
            Some(_) if layers_done => {}
            Some(_) => {
                layers_done = true;
                let mut next = 0;
                for layer in 0..real {
                    for copy in 0..run_length(layer, real, dims.layers) {
                        for (known, ty) in source.layer(layer) {
                            let name = known.name_in(next, mapping.copies.is_some());
                            tensors.push(mapping.target(&known, ty, &name, copy > 0)?);
                        }
                        tensors.extend(mapping.router(layer, next));
                        next += 1;
                    }
                }
            }
        }
    }
    Ok(tensors)
}

/// How many heads of `dim` elements are moved together so that blocks stay whole.
fn heads_a_block(block: u64, dim: u64) -> u64 {
    // Blocks are powers of two, so that this is their greatest common divisor.
    let common = block.trailing_zeros().min(dim.trailing_zeros());
    block >> common
}

/// Where each axis goes.
struct Mapping {
    embedding: AxisMap,
    heads: HeadMaps,
    ff: AxisMap,
    copies: Option<Experts>,
    /// For the weights of norms: see [`super::metadata`] for the epsilon that goes with it.
    norm_factor: f64,
}

impl Mapping {
    fn new(source: &Source, dims: Dims) -> Result<Self, ForgeError> {
        let from = Dims::of(source.shape());
        let unit = source
            .tensors()
            .filter(|(known, _)| known.cols() == Axis::QueryHeads)
            .map(|(_, ty)| heads_a_block(ty.block_elems(), from.head_dim as u64))
            .max()
            .unwrap_or(1);
        Ok(Self {
            embedding: AxisMap::padded(from.width as u64, dims.width as u64),
            heads: HeadMaps::new(from.heads(), dims.heads(), unit)
                .map_err(|e| ShapeError(e.to_string()))?,
            ff: AxisMap::padded(from.ff as u64, dims.ff as u64),
            copies: copies(source, dims),
            norm_factor: (from.width as f64 / dims.width as f64).sqrt(),
        })
    }

    /// A tensor as it is, in type `ty`.
    fn same(known: &Known<'_>, ty: GgmlType, name: &str) -> Result<Target, ForgeError> {
        let [cols, rows, tables, _] = known.tensor.dims;
        let maps = Maps {
            cols: AxisMap::same(cols),
            rows: AxisMap::same(rows).repeated(tables, rows),
            tables: known.spec.per_expert.then_some(tables),
        };
        make(known, ty, name, maps, 1.0)
    }

    /// The router of layer `layer`, which is made from the source's layer `from`; `None` where the
    /// source has routers, or needs none. Its type keeps it as exact as it is.
    fn router(&self, from: usize, layer: usize) -> Option<Target> {
        let count = self.copies?.count as u64;
        let (ty, cols) = (GgmlType::F32, self.embedding.clone());
        Some(Target {
            name: format!("blk.{layer}.{}", Slot::Router.name()),
            from: Origin::Router(from),
            ty,
            dims: vec![cols.size, count],
            bytes: cols.size * count * ty.block_bytes(),
            cols,
            rows: AxisMap::same(count),
            factor: 1.0,
        })
    }

    fn target(
        &self,
        known: &Known<'_>,
        ty: GgmlType,
        name: &str,
        added: bool,
    ) -> Result<Target, ForgeError> {
        let axis = |axis: Axis, size: u64| match axis {
            Axis::Embedding => self.embedding.clone(),
            Axis::QueryHeads => self.heads.query.clone(),
            Axis::KeyValueHeads => self.heads.key_value.clone(),
            Axis::FeedForward => self.ff.clone(),
            Axis::Experts | Axis::Head | Axis::Vocabulary | Axis::RotatedPairs | Axis::One => {
                AxisMap::same(size)
            }
        };
        let (mut cols, mut rows) = (
            axis(known.cols(), known.tensor.dims[0]),
            axis(known.rows(), known.tensor.dims[1]),
        );
        // The tables of a mixture follow one another; those of a dense model are all the same.
        let tables = match (
            known.spec.per_expert,
            known.spec.slot.for_experts(),
            self.copies,
        ) {
            (true, ..) => Some((known.tensor.dims[2], known.tensor.dims[1])),
            (false, Some(_), Some(experts)) => Some((experts.count as u64, 0)),
            _ => None,
        };
        if let Some((count, step)) = tables {
            rows = rows.repeated(count, step);
        }
        if added && known.spec.ends_branch() {
            cols = AxisMap::filler(cols.size);
            rows = AxisMap::filler(rows.size);
        }
        let factor = match known.is_norm_of_width() {
            true => self.norm_factor,
            false => 1.0,
        };
        let maps = Maps {
            cols,
            rows,
            tables: tables.map(|(count, _)| count),
        };
        make(known, ty, name, maps, factor)
    }
}

/// Where a tensor's elements come from.
struct Maps {
    cols: AxisMap,
    /// Of all experts' tables, if there are such.
    rows: AxisMap,
    tables: Option<u64>,
}

fn make(
    known: &Known<'_>,
    ty: GgmlType,
    name: &str,
    maps: Maps,
    factor: f64,
) -> Result<Target, ForgeError> {
    let tensor = known.tensor;
    let Maps { cols, rows, tables } = maps;
    let cut = |what: &str| ForgeError::Tensor {
        tensor: tensor.name.clone(),
        what: what.to_owned(),
    };
    let row = ty
        .row_bytes(cols.size)
        .ok_or_else(|| cut("rows are not whole blocks"))?;
    let block = ty.block_elems();
    let whole = |n: u64| n.is_multiple_of(block);
    if !cols
        .spans()
        .iter()
        .all(|s| whole(s.from) && whole(s.to) && whole(s.len))
    {
        return Err(cut("its columns cannot be moved in whole blocks"));
    }
    let bytes = row
        .checked_mul(rows.size)
        .filter(|&bytes| i64::try_from(bytes).is_ok())
        .ok_or_else(|| cut("it would be larger than any file"))?;
    let dims = match tables {
        Some(tables) => vec![cols.size, rows.size / tables.max(1), tables],
        None if tensor.n_dims > 1 => vec![cols.size, rows.size],
        None => vec![cols.size],
    };
    let target = Target {
        name: name.to_owned(),
        from: Origin::Tensor(tensor.name.clone()),
        ty,
        dims,
        cols,
        rows,
        factor,
        bytes,
    };
    if !target.is_same() && Filler::new(ty, 0).is_none() {
        return Err(not_known(&tensor.name, ty));
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_share_a_block_move_together() {
        for (block, dim, heads) in [(256, 128, 2), (256, 64, 4), (32, 64, 1), (256, 96, 8)] {
            assert_eq!(heads_a_block(block, dim), heads, "{block} {dim}");
        }
    }

    #[test]
    fn added_layers_are_spread_evenly() {
        for (real, layers) in [(4, 8), (28, 80), (30, 33), (5, 5), (3, 100)] {
            let runs: Vec<_> = (0..real).map(|i| run_length(i, real, layers)).collect();
            assert_eq!(runs.iter().sum::<usize>(), layers);
            let (least, most) = (runs.iter().min().unwrap(), runs.iter().max().unwrap());
            assert!(most - least <= 1, "{runs:?}");
        }
    }
}
