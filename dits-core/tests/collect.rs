//! Collections: what is needed stays, whatever happens meanwhile, and the rest goes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

#[path = "collect/killed.rs"]
mod killed;
#[path = "collect/model.rs"]
mod model;
#[path = "collect/world.rs"]
mod world;

use std::fs;
use std::time::Duration;

use dits_core::operations::collect::{CollectError, CollectOptions, CollectProgress, CollectionError, Root};
use dits_core::pack_format::Domain;
use dits_core::store::Sharing;

use world::{HOUR, World};

const SHARINGS: [Sharing; 2] = [Sharing::Machine, Sharing::Network];

#[test]
fn what_a_root_leads_to_stays_and_the_rest_goes() {
    for sharing in SHARINGS {
        let world = World::new(sharing);
        let (kept, gone) = (world.file(1, 40), world.file(2, 40));
        world.add(&kept);
        world.add(&gone);
        world.date_packs(-3 * HOUR);
        let facts = world.collect_whole(&[&kept]);
        assert!(facts.removed_packs >= 1 && facts.freed_len() > gone.len() as u64 / 2, "{sharing:?}: {facts:?}");
        assert!(world.reads(&kept) && !world.has_anything_of(&gone), "{sharing:?}");
        let again = world.collect_whole(&[&kept]);
        assert_eq!((again.removed_packs, again.dead_len, again.waiting_packs), (0, 0, 0), "{sharing:?}: {again:?}");
        assert!(world.marks().is_empty());
    }
}

#[test]
fn a_dry_run_says_what_would_be_freed_and_touches_nothing() {
    let world = World::new(Sharing::Machine);
    let (kept, gone) = (world.file(1, 20), world.file(2, 60));
    world.add(&kept);
    world.add(&gone);
    world.date_packs(-3 * HOUR);
    let before = world.listing();
    let options = CollectOptions { dry_run: true, ..World::options() };
    let rehearsed = world.collect(&[&kept], &options).unwrap();
    assert_eq!(world.listing(), before);
    assert_eq!(rehearsed.live_items, kept.item_count());
    let facts = world.collect_whole(&[&kept]);
    let (would, did) = (rehearsed.freeable_len, facts.freed_len());
    assert!(would.abs_diff(did) < 3000, "{would} {did}");
}

#[test]
fn what_was_answered_as_present_before_stays_for_whoever_has_the_guard() {
    let world = World::new(Sharing::Machine);
    let old = world.file(1, 30);
    world.add(&old);
    world.date_packs(-3 * HOUR);
    let store = world.open();
    let guard = store.guard().unwrap();
    assert!(world.has_all_of(&store, &old), "nothing of it will be stored again");
    // Nobody needs it as far as can be seen: it is condemned, and then waited for.
    let impatient = CollectOptions { wait_max: Duration::ZERO, ..World::options() };
    let facts = world.collect(&[], &impatient).unwrap();
    assert_eq!((facts.removed_packs, facts.waiting_packs > 0), (0, true), "{facts:?}");
    // Whoever asks from now on is told to store it again; it reads all the same.
    assert!(!world.has_all_of(&store, &old) && !world.has_all_of(&world.open(), &old));
    assert!(world.reads(&old) && store.can_read_each(&old.ids()).unwrap().iter().all(|can| *can));
    let again = world.collect(&[], &impatient).unwrap();
    assert_eq!((again.removed_packs, again.waiting_packs > 0), (0, true), "the guard is still held: {again:?}");
    // Only now the pointer is written, and the guard let go of.
    drop(guard);
    let facts = world.collect_whole(&[&old]);
    assert!(facts.removed_packs > 0 && world.reads(&old), "{facts:?}");
    assert!(world.has_all_of(&store, &old) && world.marks().is_empty());
}

#[test]
fn a_collection_waits_for_the_guard_and_then_sees_what_was_added() {
    let world = World::new(Sharing::Machine);
    let old = world.file(1, 30);
    world.add(&old);
    world.date_packs(-3 * HOUR);
    let store = world.open();
    let guard = std::sync::Mutex::new(Some(store.guard().unwrap()));
    let roots = std::sync::Mutex::new(Vec::new());
    assert!(world.has_all_of(&store, &old));
    let let_go = |at| {
        if at == CollectProgress::Waiting {
            roots.lock().unwrap().push(Root::File(old.oid()));
            drop(guard.lock().unwrap().take());
        }
    };
    let facts = world.collect_with(&World::options(), &mut || roots.lock().unwrap().clone(), &let_go).unwrap();
    assert!(facts.removed_packs > 0 && facts.written_len > 0, "{facts:?}");
    assert!(world.reads(&old));
}

#[test]
fn a_second_collection_of_the_same_machine_is_refused() {
    let world = World::new(Sharing::Machine);
    world.add(&world.file(1, 3));
    let second = std::cell::Cell::new(None);
    let mut roots = || {
        let result = world.collect(&[], &World::options());
        second.set(Some(result));
        Vec::new()
    };
    world.collect_with(&World::options(), &mut roots, &|_| {}).unwrap();
    match second.take().unwrap() {
        Err(CollectError::Collection(CollectionError::Busy { .. })) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_stored_again_under_the_name_of_a_condemned_pack_stays() {
    for sharing in SHARINGS {
        let world = World::new(sharing);
        let file = world.file(1, 30);
        world.add_alone(&file);
        let names = world.packs();
        world.date_packs(-3 * HOUR);
        let impatient = CollectOptions { wait_max: Duration::ZERO, ..World::options() };
        let store = world.open();
        let guard = store.guard().unwrap();
        let facts = world.collect(&[], &impatient).unwrap();
        assert!(facts.waiting_packs > 0, "{facts:?}");
        drop((guard, store));
        // The same items in the same order, so that it would have the same name.
        world.add_alone(&file);
        assert!(names.iter().all(|name| world.packs().contains(name)) && world.packs().len() > names.len());
        world.date_marks(-2 * HOUR);
        // It becomes a root only after the last look.
        world.collect(&[], &CollectOptions { grace: Duration::from_secs(60), ..World::options() }).unwrap();
        assert!(world.reads(&file) && world.has_all_of(&world.open(), &file), "{sharing:?}");
        fs::remove_file(world.index()).unwrap();
        assert!(world.reads(&file) && world.marks().is_empty(), "{sharing:?}");
    }
}

#[test]
fn the_good_copy_of_two_stays_though_nobody_knew_that_the_other_is_damaged() {
    for damaged in [0, 1] {
        let world = World::new(Sharing::Network);
        let (file, other) = (world.file(1, 12), world.file(2, 12));
        world.add_alone(&file);
        let first = world.packs();
        world.add_twice(&file, &other);
        let second: Vec<_> = world.packs().into_iter().filter(|name| !first.contains(name)).collect();
        assert_eq!((first.len(), second.len()), (1, 1));
        world.flip(if damaged == 0 { &first[0] } else { &second[0] }, 100);
        world.date_packs(-3 * HOUR);
        world.collect_whole(&[&file]);
        assert!(world.reads(&file) && !world.has_anything_of(&other), "{damaged}");
    }
}

#[test]
fn nothing_goes_where_it_cannot_be_told_what_a_file_needs() {
    for sharing in SHARINGS {
        let world = World::new(sharing);
        let (file, gone) = (world.file(1, 40), world.file(2, 3));
        world.add_spans_apart(&file);
        world.add(&gone);
        world.date_packs(-3 * HOUR);
        let before = world.packs();
        let spans = world.pack_of_spans(&file);
        world.flip_all_of(&spans);
        for _ in 0..2 {
            let error = world.collect(&[&file], &World::options()).unwrap_err();
            assert!(matches!(error, CollectError::Unread(_) | CollectError::Unreadable { .. }), "{error:?}");
            // Also by an index that never knew what was in it.
            fs::remove_file(world.index()).unwrap();
        }
        assert_eq!(world.packs(), before);
        world.flip_all_of(&spans);
        let _ = fs::remove_file(world.index());
        assert!(world.reads(&file), "{sharing:?}");
        world.collect_whole(&[&file]);
        assert!(world.reads(&file) && !world.has_anything_of(&gone));
    }
}

#[test]
fn an_index_that_lacks_what_packs_have_takes_nothing_with_it() {
    for lost in ["items", "manifests"] {
        let world = World::new(Sharing::Machine);
        let (file, gone) = (world.file(1, 40), world.file(2, 40));
        world.add(&file);
        world.add(&gone);
        world.date_packs(-3 * HOUR);
        let index = rusqlite::Connection::open(world.index()).unwrap();
        index.execute(&format!("DELETE FROM {lost}"), []).unwrap();
        drop(index);
        world.collect_whole(&[&file]);
        assert!(world.reads(&file) && !world.has_anything_of(&gone), "{lost}");
    }
}

#[test]
fn young_packs_and_those_whose_time_lies_ahead_stay() {
    for sharing in SHARINGS {
        let world = World::new(sharing);
        let file = world.file(1, 10);
        world.add_alone(&file);
        let options = CollectOptions { grace: Duration::from_secs(7200), ..World::options() };
        for (age, goes) in [(0, false), (-HOUR, false), (1000 * HOUR, false), (-3 * HOUR, true)] {
            world.date_packs(age);
            let facts = world.collect(&[], &options).unwrap();
            assert_eq!(facts.removed_packs + facts.waiting_packs > 0, goes, "{sharing:?} {age}: {facts:?}");
            assert_eq!(facts.freeable_len > 0, goes);
        }
    }
}

#[test]
fn a_limit_on_what_is_written_is_kept_and_the_next_collection_goes_on() {
    let world = World::new(Sharing::Network);
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for n in 0..6 {
        kept.push(world.file(2 * n, 4));
        gone.push(world.file(2 * n + 1, 4));
        world.add_twice(kept.last().unwrap(), gone.last().unwrap());
    }
    world.date_packs(-3 * HOUR);
    let roots: Vec<_> = kept.iter().collect();
    let limit = kept[0].len() as u64 * 5 / 2;
    let mut rounds = 0;
    while gone.iter().any(|file| world.has_anything_of(file)) {
        let options = CollectOptions { copy_len_max: limit, ..World::options() };
        let facts = world.collect(&roots, &options).unwrap();
        assert!(facts.written_len <= limit, "{facts:?}");
        world.date_packs(-3 * HOUR);
        world.date_marks(-2 * HOUR);
        rounds += 1;
        assert!(rounds < 12, "it does not go on: {facts:?}");
    }
    assert!(rounds >= 3 && kept.iter().all(|file| world.reads(file)));
}

#[test]
fn small_packs_are_joined() {
    let world = World::new(Sharing::Network);
    let files: Vec<_> = (0..20).map(|n| world.file(n, 3)).collect();
    files.iter().for_each(|file| world.add_alone(file));
    world.date_packs(-3 * HOUR);
    assert_eq!(world.packs().len(), 20);
    world.collect_whole(&files.iter().collect::<Vec<_>>());
    assert_eq!(world.packs().len(), 1);
    assert!(files.iter().all(|file| world.reads(file)));
}

#[test]
fn a_share_is_condemned_for_an_hour_by_its_own_times() {
    let world = World::new(Sharing::Network);
    let (kept, gone) = (world.file(1, 10), world.file(2, 10));
    world.add_alone(&kept);
    world.add_alone(&gone);
    world.date_packs(-3 * HOUR);
    let other = world.open_elsewhere();
    let facts = world.collect(&[&kept], &World::options()).unwrap();
    assert_eq!((facts.removed_packs, facts.waiting_packs), (0, 1), "{facts:?}");
    other.refresh().unwrap();
    assert!(!world.has_all_of(&other, &gone) && world.reads_from(&other, &gone));
    for age in [-HOUR / 2, HOUR] {
        world.date_marks(age);
        let facts = world.collect(&[&kept], &World::options()).unwrap();
        assert_eq!((facts.removed_packs, facts.waiting_packs), (0, 1), "{age}: {facts:?}");
    }
    // It came back meanwhile: a push whose hook had run before moved its ref.
    world.date_marks(-2 * HOUR);
    let facts = world.collect(&[&kept, &gone], &World::options()).unwrap();
    assert_eq!((facts.removed_packs, facts.waiting_packs), (1, 0), "{facts:?}");
    assert!(world.reads(&gone) && world.reads(&kept) && world.reads_from(&other, &gone));
    other.refresh().unwrap();
    assert!(world.has_all_of(&other, &gone));
}

#[test]
fn what_a_domain_needs_stays_in_its_packs_or_else_wherever_it_is() {
    let world = World::new(Sharing::Machine);
    let [one, two, three] = [1, 2, 3].map(|n| Domain([n; 16]));
    let (shared, adopted) = (world.file(1, 30), world.file(2, 30));
    for domain in [one, two] {
        world.add_to(domain, &shared);
    }
    world.add_to(one, &adopted);
    world.date_packs(-3 * HOUR);
    let store = world.open();
    // Both need the one file; the third repository needs the other, and has no copy of it.
    let root = |domain, file: &world::Media| Root::Manifest { domain, manifest: file.manifest().hash() };
    let roots = vec![root(one, &shared), root(two, &shared), root(three, &adopted)];
    world.collect_with(&World::options(), &mut || roots.clone(), &|_| {}).unwrap();
    for (domain, file) in [(one, &shared), (two, &shared), (one, &adopted)] {
        assert!(store.has_each_in(domain, &file.ids()).unwrap().iter().all(|has| *has));
    }
    // Then only the second one needs it.
    world.date_packs(-3 * HOUR);
    let roots = vec![root(two, &shared), root(three, &adopted)];
    world.collect_with(&World::options(), &mut || roots.clone(), &|_| {}).unwrap();
    assert!(store.has_each_in(two, &shared.ids()).unwrap().iter().all(|has| *has));
    assert!(!store.has_each_in(one, &shared.ids()).unwrap().contains(&true));
    assert!(store.has_each_in(one, &adopted.ids()).unwrap().iter().all(|has| *has));
    // A lease keeps single items.
    world.date_packs(-3 * HOUR);
    let leased: Vec<_> = shared.ids().into_iter().step_by(5).collect();
    let roots: Vec<_> = leased.iter().map(|id| Root::Item { domain: three, id: *id }).collect();
    world.collect_with(&World::options(), &mut || roots.clone(), &|_| {}).unwrap();
    assert_eq!(store.has_each(&shared.ids()).unwrap().iter().filter(|has| **has).count(), leased.len());
}

#[test]
fn a_pack_that_one_file_had_to_itself_gives_back_what_only_that_file_had() {
    let world = World::new(Sharing::Machine);
    let (old, new) = (world.file(1, 60), world.file_like(1, 60, 30));
    world.add_file_pack(&old);
    world.add(&new);
    world.date_packs(-3 * HOUR);
    let before = world.packs();
    let facts = world.collect_whole(&[&new]);
    assert!(facts.written_len > 0 && world.packs() != before && world.reads(&new), "{facts:?}");
}
