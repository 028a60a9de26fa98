//! `git dits track` and `untrack`, with real git.

mod support;

use dits_tests::{Repo, World};
use support::story;

fn empty_repo<'w>(world: &'w World) -> Repo<'w> {
    world.git(&["init", "-q", "film"]).ok();
    Repo::at(world, world.path("film"))
}

#[test]
fn patterns_are_added_listed_and_taken_out_again() {
    let world = World::new();
    let repo = empty_repo(&world);
    assert_eq!(
        story(&world, &repo.git(&["dits", "track", "*.mp4", "my clip.mov", "--lockable"])),
        "tracking *.mp4\ntracking my clip.mov\n\
         ! hint: share this with everybody: `git add .gitattributes`, then commit\nexit 0\n"
    );
    assert_eq!(
        repo.read(".gitattributes"),
        b"*.mp4 filter=dits diff=dits -merge -text lockable\n\"my clip.mov\" filter=dits diff=dits -merge -text lockable\n"
    );
    let value = repo.git(&["check-attr", "filter", "merge", "lockable", "--", "my clip.mov"]).ok();
    assert_eq!(value, "my clip.mov: filter: dits\nmy clip.mov: merge: unset\nmy clip.mov: lockable: set");
    assert_eq!(
        story(&world, &repo.git(&["dits", "track"])),
        "*.mp4 (.gitattributes) lockable\nmy clip.mov (.gitattributes) lockable\nexit 0\n"
    );
    repo.git(&["dits", "track", "--not-lockable", "*.mp4"]).ok();
    let list: serde_json::Value = serde_json::from_str(&repo.git(&["dits", "track", "--json"]).ok()).expect("JSON");
    assert_eq!(list["patterns"][0]["pattern"], "*.mp4");
    assert_eq!(list["patterns"][0]["lockable"], false);
    let done = repo.git(&["dits", "untrack", "*.mp4", "*.nothing"]);
    assert!(done.err().contains("*.nothing is not tracked"), "{}", done.err());
    assert_eq!(repo.git(&["dits", "track"]).ok(), "my clip.mov (.gitattributes) lockable");
}

#[test]
fn what_git_reads_itself_is_never_tracked() {
    let world = World::new();
    let repo = empty_repo(&world);
    for pattern in ["*", "/.git*", "**"] {
        let done = repo.git(&["dits", "track", pattern]);
        assert_eq!(done.status.code(), Some(3), "{pattern}: {}", done.err());
        assert!(done.err().contains("which git has to read itself"), "{}", done.err());
    }
    assert!(!repo.dir().join(".gitattributes").exists());
    assert_eq!(
        story(&world, &repo.git(&["dits", "track", "footage/"])),
        "! error: a pattern that ends with `/` matches nothing: footage/\n\
         ! hint: for everything in that directory, track \"footage/**\"\nexit 2\n"
    );
    repo.write(".gitattributes", "*.psd filter=lfs\n");
    let done = repo.git(&["dits", "track", "*.psd"]);
    assert_eq!(done.status.code(), Some(3));
    assert!(done.err().contains("git lfs untrack"), "{}", done.err());
}

#[test]
fn presets_match_what_cameras_write() {
    let world = World::new();
    let repo = empty_repo(&world);
    repo.git(&["dits", "track", "--preset", "video", "--preset", "image"]).ok();
    for name in ["C0001.MP4", "a.mov", "B.Mxf", "IMG_1.CR3"] {
        assert!(repo.git(&["check-attr", "filter", "--", name]).ok().ends_with(": dits"), "{name}");
    }
    assert!(repo.git(&["check-attr", "filter", "--", "readme.txt"]).ok().ends_with(": unspecified"));
    repo.git(&["dits", "untrack", "--preset", "all"]);
    assert_eq!(repo.git(&["dits", "track"]).ok(), "");
}

#[test]
fn a_dry_run_writes_nothing() {
    let world = World::new();
    let repo = empty_repo(&world);
    assert_eq!(repo.git(&["dits", "track", "--dry-run", "*.wav"]).ok(), "would track *.wav");
    assert!(!repo.dir().join(".gitattributes").exists());
    assert!(!repo.dir().join(".git/hooks/pre-push").exists());
}

#[test]
fn large_binaries_are_tracked_by_extension_and_text_is_not() {
    let world = World::new();
    let repo = empty_repo(&world);
    let large = vec![0; 3 << 20];
    for path in ["a.PSD", "deep/b.psd", "take 1", "data.raw", ".gitmodules.big", "ignored.tmp", "deep/-x"] {
        repo.write(path, &large);
    }
    repo.write("small.dat", vec![0; 100]);
    repo.write("notes.raw", "text with that extension");
    repo.write("log.txt", "line\n".repeat(1 << 20));
    repo.write(".gitignore", "*.tmp\n");
    let done = repo.git(&["dits", "track", "--above", "2M", "--dry-run"]);
    let would = "would track *.[pP][sS][dD]\nwould track /data.raw\nwould track /deep/-x\nwould track /take 1";
    assert_eq!(done.ok(), would);
    assert_eq!(
        done.err(),
        "*.[pP][sS][dD]: 2 of them, 6.0 MiB\ndata.raw: 3.0 MiB\ndeep/-x: 3.0 MiB\ntake 1: 3.0 MiB\n\
         log.txt is large and stays with git, being text\n"
    );
    assert!(!repo.dir().join(".gitattributes").exists());
    repo.git(&["dits", "track", "--above", "2M"]).ok();
    for (path, filter) in
        [("deep/b.psd", "dits"), ("take 1", "dits"), ("notes.raw", "unspecified"), ("log.txt", "unspecified")]
    {
        assert!(repo.git(&["check-attr", "filter", "--", path]).ok().ends_with(&format!(": {filter}")), "{path}");
    }
    let again = repo.git(&["dits", "track", "--above", "2M"]);
    assert!(again.ok().is_empty() && again.err().contains("no binary file here is that large"), "{}", again.story());
    assert_eq!(repo.git(&["dits", "track", "--above", "heavy"]).status.code(), Some(2));
}
