//! Trains, judges and exports the networks that Lightbox runs.

fn main() {}
