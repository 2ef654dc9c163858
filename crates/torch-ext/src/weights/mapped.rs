//! One file in memory: its header checked against its length, its tensors copied out one by one.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors};
use tch::{Device, Kind, Tensor};

use super::{LENGTH, kind_of};
use crate::error::{Error, Result};

/// A safetensors file mapped into memory.
#[derive(Debug)]
pub(super) struct Mapped {
    path: PathBuf,
    map: Mmap,
    header: Metadata,
    /// Where the bytes of the tensors begin.
    start: usize,
}

impl Mapped {
    /// Maps a file and checks its header against its length.
    ///
    /// # Errors
    /// A missing or unreadable file, and one that is cut, overlong or no safetensors file at all.
    pub(super) fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let io = |source| Error::Io { path: path.clone(), source };
        let file = File::open(&path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
        // SAFETY: the map is read-only. A program that truncates the file while it is mapped breaks any reader of mapped
        // files; this project replaces files by renaming, which leaves an open map alone.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let (length, header) = SafeTensors::read_metadata(&map)
            .map_err(|e| Error::Format { path: path.clone(), what: broken(&map, &e) })?;
        Ok(Self { start: LENGTH + length, path, map, header })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Names and shapes, sorted by name.
    pub(super) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let entries = self.header.tensors().into_iter();
        entries.map(|(name, info)| (name, info.shape.clone())).collect()
    }

    /// The type of a tensor's elements.
    pub(super) fn dtype(&self, name: &str) -> Option<Dtype> {
        Some(self.header.info(name)?.dtype)
    }

    /// An entry of the metadata that the file carries beside its tensors.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Copies a tensor to a device, converted to `kind`, or in its own where that is `None`.
    ///
    /// # Errors
    /// No such tensor, elements that libtorch does not have, or no memory.
    pub(super) fn tensor(&self, name: &str, kind: Option<Kind>, device: Device) -> Result<Tensor> {
        let info = self
            .header
            .info(name)
            .ok_or_else(|| Error::Missing { path: self.path.clone(), name: name.to_owned() })?;
        let stored = kind_of(info.dtype).ok_or_else(|| Error::Kind {
            path: self.path.clone(),
            name: name.to_owned(),
            found: format!("{:?}", info.dtype),
            expected: "F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL",
        })?;
        let bytes = &self.map[self.start + info.data_offsets.0..self.start + info.data_offsets.1];
        let size = sizes(&info.shape).ok_or_else(|| {
            let what = format!("tensor `{}` has the shape {:?}", name.escape_debug(), info.shape);
            Error::Format { path: self.path.clone(), what }
        })?;
        let kind = kind.unwrap_or(stored);
        if bytes.is_empty() {
            return Ok(Tensor::f_zeros(&size, (kind, device))?);
        }
        if stored == Kind::Bool || !aligned(bytes, stored) {
            return Ok(moved(bytes, stored, &size)?.f_to_kind(kind)?.f_to_device(device)?);
        }
        // SAFETY: the header was checked against the length of the map, so `bytes` has the elements of this shape and
        // type, and they begin where such elements may; the strides are those of a contiguous tensor. The view does not
        // outlive this function: it is copied.
        let view = unsafe {
            Tensor::f_from_blob(bytes.as_ptr(), &size, &strides(&size), stored, Device::Cpu)
        }?;
        let mut owned = Tensor::f_empty(&size, (kind, device))?;
        owned.f_copy_(&view)?;
        Ok(owned)
    }
}

/// Whether a number of this kind may begin where the bytes do; a file's header need not be padded.
fn aligned(bytes: &[u8], kind: Kind) -> bool {
    bytes.as_ptr().addr().is_multiple_of(kind.elt_size_in_bytes())
}

/// A tensor of bytes that C++ may not read where they are: a number at an odd address, a truth value beside 0 and 1.
fn moved(bytes: &[u8], stored: Kind, size: &[i64]) -> Result<Tensor> {
    let kind_of_bytes = if stored == Kind::Bool { Kind::Uint8 } else { stored };
    let copy = Tensor::f_from_slice(bytes)?.f_view_dtype(kind_of_bytes)?;
    Ok(copy.f_reshape(size)?.f_to_kind(stored)?)
}

/// The axes as libtorch counts them.
fn sizes(shape: &[usize]) -> Option<Vec<i64>> {
    shape.iter().map(|&n| i64::try_from(n).ok()).collect()
}

fn strides(size: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; size.len()];
    for i in (1..size.len()).rev() {
        strides[i - 1] = strides[i] * size[i];
    }
    strides
}

/// What is wrong with a file, in words.
fn broken(bytes: &[u8], error: &SafeTensorError) -> String {
    let length = bytes.first_chunk::<LENGTH>().map(|b| u64::from_le_bytes(*b));
    match (error, length) {
        (SafeTensorError::MetadataIncompleteBuffer, Some(header)) => {
            let (found, expected) = (bytes.len() as u64, promised(bytes, header));
            format!("found {found} bytes, expected {expected} from its header")
        }
        (SafeTensorError::InvalidHeaderLength, Some(header)) => {
            let found = bytes.len();
            format!("found {found} bytes, expected a header of {header} bytes after the first 8")
        }
        (SafeTensorError::HeaderTooSmall, _) => {
            format!("found {} bytes, expected at least 8", bytes.len())
        }
        (other, _) => other.to_string(),
    }
}

/// The length of a whole file with this header.
fn promised(bytes: &[u8], header: u64) -> u64 {
    let end = LENGTH as u64 + header;
    let text = bytes.get(LENGTH..end as usize).unwrap_or_default();
    let parsed: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(text).unwrap_or_default();
    let ends = parsed.values().filter_map(|entry| entry["data_offsets"][1].as_u64());
    end.saturating_add(ends.max().unwrap_or(0))
}
