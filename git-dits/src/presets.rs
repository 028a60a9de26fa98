//! The media extensions of the field, by trade.
//!
//! **For:** `git dits track --preset video`, so that nobody lists forty extensions by hand.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** no text format is in here: Git does better with those. Cameras write
//! `C0001.MP4`, so a pattern matches either case.

use bstr::{BStr, ByteSlice};
use clap::ValueEnum;

/// A trade's file formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Camera originals, intermediates and deliverables.
    Video,
    /// Recordings, mixes and samples.
    Audio,
    /// Photographs, camera raw, frames of film and textures.
    Image,
    /// Models, scenes, caches and game assets.
    #[value(name = "3d")]
    ThreeD,
    /// Binary project files of editors and painters.
    Project,
    /// All of the above.
    All,
}

const VIDEO: &[&str] = &[
    "3g2", "3gp", "ari", "avi", "braw", "crm", "dav", "dv", "f4v", "flv", "insv", "ivf", "lrv", "m2t", "m2ts", "m2v",
    "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "r3d", "vob", "webm", "wmv", "y4m",
];

const AUDIO: &[&str] = &[
    "aac", "ac3", "aif", "aifc", "aiff", "alac", "amr", "ape", "bwf", "caf", "dff", "dsf", "dts", "eac3", "flac",
    "m4a", "m4b", "mka", "mp2", "mp3", "oga", "ogg", "opus", "rf64", "sf2", "w64", "wav", "wma", "wv",
];

const IMAGE: &[&str] = &[
    "3fr", "arw", "avif", "bmp", "cin", "cr2", "cr3", "crw", "dds", "dng", "dpx", "erf", "exr", "fff", "gif", "hdr",
    "heic", "heif", "iiq", "jp2", "jpeg", "jpg", "jxl", "ktx2", "mef", "mos", "mrw", "nef", "nrw", "orf", "pef", "png",
    "raf", "raw", "rw2", "rwl", "sr2", "srw", "tga", "tif", "tiff", "tx", "webp", "x3f",
];

const THREE_D: &[&str] = &[
    "3dm", "3ds", "abc", "bgeo", "blend", "c4d", "fbx", "glb", "hip", "hiplc", "hipnc", "las", "laz", "lwo", "lxo",
    "max", "mb", "ply", "sbsar", "skp", "spp", "stl", "uasset", "ubulk", "umap", "usdc", "usdz", "vdb", "zpr", "ztl",
];

const PROJECT: &[&str] = &[
    "aep",
    "afdesign",
    "afphoto",
    "afpub",
    "ai",
    "als",
    "clip",
    "cpr",
    "drp",
    "flp",
    "indd",
    "kra",
    "procreate",
    "prproj",
    "psb",
    "psd",
    "ptx",
    "sketch",
    "tvpp",
    "veg",
    "xcf",
    "xd",
];

impl Preset {
    /// The patterns, in the order of the alphabet within each trade.
    pub fn patterns(self) -> Vec<String> {
        let lists: &[&[&str]] = match self {
            Preset::Video => &[VIDEO],
            Preset::Audio => &[AUDIO],
            Preset::Image => &[IMAGE],
            Preset::ThreeD => &[THREE_D],
            Preset::Project => &[PROJECT],
            Preset::All => &[VIDEO, AUDIO, IMAGE, THREE_D, PROJECT],
        };
        lists.iter().flat_map(|list| list.iter()).map(|extension| pattern(extension)).collect()
    }
}

/// Longest extension that is taken for one: longer ones are words that happen to follow a dot.
const EXTENSION_LEN_MAX: usize = 12;

/// The pattern for all files with the extension of this one, upper and lower case; `None` where it has none
/// that a pattern should be made of.
pub fn pattern_of(path: &BStr) -> Option<String> {
    let name = path.rsplit_str("/").next()?;
    let (stem, extension) = name.rsplit_once_str(".")?;
    let is_word = !extension.is_empty() && extension.iter().all(u8::is_ascii_alphanumeric);
    let is_number = extension.iter().all(u8::is_ascii_digit);
    (is_word && !is_number && !stem.is_empty() && extension.len() <= EXTENSION_LEN_MAX)
        .then(|| pattern(&extension.to_ascii_lowercase().to_str_lossy()))
}

/// `*.[mM][pP]4` for `mp4`.
fn pattern(extension: &str) -> String {
    let mut pattern = String::from("*.");
    for letter in extension.chars() {
        match letter.is_ascii_alphabetic() {
            true => pattern.extend(['[', letter, letter.to_ascii_uppercase(), ']']),
            false => pattern.push(letter),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_extension_is_listed_once_in_order_and_in_lower_case() {
        for list in [VIDEO, AUDIO, IMAGE, THREE_D, PROJECT] {
            assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
            assert!(list.iter().all(|extension| extension.bytes().all(|byte| byte.is_ascii_alphanumeric())));
            assert!(list.iter().all(|extension| *extension == extension.to_ascii_lowercase()));
        }
        let mut all = Preset::All.patterns();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "an extension belongs to one trade");
    }

    #[test]
    fn only_what_looks_like_an_extension_makes_a_pattern() {
        assert_eq!(pattern_of("a/b.c/X.Psd".into()).as_deref(), Some("*.[pP][sS][dD]"));
        for path in ["a", ".hidden", "a.mov/take", "v1.20", "a.", "a.not an extension", "a.evenlongerthanthat"] {
            assert_eq!(pattern_of(path.into()), None, "{path}");
        }
    }

    #[test]
    fn a_pattern_matches_either_case() {
        assert_eq!(pattern("mp4"), "*.[mM][pP]4");
    }
}
