//! Throwaway Postgres servers from the installed binaries, and the demonstration that runs on them.
