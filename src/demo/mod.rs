//! Throwaway Postgres servers from the installed binaries, and the demonstration that runs on them.

pub mod cluster;
mod error;
mod folder;
mod install;
mod port;
mod procfs;
mod program;
mod server;
mod template;
