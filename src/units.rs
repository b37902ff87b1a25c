//! Quantities that cross module borders, each with a type of its own.

use std::fmt;
use std::str::FromStr;

/// A number of bytes. Reads `512MiB`, `4GiB`, `4G`, `1.5g`, `4096`; prints in binary units.
///
/// `K`, `M`, `G`, `T` alone mean the binary unit, as `-m` and `--memory` options of
/// other programs have it; `KB`, `MB`, `GB`, `TB` are decimal.
///
/// ```
/// use nmos::units::Bytes;
///
/// let budget: Bytes = "960MiB".parse()?;
/// assert_eq!(budget, Bytes::mib(960));
/// assert_eq!(budget.to_string(), "960 MiB");
/// # Ok::<(), nmos::units::BytesError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    pub const KIB: u64 = 1 << 10;
    pub const MIB: u64 = 1 << 20;
    pub const GIB: u64 = 1 << 30;

    /// `n` mebibytes.
    pub const fn mib(n: u64) -> Self {
        Self(n * Self::MIB)
    }

    /// The difference, or zero where `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0 as f64;
        let text = match self.0 {
            b if b >= Self::GIB * 10 => format!("{:.1} GiB", n / Self::GIB as f64),
            b if b >= Self::GIB => format!("{:.2} GiB", n / Self::GIB as f64),
            b if b >= Self::MIB => format!("{:.0} MiB", n / Self::MIB as f64),
            b if b >= Self::KIB => format!("{:.0} KiB", n / Self::KIB as f64),
            b => format!("{b} B"),
        };
        f.pad(&text)
    }
}

/// Why a text is not a size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a size: write a number and a unit, as in 512MiB, 4GiB or 4G")]
pub struct BytesError(String);

impl FromStr for Bytes {
    type Err = BytesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BytesError(text.to_owned());
        let trimmed = text.trim();
        let split = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let number: f64 = number.parse().map_err(|_| bad())?;
        let scale: f64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kib" => 1024.0,
            "m" | "mib" => 1_048_576.0,
            "g" | "gib" => 1_073_741_824.0,
            "t" | "tib" => 1_099_511_627_776.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            _ => return Err(bad()),
        };
        let bytes = (number * scale).round();
        // 2^53 is where an f64 stops holding every whole number; 8 PiB is past any machine.
        if !(0.0..=9.007e15).contains(&bytes) {
            return Err(bad());
        }
        Ok(Self(bytes as u64))
    }
}

impl<'de> serde::Deserialize<'de> for Bytes {
    /// A number of bytes or a text with a unit.
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"512MiB\" or a number of bytes")
            }
            fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Bytes, E> {
                Ok(Bytes(v))
            }
            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Bytes, E> {
                u64::try_from(v).map(Bytes).map_err(E::custom)
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Bytes, E> {
                v.parse().map_err(E::custom)
            }
        }
        d.deserialize_any(Visitor)
    }
}

/// A token of a model's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub i32);

/// A layer of a model, counted from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerIdx(pub u32);

/// Microseconds on a session's clock.
pub type Micros = u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes) in [
            ("512MiB", 512 << 20),
            ("4GiB", 4 << 30),
            ("4G", 4 << 30),
            ("1.5g", 3 << 29),
            ("2 GB", 2_000_000_000),
            ("4096", 4096),
        ] {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in [
            "",
            "MiB",
            "-1G",
            "4X",
            "1e9",
            "4GiBs",
            "99999999T",
            "1.2.3G",
        ] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
        assert_eq!(Bytes(960 << 20).to_string(), "960 MiB");
        assert_eq!(Bytes(3 << 29).to_string(), "1.50 GiB");
    }
}
