//! What a server believes of media, and which pushes it lets through.
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
use dits_core::hash::FileHash;
use dits_core::remote::proto::{self, prove_result};
use dits_core::wire::frame::Frame;
use hosted::{Hosted, stderr};
use media::{Client, Media, bytes};
use server::{Server, commit, git, git_ok};
use tonic::Code;

impl Hosted {
    fn client(&self, repo: &str) -> Client {
        self.runtime.block_on(async { Client::new(self.server.client().await, repo) })
    }

    fn bring(&self, repo: &str, media: &Media) {
        let mut client = self.client(repo);
        let outcome = self.runtime.block_on(client.bring(media)).unwrap();
        assert!(matches!(outcome, prove_result::Outcome::Held(_)), "{outcome:?}");
    }
}

const TRACKED: &[u8] = b"*.mov filter=dits -text\n";

#[test]
fn media_that_was_uploaded_and_proven_lets_its_push_through() {
    let hosted = Hosted::new();
    let tree = hosted.work_tree("film");
    let media = Media::new(1);
    commit(&tree, ".gitattributes", TRACKED);
    commit(&tree, "a.mov", &media.text());
    hosted.bring("film", &media);
    git_ok(&tree, &["push", "--quiet", "origin", "main"]);
    assert_eq!(hosted.refs("film"), "refs/heads/main\n");
}

#[test]
fn a_push_whose_media_is_missing_leaves_nothing_behind() {
    let hosted = Hosted::new();
    let tree = hosted.work_tree("film");
    git_ok(&tree, &["push", "--quiet", "origin", "main"]);
    let objects = || git_ok(&hosted.root().join("repos/film.git"), &["count-objects", "-v"]);
    let before = objects();
    let media = Media::new(1);
    commit(&tree, ".gitattributes", TRACKED);
    commit(&tree, "take 1.mov", &media.text());
    let refused = git(&tree, &["push", "--no-verify", "origin", "HEAD:refs/heads/next"]);
    assert!(!refused.status.success());
    let text = stderr(&refused);
    let short = &git_ok(&tree, &["rev-parse", "HEAD"])[..12];
    assert!(
        text.contains(&format!("error: take 1.mov in commit {short} needs media that this server lacks")),
        "{text}"
    );
    assert!(text.contains(&media.pointer.oid.to_string()) && text.contains("hint: "), "{text}");
    assert_eq!(hosted.refs("film"), "refs/heads/main\n");
    assert_eq!(objects(), before);
    let ends = hosted.ends.lock().unwrap();
    let end = ends.last().unwrap().as_ref().unwrap();
    assert_eq!(end.missing_oids, [bytes(media.pointer.oid.as_bytes())]);
    drop(ends);
    assert_eq!(std::fs::read_dir(hosted.root().join("unfinished")).unwrap().count(), 0);
}

#[test]
fn media_committed_without_dits_is_refused() {
    let hosted = Hosted::new();
    let tree = hosted.work_tree("film");
    commit(&tree, ".gitattributes", TRACKED);
    commit(&tree, "a.mov", &vec![7; 1024 * 1024 + 1]);
    let refused = git(&tree, &["push", "origin", "main"]);
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("a.mov in commit ") && stderr(&refused).contains("committed without Dits"));
    assert_eq!(hosted.refs("film"), "");
}

#[test]
fn a_tree_that_expands_to_billions_of_files_is_refused() {
    let hosted = Hosted::new();
    let tree = hosted.work_tree("film");
    commit(&tree, "a.mov", &Media::new(1).text());
    let mut folder = git_ok(&tree, &["rev-parse", "HEAD^{tree}"]).trim_end().to_owned();
    for _ in 0..12 {
        let lines: String = (0..10).map(|name| format!("040000 tree {folder}\t{name}\n")).collect();
        std::fs::write(tree.join("lines"), lines).unwrap();
        let lines = std::fs::File::open(tree.join("lines")).unwrap();
        let made = std::process::Command::new("git").arg("mktree").current_dir(&tree).stdin(lines).output().unwrap();
        folder = String::from_utf8(made.stdout).unwrap().trim_end().to_owned();
    }
    let refused = git(&tree, &["push", "origin", &format!("{folder}:refs/tags/all")]);
    assert!(!refused.status.success());
    let text = stderr(&refused);
    assert!(text.contains("the new commits name more than 33554432 paths"), "{text}");
    assert!(text.contains("hint: push older commits first, a part of them at a time"), "{text}");
    assert_eq!(hosted.refs("film"), "");
}

#[test]
fn text_that_merely_shows_a_pointer_is_text() {
    let hosted = Hosted::new();
    let tree = hosted.work_tree("film");
    commit(&tree, ".gitattributes", TRACKED);
    commit(&tree, "example.txt", &Media::new(1).text());
    git_ok(&tree, &["push", "--quiet", "origin", "main"]);
}

#[test]
fn a_file_is_held_with_a_receipt_once_proven() {
    let hosted = Hosted::new();
    let media = Media::new(1);
    let mut client = hosted.client("film");
    hosted.runtime.block_on(async {
        assert!(!client.is_held(&media).await);
        let held = client.bring(&media).await.unwrap();
        let prove_result::Outcome::Held(receipt) = held else { panic!("{held:?}") };
        assert_eq!(receipt.oid, bytes(media.pointer.oid.as_bytes()));
        assert_eq!(receipt.mac.len(), 32);
        let again = client.prove(media.manifest_hash()).await.unwrap();
        assert_eq!(again, prove_result::Outcome::Held(receipt.clone()), "the same facts, the same receipt");
        assert_eq!(client.missing(&media.chunk_ids()).await, (0, true));
        let asked = proto::HeldRequest { repo: "film".into(), oids: vec![receipt.oid.clone()], ..Default::default() };
        let state = client.control.held(asked).await.unwrap().into_inner().files.remove(0);
        assert_eq!((state.held, state.size), (true, media.pointer.size));
        let oids = vec![bytes(media.pointer.oid.as_bytes()), bytes(&[9; 32])];
        let request = proto::ManifestsRequest { repo: "film".into(), oids };
        let manifests = client.control.manifests(request).await.unwrap().into_inner().manifests;
        assert_eq!(manifests, [bytes(media.manifest_hash().as_bytes()), Bytes::new()]);
    });
}

#[test]
fn what_a_disk_damaged_is_asked_for_again_and_mended() {
    let hosted = Hosted::new();
    let media = Media::new(1);
    hosted.bring("film", &media);
    let tree = hosted.work_tree("film");
    commit(&tree, ".gitattributes", TRACKED);
    commit(&tree, "a.mov", &media.text());
    flip_in_packs(&hosted.root().join("store"), &media.chunks[1]);
    let mut client = hosted.client("film");
    let chunk = media.chunk_ids()[1];
    hosted.runtime.block_on(async {
        assert!(client.is_held(&media).await, "nobody has read it since");
        assert_eq!(client.download(&[chunk]).await.unwrap(), [Frame::Absent(chunk)]);
        assert!(!client.is_held(&media).await);
        let outcome = client.prove(media.manifest_hash()).await.unwrap();
        let prove_result::Outcome::Missing(missing) = outcome else { panic!("{outcome:?}") };
        assert_eq!(missing.items[0].hashes, bytes(&chunk.hash));
    });
    let refused = git(&tree, &["push", "origin", "main"]);
    assert!(!refused.status.success() && stderr(&refused).contains("needs media that this server lacks"));
    hosted.bring("film", &media);
    hosted.runtime.block_on(async {
        assert!(client.is_held(&media).await);
        let answers = client.download(&[chunk]).await.unwrap();
        assert!(matches!(&answers[..], [Frame::Item(item)] if item.id == chunk), "{answers:?}");
    });
    git_ok(&tree, &["push", "--quiet", "origin", "main"]);
}

/// Changes a byte of `content` where packs hold it as it is.
fn flip_in_packs(store: &std::path::Path, content: &[u8]) {
    let entries = ["open", "packs"].into_iter().filter_map(|dir| std::fs::read_dir(store.join(dir)).ok());
    for entry in entries.flatten() {
        let path = entry.unwrap().path();
        let mut pack = std::fs::read(&path).unwrap();
        if let Some(at) = pack.windows(content.len()).position(|window| window == content) {
            pack[at + content.len() / 2] ^= 1;
            return std::fs::write(path, pack).unwrap();
        }
    }
    panic!("no pack holds it");
}

#[test]
fn a_manifest_whose_content_is_another_file_is_refused() {
    let hosted = Hosted::new();
    let (good, other) = (Media::new(1), Media::new(5));
    let lie = Media::claiming(good.pointer.oid, other.chunks);
    let mut client = hosted.client("film");
    hosted.runtime.block_on(async {
        let outcome = client.bring(&lie).await.unwrap();
        assert!(matches!(outcome, prove_result::Outcome::Refused(_)), "{outcome:?}");
        assert!(!client.is_held(&good).await);
        let honest = client.bring(&good).await.unwrap();
        assert!(matches!(honest, prove_result::Outcome::Held(_)), "a lie does not poison the oid");
    });
}

#[test]
fn nobody_gets_at_chunks_of_another_repository_by_naming_them() {
    let hosted = Hosted::new();
    let secret = Media::new(1);
    hosted.bring("secret", &secret);
    let mut thief = hosted.client("thief");
    hosted.runtime.block_on(async {
        assert_eq!(thief.missing(&secret.chunk_ids()).await, (3, true), "it looks as if nobody had them");
        let stored = thief.upload(&[secret.manifest_item()]).await.unwrap();
        assert!(matches!(stored, Frame::Stored { count: 1 }));
        let outcome = thief.prove(secret.manifest_hash()).await.unwrap();
        let prove_result::Outcome::Missing(missing) = outcome else { panic!("{outcome:?}") };
        assert_eq!(missing.items.iter().map(|group| group.hashes.len()).sum::<usize>(), 64);
        assert!(!thief.is_held(&secret).await);
        // Who has the bytes themselves learns nothing by sending them, and they are stored once.
        let outcome = thief.bring(&secret).await.unwrap();
        assert!(matches!(outcome, prove_result::Outcome::Held(_)), "{outcome:?}");
        assert_eq!(thief.missing(&secret.chunk_ids()).await, (0, true));
    });
    let payload: u64 = ["open", "packs"].iter().map(|dir| pack_bytes(&hosted.root().join("store").join(dir))).sum();
    assert!(payload < 2 * secret.pointer.size, "{payload} bytes for {} twice", secret.pointer.size);
}

/// Bytes that packs take, reserved room not counted.
fn pack_bytes(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let packs =
        entries.filter_map(Result::ok).filter(|entry| entry.path().extension().is_some_and(|ext| ext == "pack"));
    packs.map(|entry| entry.metadata().unwrap()).map(|meta| meta.size().min(meta.blocks() * 512)).sum()
}

#[test]
fn items_that_are_not_what_their_names_say_are_refused() {
    let hosted = Hosted::new();
    let media = Media::new(1);
    let mut client = hosted.client("film");
    hosted.runtime.block_on(async {
        let wrong = (media.chunk_ids()[0], &media.chunks[1][..]);
        let refused = client.upload(&[wrong]).await.unwrap();
        assert!(matches!(refused, Frame::Refused { .. }), "{refused:?}");
        assert_eq!(client.missing(&media.chunk_ids()).await.0, 3);
    });
}

#[test]
fn questions_that_cannot_be_meant_are_refused() {
    let hosted = Hosted::new();
    let mut client = hosted.client("film");
    hosted.runtime.block_on(async {
        let short =
            proto::HeldRequest { repo: "film".into(), oids: vec![Bytes::from_static(b"short")], ..Default::default() };
        assert_eq!(client.control.held(short).await.unwrap_err().code(), Code::InvalidArgument);
        let many = proto::HeldRequest {
            repo: "film".into(),
            oids: vec![Bytes::from_static(&[0; 32]); 10_000],
            ..Default::default()
        };
        assert_eq!(client.control.held(many).await.unwrap_err().code(), Code::InvalidArgument);
        let items = vec![proto::ItemIds { kind: 77, hashes: Bytes::new() }];
        let kind = proto::MissingRequest { repo: "film".into(), lease: Bytes::new(), items };
        assert_eq!(client.control.missing(kind).await.unwrap_err().code(), Code::InvalidArgument);
        let lease = proto::MissingRequest { repo: "film".into(), lease: Bytes::from_static(b"x"), items: vec![] };
        assert_eq!(client.control.missing(lease).await.unwrap_err().code(), Code::InvalidArgument);
        let nowhere = client.prove(Media::new(1).manifest_hash()).await.unwrap_err();
        assert_eq!(nowhere.code(), Code::NotFound);
    });
}

#[test]
fn two_pushes_at_once_are_both_checked() {
    let hosted = Hosted::new();
    let tree = hosted.work_tree("film");
    let media = Media::new(1);
    commit(&tree, ".gitattributes", TRACKED);
    commit(&tree, "a.mov", &media.text());
    git_ok(&tree, &["branch", "good"]);
    commit(&tree, "b.mov", &Media::new(9).text());
    git_ok(&tree, &["branch", "bad"]);
    hosted.bring("film", &media);
    std::thread::scope(|scope| {
        let bad = scope.spawn(|| git(&tree, &["push", "--quiet", "origin", "bad"]));
        let good = scope.spawn(|| git(&tree, &["push", "--quiet", "origin", "good"]));
        assert!(good.join().unwrap().status.success());
        assert!(!bad.join().unwrap().status.success());
    });
    assert_eq!(hosted.refs("film"), "refs/heads/good\n");
}

#[test]
fn a_server_killed_at_any_step_goes_on_with_nothing_lost() {
    for step in ["repo-registered", "repo-created", "content-proven", "held-recorded"] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("srv");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let media = Media::new(1);
        let stopped = Server::start_with(&root, &[], &[("DITS_STOP_AT", step)]);
        let died = runtime.block_on(async {
            let mut client = Client::new(stopped.client().await, "film");
            match step {
                "repo-created" => start_receive_pack(client.control.clone()).await.is_err(),
                _ => client.bring(&media).await.is_err(),
            }
        });
        assert!(died, "{step}");
        assert_eq!(stopped.end().0.code(), None, "{step}: ended by a signal");
        let server = Server::start(&root);
        runtime.block_on(async {
            let mut client = Client::new(server.client().await, "film");
            assert_eq!(client.is_held(&media).await, step == "held-recorded", "{step}");
            let outcome = client.bring(&media).await.unwrap();
            assert!(matches!(outcome, prove_result::Outcome::Held(_)), "{step}: {outcome:?}");
        });
    }
}

#[test]
fn a_server_killed_when_presence_was_recorded_goes_on_with_nothing_lost() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let media = Media::new(1);
    let stopped = Server::start_with(dir.path(), &[], &[("DITS_STOP_AT", "presence-recorded")]);
    runtime.block_on(async {
        Client::new(stopped.client().await, "first").bring(&media).await.unwrap();
        assert!(Client::new(stopped.client().await, "second").bring(&media).await.is_err());
    });
    assert_eq!(stopped.end().0.code(), None, "ended by a signal");
    let server = Server::start(dir.path());
    runtime.block_on(async {
        for repo in ["first", "second"] {
            let mut client = Client::new(server.client().await, repo);
            assert_eq!(client.is_held(&media).await, repo == "first");
            let outcome = client.bring(&media).await.unwrap();
            assert!(matches!(outcome, prove_result::Outcome::Held(_)), "{repo}: {outcome:?}");
        }
    });
}

async fn start_receive_pack(
    mut control: proto::control_client::ControlClient<tonic::transport::Channel>,
) -> Result<(), tonic::Status> {
    let start = proto::GitStart { repo: "film".into(), service: 2, protocol: String::new(), ..Default::default() };
    let first = proto::GitRequest { part: Some(proto::git_request::Part::Start(start)) };
    control.git(tokio_stream::iter([first])).await?.into_inner().message().await.map(|_| ())
}

#[test]
fn a_pointer_with_a_wrong_size_is_refused() {
    let hosted = Hosted::new();
    let tree = hosted.work_tree("film");
    let media = Media::new(1);
    hosted.bring("film", &media);
    commit(&tree, ".gitattributes", TRACKED);
    let wrong = dits_core::pointer::Pointer { oid: FileHash::from_bytes(*media.pointer.oid.as_bytes()), size: 3 };
    commit(&tree, "a.mov", wrong.to_string().as_bytes());
    let refused = git(&tree, &["push", "origin", "main"]);
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("is not a pointer that Dits made"), "{}", stderr(&refused));
}

#[test]
fn many_manifests_are_proven_with_one_question_and_answered_one_by_one_in_order() {
    let hosted = Hosted::new();
    let mut client = hosted.client("film");
    // More than are recorded together, with one in the middle that cannot be proven.
    let all: Vec<Media> = (0..300_u32).map(Media::numbered).collect();
    let lacking = 130;
    let sent = all.iter().enumerate().filter(|(number, _)| *number != lacking).map(|(_, media)| media);
    let items: Vec<_> = sent.flat_map(|media| media.items()).chain([all[lacking].manifest_item()]).collect();
    let stored = hosted.runtime.block_on(client.upload(&items)).unwrap();
    assert!(matches!(stored, Frame::Stored { .. }), "{stored:?}");
    let manifests: Vec<_> = all.iter().map(Media::manifest_hash).collect();
    let results = hosted.runtime.block_on(client.prove_all(&manifests));
    assert_eq!(results.len(), all.len());
    for (number, (result, media)) in results.iter().zip(&all).enumerate() {
        assert_eq!(result.manifest, bytes(media.manifest_hash().as_bytes()), "{number}");
        let is_held = matches!(result.outcome, Some(prove_result::Outcome::Held(_)));
        assert_eq!(is_held, number != lacking, "{number}: {:?}", result.outcome);
        assert_eq!(hosted.runtime.block_on(client.is_held(media)), number != lacking, "{number}");
    }
}
