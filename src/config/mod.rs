//! Configuration: files, URLs and environment become one validated, immutable `Config`.
