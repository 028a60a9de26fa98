//! Media for tests, and a client that uploads and proves it, or lies about it.

use bytes::{Bytes, BytesMut};
use dits_core::codec::Codec;
use dits_core::hash::{ChunkHash, FileHash, ManifestHash};
use dits_core::item::ItemId;
use dits_core::manifest::span::ChunkEntry;
use dits_core::manifest::{ChunkerId, Layout, Manifest};
use dits_core::pointer::Pointer;
use dits_core::remote::proto::control_client::ControlClient;
use dits_core::remote::proto::{self, data_request, prove_reply, prove_result};
use dits_core::wire::frame::{Frame, FrameReader, ItemFrame};
use tonic::transport::Channel;

/// A file of two chunks.
pub struct Media {
    pub pointer: Pointer,
    pub chunks: [Vec<u8>; 2],
    pub manifest: Vec<u8>,
}

impl Media {
    pub fn new(seed: u8) -> Media {
        let chunks = [vec![seed; 70_000], vec![seed.wrapping_add(1); 50_000]];
        let oid = FileHash::of(&chunks.concat());
        Media::claiming(oid, chunks)
    }

    /// A small file that no other number gives.
    pub fn numbered(number: u32) -> Media {
        let chunks = [0, 1].map(|half| [&number.to_le_bytes()[..], &[half]].concat().repeat(20));
        Media::claiming(FileHash::of(&chunks.concat()), chunks)
    }

    /// A manifest that says these chunks are the file `oid`.
    pub fn claiming(oid: FileHash, chunks: [Vec<u8>; 2]) -> Media {
        let pointer = Pointer { oid, size: chunks.iter().map(|chunk| chunk.len() as u64).sum() };
        let entry = |chunk: &Vec<u8>| ChunkEntry::new(ChunkHash::of(chunk), chunk.len() as u32);
        let layout = Layout::Inline(chunks.iter().map(entry).collect());
        let manifest = Manifest::new(ChunkerId(1), pointer, layout, vec![], vec![]).unwrap().encode();
        Media { pointer, chunks, manifest }
    }

    pub fn text(&self) -> Vec<u8> {
        self.pointer.to_string().into_bytes()
    }

    pub fn manifest_hash(&self) -> ManifestHash {
        Manifest::decode(&self.manifest).unwrap().hash()
    }

    pub fn chunk_ids(&self) -> [ItemId; 2] {
        [0, 1].map(|index| ChunkHash::of(&self.chunks[index]).into())
    }

    pub fn manifest_item(&self) -> (ItemId, &[u8]) {
        (self.manifest_hash().into(), &self.manifest)
    }

    pub fn items(&self) -> Vec<(ItemId, &[u8])> {
        let ids = self.chunk_ids();
        vec![(ids[0], &self.chunks[0]), (ids[1], &self.chunks[1]), self.manifest_item()]
    }
}

/// A client of one repository.
#[derive(Clone)]
pub struct Client {
    pub control: ControlClient<Channel>,
    pub repo: String,
}

impl Client {
    pub fn new(control: ControlClient<Channel>, repo: &str) -> Client {
        Client { control, repo: repo.to_owned() }
    }

    /// Sends items over the control plane's own connection; gives the last frame.
    pub async fn upload(&mut self, items: &[(ItemId, &[u8])]) -> Result<Frame, tonic::Status> {
        let open = proto::OpenDataRequest { repo: self.repo.clone(), direction: proto::Direction::Upload.into() };
        let mut requests = vec![data_request::Part::Open(open)];
        for (id, bytes) in items {
            let bytes = Bytes::copy_from_slice(bytes);
            requests.push(frame(&Frame::Put(ItemFrame {
                id: *id,
                codec: Codec::Raw,
                plain_len: bytes.len() as u32,
                bytes,
            })));
        }
        requests.push(frame(&Frame::PutDone));
        let requests = requests.into_iter().map(|part| proto::DataRequest { part: Some(part) });
        let requests: Vec<_> = requests.collect();
        let mut replies = self.control.data(tokio_stream::iter(requests)).await?.into_inner();
        let mut reader = FrameReader::new();
        while let Some(reply) = replies.message().await? {
            reader.push(reply.frames);
            if let Some(frame) = reader.next_frame().unwrap() {
                return Ok(frame);
            }
        }
        Err(tonic::Status::unknown("the data call ended without a word"))
    }

    /// Asks for items over the control plane's own connection; gives every answer.
    pub async fn download(&mut self, ids: &[ItemId]) -> Result<Vec<Frame>, tonic::Status> {
        let open = proto::OpenDataRequest { repo: self.repo.clone(), direction: proto::Direction::Download.into() };
        let parts = [data_request::Part::Open(open), frame(&Frame::Get(ids.to_vec()))];
        let requests: Vec<_> = parts.into_iter().map(|part| proto::DataRequest { part: Some(part) }).collect();
        let mut replies = self.control.data(tokio_stream::iter(requests)).await?.into_inner();
        let mut reader = FrameReader::new();
        let mut frames = Vec::new();
        while let Some(reply) = replies.message().await? {
            reader.push(reply.frames);
            while let Some(frame) = reader.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    pub async fn prove(&mut self, manifest: ManifestHash) -> Result<prove_result::Outcome, tonic::Status> {
        let manifest = proto::ManifestToProve { manifest: bytes(manifest.as_bytes()), base_oid: Bytes::new() };
        let request = proto::ProveRequest {
            repo: self.repo.clone(),
            lease: Bytes::new(),
            manifests: vec![manifest],
            ..Default::default()
        };
        let mut replies = self.control.prove(request).await?.into_inner();
        while let Some(reply) = replies.message().await? {
            if let Some(prove_reply::Event::Result(result)) = reply.event {
                return Ok(result.outcome.unwrap());
            }
        }
        Err(tonic::Status::unknown("the proof ended without a word"))
    }

    /// Has several manifests proven with one question.
    pub async fn prove_all(&mut self, manifests: &[ManifestHash]) -> Vec<proto::ProveResult> {
        let named = |manifest: &ManifestHash| proto::ManifestToProve {
            manifest: bytes(manifest.as_bytes()),
            base_oid: Bytes::new(),
        };
        let manifests = manifests.iter().map(named).collect();
        let request =
            proto::ProveRequest { repo: self.repo.clone(), lease: Bytes::new(), manifests, ..Default::default() };
        let mut replies = self.control.prove(request).await.unwrap().into_inner();
        let mut results = Vec::new();
        while let Some(reply) = replies.message().await.unwrap() {
            if let Some(prove_reply::Event::Result(result)) = reply.event {
                results.push(result);
            }
        }
        results
    }

    /// Uploads everything and has it proven.
    pub async fn bring(&mut self, media: &Media) -> Result<prove_result::Outcome, tonic::Status> {
        let stored = self.upload(&media.items()).await?;
        assert!(matches!(stored, Frame::Stored { count: 3 }), "{stored:?}");
        self.prove(media.manifest_hash()).await
    }

    pub async fn is_held(&mut self, media: &Media) -> bool {
        let oids = vec![bytes(media.pointer.oid.as_bytes())];
        let request = proto::HeldRequest { repo: self.repo.clone(), oids, ..Default::default() };
        self.control.held(request).await.unwrap().into_inner().files[0].held
    }

    /// The bits of a `Missing` answer for chunks, and whether a lease came with it.
    pub async fn missing(&mut self, ids: &[ItemId]) -> (u8, bool) {
        let hashes: Vec<u8> = ids.iter().flat_map(|id| id.hash).collect();
        let items = vec![proto::ItemIds { kind: ids[0].kind as u32, hashes: hashes.into() }];
        let request = proto::MissingRequest { repo: self.repo.clone(), lease: Bytes::new(), items };
        let reply = self.control.missing(request).await.unwrap().into_inner();
        (reply.missing[0][0], reply.lease.len() == 16 && reply.lease_secs > 0)
    }
}

fn frame(frame: &Frame) -> data_request::Part {
    let mut out = BytesMut::new();
    frame.write(&mut out);
    data_request::Part::Frames(out.freeze())
}

pub fn bytes(hash: &[u8; 32]) -> Bytes {
    Bytes::copy_from_slice(hash)
}
