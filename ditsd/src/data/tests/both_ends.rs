//! The client's end against the server's, over real sockets.

mod trouble;

use super::super::*;
use super::Rows;
use crate::listen;
use dits_core::codec::{Codec, Encoder};
use dits_core::hash::ChunkHash;
use dits_core::pointer::Pointer;
use dits_core::remote::proto::{self, control_server};
use dits_core::remote::server::trust::{Fingerprint, KnownHosts};
use dits_core::remote::server::{ConnectOptions, ServerError, ServerRemote, Transport};
use dits_core::remote_url::Host;
use dits_core::repo_path::RepoName;
use dits_core::store::{Sharing, StoreOptions, StoredItem};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::cell::RefCell;
use std::pin::Pin;
use tonic::{Code, Request, Response};

const FILM: Domain = Domain([1; 16]);
const TOKEN: &str = "Bearer open sesame";

/// As much of a control plane as the data plane needs.
struct Door {
    plane: Arc<DataPlane>,
    quic_port: u16,
    wants_token: bool,
}

type Answer<T> = Result<Response<T>, Status>;
type Replies<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

impl Door {
    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let shown = request.metadata().get("authorization").map(|value| value.as_bytes());
        match !self.wants_token || shown == Some(TOKEN.as_bytes()) {
            true => Ok(()),
            false => Err(Status::unauthenticated("who are you")),
        }
    }
}

#[tonic::async_trait]
impl control_server::Control for Door {
    type ProveStream = Replies<proto::ProveReply>;
    type GitStream = Replies<proto::GitReply>;
    type DataStream = ReceiverStream<Result<DataReply, Status>>;

    async fn hello(&self, request: Request<proto::HelloRequest>) -> Answer<proto::HelloReply> {
        self.check(&request)?;
        Ok(Response::new(proto::HelloReply {
            version: 1,
            server: "test".to_owned(),
            server_id: vec![7; 16].into(),
            repo_id: FILM.0.to_vec().into(),
            quic_port: self.quic_port.into(),
        }))
    }

    async fn missing(&self, request: Request<proto::MissingRequest>) -> Answer<proto::MissingReply> {
        let mut missing = Vec::new();
        for group in request.into_inner().items {
            let kind = dits_core::item::ItemKind::from_number(group.kind as u8).unwrap();
            let hashes = group.hashes.as_chunks::<32>().0;
            let mut bits = vec![0_u8; hashes.len().div_ceil(8)];
            for (index, hash) in hashes.iter().enumerate() {
                let is_present = self.plane.is_present(FILM, &ItemId { kind, hash: *hash }).unwrap();
                bits[index / 8] |= u8::from(!is_present) << (index % 8);
            }
            missing.push(bits.into());
        }
        Ok(Response::new(proto::MissingReply { lease: vec![1].into(), lease_secs: 60, missing }))
    }

    async fn open_data(&self, request: Request<OpenDataRequest>) -> Answer<OpenDataReply> {
        self.check(&request)?;
        let direction = direction_of(request.get_ref())?;
        Ok(Response::new(self.plane.open(Grant { domain: FILM, direction }).unwrap()))
    }

    async fn data(&self, request: Request<Streaming<DataRequest>>) -> Answer<Self::DataStream> {
        self.check(&request)?;
        let mut requests = request.into_inner();
        let open = read_open(&mut requests).await?;
        let grant = Grant { domain: FILM, direction: direction_of(&open)? };
        Ok(Response::new(self.plane.serve_call(grant, requests)?))
    }

    async fn git(&self, request: Request<Streaming<proto::GitRequest>>) -> Answer<Self::GitStream> {
        // Says back what it is told, and ends.
        let mut requests = request.into_inner();
        let (sender, replies) = mpsc::channel(2);
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                if let Some(proto::git_request::Part::Input(bytes)) = request.part {
                    let part = Some(proto::git_reply::Part::Output(bytes));
                    sender.send(Ok(proto::GitReply { part })).await.unwrap();
                }
            }
            let end = proto::GitEnd { exit_code: 3, missing_oids: vec![vec![9; 32].into()] };
            let part = Some(proto::git_reply::Part::Message("far words".into()));
            sender.send(Ok(proto::GitReply { part })).await.unwrap();
            sender.send(Ok(proto::GitReply { part: Some(proto::git_reply::Part::End(end)) })).await.unwrap();
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    async fn held(&self, _: Request<proto::HeldRequest>) -> Answer<proto::HeldReply> {
        // Fewer answers than questions: a client must not read it as "not held".
        Ok(Response::new(proto::HeldReply { files: Vec::new() }))
    }

    async fn kept(&self, _: Request<proto::KeptRequest>) -> Answer<proto::KeptReply> {
        // More answers than questions, and none of them with a receipt.
        Ok(Response::new(proto::KeptReply { files: vec![proto::FileState { held: true, ..Default::default() }; 2] }))
    }

    async fn prove(&self, _: Request<proto::ProveRequest>) -> Answer<Self::ProveStream> {
        Err(Status::unimplemented("no proofs here"))
    }

    async fn manifests(&self, _: Request<proto::ManifestsRequest>) -> Answer<proto::ManifestsReply> {
        Err(Status::unimplemented("no manifests here"))
    }
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Udp {
    #[default]
    Served,
    Blocked,
}

/// Where a server has another private key than that of the certificate it shows.
#[derive(Clone, Copy, Default, PartialEq)]
enum Forged {
    #[default]
    Nowhere,
    Tcp,
    Udp,
}

#[derive(Default)]
struct Setup {
    udp: Udp,
    wants_token: bool,
    limits: Limits,
    forged: Forged,
}

struct World {
    dir: tempfile::TempDir,
    plane: Arc<DataPlane>,
    runtime: tokio::runtime::Runtime,
    host: Host,
    certificate: CertificateDer<'static>,
    quic: Option<quinn::Endpoint>,
    wants_token: bool,
}

impl World {
    fn new(udp: Udp) -> World {
        World::with(Setup { udp, ..Setup::default() })
    }

    fn with(setup: Setup) -> World {
        let Setup { udp, wants_token, limits, forged } = setup;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            dir: dir.path().join("store"),
            index: dir.path().join("index.sqlite"),
            sharing: Sharing::Machine,
        });
        let plane = DataPlane::new(Arc::new(store.unwrap()), Arc::new(Rows::default()), limits);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let made = rcgen::generate_simple_self_signed(["studio".to_owned()]).unwrap();
        let key = made.signing_key.serialize_der();
        let other = rcgen::generate_simple_self_signed(["thief".to_owned()]).unwrap().signing_key.serialize_der();
        let key_of = |place| if forged == place { &other } else { &key };
        let certificate = made.cert.der().clone();
        let sockets = listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let host = Host { name: "127.0.0.1".to_owned(), port: sockets.address.port() };
        let _entered = runtime.enter();
        let quic = (udp == Udp::Served).then(|| {
            let endpoint =
                quic_endpoint(sockets.udp, server_tls(&certificate, key_of(Forged::Udp), quic::ALPN)).unwrap();
            tokio::spawn(Arc::clone(&plane).serve_quic(endpoint.clone()));
            endpoint
        });
        let incoming = listen::connections(
            sockets.tcp,
            server_tls(&certificate, key_of(Forged::Tcp), b"h2"),
            listen::Limits::default(),
        )
        .unwrap();
        let door = Door { plane: Arc::clone(&plane), quic_port: host.port, wants_token };
        let service = control_server::ControlServer::new(door).max_decoding_message_size(18 << 20);
        tokio::spawn(
            tonic::transport::Server::builder()
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(8 << 20)
                .serve_with_incoming_shutdown(service, incoming, std::future::pending()),
        );
        drop(_entered);
        World { dir, plane, runtime, host, certificate, quic, wants_token }
    }

    fn known_hosts(&self) -> std::path::PathBuf {
        self.dir.path().join("known_hosts")
    }

    fn try_connect(&self, transport: Transport, warned: &Arc<Mutex<Vec<String>>>) -> Result<ServerRemote, ServerError> {
        let warned = Arc::clone(warned);
        let token = || self.wants_token.then(|| TOKEN["Bearer ".len()..].to_owned());
        ServerRemote::connect(ConnectOptions {
            host: self.host.clone(),
            repo: RepoName::new("film").unwrap(),
            known_hosts: self.known_hosts(),
            ask: None,
            credential: &token,
            transport,
            warn: Box::new(move |line| warned.lock().unwrap().push(line.to_owned())),
            client: "test",
        })
    }

    fn connect(&self, transport: Transport) -> (ServerRemote, Arc<Mutex<Vec<String>>>) {
        let warned = Arc::default();
        (self.try_connect(transport, &warned).unwrap(), warned)
    }
}

fn server_tls(certificate: &CertificateDer<'static>, key: &[u8], alpn: &[u8]) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec()));
    let key = provider.key_provider.load_private_key(key).unwrap();
    // Unlike rustls's own way, this takes a key that is not the certificate's.
    let shown = rustls::sign::CertifiedKey::new(vec![certificate.clone()], key);
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls
}

/// Items of all sizes, some compressed.
fn items(count: u32) -> Vec<StoredItem> {
    let mut encoder = Encoder::new();
    let item = |number: u32| {
        let len = 1 + (number as usize * 7919) % 120_000;
        let mut plain = vec![0; len];
        let mut noise = blake3::Hasher::new();
        noise.update(&number.to_le_bytes());
        let noisy = if number.is_multiple_of(3) { len / 8 } else { len };
        noise.finalize_xof().fill(&mut plain[..noisy]);
        let (codec, bytes) = encoder.encode(&plain);
        let bytes = bytes.to_vec();
        StoredItem { id: ChunkHash::of(&plain).into(), codec, plain_len: len as u32, bytes }
    };
    (0..count).map(item).collect()
}

fn upload(remote: &ServerRemote, items: &[StoredItem]) -> Vec<ItemId> {
    remote.upload(&mut items.iter().cloned().map(Ok), &mut |_| {}).unwrap()
}

fn download(remote: &ServerRemote, ids: &[ItemId]) -> (Vec<StoredItem>, Vec<ItemId>) {
    let came = RefCell::new(Vec::new());
    let mut sink = |item| {
        came.borrow_mut().push(item);
        Ok(())
    };
    let absent = remote.download(ids, &mut sink, &mut |_| {}).unwrap();
    let mut came = came.into_inner();
    came.sort_by_key(|item| item.id);
    (came, absent)
}

#[test]
fn every_transport_brings_the_same_items_there_and_back() {
    for (transport, udp) in [
        (Transport::Auto, Udp::Served),
        (Transport::Quic, Udp::Served),
        (Transport::Grpc, Udp::Served),
        (Transport::Grpc, Udp::Blocked),
    ] {
        let world = World::new(udp);
        let (remote, warned) = world.connect(transport);
        let mut items = items(200);
        items.sort_by_key(|item| item.id);
        assert!(items.iter().any(|item| item.codec == Codec::Zstd));
        assert_eq!(upload(&remote, &items), []);
        let stranger = ItemId::from(ChunkHash::of(b"nobody has this"));
        let mut ids: Vec<_> = items.iter().map(|item| item.id).collect();
        assert_eq!(remote.missing(&ids).unwrap(), vec![false; 200]);
        ids.push(stranger);
        let (came, absent) = download(&remote, &ids);
        assert!(came == items, "{transport:?}");
        assert_eq!(absent, [stranger]);
        assert!(warned.lock().unwrap().is_empty());
    }
}

#[test]
fn where_udp_does_not_pass_grpc_is_used_after_one_warning() {
    let world = World::new(Udp::Blocked);
    let (remote, warned) = world.connect(Transport::Auto);
    let items = items(20);
    let ids: Vec<_> = items.iter().map(|item| item.id).collect();
    assert_eq!(upload(&remote, &items), []);
    assert_eq!(download(&remote, &ids).0.len(), 20);
    assert_eq!(warned.lock().unwrap().len(), 1);
}

#[test]
fn quic_that_dies_in_the_middle_is_replaced_by_grpc() {
    let world = World::new(Udp::Served);
    let (remote, warned) = world.connect(Transport::Auto);
    let items = items(300);
    let mut count = 0;
    let mut feed = items.iter().cloned().map(|item| {
        count += 1;
        if count == 150 {
            world.quic.as_ref().unwrap().close(quinn::VarInt::from_u32(9), b"the cable");
        }
        Ok(item)
    });
    let lost: std::collections::HashSet<_> = remote.upload(&mut feed, &mut |_| {}).unwrap().into_iter().collect();
    let again: Vec<_> = items.iter().filter(|item| lost.contains(&item.id)).cloned().collect();
    assert_eq!(upload(&remote, &again), []);
    let ids: Vec<_> = items.iter().map(|item| item.id).collect();
    let (came, absent) = download(&remote, &ids);
    assert_eq!((came.len(), absent.len()), (300, 0));
    assert_eq!(warned.lock().unwrap().len(), 1);
}

#[test]
fn an_item_that_the_server_refuses_names_the_host_and_the_reason() {
    let world = World::new(Udp::Served);
    for transport in [Transport::Quic, Transport::Auto, Transport::Grpc] {
        let (remote, warned) = world.connect(transport);
        let mut wrong = items(1);
        wrong[0].id.hash = [0; 32];
        let error = remote.upload(&mut wrong.into_iter().map(Ok), &mut |_| {}).unwrap_err();
        assert!(matches!(error, ServerError::Refused { .. }), "{transport:?}: {error:?}");
        assert!(!error.is_retryable());
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
        assert!(warned.lock().unwrap().is_empty(), "{transport:?}");
    }
}

#[test]
fn loopback_is_pinned_at_first_sight_and_a_changed_certificate_is_refused() {
    let world = World::new(Udp::Served);
    let (_remote, _) = world.connect(Transport::Auto);
    let known = KnownHosts::new(world.known_hosts());
    assert_eq!(known.pinned(&world.host).unwrap(), Some(Fingerprint::of(&world.certificate)));
    known.pin(&world.host, Fingerprint::of(b"another")).unwrap();
    let refused = world.try_connect(Transport::Auto, &Arc::default()).err().unwrap();
    let text = refused.to_string();
    assert!(matches!(refused, ServerError::PinChanged { .. }), "{text}");
    for part in [Fingerprint::of(b"another"), Fingerprint::of(&world.certificate)] {
        assert!(text.contains(&part.to_string()), "{text}");
    }
    assert!(text.contains("git dits auth pin 127.0.0.1:"), "{text}");
}

#[test]
fn a_token_is_asked_for_once_and_its_lack_is_named() {
    let world = World::with(Setup { wants_token: true, ..Setup::default() });
    let (remote, _) = world.connect(Transport::Auto);
    assert_eq!(upload(&remote, &items(3)), []);
    let refused = ServerRemote::connect(ConnectOptions {
        host: world.host.clone(),
        repo: RepoName::new("film").unwrap(),
        known_hosts: world.known_hosts(),
        ask: None,
        credential: &|| None,
        transport: Transport::Auto,
        warn: Box::new(|_| {}),
        client: "test",
    });
    assert!(matches!(refused, Err(ServerError::NoCredential { .. })));
}

#[test]
fn quic_alone_fails_where_udp_is_not_served() {
    let world = World::new(Udp::Served);
    world.quic.as_ref().unwrap().close(quinn::VarInt::from_u32(0), b"");
    world.runtime.block_on(world.quic.as_ref().unwrap().wait_idle());
    let (remote, _) = world.connect(Transport::Quic);
    // The endpoint refuses at once, so that this test need not wait for a timeout.
    let error = remote.upload(&mut items(1).into_iter().map(Ok), &mut |_| {}).unwrap_err();
    assert!(matches!(error, ServerError::NoQuic { .. }), "{error:?}");
}

#[test]
fn gits_own_words_pass_through_both_ways() {
    use dits_core::git_index::ObjectFormat;
    use dits_core::remote::server::GitService;
    use std::io::{Read, Write};
    let world = World::new(Udp::Blocked);
    let (remote, _) = world.connect(Transport::Grpc);
    let (mut input, mut output, end) =
        remote.git(GitService::ReceivePack, "version=2", ObjectFormat::Sha1).unwrap().split();
    let said: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let heard = std::thread::scope(|scope| {
        let said = &said;
        scope.spawn(move || input.write_all(said).unwrap());
        let mut heard = Vec::new();
        output.read_to_end(&mut heard).unwrap();
        heard
    });
    assert!(heard == said);
    let end = end.wait(&world.host).unwrap();
    assert_eq!((end.exit_code, end.messages.as_slice()), (3, &b"far words"[..]));
    assert_eq!(end.missing_oids, [dits_core::hash::FileHash::from_bytes([9; 32])]);
}

#[test]
fn answers_that_do_not_fit_the_questions_are_refused() {
    let world = World::new(Udp::Blocked);
    let (remote, _) = world.connect(Transport::Grpc);
    let oid = dits_core::hash::FileHash::of(b"x");
    assert!(matches!(remote.held(&[Pointer { oid, size: 1 }]), Err(ServerError::Answer { .. })));
    for count in [1, 2] {
        let asked = vec![Pointer { oid, size: 1 }; count];
        assert!(matches!(remote.kept(&asked), Err(ServerError::Answer { .. })), "{count}");
    }
    let Err(ServerError::Call { status, .. }) = remote.manifests(&[oid]) else { panic!() };
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(world.plane.open(Grant { domain: FILM, direction: Direction::Upload }).is_ok());
}
