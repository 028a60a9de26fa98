//! Pages: their ids do not fix their length.

use super::*;
use blake3::hazmat::{Mode, merge_subtrees_non_root};
use dits_core::manifest::block_tree::page_value_of;

fn page(values: &[[u8; 32]]) -> ItemFrame {
    let bytes = values.concat();
    let id = page_value_of(&bytes).unwrap().into();
    ItemFrame { id, codec: Codec::Raw, plain_len: bytes.len() as u32, bytes: bytes.into() }
}

/// Two pages of one name: of four values, and of the two that these merge to.
fn twins() -> (ItemFrame, ItemFrame) {
    let leaves = [[1; 32], [2; 32], [3; 32], [4; 32]];
    let merge = |left, right| merge_subtrees_non_root(left, right, Mode::Hash);
    let (long, short) = (page(&leaves), page(&[merge(&leaves[0], &leaves[1]), merge(&leaves[2], &leaves[3])]));
    assert_eq!(long.id, short.id);
    (long, short)
}

fn has_of_len(world: &World, page: &ItemFrame) -> bool {
    world.plane.store.read_of_len(&page.id, page.plain_len, &mut Vec::new()).is_ok()
}

#[tokio::test]
async fn a_page_is_stored_though_one_of_its_name_and_another_length_is_there() {
    let world = World::new();
    let (long, short) = twins();
    // On a connection of its own, so that the store knows the first when the second comes.
    for (page, other_too) in [(&short, false), (&long, true)] {
        let up = world.connect(FILM, Direction::Upload).await;
        let put = [Frame::Put(page.clone()), Frame::PutDone];
        assert_eq!(exchange(&up, &put).await, [Frame::Stored { count: 1 }]);
        assert!(has_of_len(&world, page));
        assert_eq!(has_of_len(&world, &long), other_too);
    }
}

#[tokio::test]
async fn both_pages_of_one_name_are_stored_in_one_stream() {
    let world = World::new();
    let (long, short) = twins();
    let up = world.connect(FILM, Direction::Upload).await;
    let put = [Frame::Put(short.clone()), Frame::Put(long.clone()), Frame::Put(short.clone()), Frame::PutDone];
    assert_eq!(exchange(&up, &put).await, [Frame::Stored { count: 3 }]);
    assert!(has_of_len(&world, &short) && has_of_len(&world, &long));
}
