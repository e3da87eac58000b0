//! Who is idle, who waits, who may open.
