//! What lists and recommendations say of a model: its size, its parameters, how it would run.

use std::path::Path;

use crate::model::catalog::{self, Entry, Facts, HubEntry, Role};
use crate::plan::{Capacity, Load, Suitability};
use crate::units::Bytes;

/// The share of the weights that computes a token, where a model does not say.
const DENSE: f64 = 1.0;

/// A model of the catalogue, of whichever kind.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    Entry(&'static Entry),
    Hub(&'static HubEntry),
}

/// A file's size, and whether it is known exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    Exact(Bytes),
    About(Bytes),
}

impl Size {
    pub fn bytes(self) -> Bytes {
        match self {
            Self::Exact(bytes) | Self::About(bytes) => bytes,
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(bytes) => f.pad(&bytes.to_string()),
            Self::About(bytes) => {
                let gib = bytes.0 as f64 / Bytes::GIB as f64;
                let digits = usize::from(gib < 10.0);
                f.pad(&format!("about {gib:.digits$} GiB"))
            }
        }
    }
}

impl Known {
    /// Every model of the catalogue.
    pub fn all() -> impl Iterator<Item = Self> {
        let files = catalog::entries().iter().map(Self::Entry);
        files.chain(catalog::hub_entries().iter().map(Self::Hub))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Entry(entry) => &entry.name,
            Self::Hub(entry) => &entry.name,
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Entry(entry) => &entry.title,
            Self::Hub(entry) => &entry.title,
        }
    }

    pub fn role(self) -> Role {
        match self {
            Self::Entry(entry) => entry.role,
            Self::Hub(entry) => entry.role,
        }
    }

    pub fn facts(self) -> Option<&'static Facts> {
        match self {
            Self::Entry(entry) => entry.facts.as_ref(),
            Self::Hub(entry) => Some(&entry.facts),
        }
    }

    pub fn size(self) -> Option<Size> {
        let exact = match self {
            Self::Entry(entry) => entry.size,
            Self::Hub(_) => None,
        };
        let about = || Some(Bytes((self.facts()?.about_gb? * 1e9) as u64));
        exact
            .map(|size| Size::Exact(Bytes(size)))
            .or_else(|| about().map(Size::About))
    }

    pub fn load(self) -> Option<Load> {
        Some(load(self.size()?.bytes(), self.facts()))
    }
}

/// What a model of so many bytes asks of a machine.
pub fn load(bytes: Bytes, facts: Option<&Facts>) -> Load {
    Load {
        bytes,
        active_share: facts.map_or(DENSE, Facts::active_share),
    }
}

/// `7.6B`, `35B-A3B`: all parameters, and those of a mixture that are active.
pub fn parameters(facts: &Facts) -> String {
    let billions = |n: f64| match n {
        n if n < 1.0 => format!("{:.0}M", n * 1000.0),
        n if n < 10.0 && n.fract() != 0.0 => format!("{n:.1}B"),
        n => format!("{n:.0}B"),
    };
    match facts.active {
        Some(active) => format!("{}-A{}", billions(facts.parameters), billions(active)),
        None => billions(facts.parameters),
    }
}

/// How a model would run, in a few words.
pub fn verdict(suitability: Suitability) -> String {
    match suitability {
        Suitability::Fits => "fits".to_owned(),
        Suitability::Streams {
            predicted_tokens_per_s,
        } => format!(
            "streams at about {} tokens/s (predicted)",
            speed(predicted_tokens_per_s)
        ),
        Suitability::TooSlow { .. } => "too slow (predicted)".to_owned(),
    }
}

/// Tokens a second to two digits, as a prediction has no more.
pub fn speed(tokens_per_s: f64) -> String {
    let digits = match tokens_per_s {
        n if n >= 9.5 => 0,
        n if n >= 0.95 => 1,
        _ => 2,
    };
    format!("{tokens_per_s:.digits$}")
}

/// What the verdicts rest on.
pub fn basis(capacity: &Capacity) -> String {
    let disk = capacity.disk_bytes_per_s() / 1e9;
    let how = match capacity.disk {
        Some(_) => format!("a disk of {disk:.1} GB/s (measured by `nmos doctor`)"),
        None => format!("a disk of {disk:.0} GB/s (assumed: `nmos doctor` measures it)"),
    };
    format!("{} of memory and {how}", capacity.ram)
}

/// The machine, with the memory that was asked for or that can be had. `None` where it does not
/// say.
pub fn capacity(asked: Option<Bytes>, models: &Path) -> Option<Capacity> {
    let held = crate::system::rss().unwrap_or_default();
    let free = || crate::system::budget(None, &crate::system::memory(), held).ok();
    // The disk that models will be on, before there are any.
    let place = models.ancestors().find(|path| path.exists());
    Some(Capacity {
        ram: asked.or_else(free)?,
        disk: place.and_then(crate::system::measure::Tuning::of),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_exact_as_they_are_known() {
        assert_eq!(Size::Exact(Bytes(1_117_320_768)).to_string(), "1.04 GiB");
        assert_eq!(
            Size::About(Bytes(22_100_000_000)).to_string(),
            "about 21 GiB"
        );
        assert_eq!(
            Size::About(Bytes(2_500_000_000)).to_string(),
            "about 2.3 GiB"
        );
        assert_eq!([12.34, 1.234, 0.1234].map(speed), ["12", "1.2", "0.12"]);
        let facts = |parameters, active| Facts {
            licence: "MIT".into(),
            parameters,
            active,
            about_gb: None,
        };
        assert_eq!(parameters(&facts(35.0, Some(3.0))), "35B-A3B");
        assert_eq!(parameters(&facts(116.8, Some(5.1))), "117B-A5.1B");
        assert_eq!(parameters(&facts(7.62, None)), "7.6B");
        assert_eq!(parameters(&facts(0.135, None)), "135M");
    }

    #[test]
    fn every_known_model_has_a_size() {
        for known in Known::all() {
            assert!(known.load().is_some(), "{}", known.name());
        }
    }
}
