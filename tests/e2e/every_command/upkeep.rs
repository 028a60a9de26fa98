//! Commands that tidy a repository up, after which everything is still there.

use dits_tests::World;

use super::scene::{Scene, side, take, with};

#[test]
fn upkeep_keeps_the_media_of_every_commit() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.git(&["branch", "-q", "-D", "clash"]);
    for args in [
        ["gc", "-q", "--prune=now"].as_slice(),
        &["repack", "-q", "-a", "-d", "-f"],
        &["prune", "--expire=now"],
        &["pack-refs", "--all"],
        &["reflog", "expire", "--expire=now", "--all"],
        &["maintenance", "run", "--quiet", "--task=gc"],
        &["commit-graph", "write", "--reachable"],
        &["update-index", "--refresh", "-q"],
        &["update-index", "--really-refresh", "-q"],
        &["update-server-info"],
    ] {
        scene.after(args).shows(&take(2), "");
    }
    assert_eq!(scene.repo().git(&["fsck", "--full", "--strict", "--no-dangling"]).ok(), "");
    scene.after(&["switch", "-q", "side"]).shows(&with(take(1), side()), "");
    scene.after(&["switch", "-q", "--detach", "take-0"]).shows(&take(0), "");
    assert_eq!(scene.repo().git(&["fsck", "--full", "--strict", "--no-dangling"]).ok(), "");
}
