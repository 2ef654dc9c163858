//! An event file of `TensorBoard`: numbers by name and step, in its record format.
//!
//! ```text
//! record   length (8 bytes), its checksum (4), the event, its checksum (4); little-endian
//! checksum ((c >> 15) | (c << 17)) + 0xa282ead8 of the CRC-32C c, modulo 2³²
//! event    protobuf: 3 version (text), or 1 wall time (f64), 2 step (varint), 5 summary
//! summary  1 value, again and again: 1 tag (text), 2 number (f32)
//! ```

use std::io::{self, Write};

/// The first record of a file.
///
/// # Errors
/// Those of the writer.
pub fn write_header(out: &mut impl Write) -> io::Result<()> {
    let mut event = Vec::new();
    field(&mut event, 3, b"brain.Event:2");
    write_record(out, &event)
}

/// Numbers of a step, by name.
///
/// # Errors
/// Those of the writer.
pub fn write_scalars(
    out: &mut impl Write,
    time: f64,
    step: u64,
    scalars: &[(&str, f64)],
) -> io::Result<()> {
    let mut summary = Vec::new();
    for (tag, number) in scalars {
        let mut value = Vec::new();
        field(&mut value, 1, tag.as_bytes());
        value.push(2 << 3 | 5); // 32 bits
        value.extend((*number as f32).to_le_bytes());
        field(&mut summary, 1, &value);
    }
    let mut event = stamp(time, step);
    field(&mut event, 5, &summary);
    write_record(out, &event)
}

fn stamp(time: f64, step: u64) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1]; // 64 bits
    event.extend(time.to_le_bytes());
    event.push(2 << 3); // a varint
    varint(&mut event, step);
    event
}

/// A field of bytes with their length.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// Seven bits a byte, the lowest first.
fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn write_record(out: &mut impl Write, event: &[u8]) -> io::Result<()> {
    let length = (event.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(&length).to_le_bytes());
    record.extend(event);
    record.extend(masked(event).to_le_bytes());
    out.write_all(&record)
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that the record writer of `TensorBoard` 2.21 makes of the same two events.
    #[test]
    fn records_are_those_of_tensorboard() {
        let mut file = Vec::new();
        write_header(&mut file).unwrap();
        write_scalars(&mut file, 2.5, 300, &[("loss", 0.25)]).unwrap();
        let hex = file.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat();
        let header = "0f000000000000006d532b091a0d627261696e2e4576656e743a32fc985129";
        let loss = "1b000000000000001a0d9e1309000000000000044010ac022a0d0a0b0a046c6f7373150000803e205d3896";
        assert_eq!(hex, format!("{header}{loss}"));
    }
}
