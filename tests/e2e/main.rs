//! What people do with Dits, end to end: built programs under real git, a file for each action.

mod add;
mod checkout;
mod hydration;
mod odd_files;
mod shared_blocks;

mod clone;
mod fetch;
mod prune;
mod push;
mod server_gc;
mod share;

mod gate;
mod gc;
mod histories;

mod backup;
mod bad_work_tree;
mod concurrent;
mod crash;
mod du;
mod failed_sync;
mod fsck;
mod full_disk;
mod hostile;
mod hostile_client;
mod index_patch;
mod interrupt;

mod every_command;
mod gui;
mod progress;

mod corpus;
mod scripts;
