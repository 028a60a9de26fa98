//! Tables, trailers and side logs of packs, as they may stand on a disk.
#![no_main]

use dits_core::pack_format::{
    Domain, ENTRY_LEN, Entry, LOG_HEADER_LEN, LOG_RECORD_LEN, LogHeader, TRAILER_LEN, Trailer,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    read_trailer(bytes);
    read_sealed_table(bytes);
    read_log(bytes);
});

/// The end of any file, taken for a trailer.
fn read_trailer(bytes: &[u8]) {
    let Some((table, trailer)) = bytes.split_last_chunk::<TRAILER_LEN>() else { return };
    for file_len in [bytes.len() as u64, u64::MAX] {
        if let Ok(decoded) = Trailer::decode(trailer, file_len) {
            assert_eq!(&decoded.encode(), trailer);
            let _ = decoded.check_table(table);
        }
    }
}

/// Any table, sealed under its true hash, as a peer that lies would.
fn read_sealed_table(table: &[u8]) {
    let table = &table[..table.len() / ENTRY_LEN * ENTRY_LEN];
    let payload_len = table.last_chunk::<ENTRY_LEN>().and_then(|last| Entry::read(last, 0).ok());
    let payload_len = payload_len.and_then(|last| last.place.checked_add(last.stored_len.into()));
    let trailer = Trailer::of(table, Domain::LOCAL, payload_len.unwrap_or(0));
    if let Ok(entries) = trailer.check_table(table) {
        let mut again = Vec::new();
        entries.iter().for_each(|entry| entry.write(&mut again));
        assert_eq!(again, table);
    }
}

fn read_log(bytes: &[u8]) {
    let Some((header, records)) = bytes.split_first_chunk::<LOG_HEADER_LEN>() else { return };
    let Ok(header_read) = LogHeader::decode(header) else { return };
    assert_eq!(&header_read.encode(), header);
    for (record_index, record) in records.as_chunks::<LOG_RECORD_LEN>().0.iter().enumerate() {
        let record_index = record_index as u32;
        if let Some(entry) = header_read.read_record(record, record_index) {
            let mut again = Vec::new();
            header_read.write_record(&entry, record_index, &mut again);
            assert_eq!(again, record);
        }
    }
}
