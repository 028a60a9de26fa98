//! Requests that no client of ours makes, said to a real server in raw gRPC.
#![allow(missing_docs, clippy::unwrap_used, dead_code)]

#[path = "serve/media.rs"]
mod media;
#[path = "serve/server.rs"]
mod server;

use bytes::Bytes;
use dits_core::limits::IDS_PER_MESSAGE_MAX;
use dits_core::remote::proto::control_client::ControlClient;
use dits_core::remote::proto::{self, data_request, git_request};
use media::{Client, Media, bytes};
use server::Server;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// What each call says of a repository of this name.
async fn name_everywhere(client: &mut ControlClient<Channel>, name: &str) -> Vec<(&'static str, Code)> {
    let repo = name.to_owned();
    let open = |direction: i32| proto::OpenDataRequest { repo: name.to_owned(), direction };
    let data =
        |direction| tokio_stream::iter([proto::DataRequest { part: Some(data_request::Part::Open(open(direction))) }]);
    let git = |service| {
        let start = proto::GitStart { repo: name.to_owned(), service, protocol: String::new(), ..Default::default() };
        tokio_stream::iter([proto::GitRequest { part: Some(git_request::Part::Start(start)) }])
    };
    let hello = proto::HelloRequest { versions: vec![1], client: String::new(), repo: repo.clone() };
    let held = proto::HeldRequest { repo: repo.clone(), oids: vec![], ..Default::default() };
    let missing = proto::MissingRequest { repo: repo.clone(), lease: Bytes::new(), items: vec![] };
    let prove =
        proto::ProveRequest { repo: repo.clone(), lease: Bytes::new(), manifests: vec![], ..Default::default() };
    let manifests = proto::ManifestsRequest { repo, oids: vec![] };
    vec![
        ("hello", code(client.hello(hello).await)),
        ("held", code(client.held(held).await)),
        ("missing", code(client.missing(missing).await)),
        ("prove", code(client.prove(prove).await)),
        ("manifests", code(client.manifests(manifests).await)),
        ("open up", code(client.open_data(open(1)).await)),
        ("open down", code(client.open_data(open(2)).await)),
        ("data up", code(client.data(data(1)).await)),
        ("data down", code(client.data(data(2)).await)),
        ("upload-pack", code(client.git(git(1)).await)),
        ("receive-pack", code(client.git(git(2)).await)),
        ("upload-archive", code(client.git(git(3)).await)),
    ]
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// The server still answers, and holds what it held.
async fn is_well(server: &Server, media: &Media) {
    assert!(Client::new(server.client().await, "film").is_held(media).await);
}

async fn with_film(dir: &std::path::Path) -> (Server, Client, Media) {
    let server = Server::start(dir);
    let media = Media::new(1);
    let mut client = Client::new(server.client().await, "film");
    client.bring(&media).await.unwrap();
    (server, client, media)
}

#[tokio::test]
async fn no_call_takes_a_name_that_could_leave_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client, media) = with_film(dir.path()).await;
    let long = "a/".repeat(200) + "a";
    for name in [
        "",
        ".",
        "..",
        "../film",
        "film/../../x",
        "/film",
        "film/",
        "a//b",
        "film\0",
        "-film",
        "fi lm",
        ".git",
        "a/.git",
        &long,
    ] {
        for (call, code) in name_everywhere(&mut client.control, name).await {
            assert_eq!(code, Code::InvalidArgument, "{call} with {name:?}");
        }
    }
    assert_eq!(std::fs::read_dir(dir.path().join("repos")).unwrap().count(), 1, "film alone");
    is_well(&server, &media).await;
}

#[tokio::test]
async fn hashes_of_other_lengths_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client, media) = with_film(dir.path()).await;
    for len in [0, 1, 31, 33, 64, 100_000] {
        let wrong = Bytes::from(vec![7; len]);
        let oids = vec![bytes(media.pointer.oid.as_bytes()), wrong.clone()];
        let held = proto::HeldRequest { repo: "film".into(), oids: oids.clone(), ..Default::default() };
        assert_eq!(code(client.control.held(held).await), Code::InvalidArgument, "held, {len}");
        let manifests = proto::ManifestsRequest { repo: "film".into(), oids };
        assert_eq!(code(client.control.manifests(manifests).await), Code::InvalidArgument, "manifests, {len}");
        let named = |manifest: Bytes, base_oid: Bytes| proto::ProveRequest {
            repo: "film".into(),
            lease: Bytes::new(),
            manifests: vec![proto::ManifestToProve { manifest, base_oid }],
            ..Default::default()
        };
        let prove = named(wrong.clone(), Bytes::new());
        assert_eq!(code(client.control.prove(prove).await), Code::InvalidArgument, "prove, {len}");
        if len > 0 {
            let prove = named(bytes(media.manifest_hash().as_bytes()), wrong.clone());
            assert_eq!(code(client.control.prove(prove).await), Code::InvalidArgument, "base, {len}");
        }
        if len % 32 != 0 {
            let items = vec![proto::ItemIds { kind: 1, hashes: wrong.clone() }];
            let missing = proto::MissingRequest { repo: "film".into(), lease: Bytes::new(), items };
            assert_eq!(code(client.control.missing(missing).await), Code::InvalidArgument, "missing, {len}");
        }
        if len > 0 {
            let missing = proto::MissingRequest { repo: "film".into(), lease: wrong, items: vec![] };
            assert_eq!(code(client.control.missing(missing).await), Code::InvalidArgument, "lease, {len}");
        }
    }
    is_well(&server, &media).await;
}

#[tokio::test]
async fn kinds_directions_and_services_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client, media) = with_film(dir.path()).await;
    for kind in [0, 6, 77, 257, u32::MAX] {
        for hashes in [Bytes::new(), Bytes::from(vec![0; 32])] {
            let items = vec![proto::ItemIds { kind, hashes }];
            let missing = proto::MissingRequest { repo: "film".into(), lease: Bytes::new(), items };
            assert_eq!(code(client.control.missing(missing).await), Code::InvalidArgument, "{kind}");
        }
    }
    for number in [0, 4, -1, i32::MAX] {
        let open = proto::OpenDataRequest { repo: "film".into(), direction: number };
        assert_eq!(code(client.control.open_data(open).await), Code::InvalidArgument, "direction {number}");
        let start =
            proto::GitStart { repo: "film".into(), service: number, protocol: String::new(), ..Default::default() };
        let first = proto::GitRequest { part: Some(git_request::Part::Start(start)) };
        let started = client.control.git(tokio_stream::iter([first])).await;
        assert_eq!(code(started), Code::InvalidArgument, "service {number}");
    }
    for protocol in ["version=2\nx", "a b", "version=2\0", &"v".repeat(257)] {
        let start =
            proto::GitStart { repo: "film".into(), service: 1, protocol: protocol.to_owned(), ..Default::default() };
        let first = proto::GitRequest { part: Some(git_request::Part::Start(start)) };
        assert_eq!(code(client.control.git(tokio_stream::iter([first])).await), Code::InvalidArgument, "{protocol:?}");
    }
    is_well(&server, &media).await;
}

#[tokio::test]
async fn lists_that_are_too_long_are_refused_and_the_longest_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client, media) = with_film(dir.path()).await;
    for (count, expected) in [(IDS_PER_MESSAGE_MAX, Code::Ok), (IDS_PER_MESSAGE_MAX + 1, Code::InvalidArgument)] {
        let oids = vec![Bytes::from_static(&[9; 32]); count];
        let held = proto::HeldRequest { repo: "film".into(), oids: oids.clone(), ..Default::default() };
        assert_eq!(code(client.control.held(held).await), expected, "held, {count}");
        let manifests = proto::ManifestsRequest { repo: "film".into(), oids: oids.clone() };
        assert_eq!(code(client.control.manifests(manifests).await), expected, "manifests, {count}");
        let items = vec![proto::ItemIds { kind: 1, hashes: vec![9; 32 * count].into() }];
        let missing = proto::MissingRequest { repo: "film".into(), lease: Bytes::new(), items };
        assert_eq!(code(client.control.missing(missing).await), expected, "missing, {count}");
        let manifests = oids.into_iter().map(|manifest| proto::ManifestToProve { manifest, base_oid: Bytes::new() });
        let prove = proto::ProveRequest {
            repo: "film".into(),
            lease: Bytes::new(),
            manifests: manifests.collect(),
            ..Default::default()
        };
        assert_eq!(code(client.control.prove(prove).await), expected, "prove, {count}");
    }
    let empty = vec![proto::ItemIds { kind: 1, hashes: Bytes::new() }; IDS_PER_MESSAGE_MAX + 2];
    let missing = proto::MissingRequest { repo: "film".into(), lease: Bytes::new(), items: empty };
    assert_eq!(code(client.control.missing(missing).await), Code::InvalidArgument, "groups of nothing");
    is_well(&server, &media).await;
}

#[tokio::test]
async fn calls_that_begin_with_something_else_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client, media) = with_film(dir.path()).await;
    let frames = proto::DataRequest { part: Some(data_request::Part::Frames(Bytes::from_static(b"\x01\0\0\0\x03"))) };
    for first in [frames, proto::DataRequest { part: None }] {
        assert_eq!(code(client.control.data(tokio_stream::iter([first])).await), Code::InvalidArgument);
    }
    let input = proto::GitRequest { part: Some(git_request::Part::Input(Bytes::from_static(b"0000"))) };
    for first in [input, proto::GitRequest { part: None }] {
        assert_eq!(code(client.control.git(tokio_stream::iter([first])).await), Code::InvalidArgument);
    }
    let nothing = client.control.git(tokio_stream::iter(Vec::<proto::GitRequest>::new())).await;
    assert_eq!(code(nothing), Code::InvalidArgument);
    is_well(&server, &media).await;
}
