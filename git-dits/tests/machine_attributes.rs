//! Media that only one machine calls so: `filter=dits` outside of the committed `.gitattributes`.

use dits_tests::media::noise;
use dits_tests::{Repo, World};

const POINTER_OF_NOBODY: &str =
    "dits 1\noid blake3:7777777777777777777777777777777777777777777777777777777777777777\nsize 5\n";

/// A repository whose `*.mov` are media by its own `info/attributes` alone.
fn repo(world: &World) -> Repo<'_> {
    world.git(&["init", "-q", "film"]).ok();
    let repo = Repo::at(world, world.path("film"));
    std::fs::create_dir_all(repo.dir().join(".git/info")).expect("the folder is ours");
    repo.write(".git/info/attributes", "*.mov filter=dits -text\n");
    repo.write("a.mov", noise(1, 300_000));
    repo.write("shown.txt", POINTER_OF_NOBODY);
    repo.commit("a take, and a text that shows a pointer");
    assert!(repo.blob("HEAD:a.mov").starts_with(b"dits 1\n"));
    repo
}

#[test]
fn a_push_says_what_nobody_else_will_get_and_how_to_mend_it() {
    let world = World::new();
    let server = world.serve();
    let repo = repo(&world);
    repo.git(&["remote", "add", "origin", &server.url("film")]).ok();
    let pushed = repo.git(&["push", "-q", "-u", "origin", "main"]);
    pushed.ok();
    let head = repo.head();
    assert_eq!(
        pushed.err(),
        format!(
            "warning: a.mov in {head} is a pointer, but no committed .gitattributes says so: its content is not pushed\n\
             hint: run `git dits track --filename \"a.mov\"`, commit .gitattributes and push again\n\
             hint: patterns in .git/info/attributes or core.attributesFile count on this machine alone\n"
        )
    );
    repo.git(&["dits", "track", "--filename", "a.mov"]).ok();
    repo.commit("a.mov is media");
    assert_eq!(repo.git(&["push", "-q"]).err(), "");
    world.clone_of(&server.url("film"), "two").holds("a.mov", &noise(1, 300_000));
}

#[test]
fn a_push_to_another_host_says_it_too() {
    let world = World::new();
    let repo = repo(&world);
    repo.git(&["dits", "install"]).ok();
    repo.git(&["remote", "add", "origin", &world.bare("forge.git").display().to_string()]).ok();
    let pushed = repo.git(&["push", "-q", "origin", "main"]);
    pushed.ok();
    assert!(pushed.err().starts_with("warning: a.mov in "), "{}", pushed.story());
    assert!(!pushed.err().contains("shown.txt"), "{}", pushed.story());
}

#[test]
fn env_names_patterns_that_nobody_else_has() {
    let world = World::new();
    let repo = repo(&world);
    std::fs::create_dir_all(world.home().join(".config/git")).expect("the home is ours");
    std::fs::write(world.home().join(".config/git/attributes"), "*.wav filter=dits\n").expect("written");
    let on_this_machine_alone = || {
        let env = repo.git(&["dits", "env"]);
        (env.out().matches("media on this machine alone").count(), env.out().to_owned())
    };
    let (count, env) = on_this_machine_alone();
    assert!(env.contains(".git/info/attributes makes *.mov media on this machine alone"), "{env}");
    assert!(env.contains(".config/git/attributes makes *.wav media on this machine alone"), "{env}");
    assert_eq!(count, 2, "{env}");
    repo.git(&["dits", "track", "*.mov", "*.wav"]).ok();
    assert_eq!(on_this_machine_alone().0, 0);
}
