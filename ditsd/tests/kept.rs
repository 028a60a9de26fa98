//! What a server says it keeps, what it writes down when it says so, and what it reads again.
#![allow(missing_docs, clippy::unwrap_used, dead_code)]

#[path = "serve/bridge.rs"]
mod bridge;
#[path = "serve/hosted.rs"]
mod hosted;
#[path = "serve/media.rs"]
mod media;
#[path = "serve/server.rs"]
mod server;

use bytes::Bytes;
use dits_core::remote::proto::{self, prove_reply, prove_result};
use hosted::Hosted;
use media::{Client, Media, bytes};
use server::{commit, git_ok};

const TRACKED: &[u8] = b"*.mov filter=dits -text\n";

impl Hosted {
    fn client(&self, repo: &str) -> Client {
        self.runtime.block_on(async { Client::new(self.server.client().await, repo) })
    }

    fn bring(&self, repo: &str, media: &Media) {
        let mut client = self.client(repo);
        let outcome = self.runtime.block_on(client.bring(media)).unwrap();
        assert!(matches!(outcome, prove_result::Outcome::Held(_)), "{outcome:?}");
    }

    fn kept(&self, repo: &str, all: &[&Media]) -> Vec<bool> {
        let oids = all.iter().map(|media| bytes(media.pointer.oid.as_bytes())).collect();
        let mut control = self.client(repo).control;
        let asked = control.kept(proto::KeptRequest { repo: repo.into(), oids });
        let files = self.runtime.block_on(asked).unwrap().into_inner().files;
        assert_eq!(files.len(), all.len());
        for (state, media) in files.iter().zip(all).filter(|(state, _)| state.held) {
            assert_eq!(state.size, media.pointer.size);
            assert_eq!(state.receipt.as_ref().unwrap().manifest, bytes(media.manifest_hash().as_bytes()));
        }
        files.into_iter().map(|state| state.held).collect()
    }

    fn meta(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.root().join("meta.sqlite")).unwrap()
    }

    /// Has every row say that it was said long ago, and two collections ago.
    fn age(&self) {
        let text = "UPDATE collection SET generation = 7; UPDATE held SET said_at = 5, said_in = 5";
        self.meta().execute_batch(text).unwrap();
    }

    /// Whether the file's row says that it was said just now.
    fn is_said(&self, media: &Media) -> bool {
        let select = "SELECT said_at > 1000000 AND said_in = 7 FROM held WHERE oid = ?1";
        self.meta().query_row(select, [media.pointer.oid.as_bytes()], |row| row.get(0)).unwrap()
    }
}

fn ask_held(hosted: &Hosted, media: &Media, text_elsewhere: bool) -> bool {
    let oids = vec![bytes(media.pointer.oid.as_bytes())];
    let mut control = hosted.client("film").control;
    let asked = control.held(proto::HeldRequest { repo: "film".into(), oids, text_elsewhere });
    hosted.runtime.block_on(asked).unwrap().into_inner().files[0].held
}

fn prove_again(hosted: &Hosted, media: &Media) -> prove_result::Outcome {
    let manifest = proto::ManifestToProve { manifest: bytes(media.manifest_hash().as_bytes()), base_oid: Bytes::new() };
    let request =
        proto::ProveRequest { repo: "film".into(), manifests: vec![manifest], again: true, ..Default::default() };
    let mut control = hosted.client("film").control;
    hosted.runtime.block_on(async {
        let mut replies = control.prove(request).await.unwrap().into_inner();
        loop {
            if let Some(prove_reply::Event::Result(result)) = replies.message().await.unwrap().unwrap().event {
                return result.outcome.unwrap();
            }
        }
    })
}

#[test]
fn a_file_is_kept_while_a_ref_of_its_repository_names_it() {
    let hosted = Hosted::new();
    let (first, second, never) = (Media::new(1), Media::new(9), Media::new(30));
    let all = [&first, &second, &never];
    assert_eq!(hosted.kept("film", &all), [false; 3], "there is no repository");
    let tree = hosted.work_tree("film");
    commit(&tree, ".gitattributes", TRACKED);
    commit(&tree, "a.mov", &first.text());
    hosted.bring("film", &first);
    hosted.bring("film", &second);
    assert_eq!(hosted.kept("film", &all), [false; 3], "no ref names them yet");
    git_ok(&tree, &["push", "--quiet", "origin", "main"]);
    assert_eq!(hosted.kept("film", &all), [true, false, false]);
    // An earlier version is kept by the commits that have it.
    commit(&tree, "a.mov", &second.text());
    git_ok(&tree, &["push", "--quiet", "origin", "main", "HEAD:refs/heads/next"]);
    assert_eq!(hosted.kept("film", &all), [true, true, false]);
    git_ok(&tree, &["push", "--quiet", "--force", "origin", "HEAD~1:main"]);
    assert_eq!(hosted.kept("film", &all), [true, true, false]);
    git_ok(&tree, &["push", "--quiet", "origin", ":next"]);
    assert_eq!(hosted.kept("film", &all), [true, false, false]);
    hosted.bring("other", &first);
    assert_eq!(hosted.kept("other", &all), [false; 3], "another repository's refs keep nothing here");
}

#[test]
fn a_pointer_of_another_size_or_in_a_text_keeps_nothing() {
    let hosted = Hosted::new();
    let media = Media::new(1);
    hosted.bring("film", &media);
    let tree = hosted.work_tree("film");
    commit(&tree, ".gitattributes", TRACKED);
    commit(&tree, "notes.txt", &media.text());
    git_ok(&tree, &["push", "--quiet", "origin", "main"]);
    let text = String::from_utf8(media.text()).unwrap().replace("size 120000", "size 120001");
    commit(&tree, "a.mov", text.as_bytes());
    // Only a hand on the server itself gets a pointer like that past the check.
    let bare = hosted.root().join("repos/film.git");
    git_ok(&bare, &["fetch", "--quiet", tree.to_str().unwrap(), "+main:main"]);
    assert_eq!(hosted.kept("film", &[&media]), [false]);
}

#[test]
fn a_repository_whose_text_is_elsewhere_keeps_all_it_holds() {
    let hosted = Hosted::new();
    let media = Media::new(1);
    assert!(!ask_held(&hosted, &media, true), "nothing is made by a question");
    assert!(!hosted.root().join("repos/film.git").exists());
    hosted.bring("film", &media);
    assert_eq!(hosted.kept("film", &[&media]), [false]);
    assert!(ask_held(&hosted, &media, true));
    assert_eq!(hosted.kept("film", &[&media, &Media::new(9)]), [true, false]);
    assert!(ask_held(&hosted, &media, false));
    assert_eq!(hosted.kept("film", &[&media]), [true], "it stays so");
}

#[test]
fn whoever_is_told_that_a_file_is_held_is_told_after_it_was_written_down() {
    let hosted = Hosted::new();
    let (asked, other) = (Media::new(1), Media::new(9));
    hosted.bring("film", &asked);
    hosted.bring("film", &other);
    let rounds: [&dyn Fn(); 4] = [
        &|| assert!(ask_held(&hosted, &asked, false)),
        &|| drop(hosted.kept("film", &[&asked])),
        &|| drop(hosted.runtime.block_on(hosted.client("film").prove(asked.manifest_hash())).unwrap()),
        &|| {
            let tree = hosted.work_tree("film");
            commit(&tree, ".gitattributes", TRACKED);
            commit(&tree, "a.mov", &asked.text());
            git_ok(&tree, &["push", "--quiet", "origin", "main"]);
        },
    ];
    for (number, round) in rounds.iter().enumerate() {
        hosted.age();
        round();
        assert_eq!((hosted.is_said(&asked), hosted.is_said(&other)), (true, false), "{number}");
    }
}

#[test]
fn what_is_held_is_read_again_where_a_client_asks_for_that() {
    let hosted = Hosted::new();
    let media = Media::new(1);
    hosted.bring("film", &media);
    let prove = || hosted.runtime.block_on(hosted.client("film").prove(media.manifest_hash())).unwrap();
    let first = prove();
    assert_eq!(prove_again(&hosted, &media), first, "the receipt is the one that was given");
    let open = hosted.root().join("store/open");
    for pack in std::fs::read_dir(open).unwrap().map(|entry| entry.unwrap().path()) {
        let mut bytes = std::fs::read(&pack).unwrap();
        if let Some(at) = bytes.windows(1000).position(|window| window == &media.chunks[1][..1000]) {
            bytes[at] ^= 1;
            std::fs::write(&pack, bytes).unwrap();
        }
    }
    assert_eq!(prove(), first, "nobody has read it since");
    let prove_result::Outcome::Missing(missing) = prove_again(&hosted, &media) else { panic!("it is damaged") };
    assert_eq!(missing.items[0].hashes, bytes(&media.chunk_ids()[1].hash));
    assert!(!ask_held(&hosted, &media, false));
    assert_eq!(hosted.kept("film", &[&media]), [false]);
}

#[test]
fn a_proof_leaves_no_lease_behind() {
    let hosted = Hosted::new();
    let media = Media::new(1);
    hosted.bring("film", &media);
    let lie = Media::claiming(Media::new(2).pointer.oid, media.chunks.clone());
    let _ = hosted.runtime.block_on(hosted.client("film").bring(&lie)).unwrap();
    let left = "SELECT count(*) FROM leases WHERE expires > 9000000000";
    assert_eq!(hosted.meta().query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}
