//! Every bound in Dits, in one table.
//!
//! **For:** decoders, writers and both ends of every connection: a length that comes from
//! outside is compared with one of these before it sizes anything.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** how the bounds relate is asserted when the library is compiled.

/// Smallest chunk, in bytes, except for the last chunk of a piece.
pub const CHUNK_LEN_MIN: usize = 16 * 1024;
/// Length around which chunks end, in bytes.
pub const CHUNK_LEN_AVG: usize = 64 * 1024;
/// Longest chunk, in bytes.
pub const CHUNK_LEN_MAX: usize = 256 * 1024;

/// An `mdat` payload at least this long, in bytes, is cut off from what stands around it.
pub const MDAT_CUT_LEN_MIN: u64 = 256 * 1024;
/// A `moov` at least this long, in bytes, is cut off from what stands around it.
pub const MOOV_CUT_LEN_MIN: u64 = 64 * 1024;

/// Most chunks of a file that may have bytes of one of its blocks. Chunks as they are cut stay far below it: less
/// than 19 pairs of forced cuts fit into a block, and the chunks between them that are not the last of
/// their piece have [`CHUNK_LEN_MIN`].
pub const BLOCK_CHUNKS_MAX: usize = 1024;

/// Fewest entries of a span that is not the last of its file.
pub const SPAN_ENTRIES_MIN: usize = 128;
/// Most entries of a span.
pub const SPAN_ENTRIES_MAX: usize = 512;

/// Length of one leaf of the block tree, in bytes.
pub const BLOCK_LEN: u64 = 1024 * 1024;
/// Chaining values in one page of the block tree.
pub const PAGE_BLOCKS_MAX: usize = 256;
/// Bytes of a file that one page of the block tree covers.
pub const PAGE_COVERS: u64 = BLOCK_LEN * PAGE_BLOCKS_MAX as u64;

/// Longest encoded manifest, in bytes.
pub const MANIFEST_LEN_MAX: usize = 16 * 1024 * 1024;
/// Longest file that can be stored, in bytes (8 TiB).
pub const FILE_LEN_MAX: u64 = 8 << 40;
/// Most side tables of one manifest.
pub const SIDE_TABLES_MAX: usize = 16;
/// Longest side table, in bytes.
pub const SIDE_TABLE_LEN_MAX: usize = 4 * 1024 * 1024;

/// Longest valid pointer, in bytes; a longer blob is never one.
pub const POINTER_LEN_MAX: usize = 200;
/// Longest text that is looked through for a pointer with conflict markers in it, in bytes: three sides, and names of branches.
pub const CONFLICTED_POINTER_LEN_MAX: usize = 2048;

/// Longest journal of a hydration, in bytes.
pub const JOURNAL_LEN_MAX: u64 = 64 * 1024 * 1024;

/// A pack is sealed once its payload reaches this length, in bytes.
pub const PACK_PAYLOAD_TARGET: u64 = 64 * 1024 * 1024;
/// Most entries of one pack.
pub const PACK_ENTRIES_MAX: usize = 4 * 1024 * 1024;

/// Longest `moov` that is handed to the metadata reader, in bytes.
pub const MOOV_READ_MAX: u64 = 256 * 1024 * 1024;

/// Longest path inside a repository, in bytes.
pub const REPO_PATH_LEN_MAX: usize = 4096;
/// Longest repository name on a server, in bytes.
pub const REPO_NAME_LEN_MAX: usize = 255;

/// Longest frame of the data plane, in bytes, its length field not counted.
pub const FRAME_LEN_MAX: usize = MANIFEST_LEN_MAX + 4096;
/// Most items that one frame of the data plane asks for.
pub const GET_ITEMS_MAX: usize = 512;
/// Longest reason of a refusal on the data plane, in bytes.
pub const REASON_LEN_MAX: usize = 4096;
/// Most item ids in one question or answer between client and server.
pub const IDS_PER_MESSAGE_MAX: usize = 8192;

/// Most paths and commits that one look at new commits takes in, each as often as it is named.
pub const WALK_PATHS_MAX: u64 = 32 * 1024 * 1024;
/// Most bytes of these paths.
pub const WALK_BYTES_MAX: u64 = 8 << 30;
/// Longest time of such a look, in seconds.
pub const WALK_SECS_MAX: u64 = 600;
/// Most memory that each git child of such a look may take for itself, in bytes.
pub const WALK_MEMORY_MAX: u64 = 1 << 30;
/// Most different files that new commits may name at once.
pub const WALK_FILES_MAX: usize = 4 * 1024 * 1024;
/// Longest tree object that is read, in bytes.
pub const TREE_LEN_MAX: u64 = 64 * 1024 * 1024;
/// Most folders inside one another.
pub const TREE_DEPTH_MAX: usize = REPO_PATH_LEN_MAX / 2;

/// Longest git index that is patched, in bytes.
pub const INDEX_LEN_MAX: u64 = 2 << 30;
/// Longest time that a lock on git's index is waited for, in milliseconds.
pub const INDEX_LOCK_WAIT_MS_MAX: u64 = 2000;

/// A blob longer than this, in bytes, on a `filter=dits` path was committed without Dits.
pub const RAW_BLOB_LEN_MAX: u64 = 1024 * 1024;

const _: () = {
    assert!(CHUNK_LEN_MIN < CHUNK_LEN_AVG && CHUNK_LEN_AVG < CHUNK_LEN_MAX);
    assert!(CHUNK_LEN_MAX as u64 <= MDAT_CUT_LEN_MIN);
    assert!(CHUNK_LEN_MIN as u64 <= MOOV_CUT_LEN_MIN);
    assert!(BLOCK_LEN / CHUNK_LEN_MIN as u64 + 2 * (BLOCK_LEN / MOOV_CUT_LEN_MIN + 2) < BLOCK_CHUNKS_MAX as u64);
    assert!(SPAN_ENTRIES_MIN < SPAN_ENTRIES_MAX);
    assert!(BLOCK_LEN.is_power_of_two() && PAGE_BLOCKS_MAX.is_power_of_two());
    assert!(MANIFEST_LEN_MAX < FRAME_LEN_MAX);
    assert!(SIDE_TABLE_LEN_MAX < FRAME_LEN_MAX);
    assert!(GET_ITEMS_MAX <= u16::MAX as usize);
};
