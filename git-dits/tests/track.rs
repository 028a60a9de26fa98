//! `git dits track`, `untrack` and `env`, with real git.

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
fn env_names_the_problems_it_finds() {
    let world = World::without_dits();
    let repo = empty_repo(&world);
    let facts =
        || -> serde_json::Value { serde_json::from_str(&repo.git(&["dits", "env", "--json"]).ok()).expect("JSON") };
    let problems = facts()["problems"].to_string();
    assert!(problems.contains("filter.dits.process is not set"), "{problems}");
    world.git(&["dits", "install"]).ok();
    repo.git(&["remote", "add", "origin", "https://ann:secret@forge/film.git"]).ok();
    repo.write(".ditsconfig", "[dits]\n\turl = dits://studio/film\n");
    let facts = facts();
    assert_eq!(facts["repository"]["remotes"][0]["url"], "https://forge/film.git");
    let problems = facts["problems"].to_string();
    assert!(problems.contains("git config dits.url dits://studio/film"), "{problems}");
}

#[test]
fn a_missing_hook_is_named_and_install_puts_it_back() {
    let world = World::new();
    let repo = world.repo("film");
    let problems = || repo.git(&["dits", "env"]).ok().lines().filter(|line| line.starts_with("problem")).count();
    assert_eq!(problems(), 0);
    std::fs::remove_file(repo.dir().join(".git/hooks/pre-push")).expect("track put it there");
    assert_eq!(problems(), 1);
    repo.git(&["dits", "install"]).ok();
    assert_eq!(problems(), 0);
}
