//! Files of records of one length, read by number where they lie: memory does not grow with the file.
//!
//! Three formats are such files: IDX without compression, `.npy` in C order, and CIFAR-10's binary
//! ([`cifar`](super::cifar)).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{DataError, idx, npy};

/// The numbers of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// Levels.
    U8,
    /// Model coordinates.
    F32 {
        /// The byte order.
        big: bool,
    },
    /// Model coordinates.
    F64 {
        /// The byte order.
        big: bool,
    },
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F32 { .. } => 4,
            Self::F64 { .. } => 8,
        }
    }
}

/// How a file is cut into records.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Of a sample.
    pub(super) shape: Vec<usize>,
    pub(super) element: Element,
    /// Where the first record begins.
    pub(super) start: u64,
    /// Bytes of a record before its numbers: the label's.
    pub(super) before: usize,
}

impl Layout {
    fn numbers(&self) -> usize {
        self.shape.iter().product()
    }

    fn record(&self) -> usize {
        self.before + self.numbers() * self.element.bytes()
    }
}

/// Records of one or several files.
#[derive(Debug)]
pub struct Records {
    layout: Layout,
    parts: Vec<Part>,
}

/// A file of records.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    count: usize,
}

impl Records {
    /// Opens an `.npy` file in C order or an IDX file that is not compressed.
    ///
    /// # Errors
    /// A file of another kind, or one that is cut or overlong.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let is_npy = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy"));
        let (layout, n) = if is_npy { npy::layout(path)? } else { idx::layout(path)? };
        let records = Self::of_files(&[path], layout)?;
        let (found, expected) = (records.len() as u64, n as u64);
        let bytes = records.layout.record() as u64;
        if found != expected {
            let (path, found, expected) = (path.into(), found * bytes, expected * bytes);
            return Err(DataError::Truncated { path, what: "data", found, expected });
        }
        Ok(records)
    }

    /// Files with the same layout, one after another.
    ///
    /// # Errors
    /// A file that does not end with a record.
    pub(super) fn of_files(paths: &[impl AsRef<Path>], layout: Layout) -> Result<Self, DataError> {
        let open = |path: &Path| {
            let file = File::open(path).map_err(|cause| DataError::io(path, cause))?;
            let length = file.metadata().map_err(|cause| DataError::io(path, cause))?.len();
            let (body, record) = (length.saturating_sub(layout.start), layout.record() as u64);
            let count = body / record.max(1);
            if body == 0 || body % record != 0 {
                let (found, expected) = (body, (count + 1) * record);
                return Err(DataError::Truncated {
                    path: path.into(),
                    what: "records",
                    found,
                    expected,
                });
            }
            Ok(Part { path: path.into(), file, count: count as usize })
        };
        let parts = paths.iter().map(|path| open(path.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { layout, parts })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.count).sum()
    }

    /// Whether there are none; never after opening.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of a sample.
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// Whether the numbers are levels, and not model coordinates.
    pub fn has_levels(&self) -> bool {
        self.layout.element == Element::U8
    }

    /// The numbers of a record.
    ///
    /// # Errors
    /// A file that has become shorter; a number that is not finite.
    pub fn read(&self, row: usize, out: &mut [f64]) -> Result<(), DataError> {
        let Layout { element, before, .. } = self.layout;
        let mut bytes = vec![0; self.layout.record() - before];
        let part = self.record(row, before, &mut bytes)?;
        let numbers = bytes.chunks_exact(element.bytes()).map(|b| number(element, b));
        out.iter_mut().zip(numbers).for_each(|(x, y)| *x = y);
        match out.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(i) => {
                let (path, index) = (part.path.clone(), vec![row, i]);
                Err(DataError::NotFinite { path, index, found: out[i] })
            }
        }
    }

    /// The first byte of every record, where it is a label.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn labels(&self) -> Result<Option<Vec<u8>>, DataError> {
        if self.layout.before == 0 {
            return Ok(None);
        }
        let label = |row| {
            let mut byte = [0];
            self.record(row, 0, &mut byte).map(|_| byte[0])
        };
        (0..self.len()).map(label).collect::<Result<_, _>>().map(Some)
    }

    /// Fills `bytes` from the place `offset` of a record.
    fn record(&self, row: usize, offset: usize, bytes: &mut [u8]) -> Result<&Part, DataError> {
        let mut first = 0;
        for part in &self.parts {
            if row < first + part.count {
                let place = ((row - first) * self.layout.record() + offset) as u64;
                let read = part.file.read_exact_at(bytes, self.layout.start + place);
                return read.map(|()| part).map_err(|cause| DataError::io(&part.path, cause));
            }
            first += part.count;
        }
        let path = self.parts.last().map_or_else(PathBuf::new, |part| part.path.clone());
        Err(DataError::Truncated {
            path,
            what: "records",
            found: first as u64,
            expected: row as u64 + 1,
        })
    }
}

fn number(element: Element, bytes: &[u8]) -> f64 {
    let four = || bytes.first_chunk::<4>().copied().unwrap_or_default(); // chunks are whole
    let eight = || bytes.first_chunk::<8>().copied().unwrap_or_default();
    match element {
        Element::U8 => bytes[0].into(),
        Element::F32 { big: false } => f32::from_le_bytes(four()).into(),
        Element::F32 { big: true } => f32::from_be_bytes(four()).into(),
        Element::F64 { big: false } => f64::from_le_bytes(eight()),
        Element::F64 { big: true } => f64::from_be_bytes(eight()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Data, cifar, load};
    use super::*;

    /// Rows by number are those of the whole file.
    fn same(path: &Path) {
        let records = Records::open(path).unwrap();
        let whole: Vec<f64> = match load(path).unwrap() {
            Data::Levels(images) => images.pixels().iter().map(|&k| k.into()).collect(),
            Data::Float(array) => array.iter().copied().collect(),
        };
        let d: usize = records.shape().iter().product();
        assert_eq!(records.len() * d, whole.len());
        for row in (0..records.len()).rev() {
            let mut out = vec![0.0; d];
            records.read(row, &mut out).unwrap();
            assert_eq!(out, whole[row * d..(row + 1) * d]);
        }
        assert!(records.read(records.len(), &mut vec![0.0; d]).is_err());
    }

    fn npy(descr: &str, shape: &str, body: &[u8]) -> Vec<u8> {
        let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn records_are_those_of_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let bytes: Vec<u8> = (0..60).map(|i: u8| 4 * i).collect();
        let floats: Vec<f64> = bytes.iter().map(|&b| f64::from(b) - 7.25).collect();
        let flat =
            |of: &dyn Fn(f64) -> Vec<u8>| floats.iter().flat_map(|&x| of(x)).collect::<Vec<_>>();
        for (name, content) in [
            ("u.npy", npy("|u1", "(5, 1, 3, 4)", &bytes)),
            ("three.npy", npy("|u1", "(5, 3, 4)", &bytes)),
            ("f8.npy", npy("<f8", "(5, 12)", &flat(&|x| x.to_le_bytes().to_vec()))),
            ("f4.npy", npy(">f4", "(5, 1, 3, 4)", &flat(&|x| (x as f32).to_be_bytes().to_vec()))),
            ("i.idx", [&[0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 4][..], &bytes].concat()),
        ] {
            std::fs::write(path(name), &content).unwrap();
            same(&path(name));
            std::fs::write(path(name), &content[..content.len() - 1]).unwrap();
            let text = Records::open(path(name)).unwrap_err().to_string();
            assert!(text.contains("ends after"), "{text}");
        }
    }

    #[test]
    fn cifar_has_labels_and_planes() {
        let folder = tempfile::tempdir().unwrap();
        let record = |label: u8| {
            [vec![label], (0..3072_u32).map(|i| (i % 251) as u8 ^ label).collect()].concat()
        };
        for i in 1..=5 {
            let content = [record(i), record(9 - i)].concat();
            std::fs::write(folder.path().join(format!("data_batch_{i}.bin")), content).unwrap();
        }
        let name = |part: &str| format!("cifar-10:{part}:{}", folder.path().display());
        let records = cifar::open(&name("train")).unwrap();
        assert_eq!((records.len(), records.shape()), (10, &[3, 32, 32][..]));
        let labels = records.labels().unwrap().unwrap();
        assert_eq!(labels, [1, 8, 2, 7, 3, 6, 4, 5, 5, 4]);
        let mut row = vec![0.0; 3072];
        records.read(3, &mut row).unwrap();
        let want = (0..3072_u32).map(|i| f64::from((i % 251) as u8 ^ 7));
        assert!(row.iter().copied().eq(want));
        assert!(
            cifar::open(&name("test"))
                .unwrap_err()
                .to_string()
                .contains("test_batch.bin does not exist")
        );
        assert!(cifar::open(&name("valid")).is_err());
        let cut = folder.path().join("data_batch_3.bin");
        std::fs::write(cut, record(1).split_last().unwrap().1).unwrap();
        assert!(cifar::open(&name("train")).unwrap_err().to_string().contains("ends after 3072"));
    }
}
