//! Submodules whose media are large.

use dits_tests::{Repo, World};

use super::scene::{LARGE, SMALL, Scene, take};

/// A film as part `part` of another repository, both on a server.
fn whole_and_part(world: &World) -> (dits_tests::Server, Scene<'_>, Scene<'_>) {
    let server = world.serve();
    let part = Scene::new(world);
    part.push_to(&server, "part");
    let whole = Scene::at(world.repo("whole"));
    (server, whole, part)
}

#[test]
fn submodules_are_added_cloned_updated_and_put_away() {
    let world = World::new();
    let (server, whole, part) = whole_and_part(&world);
    let inside = Scene::at(Repo::at(&world, whole.repo().dir().join("part")));
    let status = "A  .gitmodules\nA  part";
    whole.after(&["submodule", "--quiet", "add", &server.url("part"), "part"]).shows(&Vec::new(), status);
    inside.after(&["rev-parse", "HEAD"]).shows(&take(2), "");
    whole.repo().commit("with a part");
    whole.repo().push_to(&server.url("whole"));

    let url = server.url("whole");
    let clone = Scene::at(Repo::at(&world, world.path("clone")));
    let cloned = Scene::at(Repo::at(&world, world.path("clone/part")));
    let call = world.call("git").args(["clone", "-q", "--recurse-submodules", &url, "clone"]);
    cloned.after_call(call).shows(&take(2), "");
    assert_eq!(clone.look().0, "");

    part.write_all(&take(3));
    part.repo().commit("take 3");
    part.git(&["push", "-q"]);
    cloned.after_call(clone.repo().call(&["submodule", "--quiet", "update", "--remote"])).shows(&take(3), "");
    clone.after(&["status"]).shows(&Vec::new(), " M part");
    clone.git(&["submodule", "--quiet", "update", "--force"]);
    cloned.after(&["rev-parse", "HEAD"]).shows(&take(2), "");

    clone.after(&["submodule", "--quiet", "deinit", "part"]).shows(&Vec::new(), "");
    assert!(!cloned.repo().dir().join(LARGE).exists());
    server.stop();
    // All of it is in the folder of the submodule's repository; nobody has to be asked.
    cloned.after_call(clone.repo().call(&["submodule", "--quiet", "update", "--init"])).shows(&take(2), "");
}

#[test]
fn commands_go_into_submodules() {
    let world = World::new();
    let (server, whole, _part) = whole_and_part(&world);
    whole.git(&["submodule", "--quiet", "add", &server.url("part"), "part"]);
    whole.repo().commit("with a part");
    let inside = Scene::at(Repo::at(&world, whole.repo().dir().join("part")));
    inside.git(&["switch", "-q", "--detach", "take-0"]);
    whole.repo().commit("an older part");
    let back = ["checkout", "-q", "--recurse-submodules", "HEAD~1"];
    inside.after_call(whole.repo().call(&back)).shows(&take(2), "");
    inside.remove(SMALL);
    inside.after_call(whole.repo().call(&["reset", "-q", "--hard", "--recurse-submodules"])).shows(&take(2), "");
    let foreach = ["submodule", "--quiet", "foreach", "git reset -q --hard take-1"];
    inside.after_call(whole.repo().call(&foreach)).shows(&take(1), "");
    let found = whole.git(&["grep", "--recurse-submodules", "take 1"]);
    assert_eq!(found, "part/notes.txt:take 1");
}
