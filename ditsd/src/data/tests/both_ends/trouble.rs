//! Clients that leave, wait or are refused; servers that are not who they say.

use super::*;
use dits_core::wire::frame::RefusalCode;
use std::collections::HashSet;
use std::fs::File;
use std::thread::sleep;

fn until(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        // Far less than QUIC's idle timeout, which would free everything in the end.
        assert!(started.elapsed() < Duration::from_secs(10), "it has not happened for 10 seconds");
        sleep(Duration::from_millis(1));
    }
}

impl World {
    /// Returns true if no connection has a slot, and no writer a pack.
    fn is_at_rest(&self) -> bool {
        let open = self.dir.path().join("store/open");
        let paths = std::fs::read_dir(open).unwrap().map(|entry| entry.unwrap().path());
        let mut logs = paths.filter(|path| path.extension().is_some_and(|end| end == "log"));
        self.plane.connections.available_permits() == self.plane.limits.connections_max
            && logs.all(|path| File::open(path).unwrap().try_lock().is_ok())
    }

    fn has_all(&self, items: &[StoredItem]) -> bool {
        items.iter().all(|item| self.plane.is_present(FILM, &item.id).unwrap())
    }
}

#[test]
fn clients_that_come_and_go_leave_no_slot_and_no_pack_taken() {
    let world = World::with(Setup { limits: Limits { connections_max: 4, ..Limits::default() }, ..Setup::default() });
    let items = items(20);
    for (number, item) in items.iter().enumerate() {
        let (remote, warned) = world.connect(if number % 7 == 6 { Transport::Grpc } else { Transport::Quic });
        assert_eq!(upload(&remote, std::slice::from_ref(item)), []);
        assert_eq!(download(&remote, &[item.id]).0.len(), 1);
        drop(remote);
        assert!(warned.lock().unwrap().is_empty());
        until(|| world.is_at_rest());
    }
    let packs = std::fs::read_dir(world.dir.path().join("store/open")).unwrap().count();
    assert_eq!(packs, 2, "every client went on with the same pack and log");
}

#[test]
fn slow_disks_at_the_clients_end_are_waited_for() {
    let limits = Limits { frame_silence_max: Duration::from_millis(20), ..Limits::default() };
    for transport in [Transport::Quic, Transport::Grpc] {
        let world = World::with(Setup { limits, ..Setup::default() });
        let (remote, _) = world.connect(transport);
        let items = items(12);
        let mut feed = items.iter().cloned().map(|item| {
            sleep(Duration::from_millis(if item.id == items[6].id { 100 } else { 0 }));
            Ok(item)
        });
        assert_eq!(remote.upload(&mut feed, &mut |_| {}).unwrap(), []);
        let mut came = 0;
        let mut sink = |_| {
            sleep(Duration::from_millis(if came == 0 { 100 } else { 0 }));
            came += 1;
            Ok(())
        };
        let ids: Vec<_> = items.iter().map(|item| item.id).collect();
        assert_eq!(remote.download(&ids, &mut sink, &mut |_| {}).unwrap(), []);
        assert_eq!(came, 12);
    }
}

#[test]
fn a_client_that_was_too_slow_goes_on_with_what_is_left_once() {
    let limits = Limits { idle_max: Duration::from_millis(100), ..Limits::default() };
    for transport in [Transport::Auto, Transport::Grpc] {
        let world = World::with(Setup { limits, ..Setup::default() });
        let (remote, warned) = world.connect(transport);
        let items = items(40);
        let stalling = |places: &[usize]| {
            let slow: Vec<_> = places.iter().map(|place| items[*place].id).collect();
            items.clone().into_iter().map(move |item| {
                sleep(Duration::from_millis(if slow.contains(&item.id) { 400 } else { 0 }));
                Ok(item)
            })
        };
        let lost: HashSet<_> = remote.upload(&mut stalling(&[20]), &mut |_| {}).unwrap().into_iter().collect();
        let again: Vec<_> = items.iter().filter(|item| lost.contains(&item.id)).cloned().collect();
        assert_eq!(upload(&remote, &again), []);
        assert!(world.has_all(&items), "{transport:?}");
        let twice = remote.upload(&mut stalling(&[10, 30]), &mut |_| {}).unwrap_err();
        assert!(matches!(twice, ServerError::Refused { code: RefusalCode::TOO_SLOW, .. }), "{twice:?}");
        assert!(twice.is_retryable());
        assert!(warned.lock().unwrap().is_empty());
    }
}

#[test]
fn a_busy_server_is_asked_again_once() {
    for transport in [Transport::Quic, Transport::Grpc] {
        let limits = Limits { connections_max: 0, ..Limits::default() };
        let world = World::with(Setup { limits, ..Setup::default() });
        let (remote, _) = world.connect(transport);
        let items = items(1);
        let lost = [items[0].id];
        if transport == Transport::Grpc {
            // What was handed over cannot be read again here; whoever has it sends it again.
            assert_eq!(upload(&remote, &items), lost);
        }
        let error = remote.upload(&mut items.iter().cloned().map(Ok), &mut |_| {}).unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        world.plane.connections.add_permits(1);
        assert_eq!(upload(&remote, &items), []);
        assert!(world.has_all(&items));
    }
}

/// Items that no buffer between the two ends takes whole: a transfer that is cut off is not over.
fn more_than_fits() -> Vec<StoredItem> {
    let item = |number: u32| {
        let mut plain = vec![0; 250_000];
        plain[..4].copy_from_slice(&number.to_le_bytes());
        let id = ChunkHash::of(&plain).into();
        StoredItem { id, codec: Codec::Raw, plain_len: plain.len() as u32, bytes: plain }
    };
    (0..300).map(item).collect()
}

#[test]
fn a_download_that_quic_drops_goes_on_over_grpc() {
    let world = World::new(Udp::Served);
    let (remote, warned) = world.connect(Transport::Auto);
    let items = more_than_fits();
    assert_eq!(upload(&remote, &items), []);
    let mut came = Vec::new();
    let mut sink = |item: StoredItem| {
        came.push(item.id);
        if came.len() == 20 {
            world.quic.as_ref().unwrap().close(quinn::VarInt::from_u32(9), b"the cable");
        }
        Ok(())
    };
    let ids: Vec<_> = items.iter().map(|item| item.id).collect();
    assert_eq!(remote.download(&ids, &mut sink, &mut |_| {}).unwrap(), []);
    assert_eq!(came.len(), 300);
    assert_eq!(came.into_iter().collect::<HashSet<_>>(), ids.into_iter().collect());
    assert_eq!(warned.lock().unwrap().len(), 1);
}

/// Has the server vanish as if it were killed: TCP is closed by the system, UDP falls silent.
fn vanish(runtime: &RefCell<Option<tokio::runtime::Runtime>>) {
    if let Some(runtime) = runtime.borrow_mut().take() {
        runtime.shutdown_background();
    }
}

#[test]
fn a_server_that_vanishes_is_noticed_long_before_quic_would() {
    for transport in [Transport::Auto, Transport::Quic] {
        for is_upload in [true, false] {
            let mut world = World::new(Udp::Served);
            let (remote, warned) = world.connect(transport);
            let items = more_than_fits();
            let ids: Vec<_> = items.iter().map(|item| item.id).collect();
            assert_eq!(upload(&remote, if is_upload { &items[..1] } else { &items }), []);
            let rest = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let runtime = RefCell::new(Some(std::mem::replace(&mut world.runtime, rest)));
            let mut count = 0;
            let mut gone_since = None;
            let mut tick = || {
                count += 1;
                if count == 20 {
                    vanish(&runtime);
                    gone_since = Some(Instant::now());
                }
            };
            let error = match is_upload {
                true => remote.upload(&mut items.iter().cloned().inspect(|_| tick()).map(Ok), &mut |_| {}),
                false => {
                    let mut sink = |_| {
                        tick();
                        Ok(())
                    };
                    remote.download(&ids, &mut sink, &mut |_| {})
                }
            };
            let error = error.unwrap_err();
            let took = gone_since.unwrap().elapsed();
            assert!(matches!(error, ServerError::Unreachable { .. } | ServerError::Lost { .. }), "{error:?}");
            assert!(took < Duration::from_secs(8), "{transport:?}, upload {is_upload}: {took:?}");
            assert_eq!(*warned.lock().unwrap(), [""; 0], "{transport:?}: UDP is not to blame");
        }
    }
}

#[test]
fn a_server_that_shows_the_pinned_certificate_without_its_key_hears_nothing() {
    let world = World::with(Setup { forged: Forged::Tcp, wants_token: true, ..Setup::default() });
    let known = KnownHosts::new(world.known_hosts());
    known.pin(&world.host, Fingerprint::of(&world.certificate)).unwrap();
    let refused = ServerRemote::connect(ConnectOptions {
        host: world.host.clone(),
        repo: RepoName::new("film").unwrap(),
        known_hosts: world.known_hosts(),
        ask: Some(&|_, _| panic!("a pinned certificate is not asked about")),
        credential: &|| panic!("a thief is told no token"),
        transport: Transport::Auto,
        warn: Box::new(|_| {}),
        client: "test",
    });
    assert!(matches!(refused, Err(ServerError::Unreachable { .. })), "{:?}", refused.err());
}

#[test]
fn a_forged_data_plane_gets_no_data() {
    let world = World::with(Setup { forged: Forged::Udp, ..Setup::default() });
    let (remote, _) = world.connect(Transport::Quic);
    let error = remote.upload(&mut items(1).into_iter().map(Ok), &mut |_| {}).unwrap_err();
    assert!(matches!(error, ServerError::NoQuic { .. }), "{error:?}");
    let (remote, warned) = world.connect(Transport::Auto);
    assert_eq!(upload(&remote, &items(3)), []);
    assert_eq!(warned.lock().unwrap().len(), 1);
}
