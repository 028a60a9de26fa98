use super::*;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = ItemId> {
    (0..5_usize, any::<[u8; 32]>()).prop_map(|(kind, hash)| ItemId { kind: ItemKind::ALL[kind], hash })
}

fn item() -> impl Strategy<Value = ItemFrame> {
    (id(), prop::collection::vec(any::<u8>(), 1..2000), 0..3_u32).prop_map(|(id, bytes, saved)| ItemFrame {
        id,
        codec: if saved == 0 { Codec::Raw } else { Codec::Zstd },
        plain_len: bytes.len() as u32 + saved,
        bytes: bytes.into(),
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(|(token_id, mac)| Frame::Auth { token_id, mac }),
        item().prop_map(Frame::Put),
        Just(Frame::PutDone),
        any::<u64>().prop_map(|count| Frame::Stored { count }),
        prop::collection::vec(id(), 1..20).prop_map(Frame::Get),
        item().prop_map(Frame::Item),
        id().prop_map(Frame::Absent),
        (any::<u16>(), "\\PC{0,60}").prop_map(|(code, reason)| Frame::refused(RefusalCode(code), &reason)),
        Just(Frame::Ok),
    ]
}

fn encoded(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    frame.write(&mut out);
    out.freeze()
}

fn read_all(bytes: &Bytes, piece_len: usize) -> Result<Vec<Frame>, FrameError> {
    let mut reader = FrameReader::new();
    let mut frames = Vec::new();
    for start in (0..bytes.len()).step_by(piece_len) {
        reader.push(bytes.slice(start..bytes.len().min(start + piece_len)));
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
    }
    reader.finish()?;
    Ok(frames)
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut(
        frames in prop::collection::vec(frame(), 0..8),
        piece_len in 1..3000_usize,
    ) {
        let mut out = BytesMut::new();
        frames.iter().for_each(|frame| frame.write(&mut out));
        prop_assert_eq!(read_all(&out.freeze(), piece_len), Ok(frames));
    }

    #[test]
    fn bytes_that_decode_are_the_encoding_of_what_they_decode_to(frame in frame(), at: usize, byte: u8) {
        let mut bytes = encoded(&frame).to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let bytes = Bytes::from(bytes);
        if let Ok(decoded) = decode(bytes.clone()) {
            prop_assert_eq!(encoded(&decoded), bytes);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece_len in 1..64_usize) {
        let _ = read_all(&bytes.into(), piece_len);
    }
}

fn raw(frame_type: u8, len: u32, body: &[u8]) -> Bytes {
    [&len.to_le_bytes()[..], &[frame_type], body].concat().into()
}

#[test]
fn a_length_that_its_type_does_not_allow_is_refused_before_the_body_arrives() {
    for (frame_type, len) in [
        (1, 48),
        (1, 50),
        (2, 0),
        (2, 39),
        (2, limits::FRAME_LEN_MAX as u32 + 1),
        (2, u32::MAX),
        (3, 2),
        (4, 10),
        (5, 3),
        (5, 3 + (limits::GET_ITEMS_MAX as u32 + 1) * 33),
        (7, 33),
        (8, 2),
        (8, 4 + limits::REASON_LEN_MAX as u32),
        (9, 2),
    ] {
        let found = frame_len(&raw(frame_type, len, b""));
        assert!(matches!(found, Err(FrameError::Length { .. })), "type {frame_type} length {len}: {found:?}");
    }
}

#[test]
fn unknown_numbers_are_refused_by_name() {
    assert_eq!(frame_len(&raw(10, 1, b"")), Err(FrameError::UnknownType(10)));
    assert_eq!(frame_len(&raw(0, 1, b"")), Err(FrameError::UnknownType(0)));
    let put = |kind, codec| {
        let mut body = vec![kind, codec, 1, 0, 0, 0];
        body.extend([0; 32]);
        body.push(7);
        decode(raw(2, body.len() as u32 + 1, &body))
    };
    assert_eq!(put(9, 0), Err(FrameError::UnknownKind(9)));
    assert_eq!(put(1, 9), Err(FrameError::UnknownCodec(9)));
    assert!(put(1, 0).is_ok());
}

#[test]
fn an_item_whose_lengths_do_not_go_together_is_refused() {
    let put = |kind: ItemKind, codec: Codec, plain_len: u32, stored_len: usize| {
        let mut body = vec![kind as u8, codec as u8];
        body.extend(plain_len.to_le_bytes());
        body.extend([0; 32]);
        body.extend(vec![0; stored_len]);
        decode(raw(2, body.len() as u32 + 1, &body))
    };
    let chunk_max = limits::CHUNK_LEN_MAX as u32;
    for (codec, plain_len, stored_len) in [
        (Codec::Raw, 0, 1),
        (Codec::Raw, 10, 9),
        (Codec::Raw, 9, 10),
        (Codec::Raw, chunk_max + 1, chunk_max as usize + 1),
        (Codec::Zstd, 10, 10),
        (Codec::Zstd, chunk_max + 1, 10),
        (Codec::Zstd, u32::MAX, 10),
    ] {
        let found = put(ItemKind::Chunk, codec, plain_len, stored_len);
        assert!(matches!(found, Err(FrameError::ItemLength { .. })), "{codec:?} {plain_len} {stored_len}");
    }
    assert!(put(ItemKind::Manifest, Codec::Raw, chunk_max + 1, chunk_max as usize + 1).is_ok());
}

#[test]
fn a_get_has_as_many_names_as_it_says() {
    let mut body = vec![2, 0];
    body.extend([1; 33]);
    assert!(matches!(decode(raw(5, 36, &body)), Err(FrameError::Length { name: "GET", .. })));
    body[0] = 1;
    assert!(matches!(decode(raw(5, 36, &body)), Ok(Frame::Get(ids)) if ids.len() == 1));
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_cut() {
    let bytes = encoded(&Frame::Stored { count: 3 });
    for end in 1..bytes.len() {
        assert_eq!(read_all(&bytes.slice(..end), 4), Err(FrameError::Cut), "{end}");
    }
}

#[test]
fn a_frame_that_claims_much_and_sends_little_takes_little_memory() {
    let mut reader = FrameReader::new();
    reader.push(raw(2, limits::FRAME_LEN_MAX as u32, b"few"));
    assert_eq!(reader.next_frame(), Ok(None));
    assert!(reader.gathered.capacity() <= 2 * FIRST_ROOM);
}

#[test]
fn an_item_in_one_piece_is_not_copied() {
    let item = ItemFrame {
        id: ItemId { kind: ItemKind::Chunk, hash: [3; 32] },
        codec: Codec::Raw,
        plain_len: 70_000,
        bytes: vec![7; 70_000].into(),
    };
    let mut head = BytesMut::new();
    let tail = Frame::Put(item.clone()).write_head(&mut head).expect("an item has bytes");
    assert_eq!(tail.as_ptr(), item.bytes.as_ptr());
    let whole = encoded(&Frame::Put(item));
    let mut reader = FrameReader::new();
    reader.push(whole.clone());
    let Ok(Some(Frame::Put(found))) = reader.next_frame() else { panic!("one frame") };
    assert_eq!(found.bytes.as_ptr(), whole[HEAD_LEN + ITEM_HEAD_LEN..].as_ptr());
}

#[test]
fn a_long_reason_is_cut_at_a_character() {
    let Frame::Refused { reason, .. } = Frame::refused(RefusalCode::BUSY, &"ä".repeat(4000)) else { panic!() };
    assert_eq!(reason.len(), limits::REASON_LEN_MAX);
    let Frame::Refused { reason, .. } = Frame::refused(RefusalCode::BUSY, &format!("x{}", "ä".repeat(4000))) else {
        panic!()
    };
    assert_eq!(reason.len(), limits::REASON_LEN_MAX - 1);
}
