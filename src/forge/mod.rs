//! Test models of any size: a small real model made larger so that it computes the same
//! function, with real text and real acceptance at the byte and compute load of a large one.
//!
//! ```text
//!  deeper   layer 0, added, layer 1, added, ...   what an added layer adds to the residual is
//!                                                 multiplied by scales of zero
//!  wider    | real columns | filler |             filler is multiplied by scales of zero; norms
//!           | filler       | filler |             are adjusted to the longer rows
//!
//!  source -> [requantised, if asked for] -> grown -> compared with what it came from -> named
//! ```
//!
//! A mixture of experts grows in the same way, each expert in its width. A dense model becomes one
//! with copies of its feed-forward for experts: a token's experts compute the same, and their
//! weights sum to one. Its routers tell apart what the source's layers see ([`Routers`]).
//!
//! What is only deeper gives the same bits as its source, and so does what is wider by a power
//! of four, unless heads have norms of their own. All other widths give logits to within rounding:
//! norms multiply by rounded factors. So do copies of a feed-forward, whose results are weighted and
//! added up.
//!
//! A forged file is there whole or not at all, and says in `general.name` what it is. Memory
//! is a few megabytes while writing, and what the oracle is given while comparing. Routers that are
//! made, and the states that they are made from, are held besides: some megabytes a layer.

mod axis;
mod blueprint;
mod centres;
mod filler;
mod metadata;
mod quant;
mod role;
mod routers;
mod running;
mod shape;
mod source;
mod staged;
mod verify;
mod write;

pub use axis::{AxisMap, HeadMaps, Heads, HeadsError, Span};
pub use blueprint::{Blueprint, Origin, Target};
pub use quant::Quant;
pub use routers::{Routers, RoutersError, Shares};
pub use running::{Means, RunError};
pub use shape::{Dims, Growth, MAX_EXPERTS, MAX_LAYERS, PRESETS, ShapeError};
pub use staged::free_bytes;
pub use verify::{Agreement, Difference, Likeness, TOLERANCE, VerifyError, verify};

use crate::ggml::GgufHeaderError;
use crate::model::progress::Progress;
use crate::model::{ArchError, GgmlType, Gguf, GgufError};
use crate::units::Bytes;
use source::Source;
use staged::Staged;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a model cannot be forged.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(transparent)]
    Arch(#[from] ArchError),
    #[error(transparent)]
    Shape(#[from] ShapeError),
    #[error(transparent)]
    Header(#[from] GgufHeaderError),
    #[error("tensor {tensor}: {what}")]
    Tensor { tensor: String, what: String },
    #[error("{}: {what} is not known in a mixture of experts, so that it cannot grow", path.display())]
    Unknown { path: PathBuf, what: String },
    #[error("nothing is asked for that would change the model")]
    Nothing,
    #[error("{}: is there already; remove it or choose another name", .0.display())]
    Exists(PathBuf),
    #[error(
        "{}: the disk has {free} free, and {needed} are needed; nothing was written",
        path.display()
    )]
    NoSpace {
        path: PathBuf,
        needed: Bytes,
        free: Bytes,
    },
    #[error("{}: cannot be {step}: {source}", path.display())]
    Io {
        step: IoStep,
        path: PathBuf,
        source: io::Error,
    },
    #[error("stopped; nothing was kept")]
    Stopped,
    #[error(transparent)]
    Routers(Box<RoutersError>),
    #[error(transparent)]
    Verify(Box<VerifyError>),
}

impl From<RoutersError> for ForgeError {
    fn from(error: RoutersError) -> Self {
        Self::Routers(Box::new(error))
    }
}

impl From<VerifyError> for ForgeError {
    fn from(error: VerifyError) -> Self {
        Self::Verify(Box::new(error))
    }
}

/// What failed on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoStep {
    Read,
    Write,
    Create,
    Place,
}

impl fmt::Display for IoStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "written",
            Self::Create => "created",
            Self::Place => "put in place",
        })
    }
}

/// A tensor whose type has no filler.
fn not_known(tensor: &str, ty: GgmlType) -> ForgeError {
    ForgeError::Tensor {
        tensor: tensor.to_owned(),
        what: format!(
            "where the scales of type {ty} lie is not known, so that it cannot be made worthless; \
             --quant gives it another type"
        ),
    }
}

/// Who is told how far things are, and who may stop them.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    pub progress: &'a dyn Progress,
    pub stop: &'a AtomicBool,
}

impl Watch<'_> {
    fn check(&self) -> Result<(), ForgeError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(ForgeError::Stopped),
            false => Ok(()),
        }
    }
}

/// A model that is to be made: everything is decided, nothing written.
#[derive(Debug)]
pub struct Forge {
    source: Source,
    /// The source in other types.
    requantised: Option<Blueprint>,
    grown: Option<Blueprint>,
    seed: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forged {
    pub made: Made,
    /// Where routers were made.
    pub routing: Option<Shares>,
}

/// What is known of a file that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Made {
    /// Compared with what it was made from.
    Agrees(Agreement),
    /// Not compared, as asked for.
    NotCompared,
    /// Only requantised: there is nothing that it has to agree with.
    Requantised,
}

impl Forge {
    /// Decides how the model at `source` grows. `seed` decides what filler is made of.
    ///
    /// # Errors
    /// A source that is not supported and a shape that cannot be.
    pub fn new(
        source: &Path,
        growth: &Growth,
        quant: Option<Quant>,
        seed: u64,
    ) -> Result<Self, ForgeError> {
        let source = Source::open(source)?;
        if growth.is_none() && quant.is_none() {
            return Err(ForgeError::Nothing);
        }
        let typed = match quant {
            Some(quant) => source.with_types_of(quant),
            None => source.clone(),
        };
        let requantised = quant
            .map(|quant| Blueprint::requantised(&typed, quant))
            .transpose()?;
        let grown = match growth.is_none() {
            true => None,
            false => Some(Blueprint::grown(&typed, growth, quant)?),
        };
        if let Some(grown) = &grown
            && grown.dims == Dims::of(source.shape())
        {
            return Err(ForgeError::Nothing);
        }
        Ok(Self {
            source,
            requantised,
            grown,
            seed,
        })
    }

    /// The source's name.
    pub fn source_name(&self) -> String {
        self.source.gguf().name()
    }

    pub fn source_dims(&self) -> Dims {
        Dims::of(self.source.shape())
    }

    /// The file that comes out.
    pub fn blueprint(&self) -> Option<&Blueprint> {
        self.grown.as_ref().or(self.requantised.as_ref())
    }

    /// Space on the disk that is taken while it is made.
    pub fn needed_bytes(&self) -> Bytes {
        let files = [&self.requantised, &self.grown];
        Bytes(files.into_iter().flatten().map(|b| b.file_bytes().0).sum())
    }

    /// Makes the file at `output`, and compares it if `compare` says so. Models run with `means`
    /// meanwhile.
    ///
    /// # Errors
    /// A disk without the space, before anything is written; a failed read or write; a stop; a
    /// model that computes something else. Nothing is left of the file then.
    pub fn make(
        &self,
        output: &Path,
        means: Means,
        compare: bool,
        watch: &Watch<'_>,
    ) -> Result<Forged, ForgeError> {
        self.require_space(output)?;
        let original = self.source.gguf();
        let routers = match self.grown.as_ref().and_then(|grown| grown.copies) {
            Some(experts) => Routers::find(&self.source, experts, means, watch)?,
            None => Routers::default(),
        };
        let routing = routers.shares();
        let none = Routers::default();
        let requantised = match &self.requantised {
            Some(blueprint) => {
                let staged =
                    self.stage(blueprint, (original, &none), output, "requantising", watch)?;
                Some((Gguf::open(staged.path())?, staged))
            }
            None => None,
        };
        let Some(grown) = &self.grown else {
            if let Some((_, staged)) = requantised {
                place(staged, output)?;
            }
            return Ok(Forged {
                made: Made::Requantised,
                routing,
            });
        };
        let base = requantised.as_ref().map_or(original, |(gguf, _)| gguf);
        let staged = self.stage(grown, (base, &routers), output, "forging", watch)?;
        let made = match compare {
            true => {
                let likeness = match grown.dims.same_layers(&self.source_dims()) {
                    true => Likeness::Bits,
                    false => Likeness::Text,
                };
                Made::Agrees(verify(base.path(), staged.path(), likeness, means, watch)?)
            }
            false => Made::NotCompared,
        };
        place(staged, output)?;
        Ok(Forged { made, routing })
    }

    fn require_space(&self, output: &Path) -> Result<(), ForgeError> {
        if output.symlink_metadata().is_ok() {
            return Err(ForgeError::Exists(output.to_owned()));
        }
        let free = free_bytes(output).map_err(|source| ForgeError::Io {
            step: IoStep::Create,
            path: output.to_owned(),
            source,
        })?;
        let needed = self.needed_bytes();
        if needed > free {
            return Err(ForgeError::NoSpace {
                path: output.to_owned(),
                needed,
                free,
            });
        }
        Ok(())
    }

    /// Writes a file that has no name yet, and reads its index back.
    fn stage(
        &self,
        blueprint: &Blueprint,
        (from, routers): (&Gguf, &Routers),
        output: &Path,
        what: &str,
        watch: &Watch<'_>,
    ) -> Result<Staged, ForgeError> {
        watch.check()?;
        let bytes = blueprint.file_bytes();
        let staged = Staged::create(output, what, bytes).map_err(|source| ForgeError::Io {
            step: IoStep::Create,
            path: output.to_owned(),
            source,
        })?;
        watch.progress.begin(what, 0, bytes.0);
        let written = write::write(blueprint, from, routers, &staged, self.seed, watch);
        watch.progress.end();
        written?;
        Source::open(staged.path())?;
        Ok(staged)
    }
}

fn place(staged: Staged, output: &Path) -> Result<(), ForgeError> {
    staged
        .place_at(output)
        .map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => ForgeError::Exists(output.to_owned()),
            _ => ForgeError::Io {
                step: IoStep::Place,
                path: output.to_owned(),
                source,
            },
        })
}
