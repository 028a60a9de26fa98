//! A client that speaks the protocols well and means harm.

use std::io::{Read, Write};

use dits_core::codec::Codec;
use dits_core::git_index::ObjectFormat;
use dits_core::hash::{ChunkHash, FileHash, ManifestHash};
use dits_core::item::{ItemId, ItemKind};
use dits_core::manifest::span::ChunkEntry;
use dits_core::manifest::{ChunkerId, Layout, Manifest};
use dits_core::pointer::Pointer;
use dits_core::remote::server::{ConnectOptions, GitService, GitTunnel, ServerError, ServerRemote, Transport};
use dits_core::remote::{Holding, ProveOutcome};
use dits_core::remote_url::Host;
use dits_core::repo_path::RepoName;
use dits_core::store::StoredItem;
use dits_core::wire::packet_line;
use dits_tests::media::{MIB, noise};
use dits_tests::{Server, World};

const NULL: &str = "0000000000000000000000000000000000000000";

fn host(server: &Server) -> Host {
    Host::parse(&format!("127.0.0.1:{}", server.port())).expect("it is an address")
}

fn connect(world: &World, server: &Server, repo: &str, transport: Transport) -> ServerRemote {
    ServerRemote::connect(ConnectOptions {
        host: host(server),
        repo: RepoName::new(repo).expect("it is a name"),
        known_hosts: world.path("hostile-known-hosts"),
        ask: None,
        credential: &|| None,
        transport,
        warn: Box::new(|_| {}),
        client: "a test",
    })
    .expect("the server listens")
}

fn raw(kind: ItemKind, plain: &[u8]) -> StoredItem {
    let id = ItemId { kind, hash: *blake3::hash(plain).as_bytes() };
    let plain_len = u32::try_from(plain.len()).expect("a test's item is small");
    StoredItem { id, codec: Codec::Raw, plain_len, bytes: plain.to_vec() }
}

/// Uploads, and asserts that all of it was taken.
fn upload(remote: &ServerRemote, items: Vec<StoredItem>) {
    let left = remote.upload(&mut items.into_iter().map(Ok), &mut |_| {}).expect("good items are taken");
    assert_eq!(left, [], "the connection broke");
}

/// The manifest of a file of one chunk, whatever its oid is said to be.
fn manifest(oid: FileHash, chunk: &[u8]) -> Manifest {
    let len = u32::try_from(chunk.len()).expect("a test's chunk is small");
    let pointer = Pointer { oid, size: len.into() };
    let layout = Layout::Inline(vec![ChunkEntry::new(ChunkHash::of(chunk), len)]);
    Manifest::new(ChunkerId(1), pointer, layout, vec![], vec![]).expect("its lengths add up")
}

fn prove(remote: &ServerRemote, manifest: ManifestHash) -> ProveOutcome {
    remote.prove(&[(manifest, None)], &mut |_| {}).expect("it can be asked").remove(0)
}

#[test]
fn a_manifest_whose_content_is_something_else_is_never_held() {
    let world = World::new();
    let server = world.serve();
    let remote = connect(&world, &server, "film", Transport::Auto);
    let chunk = noise(1, 100_000);
    let lie = manifest(FileHash::of(b"another file"), &chunk);
    upload(&remote, vec![raw(ItemKind::Chunk, &chunk), raw(ItemKind::Manifest, &lie.encode())]);
    let outcome = prove(&remote, lie.hash());
    assert!(matches!(outcome, ProveOutcome::Refused(_)), "{outcome:?}");
    let (file, oid) = (lie.pointer(), lie.pointer().oid);
    assert_eq!(remote.held(&[file]).expect("it can be asked"), [Holding::No]);
    assert_eq!(remote.manifests(&[oid]).expect("it can be asked"), [None]);
    let truth = manifest(FileHash::of(&chunk), &chunk);
    upload(&remote, vec![raw(ItemKind::Manifest, &truth.encode())]);
    let outcome = prove(&remote, truth.hash());
    assert!(matches!(outcome, ProveOutcome::Held(_)), "{outcome:?}");
}

#[test]
fn bytes_that_are_no_manifest_are_refused() {
    let world = World::new();
    let server = world.serve();
    let remote = connect(&world, &server, "film", Transport::Auto);
    let junk = raw(ItemKind::Manifest, b"DMAN, or so it says");
    let named = ManifestHash::from_bytes(junk.id.hash);
    // Taken or not, it is never held; the server may refuse it as early as at its arrival.
    if remote.upload(&mut std::iter::once(Ok(junk)), &mut |_| {}).is_ok() {
        let outcome = prove(&remote, named);
        assert!(matches!(outcome, ProveOutcome::Refused(_)), "{outcome:?}");
    }
}

#[test]
fn naming_the_chunks_of_another_repository_reaches_nothing() {
    let world = World::new();
    let server = world.serve();
    let secret = noise(2, 100_000);
    let owner = connect(&world, &server, "secret", Transport::Auto);
    let described = manifest(FileHash::of(&secret), &secret);
    upload(&owner, vec![raw(ItemKind::Chunk, &secret), raw(ItemKind::Manifest, &described.encode())]);
    assert!(matches!(prove(&owner, described.hash()), ProveOutcome::Held(_)));

    let thief = connect(&world, &server, "thief", Transport::Auto);
    let file = described.pointer();
    let chunk = ItemId::from(ChunkHash::of(&secret));
    assert_eq!(thief.missing(&[chunk]).expect("it can be asked"), [true], "what others have is not told");
    assert_eq!(thief.held(&[file]).expect("it can be asked"), [Holding::No]);
    upload(&thief, vec![raw(ItemKind::Manifest, &described.encode())]);
    let outcome = prove(&thief, described.hash());
    assert!(matches!(&outcome, ProveOutcome::Missing(items) if items == &[chunk]), "{outcome:?}");
    let absent = thief.download(&[chunk], &mut |item| panic!("{} was handed out", item.id), &mut |_| {});
    assert_eq!(absent.expect("it can be asked"), [chunk]);
    assert_eq!(thief.held(&[file]).expect("it can be asked"), [Holding::No]);
}

#[test]
fn an_item_that_is_not_what_its_name_says_is_refused_over_either_transport() {
    let world = World::new();
    let server = world.serve();
    for transport in [Transport::Quic, Transport::Grpc] {
        let remote = connect(&world, &server, "film", transport);
        let named = raw(ItemKind::Chunk, &noise(3, 50_000));
        let forged = StoredItem { bytes: noise(4, 50_000), ..named.clone() };
        let refused = remote.upload(&mut std::iter::once(Ok(forged)), &mut |_| {});
        assert!(refused.is_err(), "{transport:?}: {refused:?}");
        let short = StoredItem { plain_len: 7, ..named.clone() };
        // A frame that contradicts itself may also just end its connection: then it is to be sent again.
        let refused = remote.upload(&mut std::iter::once(Ok(short)), &mut |_| {});
        assert!(refused.is_err() || refused.as_ref().is_ok_and(|left| left == &[named.id]), "{refused:?}");
        let again = connect(&world, &server, "film", transport);
        assert_eq!(again.missing(&[named.id]).expect("it can be asked"), [true], "{transport:?}");
    }
    let remote = connect(&world, &server, "film", Transport::Auto);
    upload(&remote, vec![raw(ItemKind::Chunk, &noise(5, 50_000))]);
}

/// Sends one command and a pack to receive-pack, as any client of git's own protocol could.
fn push_plainly(tunnel: GitTunnel, host: &Host, command: &str, pack: &[u8]) -> Result<(i32, String), ServerError> {
    let (mut to, mut from, ending) = tunnel.split();
    let mut line = Vec::new();
    packet_line::write(&mut line, command.as_bytes()).expect("in memory");
    packet_line::write_flush(&mut line).expect("in memory");
    // A far end that ends early says why; that is what counts.
    let _ = to.write_all(&line).and_then(|()| to.write_all(pack)).and_then(|()| to.flush());
    drop(to);
    let mut answer = Vec::new();
    let _ = from.read_to_end(&mut answer);
    let end = ending.wait(host)?;
    let said = format!("{}{}", String::from_utf8_lossy(&answer), String::from_utf8_lossy(&end.messages));
    Ok((end.exit_code, said))
}

#[test]
fn a_client_without_the_gate_meets_the_check_of_the_server() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.write("lost.bin", noise(6, 2 * MIB));
    let head = repo.commit("a take");
    let pack = repo.call(&["pack-objects", "-q", "--revs", "--stdout"]).input("HEAD\n").run();
    pack.ok();
    let remote = connect(&world, &server, "film", Transport::Auto);
    let command = |name: &str| format!("{NULL} {head} {name}\0 report-status");
    let refs = || world.call("git").args(["for-each-ref"]).dir(&server.bare("film")).run().ok();
    for name in ["refs/heads/main", "refs/heads/../../../../owned", "refs/heads/a.lock", "HEAD/..", "refs/heads/\u{1}"]
    {
        let tunnel = remote.git(GitService::ReceivePack, "", ObjectFormat::Sha1).expect("a push makes the repository");
        let (_, said) = push_plainly(tunnel, &host(&server), &command(name), &pack.stdout).expect("the server lives");
        assert!(!said.contains("ok refs/"), "{name:?}: {said}");
        assert_eq!(refs(), "", "{name:?} made a ref: {said}");
    }
    let tunnel = remote.git(GitService::ReceivePack, "", ObjectFormat::Sha1).expect("the repository is there");
    let (_, said) =
        push_plainly(tunnel, &host(&server), &command("refs/heads/main"), b"PACK and nothing more").expect("it lives");
    assert!(!said.contains("ok refs/") && refs().is_empty(), "{said}");
    // The same commit arrives once its media does.
    repo.push_to(&server.url("film"));
    assert!(refs().contains("refs/heads/main"));
}
