//! Whether a model is for this machine, from a few facts about it: before it is fetched, when there
//! is no header to plan by.
//!
//! ```text
//!   bytes | what stays in memory ........ | what is read in every pass |
//!         |<----- memory less RESERVED -->|
//! ```
//!
//! A pass reads what does not stay, all of it: also of a mixture, whose layers are read whole. One
//! token a pass is assumed; guesses that are right add to it. Everything here is predicted.

use crate::system::measure::Tuning;
use crate::units::Bytes;

use super::machine::TYPICAL_DISK;

/// Memory for what is not weights (program, KV cache, working memory, ring), or a quarter of what
/// there is where that is less.
const RESERVED: Bytes = Bytes(Bytes::GIB);

/// Bytes of weights a second that computing a single token takes in: two channels of memory.
const MEMORY_BYTES_PER_S: f64 = 30e9;

/// Slower than one token in ten seconds is of no use, guesses or not.
const TOO_SLOW: f64 = 0.1;

/// What a prediction rests on, of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// The most that a session may hold.
    pub ram: Bytes,
    /// The disk that models are on, if `nmos doctor` has measured it.
    pub disk: Option<Tuning>,
}

/// The same, of a model.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub bytes: Bytes,
    /// The share of them that computes a token.
    pub active_share: f64,
}

/// How a model would run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Suitability {
    /// All of it stays in memory.
    Fits,
    Streams {
        predicted_tokens_per_s: f64,
    },
    /// It would stream, and hardly ever answer.
    TooSlow {
        predicted_tokens_per_s: f64,
    },
}

impl Capacity {
    pub fn disk_bytes_per_s(&self) -> f64 {
        self.disk.map_or(TYPICAL_DISK, |disk| disk.gb_s * 1e9)
    }

    /// What there is for weights.
    fn for_weights(&self) -> Bytes {
        let reserved = RESERVED.min(Bytes(self.ram.0 / 4));
        self.ram.saturating_sub(reserved)
    }

    /// How a model would run here.
    pub fn judge(&self, load: Load) -> Suitability {
        let streamed = load.bytes.saturating_sub(self.for_weights());
        if streamed == Bytes(0) {
            return Suitability::Fits;
        }
        let read_s = streamed.0 as f64 / self.disk_bytes_per_s();
        let predicted_tokens_per_s = read_s.max(load.compute_s()).recip();
        if predicted_tokens_per_s < TOO_SLOW {
            Suitability::TooSlow {
                predicted_tokens_per_s,
            }
        } else {
            Suitability::Streams {
                predicted_tokens_per_s,
            }
        }
    }

    /// Tokens a second to expect at most: what weights that stay are computed at, or streamed.
    pub fn predicted_tokens_per_s(&self, load: Load) -> f64 {
        match self.judge(load) {
            Suitability::Fits => load.compute_s().recip(),
            Suitability::Streams {
                predicted_tokens_per_s,
            }
            | Suitability::TooSlow {
                predicted_tokens_per_s,
            } => predicted_tokens_per_s,
        }
    }
}

impl Load {
    fn compute_s(self) -> f64 {
        self.bytes.0 as f64 * self.active_share / MEMORY_BYTES_PER_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn gb(n: u64) -> Bytes {
        Bytes(n * 1_000_000_000)
    }

    fn at(ram_gib: u64, gb_s: Option<f64>) -> Capacity {
        let tuning = |gb_s| Tuning {
            depth: 4,
            block_bytes: 1 << 20,
            gb_s,
            measured_unix_s: None,
        };
        Capacity {
            ram: Bytes(ram_gib * Bytes::GIB),
            disk: gb_s.map(tuning),
        }
    }

    fn dense(bytes: Bytes) -> Load {
        Load {
            bytes,
            active_share: 1.0,
        }
    }

    #[test]
    fn what_fits_what_streams_and_what_is_too_slow() {
        assert_eq!(at(16, None).judge(dense(gb(5))), Suitability::Fits);
        // 20 GB less 15 GiB, at 1 GB/s.
        let Suitability::Streams {
            predicted_tokens_per_s: speed,
        } = at(16, Some(1.0)).judge(dense(gb(20)))
        else {
            panic!("it streams");
        };
        assert!((speed - 1.0 / 3.894).abs() < 0.001, "{speed}");
        let twice = at(16, Some(2.0)).predicted_tokens_per_s(dense(gb(20)));
        assert!((twice - 2.0 * speed).abs() < 1e-9);
        assert!(matches!(
            at(8, Some(1.0)).judge(dense(gb(40))),
            Suitability::TooSlow { .. }
        ));
    }

    #[test]
    fn a_small_machine_keeps_a_quarter_for_the_rest() {
        let capacity = Capacity {
            ram: Bytes::mib(1000),
            disk: None,
        };
        assert_eq!(capacity.judge(dense(Bytes::mib(750))), Suitability::Fits);
        assert_ne!(capacity.judge(dense(Bytes::mib(751))), Suitability::Fits);
    }

    #[test]
    fn of_a_mixture_only_what_is_active_computes() {
        let capacity = at(64, None);
        let mixture = Load {
            active_share: 0.1,
            ..dense(gb(40))
        };
        let (part, all) = (
            capacity.predicted_tokens_per_s(mixture),
            capacity.predicted_tokens_per_s(dense(gb(40))),
        );
        assert!((part / all - 10.0).abs() < 1e-9, "{part} {all}");
        // Streamed, its layers are read whole.
        let small = at(16, None);
        assert_eq!(
            small.predicted_tokens_per_s(mixture),
            small.predicted_tokens_per_s(dense(gb(40)))
        );
    }
}
