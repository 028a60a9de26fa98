//! The floor of every filter: drains its input and answers a constant.
//!
//! **For:** the yardstick of `tests/bench/workloads`; no tool that is called as a filter can
//! be faster than git handing the bytes to this one.

use std::io::{self, Read, Write};

use rustix::pipe::fcntl_setpipe_size;

/// What every file cleans to.
const ANSWER: &[u8] = b"null\n";

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    // Larger pipes where the system allows it, as any filter may ask for.
    let _ = (fcntl_setpipe_size(&input, 1 << 20), fcntl_setpipe_size(&output, 1 << 20));
    let mut block = vec![0; 1 << 16];
    for expected in 0..2 {
        while packet(&mut input, &mut block)?.is_some() {}
        match expected {
            0 => write(&mut output, &[b"git-filter-server\n", b"version=2\n"])?,
            _ => write(&mut output, &[b"capability=clean\n"])?,
        }
    }
    loop {
        // The request's fields; no first field means that git has closed the pipe.
        let Some(_command) = packet(&mut input, &mut block).unwrap_or(None) else { return Ok(()) };
        while packet(&mut input, &mut block)?.is_some() {}
        while packet(&mut input, &mut block)?.is_some() {}
        write(&mut output, &[b"status=success\n"])?;
        write(&mut output, &[ANSWER])?;
        output.write_all(b"0000")?;
        output.flush()?;
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
