//! Items that another repository's packs hold already.

use super::*;

/// As many as are recorded at once, by the format page.
const RECORDED_AT_ONCE: usize = 4096;

#[tokio::test]
async fn what_is_adopted_is_recorded_while_the_upload_goes_on_and_the_rest_before_it_is_answered() {
    let world = World::new();
    let items: Vec<ItemFrame> = (0..RECORDED_AT_ONCE as u32 + 10).map(|n| chunk(&n.to_le_bytes())).collect();
    let count = items.len() as u64;
    let puts = |items: &[ItemFrame]| items.iter().cloned().map(Frame::Put).collect::<Vec<_>>();
    let film = world.connect(FILM, Direction::Upload).await;
    let all = [puts(&items), vec![Frame::PutDone]].concat();
    assert_eq!(exchange(&film, &all).await, [Frame::Stored { count }]);
    let other = world.connect(OTHER, Direction::Upload).await;
    let (mut send, receive) = other.open_bi().await.unwrap();
    let mut bytes = bytes::BytesMut::new();
    puts(&items[..RECORDED_AT_ONCE]).iter().for_each(|put| put.write(&mut bytes));
    send.write_all(&bytes).await.unwrap();
    let is_present = |item: &ItemFrame| world.plane.is_present(OTHER, &item.id).unwrap();
    until(|| items[..RECORDED_AT_ONCE].iter().all(is_present)).await;
    let mut bytes = bytes::BytesMut::new();
    puts(&items[RECORDED_AT_ONCE..]).iter().for_each(|put| put.write(&mut bytes));
    Frame::PutDone.write(&mut bytes);
    send.write_all(&bytes).await.unwrap();
    let mut arriving = FramesIn::quic(receive, Patience::of(Duration::from_secs(20)));
    assert_eq!(arriving.next().await.unwrap(), Some(Frame::Stored { count }));
    assert!(items.iter().all(is_present), "it was said to be stored");
    assert!(!world.plane.store.has_in(OTHER, &items[0].id).unwrap(), "it is stored once");
}

#[tokio::test]
async fn what_is_sent_and_was_there_is_leased_before_it_is_answered_wherever_it_was() {
    let world = World::new();
    let items = [chunk(b"in both"), chunk(b"in one")];
    let exchange_all = async |domain, items: &[ItemFrame]| {
        let connection = world.connect(domain, Direction::Upload).await;
        let puts = items.iter().cloned().map(Frame::Put).chain([Frame::PutDone]).collect::<Vec<_>>();
        exchange(&connection, &puts).await
    };
    exchange_all(FILM, &items).await;
    exchange_all(OTHER, &items[..1]).await;
    let leased = || {
        let rows = world.rows.1.lock().unwrap();
        let mut leased: Vec<_> = rows.iter().map(|(_, domain, id)| (*domain, *id)).collect();
        leased.sort_unstable_by_key(|(domain, id)| (domain.0, id.hash));
        leased
    };
    assert_eq!(leased(), [(OTHER, items[0].id)], "what was stored now is young");
    exchange_all(FILM, &items[1..]).await;
    let (mine, others) = ((FILM, items[1].id), (OTHER, items[0].id));
    assert_eq!(leased(), [mine, others]);
    let leases: HashSet<[u8; 16]> = world.rows.1.lock().unwrap().iter().map(|(lease, ..)| *lease).collect();
    assert_eq!(leases.len(), 2, "a lease is one connection's");
}
