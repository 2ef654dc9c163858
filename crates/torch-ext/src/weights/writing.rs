//! Files written whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Tensor};

use super::{LENGTH, dtype_of};
use crate::error::{Error, Result};

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
        if !tensor.defined() {
            return Err(Error::Missing { path: path.to_path_buf(), name: name.to_owned() });
        }
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
