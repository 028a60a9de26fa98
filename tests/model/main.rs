//! The model: random days of a small team, and after them everything that must be readable is.
//!
//! **For:** what no test of a single command finds: commands in an order that nobody thought of, killed
//! anywhere, on a full disk, with clocks that jump.
//!
//! The model is simple. A file that a person saved, and that a commit, a stash, a reflog or an index of that person's clone still
//! names, is readable: from the clone's own store, or, if it was pruned there, from the remote. A file that a ref of
//! the remote names is readable there. What may be lost is only what was on the remote alone when somebody
//! deleted the last branch with it.
//!
//! `DITS_MODEL_STEPS` is how many steps are taken (default 2,000), `DITS_MODEL_SEED` the first episode. A failure is replayed
//! with fewer and fewer actions, and the shortest list that still fails is printed.

#![allow(clippy::expect_used, reason = "a broken test environment is a failed test")]
#![allow(clippy::print_stderr, reason = "a seed must be told to be played again")]

mod actions;
mod team;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use actions::Action;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use team::Team;

/// Actions of one episode: long enough for histories to grow, short enough to be replayed.
const EPISODE: usize = 60;
/// Actions after which all that must be readable is read.
const CHECK_EVERY: usize = 10;
/// Replays that are spent on finding a shorter list.
const REPLAYS_MAX: usize = 60;

#[test]
fn whatever_a_team_does_nothing_is_lost() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let first = number("DITS_MODEL_SEED").unwrap_or(now);
    let steps = number("DITS_MODEL_STEPS").unwrap_or(2_000) as usize;
    eprintln!("model: {steps} steps from seed {first}");
    for episode in 0..steps.div_ceil(EPISODE) as u64 {
        let seed = first.wrapping_add(episode);
        let actions = actions_of(seed);
        if let Err(why) = play(seed, &actions) {
            let (shortest, why) = shorten(seed, actions, why);
            let told: String = shortest.iter().map(|action| format!("  {action:?}\n")).collect();
            panic!("DITS_MODEL_SEED={seed} fails after\n{told}{why}");
        }
    }
}

fn actions_of(seed: u64) -> Vec<Action> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..EPISODE).map(|_| Action::random(&mut random)).collect()
}

/// Plays an episode; says what was lost.
fn play(seed: u64, actions: &[Action]) -> Result<(), String> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut team = Team::new(seed)?;
        for (done, action) in actions.iter().enumerate() {
            action.play(&mut team).map_err(|why| format!("in {action:?}: {why}"))?;
            if (done + 1).is_multiple_of(CHECK_EVERY) {
                team.check()?;
            }
        }
        team.check()?;
        team.check_as_a_newcomer()
    }));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

/// Leaves out actions, many at a time and then fewer, as long as it still fails.
fn shorten(seed: u64, mut actions: Vec<Action>, mut why: String) -> (Vec<Action>, String) {
    let mut len = actions.len() / 2;
    let mut replays = 0;
    while len > 0 && replays < REPLAYS_MAX {
        let mut at = 0;
        while at < actions.len() && replays < REPLAYS_MAX {
            let mut fewer = actions.clone();
            fewer.drain(at..(at + len).min(actions.len()));
            replays += 1;
            match play(seed, &fewer) {
                Err(still) => (actions, why) = (fewer, still),
                Ok(()) => at += len,
            }
        }
        len /= 2;
    }
    (actions, why)
}

/// Picks one of several, by weight.
fn pick<T: Copy>(random: &mut StdRng, weighted: &[(u32, T)]) -> T {
    let sum: u32 = weighted.iter().map(|(weight, _)| weight).sum();
    let mut left = random.random_range(0..sum);
    for (weight, one) in weighted {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return *one,
        }
    }
    unreachable!("what is left is less than the sum")
}
