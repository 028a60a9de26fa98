//! The server's end of the data plane, against peers that behave and peers that do not.

mod adopting;
mod both_ends;
mod limits;
mod pages;

use super::*;
use dits_core::codec::Codec;
use dits_core::hash::ChunkHash;
use dits_core::item::ItemKind;
use dits_core::store::{NewItem, Sharing, StoreOptions};
use dits_core::wire::frame::{ItemFrame, RefusalCode};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::collections::HashSet;

const FILM: Domain = Domain([1; 16]);
const OTHER: Domain = Domain([2; 16]);

/// What was recorded as adopted, and what was leased.
#[derive(Default)]
struct Rows(Mutex<HashSet<(Domain, ItemId)>>, Mutex<HashSet<([u8; 16], Domain, ItemId)>>);

impl Presence for Rows {
    fn has(&self, domain: Domain, id: &ItemId) -> Result<bool, PresenceError> {
        Ok(self.0.lock().unwrap().contains(&(domain, *id)))
    }

    fn record(
        &self,
        domain: Domain,
        lease: [u8; 16],
        adopted: &[ItemId],
        there: &[ItemId],
    ) -> Result<(), PresenceError> {
        self.0.lock().unwrap().extend(adopted.iter().map(|id| (domain, *id)));
        self.1.lock().unwrap().extend(adopted.iter().chain(there).map(|id| (lease, domain, *id)));
        Ok(())
    }
}

struct World {
    _dir: tempfile::TempDir,
    plane: Arc<DataPlane>,
    rows: Arc<Rows>,
    server: quinn::Endpoint,
    client: quinn::Endpoint,
}

/// Trusts the one certificate of the test; trust itself is tested where it is decided.
fn client_config(certificate: CertificateDer<'static>) -> quinn::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![quic::ALPN.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(quic::transport_config());
    config
}

/// Waits for something that is bound to happen.
async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it has not happened for 20 seconds");
}

impl World {
    fn new() -> World {
        World::with(Limits::default())
    }

    fn with(limits: Limits) -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            dir: dir.path().join("store"),
            index: dir.path().join("store/index.sqlite"),
            sharing: Sharing::Machine,
        });
        let rows = Arc::new(Rows::default());
        let plane = DataPlane::new(Arc::new(store.unwrap()), rows.clone(), limits);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = quic_endpoint(socket, tls).unwrap();
        tokio::spawn(Arc::clone(&plane).serve_quic(server.clone()));
        let mut client = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        client.set_default_client_config(client_config(certificate));
        World { _dir: dir, plane, rows, server, client }
    }

    async fn dial(&self) -> quinn::Connection {
        self.client.connect(self.server.local_addr().unwrap(), "localhost").unwrap().await.unwrap()
    }

    /// Connects and proves; the answer to AUTH is returned too.
    async fn connect(&self, domain: Domain, direction: Direction) -> quinn::Connection {
        let token = self.plane.open(Grant { domain, direction }).unwrap();
        let connection = self.dial().await;
        let exporter = quic::exporter_of(&connection).unwrap();
        let auth = auth_of(&token, &exporter);
        assert_eq!(exchange(&connection, &[auth]).await, [Frame::Ok]);
        connection
    }
}

fn auth_of(token: &OpenDataReply, exporter: &[u8; 32]) -> Frame {
    let secret = token.secret.as_ref().try_into().unwrap();
    Frame::Auth { token_id: token.token_id.as_ref().try_into().unwrap(), mac: quic::proof(&secret, exporter) }
}

/// Sends frames on a stream of their own, ends it, and returns every answer.
async fn exchange(connection: &quinn::Connection, frames: &[Frame]) -> Vec<Frame> {
    let mut bytes = bytes::BytesMut::new();
    frames.iter().for_each(|frame| frame.write(&mut bytes));
    exchange_bytes(connection, &bytes).await
}

async fn exchange_bytes(connection: &quinn::Connection, bytes: &[u8]) -> Vec<Frame> {
    let (mut send, receive) = connection.open_bi().await.unwrap();
    // A server that has refused already stops reading, which is no failure of the test.
    let _ = send.write_all(bytes).await;
    let _ = send.finish();
    let mut arriving = FramesIn::quic(receive, Patience::of(Duration::from_secs(5)));
    let mut answers = Vec::new();
    while let Ok(Some(frame)) = arriving.next().await {
        answers.push(frame);
    }
    answers
}

fn chunk(text: &[u8]) -> ItemFrame {
    let bytes = bytes::Bytes::copy_from_slice(text);
    ItemFrame { id: ChunkHash::of(text).into(), codec: Codec::Raw, plain_len: text.len() as u32, bytes }
}

fn code_of(answers: &[Frame]) -> Option<RefusalCode> {
    match answers {
        [Frame::Refused { code, .. }] => Some(*code),
        _ => None,
    }
}

#[tokio::test]
async fn what_was_uploaded_comes_back_to_its_own_repository_only() {
    let world = World::new();
    let items: Vec<_> = (0..300_u32).map(|number| chunk(&number.to_le_bytes().repeat(400))).collect();
    let mut frames: Vec<_> = items.iter().cloned().map(Frame::Put).collect();
    frames.push(Frame::PutDone);
    let up = world.connect(FILM, Direction::Upload).await;
    assert_eq!(exchange(&up, &frames).await, [Frame::Stored { count: 300 }]);
    let ids: Vec<_> = items.iter().map(|item| item.id).collect();
    let down = world.connect(FILM, Direction::Download).await;
    let answers = exchange(&down, &[Frame::Get(ids.clone())]).await;
    assert_eq!(answers, items.into_iter().map(Frame::Item).collect::<Vec<_>>());
    let foreign = world.connect(OTHER, Direction::Download).await;
    let answers = exchange(&foreign, &[Frame::Get(ids.clone())]).await;
    assert_eq!(answers, ids.into_iter().map(Frame::Absent).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_item_of_another_repository_is_had_only_once_its_bytes_were_sent() {
    let world = World::new();
    let item = chunk(b"shared by two films");
    let put = [Frame::Put(item.clone()), Frame::PutDone];
    let film = world.connect(FILM, Direction::Upload).await;
    assert_eq!(exchange(&film, &put).await, [Frame::Stored { count: 1 }]);
    assert!(!world.plane.is_present(OTHER, &item.id).unwrap());
    let other = world.connect(OTHER, Direction::Upload).await;
    assert_eq!(exchange(&other, &put).await, [Frame::Stored { count: 1 }]);
    assert!(world.plane.is_present(OTHER, &item.id).unwrap());
    assert!(!world.plane.store.has_in(OTHER, &item.id).unwrap(), "it is stored once");
    let down = world.connect(OTHER, Direction::Download).await;
    assert_eq!(exchange(&down, &[Frame::Get(vec![item.id])]).await, [Frame::Item(item)]);
}

#[tokio::test]
async fn a_proof_opens_one_connection_once() {
    let world = World::new();
    let grant = Grant { domain: FILM, direction: Direction::Upload };
    let (first, second) = (world.dial().await, world.dial().await);
    let token = world.plane.open(grant).unwrap();
    let auth = auth_of(&token, &quic::exporter_of(&first).unwrap());
    // The proof of one connection, shown on another.
    assert_eq!(code_of(&exchange(&second, std::slice::from_ref(&auth)).await), Some(RefusalCode::BAD_TOKEN));
    // That used the token up.
    assert_eq!(code_of(&exchange(&first, &[auth]).await), Some(RefusalCode::BAD_TOKEN));
    let third = world.dial().await;
    let put = Frame::Put(chunk(b"without a proof"));
    assert_eq!(code_of(&exchange(&third, &[put]).await), Some(RefusalCode::BAD_FRAME));
}

#[tokio::test]
async fn hostile_streams_are_refused_and_leave_nothing_behind() {
    let world = World::new();
    let good = chunk(b"a good item");
    let mut wrong = chunk(b"says one thing");
    wrong.bytes = bytes::Bytes::from_static(b"and is another");
    let mut bomb = chunk(&[0; 200_000]);
    bomb.codec = Codec::Zstd;
    let mut encoder = dits_core::codec::Encoder::new();
    bomb.bytes = bytes::Bytes::copy_from_slice(encoder.encode(&vec![0; 200_000]).1);
    bomb.plain_len = 100_000;
    let bad_manifest = ItemFrame {
        id: ItemId { kind: ItemKind::Manifest, hash: *blake3::hash(b"no manifest").as_bytes() },
        codec: Codec::Raw,
        plain_len: 11,
        bytes: bytes::Bytes::from_static(b"no manifest"),
    };
    let encoded = |frames: &[Frame]| {
        let mut bytes = bytes::BytesMut::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        bytes.to_vec()
    };
    let half = encoded(&[Frame::Put(good.clone())])[..30].to_vec();
    let mut unknown_kind = encoded(&[Frame::Put(good.clone())]);
    unknown_kind[5] = 77;
    let contradicting = |len: u32| {
        let mut put = encoded(&[Frame::Put(good.clone())]);
        put[7..11].copy_from_slice(&len.to_le_bytes());
        put
    };
    // The rest of what a client sends at once must not be in the way of the reason.
    let much = [contradicting(5), vec![0; 3 * 1024 * 1024]].concat();
    let mut lying = encoded(&[Frame::Put(good.clone())]);
    lying[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    for (what, bytes, code) in [
        ("a wrong hash", encoded(&[Frame::Put(wrong), Frame::PutDone]), RefusalCode::BAD_ITEM),
        ("a bomb", encoded(&[Frame::Put(bomb), Frame::PutDone]), RefusalCode::BAD_ITEM),
        ("a manifest that is none", encoded(&[Frame::Put(bad_manifest), Frame::PutDone]), RefusalCode::BAD_ITEM),
        ("half an item", half, RefusalCode::BAD_FRAME),
        ("no end", encoded(&[Frame::Put(good.clone())]), RefusalCode::BAD_FRAME),
        ("an unknown kind", unknown_kind, RefusalCode::BAD_FRAME),
        ("raw, and longer than it says", contradicting(5), RefusalCode::BAD_FRAME),
        ("raw, and shorter than it says", contradicting(5000), RefusalCode::BAD_FRAME),
        ("raw, and of no length", contradicting(0), RefusalCode::BAD_FRAME),
        ("raw, and longer than any", contradicting(u32::MAX), RefusalCode::BAD_FRAME),
        ("a contradiction with much behind it", much, RefusalCode::BAD_FRAME),
        ("a lying length", lying, RefusalCode::BAD_FRAME),
        ("an unknown type", vec![1, 0, 0, 0, 99], RefusalCode::BAD_FRAME),
        ("a question on an upload", encoded(&[Frame::Get(vec![good.id])]), RefusalCode::BAD_FRAME),
    ] {
        let connection = world.connect(FILM, Direction::Upload).await;
        let answers = exchange_bytes(&connection, &bytes).await;
        assert_eq!(code_of(&answers), Some(code), "{what}: {answers:?}");
        // The whole connection ends, not only the stream.
        connection.closed().await;
    }
    let down = world.connect(FILM, Direction::Download).await;
    assert_eq!(code_of(&exchange(&down, &[Frame::Put(good)]).await), Some(RefusalCode::BAD_FRAME));
}

#[tokio::test]
async fn an_upload_that_is_cut_off_keeps_what_arrived() {
    let world = World::new();
    let up = world.connect(FILM, Direction::Upload).await;
    let (mut send, _receive) = up.open_bi().await.unwrap();
    let first = chunk(b"arrived before the cable was pulled");
    let mut bytes = bytes::BytesMut::new();
    Frame::Put(first.clone()).write(&mut bytes);
    (0..40_u32).for_each(|number| Frame::Put(chunk(&number.to_le_bytes().repeat(60_000))).write(&mut bytes));
    send.write_all(&bytes).await.unwrap();
    // The stream never says that it is done.
    until(|| world.plane.is_present(FILM, &first.id).unwrap()).await;
    let last = chunk(b"came last");
    let mut bytes = bytes::BytesMut::new();
    Frame::Put(last.clone()).write(&mut bytes);
    send.write_all(&bytes).await.unwrap();
    // All of it was acknowledged, so the server's end has it.
    send.finish().unwrap();
    send.stopped().await.unwrap();
    up.close(quinn::VarInt::from_u32(0), b"");
    until(|| world.plane.is_present(FILM, &last.id).unwrap()).await;
}

/// Stores a chunk of [`FILM`], and returns the pack it is in.
fn stored(world: &World, item: &ItemFrame) -> std::path::PathBuf {
    let mut writer = world.plane.store.writer(FILM);
    let new = NewItem { id: item.id, codec: Codec::Raw, plain_len: 5000, stored: &item.bytes };
    writer.put(new).unwrap();
    writer.sync().unwrap();
    drop(writer);
    let open = world._dir.path().join("store/open");
    let mut paths = std::fs::read_dir(open).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|end| end == "pack")).unwrap()
}

fn flip(pack: &std::path::Path) {
    let mut bytes = std::fs::read(pack).unwrap();
    bytes[100] ^= 1;
    std::fs::write(pack, bytes).unwrap();
}

#[tokio::test]
async fn what_was_damaged_or_not_given_for_a_while_is_sent_again_afterwards() {
    let world = World::new();
    let item = chunk(&[7; 5000]);
    let pack = stored(&world, &item);
    let away = pack.with_extension("away");
    world.plane.presence.record(OTHER, [1; 16], &[item.id], &[]).unwrap();
    let get = async |domain| {
        let down = world.connect(domain, Direction::Download).await;
        exchange(&down, &[Frame::Get(vec![item.id])]).await
    };
    for domain in [FILM, OTHER] {
        flip(&pack);
        assert_eq!(get(domain).await, [Frame::Absent(item.id)]);
        assert!(!world.plane.is_present(domain, &item.id).unwrap());
        flip(&pack);
        assert_eq!(get(Domain([3; 16])).await, [Frame::Absent(item.id)]);
        assert_eq!(get(domain).await, [Frame::Item(item.clone())]);
        // The file that is open already would still be given.
        flip(&pack);
        std::fs::rename(&pack, &away).unwrap();
        std::fs::create_dir(&pack).unwrap();
        assert_eq!(get(domain).await, [Frame::Absent(item.id)]);
        std::fs::remove_dir(&pack).unwrap();
        std::fs::rename(&away, &pack).unwrap();
        flip(&pack);
        assert_eq!(get(domain).await, [Frame::Item(item.clone())]);
        assert!(world.plane.is_present(domain, &item.id).unwrap() && !world.plane.store.has_damage().unwrap());
    }
}

#[tokio::test]
async fn a_damaged_item_is_answered_like_an_absent_one() {
    let world = World::new();
    let item = chunk(&[7; 5000]);
    flip(&stored(&world, &item));
    let down = world.connect(FILM, Direction::Download).await;
    assert_eq!(exchange(&down, &[Frame::Get(vec![item.id])]).await, [Frame::Absent(item.id)]);
}
