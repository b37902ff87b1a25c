//! GGUF key-value metadata.
//!
//! Scalars and strings are kept. Arrays are kept as the place where they lie in the file: a
//! vocabulary of 150,000 strings costs 24 bytes here, and is read again only by who asks.

use std::collections::BTreeMap;

use super::cursor::{Cursor, MAX_STRING_BYTES};
use super::error::GgufFault;

/// Arrays of arrays of arrays are legal GGUF; nobody writes more than one level.
const MAX_NESTING: usize = 4;
/// The format's own limit on a key.
const MAX_KEY_BYTES: u64 = 65_535;
/// A key's length, an empty key, a type and one byte of value.
pub(super) const MIN_ENTRY_BYTES: u64 = 8 + 4 + 1;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(ArrayRef),
}

/// Where an array lies: `len` elements of one type, the first at byte `offset` of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayRef {
    pub element: ValueType,
    pub len: u64,
    pub(super) offset: u64,
}

/// The type of a metadata value, with GGUF's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    fn from_id(id: u32) -> Option<Self> {
        use ValueType as T;
        [
            T::U8,
            T::I8,
            T::U16,
            T::I16,
            T::U32,
            T::I32,
            T::F32,
            T::Bool,
            T::String,
            T::Array,
            T::U64,
            T::I64,
            T::F64,
        ]
        .into_iter()
        .find(|ty| *ty as u32 == id)
    }

    fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// The least bytes that an element of this type takes.
    pub(super) fn min_bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::String => 8,
            Self::Array => 12,
        }
    }
}

impl Value {
    /// "u32", "array of 12 string": what an error says was found.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Array(a) => format!("an array of {} {}", a.len, a.element.name()),
            Self::String(_) => "a string".into(),
            Self::Bool(_) => "a bool".into(),
            other => format!("the number {}", other.number()),
        }
    }

    fn number(&self) -> String {
        match self {
            Self::F32(v) => format!("{v} (f32)"),
            Self::F64(v) => format!("{v} (f64)"),
            other => other.integer().map_or_else(String::new, |v| v.to_string()),
        }
    }

    /// The value of any integer type.
    pub(super) fn integer(&self) -> Option<i128> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::I8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::I16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::I32(v) => Some(v.into()),
            Self::U64(v) => Some(v.into()),
            Self::I64(v) => Some(v.into()),
            _ => None,
        }
    }
}

/// All metadata of one file, by key.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    entries: BTreeMap<String, Value>,
}

impl Metadata {
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// Keys and values in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Reads `count` entries.
    pub(super) fn parse(cursor: &mut Cursor<'_>, count: u64) -> Result<Self, GgufFault> {
        let mut metadata = Self::default();
        for _ in 0..count {
            metadata.parse_entry(cursor)?;
        }
        Ok(metadata)
    }

    /// Reads one more entry.
    pub(super) fn parse_entry(&mut self, cursor: &mut Cursor<'_>) -> Result<(), GgufFault> {
        let key = cursor.string(MAX_KEY_BYTES, "a metadata key")?;
        let value = parse_value(cursor, key)?;
        if self.entries.insert(key.to_owned(), value).is_some() {
            return Err(GgufFault::DuplicateKey(key.to_owned()));
        }
        Ok(())
    }
}

fn value_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType, GgufFault> {
    let id = cursor.u32("a value type")?;
    ValueType::from_id(id).ok_or_else(|| GgufFault::ValueType {
        key: key.to_owned(),
        id,
    })
}

fn parse_value(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, GgufFault> {
    Ok(match value_type(cursor, key)? {
        ValueType::U8 => Value::U8(cursor.u8(key)?),
        ValueType::I8 => Value::I8(cursor.u8(key)?.cast_signed()),
        ValueType::U16 => Value::U16(cursor.u16(key)?),
        ValueType::I16 => Value::I16(cursor.u16(key)?.cast_signed()),
        ValueType::U32 => Value::U32(cursor.u32(key)?),
        ValueType::I32 => Value::I32(cursor.u32(key)?.cast_signed()),
        ValueType::F32 => Value::F32(f32::from_bits(cursor.u32(key)?)),
        ValueType::U64 => Value::U64(cursor.u64(key)?),
        ValueType::I64 => Value::I64(cursor.u64(key)?.cast_signed()),
        ValueType::F64 => Value::F64(f64::from_bits(cursor.u64(key)?)),
        ValueType::Bool => match cursor.u8(key)? {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            value => {
                return Err(GgufFault::BadBool {
                    key: key.to_owned(),
                    value,
                });
            }
        },
        // llama.cpp takes any bytes: a name in another encoding is no damage.
        ValueType::String => {
            let bytes = cursor.bytes(MAX_STRING_BYTES, key)?;
            Value::String(String::from_utf8_lossy(bytes).into_owned())
        }
        ValueType::Array => Value::Array(parse_array(cursor, key, 1)?),
    })
}

/// Notes where an array lies and passes over it.
fn parse_array(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<ArrayRef, GgufFault> {
    if depth > MAX_NESTING {
        return Err(GgufFault::Nesting {
            key: key.to_owned(),
            limit: MAX_NESTING,
        });
    }
    let element = value_type(cursor, key)?;
    let len = cursor.count(element.min_bytes(), "array elements")?;
    let offset = cursor.offset();
    match element {
        ValueType::String => {
            for _ in 0..len {
                cursor.skip_string(key)?;
            }
        }
        ValueType::Array => {
            for _ in 0..len {
                parse_array(cursor, key, depth + 1)?;
            }
        }
        // `count` has checked that this product is in the file.
        fixed => drop(cursor.take(len * fixed.min_bytes(), key)?),
    }
    Ok(ArrayRef {
        element,
        len,
        offset,
    })
}
