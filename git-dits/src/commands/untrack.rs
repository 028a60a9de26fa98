//! `git dits untrack`: says which files are media no more.
//!
//! **For:** taking lines out of `.gitattributes`.
//!
//! **May touch:** `.gitattributes` of the current directory.
//!
//! **Must hold:** attributes that Dits did not add stay.

use bstr::{BString, ByteSlice};
use serde::Serialize;

use super::track::BStringArg;
use crate::here::Here;
use crate::media_files;
use crate::out::Out;
use crate::presets::Preset;
use crate::report::{self, EXIT_STATUSES, Failure};

/// Say which files are media no more
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// Patterns as `git dits track` lists them
    #[arg(required_unless_present = "preset")]
    patterns: Vec<BStringArg>,
    /// Untrack the media extensions of a trade
    #[arg(long, value_enum)]
    preset: Vec<Preset>,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    untracked: Vec<String>,
    absent: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    here.repository()?;
    let path = here.cwd.join(".gitattributes");
    let mut file = media_files::read(&path)?;
    let typed = args.patterns.iter().map(|pattern| pattern.0.clone());
    let preset = args.preset.iter().flat_map(|preset| preset.patterns()).map(BString::from);
    let (mut untracked, mut absent) = (Vec::new(), Vec::new());
    for pattern in typed.chain(preset) {
        let pattern = pattern.strip_prefix(b"./").unwrap_or(&pattern).as_bstr();
        match file.remove(pattern) {
            true => untracked.push(pattern.to_string()),
            false => absent.push(pattern.to_string()),
        }
    }
    if !untracked.is_empty() {
        media_files::write(&path, &file)?;
    }
    let facts = Facts { untracked, absent };
    let mut out = Out::lock();
    if args.json {
        out.json(&facts)?;
        return out.finish();
    }
    for pattern in &facts.untracked {
        out.line(format_args!("no longer tracking {pattern}"))?;
    }
    out.finish()?;
    for pattern in &facts.absent {
        report::warn(&format!("{pattern} is not tracked in {}", path.display()));
    }
    if !facts.untracked.is_empty() {
        report::hint("what was committed stays as it is; hand files back to Git with `git add --renormalize .`");
    }
    Ok(())
}
