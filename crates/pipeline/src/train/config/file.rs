//! The text of a configuration: read, replaced in parts, and as what a run is known by.

use std::path::{Path, PathBuf};

use super::TrainConfig;
use crate::train::error::{Result, TrainError};

impl TrainConfig {
    /// Reads a TOML file and then `set`, entries `key.of.it=value` that win.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, an entry out of range.
    pub fn read(path: &Path, set: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TrainError::File { path: path.into(), source })?;
        let wrong =
            |e: toml::de::Error| TrainError::Config { path: path.into(), what: one_line(&e) };
        let mut table: toml::Table = text.parse().map_err(wrong)?;
        set.iter().try_for_each(|entry| replace(&mut table, entry))?;
        let config: Self = table.try_into().map_err(wrong)?;
        config.check()?;
        Ok(config)
    }

    /// The text of the file, without `out` and what is only kept and shown: what a run is, wherever it lies.
    ///
    /// # Errors
    /// None for finite numbers.
    pub fn identity(&self) -> Result<String> {
        let wrong = |what: String| TrainError::Config { path: self.out.clone(), what };
        let bare = Self { out: PathBuf::new(), keep: super::Keep::default(), ..self.clone() };
        let mut value = serde_json::to_value(&bare).map_err(|e| wrong(e.to_string()))?;
        without_nulls(&mut value);
        let table = toml::Value::try_from(value).map_err(|e| wrong(e.to_string()))?;
        toml::to_string(&table).map_err(|e| wrong(e.to_string()))
    }
}

/// Takes away what is absent, for which TOML has no word.
fn without_nulls(value: &mut serde_json::Value) {
    if let Some(entries) = value.as_object_mut() {
        entries.retain(|_, entry| !entry.is_null());
        entries.values_mut().for_each(without_nulls);
    }
}

/// `a.b.c=value`: a TOML value, or a word.
fn replace(table: &mut toml::Table, entry: &str) -> Result<()> {
    let wrong = |found: &str| TrainError::Entry {
        key: "--set".into(),
        found: found.into(),
        expected: "key.of.the.file=value".into(),
    };
    let (key, value) = entry.split_once('=').ok_or_else(|| wrong(entry))?;
    let parsed: Option<toml::Table> = format!("v = {value}").parse().ok();
    let value = parsed.and_then(|mut t| t.remove("v")).unwrap_or_else(|| value.into());
    let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut place = table;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let inner = place.entry(part).or_insert_with(|| toml::Table::new().into());
        place = inner.as_table_mut().ok_or_else(|| wrong(entry))?;
    }
    place.insert(last.into(), value);
    Ok(())
}

/// A parser's message on one line, with its place.
fn one_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let place = text.lines().next().filter(|line| line.contains("line")).unwrap_or_default();
    let place = place.trim_start_matches("TOML parse error ");
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    if place.is_empty() { message } else { format!("{message} ({place})") }
}
