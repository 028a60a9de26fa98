//! Frames of the data plane: items, and what is said about them, in a stream of bytes.
//!
//! **For:** both ends of the data plane, over QUIC streams and over gRPC messages alike.
//!
//! **May touch:** nothing.
//!
//! **Must hold:**
//! - a frame has exactly one encoding, and anything else is refused;
//! - the length of a frame is compared with what its type allows before a byte of its body
//!   is waited for;
//! - an item's bytes are not copied where they arrive in one piece.
//!
//! **Format:** `docs/protocols/data-v1.md`.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codec::Codec;
use crate::item::{ItemId, ItemKind};
use crate::limits;

/// Bytes before a frame's body: its length and its type.
pub const HEAD_LEN: usize = 5;
/// Bytes of an item's frame before the item's own.
pub const ITEM_HEAD_LEN: usize = 38;
/// Bytes of one item's name in a frame.
pub const ID_LEN: usize = 33;

/// Room made for a frame before any of its body has arrived: one chunk's.
const FIRST_ROOM: usize = limits::CHUNK_LEN_MAX + 1024;

/// One message of the data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The client proves that it holds a token.
    Auth {
        /// Which token.
        token_id: [u8; 16],
        /// The proof, bound to this connection.
        mac: [u8; 32],
    },
    /// The client sends an item.
    Put(ItemFrame),
    /// The client has sent all items of this stream.
    PutDone,
    /// Every item of the stream is on stable storage.
    Stored {
        /// How many items came.
        count: u64,
    },
    /// The client asks for items.
    Get(Vec<ItemId>),
    /// The server sends an item.
    Item(ItemFrame),
    /// The server has no such item in this repository.
    Absent(ItemId),
    /// The server ends the stream, and says why.
    Refused {
        /// What a program makes of it.
        code: RefusalCode,
        /// What a person makes of it.
        reason: String,
    },
    /// The proof was accepted.
    Ok,
}

/// An item in its stored form, as it crosses the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemFrame {
    /// Its name.
    pub id: ItemId,
    /// How its bytes are written down.
    pub codec: Codec,
    /// Length of its plain form.
    pub plain_len: u32,
    /// Its stored form. Nobody has compared it with the name yet.
    pub bytes: Bytes,
}

/// Why a server refuses, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RefusalCode(pub u16);

impl RefusalCode {
    /// A frame that is none, or that does not belong here.
    pub const BAD_FRAME: RefusalCode = RefusalCode(1);
    /// An item that is not what its name says.
    pub const BAD_ITEM: RefusalCode = RefusalCode(2);
    /// A token that is unknown, used, expired, or for something else.
    pub const BAD_TOKEN: RefusalCode = RefusalCode(3);
    /// The server has too much to do.
    pub const BUSY: RefusalCode = RefusalCode(4);
    /// The server cannot store or read, through no fault of the client.
    pub const SERVER_FAILED: RefusalCode = RefusalCode(5);
    /// The client was silent for too long.
    pub const TOO_SLOW: RefusalCode = RefusalCode(6);

    /// Returns true for the codes of this version.
    pub fn is_known(self) -> bool {
        (RefusalCode::BAD_FRAME.0..=RefusalCode::TOO_SLOW.0).contains(&self.0)
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A type this version does not know.
    #[error("frame type {0} is not known to this version of Dits")]
    UnknownType(u8),
    /// A length that no frame of its type has.
    #[error("a {name} frame cannot be {len} bytes long")]
    Length {
        /// The type's name.
        name: &'static str,
        /// The length that it claims, its type counted.
        len: usize,
    },
    /// A kind this version does not know.
    #[error("item kind {0} is not known to this version of Dits")]
    UnknownKind(u8),
    /// A codec this version does not know.
    #[error("codec {0} is not known to this version of Dits")]
    UnknownCodec(u8),
    /// Lengths of an item that do not go together.
    #[error("no {kind} has {plain_len} plain bytes stored in {stored_len}")]
    ItemLength {
        /// The item's kind.
        kind: ItemKind,
        /// The plain length that it claims.
        plain_len: u32,
        /// The stored length that it has.
        stored_len: usize,
    },
    /// A reason that is not text.
    #[error("the reason of a refusal is not UTF-8")]
    ReasonNotText,
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Cut,
}

/// A frame's type. The numbers are part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum FrameType {
    Auth = 1,
    Put = 2,
    PutDone = 3,
    Stored = 4,
    Get = 5,
    Item = 6,
    Absent = 7,
    Refused = 8,
    Ok = 9,
}

impl FrameType {
    const ALL: [FrameType; 9] = [
        FrameType::Auth,
        FrameType::Put,
        FrameType::PutDone,
        FrameType::Stored,
        FrameType::Get,
        FrameType::Item,
        FrameType::Absent,
        FrameType::Refused,
        FrameType::Ok,
    ];

    fn name(self) -> &'static str {
        match self {
            FrameType::Auth => "AUTH",
            FrameType::Put => "PUT",
            FrameType::PutDone => "PUT_DONE",
            FrameType::Stored => "STORED",
            FrameType::Get => "GET",
            FrameType::Item => "ITEM",
            FrameType::Absent => "ABSENT",
            FrameType::Refused => "REFUSED",
            FrameType::Ok => "OK",
        }
    }

    /// Returns true if a body of this type may have `len` bytes.
    fn allows(self, len: usize) -> bool {
        match self {
            FrameType::Auth => len == 48,
            FrameType::Put | FrameType::Item => (ITEM_HEAD_LEN + 1..limits::FRAME_LEN_MAX).contains(&len),
            FrameType::PutDone | FrameType::Ok => len == 0,
            FrameType::Stored => len == 8,
            FrameType::Get => (2 + ID_LEN..=2 + limits::GET_ITEMS_MAX * ID_LEN).contains(&len),
            FrameType::Absent => len == ID_LEN,
            FrameType::Refused => (2..=2 + limits::REASON_LEN_MAX).contains(&len),
        }
    }
}

impl Frame {
    /// The name of the frame's type, as the protocol's page has it.
    pub fn name(&self) -> &'static str {
        self.frame_type().name()
    }

    fn frame_type(&self) -> FrameType {
        match self {
            Frame::Auth { .. } => FrameType::Auth,
            Frame::Put(_) => FrameType::Put,
            Frame::PutDone => FrameType::PutDone,
            Frame::Stored { .. } => FrameType::Stored,
            Frame::Get(_) => FrameType::Get,
            Frame::Item(_) => FrameType::Item,
            Frame::Absent(_) => FrameType::Absent,
            Frame::Refused { .. } => FrameType::Refused,
            Frame::Ok => FrameType::Ok,
        }
    }

    /// Bytes that the frame keeps in memory, about.
    pub fn held_len(&self) -> usize {
        match self {
            Frame::Put(item) | Frame::Item(item) => item.bytes.len(),
            Frame::Get(ids) => ids.len() * ID_LEN,
            Frame::Refused { reason, .. } => reason.len(),
            Frame::Auth { .. } | Frame::PutDone | Frame::Stored { .. } | Frame::Absent(_) | Frame::Ok => 0,
        }
    }

    /// Says why a stream is refused; a reason too long to send is cut.
    pub fn refused(code: RefusalCode, reason: &str) -> Frame {
        let end = reason.floor_char_boundary(limits::REASON_LEN_MAX);
        Frame::Refused { code, reason: reason[..end].to_owned() }
    }

    /// Appends the frame to `out` but for an item's own bytes, which are returned to be sent
    /// right behind: they are not copied.
    pub fn write_head(&self, out: &mut BytesMut) -> Option<Bytes> {
        let start = out.len();
        out.put_u32_le(0);
        out.put_u8(self.frame_type() as u8);
        let tail = self.write_body(out);
        let len = out.len() - start - 4 + tail.as_ref().map_or(0, Bytes::len);
        debug_assert!(self.frame_type().allows(len - 1), "{} of {len} bytes", self.name());
        let len = u32::try_from(len).expect("FRAME_LEN_MAX fits in 32 bits");
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        tail
    }

    /// Appends the whole frame to `out`.
    pub fn write(&self, out: &mut BytesMut) {
        if let Some(tail) = self.write_head(out) {
            out.extend_from_slice(&tail);
        }
    }

    fn write_body(&self, out: &mut BytesMut) -> Option<Bytes> {
        match self {
            Frame::Auth { token_id, mac } => {
                out.put_slice(token_id);
                out.put_slice(mac);
            }
            Frame::Put(item) | Frame::Item(item) => {
                out.put_u8(item.id.kind as u8);
                out.put_u8(item.codec as u8);
                out.put_u32_le(item.plain_len);
                out.put_slice(&item.id.hash);
                return Some(item.bytes.clone());
            }
            Frame::Stored { count } => out.put_u64_le(*count),
            Frame::Get(ids) => {
                let count = u16::try_from(ids.len()).expect("a GET asks for at most GET_ITEMS_MAX items");
                out.put_u16_le(count);
                ids.iter().for_each(|id| write_id(id, out));
            }
            Frame::Absent(id) => write_id(id, out),
            Frame::Refused { code, reason } => {
                out.put_u16_le(code.0);
                out.put_slice(reason.as_bytes());
            }
            Frame::PutDone | Frame::Ok => {}
        }
        None
    }
}

/// Length of the frame that starts `bytes`, its length field counted.
///
/// `None` while fewer than [`HEAD_LEN`] bytes are there.
///
/// # Errors
///
/// [`FrameError`] for an unknown type, and for a length that its type does not allow.
pub fn frame_len(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(head) = bytes.first_chunk::<HEAD_LEN>() else { return Ok(None) };
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let number = head[4];
    let frame_type = FrameType::ALL.into_iter().find(|known| *known as u8 == number);
    let frame_type = frame_type.ok_or(FrameError::UnknownType(number))?;
    match len.checked_sub(1).is_some_and(|body_len| frame_type.allows(body_len)) {
        true => Ok(Some(4 + len)),
        false => Err(FrameError::Length { name: frame_type.name(), len }),
    }
}

/// Reads one whole frame: exactly the bytes that [`frame_len`] counts.
///
/// # Errors
///
/// [`FrameError`] for anything but the one encoding of a frame.
pub fn decode(mut bytes: Bytes) -> Result<Frame, FrameError> {
    match frame_len(&bytes)? {
        Some(len) if len == bytes.len() => {}
        _ => return Err(FrameError::Cut),
    }
    let number = bytes[4];
    bytes.advance(HEAD_LEN);
    // The length of the body was compared with the type; only what is inside is left.
    match FrameType::ALL[usize::from(number) - 1] {
        FrameType::Auth => Ok(Frame::Auth { token_id: take(&mut bytes), mac: take(&mut bytes) }),
        FrameType::Put => read_item(bytes).map(Frame::Put),
        FrameType::Item => read_item(bytes).map(Frame::Item),
        FrameType::PutDone => Ok(Frame::PutDone),
        FrameType::Ok => Ok(Frame::Ok),
        FrameType::Stored => Ok(Frame::Stored { count: bytes.get_u64_le() }),
        FrameType::Absent => read_id(&mut bytes).map(Frame::Absent),
        FrameType::Get => read_get(bytes),
        FrameType::Refused => {
            let code = RefusalCode(bytes.get_u16_le());
            let reason = std::str::from_utf8(&bytes).map_err(|_| FrameError::ReasonNotText)?;
            Ok(Frame::Refused { code, reason: reason.to_owned() })
        }
    }
}

fn read_get(mut bytes: Bytes) -> Result<Frame, FrameError> {
    let len = bytes.len() + 1;
    let count = usize::from(bytes.get_u16_le());
    if bytes.len() != count * ID_LEN {
        return Err(FrameError::Length { name: FrameType::Get.name(), len });
    }
    (0..count).map(|_| read_id(&mut bytes)).collect::<Result<_, _>>().map(Frame::Get)
}

fn read_item(mut bytes: Bytes) -> Result<ItemFrame, FrameError> {
    let (kind, codec) = (bytes.get_u8(), bytes.get_u8());
    let kind = ItemKind::from_number(kind).ok_or(FrameError::UnknownKind(kind))?;
    let codec = Codec::from_number(codec).ok_or(FrameError::UnknownCodec(codec))?;
    let plain_len = bytes.get_u32_le();
    let id = ItemId { kind, hash: take(&mut bytes) };
    let stored_len = bytes.len();
    let fits = plain_len >= 1
        && plain_len as usize <= kind.plain_len_max()
        && match codec {
            Codec::Raw => stored_len == plain_len as usize,
            Codec::Zstd => (1..plain_len as usize).contains(&stored_len),
        };
    match fits {
        true => Ok(ItemFrame { id, codec, plain_len, bytes }),
        false => Err(FrameError::ItemLength { kind, plain_len, stored_len }),
    }
}

fn write_id(id: &ItemId, out: &mut BytesMut) {
    out.put_u8(id.kind as u8);
    out.put_slice(&id.hash);
}

fn read_id(bytes: &mut Bytes) -> Result<ItemId, FrameError> {
    let kind = bytes.get_u8();
    let kind = ItemKind::from_number(kind).ok_or(FrameError::UnknownKind(kind))?;
    Ok(ItemId { kind, hash: take(bytes) })
}

fn take<const N: usize>(bytes: &mut Bytes) -> [u8; N] {
    let mut array = [0; N];
    bytes.copy_to_slice(&mut array);
    array
}

/// Tells frames apart in bytes that arrive in pieces of any size.
///
/// A frame that lies whole in one piece is cut out of it without a copy; one that is spread
/// over pieces is gathered, once, in room that grows with what has really arrived.
#[derive(Debug, Default)]
pub struct FrameReader {
    arrived: Bytes,
    gathered: BytesMut,
}

impl FrameReader {
    /// Makes a reader at the start of a stream.
    pub fn new() -> FrameReader {
        FrameReader::default()
    }

    /// Takes the next piece. Every frame of the piece before must have been taken out.
    pub fn push(&mut self, piece: Bytes) {
        debug_assert!(self.arrived.is_empty(), "take frames until there is none before the next piece");
        self.arrived = piece;
    }

    /// Takes out the next frame; `None` until more bytes arrive.
    ///
    /// # Errors
    ///
    /// [`FrameError`]; the stream is of no use from then on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.gathered.is_empty() {
            match frame_len(&self.arrived)? {
                Some(len) if len <= self.arrived.len() => return decode(self.arrived.split_to(len)).map(Some),
                _ => {}
            }
        }
        self.gather(HEAD_LEN);
        let Some(len) = frame_len(&self.gathered)? else { return Ok(None) };
        self.gather(len);
        match self.gathered.len() == len {
            true => decode(self.gathered.split().freeze()).map(Some),
            false => Ok(None),
        }
    }

    /// Length of the frame that is under way; `None` until its head has arrived.
    ///
    /// # Errors
    ///
    /// [`FrameError`] as of [`FrameReader::next_frame`].
    pub fn len_under_way(&self) -> Result<Option<usize>, FrameError> {
        frame_len(&self.gathered)
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    ///
    /// [`FrameError::Cut`] inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.gathered.is_empty() && self.arrived.is_empty() {
            true => Ok(()),
            false => Err(FrameError::Cut),
        }
    }

    /// Moves bytes until `len` are gathered or none is left.
    fn gather(&mut self, len: usize) {
        let want = len.saturating_sub(self.gathered.len());
        if self.gathered.capacity() < len {
            self.gathered.reserve(want.min(FIRST_ROOM));
        }
        let piece = self.arrived.split_to(want.min(self.arrived.len()));
        self.gathered.extend_from_slice(&piece);
    }
}

#[cfg(test)]
mod tests;
