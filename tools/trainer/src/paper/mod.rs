//! The comparison of Apostolopoulos & Mpesiana 2020, reproduced.

pub mod networks;
