//! The floor of every filter: drains its input and answers constant bytes.
//!
//! **For:** the yardstick of `tests/bench/workloads`; no tool that is called as a filter can
//! be faster than git exchanging the bytes with this one.

use std::io::{self, Read, Write};

use rustix::pipe::fcntl_setpipe_size;

/// Longest payload of a packet, in bytes.
const PAYLOAD_MAX: usize = 65516;

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    // Larger pipes where the system allows it, as any filter may ask for.
    let _ = (fcntl_setpipe_size(&input, 1 << 20), fcntl_setpipe_size(&output, 1 << 20));
    let mut block = vec![0; 1 << 16];
    for expected in 0..2 {
        while packet(&mut input, &mut block)?.is_some() {}
        match expected {
            0 => write(&mut output, &[b"git-filter-server\n", b"version=2\n"])?,
            _ => write(&mut output, &[b"capability=clean\n", b"capability=smudge\n"])?,
        }
    }
    loop {
        // The request's fields; no first field means that git has closed the pipe.
        let Some(len) = packet(&mut input, &mut block).unwrap_or(None) else { return Ok(()) };
        let is_clean = block[..len].starts_with(b"command=clean");
        while packet(&mut input, &mut block)?.is_some() {}
        let (mut content_len, mut last) = (0, 0);
        while let Some(len) = packet(&mut input, &mut block)? {
            content_len += len;
            last = len;
        }
        write(&mut output, &[b"status=success\n"])?;
        // A file cleans to its length, and that becomes as many bytes again.
        match is_clean {
            true => write(&mut output, &[format!("null {content_len}\n").as_bytes()])?,
            false => content(&mut output, length_in(&block[..last]).ok_or(io::ErrorKind::InvalidData)?)?,
        }
        output.write_all(b"0000")?;
        output.flush()?;
    }
}

/// The length that a clean answer names, in bytes.
fn length_in(answer: &[u8]) -> Option<usize> {
    std::str::from_utf8(answer).ok()?.strip_prefix("null ")?.trim_end().parse().ok()
}

/// Writes a content of `len` bytes, 16 packets at a time.
fn content(output: &mut impl Write, len: usize) -> io::Result<()> {
    let full = [format!("{:04x}", PAYLOAD_MAX + 4).as_bytes(), &[0; PAYLOAD_MAX]].concat();
    let many = full.repeat(16);
    let (packets, rest) = (len / PAYLOAD_MAX, len % PAYLOAD_MAX);
    for _ in 0..packets / 16 {
        output.write_all(&many)?;
    }
    output.write_all(&many[..packets % 16 * full.len()])?;
    match rest {
        0 => output.write_all(b"0000"),
        rest => write(output, &[&full[4..4 + rest]]),
    }
}

/// Reads one packet's length in bytes; `None` for a flush packet.
fn packet(input: &mut impl Read, block: &mut [u8]) -> io::Result<Option<usize>> {
    let mut head = [0; 4];
    input.read_exact(&mut head)?;
    let text = std::str::from_utf8(&head).map_err(io::Error::other)?;
    let len = usize::from_str_radix(text, 16).map_err(io::Error::other)?;
    let Some(len) = len.checked_sub(4) else { return Ok(None) };
    input.read_exact(&mut block[..len])?;
    Ok(Some(len))
}

fn write(output: &mut impl Write, lines: &[&[u8]]) -> io::Result<()> {
    let mut packets = Vec::new();
    for line in lines {
        packets.extend(format!("{:04x}", line.len() + 4).bytes());
        packets.extend_from_slice(line);
    }
    packets.extend(b"0000");
    output.write_all(&packets)?;
    output.flush()
}
