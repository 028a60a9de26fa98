//! Every file of the corpus: real, odd, truncated and hostile media, added, pushed, cloned, compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dits_core::pointer::Pointer;
use dits_tests::World;
use dits_tests::needs::needs;

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let dir = std::env::var_os("DITS_CORPUS").map_or(beside, PathBuf::from);
    needs(dir.is_dir(), "DITS_CORPUS or ../shared/corpus is needed").then_some(dir)
}

fn files_below(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).expect("the corpus is readable").flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_str().expect("names of the corpus are UTF-8"));
        match entry.path().is_dir() {
            true => files_below(&entry.path(), &format!("{name}/"), found),
            false => drop(found.insert(name, fs::read(entry.path()).expect("the corpus is readable"))),
        }
    }
}

#[test]
fn every_file_of_the_corpus_comes_back_bit_for_bit() {
    let Some(dir) = corpus() else { return };
    let mut files = BTreeMap::new();
    files_below(&dir, "", &mut files);
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.write(".gitattributes", "/corpus/** filter=dits diff=dits -merge -text\n");
    for (name, content) in &files {
        repo.write(&format!("corpus/{name}"), content);
    }
    repo.commit("the corpus");
    assert_eq!(repo.status(), "");
    for name in files.keys().filter(|name| !files[*name].is_empty()) {
        let blob = repo.blob(&format!("HEAD:corpus/{name}"));
        assert!(Pointer::parse(&blob).is_some(), "{name} is not committed as a pointer");
    }
    repo.push_to(&server.url("film"));
    let other = world.clone_of(&server.url("film"), "other");
    for (name, content) in &files {
        other.holds(&format!("corpus/{name}"), content);
    }
    assert_eq!(other.status(), "");
}
