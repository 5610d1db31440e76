//! `stile`: the device from a guest, for people and scripts.

fn main() {}
