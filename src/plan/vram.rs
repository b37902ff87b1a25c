//! Who gets how much of `--vram`.
//!
//! ```text
//!  | driver, kernels | KV cache | activations, scratch | norms | draft | weights: staying, window |
//!    measured once     max for ctx                              predicted  what is left
//! ```
//!
//! The driver counts what it takes for its own context and for the code of the kernels to the
//! process: that is a part of the budget too.

use crate::ggml::{self, Device};
use crate::ledger::{Ledger, Owner};
use crate::model::ModelLayout;
use crate::oracle::LayerOracle;
use crate::river::{Shard, WindowPlan};
use crate::units::Bytes;

/// What the driver takes for a process, and the code of the kernels that a pass uses.
const DRIVER: Bytes = Bytes::mib(640);

/// The part of the free memory that is left to others, and the least and most of it.
const MARGIN_PART: u64 = 16;
const MARGIN_LEAST: Bytes = Bytes::mib(256);
const MARGIN_MOST: Bytes = Bytes::mib(2048);

/// The most of the GPU's memory that the process may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vram {
    /// What is free less a margin, where there is a GPU.
    Auto,
    /// Nothing: the GPU is left alone.
    None,
    Size(Bytes),
}

/// The GPU that was asked for cannot be had as asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoVram {
    #[error("--vram {asked} asks for a GPU: {why}")]
    NoGpu { asked: Bytes, why: String },
    #[error(
        "--vram {asked} is more than the {free} that are free on {device}: give at most that, or \
         leave --vram out"
    )]
    TooMuch {
        asked: Bytes,
        free: Bytes,
        device: String,
    },
}

/// The GPU; or the processor in its place, where `NMOS_GPU=cpu` asks for the stand-in, so that
/// sessions can be tried where there is no GPU.
fn device() -> Option<Device> {
    match std::env::var("NMOS_GPU").as_deref() {
        Ok("cpu") => Device::cpu(),
        _ => Device::gpu(),
    }
}

/// The GPU to compute on and how much of its memory, when so much was `asked` for. `None`: the
/// CPU computes.
///
/// # Errors
/// Where a size was asked for that cannot be had.
pub(super) fn claim(asked: Vram) -> Result<Option<(Device, Bytes)>, NoVram> {
    let size = match asked {
        Vram::None => return Ok(None),
        Vram::Auto => None,
        Vram::Size(size) => Some(size),
    };
    let Some(device) = device() else {
        let why = ggml::no_gpu().unwrap_or(
            "none was found (its library libggml-cuda.so lies beside the other backends, or \
             NMOS_GGML_CUDA names it)",
        );
        return match size {
            None => Ok(None),
            Some(asked) => Err(NoVram::NoGpu {
                asked,
                why: why.to_owned(),
            }),
        };
    };
    let (free, _) = device.memory();
    match size {
        Some(asked) if asked > free => Err(NoVram::TooMuch {
            asked,
            free,
            device: device.description(),
        }),
        Some(asked) => Ok(Some((device, asked))),
        None => {
            let part = Bytes(free.0 / MARGIN_PART);
            let margin = part.clamp(MARGIN_LEAST, MARGIN_MOST);
            Ok(Some((device, free.saturating_sub(margin))))
        }
    }
}

/// How a device that computes is used, and who holds what of its memory.
#[derive(Clone, Debug)]
pub struct DevicePlacement {
    pub device: Device,
    /// For weights that stay and the window.
    pub weights: Bytes,
    pub window: WindowPlan,
    /// The draft is there too.
    pub holds_draft: bool,
    pub ledger: Ledger,
}

/// The device's memory is too small for a window.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{vram} of the GPU's memory are too little for this model with this context: the least that \
     works is {} MiB; give more with --vram, take a smaller --ctx or --tree, or compute without \
     the GPU (--vram 0)",
    least.0.div_ceil(Bytes::MIB)
)]
pub struct VramTooSmall {
    pub vram: Bytes,
    pub least: Bytes,
}

impl DevicePlacement {
    /// Divides `vram` for a model cut into `shards`, passes of so many tokens of context and
    /// nodes, and a draft that takes so much, if it is to be there.
    ///
    /// # Errors
    /// Says the least that works.
    pub fn new(
        (device, vram): (Device, Bytes),
        layout: &ModelLayout,
        shards: &[Shard],
        (ctx_tokens, max_nodes): (usize, usize),
        draft: Option<Bytes>,
    ) -> Result<Self, VramTooSmall> {
        let mut ledger = Ledger::new(vram);
        ledger.fixed(Owner::Driver, DRIVER);
        for (owner, bytes) in LayerOracle::device_bytes(layout, ctx_tokens, max_nodes) {
            ledger.predicted(owner, bytes);
        }
        if let Some(bytes) = draft {
            ledger.predicted(Owner::Draft, bytes);
        }
        let weights = ledger.free();
        let window = WindowPlan::new(shards, weights).map_err(|why| VramTooSmall {
            vram,
            least: Bytes(ledger.given().0 + why.least.0),
        })?;
        let slots = window.slots * window.slot_bytes;
        ledger.predicted(Owner::PinnedWeights, Bytes(window.staying_bytes as u64));
        ledger.predicted(Owner::Window, Bytes(slots as u64));
        Ok(Self {
            device,
            weights,
            window,
            holds_draft: draft.is_some(),
            ledger,
        })
    }
}
