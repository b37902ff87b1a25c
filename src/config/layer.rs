//! The configuration file as a layer.

use super::fault::{ConfigError, Fault, SourceFile, nearest};
use super::read::wrong_kind;
use super::{Layer, ROWS};
use toml::de::{DeTable, DeValue};

/// The table that is the keymap's to read.
const KEYS: &str = "keys";

impl Layer {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first mistake, with its line, its key and what is allowed.
    pub fn parse(file: &SourceFile) -> Result<Self, ConfigError> {
        let document = DeTable::parse(&file.text).map_err(|error| file.syntax(&error))?;
        let mut layer = Self::default();
        layer.read_table(file, None, document.get_ref())?;
        Ok(layer)
    }

    /// Reads the top level, or the table `name`.
    fn read_table(
        &mut self,
        file: &SourceFile,
        name: Option<&'static str>,
        table: &DeTable<'_>,
    ) -> Result<(), Fault> {
        let inner = |key: &str| match name {
            None => tables().find(|table| *table == key),
            Some(_) => None,
        };
        for (key, value) in table {
            let row = ROWS.iter().find(|row| row.place() == (name, key.get_ref()));
            if let Some(row) = row {
                row.read_toml(value.get_ref(), self)
                    .map_err(|what| file.fault(value.span(), what))?;
            } else if let Some(table) = inner(key.get_ref()) {
                let DeValue::Table(rows) = value.get_ref() else {
                    let what = wrong_kind(value.get_ref(), "a table");
                    return Err(file.fault(value.span(), what));
                };
                if table != KEYS {
                    self.read_table(file, Some(table), rows)?;
                }
            } else {
                let fault = file.fault(key.span(), "there is no such setting");
                return Err(fault.with_hint(allowed_like(key.get_ref(), name)));
            }
        }
        Ok(())
    }
}

/// The tables of the file, in order.
fn tables() -> impl Iterator<Item = &'static str> {
    let mut tables: Vec<_> = ROWS.iter().filter_map(|row| row.place().0).collect();
    tables.dedup();
    tables.into_iter().chain([KEYS])
}

/// What a wrong key of the table `name` is likely a slip of, or all that is allowed there.
fn allowed_like(key: &str, name: Option<&str>) -> String {
    let places = ROWS.iter().map(|row| row.place());
    let rows = places.filter(|(table, _)| *table == name);
    let mut allowed: Vec<&str> = rows.map(|(_, key)| key).collect();
    if name.is_none() {
        allowed.extend(tables());
    }
    match nearest(key, &allowed) {
        Some(name) => format!("did you mean '{name}'?"),
        None => format!("allowed here: {}", allowed.join(", ")),
    }
}
