//! Peers that take too much, or too long.

use super::*;

const SOON: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_client_that_proves_nothing_in_time_is_dropped() {
    let world = World::with(Limits { auth_timeout: SOON, ..Limits::default() });
    let connection = world.dial().await;
    tokio::time::timeout(Duration::from_secs(10), connection.closed()).await.unwrap();
}

#[tokio::test]
async fn a_frame_that_stops_half_way_is_too_slow() {
    let world = World::with(Limits { frame_silence_max: SOON, ..Limits::default() });
    let up = world.connect(FILM, Direction::Upload).await;
    let (mut send, receive) = up.open_bi().await.unwrap();
    let mut bytes = bytes::BytesMut::new();
    Frame::Put(chunk(b"a whole one")).write(&mut bytes);
    let half = bytes.len() + 30;
    Frame::Put(chunk(b"half of the next")).write(&mut bytes);
    send.write_all(&bytes[..half]).await.unwrap();
    let answer = FramesIn::quic(receive, Patience::of(Duration::from_secs(10))).next().await.unwrap();
    assert_eq!(code_of(&[answer.unwrap()]), Some(RefusalCode::TOO_SLOW));
}

#[tokio::test]
async fn a_client_may_think_between_two_frames_but_not_for_ever() {
    let limits = Limits { frame_silence_max: SOON / 5, idle_max: SOON * 6, ..Limits::default() };
    let world = World::with(limits);
    let up = world.connect(FILM, Direction::Upload).await;
    let (mut send, receive) = up.open_bi().await.unwrap();
    let mut arriving = FramesIn::quic(receive, Patience::of(Duration::from_secs(10)));
    let started = Instant::now();
    for text in ["one", "two"] {
        let mut bytes = bytes::BytesMut::new();
        Frame::Put(chunk(text.as_bytes())).write(&mut bytes);
        send.write_all(&bytes).await.unwrap();
        let answer = tokio::time::timeout(SOON, arriving.next()).await;
        assert!(answer.is_err() || started.elapsed() > limits.idle_max, "{answer:?}");
    }
    let answer = arriving.next().await.unwrap();
    assert_eq!(code_of(&[answer.unwrap()]), Some(RefusalCode::TOO_SLOW));
}

#[tokio::test]
async fn a_connection_without_a_stream_loses_its_place_in_time() {
    let world = World::with(Limits { idle_max: SOON, connections_max: 1, ..Limits::default() });
    let up = world.connect(FILM, Direction::Upload).await;
    let closed = tokio::time::timeout(Duration::from_secs(10), up.closed()).await.unwrap();
    let quinn::ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed:?}") };
    assert_eq!(close.error_code.into_inner(), u64::from(RefusalCode::TOO_SLOW.0));
    until(|| world.plane.connections.available_permits() == 1).await;
}

#[tokio::test]
async fn nothing_behind_the_proof_is_read_on_its_stream() {
    let world = World::new();
    let token = world.plane.open(Grant { domain: FILM, direction: Direction::Upload }).unwrap();
    let connection = world.dial().await;
    let mut bytes = bytes::BytesMut::new();
    auth_of(&token, &quic::exporter_of(&connection).unwrap()).write(&mut bytes);
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&bytes).await.unwrap();
    // It would go on for ever, were it not told to stop.
    let endless = async { while send.write_all(&[0; 4096]).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), endless).await.unwrap();
    let put = [Frame::Put(chunk(b"the connection itself is good")), Frame::PutDone];
    assert_eq!(exchange(&connection, &put).await, [Frame::Stored { count: 1 }]);
}

#[tokio::test]
async fn items_without_end_take_no_more_room_than_they_are() {
    let world = World::new();
    let up = world.connect(FILM, Direction::Upload).await;
    let mut frames = vec![Frame::Put(chunk(&[5; 4000])); 3000];
    frames.push(Frame::PutDone);
    assert_eq!(exchange(&up, &frames).await, [Frame::Stored { count: 3000 }]);
    let open = world._dir.path().join("store/open");
    let lens = std::fs::read_dir(open).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert!(lens.sum::<u64>() < 10_000);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_others_go_on() {
    let world = World::with(Limits { connections_max: 2, ..Limits::default() });
    let put = [Frame::Put(chunk(b"x")), Frame::PutDone];
    let first = world.connect(FILM, Direction::Upload).await;
    let second = world.connect(FILM, Direction::Upload).await;
    for connection in [&first, &second] {
        assert_eq!(exchange(connection, &put).await, [Frame::Stored { count: 1 }]);
    }
    let token = world.plane.open(Grant { domain: FILM, direction: Direction::Upload }).unwrap();
    let third = world.dial().await;
    let auth = auth_of(&token, &quic::exporter_of(&third).unwrap());
    assert_eq!(code_of(&exchange(&third, &[auth]).await), Some(RefusalCode::BUSY));
    assert_eq!(exchange(&second, &put).await, [Frame::Stored { count: 1 }]);
    first.close(quinn::VarInt::from_u32(0), b"");
    until(|| world.plane.connections.available_permits() == 1).await;
    let fourth = world.connect(FILM, Direction::Upload).await;
    assert_eq!(exchange(&fourth, &put).await, [Frame::Stored { count: 1 }]);
}
