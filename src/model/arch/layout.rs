//! A model whose tensors are all there and fit together, as its architecture's table asks.

use super::{Arch, ArchError, Axis, Kind, ModelShape, Slot, Step, TensorSpec, keys, names};
use crate::ggml::GgmlType;
use crate::model::gguf::{Gguf, TensorInfo};
use crate::vocabulary::ShardPart;

/// A tensor of a layer, and what the architecture says of it.
#[derive(Clone, Debug)]
pub struct LayerTensor {
    pub part: ShardPart,
    pub spec: &'static TensorSpec,
    pub info: TensorInfo,
}

/// The tensors of one layer, in the order of the architecture's table.
#[derive(Clone, Debug)]
pub struct LayerTensors(Vec<LayerTensor>);

impl LayerTensors {
    pub fn iter(&self) -> impl Iterator<Item = &LayerTensor> {
        self.0.iter()
    }

    pub fn get(&self, slot: Slot) -> Option<&TensorInfo> {
        let found = self.iter().find(|t| t.spec.slot == slot)?;
        Some(&found.info)
    }

    /// What comes and goes with the shard of `part`.
    pub fn matrices(&self, part: ShardPart) -> impl Iterator<Item = &TensorInfo> {
        let of_part = self
            .iter()
            .filter(move |t| t.part == part && t.spec.kind == Kind::Matrix);
        of_part.map(|t| &t.info)
    }

    /// What stays in memory: norms and biases.
    pub fn vectors(&self) -> impl Iterator<Item = &TensorInfo> {
        let small = self.iter().filter(|t| t.spec.kind != Kind::Matrix);
        small.map(|t| &t.info)
    }
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct ModelLayout {
    pub shape: ModelShape,
    pub layers: Vec<LayerTensors>,
    pub embedding: TensorInfo,
    pub output_norm: TensorInfo,
    /// The head; the embedding itself where the model ties them.
    pub output: TensorInfo,
    pub rope_factors: Option<TensorInfo>,
}

impl ModelLayout {
    /// Reads and checks the layout of `gguf`.
    ///
    /// # Errors
    /// Names the file and the first thing that is unsupported, missing or of a wrong shape.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ArchError> {
        let name = gguf.architecture()?;
        let arch = Arch::ALL
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| ArchError::Unsupported {
                path: gguf.path().to_owned(),
                arch: name.to_owned(),
            })?;
        Self::by_table(gguf, arch)
    }

    /// Reads and checks the layout of a mixture of experts, which our graphs do not compute.
    ///
    /// # Errors
    /// As [`ModelLayout::from_gguf`].
    pub fn of_mixture(gguf: &Gguf) -> Result<Self, ArchError> {
        let name = gguf.architecture()?;
        let arch = Arch::MIXTURES
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| ArchError::Mixture {
                path: gguf.path().to_owned(),
                arch: name.to_owned(),
            })?;
        Self::by_table(gguf, arch)
    }

    fn by_table(gguf: &Gguf, arch: &'static Arch) -> Result<Self, ArchError> {
        match keys::judge(gguf, arch.name, arch.keys) {
            keys::Verdict::Honoured => {}
            keys::Verdict::Foreign(what) => return Err(ArchError::variant(gguf, what)),
            keys::Verdict::Wrong(what) => return Err(ArchError::invalid(gguf, what)),
        }
        let shape = ModelShape::read(gguf, arch)?;
        if let Some(what) = names::foreign(gguf, &shape) {
            return Err(ArchError::variant(gguf, what));
        }
        if shape.head_dim % 8 != 0 {
            let what = format!("heads of {} elements", shape.head_dim);
            return Err(ArchError::variant(gguf, what));
        }
        Checker { gguf, shape }.layout()
    }
}

struct Checker<'a> {
    gguf: &'a Gguf,
    shape: ModelShape,
}

impl Checker<'_> {
    fn invalid(&self, what: impl Into<String>) -> ArchError {
        ArchError::invalid(self.gguf, what)
    }

    fn layout(self) -> Result<ModelLayout, ArchError> {
        let layers = (0..self.shape.n_layer)
            .map(|i| self.layer(i))
            .collect::<Result<_, _>>()?;
        let embedding = self.required_edge(Slot::Embedding)?;
        let output_norm = self.required_edge(Slot::OutputNorm)?;
        let output = self.edge(Slot::Output)?;
        let rope_factors = self.edge(Slot::RopeFactors)?;
        Ok(ModelLayout {
            layers,
            output: output.unwrap_or_else(|| embedding.clone()),
            embedding,
            output_norm,
            rope_factors,
            shape: self.shape,
        })
    }

    /// The tensor of `slot` outside of layers, where the architecture has it and the file.
    fn edge(&self, slot: Slot) -> Result<Option<TensorInfo>, ArchError> {
        match self.shape.arch.edges.iter().find(|t| t.slot == slot) {
            Some(spec) => self.tensor(spec, slot.name()),
            None => Ok(None),
        }
    }

    fn required_edge(&self, slot: Slot) -> Result<TensorInfo, ArchError> {
        self.edge(slot)?.ok_or_else(|| self.missing(slot.name()))
    }

    fn layer(&self, index: usize) -> Result<LayerTensors, ArchError> {
        let mut tensors = Vec::new();
        for step in self.shape.arch.steps() {
            self.check_groups(step, index)?;
            for spec in step.tensors {
                if let Some(info) = self.tensor(spec, &name_in(index, spec))? {
                    tensors.push(LayerTensor {
                        part: step.part,
                        spec,
                        info,
                    });
                }
            }
        }
        Ok(LayerTensors(tensors))
    }

    /// What goes only together is there whole or not at all.
    fn check_groups(&self, step: &Step, layer: usize) -> Result<(), ArchError> {
        let group = step.tensors.iter().filter(|spec| spec.is_all_or_none());
        let (there, missing): (Vec<_>, Vec<_>) = group
            .map(|spec| name_in(layer, spec))
            .partition(|name| self.gguf.tensor(name).is_some());
        match there.first() {
            Some(name) if !missing.is_empty() => Err(ArchError::variant(
                self.gguf,
                format!("the tensor {name} without the others of its kind"),
            )),
            _ => Ok(()),
        }
    }

    fn missing(&self, name: &str) -> ArchError {
        self.invalid(format!("tensor {name} is missing"))
    }

    /// The file's tensor `name`, which must be as `spec` has it; `None` where it may be missing
    /// and is.
    fn tensor(&self, spec: &TensorSpec, name: &str) -> Result<Option<TensorInfo>, ArchError> {
        let Some(tensor) = self.gguf.tensor(name) else {
            return match spec.is_required() {
                true => Err(self.missing(name)),
                false => Ok(None),
            };
        };
        let [row, rows] = spec.dims.map(|axis| self.shape.size_of(axis) as u64);
        let tables = match spec.per_expert {
            true => self.shape.size_of(Axis::Experts) as u64,
            false => 1,
        };
        let want = [row, rows, tables, 1];
        if tensor.dims != want {
            return Err(self.invalid(format!(
                "tensor {name} has shape {:?}, not {want:?}",
                tensor.dims
            )));
        }
        match spec.kind {
            Kind::Matrix if !is_multiplied_by(tensor.ty) => {
                Err(self.invalid(format!("tensor {name} is of type {:?}", tensor.ty)))
            }
            Kind::Norm | Kind::Bias | Kind::Factors if tensor.ty != GgmlType::F32 => {
                Err(self.invalid(format!("tensor {name} is {:?}, not F32", tensor.ty)))
            }
            _ => Ok(Some(tensor.clone())),
        }
    }
}

fn name_in(layer: usize, spec: &TensorSpec) -> String {
    format!("blk.{layer}.{}", spec.slot.name())
}

/// Whether ggml multiplies by matrices of this type and converts them: its Q8_1 and Q8_K exist
/// for activations alone.
fn is_multiplied_by(ty: GgmlType) -> bool {
    !matches!(
        ty,
        GgmlType::I8
            | GgmlType::I16
            | GgmlType::I32
            | GgmlType::I64
            | GgmlType::F64
            | GgmlType::Q8_1
            | GgmlType::Q8_K
    )
}
