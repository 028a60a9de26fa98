//! Metadata edits of clips: what a new title, a moved `moov` or another wrapper costs.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::measure::{MIB, Report, disk_usage, must};
use super::tools::{Bench, Tool};

/// How many clips there are of each codec.
const CLIPS_PER_CODEC: usize = 14;

/// Makes the clips once, then edits copies of them in five ways, each from the originals.
pub fn run(bench: &Bench, report: &mut Report) {
    let originals = bench.dir.join("originals");
    fs::create_dir_all(&originals).expect("the bench directory can be written");
    let clips = make(&originals);
    let len: u64 = clips.iter().map(|clip| file_len(clip)).sum();
    let moov: u64 = clips.iter().map(|clip| moov_len(clip)).sum();
    let repo = bench.repository(Tool::Dits, "clips", &["mp4", "mov"]);
    for clip in &clips {
        fs::copy(clip, repo.join(name_of(clip))).expect("the bench directory has room");
    }
    let first = store(bench, &repo);
    report.row(
        format!("{} clips, {} MiB, first store", clips.len(), len / MIB),
        format!("{:.1} MiB", first / MIB as f64),
        "",
    );
    let per_clip = |bytes: f64| bytes / clips.len() as f64 / 1024.0;
    let moov_kib = moov as f64 / clips.len() as f64 / 1024.0;
    let mut all = 0.0;
    for edit in [Edit::Retag, Edit::Faststart, Edit::Trim, Edit::Rewrap, Edit::TitleInPlace] {
        for clip in &clips {
            edit.apply(clip, &repo);
        }
        let growth = store(bench, &repo);
        all += growth;
        let what = format!("{}, growth a clip", edit.name());
        let detail = format!("({:.2} MiB in all, {:.2} %)", growth / MIB as f64, 100.0 * growth / first);
        match edit {
            Edit::Retag | Edit::TitleInPlace => report.at_most(what, per_clip(growth), " KiB", 64.0, detail),
            Edit::Faststart | Edit::Rewrap => {
                report.at_most(what, per_clip(growth), " KiB", (moov_kib + 64.0).round(), detail);
            }
            Edit::Trim => report.row(what, format!("{:.1} KiB {detail}", per_clip(growth)), ""),
        }
    }
    report.at_most("all five edits together", 100.0 * all / first, " % of the first store", 1.0, "");
    fs::remove_dir_all(repo).expect("it was made above");
    fs::remove_dir_all(originals).expect("it was made above");
}

fn store(bench: &Bench, repo: &Path) -> f64 {
    let git_dir = repo.join(".git");
    let before = disk_usage(&git_dir);
    must(&mut bench.git(repo, &["add", "-A"]));
    must(&mut bench.git(repo, &["commit", "-qm", "clips"]));
    disk_usage(&git_dir) as f64 - before as f64
}

/// A change that leaves every picture and sound as it was.
#[derive(Clone, Copy)]
enum Edit {
    Retag,
    Faststart,
    Trim,
    Rewrap,
    TitleInPlace,
}

impl Edit {
    fn name(self) -> &'static str {
        match self {
            Edit::Retag => "retag",
            Edit::Faststart => "faststart",
            Edit::Trim => "stream-copy trim to 60 %",
            Edit::Rewrap => "rewrap mp4 to mov",
            Edit::TitleInPlace => "title in place",
        }
    }

    /// Puts the edited clip into the repository in place of the version that is there.
    fn apply(self, clip: &Path, repo: &Path) {
        let target = repo.join(name_of(clip));
        let faststart: &[&str] = if is_moov_first(clip) { &["-movflags", "+faststart"] } else { &[] };
        let args: Vec<&str> = match self {
            Edit::Retag => [&["-metadata", "title=Take two", "-metadata", "comment=colour pass"], faststart].concat(),
            Edit::Faststart => vec!["-movflags", "+faststart"],
            Edit::Trim => {
                ffmpeg_copy(clip, &target, &[&["-t", &trim_secs(clip)][..], faststart].concat());
                return;
            }
            Edit::Rewrap if target.extension().is_some_and(|ending| ending == "mp4") => {
                fs::remove_file(&target).expect("the last version is there");
                ffmpeg_copy(clip, &target.with_extension("rewrapped.mov"), faststart);
                return;
            }
            Edit::Rewrap => vec![],
            Edit::TitleInPlace => {
                let _ = fs::remove_file(target.with_extension("rewrapped.mov"));
                fs::copy(clip, &target).expect("the bench directory has room");
                must(Command::new("exiftool").args(["-q", "-overwrite_original", "-Title=Take three"]).arg(&target));
                return;
            }
        };
        match args.is_empty() {
            true => drop(fs::copy(clip, &target).expect("the bench directory has room")),
            false => ffmpeg_copy(clip, &target, &args),
        }
    }
}

fn trim_secs(clip: &Path) -> String {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"]).arg(clip);
    let secs: f64 = must(&mut probe).trim().parse().expect("ffprobe prints a duration");
    format!("{:.3}", secs * 0.6)
}

fn ffmpeg_copy(from: &Path, to: &Path, args: &[&str]) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-i"]).arg(from).args(["-map", "0", "-c", "copy"]).args(args).arg(to);
    must(&mut command);
}

/// Makes H.264, HEVC and ProRes clips in mp4 and mov, every other one with `moov` first.
fn make(dir: &Path) -> Vec<PathBuf> {
    let mut clips = Vec::new();
    for number in 0..CLIPS_PER_CODEC {
        let first = number % 2 == 0;
        let wrapper = if number % 4 < 2 { "mp4" } else { "mov" };
        let x264: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-crf", "16"];
        let x265: &[&str] =
            &["-c:v", "libx265", "-preset", "ultrafast", "-crf", "14", "-x265-params", "log-level=error"];
        let prores: &[&str] = &["-c:v", "prores_ks", "-profile:v", "3"];
        for (name, codec, wrapper, secs) in
            [("h264", x264, wrapper, 20), ("hevc", x265, wrapper, 8), ("prores", prores, "mov", 3)]
        {
            let clip = dir.join(format!("{name}-{number:02}.{wrapper}"));
            encode(&clip, codec, number, secs, first);
            clips.push(clip);
        }
    }
    clips
}

fn encode(clip: &Path, codec: &[&str], seed: usize, secs: usize, moov_first: bool) {
    let picture = format!("testsrc2=s=1280x720:r=25:d={secs},noise=alls=14:allf=t:all_seed={}", seed + 1);
    let sound = format!("sine=f={}:d={secs}", 200 + 20 * seed);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound]);
    command.args(codec).args(["-c:a", "aac", "-shortest"]);
    if moov_first {
        command.args(["-movflags", "+faststart"]);
    }
    must(command.arg(clip));
}

fn name_of(clip: &Path) -> &std::ffi::OsStr {
    clip.file_name().expect("clips have names")
}

fn file_len(clip: &Path) -> u64 {
    fs::metadata(clip).expect("the clip was made").len()
}

/// The top-level atoms: type and length in bytes.
fn atoms(clip: &Path) -> Vec<([u8; 4], u64)> {
    let mut file = fs::File::open(clip).expect("the clip was made");
    let (mut at, mut atoms) = (0, Vec::new());
    let mut head = [0; 16];
    while file.seek(SeekFrom::Start(at)).is_ok() && file.read_exact(&mut head[..8]).is_ok() {
        let mut len = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
        if len == 1 {
            file.read_exact(&mut head[8..]).expect("a 64-bit size follows");
            len = u64::from_be_bytes(head[8..].try_into().expect("eight bytes"));
        }
        assert!(len >= 8, "ffmpeg writes whole atoms");
        atoms.push(([head[4], head[5], head[6], head[7]], len));
        at += len;
    }
    atoms
}

fn moov_len(clip: &Path) -> u64 {
    atoms(clip).into_iter().find(|(kind, _)| kind == b"moov").map_or(0, |(_, len)| len)
}

fn is_moov_first(clip: &Path) -> bool {
    let atoms = atoms(clip);
    let place = |wanted: &[u8; 4]| atoms.iter().position(|(kind, _)| kind == wanted);
    place(b"moov") < place(b"mdat")
}
