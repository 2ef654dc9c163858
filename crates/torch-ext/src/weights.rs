//! Safetensors files: a JSON header of names, types, shapes and offsets, then the bytes of all tensors.
//!
//! A file is mapped, not read: opening costs its header, and each tensor is copied once, from the page cache to where it
//! is wanted. Nothing in such a file can be executed. Weights in several files have an index, a JSON file whose `weight_map`
//! gives the file of each tensor. A file is written under a temporary name and renamed; the same tensors give the same
//! bytes, since names and metadata are sorted.

mod mapped;
mod writing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use mapped::Mapped;
pub use writing::{write_weights, write_whole};

/// Bytes before the header: its length.
const LENGTH: usize = 8;
/// How the name of an index ends.
const INDEX: &str = ".index.json";

/// Tensors in a safetensors file, or in several with an index.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    parts: Vec<Mapped>,
    /// The part that has a tensor.
    place: BTreeMap<String, usize>,
}

impl Weights {
    /// Maps a file, or those of an index (`….index.json`), and checks headers against lengths and the index against the
    /// files.
    ///
    /// # Errors
    /// A missing or unreadable file, one that is cut, overlong or no safetensors file at all, and an index that says
    /// something else than its files.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        if path.to_string_lossy().ends_with(INDEX) {
            return Self::open_index(path);
        }
        let part = Mapped::open(&path)?;
        let place = part.shapes().into_keys().map(|name| (name, 0)).collect();
        Ok(Self { path, parts: vec![part], place })
    }

    fn open_index(path: PathBuf) -> Result<Self> {
        let format = |what: String| Error::Format { path: path.clone(), what };
        let text = std::fs::read_to_string(&path)
            .map_err(|source| Error::Io { path: path.clone(), source })?;
        let index: Value = serde_json::from_str(&text).map_err(|e| format(e.to_string()))?;
        let map = index.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| format("it has no `weight_map`".into()))?;
        let (mut files, mut parts, mut place) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (name, file) in map {
            let plain = file.as_str().filter(|f| Path::new(f).file_name() == Some(f.as_ref()));
            let file = plain.ok_or_else(|| {
                format(format!(
                    "`{}` is in {file}, expected a file beside the index",
                    name.escape_debug()
                ))
            })?;
            let part = if let Some(part) = files.iter().position(|known| *known == file) {
                part
            } else {
                parts.push(Mapped::open(path.with_file_name(file))?);
                files.push(file);
                files.len() - 1
            };
            place.insert(name.clone(), part);
        }
        let weights = Self { path, parts, place };
        weights.check_index()?;
        Ok(weights)
    }

    /// Every tensor of the index is in its file, and every tensor of the files in the index.
    fn check_index(&self) -> Result<()> {
        let there: Vec<_> = self.parts.iter().map(Mapped::shapes).collect();
        let missing = self.place.iter().find(|(name, part)| !there[**part].contains_key(*name));
        if let Some((name, part)) = missing {
            let (path, name) = (self.parts[*part].path().to_path_buf(), name.clone());
            return Err(Error::Missing { path, name });
        }
        for (i, shapes) in there.iter().enumerate() {
            if let Some(name) = shapes.keys().find(|name| self.place.get(*name) != Some(&i)) {
                let what = format!(
                    "`{}` of {} is not in the index",
                    name.escape_debug(),
                    self.parts[i].path().display()
                );
                return Err(Error::Format { path: self.path.clone(), what });
            }
        }
        Ok(())
    }

    /// The file, or the index.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names and shapes, sorted by name.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.parts.iter().flat_map(Mapped::shapes).collect()
    }

    /// An entry of the metadata that a file carries beside its tensors.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.parts.iter().find_map(|part| part.metadata(key))
    }

    /// Copies a tensor of floating-point numbers to a device, in f32.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor); integers and truth values, which are no weights.
    pub fn floats(&self, name: &str, device: Device) -> Result<Tensor> {
        let stored = self.place.get(name).and_then(|&part| self.parts[part].dtype(name));
        match stored {
            Some(found) if !FLOATS.contains(&found) => Err(Error::Kind {
                path: self.path.clone(),
                name: name.to_owned(),
                found: format!("{found:?}"),
                expected: "F64, F32, F16 or BF16",
            }),
            _ => self.tensor(name, Some(Kind::Float), device),
        }
    }

    /// Copies a tensor to a device, converted to `kind`, or in its own where that is `None`.
    ///
    /// # Errors
    /// No such tensor, elements that libtorch does not have, or no memory.
    pub fn tensor(&self, name: &str, kind: Option<Kind>, device: Device) -> Result<Tensor> {
        match self.place.get(name) {
            Some(&part) => self.parts[part].tensor(name, kind, device),
            None => Err(Error::Missing { path: self.path.clone(), name: name.to_owned() }),
        }
    }
}

/// Those of weights.
const FLOATS: [Dtype; 4] = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16];

const KINDS: [(Dtype, Kind); 10] = [
    (Dtype::F64, Kind::Double),
    (Dtype::F32, Kind::Float),
    (Dtype::F16, Kind::Half),
    (Dtype::BF16, Kind::BFloat16),
    (Dtype::I64, Kind::Int64),
    (Dtype::I32, Kind::Int),
    (Dtype::I16, Kind::Int16),
    (Dtype::I8, Kind::Int8),
    (Dtype::U8, Kind::Uint8),
    (Dtype::BOOL, Kind::Bool),
];

fn kind_of(dtype: Dtype) -> Option<Kind> {
    KINDS.iter().find(|(d, _)| *d == dtype).map(|(_, kind)| *kind)
}

fn dtype_of(kind: Kind) -> Option<Dtype> {
    KINDS.iter().find(|(_, k)| *k == kind).map(|(dtype, _)| *dtype)
}
