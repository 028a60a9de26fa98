//! Peers, names and blobs that mean harm get a clear error, and the server serves on.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use dits_core::hash::FileHash;
use dits_core::limits::FILE_LEN_MAX;
use dits_core::pointer::Pointer;
use dits_tests::media::{MIB, noise};
use dits_tests::{Repo, Server, World};

/// Commits `text` as the blob of a media path, as a client without Dits could.
fn commit_blob(repo: &Repo<'_>, path: &str, text: &str) {
    let blob = repo.call(&["hash-object", "-w", "--stdin", "--no-filters"]).input(text).run().ok();
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{path}")]).ok();
    repo.git(&["commit", "-q", "-m", "by hand"]).ok();
}

/// Asserts that a user with nothing to hide is still served.
fn serves_on(world: &World, server: &Server) {
    let repo = world.repo("honest");
    repo.write("a.bin", noise(1, 2 * MIB));
    repo.commit("a take");
    repo.push_to(&server.url("honest"));
    world.clone_of(&server.url("honest"), "honest-clone").holds("a.bin", &noise(1, 2 * MIB));
}

#[test]
fn names_that_leave_the_root_are_refused_on_the_client() {
    let world = World::new();
    let server = world.serve();
    for name in ["../etc", "a/../../b", "/etc/passwd", "a//b", ".hidden", "a%2f..%2fb", "a b", "x.lock", "-rf"] {
        let refused = world.git(&["ls-remote", &server.url(name)]);
        assert!(refused.fails().contains("error: "), "{name}: {}", refused.story());
    }
    serves_on(&world, &server);
}

#[test]
fn pointers_that_name_nothing_are_refused_by_the_server_and_left_alone_by_checkout() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.push_to(&server.url("film"));
    let huge = Pointer { oid: FileHash::of(b"nothing"), size: FILE_LEN_MAX };
    commit_blob(&repo, "huge.bin", &huge.to_string());
    let refused = repo.git(&["push", "-q", "--no-verify"]);
    assert!(refused.fails().contains("huge.bin"), "{}", refused.story());
    repo.git(&["checkout", "-q", "--", "huge.bin"]).ok();
    repo.holds("huge.bin", huge.to_string().as_bytes());
    serves_on(&world, &server);
}

#[test]
fn a_pointer_that_lies_about_the_size_is_refused() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    let content = noise(2, 2 * MIB);
    repo.write("a.bin", &content);
    repo.commit("a take");
    repo.push_to(&server.url("film"));
    let lie = Pointer { oid: FileHash::of(&content), size: 7 };
    commit_blob(&repo, "lie.bin", &lie.to_string());
    let refused = repo.git(&["push", "-q", "--no-verify"]);
    assert!(refused.fails().contains("lie.bin"), "{}", refused.story());
    repo.git(&["checkout", "-q", "--", "lie.bin"]).ok();
    repo.holds("lie.bin", lie.to_string().as_bytes());
}

#[test]
fn later_pointer_versions_are_refused_by_name() {
    let world = World::new();
    let repo = world.repo("film");
    let later = Pointer { oid: FileHash::of(b"x"), size: 1 }.to_string().replace("dits 1", "dits 2");
    commit_blob(&repo, "later.bin", &later);
    let checkout = repo.git(&["checkout", "-q", "--", "later.bin"]);
    assert!(checkout.err().contains("later.bin"), "{}", checkout.story());
    repo.holds("later.bin", later.as_bytes());
}

#[test]
fn noise_on_both_ports_disturbs_nobody() {
    let world = World::new();
    let server = world.serve();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    for seed in 0..50 {
        udp.send_to(&noise(seed, 1200), ("127.0.0.1", server.port())).expect("it listens");
    }
    for hello in [&noise(60, 4096)[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", b""] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        // The server may end the connection before it has read everything.
        let _ = stream.write_all(hello);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    serves_on(&world, &server);
}

#[test]
fn ref_names_and_paths_of_any_bytes_are_only_names() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.write("$(touch owned).bin", noise(3, MIB));
    repo.write("--upload-pack=x.bin", noise(4, MIB));
    repo.commit("odd names");
    repo.git(&["branch", "$(touch-owned);`x`"]).ok();
    repo.git(&["remote", "add", "origin", &server.url("film")]).ok();
    repo.git(&["push", "-q", "--all", "origin"]).ok();
    let other = world.clone_of(&server.url("film"), "other");
    other.holds("$(touch owned).bin", &noise(3, MIB));
    other.holds("--upload-pack=x.bin", &noise(4, MIB));
    assert!(!other.dir().join("owned").exists() && !repo.dir().join("owned").exists());
}

#[test]
fn a_damaged_pack_is_named_and_its_bytes_reach_nobody() {
    let world = World::new();
    let repo = world.repo("film");
    let content = noise(5, 2 * MIB);
    repo.write("a.bin", &content);
    repo.commit("a take");
    for folder in ["open", "packs"] {
        for entry in std::fs::read_dir(repo.store().join(folder)).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|end| end == "pack") {
                let mut bytes = std::fs::read(entry.path()).expect("it is ours");
                bytes[1_000_000] ^= 1;
                std::fs::write(entry.path(), bytes).expect("it is ours");
            }
        }
    }
    std::fs::remove_file(repo.dir().join("a.bin")).expect("it is ours");
    let checkout = repo.git(&["checkout", "-q", "--", "a.bin"]);
    assert!(checkout.err().contains("a.bin"), "{}", checkout.story());
    assert!(Pointer::parse(&repo.read("a.bin")).is_some());
}
