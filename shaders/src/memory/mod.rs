//! Memory: the measured ceiling that other kernels are quoted against.

pub mod copy;
