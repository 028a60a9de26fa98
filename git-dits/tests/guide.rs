//! The commands that the pages for new users show, run as they stand there.

use std::net::TcpListener;
use std::path::Path;

use dits_core::hash::FileHash;
use dits_core::pointer::Pointer;
use dits_tests::media::noise;
use dits_tests::needs::needs;
use dits_tests::programs::is_installed;
use dits_tests::{Done, Repo, World};

/// The clip that the pages speak of.
const CLIP_LEN: usize = 3 << 20;

/// The fenced blocks of a page in one language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}");
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while lines.by_ref().any(|line| line == fence) {
        blocks.push(lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect());
    }
    blocks
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs commands of a page, with the places that it names moved into `world`. A server is waited for
/// until it is ready, as its user would, and stopped at the end.
fn run(world: &World, commands: &str) -> Done {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let forge = world.bare("forge.git");
    let mut script = String::from("set -e\n");
    for line in commands.lines() {
        match line.strip_suffix(" &").filter(|line| line.starts_with("ditsd serve ")) {
            Some(serve) => script.push_str(&format!(
                "mkfifo \"$TMPDIR/ready\"\n{serve} >\"$TMPDIR/ready\" &\nserver=$!\n\
                 trap 'kill $server; wait $server' EXIT\nread -r ready <\"$TMPDIR/ready\"\n"
            )),
            None => script.push_str(&format!("{line}\n")),
        }
    }
    let script = script
        .replace("127.0.0.1:9031", &format!("127.0.0.1:{port}"))
        .replace("127.0.0.1/", &format!("127.0.0.1:{port}/"))
        .replace("https://forge.example/ann/film.git", &forge.display().to_string())
        .replace("/mnt/nas", &world.path("nas").display().to_string());
    std::fs::write(world.home().join("clip.mov"), noise(1, CLIP_LEN)).expect("the home is ours");
    std::fs::write(world.home().join("voice.wav"), noise(2, CLIP_LEN)).expect("the home is ours");
    world.call("sh").args(["-c", &script]).run()
}

#[test]
fn the_first_hour_goes_as_its_page_says() {
    let world = World::without_dits();
    let page = page("docs/guide/start.md");
    let (commands, outputs) = (blocks(&page, "sh"), blocks(&page, "text"));
    assert!(commands.len() >= 10 && outputs.len() >= 3, "the page shows commands and what they print");
    let done = run(&world, &commands.concat());
    done.ok();
    for output in outputs {
        assert!(done.out().contains(&output), "not printed: {output}\n{}", done.story());
    }
    let graded = std::fs::read(world.path("film/clip.mov")).expect("pulled");
    assert!(graded[2_000_000..].starts_with(b"graded") && graded.len() == CLIP_LEN);
    for clone in ["elsewhere", "small", "from-nas"] {
        let clip = std::fs::read(world.path(clone).join("clip.mov")).expect("cloned");
        assert!(clip == graded, "{clone} has the clip as it is now");
    }
    let status = world.call("git").args(["dits", "status"]).dir(&world.path("film")).run().ok();
    assert_eq!(status, "On branch main", "everything is pushed and here");
    assert!(!done.out().contains("broken"), "{}", done.story());
}

#[test]
fn the_readme_alone_leads_to_a_clone() {
    let world = World::without_dits();
    let by_hand = blocks(&page("README.md"), "sh").pop().expect("the last block is what is done by hand");
    let done = run(&world, &format!("git init -q film\ncd film\ncp ~/clip.mov .\n{by_hand}"));
    done.ok();
    let clip = std::fs::read(world.path("elsewhere/clip.mov")).expect("cloned");
    assert!(clip == noise(1, CLIP_LEN));
}

/// What stood in the film before its editor came, and is done by Mara meanwhile.
const MARA_BEGINS: &str = "\
ditsd serve --root ~/dits-server --listen 127.0.0.1:9031 &
git dits install >/dev/null
git init -q -b main mara
cd mara
git dits track '*.mov'
cp ~/clip.mov .
git add --all
git commit -q -m 'The first take'
git remote add origin dits://127.0.0.1/film
git push -q -u origin main
cd ..
";
const MARA_GOES_ON: &str = "\
cd ../mara
git pull -q
printf %s WORD | dd of=clip.mov bs=1 seek=300 conv=notrunc status=none
git commit -q -a -m 'Mara too'
git push -q
cd ../film
";
const MEANWHILE: &str = "\
printf mine | dd of=clip.mov bs=1 seek=300 conv=notrunc status=none
git commit -q -a -m 'Mine'
";

#[test]
fn the_page_for_editors_is_all_an_editor_needs() {
    let world = World::without_dits();
    let page = page("docs/guide/editors.md");
    let fails: Vec<_> = blocks(&page, "sh fails");
    assert_eq!(fails.len(), 1, "one conflict is shown");
    let page = page.replace("```sh fails", "```sh");
    let mut script = String::from(MARA_BEGINS);
    for block in blocks(&page, "sh") {
        match () {
            () if block == "git pull\n" => {
                script.push_str(&MARA_GOES_ON.replace("WORD", "Mara"));
                script.push_str(&block);
            }
            () if fails.contains(&block) => {
                script.push_str(&MARA_GOES_ON.replace("WORD", "hers"));
                script.push_str(MEANWHILE);
                script.push_str(&format!("if {}; then exit 9; fi\n", block.trim_end()));
            }
            () => script.push_str(&block),
        }
    }
    let done = run(&world, &script);
    done.ok();
    for output in blocks(&page, "text") {
        assert!(done.out().contains(&output), "not printed: {output}\n{}", done.story());
    }
    let read = |path: &str| std::fs::read(world.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let clip = read("film/clip.mov");
    assert!(clip == read("small/clip.mov") && clip.len() == CLIP_LEN);
    assert!(clip[300..].starts_with(b"hers") && clip[1_000_000..].starts_with(b"warmer"));
    assert!(read("small/voice.wav") == noise(2, CLIP_LEN), "the last pull brings everything");
    assert!(!world.path("film/clip.theirs.mov").exists());
    assert!(!done.out().contains("problem"), "{}", done.story());
}

#[test]
fn those_who_come_from_git_lfs_can_move_and_return() {
    let page = page("docs/guide/from-git-lfs.md");
    let pointer = Pointer { oid: FileHash::of(&noise(1, CLIP_LEN)), size: CLIP_LEN as u64 };
    assert_eq!(blocks(&page, "text"), [pointer.to_string()], "the page shows what a pointer looks like");
    if !needs(is_installed("git-lfs"), "git-lfs is needed to come from it") {
        return;
    }
    let world = World::new();
    let before = "git lfs install --skip-repo\ngit init -q film\ncd film\ngit lfs install --local\ngit lfs track '*.mov'\n\
                  cp ~/clip.mov .\ngit add --all\ngit commit -q -m 'With LFS'\n";
    let [there, back] = blocks(&page, "sh lfs").try_into().expect("two ways");
    run(&world, &format!("{before}{there}")).ok();
    let film = Repo::at(&world, world.path("film"));
    assert_eq!(film.blob("HEAD:clip.mov"), pointer.to_string().as_bytes());
    film.holds("clip.mov", &noise(1, CLIP_LEN));
    assert_eq!(film.status(), "");
    run(&world, &format!("cd film\n{back}")).ok();
    assert!(film.blob("HEAD:clip.mov").starts_with(b"version https://git-lfs"));
    film.holds("clip.mov", &noise(1, CLIP_LEN));
    assert_eq!(film.status(), "");
}
