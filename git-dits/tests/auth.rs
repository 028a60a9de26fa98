//! `git dits auth`: pins of servers.

use dits_tests::World;

#[test]
fn a_pin_is_listed_replaced_and_taken_away() {
    let world = World::without_dits();
    let (one, two) = (format!("sha256:{}", "1".repeat(64)), format!("sha256:{}", "2".repeat(64)));
    assert_eq!(world.git(&["dits", "auth", "pins"]).ok(), "");
    assert_eq!(world.git(&["dits", "auth", "pin", "Studio", &one]).ok(), format!("pinned studio {one}"));
    world.git(&["dits", "auth", "pin", "dits://studio:4000/film", &one]).ok();
    world.git(&["dits", "auth", "pin", "studio", &two]).ok();
    assert_eq!(world.git(&["dits", "auth", "pins"]).ok(), format!("studio:4000 {one}\nstudio {two}"));
    let facts: serde_json::Value =
        serde_json::from_str(&world.git(&["dits", "auth", "pins", "--json"]).ok()).expect("JSON");
    let pin = serde_json::json!({"host": "studio", "port": 9031, "fingerprint": two});
    assert_eq!(facts["pins"][1], pin);
    world.git(&["dits", "auth", "unpin", "studio:9031"]).ok();
    assert_eq!(world.git(&["dits", "auth", "unpin", "studio"]).status.code(), Some(1));
    assert_eq!(world.git(&["dits", "auth", "pins"]).ok(), format!("studio:4000 {one}"));
    for wrong in [["studio", "1234"], ["studio", &one.to_uppercase()], ["-x", &one]] {
        assert_eq!(world.git(&["dits", "auth", "pin", "--", wrong[0], wrong[1]]).status.code(), Some(2), "{wrong:?}");
    }
}
