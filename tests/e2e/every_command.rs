//! Every git command that people and their programs type, under real git: what it leaves in the work
//! tree, bit for bit, what `git status` says of it, and whether that had to ask the filter.

mod scene;

mod checkouts;
mod clones;
mod joins;
mod rebases;
mod resets;
mod stashes;
mod submodules;
mod trees;

mod patches;
mod reading;
mod staging;
mod upkeep;

mod index_forms;
mod names;
mod settings;
