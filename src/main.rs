//! pgweir.
fn main() {}
