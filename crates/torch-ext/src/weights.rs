//! Safetensors files: a JSON header of names, types, shapes and offsets, then the bytes of all tensors.
//!
//! A file is mapped, not read: opening costs its header, and each tensor is copied once, from the page cache to where it
//! is wanted. Nothing in such a file can be executed. A file is written under a temporary name and renamed; the same
//! tensors give the same bytes, since names and metadata are sorted.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors, TensorView};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// Bytes before the header: its length.
const LENGTH: usize = 8;

/// A safetensors file mapped into memory.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    map: Mmap,
    header: Metadata,
    /// Where the bytes of the tensors begin.
    start: usize,
}

impl Weights {
    /// Maps a file and checks its header against its length.
    ///
    /// # Errors
    /// A missing or unreadable file, and one that is cut, overlong or no safetensors file at all.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
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
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names and shapes, sorted by name.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let entries = self.header.tensors().into_iter();
        entries.map(|(name, info)| (name, info.shape.clone())).collect()
    }

    /// An entry of the metadata that the file carries beside its tensors.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Copies a tensor to a device, converted to `kind`, or in its own where that is `None`.
    ///
    /// # Errors
    /// No such tensor, elements that libtorch does not have, or no memory.
    pub fn tensor(&self, name: &str, kind: Option<Kind>, device: Device) -> Result<Tensor> {
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
            let what = format!("tensor `{name}` has the shape {:?}", info.shape);
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

/// Writes tensors and metadata as one safetensors file, whole or not at all.
///
/// # Errors
/// A tensor of a type that the format does not have, no memory, or a file that cannot be written.
pub fn write_weights<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let format = |what: String| Error::Format { path: path.to_path_buf(), what };
    let owned: Vec<Owned> =
        tensors.into_iter().map(|(name, t)| Owned::of(path, name, t)).collect::<Result<_>>()?;
    let views = owned.iter().map(|t| {
        let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes);
        view.map(|view| (t.name.as_str(), view)).map_err(|e| format(e.to_string()))
    });
    let views: Vec<_> = views.collect::<Result<_>>()?;
    // An empty map beside no tensors would be written as no JSON.
    let metadata: Option<HashMap<_, _>> =
        (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    let mut bytes = safetensors::serialize(views, metadata).map_err(|e| format(e.to_string()))?;
    sort_header(&mut bytes);
    write_whole(path, &bytes)
}

/// Writes a file under a temporary name beside its target, brings it to the disk and gives it its name.
///
/// # Errors
/// A file that cannot be written; an older one of that name is then left as it was.
pub fn write_whole(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let parent = path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
    let written = tempfile::Builder::new().permissions(permissions()).tempfile_in(parent).and_then(
        |mut file| {
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            File::open(parent)?.sync_all()
        },
    );
    written.map_err(|e| Error::Io { path: path.to_path_buf(), source: e.kind().into() })
}

/// Those of a new file, not those of a secret.
fn permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// The bytes of one tensor on the host.
struct Owned {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Owned {
    fn of(path: &Path, name: &str, tensor: &Tensor) -> Result<Self> {
        let kind = tensor.f_kind()?;
        let dtype = dtype_of(kind).ok_or_else(|| Error::Kind {
            path: path.to_path_buf(),
            name: name.to_owned(),
            found: format!("{kind:?}"),
            expected: "floats, integers or truth values",
        })?;
        let host = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let shape = host.size().iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
        let mut bytes = vec![0; host.numel() * kind.elt_size_in_bytes()];
        host.f_copy_data_u8(&mut bytes, host.numel())?;
        Ok(Self { name: name.to_owned(), dtype, shape, bytes })
    }
}

/// Writes the header again with its keys in order; it keeps its length, so no offset moves.
fn sort_header(bytes: &mut [u8]) {
    let Some((length, rest)) = bytes.split_first_chunk_mut::<LENGTH>() else { return };
    let header = &mut rest[..u64::from_le_bytes(*length) as usize];
    let Ok(parsed) = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(header) else {
        return;
    };
    if let Ok(sorted) = serde_json::to_vec(&parsed)
        && sorted.len() <= header.len()
    {
        header.fill(b' ');
        header[..sorted.len()].copy_from_slice(&sorted);
    }
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
    end + ends.max().unwrap_or(0)
}

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
