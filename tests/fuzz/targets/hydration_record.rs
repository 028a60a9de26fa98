//! Whatever reads as records of a journal is written the same, and names nothing outside its work tree.
#![no_main]

use dits_core::hydration_record::{HEAD, Record, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for journal in [bytes.to_vec(), [HEAD, bytes].concat()] {
        let Ok(records) = read(&journal) else { continue };
        let records: Vec<Record> = records.collect();
        let mut again = HEAD.to_vec();
        for record in &records {
            let path = record.path().as_bstr();
            assert!(!path.starts_with(b"/") && path.split(|byte| *byte == b'/').all(|part| part != b".."));
            record.write(&mut again);
        }
        let reread: Vec<Record> = read(&again).expect("it has the head").collect();
        assert_eq!(reread.len(), records.len());
    }
});
